"""Sessions of the past for ``astrid sessions``: which there were, and what one of them said and heard, for people, as
Markdown, or as JSON.

Never: prints a word of a session unescaped, or lets one end the block of a document that it stands in.

Source: architecture 7; threats 37.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import assert_never, cast

import msgspec

from astrid.core.conversation import Text, ToolUse
from astrid.core.ids import parse_id, show_id
from astrid.core.labels import Label
from astrid.core.turn_messages import (
    AnswerRow,
    AnyRow,
    AskRow,
    CallRow,
    CompactRow,
    EndRow,
    ForkRow,
    FrameRow,
    InputRow,
    RestoreRow,
    ResultRow,
    RewindRow,
    SummaryRow,
    WaitRow,
    decode_row,
)
from astrid.errors import ChainError, ConfigError, InputError
from astrid.frontends.cli import counted, plain
from astrid.frontends.client import Client
from astrid.wire import params as p
from astrid.wire import past as w

_TICKS = re.compile(r"`+")


class Said(msgspec.Struct, frozen=True):
    """A piece of a conversation: a line about it, and what was said, which may be any text."""

    about: str
    text: str = ""


class Journal(msgspec.Struct, frozen=True):
    """What one session said and heard."""

    session: w.PastSession
    lines: list[bytes]  # rows, as they are kept

    def rows(self) -> Iterator[AnyRow]:
        """The rows.

        Raises:
            CanonError: a row that this version cannot read.
        """
        return map(decode_row, self.lines)


async def past_sessions(client: Client) -> w.PastSessions:
    """All that the log tells of, the last active one first."""
    sessions: list[w.PastSession] = []
    while True:
        page = cast("w.PastSessions", await client.call("listPast", p.ListPast(skip=len(sessions))))
        sessions += page.sessions
        if not page.left_out or not page.sessions:
            return w.PastSessions(sessions=tuple(sessions), left_out=page.left_out)


def resumed_session(args: argparse.Namespace, approve: str) -> str | None:
    """The session that `astrid exec` is to have go on; empty for the last one, nothing for a new one.

    Raises:
        ConfigError: it is told to be otherwise than it was opened.
    """
    which: str = args.resume or ""
    if not which and not args.last:
        return None
    given = (args.mode, args.agent, args.max_turns, args.budget, None if args.last else args.workspace)
    # SAFETY: a file with tokens may lie in the session's workspace, which is not known yet.
    if approve not in ("ask", "never") or any(one is not None for one in given):
        raise ConfigError(
            "exec.resume",
            "a session that is resumed keeps its workspace, mode and limits, and takes no file with tokens",
            advice="leave these options out; sign what it needs with `astrid tokens grant`",
        )
    return show_id("session", parse_id("session", which)) if which else ""


async def last_session(client: Client, workspace: str) -> str:
    """The session that was last active in a folder, whether it has ended or not.

    Raises:
        InputError: there is none.
    """
    for past in (await past_sessions(client)).sessions:
        if not past.parent and past.workspace == workspace:
            return past.session_id
    raise InputError(
        "session.none-to-resume",
        "there was no session in this workspace",
        where=workspace,
        advice="see `astrid sessions list --all`",
    )


async def read_journal(client: Client, name: str) -> Journal:
    """Everything of one session.

    Raises:
        AstridError: there is none, or it cannot be read.
    """
    session_id = show_id("session", parse_id("session", name))
    data = b""
    while True:
        asked = p.JournalOf(session_id=session_id, offset=len(data))
        part = cast("w.JournalPart", await client.call("readJournal", asked))
        data += part.data
        if not part.data or len(data) >= part.size:
            break
    lines = data.splitlines()
    if len(data) != part.size or len(lines) != part.session.rows:
        raise ChainError("session.cut", "the session's journal did not come whole", advice="try again")
    return Journal(part.session, lines)


# --- for people


def line_of(past: w.PastSession) -> str:
    """One session on one line."""
    state = f"{past.state} ({past.ended})" if past.ended else past.state
    what = past.trouble or past.prompt
    turns = counted(past.turns, "turn")
    where = past.workspace or "-"
    return plain(
        f"{past.session_id} {_time(past.last_ns)} {state}, {past.mode}, {past.model}, {turns}, {where}: {what}"
    )


def for_people(journal: Journal) -> Iterator[str]:
    """The conversation, line by line."""
    yield line_of(journal.session)
    for said in conversation(journal.rows()):
        yield plain(said.about)
        yield from (f"  {plain(line.expandtabs(4))}" for line in said.text.splitlines())


def as_markdown(journal: Journal) -> Iterator[str]:
    """The conversation as a document: what was said stands in blocks of its own, as it was."""
    past = journal.session
    yield f"# {past.session_id}"
    yield f"\n    {line_of(past)}"
    for said in conversation(journal.rows()):
        yield f"\n## {_literal(said.about)}"
        if said.text:
            fence = "`" * max(3, *(len(ticks) + 1 for ticks in _TICKS.findall(said.text)), 0)
            yield f"\n{fence}text"
            yield "\n".join(plain(line.expandtabs(4)) for line in said.text.splitlines())
            yield fence


def as_json_lines(journal: Journal) -> Iterator[str]:
    """What the session is, and then its rows, one object a line."""
    yield json.dumps({"session": plain_fields(journal.session)})
    # As ASCII: some readers take more than a line feed for the end of a line.
    yield from (json.dumps(json.loads(line)) for line in journal.lines)


def plain_fields(past: w.PastSession) -> dict[str, object]:
    """A session for programs."""
    fields = {name: getattr(past, name) for name in past.__struct_fields__}
    return {**fields, "started_ns": int(past.started_ns), "last_ns": int(past.last_ns)}


def conversation(rows: Iterable[AnyRow]) -> Iterator[Said]:
    """What happened, in order, with how far each piece may be believed."""
    names: dict[str, str] = {}
    for row in rows:
        match row:
            case InputRow():
                yield Said(f"somebody said ({_worth(row.label)}):", row.text)
            case AnswerRow():
                for part in row.parts:
                    match part:
                        case Text():
                            yield Said(f"the model said ({_worth(row.label)}):", part.text)
                        case ToolUse():
                            names[part.id] = part.name
                            yield Said(
                                f"the model called {part.name} [{part.id}] ({_worth(row.label)}):", part.arguments
                            )
                        case _:
                            yield Said(f"the model thought ({_worth(row.label)}):", part.text)
            case ResultRow():
                how = "error" if row.is_error else "result"
                yield Said(f"{how} of {names.get(row.id, '?')} [{row.id}] ({_worth(row.label)}):", row.content)
            case CompactRow():
                yield Said(f"summed up to make room ({_worth(row.label)}):", row.text)
            case RestoreRow():
                yield Said("what was summed up was put back")
            case RewindRow():
                yield Said(f"rewound: what follows was said after turn {row.turn}")
            case ForkRow():
                origin = f"{show_id('session', row.session)}, turns 1 to {row.turn}, as it was at record {row.record}"
                yield Said(f"from here on the words of {origin} ({_worth(row.label)})")
            case EndRow():
                yield Said(f"the turn ended: {row.reason}{f' [{row.code}]' if row.code else ''}")
            case FrameRow() | AskRow() | WaitRow() | SummaryRow() | CallRow():
                continue  # what it was told to be, and proposals, whose answers follow
            case _:
                assert_never(row)


def _worth(label: Label) -> str:
    worth = label.integrity.name.lower().replace("_", " ")
    return f"{worth}, from {', '.join(map(str, label.origins))}" if label.origins else worth


def _literal(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|!&])", r"\\\1", plain(text))


def _time(ns: str) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(ns) // 1000)).strftime("%Y-%m-%dT%H:%M:%SZ")
