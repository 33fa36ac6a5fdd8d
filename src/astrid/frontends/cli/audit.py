"""``astrid audit``: look through the log, verify it, have a record proved, ask why something happened; and give up a
log that was lost.

What a record says is read here from its own bytes, and a proof is checked here; the daemon is asked for bytes only.

Never: trusts the daemon with its own log.  ``verify`` reads it in a process of its own, without the daemon.

Source: the first Astrid; architecture 7; protocol N9 to N11.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from astrid.core.canon import MAX_U64, Signed
from astrid.core.chain import Frame, decode_body, decode_frame
from astrid.core.checkpoint import verify_checkpoint
from astrid.core.ids import parse_id, show_call, show_id
from astrid.core.keys import load_public_key
from astrid.core.merkle import leaf_hash, verify_inclusion
from astrid.core.quoting import quote
from astrid.core.records import Kind, Sealed, is_sealed
from astrid.errors import ChainError, InputError
from astrid.frontends.cli import DONE, plain
from astrid.frontends.cli.loss import run_accept_loss
from astrid.frontends.cli.signed import signing_options
from astrid.frontends.client import Client, connect, run_client
from astrid.frontends.launch import run_verifier
from astrid.frontends.meeting import load_install
from astrid.home import Home, home_folder, open_home
from astrid.wire import params as p
from astrid.wire import results as r

_SINCE = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NS = 10**9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid audit``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="records, the oldest first")
    listing.add_argument("--session", metavar="ID", help="of one session")
    listing.add_argument("--kind", choices=[kind.name.lower().replace("_", "-") for kind in Kind], help="of one kind")
    listing.add_argument("--tool", metavar="NAME", help="about calls of one tool")
    listing.add_argument("--decision", choices=["permit", "ask", "deny"], help="decisions that went this way")
    listing.add_argument("--since", type=_since, metavar="TIME", help="such as 10m, 2h, 3d or 2026-01-31T12:00:00Z")
    listing.add_argument("--after", type=_number, default=0, metavar="SEQ", help="after this record")
    listing.add_argument("--limit", type=_number, default=100, metavar="N", help="at most so many (%(default)s)")
    show = actions.add_parser("show", help="one record in full, with what lies beside it")
    show.add_argument("seq", type=_number, metavar="SEQ")
    prove = actions.add_parser("prove", help="that a record is in the log, under a signed checkpoint; checked here")
    prove.add_argument("seq", type=_number, metavar="SEQ")
    stats = actions.add_parser("stats", help="the log in numbers")
    explain = actions.add_parser("explain", help="why something was allowed, asked or refused")
    explain.add_argument("id", metavar="ID", help="a session, question, token or call, or a record's number")
    for one in (listing, show, prove, stats, explain):
        one.add_argument("--json", action="store_true", help="print JSON")
    verify = actions.add_parser("verify", help="whether the log is whole: 0 sound, 1 tampered, 2 could not tell")
    verify.add_argument("--home", type=Path, metavar="DIR", help="the home, or a copy of one")
    verify.add_argument("--key", metavar="HEX", help="the user's or the runtime's public key, known from elsewhere")
    verify.add_argument("--install", type=Path, metavar="FILE", help="the install statement, kept elsewhere")
    verify.add_argument("--witness", type=Path, action="append", default=[], metavar="FILE", help="a checkpoint, too")
    verify.add_argument("--json", action="store_true", help="print JSON")
    signing_options(actions.add_parser("accept-loss", help="give up a log that was lost, and begin another"))


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    if args.action == "verify":
        return _verify(args)
    if args.action == "accept-loss":
        return run_accept_loss(args)
    home = open_home(home_folder(os.environ))
    return run_client(lambda: _run(home, args))


async def _run(home: Home, args: argparse.Namespace) -> int:
    async with connect(home, start_daemon=True) as client:
        match args.action:
            case "list":
                return await _list(client, args)
            case "show":
                return await _show(client, args)
            case "prove":
                return await _prove(client, home, args)
            case "stats":
                return await _stats(client, args)
            case _:
                return await _explain(client, args)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 2**53:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number from 1 on")
    return int(text)


def _since(text: str) -> int:
    match = _SINCE.fullmatch(text)
    if match is not None:
        return max(0, time.time_ns() - int(match[1]) * _SECONDS[match[2]] * _NS)
    try:
        then = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"`{text}` is no time") from error
    then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
    return min(max(0, int(then.timestamp()) * _NS), MAX_U64)


def _verify(args: argparse.Namespace) -> int:
    arguments = ["--json"] if args.json else []
    for name, value in (("--home", args.home), ("--install", args.install)):
        arguments += [] if value is None else [f"{name}={value.absolute()}"]
    arguments += [] if args.key is None else [f"--key={args.key}"]
    arguments += [f"--witness={path.absolute()}" for path in args.witness]
    return run_verifier(arguments)


# --- list, stats, explain


async def _list(client: Client, args: argparse.Namespace) -> int:
    left: int = args.limit
    after: int | None = args.after
    while after is not None and left > 0:
        asked = p.AuditList(
            session_id=args.session if args.session is None else show_id("session", parse_id("session", args.session)),
            kind=args.kind,
            tool=args.tool,
            decision=args.decision,
            since_ns=None if args.since is None else str(args.since),
            after_seq=after,
            limit=min(left, 1000),
        )
        page = cast("r.AuditRecords", await client.call("auditList", asked))
        for record in page.records:
            print(json.dumps(_fields(record)) if args.json else _line(record))
        left -= len(page.records)
        after = page.after_seq
    return DONE


def _fields(record: r.AuditRecord) -> dict[str, object]:
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return {**fields, "time_ns": int(record.time_ns), "time": _time(int(record.time_ns))}


def _line(record: r.AuditRecord) -> str:
    session = f" {record.session_id.partition(':')[2][:8]}" if record.session_id is not None else " -"
    return plain(f"{record.seq:>6} {_time(int(record.time_ns))}{session:<9} {record.kind:<15} {record.summary}")


def _time(ns: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _stats(client: Client, args: argparse.Namespace) -> int:
    stats = cast("r.AuditStats", await client.call("auditStats", p.ProvenNothing()))
    kinds = {one.name: one.count for one in stats.kinds}
    decisions = {one.name: one.count for one in stats.decisions}
    if args.json:
        print(
            json.dumps(
                {
                    "records": stats.records,
                    "log_bytes": stats.log_bytes,
                    "first_ns": int(stats.first_ns),
                    "last_ns": int(stats.last_ns),
                    "kinds": kinds,
                    "decisions": decisions,
                }
            )
        )
        return DONE
    print(f"{stats.records} records, {stats.log_bytes} bytes")
    print(f"from {_time(int(stats.first_ns))} to {_time(int(stats.last_ns))}")
    for name, count in kinds.items():
        print(f"{count:>8} {name}")
    print(", ".join(f"{count} {name}" for name, count in decisions.items()))
    return DONE


async def _explain(client: Client, args: argparse.Namespace) -> int:
    name: str = args.id
    if name.isascii() and name.isdigit():
        name = _subject(decode_frame((await _record(client, _number(name))).frame))
    told = cast("r.Explanation", await client.call("auditExplain", p.AuditExplain(id=_printed(name))))
    if args.json:
        print(json.dumps({"id": name, "lines": told.lines, "records": [_fields(one) for one in told.records]}))
        return DONE
    print(plain(name))
    for line in told.lines:
        print(plain(line))
    return DONE


def _printed(name: str) -> str:
    kind = name.partition(":")[0]
    if kind not in ("session", "question", "token", "call"):
        raise InputError(
            "audit.no-such-kind",
            f"`{name[:80]}` is nothing that the log tells about",
            advice="name a session, a question, a token, a call, or the number of a record",
        )
    return show_id(kind, parse_id(kind, name))


def _subject(frame: Frame) -> str:
    """What a record is about: the call, the question, the token, or else its session."""
    body = decode_body(frame)
    ref: int = getattr(body, "ref", 0)
    if ref:
        return show_call(ref)
    for kind, field in (("question", "qid"), ("token", "block")):
        value: bytes = getattr(body, field, b"")
        if any(value):
            return show_id(kind, value)
    if not frame.session:
        raise InputError(
            "audit.no-subject",
            f"record {frame.seq} is about nothing that can be explained",
            advice="name one about a session, a call, a question or a token, as `astrid audit list` shows them",
        )
    return show_id("session", frame.session)


# --- show, prove


async def _record(client: Client, seq: int) -> r.AuditShown:
    return cast("r.AuditShown", await client.call("auditShow", p.AuditRecordOf(seq=seq)))


async def _show(client: Client, args: argparse.Namespace) -> int:
    shown = await _record(client, args.seq)
    frame = decode_frame(shown.frame)
    body = decode_body(frame)
    beside = [_beside(one, body) for one in shown.payloads]
    if args.json:
        told: dict[str, object] = {"record": _fields(shown.record), "body": dict(_said(body)), "beside": beside}
        print(json.dumps({**told, "frame": _b64(shown.frame)}))
        return DONE
    print(_line(shown.record))
    for name, value in _said(body):
        print(plain(f"  {name}: {value}"))
    for one in beside:
        said = one["text"] if one["readable"] else "no text; --json shows it"
        print(plain(f"  beside it ({one['length']} bytes, {one['state']}): {said}"))
    return DONE


def _said(body: Signed) -> Iterator[tuple[str, str]]:
    for name in body.__struct_fields__:
        yield name.strip("_"), _value(getattr(body, name))


def _value(value: object) -> str:
    match value:
        case Sealed():
            return f"{value.length} bytes, committed to as {value.commitment.hex()}"
        case Signed() as inner:
            return ", ".join(f"{name} {text}" for name, text in _said(inner))
        case bytes():
            return value.hex() or "-"
        case tuple():
            return "; ".join(_value(item) for item in cast("tuple[object, ...]", value)) or "-"
        case _:
            return str(value)


def _beside(payload: r.PayloadBytes, body: Signed) -> dict[str, object]:
    whole = payload.length == len(payload.data)
    sealed = [value for value in (getattr(body, name) for name in body.__struct_fields__) if isinstance(value, Sealed)]
    sound = any(is_sealed(one, payload.salt, payload.data) for one in sealed)
    state = "only its beginning" if not whole else "as committed" if sound else "NOT what the record commits to"
    told = {"slot": payload.slot, "length": payload.length, "state": state, "text": quote(payload.data)}
    return {**told, "readable": _is_text(payload.data)}


def _is_text(data: bytes) -> bool:
    try:
        return not any(unicodedata.category(char) == "Cc" and char not in "\n\r\t" for char in data.decode())
    except UnicodeDecodeError:
        return False


async def _prove(client: Client, home: Home, args: argparse.Namespace) -> int:
    proof = cast("r.AuditProof", await client.call("auditProve", p.AuditRecordOf(seq=args.seq)))
    install = load_install(home)
    checkpoint = verify_checkpoint(proof.checkpoint, load_public_key(install.runtime_key), install.log_id)
    frame = decode_frame(proof.frame)
    leaf = leaf_hash(proof.frame)
    if frame.seq != args.seq or not verify_inclusion(leaf, args.seq - 1, checkpoint.size, proof.path, checkpoint.root):
        raise ChainError(
            "audit.bad-proof",
            f"the daemon cannot prove that record {args.seq} is in the log",
            advice="stop the daemon and run `astrid audit verify`",
        )
    if args.json:
        print(
            json.dumps(
                {
                    "seq": args.seq,
                    "size": checkpoint.size,
                    "frame": _b64(proof.frame),
                    "path": [part.hex() for part in proof.path],
                    "root": checkpoint.root.hex(),
                    "checkpoint": proof.checkpoint.decode(),
                    "verified": True,
                }
            )
        )
        return DONE
    print(f"record {args.seq} is in the log of {checkpoint.size} records; the proof was checked here")
    print(f"leaf  {leaf.hex()}")
    for part in proof.path:
        print(f"      {part.hex()}")
    print(f"root  {checkpoint.root.hex()}")
    print(f"under the checkpoint that {install.runtime_key.hex()} signed:")
    print(proof.checkpoint.decode(), end="")
    return DONE


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
