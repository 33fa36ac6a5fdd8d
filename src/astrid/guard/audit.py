"""The append-only audit actor: the shell of ``core.chain``.  The only actor that reaches the log.

Records are chained as they arrive and written in batches: while one batch syncs, the next one collects.  What nobody
waits for (how a call ended: its answer does not) goes with the next record that somebody waits for, or after a moment
alone; a session that does one thing after the other would pay for two commits a call otherwise.  A checkpoint is signed
only over durable records, and written with the next batch, or at once if nothing else waits.

A write that may be tried again suspends the gate and is tried again; anything else ends this actor, and everything
that stands on the log restarts with it.  On a full disk last words are written into the room that is kept for them,
and the gate stays suspended until that room is kept again.

Never: signs what is not durable, or writes into the log a time that the clock only jumped to.

Source: architecture 5, 7; protocol N9, N10; threats 15, 24, 31, 33.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from astrid.core.chain import CHECKPOINT_RECORDS, ChainState
from astrid.core.checkpoint import sign_checkpoint
from astrid.core.clock import ClockWatch
from astrid.core.gate_messages import Durable
from astrid.core.keys import SigningKey
from astrid.core.records import Entry, Kind, Stop, entry
from astrid.core.tiles import Tile
from astrid.errors import InternalError, JournalError
from astrid.guard.door import APPROVALS, GATEWAY, INTERCEPTOR, is_ours, strayed
from astrid.kernel import OUTSIDE, Actor, Exit, Posted, Reason, Ref, Sender
from astrid.messages.log import (
    Append,
    Begun,
    Checkpointed,
    Committed,
    Linger,
    LogTrouble,
    Recorded,
    Retry,
    TakeCheckpoint,
    Tick,
)
from astrid.ports import Batch, Clock, Journal

MAX_BATCH = 512
RETRY_SECONDS = 1.0
LINGER_SECONDS = 0.02
TICK_SECONDS = 5.0
CLOSE_SECONDS = 20.0
NO_ROOM = "the disk is full; free some space"
WRITERS = (APPROVALS, INTERCEPTOR)
_BOOT = Kind.BOOT  # asked of each record; on the class of an enumeration a look-up takes longer
_TICK_NS = int(TICK_SECONDS * 10**9)


class Waiting:
    """One ``Append`` whose records are not all durable yet."""

    __slots__ = ("id", "last", "records", "sender")

    def __init__(self, sender: Sender, message: Append) -> None:
        self.sender = sender
        self.id = message.id
        self.records: list[Durable] = []
        self.last = 0


class Audit(Actor):
    """See the module.  ``open_log`` reads and verifies the log and gives the chain's state and the writer; it is
    called at each start.  ``gate`` gives who is told that the log cannot be written, once there is somebody.
    """

    def __init__(
        self,
        open_log: Callable[[], tuple[ChainState, Journal]],
        *,
        clock: Clock,
        key: SigningKey,
        log_id: bytes,
        gate: Callable[[], Ref | None],
        made: Callable[[Ref], None],
    ) -> None:
        self._open_log = open_log
        self._made = made
        self._clock = clock
        self._key = key
        self._log_id = log_id
        self._gate = gate
        self._journal: Journal | None = None
        self._begun = False  # whether what comes now was said to this start of it
        self._frames: deque[tuple[bytes, Entry]] = deque()
        self._urgent = 0  # of these, how many somebody waits for
        self._lingers = False  # whether ``Linger`` is on its way
        self._waiting: deque[Waiting] = deque()
        self._tiles: list[Tile] = []
        self._flight: Batch | None = None
        self._report: tuple[JournalError | None] | None = None  # what the writer said of the batch in flight
        self._failed = False  # the batch in flight waits to be tried again
        self._closing: trio.Event | None = None
        self._problem = ""  # as the gate knows it
        self._checkpoint: tuple[int, bytes] | None = None  # signed, and not yet durable
        self._wanted: deque[int] = deque()  # a checkpoint must cover at least so many records
        self._size = 0  # what the last durable checkpoint covers
        self._note = b""
        self._askers: deque[tuple[int, Sender, int]] = deque()

    async def started(self) -> None:
        """Read the log; nothing is appended to a log that does not verify."""
        self._made(self.ctx.ref)
        self._chain, self._journal = self._open_log()
        last_ns = self._chain.tip.time_ns
        self._watch = ClockWatch(self._clock.now_ns(), self._clock.running_ns(), last_ns=last_ns)
        # SAFETY: what a part of the guard sent that is gone now may be queued still.  Those who begin after this read
        # the log as it is here and know nothing of it: the outcome of a call would be written twice, and a log that
        # says so is never gone on from.
        if self.ctx.post(self.ctx.ref, Begun()) is not Posted.ACCEPTED:
            raise InternalError("audit.message", "the mailbox is full of what an earlier start was sent")
        self.ctx.start_timer(TICK_SECONDS, Tick())

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        myself = sender.id == self.ctx.ref.id
        match message:
            case Begun() if myself:
                self._begun = True
            case Append() | TakeCheckpoint() if not self._begun:
                pass  # whoever waits for it is gone
            case Append() if sender.path in WRITERS:
                self._append(message, sender)
            case TakeCheckpoint() if sender.path == GATEWAY:
                self._askers.append((self._chain.tip.size, sender, message.id))
                self._wanted.append(self._chain.tip.size)
                self._flush()
            case Committed() if myself:
                self._committed()
            case Linger() if myself:
                self._lingers = False
                self._flush(waits=False)
            case Retry() if myself:
                self._retry()
            case Tick() if myself:
                self.ctx.start_timer(TICK_SECONDS, Tick())
                self._tick()
            case _ if is_ours(message, sender):
                raise InternalError("audit.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
            case _:  # of somebody who is not trusted: the gate has it recorded
                gate = self._gate()
                if gate is not None:
                    self.ctx.post(gate, strayed(message, sender))
        return None

    async def stopping(self, reason: Reason) -> None:
        """Write what is waiting, say that the daemon stopped, sign the end."""
        if self._journal is None:
            return
        try:
            if reason.exit is Exit.SHUTDOWN:
                await self._close_log()
        finally:
            # A writer that hangs in the disk is left to end by itself: it lets go of the log when it does.
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await self._journal.aclose()

    async def _close_log(self) -> None:
        # Nobody reads the mailbox any more: what the writer reports is taken here.
        self._closing = trio.Event()
        self._retry()
        if self._chain.tip.size:  # a log that was never begun has nothing to stop
            self._append(Append(id=0, entries=(entry(Stop("ordered")),)), OUTSIDE)
        self._committed()
        while self._flight is not None and not self._failed:
            await self._closing.wait()
            self._closing = trio.Event()
            self._committed()

    # --- records in

    def _append(self, message: Append, sender: Sender) -> None:
        waiting = Waiting(sender, message)
        now_ns = self._now_ns()
        for item in message.entries:
            frame = self._chain.append(item, now_ns)
            self._frames.append((frame, item))
            self._urgent += item.urgent
            tip = self._chain.tip
            waiting.records.append(Durable(item.ref, tip.size, tip.time_ns))
            if item.checkpoint:
                self._wanted.append(tip.size)
            if item.kind is _BOOT:
                self._tell_gate(self._problem, again=True)  # this one has not heard it
        waiting.last = self._chain.tip.size
        self._waiting.append(waiting)
        self._flush()

    def _now_ns(self) -> int:
        now_ns = self._clock.now_ns()
        self._watch.observe(now_ns, self._clock.running_ns())
        # SAFETY: the log's time never falls; one record of a time that is only imagined would spoil it for good.
        return 0 if self._watch.jumped_ahead else now_ns

    # --- batches out

    def _flush(self, *, waits: bool = True, even_empty: bool = False) -> None:
        """Hand the writer what has collected, unless it is busy; or what has collected may wait for more."""
        if self._flight is not None:
            return
        if waits and self._frames and not (self._urgent or self._wanted or self._checkpoint):
            if not self._lingers:
                self._lingers = True
                self.ctx.start_timer(LINGER_SECONDS, Linger())
            return
        # The first checkpoint covers the genesis record alone, so that no cut behind it goes unseen.
        alone = bool(self._frames) and self._frames[0][1].kind is Kind.GENESIS
        count = 1 if alone else min(len(self._frames), MAX_BATCH)
        self._sign_if_due(count)
        if not count and self._checkpoint is None and not even_empty:
            return
        taken = [self._frames.popleft() for _ in range(count)]
        self._urgent -= sum([item.urgent for _, item in taken])
        first = self._chain.durable_tip.size + 1
        self._flight = Batch(
            first=first,
            frames=tuple([frame for frame, _ in taken]),
            payloads=tuple(
                [
                    (seq, one.slot, one.salt, one.data)
                    for seq, (_, item) in enumerate(taken, first)
                    for one in item.payloads
                ]
            ),
            rows=tuple([(item.session, row.number, row.data) for _, item in taken for row in item.rows]),
            tiles=tuple(self._tiles),
            checkpoint=self._checkpoint,
            erases=tuple([item.erases for _, item in taken if item.erases is not None]),
        )
        self._tiles.clear()
        self._submit(self._flight)

    def _submit(self, batch: Batch) -> None:
        def done(error: JournalError | None) -> None:
            self._report = (error,)
            if self._closing is not None:
                self._closing.set()
            else:
                self.ctx.post(self.ctx.ref, Committed())

        self._failed = False
        assert self._journal is not None  # noqa: S101 - set before the first message
        self._journal.submit(batch, done)

    def _committed(self) -> None:
        if self._flight is None or self._report is None:
            return
        [error], self._report = self._report, None
        if error is not None:
            self._not_written(error)
            return
        batch, self._flight = self._flight, None
        self._tell_gate(NO_ROOM if self._short_of_room() else "")
        self._tiles += self._chain.durable(batch.first - 1 + len(batch.frames))
        if batch.checkpoint is not None:
            self._size, self._note = batch.checkpoint
            self._checkpoint = None
        watermark = self._chain.durable_tip.size
        while self._waiting and self._waiting[0].last <= watermark:
            done = self._waiting.popleft()
            told = Recorded(id=done.id, records=tuple(done.records), watermark=watermark)
            self.ctx.answer(done.sender, done.id, told)
        self._flush()

    def _not_written(self, error: JournalError) -> None:
        if not error.fields.get("retry"):
            raise error
        self._failed = True
        self._tell_gate(error.render())
        self.ctx.start_timer(RETRY_SECONDS, Retry())

    def _retry(self) -> None:
        if self._flight is not None and self._failed:
            self._submit(self._flight)

    def _tick(self) -> None:
        if self._problem:
            self._tell_gate(self._problem, again=True)
        # The writer looks after the kept room with each batch.
        self._flush(waits=False, even_empty=self._short_of_room())

    def _short_of_room(self) -> bool:
        return self._journal is not None and self._journal.short_of_room

    def _tell_gate(self, problem: str, *, again: bool = False) -> None:
        if problem == self._problem and not again:
            return
        self._problem = problem
        gate = self._gate()
        if gate is not None:
            self.ctx.post(gate, LogTrouble(problem=problem))

    # --- checkpoints

    def _sign_if_due(self, coming: int) -> None:
        """Sign for what is durable, if it is time; ``coming`` records are about to be added to it."""
        while self._wanted and self._wanted[0] <= self._size:
            self._wanted.popleft()
        while self._askers and self._askers[0][0] <= self._size:
            _, sender, number = self._askers.popleft()
            self.ctx.answer(sender, number, Checkpointed(id=number, size=self._size, note=self._note))
        tip = self._chain.durable_tip
        new = tip.size - self._size
        if self._checkpoint is not None or not new:
            return
        wanted = bool(self._wanted) and self._wanted[0] <= tip.size
        # Before the tail becomes too long or too old, not after.
        long = new + coming > CHECKPOINT_RECORDS
        if wanted or long or self._chain.checkpoint_due(self._clock.running_ns() + _TICK_NS):
            self._sign()

    def _sign(self) -> None:
        stated = self._chain.stated(self._log_id)
        self._checkpoint = (stated.size, sign_checkpoint(stated, self._key))
        self._chain.checkpointed(stated.size, self._clock.running_ns())
