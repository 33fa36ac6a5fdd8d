"""What every journal promises, on the database and on the fake alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
import trio

from astrid.adapters.store.journal import SqliteJournal, SqliteReader
from astrid.core.records import Erasure
from astrid.core.tiles import Tile
from astrid.errors import ConfigError, JournalError
from astrid.ports import Batch, Journal
from tests.fakes.journal import FakeJournal, FakeLog

SESSION, OTHER = b"s" * 16, b"o" * 16
SALT = b"x" * 32


class Bench(Protocol):
    """One kind of journal, on a disk that a test can fill."""

    def open(self, keep: Callable[[bytes], None] = ...) -> Journal: ...
    def reader(self) -> Any: ...
    def fill(self, journal: Journal) -> None: ...
    def free(self, journal: Journal) -> None: ...


class OnDisk:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "audit.db"
        self._readers: list[SqliteReader] = []

    def open(self, keep: Callable[[bytes], None] = lambda note: None) -> SqliteJournal:
        return SqliteJournal(self._path, keep, ballast_bytes=4096)

    def reader(self) -> SqliteReader:
        self._readers.append(SqliteReader(self._path))
        return self._readers[-1]

    def fill(self, journal: SqliteJournal) -> None:
        self._limit(journal, 1)  # SQLite never goes below what is there

    def free(self, journal: SqliteJournal) -> None:
        self._limit(journal, 2**30)

    def _limit(self, journal: SqliteJournal, pages: int) -> None:
        connection = journal._connection
        guard, connection.authorizer = connection.authorizer, None
        connection.pragma("max_page_count", pages)
        connection.authorizer = guard

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


class InMemory:
    def __init__(self) -> None:
        self._log = FakeLog()

    def open(self, keep: Callable[[bytes], None] = lambda note: None) -> FakeJournal:
        return FakeJournal(self._log, keep)

    def reader(self) -> FakeLog:
        return self._log

    def fill(self, journal: FakeJournal) -> None:
        self._log.free_bytes = 0

    def free(self, journal: FakeJournal) -> None:
        self._log.free_bytes = 10**12

    def close(self) -> None:
        pass


@pytest.fixture(params=["database", "fake"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = OnDisk(tmp_path) if request.param == "database" else InMemory()
    yield made
    made.close()


def batch(first: int, *frames: bytes, **beside: Any) -> Batch:
    return Batch(first=first, frames=frames, **beside)


async def write(journal: Journal, *batches: Batch) -> list[JournalError | None]:
    """Submit all of them at once; how each ended."""
    told: list[JournalError | None] = []
    over = trio.Event()

    def done(error: JournalError | None) -> None:
        told.append(error)
        if len(told) == len(batches):
            over.set()

    for one in batches:
        journal.submit(one, done)
    with trio.fail_after(20):
        await over.wait()
    return told


async def test_what_was_written_is_read_back_in_order(bench: Bench) -> None:
    journal = bench.open()
    assert await write(journal, batch(1, b"one", b"two"), batch(3, b"three")) == [None, None]
    reader = bench.reader()
    assert (reader.size(), reader.frames(1, 10)) == (3, [b"one", b"two", b"three"])
    assert reader.frames(2, 1) == [b"two"]
    assert reader.frames(4, 10) == []
    await journal.aclose()


async def test_the_records_of_one_session_are_found_among_all_others(bench: Bench) -> None:
    one, other = b"\x00\xff" * 8, b"\x00\xfe" * 8
    journal = bench.open()
    frames = [b"1" + one, b"2" + other, b"3", b"4\x00" + one + b"\x00", b"5" + one]
    await write(journal, batch(1, *frames))
    reader = bench.reader()
    assert reader.frames_of(one, 1, 10) == [frames[0], frames[3], frames[4]]
    assert reader.frames_of(one, 2, 1) == [frames[3]]
    assert reader.frames_of(b"n" * 16, 1, 10) == reader.frames_of(one, 6, 10) == []
    await journal.aclose()


async def test_it_outlives_its_writer(bench: Bench) -> None:
    journal = bench.open()
    await write(journal, batch(1, b"one"))
    await journal.aclose()
    journal = bench.open()
    await write(journal, batch(2, b"two"))
    await journal.aclose()
    assert bench.reader().frames(1, 10) == [b"one", b"two"]


async def test_each_batch_is_reported_once_and_in_the_order_of_submission(bench: Bench) -> None:
    journal = bench.open()
    told: list[int] = []
    for number in range(1, 51):
        journal.submit(batch(number, b"x"), lambda error, number=number: told.append(number))
    await journal.aclose()
    await write_nothing()
    assert told == list(range(1, 51))


async def write_nothing() -> None:
    """Let what was reported be heard."""
    for _ in range(3):
        await trio.lowlevel.checkpoint()


async def test_a_report_comes_on_the_event_loop(bench: Bench) -> None:
    journal = bench.open()
    heard: list[object] = []
    over = trio.Event()

    def done(error: JournalError | None) -> None:
        heard.append(trio.lowlevel.current_trio_token())
        over.set()

    journal.submit(batch(1, b"one"), done)
    await over.wait()
    await journal.aclose()
    assert heard == [trio.lowlevel.current_trio_token()]


async def test_payloads_rows_tiles_and_checkpoints_are_read_back(bench: Bench) -> None:
    journal = bench.open()
    everything = batch(
        1,
        b"one",
        b"two",
        payloads=((1, 0, SALT, b"call"), (1, 1, SALT, b""), (2, 0, SALT, b"result")),
        rows=((SESSION, 2, b"second"), (SESSION, 1, b"first"), (OTHER, 1, b"theirs")),
        tiles=(Tile(0, 0, b"h" * 64), Tile(1, 0, b"g" * 32)),
        checkpoint=(2, b"note two"),
    )
    assert await write(journal, everything, batch(3, checkpoint=(1, b"note one"))) == [None, None]
    reader = bench.reader()
    assert [reader.payload(*key) for key in ((1, 0), (1, 1), (2, 0), (2, 1))] == [
        (SALT, b"call"),
        (SALT, b""),
        (SALT, b"result"),
        None,
    ]
    assert reader.rows(SESSION, 1, 10) == [b"first", b"second"]
    assert reader.rows(SESSION, 2, 10) == [b"second"]
    assert reader.rows(SESSION, 1, 1) == [b"first"]
    assert reader.rows(OTHER, 1, 10) == [b"theirs"]
    assert (reader.tile(0, 0), reader.tile(1, 0), reader.tile(0, 1)) == (b"h" * 64, b"g" * 32, b"")
    assert reader.checkpoint() == b"note two"
    assert reader.checkpoints() == [(1, b"note one"), (2, b"note two")]
    await journal.aclose()


async def test_what_is_erased_is_gone_with_the_record_and_nothing_else(bench: Bench) -> None:
    journal = bench.open()
    mine, other = b"A" * 16, b"B" * 16
    rows = tuple((whose, number, b"row") for whose in (mine, other) for number in (1, 2))
    payloads = tuple((seq, slot, SALT, b"text") for seq in (1, 2) for slot in (0, 1))
    erasure = Erasure(mine, ((1, 0), (2, 1), (9, 0)))
    assert await write(journal, batch(1, b"one", b"two", rows=rows, payloads=payloads)) == [None]
    assert await write(journal, batch(3, b"three", erases=(erasure, Erasure(b"C" * 16, ())))) == [None]
    reader = bench.reader()
    assert (reader.rows(mine, 1, 9), reader.rows(other, 1, 9)) == ([], [b"row", b"row"])
    kept = [(seq, slot) for seq in (1, 2) for slot in (0, 1) if reader.payload(seq, slot) is not None]
    assert kept == [(1, 1), (2, 0)]
    assert reader.size() == 3
    await journal.aclose()


async def test_what_is_not_recorded_is_not_erased(bench: Bench) -> None:
    journal = bench.open()
    mine = b"A" * 16
    await write(journal, batch(1, b"one", rows=((mine, 1, b"row"),), payloads=((1, 0, SALT, b"text"),)))
    twice = batch(2, b"two", payloads=((1, 0, SALT, b"again"),), erases=(Erasure(mine, ((1, 0),)),))
    assert (await write(journal, twice))[0] is not None
    reader = bench.reader()
    assert (reader.rows(mine, 1, 9), reader.payload(1, 0)) == ([b"row"], (SALT, b"text"))
    await journal.aclose()


async def test_a_new_log_is_empty(bench: Bench) -> None:
    journal = bench.open()
    reader = bench.reader()
    assert (reader.size(), reader.frames(1, 10), reader.checkpoint(), reader.checkpoints()) == (0, [], None, [])
    await journal.aclose()


async def test_an_empty_batch_is_reported_like_any_other(bench: Bench) -> None:
    journal = bench.open()
    assert await write(journal, batch(1)) == [None]
    assert bench.reader().size() == 0
    await journal.aclose()


@pytest.mark.parametrize(
    "bad",
    [
        batch(3, b"gap", payloads=((3, 0, SALT, b"p"),), rows=((SESSION, 2, b"r"),), checkpoint=(2, b"n")),
        batch(1, b"again", payloads=((2, 0, SALT, b"p"),), rows=((SESSION, 2, b"r"),), checkpoint=(2, b"n")),
        batch(2, b"same payload", payloads=((1, 0, SALT, b"p"),), rows=((SESSION, 2, b"r"),)),
        batch(2, b"same row", payloads=((2, 0, SALT, b"p"),), rows=((SESSION, 1, b"r"),)),
        batch(2, b"twice", payloads=((2, 0, SALT, b"p"), (2, 0, SALT, b"q"))),
    ],
    ids=lambda one: one.frames[0].decode(),
)
async def test_a_batch_is_written_whole_or_not_at_all(bench: Bench, bad: Batch) -> None:
    journal = bench.open()
    await write(journal, batch(1, b"one", payloads=((1, 0, SALT, b"p"),), rows=((SESSION, 1, b"r"),)))
    [error] = await write(journal, bad)
    reader = bench.reader()
    assert error is not None
    assert (error.code, error.fields["retry"]) == ("journal.failed", False)
    assert reader.frames(1, 10) == [b"one"]
    assert (reader.payload(2, 0), reader.payload(3, 0), reader.rows(SESSION, 2, 10)) == (None, None, [])
    assert reader.checkpoints() == []
    assert await write(journal, batch(2, b"two")) == [None]  # the writer goes on
    await journal.aclose()


async def test_a_full_disk_can_be_tried_again(bench: Bench) -> None:
    journal = bench.open()
    await write(journal, batch(1, b"one"))
    bench.fill(journal)
    big = batch(2, b"two", payloads=((2, 0, SALT, b"p" * 100_000),))
    [error] = await write(journal, big)
    assert error is not None
    assert (error.code, error.effect, error.fields["retry"]) == ("journal.full", "none", True)
    assert (bench.reader().frames(1, 10), bench.reader().payload(2, 0)) == ([b"one"], None)
    bench.free(journal)
    assert await write(journal, big) == [None]
    assert bench.reader().frames(1, 10) == [b"one", b"two"]
    await journal.aclose()


async def test_a_checkpoint_is_kept_outside_once_it_is_committed(bench: Bench) -> None:
    seen: list[tuple[bytes, bool]] = []
    journal = bench.open(lambda note: seen.append((note, bench.reader().checkpoint() == note)))
    await write(journal, batch(1, b"one"), batch(2, checkpoint=(1, b"note")))
    await journal.aclose()
    assert seen == [(b"note", True)]


async def test_a_checkpoint_that_cannot_be_kept_outside_does_not_undo_its_commit(bench: Bench) -> None:
    broken = True

    def keep(note: bytes) -> None:
        if broken:
            raise ConfigError("file.unwritable", "the anchor cannot be written")

    journal = bench.open(keep)
    assert await write(journal, batch(1, b"one", checkpoint=(1, b"note"))) == [None]
    assert bench.reader().checkpoint() == b"note"
    assert "the anchor cannot be written" in journal.anchor_trouble
    broken = False
    await write(journal, batch(2, b"two", checkpoint=(2, b"other")))
    assert journal.anchor_trouble == ""
    await journal.aclose()


async def test_closing_finishes_what_was_submitted(bench: Bench) -> None:
    journal = bench.open()
    for number in range(1, 21):
        journal.submit(batch(number, b"x"), lambda error: None)
    await journal.aclose()
    assert bench.reader().size() == 20


async def test_what_is_submitted_after_the_end_is_refused(bench: Bench) -> None:
    journal = bench.open()
    await journal.aclose()
    await journal.aclose()
    told = await write(journal, batch(1, b"one"), batch(2, b"two"))
    assert [error.code for error in told if error is not None] == ["journal.ended", "journal.ended"]
    assert bench.reader().size() == 0
