"""What the log says of a session that is to wake, and what lies on the disk and is not what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from trio.testing import MockClock

from astrid.adapters.store.journal import SqliteReader, payload_key, row_key
from astrid.core.canon import encode
from astrid.core.chain import decode_body, decode_frame
from astrid.core.gate_admin import rows_digest
from astrid.core.records import JournalRow, Kind, seal
from astrid.core.turn_messages import FrameRow, InputRow, decode_row
from astrid.errors import ChainError
from astrid.messages.archive import Recall, Recalled
from astrid.messages.gateway import AskCheckpoint
from astrid.runtime import archive as archive_module
from astrid.runtime.archive import recall_session
from tests.fakes.home import HOLDER
from tests.fakes.runtime import Runtime, running
from tests.fakes.sleepers import children, listen, opened, sleep, states, talk, until


def change(runtime: Runtime, sql: str, *values: bytes | int) -> None:
    """Somebody edits the log's database, past its triggers."""
    database = apsw.Connection(str(runtime.world.home.log))
    for (name,) in list(database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")):
        database.execute(f'DROP TRIGGER "{name}"')
    database.execute(sql, values)
    assert database.changes() > 0
    database.close()


EDITS = {
    "a word": (
        "UPDATE journal SET row = CAST(replace(CAST(row AS TEXT), 'remember', 'disobey!') AS BLOB)",
        "session.changed",
    ),
    "a label": (
        "UPDATE journal SET row = CAST(replace(CAST(row AS TEXT), '\"integrity\":0', '\"integrity\":3') AS BLOB)",
        "session.changed",
    ),
    "a row less": ("DELETE FROM journal WHERE key = (SELECT max(key) FROM journal)", "session.changed"),
    "no rows": ("DELETE FROM journal", "session.erased"),
    "nothing beside": ("DELETE FROM payload WHERE length(sealed) = 64", "session.erased"),
    "another digest": (
        "UPDATE payload SET sealed = CAST(substr(sealed, 1, 32) || zeroblob(32) AS BLOB) WHERE length(sealed) = 64",
        "record.spoilt",
    ),
    "another record": ("UPDATE log SET frame = CAST(substr(frame, 1, length(frame) - 1) || x'00' AS BLOB)", ""),
    "a record less": ("DELETE FROM log WHERE seq = (SELECT max(seq) FROM log)", ""),
}


@pytest.mark.parametrize("name", EDITS)
async def test_nobody_wakes_on_what_was_changed_on_the_disk(tmp_path: Path, mock_clock: MockClock, name: str) -> None:
    sql, code = EDITS[name]
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await talk(runtime, "remember this")
        await sleep(runtime, mock_clock)
        change(runtime, sql)
        await listen(runtime, 100)
        events = await talk(runtime)
        assert [event["event"] for event in events] == ["error", "turn_complete"]
        assert code in ("", events[0]["code"])
        assert events[1]["stop_reason"] == "failed"
        assert (await states(runtime), children(runtime), len(runtime.model.asked)) == (["asleep"], [], 1)


async def test_rows_with_digests_of_their_own_are_not_those_of_the_log(tmp_path: Path, mock_clock: MockClock) -> None:
    """Whoever changes a row, what lies beside its record and the record itself has a log that hangs together nowhere
    but in the one place that is not on the disk.
    """
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await talk(runtime, "remember this")
        await sleep(runtime, mock_clock)
        forge(runtime)
        await listen(runtime, 100)
        events = await talk(runtime)
        assert events[0]["code"] == "session.changed"


def forge(runtime: Runtime) -> None:
    reader = SqliteReader(runtime.world.home.log)
    frames = [decode_frame(raw) for raw in reader.frames(1, 1000)]
    frame = next(one for one in frames if one.kind == Kind.JOURNAL)
    body: Any = decode_body(frame)
    rows = [row.replace(b"remember", b"disobey!") for row in reader.rows(frame.session, body.first, body.count)]
    reader.close()
    made = tuple(JournalRow(number, data) for number, data in enumerate(rows, body.first))
    sealed, payload = seal(rows_digest(made), b"s" * 32)
    forged = encode(msgspec.structs.replace(frame, body=encode(msgspec.structs.replace(body, rows=sealed))))
    for row in made:
        change(runtime, "UPDATE journal SET row = ? WHERE key = ?", row.data, row_key(frame.session, row.number))
    key = payload_key(frame.seq, 0)
    change(runtime, "UPDATE payload SET sealed = ? WHERE key = ?", payload.salt + payload.data, key)
    change(runtime, "UPDATE log SET frame = ? WHERE seq = ?", forged, frame.seq)
    change(runtime, "DELETE FROM tile") if had_tiles(runtime) else None


def had_tiles(runtime: Runtime) -> bool:
    reader = SqliteReader(runtime.world.home.log)
    tile = reader.tile(0, 0)
    reader.close()
    return bool(tile)


async def remembered(runtime: Runtime, mock_clock: MockClock) -> Recall:
    """What is asked about a session that said something."""
    session = await opened(runtime)
    await talk(runtime, "remember this")
    await sleep(runtime, mock_clock)
    checkpoint = await runtime.by_ticket(lambda n: AskCheckpoint(ticket=n))
    record = runtime.world.dormitory.get(session)
    assert record is not None
    rows = runtime.world.facts.rows[session]
    return Recall(id=1, session=session, first=record.numbers.first, rows=rows, note=checkpoint.note)


async def recall(runtime: Runtime, wanted: Recall) -> Recalled:
    world = runtime.world
    return await world.consult(lambda reader: recall_session(reader, wanted, world.keys, world.identity.roots))


async def test_what_the_log_says_of_a_session_is_all_of_it(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        wanted = await remembered(runtime, mock_clock)
        found = await recall(runtime, wanted)
        [started] = [body for kind, body in runtime.records() if kind is Kind.SESSION_STARTED]
        assert (found.key, found.mode, found.model) == (started.principal, "guided", "fake/shared")  # type: ignore[attr-defined]
        assert len(found.rows) == wanted.rows
        assert [type(decode_row(row)) for row in found.rows[:2]] == [FrameRow, InputRow]


@pytest.mark.parametrize(
    "fields", [{"rows": -1}, {"rows": 1}, {"first": -1}, {"first": 1}], ids=["fewer", "more", "before", "behind"]
)
async def test_rows_that_the_gate_did_not_count_or_that_are_missing_are_refused(
    tmp_path: Path, mock_clock: MockClock, fields: dict[str, int]
) -> None:
    async with running(tmp_path) as runtime:
        wanted = await remembered(runtime, mock_clock)
        changed = {name: getattr(wanted, name) + by for name, by in fields.items()}
        with pytest.raises(ChainError) as caught:
            await recall(runtime, msgspec.structs.replace(wanted, **changed))
        assert caught.value.code == "session.changed"


async def test_what_was_written_after_the_checkpoint_is_not_looked_at(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        wanted = await remembered(runtime, mock_clock)
        await listen(runtime, 100)
        await talk(runtime, "more")
        assert runtime.world.facts.rows[wanted.session] > wanted.rows
        assert len((await recall(runtime, wanted)).rows) == wanted.rows


async def test_a_checkpoint_that_another_key_signed_shows_nothing(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        wanted = await remembered(runtime, mock_clock)
        keys = msgspec.structs.replace(runtime.world.keys, runtime_key=HOLDER.public)
        with pytest.raises(ChainError):
            await runtime.world.consult(
                lambda reader: recall_session(reader, wanted, keys, runtime.world.identity.roots)
            )


async def test_long_lives_are_read_by_the_page(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "PAGE", 1)
    async with running(tmp_path) as runtime:
        wanted = await remembered(runtime, mock_clock)
        assert len((await recall(runtime, wanted)).rows) == wanted.rows


async def test_a_session_whose_turn_did_not_end_is_not_woken(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = archive_module.recall_session

    def cut(*args: Any) -> Recalled:
        found = whole(*args)
        return msgspec.structs.replace(found, rows=found.rows[:-1])

    async with running(tmp_path) as runtime:
        await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)
        monkeypatch.setattr(archive_module, "recall_session", cut)
        await listen(runtime, 100)
        assert (await talk(runtime))[0]["code"] == "session.unfinished"
        assert await states(runtime) == ["asleep"]


async def test_whoever_says_nonsense_to_the_archive_is_recorded_and_nothing_breaks(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        runtime.system.post(runtime.directory.by_path["root/archive"], AskCheckpoint(ticket=1))

        async def recorded() -> bool:
            return [body.code for kind, body in runtime.records() if kind is Kind.DENIED] == ["gate.message"]  # type: ignore[attr-defined]

        await until(recorded)
