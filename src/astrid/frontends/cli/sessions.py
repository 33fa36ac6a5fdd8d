"""``astrid sessions``: what the daemon has under way, what a session cost, and ending it.

Source: the first Astrid.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import cast

import msgspec

from astrid.core.ids import parse_id
from astrid.core.money import Micros, format_usd
from astrid.frontends.cli import DONE, counted, plain
from astrid.frontends.client import connect, run_client
from astrid.home import Home, home_folder, open_home
from astrid.wire import params as p
from astrid.wire import results as r


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid sessions``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the sessions, awake and asleep").add_argument(
        "--json", action="store_true", help="print JSON"
    )
    cost = actions.add_parser("cost", help="what a session cost, also one that has ended")
    cost.add_argument("id", metavar="ID")
    cost.add_argument("--json", action="store_true", help="print JSON")
    end = actions.add_parser("end", help="save a session and end it")
    end.add_argument("id", metavar="ID")
    end.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    home = open_home(home_folder(os.environ))
    if args.action == "list":
        return run_client(lambda: _list(home, as_json=args.json))
    parse_id("session", args.id)
    if args.action == "cost":
        return run_client(lambda: _cost(home, args.id, as_json=args.json))
    return run_client(lambda: _end(home, args.id, as_json=args.json))


async def _list(home: Home, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        known = cast("r.Sessions", await client.call("listSessions", p.ListSessions()))
    if as_json:
        print(json.dumps({"sessions": [_plain(info) for info in known.sessions], "left_out": known.left_out}))
        return DONE
    for info in known.sessions:
        spent = format_usd(Micros(int(info.spent_micros)))
        print(plain(f"{info.session_id} {info.state}, {info.mode}, {info.model}, {spent}, {info.workspace}"))
    if known.left_out:
        print(f"and {known.left_out} more that sleep")
    return DONE


def _plain(info: r.SessionInfo) -> dict[str, object]:
    fields = {name: getattr(info, name) for name in info.__struct_fields__}
    return {**fields, "created_ns": int(info.created_ns), "spent_micros": int(info.spent_micros)}


async def _cost(home: Home, session_id: str, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        cost = cast("r.SessionCost", await client.call("sessionCost", p.OfSession(session_id=session_id)))
    lines = [json.dumps(_cost_fields(cost))] if as_json else _cost_lines(cost)
    print("\n".join(map(plain, lines)))
    return DONE


def _left(cost: r.SessionCost) -> int | None:
    """What the session may still reserve; ``None`` where its cap is not known."""
    if cost.cap_micros is None:
        return None
    return max(int(cost.cap_micros) - int(cost.spent_micros) - int(cost.reserved_micros), 0)


def _cost_fields(cost: r.SessionCost) -> dict[str, object]:
    """The answer for programs, money as numbers."""
    fields = _in_numbers(msgspec.to_builtins(cost))
    return {**fields, "left_micros": _left(cost)}


def _in_numbers(fields: dict[str, object]) -> dict[str, object]:
    out: dict[str, object] = {}
    for name, value in fields.items():
        if name.endswith("_micros") and isinstance(value, str):
            out[name] = int(value)
        elif isinstance(value, list | tuple):
            out[name] = [_in_numbers(line) for line in cast("Sequence[dict[str, object]]", value)]
        else:
            out[name] = value
    return out


def _cost_lines(cost: r.SessionCost) -> list[str]:
    lines = [cost.session_id]
    for model in cost.models:
        tokens = f"{model.input_tokens} tokens in, {model.cache_write_tokens} into the cache, "
        tokens += f"{model.cache_read_tokens} from it, {model.output_tokens} out"
        uncounted = f" ({counted(model.uncounted, 'call')} without a count)" if model.uncounted else ""
        lines.append(
            f"  {model.model}: {counted(model.calls, 'call')}, {tokens}{uncounted}, {_usd(model.spent_micros)}"
        )
    lines += [f"  {tool.tool}: {counted(tool.calls, 'call')}, {_usd(tool.spent_micros)}" for tool in cost.tools]
    left = _left(cost)
    of = "the session is over" if left is None else f"{format_usd(Micros(left))} left of {_usd(cost.cap_micros or '0')}"
    lines.append(f"  spent {_usd(cost.spent_micros)}, reserved {_usd(cost.reserved_micros)}; {of}")
    if cost.unknown_calls:
        lines.append(
            f"  how {counted(cost.unknown_calls, 'call')} ended is not known: booked in full, at the "
            f"{_usd(cost.unknown_micros)} that was reserved"
        )
    return lines


def _usd(micros: str) -> str:
    return format_usd(Micros(int(micros)))


async def _end(home: Home, session_id: str, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        await client.call("endSession", p.OfSession(session_id=session_id))
    print(json.dumps({"session_id": session_id, "ended": True}) if as_json else f"{session_id} is ending")
    return DONE
