"""``astrid sessions delete`` and ``cleanup``: have what sessions said and heard be gone.

Never: has anything erased that nobody agreed to, or of a session that is open.

Source: architecture 7; protocol N9.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable
from typing import cast

from astrid.core.ids import parse_id, show_id
from astrid.errors import ConfigError
from astrid.frontends.cli import DENIED, DONE, counted, plain
from astrid.frontends.cli.past import line_of, past_sessions
from astrid.frontends.client import Client, connect
from astrid.home import Home
from astrid.wire import params as p
from astrid.wire import past as w

_UNITS = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
WHAT = "its journal, what was said to it and what its tools answered are erased for good; the log's records stay"


def age(text: str) -> int:
    """Seconds, of a number with a unit."""
    found = re.fullmatch(r"([0-9]{1,6})([hdw])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"`{text}` is not an age such as 12h, 30d or 8w")
    return int(found[1]) * _UNITS[found[2]]


def due(sessions: Iterable[w.PastSession], *, before_ns: int, keep: int) -> list[w.PastSession]:
    """Those that have ended and were last active before then, but for the ``keep`` newest of all that have ended.
    Sub-agents go with the session that they worked for.
    """
    over = [one for one in sessions if one.state == "ended" and not one.erased and not one.parent]
    over.sort(key=lambda one: int(one.last_ns), reverse=True)
    return [one for one in over[keep:] if int(one.last_ns) < before_ns]


async def delete(home: Home, args: argparse.Namespace) -> int:
    """Delete one session."""
    session_id = show_id("session", parse_id("session", args.id))
    async with connect(home, start_daemon=True) as client:
        if not args.yes and not agreed([f"{session_id}: {WHAT}"]):
            return DENIED
        gone = await _delete(client, session_id)
    if args.json:
        print(json.dumps(_fields(gone)))
    elif gone.sessions:
        of = f" (with {counted(gone.sessions - 1, 'sub-agent')})" if gone.sessions > 1 else ""
        print(f"{session_id}{of}: {counted(gone.rows, 'row')} and {counted(gone.texts, 'text')} are erased")
    else:
        print(f"{session_id}: nothing was left to be erased")
    return DONE


async def cleanup(home: Home, args: argparse.Namespace) -> int:
    """Delete those that ended long ago."""
    async with connect(home, start_daemon=True) as client:
        known = (await past_sessions(client)).sessions
        found = due(known, before_ns=time.time_ns() - args.older_than * 10**9, keep=args.keep)
        asks = bool(found) and not args.dry_run and not args.yes
        if asks and not agreed([*map(line_of, found), f"of each of these {WHAT}"]):
            return DENIED
        gone = [] if args.dry_run else [await _delete(client, one.session_id) for one in found]
    names = [one.session_id for one in found]
    if args.json:
        print(json.dumps({"sessions": names, "dry_run": args.dry_run, "deleted": [_fields(one) for one in gone]}))
        return DONE
    for one in found:
        print(line_of(one))
    would = "would be " if args.dry_run else ""
    print(f"{counted(len(found), 'session')} {would}deleted")
    return DONE


def agreed(lines: Iterable[str], what: str = "erase") -> bool:
    """Whether whoever is at the terminal wants that; ``what`` is the verb for it.

    Raises:
        ConfigError: nobody is.
    """
    if not sys.stdin.isatty():
        raise ConfigError(
            "session.not-agreed",
            f"there is no terminal to ask at whether to {what} it",
            advice="give --yes if you mean it",
        )
    for line in lines:
        print(plain(line), file=sys.stderr)
    print(f"{what}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


async def _delete(client: Client, session_id: str) -> w.Deleted:
    return cast("w.Deleted", await client.call("deleteSession", p.DeleteSession(session_id=session_id)))


def _fields(gone: w.Deleted) -> dict[str, object]:
    return {name: getattr(gone, name) for name in gone.__struct_fields__}
