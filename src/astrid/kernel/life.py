"""One incarnation of an actor: its task, and all that ends with it.

Invariants:
  When it ends, every ask that it was handling or had queued is answered; its timers, links, monitors and reservations
  are void; whoever watched it is told, and then its supervisor, once.
  Only this task catches what an actor raises; ``Cancelled`` always passes.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

import trio
from trio.lowlevel import disable_ki_protection, enable_ki_protection

from astrid.kernel.actor import Actor, Context
from astrid.kernel.entry import STOP
from astrid.kernel.errors import Failed, is_fatal
from astrid.kernel.message import Exit, Reason
from astrid.kernel.run import INSIDE, Run
from astrid.kernel.slot import Slot
from astrid.kernel.timers import Timer

if TYPE_CHECKING:
    from astrid.kernel.cell import Cell
    from astrid.kernel.spec import ChildSpec
    from astrid.kernel.supervisor import SupervisorHandle

T = TypeVar("T")

OVERTIME = "its time to stop was over"


class State(enum.Enum):
    """Where an actor is."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


class Life:
    """One incarnation."""

    __slots__ = (
        "_actor",
        "_asked",
        "_context",
        "_killed",
        "_links",
        "_run",
        "_scope",
        "_slot",
        "_spec",
        "_timers",
        "_watching",
        "cell",
        "over",
        "since",
        "state",
    )

    def __init__(self, cell: Cell, spec: ChildSpec, run: Run, parent: SupervisorHandle) -> None:
        self.cell = cell
        self.state = State.STARTING
        self.since = trio.current_time()
        self.over = False
        self._spec = spec
        self._run = run
        self._actor: Actor | None = None
        self._context = Context(self, run, parent)
        self._scope = trio.CancelScope()
        self._asked = False  # its supervisor told it to stop
        self._killed = ""  # why its scope was cancelled
        self._slot: Slot | None = None  # the ask that it handles now
        self._timers: dict[Timer, None] | None = None  # these three are made when they are needed: most never are
        self._watching: dict[Cell, None] | None = None
        self._links: dict[Life, None] | None = None
        run.spawn(self)

    @property
    def timers(self) -> dict[Timer, None]:
        """Its timers, which end with it."""
        if self._timers is None:
            self._timers = {}
        return self._timers

    # ---- how it is ended from outside -------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Have it end once it has handled what is queued now."""
        self._asked = True
        self.state = State.STOPPING
        self.cell.mailbox.stop_after_queue()

    def kill(self, why: str) -> None:
        """Cancel it.  Its ``stopping`` is still called, with a deadline."""
        if self.over:
            return
        self._killed = self._killed or why
        self._scope.cancel()

    # ---- its task ---------------------------------------------------------------------------------------------------

    @enable_ki_protection
    async def run(self) -> None:
        """The task."""
        INSIDE.set(self._run)
        reason = Reason(Exit.KILLED, "everything was cancelled")
        error: BaseException | None = None
        try:
            returned, error = await _attempt(self._scope, self._work)
            reason = failure(error) if error is not None else returned or Reason(Exit.KILLED, self._killed)
        finally:
            self._finish(*await self._clean_up(reason, error))

    async def _clean_up(self, reason: Reason, error: BaseException | None) -> tuple[Reason, BaseException | None]:
        """Answer those who wait, then have the actor stop.  How it ended after all."""
        self._give_up_messages()
        if self._actor is None:
            return reason, error
        stop_error = await self._stop(self._actor, reason)
        if stop_error is not None and (not reason.abnormal or is_fatal(stop_error)):
            return failure(stop_error), stop_error
        if stop_error is not None and error is not None:
            error.add_note(f"its clean-up failed too, by {type(stop_error).__qualname__}")
        return reason, error or stop_error

    @disable_ki_protection
    async def _work(self) -> Reason:
        """Make the actor, and have it handle messages until it is to stop."""
        actor = self._actor = self._spec.factory()
        actor.ctx = self._context
        await actor.started()
        if self.state is State.STARTING:
            self.state = State.UP
        self.cell.came_up()
        mailbox = self.cell.mailbox
        work = mailbox.work
        receive = actor.receive
        run = self._run
        while True:
            if work and mailbox.taken < mailbox.until:  # as ``take`` would, without the call
                mailbox.taken += 1
                entry = work.popleft()
            else:
                entry = mailbox.take() or await mailbox.wait()
                work = mailbox.work
            message, sender, slot = entry
            if slot is None:
                await receive(message, sender)
            elif entry is STOP:
                if mailbox.obey_stop():
                    return Reason(Exit.SHUTDOWN if self._asked else Exit.NORMAL)
            elif slot.pending:
                slot.begun = True
                self._slot = slot
                answer = await receive(message, sender)
                slot.answer(answer if run.codec is None else run.carry(answer))
                self._slot = None

    async def _stop(self, actor: Actor, reason: Reason) -> BaseException | None:
        """Let the actor clean up, within its deadline.  The error if it could not."""
        self.state = State.STOPPING
        scope = trio.CancelScope(deadline=trio.current_time() + self._spec.shutdown, shield=True)
        _, error = await _attempt(scope, lambda: actor.stopping(reason))
        return trio.TooSlowError(OVERTIME) if scope.cancelled_caught else error

    # ---- its end ----------------------------------------------------------------------------------------------------

    def _finish(self, reason: Reason, error: BaseException | None) -> None:
        """Settle all that it owed or was owed, then have the supervisor told."""
        self.over = True
        self.state = State.DOWN
        self._actor = None
        self._give_up_messages()
        for timer in list(self._timers or ()):
            timer.cancel()
        for cell in self._watching or ():
            cell.watchers.pop(self, None)
        links, self._links = self._links, None
        for life in links or ():
            life.let_go(self, reason)
        self.cell.ended(reason, error)

    def _give_up_messages(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.fail(
                Failed("kernel.actor_failed", f"`{self.cell.path}` ended while it was handling the ask", began=True)
            )
        self.cell.bury(self.cell.mailbox.drain())

    # ---- whom it is bound to ----------------------------------------------------------------------------------------

    def watch(self, cell: Cell) -> None:
        """Be told when the present incarnation of ``cell`` ends, or the next one."""
        if cell.gone:
            self.cell.mailbox.deliver(cell.down(Reason(Exit.GONE)))
        else:
            if self._watching is None:
                self._watching = {}
            self._watching[cell] = None
            cell.watchers[self] = None

    def unwatch(self, cell: Cell) -> None:
        """Need not be told, or was told."""
        if self._watching is not None:
            self._watching.pop(cell, None)
        cell.watchers.pop(self, None)

    def link(self, cell: Cell) -> None:
        """Tie this incarnation to the present one of ``cell``; without one this one is cancelled."""
        other = cell.life
        if other is None:
            self.kill(f"it was linked to `{cell.path}`, which is not up")
        elif other is not self:
            self.tie(other)
            other.tie(self)

    def tie(self, other: Life) -> None:
        """Take one end of a link."""
        if self._links is None:
            self._links = {}
        self._links[other] = None

    def unlink(self, cell: Cell) -> None:
        """Undo a link, on both ends."""
        other = cell.life
        if other is not None:
            self.untie(other)
            other.untie(self)

    def untie(self, other: Life) -> None:
        """Let go of the other end of a link, if there is one."""
        if self._links is not None:
            self._links.pop(other, None)

    def let_go(self, other: Life, reason: Reason) -> None:
        """The other end of a link has ended."""
        self.untie(other)
        if reason.abnormal:
            self.kill(f"it was linked to `{other.cell.path}`, which broke")


async def _attempt(scope: trio.CancelScope, call: Callable[[], Awaitable[T]]) -> tuple[T | None, BaseException | None]:
    """What ``call`` returns, None if ``scope`` was cancelled; and what it raised."""
    try:
        with scope:
            return await call(), None
    except trio.Cancelled:
        raise  # not by this scope, so by the end of everything
    except BaseException as error:  # noqa: BLE001 - the supervisor decides what to do about it; see ``errors.is_fatal``
        return None, _single(error)
    return None, None


def _single(error: BaseException) -> BaseException:
    """What a group holds, if it holds one thing only: an actor's own nursery wraps even a single error."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _single(group.exceptions[0]) if len(group.exceptions) == 1 else group


def failure(error: BaseException) -> Reason:
    """The reason that says that this was raised."""
    return Reason(Exit.FAILED, type(error).__qualname__)
