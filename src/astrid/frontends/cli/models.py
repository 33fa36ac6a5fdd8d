"""``astrid models``: which models the daemon knows, what they cost, and which of them a session could use now.

Source: threats 42.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import cast

import msgspec

from astrid.core.money import Micros, format_usd
from astrid.frontends.cli import DONE, plain
from astrid.frontends.cli.signed import print_json
from astrid.frontends.client import connect, run_client
from astrid.home import Home, home_folder, open_home
from astrid.wire import params as p
from astrid.wire import results as r

_KEYS = {"there": "its key is there", "missing": "its key is missing", "not-needed": "it needs no key"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid models``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the models that are configured, and those with a built-in price")
    listing.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    home = open_home(home_folder(os.environ))
    return run_client(lambda: _list(home, as_json=args.json))


async def _list(home: Home, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        known = cast("r.Models", await client.call("listModels", p.ProvenNothing()))
    if as_json:
        print_json({"models": [_fields(info) for info in known.models], "left_out": known.left_out})
        return DONE
    for info in known.models:
        for line in _lines(info):
            print(plain(line))
    if known.left_out:
        print(f"and {known.left_out} more")
    troubles = [info.trouble for info in known.models if info.trouble is not None and info.trouble.advice]
    for code, advice in dict.fromkeys((trouble.code, trouble.advice) for trouble in troubles):
        print(plain(f"[{code}] {advice}"))
    return DONE


def _fields(info: r.ModelInfo) -> dict[str, object]:
    """The model for programs, money as numbers."""
    fields: dict[str, object] = msgspec.to_builtins(info)
    prices = {"input_micros": info.input_micros, "output_micros": info.output_micros}
    numbers = {name: None if micros is None else int(micros) for name, micros in prices.items()}
    return {**fields, **numbers, "usable": info.trouble is None}


def _lines(info: r.ModelInfo) -> Iterator[str]:
    """What to do stands once, below all that need it."""
    short = f" ({', '.join(info.short_names)})" if info.short_names else ""
    yield f"{info.model}{short}: {'usable' if info.trouble is None else f'not usable [{info.trouble.code}]'}"
    if info.provider:
        window = "" if info.context_tokens is None else f", a window of {info.context_tokens} tokens"
        images = ", takes images" if info.images else ""
        yield f"  {info.provider}, {_price(info)}{window}{images}, {_KEYS[info.key]}"
    if info.trouble is not None and not info.trouble.advice:
        yield f"  {info.trouble.message}"


def _price(info: r.ModelInfo) -> str:
    if info.input_micros is None or info.output_micros is None:
        return "what its script costs" if info.provider == "scripted" else "without a price"
    costs = [int(info.input_micros), int(info.output_micros)]
    if not any(costs):
        return "free"
    into, out = (format_usd(Micros(one)) for one in costs)
    return f"{into} in and {out} out per million tokens"
