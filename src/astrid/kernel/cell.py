"""One actor over all its incarnations: what stays when one of them ends, and what a ref points to.

Invariants:
  There is never more than one incarnation.
  Messages that come between two incarnations wait for the next; what was queued for one that ended is not handed on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import trio
from trio.lowlevel import enable_ki_protection

from astrid.kernel.entry import Entry
from astrid.kernel.errors import ActorGone
from astrid.kernel.life import Life, State
from astrid.kernel.mailbox import Mailbox
from astrid.kernel.message import Exit, Reason
from astrid.kernel.ref import Down, Ref, Sender
from astrid.kernel.statistics import ActorStatistics

if TYPE_CHECKING:
    from astrid.kernel.run import Run
    from astrid.kernel.spec import ChildSpec
    from astrid.kernel.supervisor import Supervisor


class Owner(Protocol):
    """Whoever starts and stops a child, and is told what becomes of it."""

    def child_up(self, child: Cell | Supervisor) -> None:
        """It has started."""
        ...

    def child_ended(self, child: Cell | Supervisor, reason: Reason, error: BaseException | None) -> None:
        """It has ended, or has failed to start."""
        ...


class Cell:
    """One actor."""

    __slots__ = (
        "_last_failure",
        "_owner",
        "_run",
        "gone",
        "id",
        "incarnation",
        "life",
        "mailbox",
        "path",
        "rank",
        "ref",
        "spec",
        "watchers",
    )

    def __init__(self, run: Run, owner: Supervisor, path: str, spec: ChildSpec) -> None:
        self.id = run.next_id()
        self.path = path
        self.rank = spec.rank
        self.spec = spec
        self.ref = Ref(self)
        self.mailbox = Mailbox(spec.capacity, spec.control_capacity)
        self.life: Life | None = None
        self.incarnation = 0
        self.gone = False
        self.watchers: dict[Life, None] = {}
        self._run = run
        self._owner = owner
        self._last_failure = ""
        run.claim(path, self)
        run.actors[self.id] = self

    # ---- what its supervisor does with it ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the next incarnation."""
        self.incarnation += 1
        self.life = Life(self, self.spec, self._run, self._owner.handle)

    def request_stop(self) -> None:
        """Have it end once it has handled what is queued now."""
        if self.life is not None:
            self.life.request_stop()

    def kill(self, why: str) -> None:
        """Cancel it."""
        if self.life is not None:
            self.life.kill(why)

    @enable_ki_protection
    def close(self) -> None:
        """It is gone for good."""
        self.gone = True
        self.bury(self.mailbox.close())
        self._tell_watchers(Reason(Exit.GONE))
        del self._run.actors[self.id]
        del self._run.paths[self.path]

    # ---- what its incarnation tells it ------------------------------------------------------------------------------

    @enable_ki_protection
    def came_up(self) -> None:
        """Its incarnation has started."""
        self._owner.child_up(self)

    def ended(self, reason: Reason, error: BaseException | None) -> None:
        """Its incarnation has ended, and has settled its own affairs."""
        self.life = None
        if error is not None:
            self._last_failure = reason.detail
            if self._run.on_failure is not None:
                self._run.on_failure(self.ref, reason, error)
        self._tell_watchers(reason)
        self._owner.child_ended(self, reason, error)
        if not self.gone:
            self.mailbox.admit()  # who waited for room is let in for the next incarnation

    def bury(self, entries: Iterable[Entry]) -> None:
        """Answer the asks among these, and keep a record of the others."""
        for message, sender, slot in entries:
            if slot is None:
                self._run.bury(self, sender, message)
            else:
                slot.fail(ActorGone("kernel.actor_gone", f"`{self.path}` ended before it took the ask up"))

    def down(self, reason: Reason) -> Entry:
        """The message that says that its incarnation has ended."""
        sender = Sender(id=self.id, path=self.path, incarnation=self.incarnation, rank=self.rank)
        return Down(self.ref, reason, self.incarnation), sender, None

    def _tell_watchers(self, reason: Reason) -> None:
        watchers, self.watchers = self.watchers, {}
        for life in watchers:
            life.unwatch(self)
            life.cell.mailbox.deliver(self.down(reason))

    # ---- looking ----------------------------------------------------------------------------------------------------

    def statistics(self) -> ActorStatistics:
        """What it looks like at this moment."""
        mailbox = self.mailbox
        state = State.DOWN if self.life is None else self.life.state
        return ActorStatistics(
            id=self.id,
            path=self.path,
            rank=self.rank,
            state=state.value,
            incarnation=self.incarnation,
            restarts=max(0, self.incarnation - 1),
            age_seconds=0.0 if self.life is None else trio.current_time() - self.life.since,
            depth=mailbox.depth,
            capacity=mailbox.capacity,
            control_depth=mailbox.control_depth,
            control_capacity=mailbox.control_capacity,
            reserved=mailbox.reserved,
            waiting=mailbox.waiting,
            received=mailbox.taken,
            refused=mailbox.refused,
            dropped=mailbox.dropped,
            dead_letters=mailbox.dead_letters,
            late=mailbox.late,
            last_failure=self._last_failure,
        )
