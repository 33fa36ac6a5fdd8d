"""An actor, and all that it can do to the world outside it.

An actor is one task, one mailbox and one cancel scope.  It handles one message at a time; whatever it raises ends
this incarnation of it, and its supervisor decides what then.  It holds a ``Context``, made by the kernel for one
incarnation, and sends through that.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Hashable
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection, wait_task_rescheduled

from astrid.kernel.errors import ActorGone, AgainstRank, MailboxFull, Misuse
from astrid.kernel.ref import Posted, Ref, Sender
from astrid.kernel.slot import Slot
from astrid.kernel.timers import Timer

if TYPE_CHECKING:
    from astrid.kernel.cell import Cell
    from astrid.kernel.life import Life
    from astrid.kernel.message import Reason
    from astrid.kernel.run import Run
    from astrid.kernel.supervisor import SupervisorHandle


# Read for every message that is posted; on the class of an enumeration a look-up takes longer than the queue does.
_ACCEPTED, _DEAD_LETTER = Posted.ACCEPTED, Posted.DEAD_LETTER


class Actor(abc.ABC):
    """Base of all actors.  The kernel sets ``ctx`` before ``started``."""

    __slots__ = ("ctx",)

    ctx: Context

    async def started(self) -> None:  # noqa: B027 - most actors have nothing to do here
        """Called first.  The actor counts as started when this returns; if it raises, the start has failed."""

    @abc.abstractmethod
    async def receive(self, message: object, sender: Sender) -> object:
        """Handle one message.  What it returns answers an ask, and is ignored otherwise."""

    async def stopping(self, reason: Reason) -> None:  # noqa: B027 - most actors own nothing
        """Called last, once, however the incarnation ends, even when ``started`` failed half way.

        Shielded from cancellation until the child's ``shutdown`` seconds have passed; then cut off.
        """


class Context:
    """What one incarnation of an actor may do.  It stamps everything it sends with that incarnation."""

    __slots__ = ("_cell", "_life", "_plain", "_rank", "_run", "_sender", "parent", "ref")

    def __init__(self, life: Life, run: Run, parent: SupervisorHandle) -> None:
        cell = life.cell
        self._life = life
        self._cell = cell
        self._plain = run.plain
        self._rank = cell.rank
        self._run = run
        self._sender = Sender(id=cell.id, path=cell.path, incarnation=cell.incarnation, rank=cell.rank)
        self.ref = cell.ref
        self.parent = parent

    def now(self) -> float:
        """The time in seconds of the run's clock."""
        return trio.current_time()

    # ---- sending ----------------------------------------------------------------------------------------------------

    async def tell(self, ref: Ref, message: object) -> None:
        """Send, and wait while the recipient has no room.  Downward only.

        No checkpoint while the recipient's mailbox is less than half full, otherwise always one.

        Raises:
            AgainstRank: the recipient's rank is not lower.
            ActorGone: it has ended for good.
        """
        cell = ref.cell
        if cell.rank >= self._rank:
            raise _against(self._sender, cell)
        mailbox = cell.mailbox
        if type(message) in self._plain:
            work = mailbox.work
            if len(work) < mailbox.quick:  # as ``offer_if_roomy`` would, without the call
                work.append((message, self._sender, None))
                return
        else:
            message = self._run.carry(message)
        entry = (message, self._sender, None)
        if not mailbox.offer_if_roomy(entry):
            await mailbox.put(entry)

    def post(self, ref: Ref, message: object, answer_id: Hashable | None = None) -> Posted:
        """Send in any direction without ever waiting, and say what became of it.

        With ``answer_id`` room for one answer is kept in this actor's own mailbox: the recipient's ``answer`` with
        that id cannot be refused.  Nothing is kept if the message is not accepted.

        Raises:
            Misuse: an answer with this id is already awaited.
        """
        cell = ref.cell
        run = self._run
        if type(message) not in self._plain:
            message = run.carry(message)
        entry = (message, self._sender, None)
        if answer_id is None:
            posted = cell.mailbox.offer(entry)
        else:
            posted = self._post_for_answer(cell, entry, answer_id)
        if posted is _DEAD_LETTER:
            run.bury(cell, self._sender, message)
        return posted

    def _post_for_answer(self, cell: Cell, entry: tuple[object, Sender, None], answer_id: Hashable) -> Posted:
        if self._life.over:
            self._must_live()
        mailbox = self._cell.mailbox
        if mailbox.reserves(answer_id):
            raise Misuse("kernel.answer_id_taken", f"`{self._cell.path}` already waits for the answer `{answer_id!r}`")
        if not mailbox.reserve(answer_id, cell.id):
            return Posted.REFUSED
        posted = cell.mailbox.offer(entry)
        if posted is not _ACCEPTED:
            mailbox.forget(answer_id)
        return posted

    def answer(self, to: Ref | Sender, answer_id: Hashable, message: object) -> Posted:
        """Send the answer that ``to`` asked this actor for, into the room kept for it.

        ``LATE`` if ``to`` does not, or no longer, wait for this answer from this actor; ``GONE`` if it has ended for
        good.
        """
        cell = to.cell if isinstance(to, Ref) else self._run.actors.get(to.id)
        if cell is None:
            return Posted.GONE
        if type(message) not in self._plain:
            message = self._run.carry(message)
        return cell.mailbox.fill(answer_id, self._cell.id, (message, self._sender, None))

    def forget(self, answer_id: Hashable) -> bool:
        """Wait no longer for this answer; it will be ``LATE``.  False if none was awaited."""
        return not self._life.over and self._cell.mailbox.forget(answer_id)

    async def ask(self, ref: Ref, message: object, within: float) -> object:
        """Send, and wait for the answer, at most ``within`` seconds.  Downward only.  A checkpoint, unless refused.

        Raises:
            AgainstRank: the recipient's rank is not lower.
            MailboxFull: it has no room.
            ActorGone: it has ended for good, or its incarnation ended with this ask unanswered.
            Failed: it ended while handling this ask.
            AskTooLate: no answer in time.
        """
        cell = ref.cell
        if cell.rank >= self._rank:
            raise _against(self._sender, cell)
        return await ask(self._run, cell, message, self._sender, within)

    # ---- watching ---------------------------------------------------------------------------------------------------

    def monitor(self, ref: Ref) -> None:
        """Have one ``Down`` sent here when this incarnation of ``ref`` ends, or the next one if it is being restarted.

        At once if it has ended for good.  Asking twice changes nothing.
        """
        self._must_live()
        self._life.watch(ref.cell)

    def demonitor(self, ref: Ref) -> None:
        """Have no ``Down`` sent any more.  One that is queued already will still come."""
        self._life.unwatch(ref.cell)

    def link(self, ref: Ref) -> None:
        """Tie the two incarnations together: when one ends abnormally, the other is cancelled.

        If ``ref`` is not up now, this actor is cancelled at once.
        """
        self._must_live()
        self._life.link(ref.cell)

    def unlink(self, ref: Ref) -> None:
        """Undo ``link``, from either side."""
        self._life.unlink(ref.cell)

    # ---- oneself ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End normally, once the message that is being handled is done.  What is queued is not handled."""
        if not self._life.over:
            self._cell.mailbox.stop_now()

    def start_timer(self, seconds: float, message: object) -> Timer:
        """Have this actor send itself ``message`` in so many seconds, unless the timer is cancelled or it ends."""
        self._must_live()
        if not 0 <= seconds < math.inf:
            raise Misuse("kernel.bad_time", f"a timer of {seconds} seconds")
        entry = (self._run.carry(message), self._sender, None)
        deliver = self._cell.mailbox.deliver
        deadline = trio.current_time() + seconds
        return self._run.timers.call_at(deadline, lambda: deliver(entry), self._life.timers)

    def _must_live(self) -> None:
        if self._life.over:
            raise ActorGone("kernel.incarnation_over", f"this incarnation of `{self._cell.path}` has ended")


@enable_ki_protection
async def ask(run: Run, cell: Cell, message: object, sender: Sender, within: float) -> object:
    """Put an ask into a mailbox and wait for what comes of it.  The kernel's own; rank has been looked at."""
    if not 0 < within < math.inf:
        raise Misuse("kernel.bad_time", f"an ask with {within} seconds to answer")
    if type(message) not in run.plain:
        message = run.carry(message)
    slot = Slot(cell.ref, run.timers)
    posted = cell.mailbox.offer((message, sender, slot))
    if posted is Posted.GONE:
        raise ActorGone("kernel.actor_gone", f"`{cell.path}` has ended")
    if posted is not _ACCEPTED:
        raise MailboxFull("kernel.mailbox_full", f"`{cell.path}` has too much to do", depth=cell.mailbox.depth)
    run.timers.add(trio.current_time() + within, slot)
    return await wait_task_rescheduled(slot.abandon)


def _against(sender: Sender, cell: Cell) -> AgainstRank:
    return AgainstRank(
        "kernel.against_rank",
        f"`{sender.path}` of rank {sender.rank} may not wait for `{cell.path}` of rank {cell.rank}",
    )
