"""Every session that the log tells of, and logs that are not the one that was written."""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec
import pytest
from trio.testing import MockClock

from astrid.adapters.store.journal import SqliteReader
from astrid.core.canon import encode
from astrid.core.chain import decode_frame
from astrid.errors import ChainError
from astrid.messages.gateway import AskCheckpoint
from astrid.runtime import chronicle as chronicle_module
from astrid.runtime.chronicle import Chronicle, PastSession
from tests.fakes.home import HOLDER
from tests.fakes.runtime import Runtime, running
from tests.fakes.sleepers import opened, talk


async def stated(runtime: Runtime) -> bytes:
    return (await runtime.by_ticket(lambda n: AskCheckpoint(ticket=n))).note


def read(chronicle: Chronicle, runtime: Runtime, note: bytes) -> dict[bytes, PastSession]:
    reader = SqliteReader(runtime.world.home.log)
    try:
        return dict(chronicle.read(reader, note))
    finally:
        reader.close()


def put(runtime: Runtime, seq: int, frame: bytes | None) -> None:
    """Somebody puts another record there, or takes it away."""
    database = apsw.Connection(str(runtime.world.home.log))
    for (name,) in list(database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")):
        database.execute(f'DROP TRIGGER "{name}"')
    if frame is None:
        database.execute("DELETE FROM log WHERE seq = ?", (seq,))
    else:
        database.execute("UPDATE log SET frame = ? WHERE seq = ?", (frame, seq))
    assert database.changes() == 1
    database.close()


def frames(runtime: Runtime) -> list[bytes]:
    reader = SqliteReader(runtime.world.home.log)
    try:
        return reader.frames(1, 10_000)
    finally:
        reader.close()


async def test_what_is_new_is_added_to_what_was_read(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chronicle_module, "PAGE", 2)
    async with running(tmp_path) as runtime:
        chronicle = Chronicle(runtime.world.keys)
        session = await opened(runtime)
        early = await stated(runtime)
        assert read(chronicle, runtime, early)[session].rows == 0
        await talk(runtime, "remember this")
        late = await stated(runtime)
        found = read(chronicle, runtime, late)[session]
        assert (found.rows, found.turns, found.ended) == (runtime.world.facts.rows[session], 1, "")
        assert read(Chronicle(runtime.world.keys), runtime, late)[session] == found
        assert read(chronicle, runtime, early)[session] == found  # less than was read is not looked at again


@pytest.mark.parametrize("which", [1, 2, -1], ids=["a record", "the next one", "the last one"])
@pytest.mark.parametrize("how", ["changed", "gone"])
async def test_nothing_is_told_of_a_log_that_is_not_the_one_that_was_written(
    tmp_path: Path, mock_clock: MockClock, which: int, how: str
) -> None:
    """Also not of one that hangs together: the last record may say anything and still follow the one before it."""
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await talk(runtime, "remember this")
        note = await stated(runtime)
        frame = decode_frame(frames(runtime)[which])
        forged = encode(msgspec.structs.replace(frame, time_ns=frame.time_ns + 1))
        put(runtime, frame.seq, forged if how == "changed" else None)
        chronicle = Chronicle(runtime.world.keys)
        for _ in range(2):  # what was read of it is not kept
            with pytest.raises(ChainError) as caught:
                read(chronicle, runtime, note)
            assert caught.value.code == "session.changed"


async def test_what_another_key_states_is_nothing(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        keys = msgspec.structs.replace(runtime.world.keys, runtime_key=HOLDER.public)
        note = await stated(runtime)
        with pytest.raises(ChainError):
            read(Chronicle(keys), runtime, note)
