"""The log's disk in virtual time: the ``LogStore`` port in memory, slow, full, torn off and failing as the plan says.

A batch is written whole or not at all, and in order: that is what the port promises.  A crash leaves the batch that is
being written on the disk or not; nobody was told in either case.  A write that failed and may be tried again left
nothing; after any other failure nobody knows, and both are simulated.

Never: tells of a batch before it is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import trio

from astrid.errors import JournalError
from astrid.ports import Batch
from tests.fakes.journal import Done, FakeLog, failure

PLAIN_SECONDS = 0.002
_DELAYS = {"slow": 0.15, "late": 4.0, "hang": 60.0}  # the last is longer than anybody waits for a writer to end


class Disk:
    """What is durable, over all starts.  ``written`` is told of each batch when it is there; ``pinned`` is the last
    checkpoint that was kept elsewhere.
    """

    def __init__(self, faults: Sequence[str], written: Callable[[Batch], None], note: Callable[[str], None]) -> None:
        self.log = FakeLog()
        self.pinned = b""
        self.made = False
        self.calm = False  # nothing special happens any more
        self.nursery: trio.Nursery | None = None  # of the run, for the writers
        self._journals: list[SimJournal] = []  # of this start
        self._faults = faults
        self._written = written
        self._note = note
        self._count = 0

    def exists(self) -> bool:
        return self.made or bool(self.log.log)

    def reader(self) -> FakeLog:
        return self.log

    def writer(self, keep: Callable[[bytes], None]) -> SimJournal:
        assert self.nursery is not None
        self.made = True
        journal = SimJournal(self, keep)
        self._journals.append(journal)
        self.nursery.start_soon(journal.serve, name="disk")
        return journal

    def next_fault(self) -> str:
        """What befalls the next write."""
        fault = "" if self.calm else self._faults[self._count % len(self._faults)]
        self._count += 1
        if fault:
            self._note(f"disk:{fault}")
        return fault

    def commit(self, batch: Batch) -> None:
        """All of ``batch``, or an error and nothing of it."""
        self.log.commit(batch)
        self._written(batch)

    def crash(self, *, kept: bool) -> None:
        """The machine stops here."""
        for journal in self._journals:
            journal.crash(kept=kept)

    def rest(self) -> None:
        """A start is over, and its writers with it."""
        self._journals.clear()
        self.nursery = None


class SimJournal:
    """One writer: it commits what was submitted, in order, and tells of each batch once."""

    def __init__(self, disk: Disk, keep: Callable[[bytes], None]) -> None:
        self.short_of_room = False
        self.anchor_trouble = ""
        self._disk = disk
        self._keep = keep
        self._waiting: deque[tuple[Batch, Done]] = deque()
        self._news = trio.Event()
        self._over = trio.Event()
        self._closing = False
        self._dead = False
        self._writing: Batch | None = None

    def submit(self, batch: Batch, done: Done) -> None:
        if not self._dead:
            self._waiting.append((batch, done))
            self._news.set()

    async def aclose(self) -> None:
        self._closing = True
        self._news.set()
        await self._over.wait()

    def crash(self, *, kept: bool) -> None:
        """Nothing is written any more, but what is being written now if it is ``kept``."""
        writing, self._writing = self._writing, None
        if writing is not None and kept and not self._dead:
            self._commit(writing)
        self._dead = True
        self._over.set()
        self._news.set()

    async def serve(self) -> None:
        """Write until the writer is closed, or the machine stops."""
        while not self._dead and (self._waiting or not self._closing):
            if not self._waiting:
                self._news = trio.Event()
                await self._news.wait()
                continue
            batch, done = self._waiting[0]
            error = await self._write(batch)
            if not self._dead:
                self._waiting.popleft()
                done(error)
        self._over.set()

    async def _write(self, batch: Batch) -> JournalError | None:
        fault = self._disk.next_fault()
        self._writing = batch
        await trio.sleep(_DELAYS.get(fault, PLAIN_SECONDS))
        if self._dead:
            return None
        self._writing = None
        if fault in ("retry", "full"):
            return failure("journal.full" if fault == "full" else "journal.busy", retry=True)
        if fault == "broken":
            return failure("journal.failed", retry=False, effect="maybe")
        error = self._commit(batch)
        self.short_of_room = fault == "short"
        await trio.lowlevel.checkpoint()  # it is there, and nobody knows yet
        if fault == "kept":
            return failure("journal.failed", retry=False, effect="maybe")
        if error is None and batch.checkpoint is not None and not self._dead:
            self._keep(batch.checkpoint[1])
        return error

    def _commit(self, batch: Batch) -> JournalError | None:
        try:
            self._disk.commit(batch)
        except JournalError as error:  # another writer was here first
            return error
        return None
