"""``astrid sessions``: what the daemon has under way, and ending it.

Source: the first Astrid.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import cast

from astrid.core.ids import parse_id
from astrid.core.money import Micros, format_usd
from astrid.frontends.cli import DONE, plain
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


async def _end(home: Home, session_id: str, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        await client.call("endSession", p.OfSession(session_id=session_id))
    print(json.dumps({"session_id": session_id, "ended": True}) if as_json else f"{session_id} is ending")
    return DONE
