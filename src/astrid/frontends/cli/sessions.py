"""``astrid sessions``: what the daemon has under way, what a session cost, what one of the past said, and ending it.

Source: the first Astrid.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec

from astrid.core.grants import Mode
from astrid.core.ids import parse_id
from astrid.core.money import Micros, format_usd, parse_usd
from astrid.frontends.cli import DONE, counted, erase, plain
from astrid.frontends.cli.exec import model_name
from astrid.frontends.cli.going_on import fork_fields, fork_line, fork_session
from astrid.frontends.cli.past import (
    as_json_lines,
    as_markdown,
    for_people,
    line_of,
    past_sessions,
    plain_fields,
    read_journal,
)
from astrid.frontends.cli.rewinding import restore_session, rewind_session
from astrid.frontends.cli.tree import branch_of
from astrid.frontends.client import connect, run_client
from astrid.home import Home, home_folder, open_home, write_guarded
from astrid.wire import params as p
from astrid.wire import results as r


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid sessions``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the sessions, awake and asleep")
    listing.add_argument("--all", action="store_true", help="all that the log tells of, also those that are over")
    listing.add_argument("--json", action="store_true", help="print JSON")
    show = actions.add_parser("show", help="what a session said and heard")
    show.add_argument("id", metavar="ID")
    show.add_argument("--json", action="store_true", help="print JSON")
    export = actions.add_parser("export", help="the same as a document, or for programs")
    export.add_argument("id", metavar="ID")
    export.add_argument("--format", choices=["jsonl", "markdown"], default="jsonl", help="as what (%(default)s)")
    export.add_argument("--out", type=Path, metavar="FILE", help="write it there")
    export.add_argument("--json", action="store_true", help="print JSON about what was written")
    fork = actions.add_parser("fork", help="begin a session that goes on from one, in whatever state that is")
    fork.add_argument("id", metavar="ID")
    fork.add_argument("--at", type=int, metavar="N", help="its last turn that is part of it (the last that ended)")
    fork.add_argument("--mode", choices=[mode.value for mode in Mode], help="how far it may go without asking")
    fork.add_argument("--model", metavar="NAME", help="the model, or scripted:FILE")
    fork.add_argument("--budget", metavar="USD", help="at most so many dollars")
    fork.add_argument("--json", action="store_true", help="print JSON")
    rewind = actions.add_parser("rewind", help="have a conversation and its files be what they were after a turn")
    rewind.add_argument("id", metavar="ID")
    rewind.add_argument("--to", type=_number, required=True, metavar="N", help="the turn; 0: before the first")
    rewind.add_argument("--only", choices=["conversation", "files"], help="leave the other as it is")
    rewind.add_argument("--dry-run", action="store_true", help="only say what would be gone, and what would stay")
    rewind.add_argument("--yes", action="store_true", help="do not ask before files are changed")
    restore = actions.add_parser("restore", help="put back what was last summed up to make room")
    restore.add_argument("id", metavar="ID")
    for action in (rewind, restore):
        action.add_argument("--model", metavar="MODEL", help="the model, where the session followed a script")
        action.add_argument("--json", action="store_true", help="print JSON")
    delete = actions.add_parser("delete", help="erase what a session that is not open said and heard")
    delete.add_argument("id", metavar="ID")
    delete.add_argument("--yes", action="store_true", help="do not ask at the terminal")
    delete.add_argument("--json", action="store_true", help="print JSON")
    cleanup = actions.add_parser("cleanup", help="the same of all that ended long ago")
    cleanup.add_argument("--older-than", type=erase.age, default="30d", metavar="AGE", help="such as 12h (%(default)s)")
    cleanup.add_argument("--keep", type=_number, default=0, metavar="N", help="leave the N newest that have ended")
    cleanup.add_argument("--dry-run", action="store_true", help="say which, and erase nothing")
    cleanup.add_argument("--yes", action="store_true", help="do not ask at the terminal")
    cleanup.add_argument("--json", action="store_true", help="print JSON")
    tree = actions.add_parser("tree", help="a session and its sub-agents: what each does, and what it cost so far")
    tree.add_argument("id", metavar="ID")
    tree.add_argument("--json", action="store_true", help="print JSON")
    cost = actions.add_parser("cost", help="what a session cost, also one that has ended")
    cost.add_argument("id", metavar="ID")
    cost.add_argument("--json", action="store_true", help="print JSON")
    end = actions.add_parser("end", help="save a session and end it")
    end.add_argument("id", metavar="ID")
    end.add_argument("--json", action="store_true", help="print JSON")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number from 0 to 999999")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    home = open_home(home_folder(os.environ))
    match args.action:
        case "list" if args.all:
            return run_client(lambda: _list_past(home, as_json=args.json))
        case "list":
            return run_client(lambda: _list(home, as_json=args.json))
        case "show":
            return run_client(lambda: _show(home, args.id, as_json=args.json))
        case "export":
            return run_client(lambda: _export(home, args))
        case "delete":
            return run_client(lambda: erase.delete(home, args))
        case "cleanup":
            return run_client(lambda: erase.cleanup(home, args))
        case "fork":
            return run_client(lambda: _fork(home, args))
        case "rewind":
            return run_client(lambda: rewind_session(home, args))
        case "restore":
            return run_client(lambda: restore_session(home, args))
        case _:
            parse_id("session", args.id)
    if args.action == "tree":
        return run_client(lambda: _tree(home, args.id, as_json=args.json))
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


async def _tree(home: Home, name: str, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        known = cast("r.Sessions", await client.call("listSessions", p.ListSessions()))
    found = branch_of(name, known.sessions)
    if as_json:
        print(json.dumps(found.plain()))
        return DONE
    for line in found.lines():
        print(plain(line))
    return DONE


async def _list_past(home: Home, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        known = await past_sessions(client)
    if as_json:
        print(json.dumps({"sessions": [plain_fields(past) for past in known.sessions], "left_out": known.left_out}))
        return DONE
    for past in known.sessions:
        print(line_of(past))
    return DONE


async def _show(home: Home, name: str, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        journal = await read_journal(client, name)
    if as_json:
        rows = [json.loads(line) for line in journal.lines]
        print(json.dumps({"session": plain_fields(journal.session), "rows": rows}))
        return DONE
    for line in for_people(journal):
        print(line)
    return DONE


async def _export(home: Home, args: argparse.Namespace) -> int:
    async with connect(home, start_daemon=True) as client:
        journal = await read_journal(client, args.id)
    lines = list(as_markdown(journal) if args.format == "markdown" else as_json_lines(journal))
    text = "\n".join([*lines, ""])
    if args.out is None:
        print(text, end="")
        return DONE
    write_guarded(args.out, text.encode(), what="the session")
    told = {"session_id": journal.session.session_id, "file": str(args.out), "rows": len(journal.lines)}
    print(json.dumps(told) if args.json else plain(f"{args.id} is written to {args.out}"))
    return DONE


async def _fork(home: Home, args: argparse.Namespace) -> int:
    wanted = p.ForkSession(
        session_id=args.id,
        at=args.at,
        mode=args.mode,
        model=model_name(args.model),
        budget_micros=None if args.budget is None else str(parse_usd(args.budget)),
    )
    async with connect(home, start_daemon=True) as client:
        forked = await fork_session(client, wanted)
    print(json.dumps(fork_fields(forked)) if args.json else plain(fork_line(forked)))
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
