"""What does it cost to have a session of 10,000 messages there again?

Every row is shown to be what the log's writer stands for, and the conversation is made of them; that is all that a
session waits for when it wakes or is resumed, beside its actor.  The peer reads the same rows out of the same file and
decodes them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio

from astrid.adapters.store.journal import SqliteReader
from astrid.core.conversation import ToolUse
from astrid.core.grants import Mode
from astrid.core.labels import SIGNED_USER
from astrid.core.records import JournalRow, Kind
from astrid.core.turn_messages import (
    AnswerRow,
    AnyRow,
    AskRow,
    CallRow,
    EndRow,
    FrameRow,
    InputRow,
    ResultRow,
    Setting,
    decode_row,
    encode_row,
)
from astrid.core.turn_state import Idle, restore
from astrid.messages.archive import Recall
from astrid.messages.gate import Save
from astrid.messages.gateway import AskCheckpoint
from astrid.runtime.archive import recall_session
from bench import measure
from bench.measure import Row, cost, shown
from tests.fakes.runtime import Runtime, running
from tests.fakes.sleepers import actor

ROUNDS = 8
MESSAGES = 10_000
TOGETHER = 64  # saves on their way to the log
BAR = 2


def saves(setting: Setting) -> Iterator[tuple[AnyRow, ...]]:
    """What a session with so many messages saves: one input, and then calls of a tool, each with its result."""
    label, at = SIGNED_USER, 1
    yield (
        FrameRow(at_ns=at, setting=setting),
        InputRow(at_ns=at, text="go", label=label),
        AskRow(at_ns=at, ref=1),
    )
    for number in range(1, MESSAGES // 2):
        use = ToolUse(id=f"c{number}", name="read_file", arguments=f'{{"file_path":"a.txt","limit":{number}}}')
        answer = AnswerRow(at_ns=at, parts=(use,), label=label, usage=None)
        yield (answer, CallRow(at_ns=at, id=use.id, ref=2 * number))
        result = ResultRow(at_ns=at, id=use.id, content="     1\thello\n" * 8, is_error=False, label=label)
        yield (result, AskRow(at_ns=at, ref=2 * number + 1))
    yield (AnswerRow(at_ns=at, parts=(), label=label, usage=None), EndRow(at_ns=at, reason="end_turn", code=""))


async def until_durable(session: Any, number: int) -> None:
    """Return once save ``number`` is in the log."""
    while session._tell._durable < number:
        await trio.lowlevel.checkpoint()


async def filled(runtime: Runtime) -> Recall:
    """A session that saved all that, and what is asked to have it again."""
    session = await runtime.open_shared()
    mine: Any = actor(runtime, session)
    count = number = 0
    for number, rows in enumerate(saves(mine._turn.setting), 1):
        kept = tuple(JournalRow(count + place, encode_row(row)) for place, row in enumerate(rows, 1))
        count += len(rows)
        mine._save(Save(id=-number, rows=kept), number)
        await until_durable(mine, number - TOGETHER)
    await until_durable(mine, number)
    checkpoint = await runtime.by_ticket(lambda ticket: AskCheckpoint(ticket=ticket))
    first = 1 + [kind for kind, _ in runtime.records()].index(Kind.SESSION_STARTED)
    return Recall(id=0, session=session, first=first, rows=count, note=checkpoint.note)


def read(path: Path, wanted: Recall) -> int:
    """Read the rows and decode them; how many there are."""
    reader = SqliteReader(path)
    try:
        return len([decode_row(row) for row in reader.rows(wanted.session, 1, wanted.rows)])
    finally:
        reader.close()


def had_again(path: Path, wanted: Recall, runtime: Runtime, setting: Setting) -> int:
    """Verify the rows and make the conversation of them; how many messages it has."""
    reader = SqliteReader(path)
    try:
        recalled = recall_session(reader, wanted, runtime.world.keys, runtime.world.identity.roots)
        turn = restore(setting, map(decode_row, recalled.rows))
    finally:
        reader.close()
    if not isinstance(turn.phase, Idle):
        raise AssertionError("the turn did not end")
    return len(turn.conversation)


async def measured(folder: Path, rounds: int) -> tuple[float, float]:
    """Seconds of processor time: to have the session again, and to read its rows."""
    async with running(folder) as runtime:
        await runtime.grant(Mode.GUIDED)
        wanted = await filled(runtime)
        mine: Any = actor(runtime, wanted.session)
        setting, path = mine._turn.setting, runtime.world.home.log
        if (had_again(path, wanted, runtime, setting), read(path, wanted)) != (MESSAGES - 1, wanted.rows):
            raise AssertionError("what was read is not the session that was made")
        ours, peer = measure.least(
            rounds,
            lambda: cost(lambda: had_again(path, wanted, runtime, setting)),
            lambda: cost(lambda: read(path, wanted)),
        )
    return ours, peer


def rows(rounds: int) -> Iterator[Row]:
    """Having a session again over reading its rows."""
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as folder:
        ours, peer = trio.run(measured, Path(folder), rounds)
    yield Row(
        what=f"resume of a session of {MESSAGES:,} messages",
        measured=ours / peer,
        bar=BAR,
        unit="x reading its rows",
        detail=f"{shown(ours)}, each row shown to be under the log's root; {shown(peer)} without",
    )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
