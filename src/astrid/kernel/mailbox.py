"""A bounded mailbox with one consumer and two lanes, directly on the scheduler.

A memory channel pays a scheduler pass for each message.  Here a message goes straight into the hands of a consumer
that waits, and a consumer that is behind takes what is queued without giving up the processor, one slice at a time.

Invariants:
  Strangers fill a lane up to its capacity.  With the answers that the consumer asked for, a lane never holds more than
  its capacity and that of the work lane.
  Whoever waits for room is served in the order of arrival, and nobody overtakes them in their lane.
  Control goes first, yet after ``BURST`` of it one waiting piece of work is taken.
  A consumer gives up the processor once per slice, and a slice is never shorter than what was queued when it began.
  A reservation is filled at most once, only by the one it was asked of, and is never refused.

At full speed a call for each message, on either side, would cost as much as all the rest.  So while nothing else is to
be looked at, a sender puts what is work into ``work`` itself (while it holds fewer than ``quick``), and the consumer
takes it out itself (while it has ``taken`` fewer than ``until``).  Both bounds are 0 as soon as there is anything to be
asked, which ``offer_if_roomy`` and ``take`` do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable

from outcome import Value
from trio.lowlevel import (
    Abort,
    Task,
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from astrid.kernel.entry import STOP, Entry
from astrid.kernel.errors import ActorGone
from astrid.kernel.line import Line
from astrid.kernel.message import Lane, Overflow
from astrid.kernel.ref import Posted

SLICE = 64
BURST = 16

# Read for every message; on the class of an enumeration each look-up takes longer than the queue does.
_ACCEPTED, _CONTROL = Posted.ACCEPTED, Lane.CONTROL

_UNUSED: deque[Entry] = deque(maxlen=0)  # stands for a lane that nobody used yet: a deque costs 700 bytes


class Mailbox:
    """See the module."""

    __slots__ = (
        "_burst",
        "_control",
        "_control_room",
        "_half",
        "_halted",
        "_left",
        "_lines",
        "_receiver",
        "_reserved",
        "_room",
        "capacity",
        "closed",
        "control_capacity",
        "dead_letters",
        "dropped",
        "late",
        "quick",
        "refused",
        "taken",
        "until",
        "work",
    )

    def __init__(self, capacity: int, control_capacity: int) -> None:
        self.capacity = capacity
        self.control_capacity = control_capacity
        self.closed = False
        self.refused = self.dropped = self.dead_letters = self.late = 0
        self.work: deque[Entry] = _UNUSED  # the lane; whoever looks on from outside calls ``depth``
        self.quick = 0  # a sender may put work there itself while it holds fewer
        self.taken: int = 0  # messages, ever
        self.until: int = 0  # the consumer may take work out itself while it has taken fewer
        self._control: deque[Entry] = _UNUSED
        self._room = capacity  # 0 once closed, so that the hot path need not ask
        self._half = (capacity + 1) // 2  # up to here a sender need not slow down
        self._control_room = control_capacity
        self._receiver: Task | None = None  # the consumer, while it waits; both lanes are empty then
        self._lines: tuple[Line, Line] | None = None  # who waits for room: for work, for control
        self._reserved: dict[Hashable, int] | None = None  # answer id -> who may fill it
        self._halted = False
        self._left: int = SLICE  # of the slice, beyond ``until``
        self._burst = BURST

    # ---- sending ----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    def offer(self, entry: Entry) -> Posted:
        """Queue it, or say at once why not."""
        if self._receiver is not None:
            self._hand_over(entry)
            return _ACCEPTED
        if getattr(type(entry[0]), "lane", None) is _CONTROL:
            if len(self._control) < self._control_room:
                self._push_control(entry)
                return _ACCEPTED
        elif len(self.work) < self._room:
            if self.work is _UNUSED:
                self._push_work(entry)
            else:
                self.work.append(entry)
            return _ACCEPTED
        return self._overflow(entry)

    @enable_ki_protection
    def deliver(self, entry: Entry) -> Posted:
        """Queue what the consumer asked for and is owed, room or no room: an answer, a ``Down``, a timer."""
        if self.closed:
            return Posted.GONE
        if self._receiver is not None:
            self._hand_over(entry)
        elif getattr(type(entry[0]), "lane", None) is _CONTROL:
            self._push_control(entry)
        else:
            self._push_work(entry)
        return _ACCEPTED

    @enable_ki_protection
    def offer_if_roomy(self, entry: Entry) -> bool:
        """Queue it if the consumer waits or the work lane is less than half full; else the sender should slow down."""
        if self._hand_over(entry):
            return True
        if len(self.work) >= self._half or getattr(type(entry[0]), "lane", None) is _CONTROL:
            return False
        self._push_work(entry)
        self.quick = self._half  # nobody waits: the next ones may be put there without asking
        return True

    @enable_ki_protection
    async def put(self, entry: Entry) -> None:
        """Queue it, after waiting for room if there is none; first come, first served.  Always a checkpoint.

        Raises:
            ActorGone: the consumer ended for good, before or while waiting.
        """
        await checkpoint_if_cancelled()
        if self.closed:
            raise _gone()
        control = getattr(type(entry[0]), "lane", None) is _CONTROL
        if len(self._control) < self._control_room if control else len(self.work) < self._room:
            self.offer(entry)
            await cancel_shielded_checkpoint()  # it is sent: a cancellation may no longer say otherwise
            return
        if self._lines is None:
            self._lines = (Line(), Line())
            self._call_back()
        await self._lines[control].wait(entry)

    def _hand_over(self, entry: Entry) -> bool:
        """Give it to the consumer, if that waits."""
        receiver = self._receiver
        if receiver is None:
            return False
        self._receiver = None
        reschedule(receiver, Value(entry))
        return True

    def _push_work(self, entry: Entry) -> None:
        if self.work is _UNUSED:
            self.work = deque()
        self.work.append(entry)

    def _push_control(self, entry: Entry) -> None:
        if self._control is _UNUSED:
            self._control = deque()
        self._control.append(entry)
        self._call_back()

    def _call_back(self) -> None:
        """Something else is to be looked at: the consumer has to ask for its next message."""
        if self.until > self.taken:
            self._left += self.until - self.taken
        self.until = 0

    def _overflow(self, entry: Entry) -> Posted:
        if self.closed:
            return Posted.GONE
        overflow = getattr(type(entry[0]), "overflow", None)
        if entry[2] is None and overflow is Overflow.DROP:
            self.dropped += 1
            return Posted.DROPPED
        if entry[2] is None and overflow is Overflow.DEAD_LETTER:
            self.dead_letters += 1
            return Posted.DEAD_LETTER
        self.refused += 1
        return Posted.REFUSED

    # ---- answers that were asked for --------------------------------------------------------------------------------

    def reserve(self, answer_id: Hashable, asked: int) -> bool:
        """Keep room for one answer from ``asked``.  False if the consumer already waits for as many as it may.

        Reservations and the queue have room of their own, so that neither can crowd out the other.
        """
        if self._reserved is None:
            self._reserved = {}
        held = len(self._reserved)
        room = self.capacity - held
        # The answer may take either lane, so both are looked at.
        if room <= 0 or len(self.work) >= self.capacity + room or len(self._control) >= self.control_capacity + room:
            return False
        self._reserved[answer_id] = asked
        return True

    def reserves(self, answer_id: Hashable) -> bool:
        """Whether an answer with this id is awaited."""
        return self._reserved is not None and answer_id in self._reserved

    def forget(self, answer_id: Hashable) -> bool:
        """Give a reservation up.  False if there was none."""
        return self._reserved is not None and self._reserved.pop(answer_id, None) is not None

    def fill(self, answer_id: Hashable, answerer: int, entry: Entry) -> Posted:
        """Deliver an answer into the room that was reserved for it."""
        if self.closed:
            return Posted.GONE
        # SAFETY: an id is easily guessed.  Who was not asked can neither answer nor use the reservation up.
        if self._reserved is None or self._reserved.get(answer_id) != answerer:
            self.late += 1
            return Posted.LATE
        del self._reserved[answer_id]
        return self.deliver(entry)

    # ---- receiving --------------------------------------------------------------------------------------------------

    @enable_ki_protection
    def take(self) -> Entry | None:
        """The next message, or None where the consumer has to ``wait``: nothing is queued, or its slice is over."""
        left = self._left
        if self.until > self.taken:
            left += self.until - self.taken
        if left <= 0:
            return None
        work = self.work
        if self._control and (not work or self._burst > 0):
            if work:
                self._burst -= 1
            entry = self._control.popleft()
        elif work:
            self._burst = BURST
            entry = work.popleft()
        else:
            return None
        if self._lines is not None:
            self.admit()
        if self._control or self._lines is not None:
            self._left, self.until = left - 1, 0
        else:
            self._left, self.until = 0, self.taken + left
        self.taken += 1
        return entry

    @enable_ki_protection
    async def wait(self) -> Entry:
        """The next message, after the checkpoint that is due.  Only for the one consumer, when ``take`` gave None."""
        if not self._halted and (self.work or self._control):
            await checkpoint()
            self._begin_slice()
        if self._halted:
            return STOP
        entry = self.take()
        if entry is not None:
            return entry
        self._receiver = current_task()
        self.quick = 0
        handed_over: Entry = await wait_task_rescheduled(self._leave)
        self._begin_slice()
        self.taken += 1
        return handed_over

    def _begin_slice(self) -> None:
        # No shorter than what is queued: with a fixed slice a burst overflows the mailbox of a consumer that keeps up.
        self._left = 0 if self._halted else max(SLICE, len(self.work) + len(self._control))
        self.until = 0
        self.quick = 0 if self.work is _UNUSED else self._half

    def _leave(self, _raise_cancel: Callable[[], object]) -> Abort:
        self._receiver = None
        return Abort.SUCCEEDED

    @enable_ki_protection
    def admit(self) -> None:
        """Let in those who wait, as far as there is room now."""
        if self._lines is None:
            return
        work_line, control_line = self._lines
        while work_line and len(self.work) < self._room:
            self._push_work(work_line.let_in())
        while control_line and len(self._control) < self._control_room:
            self._push_control(control_line.let_in())
        if not work_line and not control_line:
            self._lines = None

    # ---- the ends ---------------------------------------------------------------------------------------------------

    @enable_ki_protection
    def stop_after_queue(self) -> None:
        """Have the consumer end once it has handled what is queued now."""
        self.deliver(STOP)

    def obey_stop(self) -> bool:
        """Whether a STOP that was taken is to be obeyed: control that is queued goes before it."""
        self.taken -= 1  # it is no message
        if self._halted or not self._control:
            return True
        if self.work is _UNUSED:  # it was handed over, and control came before the consumer ran
            self.work = deque()
        self.work.appendleft(STOP)
        return False

    @enable_ki_protection
    def stop_now(self) -> None:
        """Have the consumer end as soon as it is done with the message that it handles now."""
        self._halted = True
        self._left = self.until = 0
        self._hand_over(STOP)

    def drain(self) -> list[Entry]:
        """An incarnation ended: what was queued for it, and nothing that waits for room.  Its reservations are void."""
        dead = [entry for entry in (*self._control, *self.work) if entry is not STOP]
        self.work.clear()
        self._control.clear()
        self._reserved = None
        self._halted = False
        self._left, self.until = SLICE, 0
        self.dead_letters += sum(1 for entry in dead if entry[2] is None)
        return dead

    @enable_ki_protection
    def close(self) -> list[Entry]:
        """Nobody will come any more: refuse everything, and send away those who wait for room."""
        self.closed = True
        self._room = self._half = self._control_room = self.quick = 0
        lines, self._lines = self._lines, None
        for line in lines or ():
            line.send_away(_gone)
        return self.drain()

    # ---- looking ----------------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many messages are in the work lane."""
        return len(self.work)

    @property
    def control_depth(self) -> int:
        """How many messages are in the control lane."""
        return len(self._control)

    @property
    def reserved(self) -> int:
        """How many answers are awaited."""
        return len(self._reserved or ())

    @property
    def waiting(self) -> int:
        """How many senders wait for room."""
        return sum(len(line) for line in self._lines or ())


def _gone() -> ActorGone:
    return ActorGone("kernel.actor_gone", "the recipient has ended")
