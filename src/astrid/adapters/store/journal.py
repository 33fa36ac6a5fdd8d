"""The ``Journal`` port on SQLite: one thread owns the connection and commits whole batches; a reader beside it.

One statement per table and batch (a carray is bound once, and the interpreter lock is let go once), no timers:
while a batch syncs, the next one collects.

Source: SQLite documentation (carray, group commit by one writer); protocol N9.
"""

from __future__ import annotations

import os
import queue
import threading  # noqa: TID251 - one writer for the life of the database; a borrowed thread per batch costs ten times the hop
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import trio

from astrid.adapters.store.ballast import BALLAST_BYTES, Ballast
from astrid.adapters.store.database import open_reader, open_writer, translated
from astrid.errors import ConfigError, Effect, JournalError
from astrid.ports import Batch

_LOG = "INSERT INTO log SELECT ?1 + rowid, value FROM carray(?2)"
_PAYLOAD = "INSERT INTO payload SELECT substr(value, 1, 9), substr(value, 10) FROM carray(?1)"
_ROWS = "INSERT INTO journal SELECT substr(value, 1, 24), substr(value, 25) FROM carray(?1)"
_ERASE_ROWS = "DELETE FROM journal WHERE key BETWEEN ?1 AND ?2"
_ERASE_TEXTS = "DELETE FROM payload WHERE key IN (SELECT value FROM carray(?1))"
_TILES = (
    "INSERT INTO tile SELECT substr(value, 1, 9), substr(value, 10) FROM carray(?1) WHERE true ON CONFLICT DO NOTHING"
)
_CHECKPOINT = "INSERT INTO checkpoint VALUES(?1, ?2) ON CONFLICT DO NOTHING"

Value = int | float | bytes | str | None
Done = Callable[[JournalError | None], None]


def payload_key(seq: int, slot: int) -> bytes:
    """The key of one payload of record ``seq``."""
    return seq.to_bytes(8, "big") + slot.to_bytes(1, "big")


def row_key(session: bytes, number: int) -> bytes:
    """The key of row ``number`` of a session's journal."""
    return session + number.to_bytes(8, "big")


def commit(connection: apsw.Connection, batch: Batch) -> None:
    """Write ``batch`` in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if batch.frames:
            connection.execute(_LOG, (batch.first - 1, apsw.carray(batch.frames)))
        if batch.payloads:
            packed = tuple(payload_key(seq, slot) + salt + data for seq, slot, salt, data in batch.payloads)
            connection.execute(_PAYLOAD, (apsw.carray(packed),))
        if batch.rows:
            packed = tuple(row_key(session, number) + data for session, number, data in batch.rows)
            connection.execute(_ROWS, (apsw.carray(packed),))
        for erasure in batch.erases:
            keys = tuple(payload_key(*text) for text in erasure.texts)
            connection.execute(_ERASE_ROWS, (row_key(erasure.session, 0), row_key(erasure.session, 2**64 - 1)))
            if keys:
                connection.execute(_ERASE_TEXTS, (apsw.carray(keys),))
        if batch.tiles:
            packed = tuple(bytes([tile.level]) + tile.index.to_bytes(8, "big") + tile.hashes for tile in batch.tiles)
            connection.execute(_TILES, (apsw.carray(packed),))
        if batch.checkpoint is not None:
            connection.execute(_CHECKPOINT, batch.checkpoint)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class SqliteJournal:
    """The writer.  Make it in the event loop that is to be told of completions; ``aclose`` it before that loop ends.

    ``keep`` is called in the writer's thread with each checkpoint once it is committed, and keeps it outside the
    database's folder (N11).
    When it fails the commit stands, and ``anchor_trouble`` says why until the next one is kept: the last anchor
    still bounds what can be cut off.

    When the disk is full, the room kept beside the log (``ballast``) is used up and ``short_of_room`` says so, until
    a later commit finds enough space to keep it again.
    """

    def __init__(self, path: Path, keep: Callable[[bytes], None], *, ballast_bytes: int = BALLAST_BYTES) -> None:
        self._path = path
        self._keep = keep
        self._anchor_trouble = ""
        self._jobs: queue.SimpleQueue[tuple[Batch, Done] | None] = queue.SimpleQueue()
        self._over = False
        self._token = trio.lowlevel.current_trio_token()
        self._connection = open_writer(path)
        self._ballast = Ballast(path.with_name("ballast"), ballast_bytes)
        self._short = not self._ballast.keep()
        self._thread = threading.Thread(target=self._run, name="astrid-journal")
        self._thread.start()

    @property
    def short_of_room(self) -> bool:
        """Whether the room that is kept for last words is in use."""
        return self._short

    @property
    def anchor_trouble(self) -> str:
        """Why the last checkpoint could not be kept elsewhere."""
        return self._anchor_trouble

    def submit(self, batch: Batch, done: Done) -> None:
        """Commit ``batch``; ``done`` is called on the event loop when it is durable or has failed."""
        self._jobs.put((batch, done))
        if self._over:
            self._refuse_rest()

    async def aclose(self) -> None:
        """Finish what was submitted, then let go of the database.  Cancelled, the writer still does both."""
        self._jobs.put(None)
        await trio.to_thread.run_sync(self._thread.join, abandon_on_cancel=True)

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                self._serve(*job)
        finally:
            self._over = True
            self._refuse_rest()
            self._connection.close()

    def _serve(self, batch: Batch, done: Done) -> None:
        outcome: JournalError | None = _ended("maybe")  # what is told if this breaks by a bug
        try:
            self._write(batch)
            outcome = None
        except JournalError as error:
            outcome = error
        finally:
            self._tell(done, outcome)

    def _write(self, batch: Batch) -> None:
        with translated(self._path, "write"):
            try:
                commit(self._connection, batch)
            except apsw.FullError:
                if not self._ballast.give_up():
                    raise
                commit(self._connection, batch)
        self._short = not self._ballast.keep()
        if batch.checkpoint is not None:
            self._anchor(batch.checkpoint[1])

    def _refuse_rest(self) -> None:
        """Nobody is left to write: say so to whoever still waits."""
        with suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    self._tell(job[1], _ended("none"))

    def _tell(self, done: Done, outcome: JournalError | None) -> None:
        with suppress(trio.RunFinishedError):  # nobody is left to be told; what was committed stays
            self._token.run_sync_soon(done, outcome)

    def _anchor(self, note: bytes) -> None:
        try:
            self._keep(note)
            self._anchor_trouble = ""
        except ConfigError as error:
            self._anchor_trouble = error.render()


def _ended(effect: Effect) -> JournalError:
    return JournalError(
        "journal.ended", "the log's writer has ended", effect=effect, advice="restart the daemon", retry=False
    )


class SqliteReader:
    """The ``LogReader`` port.  Each call blocks on the disk; use it from a thread of its own or before the event
    loop.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_reader(path)

    def _rows(self, sql: str, bindings: tuple[Value, ...] = ()) -> list[tuple[Value, ...]]:
        with translated(self._path, "read"):
            return list(self._connection.execute(sql, bindings))

    def hold(self) -> None:
        """From now on see the log as it is at this moment, whatever is written meanwhile."""
        self._rows("BEGIN")
        self.size()  # the moment is that of the first look

    def size(self) -> int:
        """The number of records."""
        return _int(self._rows("SELECT coalesce(max(seq), 0) FROM log")[0][0])

    def frames(self, first: int, count: int) -> list[bytes]:
        """Up to ``count`` records from number ``first`` on."""
        rows = self._rows("SELECT frame FROM log WHERE seq >= ?1 ORDER BY seq LIMIT ?2", (first, count))
        return [_bytes(row[0]) for row in rows]

    def frames_of(self, session: bytes, first: int, count: int) -> list[bytes]:
        """Up to ``count`` records from number ``first`` on that hold the id ``session``."""
        # The database looks through the others by itself; made into objects here they would cost ten times as much.
        sql = "SELECT frame FROM log WHERE seq >= ?1 AND instr(frame, ?2) ORDER BY seq LIMIT ?3"
        return [_bytes(row[0]) for row in self._rows(sql, (first, session, count))]

    def payload(self, seq: int, slot: int) -> tuple[bytes, bytes] | None:
        """Salt and bytes beside record ``seq``, unless erased or never kept."""
        rows = self._rows("SELECT sealed FROM payload WHERE key = ?1", (payload_key(seq, slot),))
        if not rows:
            return None
        sealed = _bytes(rows[0][0])
        return sealed[:32], sealed[32:]

    def payloads(self) -> Iterator[tuple[int, int, bytes, bytes]]:
        """Everything that lies beside the records, in their order: number, slot, salt and bytes."""
        # SAFETY: a key of another length is one that nobody asks for, and none must pass for one that somebody does.
        sql = "SELECT key, sealed FROM payload WHERE length(key) = 9 ORDER BY key"
        with translated(self._path, "read"):
            for key, sealed in self._connection.execute(sql):
                if not isinstance(key, bytes) or not isinstance(sealed, bytes):
                    raise _no_bytes()
                yield int.from_bytes(key[:8], "big"), key[8], sealed[:32], sealed[32:]

    def rows(self, session: bytes, first: int, count: int) -> list[bytes]:
        """Up to ``count`` rows of a session's journal from number ``first`` on."""
        low, high = row_key(session, first), row_key(session, 2**64 - 1)
        rows = self._rows(
            "SELECT row FROM journal WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?3", (low, high, count)
        )
        return [_bytes(row[0]) for row in rows]

    def tile(self, level: int, index: int) -> bytes:
        """A stored tile of the Merkle tree, empty if there is none."""
        rows = self._rows("SELECT hashes FROM tile WHERE key = ?1", (bytes([level]) + index.to_bytes(8, "big"),))
        return _bytes(rows[0][0]) if rows else b""

    def checkpoint(self) -> bytes | None:
        """The last signed checkpoint, or ``None``."""
        rows = self._rows("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
        return _bytes(rows[0][0]) if rows else None

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """Every signed checkpoint with its size, in order."""
        return [
            (_int(size), _bytes(note)) for size, note in self._rows("SELECT size, note FROM checkpoint ORDER BY size")
        ]

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()


class SqliteStore:
    """The ``LogStore`` port: one database file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        """Whether anything at all is there."""
        return os.path.lexists(self._path)

    def reader(self) -> SqliteReader:
        """A reader beside the writer."""
        return SqliteReader(self._path)

    def writer(self, keep: Callable[[bytes], None]) -> SqliteJournal:
        """The writer."""
        return SqliteJournal(self._path, keep)


def _int(value: Value) -> int:
    if not isinstance(value, int):
        raise _corrupt("a number in the log's database is not a number")
    return value


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise _no_bytes()
    return value


def _no_bytes() -> JournalError:
    return _corrupt("bytes in the log's database are not bytes")


def _corrupt(what: str) -> JournalError:
    advice = "keep the file, restore a copy, or see `astrid audit accept-loss`"
    return JournalError("journal.corrupt", what, effect="none", advice=advice, retry=False)
