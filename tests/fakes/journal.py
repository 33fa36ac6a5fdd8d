"""The log in memory: the ``Journal`` and ``LogReader`` ports, passing the same contract as the database.

A ``FakeLog`` is the disk and outlives the writers on it.  A test may hold back commits, so that a batch stays in
flight, make the next ones fail, and limit the room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from astrid.core.tiles import Tile
from astrid.errors import ConfigError, Effect, JournalError
from astrid.ports import Batch

Done = Callable[[JournalError | None], None]


def failure(code: str, *, retry: bool, effect: Effect = "none") -> JournalError:
    """An error as a writer reports it."""
    return JournalError(code, f"the write failed by {code}", effect=effect, retry=retry)


class FakeLog:
    """What is durable.  ``free_bytes`` is what still fits on this disk."""

    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.kept: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self.journal: dict[tuple[bytes, int], bytes] = {}
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.notes: dict[int, bytes] = {}
        self.free_bytes = 10**12

    # ---- as a LogReader

    def size(self) -> int:
        return len(self.log)

    def frames(self, first: int, count: int) -> list[bytes]:
        return self.log[first - 1 : first - 1 + count]

    def frames_of(self, session: bytes, first: int, count: int) -> list[bytes]:
        return [frame for frame in self.log[first - 1 :] if session in frame][:count]

    def payload(self, seq: int, slot: int) -> tuple[bytes, bytes] | None:
        return self.kept.get((seq, slot))

    def rows(self, session: bytes, first: int, count: int) -> list[bytes]:
        numbers = sorted(number for whose, number in self.journal if whose == session and number >= first)
        return [self.journal[session, number] for number in numbers[:count]]

    def tile(self, level: int, index: int) -> bytes:
        return self.tiles.get((level, index), b"")

    def checkpoint(self) -> bytes | None:
        return self.notes[max(self.notes)] if self.notes else None

    def checkpoints(self) -> list[tuple[int, bytes]]:
        return sorted(self.notes.items())

    def close(self) -> None:
        """There is nothing to let go of."""

    # ---- as a disk

    def commit(self, batch: Batch) -> None:
        """All of ``batch``, or an error and nothing of it."""
        sealed = {(seq, slot): (salt, data) for seq, slot, salt, data in batch.payloads}
        rows = {(session, number): data for session, number, data in batch.rows}
        if batch.frames and batch.first != len(self.log) + 1:
            raise failure("journal.failed", retry=False, effect="maybe")
        if len(sealed) < len(batch.payloads) or len(rows) < len(batch.rows):
            raise failure("journal.failed", retry=False, effect="maybe")
        if not self.kept.keys().isdisjoint(sealed) or not self.journal.keys().isdisjoint(rows):
            raise failure("journal.failed", retry=False, effect="maybe")
        size = size_of(batch)
        if size > self.free_bytes:
            raise failure("journal.full", retry=True)
        self.free_bytes -= size
        self.log += batch.frames
        self.kept |= sealed
        self.journal |= rows
        for erasure in batch.erases:
            self.journal = {key: row for key, row in self.journal.items() if key[0] != erasure.session}
            self.kept = {key: kept for key, kept in self.kept.items() if key not in erasure.texts}
        self._keep_tiles(batch.tiles)
        if batch.checkpoint is not None:
            self.notes.setdefault(*batch.checkpoint)

    def _keep_tiles(self, tiles: tuple[Tile, ...]) -> None:
        for tile in tiles:
            self.tiles.setdefault((tile.level, tile.index), tile.hashes)


def size_of(batch: Batch) -> int:
    """The bytes that a batch takes on the disk."""
    parts = [*batch.frames, *(data for *_, data in batch.payloads), *(data for *_, data in batch.rows)]
    return sum(map(len, parts)) + (len(batch.checkpoint[1]) if batch.checkpoint is not None else 0)


class FakeJournal:
    """A writer on a ``FakeLog``.  While ``held``, what is submitted waits for ``release``."""

    def __init__(
        self, log: FakeLog, keep: Callable[[bytes], None] = lambda note: None, *, ballast_bytes: int = 0
    ) -> None:
        self.log = log
        self.anchor_trouble = ""
        self.batches: list[Batch] = []  # as they were submitted
        self.failures: deque[JournalError] = deque()  # of the next commits
        self.held = False
        self.closed = False
        self._keep = keep
        self._ballast_bytes = ballast_bytes
        self._has_ballast = False
        self._waiting: deque[tuple[Batch, Done]] = deque()
        self._token = trio.lowlevel.current_trio_token()
        self._look_after_ballast()

    @property
    def short_of_room(self) -> bool:
        return not self._has_ballast

    @property
    def in_flight(self) -> int:
        """How many batches are not committed."""
        return len(self._waiting)

    def submit(self, batch: Batch, done: Done) -> None:
        self.batches.append(batch)
        if self.closed:
            self._token.run_sync_soon(done, failure("journal.ended", retry=False))
            return
        self._waiting.append((batch, done))
        if not self.held:
            self.release()

    def release(self) -> None:
        """Commit what waits, in order."""
        while self._waiting:
            batch, done = self._waiting.popleft()
            error: JournalError | None = None
            try:
                self._commit(batch)
            except JournalError as failed:
                error = failed
            self._token.run_sync_soon(done, error)

    async def aclose(self) -> None:
        if not self.closed:
            self.release()
            self.closed = True

    def _commit(self, batch: Batch) -> None:
        if self.failures:
            raise self.failures.popleft()
        try:
            self.log.commit(batch)
        except JournalError as error:
            if error.code != "journal.full" or not self._has_ballast:
                raise
            self._has_ballast = False
            self.log.free_bytes += self._ballast_bytes
            self.log.commit(batch)
        self._look_after_ballast()
        if batch.checkpoint is not None:
            self._anchor(batch.checkpoint[1])

    def _look_after_ballast(self) -> None:
        if not self._has_ballast and self.log.free_bytes >= 2 * self._ballast_bytes:
            self.log.free_bytes -= self._ballast_bytes
            self._has_ballast = True

    def _anchor(self, note: bytes) -> None:
        try:
            self._keep(note)
            self.anchor_trouble = ""
        except ConfigError as error:
            self.anchor_trouble = error.render()


class FakeStore:
    """The ``LogStore`` port over a ``FakeLog``.  ``journals`` are the writers there were."""

    def __init__(self, log: FakeLog | None = None, *, ballast_bytes: int = 0) -> None:
        self.log = log or FakeLog()
        self.journals: list[FakeJournal] = []
        self.made = False
        self._ballast_bytes = ballast_bytes

    def exists(self) -> bool:
        return self.made or bool(self.log.log)

    def reader(self) -> FakeLog:
        return self.log

    def writer(self, keep: Callable[[bytes], None]) -> FakeJournal:
        self.made = True
        self.journals.append(FakeJournal(self.log, keep, ballast_bytes=self._ballast_bytes))
        return self.journals[-1]
