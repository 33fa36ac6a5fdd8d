"""The shell around the restart machine: performs what it decides, on actors and on supervisors below.

It has no task.  Whatever happens to a child is stepped through at once, in whoever's task it happened, so there is no
moment at which a supervisor is busy, and none at which it can be cancelled.

Invariants:
  Events are taken one at a time, in the order in which they happened.
  Every actor that is stopped has a deadline; when it passes, it is cancelled; if it ignores that, it is given up.
  A static child keeps its ref when its supervisor is restarted; a dynamic one ends with it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import assert_never, overload

import trio
from trio.lowlevel import enable_ki_protection

from astrid.kernel.cell import Cell, Owner
from astrid.kernel.errors import ActorGone, Misuse, Stuck, TooManyRestarts, is_fatal
from astrid.kernel.life import OVERTIME, failure
from astrid.kernel.message import Exit, Reason
from astrid.kernel.ref import Ref
from astrid.kernel.restart import Restarts
from astrid.kernel.run import Run
from astrid.kernel.signals import (
    Add,
    Boot,
    Cause,
    Effect,
    Ended,
    Escalate,
    Event,
    Lost,
    Ready,
    Remove,
    Retire,
    Rules,
    Shutdown,
    Start,
    Stop,
    Tick,
    Up,
    Wait,
)
from astrid.kernel.spec import ChildSpec, SupervisorSpec
from astrid.kernel.statistics import SupervisorStatistics
from astrid.kernel.timers import Timer

LOST_SECONDS = 1.0  # how much longer than its two deadlines a child may take, until it counts as lost


class SupervisorHandle:
    """What others may do with a supervisor: have it start a child beside its static ones, and stop one."""

    __slots__ = ("_supervisor",)

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def path(self) -> str:
        """Where it hangs in the tree."""
        return self._supervisor.path

    @property
    def rank(self) -> int:
        """The rank its spec gives it."""
        return self._supervisor.spec.rank

    @property
    def alive(self) -> bool:
        """Whether it takes children now."""
        return self._supervisor.takes_children

    @overload
    def start_child(self, spec: ChildSpec) -> Ref: ...
    @overload
    def start_child(self, spec: SupervisorSpec) -> SupervisorHandle: ...
    def start_child(self, spec: ChildSpec | SupervisorSpec) -> Ref | SupervisorHandle:
        """Have a child started, without waiting for it.  What this returns is of use at once: messages queue up.

        Raises:
            Misuse: a living child has this id.
            ActorGone: the supervisor is down.
        """
        child = self._supervisor.add(spec)
        return child.ref if isinstance(child, Cell) else child.handle

    def stop_child(self, name: str) -> bool:
        """Have a child ended for good, without waiting for it.  False if there is none with this id."""
        return self._supervisor.remove(name)

    def hurry(self) -> None:
        """Have its children cancelled, not asked, when they are told to stop; those that are stopping, at once."""
        self._supervisor.hurry()

    def __repr__(self) -> str:
        return f"<SupervisorHandle {self.path}>"


class _Deadline:
    """When a child that is stopping will be cancelled or, once it was, counts as lost."""

    __slots__ = ("cut", "timer")

    def __init__(self, timer: Timer | None) -> None:
        self.timer = timer
        self.cut = False

    def stop(self) -> None:
        """It came, or is moot."""
        if self.timer is not None:
            self.timer.cancel()


class Supervisor:
    """See the module."""

    __slots__ = (
        "_busy",
        "_children",
        "_error",
        "_events",
        "_hurried",
        "_machine",
        "_owner",
        "_run",
        "_stopping",
        "_tick",
        "handle",
        "incarnation",
        "path",
        "spec",
    )

    def __init__(self, run: Run, owner: Owner, path: str, spec: SupervisorSpec) -> None:
        self.path = path
        self.spec = spec
        self.handle = SupervisorHandle(self)
        self.incarnation = 0
        self._run = run
        self._owner = owner
        self._children: dict[str, Cell | Supervisor] = {}
        self._machine: Restarts | None = None  # while it is up
        self._events: deque[tuple[Event, BaseException | None]] = deque()
        self._busy = False
        self._error: BaseException | None = None  # what the first failure was that it cannot mend
        self._hurried = False  # its own time to stop is over
        self._stopping: dict[str, _Deadline] = {}
        self._tick: Timer | None = None
        run.claim(path, self)
        try:
            for child in spec.children:
                self._children[child.id] = self._plant(child)
        except Misuse:
            self.close()
            raise

    # ---- as a child itself ------------------------------------------------------------------------------------------

    @property
    def takes_children(self) -> bool:
        """Whether it is up, and not on its way down."""
        return self._machine is not None and not self._machine.ending

    def begin(self) -> None:
        """Start the next incarnation, with fresh children and a clean record."""
        self.incarnation += 1
        self._error = None
        self._hurried = False
        spec = self.spec
        # Those that were retired get a new ref; the others are who they were.
        self._children = {child.id: self._children.get(child.id) or self._plant(child) for child in spec.children}
        rules = Rules(spec.strategy, spec.intensity, spec.period, spec.delay, together=spec.stop == "together")
        self._machine = Restarts(rules, [(child.id, child.restart) for child in spec.children])
        self._handle(Boot())

    def request_stop(self) -> None:
        """Have it end its children, in order, and then itself."""
        self._handle(Shutdown())

    def kill(self, _why: str) -> None:
        """Its time is over: cancel its children, still in order."""
        self.hurry()

    @enable_ki_protection
    def hurry(self) -> None:
        """Whoever of its children is stopping, or will be, is cancelled."""
        self._hurried = True
        for name in list(self._stopping):
            self._cut(name)

    def close(self) -> None:
        """It is gone for good, and so are its children."""
        for child in reversed(self._children.values()):
            child.close()
        self._children = {}
        del self._run.paths[self.path]

    def statistics(self) -> SupervisorStatistics:
        """What it looks like at this moment."""
        machine = self._machine
        return SupervisorStatistics(
            path=self.path,
            rank=self.spec.rank,
            strategy=self.spec.strategy,
            state="down" if machine is None else "stopping" if machine.ending else "up",
            incarnation=self.incarnation,
            restarts=0 if machine is None else machine.restarts,
            children=tuple(child.statistics() for child in self._children.values()),
        )

    # ---- its children -----------------------------------------------------------------------------------------------

    def _plant(self, spec: ChildSpec | SupervisorSpec) -> Cell | Supervisor:
        path = f"{self.path}/{spec.id}"
        if isinstance(spec, ChildSpec):
            return Cell(self._run, self, path, spec)
        return Supervisor(self._run, self, path, spec)

    @enable_ki_protection
    def add(self, spec: ChildSpec | SupervisorSpec) -> Cell | Supervisor:
        """Start a dynamic child."""
        if not self.takes_children:
            raise ActorGone("kernel.supervisor_down", f"`{self.path}` is down, or going down")
        if spec.id in self._children:
            raise Misuse("kernel.id_taken", f"`{self.path}` has a child `{spec.id}`")
        child = self._children[spec.id] = self._plant(spec)
        self._handle(Add(spec.id, spec.restart))
        return child

    @enable_ki_protection
    def remove(self, name: str) -> bool:
        """Stop a child for good."""
        if not self.takes_children or name not in self._children:
            return False
        self._handle(Remove(name))
        return True

    def child_up(self, child: Cell | Supervisor) -> None:
        """A child has started."""
        if self._children.get(child.spec.id) is child:
            self._handle(Up(child.spec.id))

    def child_ended(self, child: Cell | Supervisor, reason: Reason, error: BaseException | None) -> None:
        """A child has ended, or has failed to start."""
        if self._children.get(child.spec.id) is child:  # else it was given up as lost, and has no place here any more
            self._handle(Ended(child.spec.id, failed=reason.abnormal, fatal=is_fatal(error)), error)

    # ---- the machine ------------------------------------------------------------------------------------------------

    @enable_ki_protection
    def _handle(self, event: Event, error: BaseException | None = None) -> None:
        """Take one event to its end.  Events that come of its effects wait their turn."""
        if self._machine is None:
            return  # it has ended: this came of a child that was given up as lost
        self._events.append((event, error))
        if self._busy:
            return
        self._busy = True
        try:
            while self._events:
                event, error = self._events.popleft()
                if isinstance(event, Ended):
                    self._forget_deadline(event.id)
                was_ending = self._machine.ending
                effects = self._machine.step(event, trio.current_time())
                if error is not None and self._machine.ending and (not was_ending or is_fatal(error)):
                    self._error = error
                for effect in effects:
                    self._perform(effect)
        except Exception:
            self._run.abandon()  # a bug in this kernel: rather an end in no order than no end
            raise
        finally:
            self._busy = False

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Start(name):
                self._children[name].begin()
            case Stop(name):
                self._stop(name)
            case Retire(name):
                self._children.pop(name).close()
            case Wait(until):
                if self._tick is not None:
                    self._tick.cancel()
                self._tick = self._run.timers.call_at(until, lambda: self._handle(Tick()))
            case Ready():
                self._owner.child_up(self)
            case Escalate(cause, child):
                self._end(cause, child)
            case _:
                assert_never(effect)

    def _stop(self, name: str) -> None:
        child = self._children[name]
        self._stopping[name] = _Deadline(self._call_in(child.spec.shutdown, lambda: self._cut(name)))
        child.request_stop()
        if self._hurried:
            self._cut(name)

    def _cut(self, name: str) -> None:
        """A child has had its time to stop: cancel it, and wait for the time that its clean-up may take."""
        deadline = self._stopping.get(name)
        if deadline is None or deadline.cut:
            return
        child = self._children[name]
        deadline.cut = True
        deadline.stop()
        if isinstance(child, Cell):
            deadline.timer = self._call_in(child.spec.shutdown + LOST_SECONDS, lambda: self._handle(Lost(name)))
        child.kill(OVERTIME)

    def _forget_deadline(self, name: str) -> None:
        deadline = self._stopping.pop(name, None)
        if deadline is not None:
            deadline.stop()

    def _call_in(self, seconds: float, call: Callable[[], None]) -> Timer | None:
        return None if seconds == math.inf else self._run.timers.call_at(trio.current_time() + seconds, call)

    def _end(self, cause: Cause, child: str) -> None:
        self._machine = None
        self._events.clear()
        for name in list(self._stopping):
            self._forget_deadline(name)
        if self._tick is not None:
            self._tick.cancel()
        error, self._error = self._error, None
        match cause:
            case Cause.ASKED:
                self._owner.child_ended(self, Reason(Exit.SHUTDOWN), None)
            case Cause.GAVE_UP:
                gave_up = TooManyRestarts(
                    "kernel.too_many_restarts",
                    f"`{self.path}` gave up after `{child}` ended more than {self.spec.intensity} times"
                    f" in {self.spec.period} seconds",
                )
                gave_up.__cause__ = error
                self._owner.child_ended(self, failure(gave_up), gave_up)
            case Cause.FATAL:
                if error is None or not is_fatal(error):
                    stuck = Stuck("kernel.stuck", f"`{self.path}/{child}` was cancelled and does not end")
                    stuck.__cause__ = error
                    error = stuck
                self._owner.child_ended(self, failure(error), error)
            case _:
                assert_never(cause)
