"""What a supervisor does about its children: a machine without tasks, clock or I/O.

The shell tells it what happened and when; it answers with what to do, in order.

Invariants:
  Children start left to right.  Where the strategy ties them together, one starts only when all on its left are up.
  A group goes down right to left, one at a time, and wholly before any of it starts again.
  A child is started only when it is down, and stopped only when it is not.
  What was told to leave, or is temporary and ended, is retired once and never started again.
  More than ``intensity`` restarts within ``period``: everything goes down, then the machine has finished.
  An actor that does not end when it is cancelled has no successor: that ends the whole system.

Source: the Erlang/OTP design principles, supervisor behaviour.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import assert_never

from astrid.kernel.signals import (
    Add,
    Boot,
    Cause,
    Effect,
    Ended,
    Escalate,
    Event,
    Lost,
    Phase,
    Ready,
    Remove,
    Restart,
    Retire,
    Rules,
    Shutdown,
    Start,
    Stop,
    Tick,
    Up,
    Wait,
)


@dataclass(slots=True, eq=False)
class _Child:
    id: str
    restart: Restart
    static: bool
    phase: Phase = Phase.DOWN
    tried: bool = False  # its first start has succeeded or failed
    doomed: bool = False  # goes down with its group, and comes back
    leaving: bool = False  # goes down for good
    streak: int = 0  # restarts since it was last up for a whole period
    up_since: float = 0.0
    not_before: float = 0.0

    @property
    def live(self) -> bool:
        return self.phase is Phase.UP or self.phase is Phase.STARTING


class Restarts:
    """The machine of one incarnation of a supervisor.

    No event costs more because there are many children, except that a group goes down or comes up.
    """

    __slots__ = (
        "_cause",
        "_children",
        "_culprit",
        "_doomed",
        "_down",
        "_failures",
        "_finished",
        "_first",
        "_live",
        "_order",
        "_ready",
        "_rules",
        "_stopping",
        "_stopping_doomed",
        "_wait",
        "restarts",
    )

    def __init__(self, rules: Rules, children: Iterable[tuple[str, Restart]]) -> None:
        self._rules = rules
        self._children = {name: _Child(name, restart, static=True) for name, restart in children}
        self._failures: deque[float] = deque()  # when, within the period
        self._cause: Cause | None = None  # set: everything goes down
        self._culprit = ""
        self._ready = False
        self._finished = False
        self._wait: float | None = None
        self.restarts = 0
        # What could be counted in the children each time, and is kept instead.
        self._down = dict(self._children)
        self._live = 0
        self._stopping = 0
        self._doomed = 0
        self._stopping_doomed = 0
        self._order: list[_Child] | None = None  # who is to be stopped, the next one last; None: to be found out
        self._first: _Child | None = None  # whose first start was begun last

    @property
    def ending(self) -> bool:
        """Whether everything goes down, or is."""
        return self._cause is not None

    def phase(self, name: str) -> Phase | None:
        """Where this child is; None if there is no such child."""
        child = self._children.get(name)
        return None if child is None else child.phase

    def step(self, event: Event, now: float) -> list[Effect]:
        """Take in what happened at ``now``, in seconds that never fall, and say what to do."""
        out: list[Effect] = []
        if self._finished:
            return out
        match event:
            case Boot():
                pass
            case Add(name, restart):
                self._down[name] = self._children[name] = _Child(name, restart, static=False, tried=True)
            case Remove(name):
                self._remove(name, out)
            case Up(name):
                self._up(name, now)
            case Ended(name, failed, fatal):
                self._ended(name, failed, fatal, now, out)
            case Lost(name):
                self._lost(name)
            case Tick():
                self._wait = None
            case Shutdown():
                self._end(self._cause or Cause.ASKED, self._culprit)
            case _:
                assert_never(event)
        if not self._go_down(out):
            self._come_up(now, out)
        return out

    # ---- taking in --------------------------------------------------------------------------------------------------

    def _remove(self, name: str, out: list[Effect]) -> None:
        child = self._children.get(name)
        if child is None or child.leaving or self.ending:
            return
        child.leaving = True
        if child.phase is Phase.DOWN:
            self._retire(child, out)
        elif child.live:
            self._stop(child, out)

    def _up(self, name: str, now: float) -> None:
        child = self._children[name]
        child.tried = True
        if child.phase is Phase.STARTING:  # else it came up while it was being stopped
            self._move(child, Phase.UP)
            child.up_since = now

    def _ended(self, name: str, failed: bool, fatal: bool, now: float, out: list[Effect]) -> None:
        child = self._children[name]
        was = child.phase
        spontaneous = child.live and not child.doomed and not self.ending
        child.tried = True
        self._move(child, Phase.DOWN)
        if fatal:
            self._end(Cause.FATAL, name)
        elif child.leaving:
            self._retire(child, out)
        elif spontaneous:
            if child.restart == "temporary" or (child.restart == "transient" and not failed):
                self._retire(child, out)
            else:
                if was is Phase.UP and now - child.up_since >= self._rules.period:
                    child.streak = 0
                self._restart(child, now)

    def _restart(self, child: _Child, now: float) -> None:
        self._failures.append(now)
        while self._failures[0] < now - self._rules.period:
            self._failures.popleft()
        if len(self._failures) > self._rules.intensity:
            self._end(Cause.GAVE_UP, child.id)
            return
        self.restarts += 1
        first, longest = self._rules.delay
        delay = min(longest, first * 2.0 ** min(child.streak, 64))
        child.streak += 1
        for member in self._group(child):
            member.not_before = max(member.not_before, now + delay)
            if member.live and not member.doomed:
                member.doomed = True
                self._doomed += 1
                member.leaving = member.leaving or member.restart == "temporary"
        self._order = None

    def _group(self, child: _Child) -> Iterator[_Child]:
        """Those who are restarted when ``child`` is, left to right."""
        if self._rules.strategy == "one_for_one":
            yield child
            return
        started = self._rules.strategy == "one_for_all"
        for member in self._children.values():
            started = started or member is child
            if started:
                yield member

    def _lost(self, name: str) -> None:
        child = self._children[name]
        if child.phase is not Phase.STOPPING:
            return
        self._move(child, Phase.LOST)
        if not child.leaving:
            # SAFETY: a successor would run beside it, and both would act under one name.
            self._end(Cause.FATAL, name)

    def _end(self, cause: Cause, culprit: str) -> None:
        if self._cause is not Cause.FATAL:
            self._cause = cause
            self._culprit = culprit
        self._order = None

    def _retire(self, child: _Child, out: list[Effect]) -> None:
        del self._children[child.id]
        self._down.pop(child.id, None)
        out.append(Retire(child.id))

    def _stop(self, child: _Child, out: list[Effect]) -> None:
        self._move(child, Phase.STOPPING)
        out.append(Stop(child.id))

    def _move(self, child: _Child, phase: Phase) -> None:
        """Change the phase of a child, and all that is counted."""
        was_live, was = child.live, child.phase
        child.phase = phase
        self._live += child.live - was_live
        self._stopping += (phase is Phase.STOPPING) - (was is Phase.STOPPING)
        if child.doomed:
            self._stopping_doomed += (phase is Phase.STOPPING) - (was is Phase.STOPPING)
            if phase is Phase.DOWN or phase is Phase.LOST:
                child.doomed = False
                self._doomed -= 1
        if phase is Phase.DOWN:
            self._down[child.id] = child
        elif was is Phase.DOWN:
            del self._down[child.id]

    # ---- deciding ---------------------------------------------------------------------------------------------------

    def _go_down(self, out: list[Effect]) -> bool:
        """Stop what has to go down.  True while anything has to: nothing starts meanwhile."""
        stopping = self._stopping if self.ending else self._stopping_doomed
        live = self._live if self.ending else self._doomed
        together = self.ending and self._rules.together
        if live and (together or not stopping):
            if self._order is None:
                self._order = [child for child in self._children.values() if child.doomed or self.ending]
            while self._order:
                child = self._order.pop()
                if child.live:
                    self._stop(child, out)
                    if not together:
                        break
        if live or stopping:
            return True
        if self._cause is None:
            return False
        for child in list(self._children.values()):
            if child.phase is Phase.LOST:
                self._end(Cause.FATAL, child.id)
            if not child.static or child.leaving:
                self._retire(child, out)
        out.append(Escalate(self._cause, self._culprit))
        self._finished = True
        return True

    def _come_up(self, now: float, out: list[Effect]) -> None:
        """Start what may start."""
        wait = math.inf
        for child in self._next_up():
            if child.not_before <= now:
                self._move(child, Phase.STARTING)
                out.append(Start(child.id))
            else:
                wait = min(wait, child.not_before)
        if wait < math.inf and wait != self._wait:
            self._wait = wait
            out.append(Wait(wait))
        if not self._ready and all(child.phase is Phase.UP or child.leaving for child in self._static()):
            self._ready = True
            out.append(Ready())

    def _next_up(self) -> Iterator[_Child]:
        """Those who are down and whom nobody on their left holds up, left to right."""
        if not self._down:
            return
        if self._rules.strategy != "one_for_one":
            # The others stand on the first that is not up; there is one, for who is down is not leaving.
            first = next(
                child for child in self._children.values() if child.phase is not Phase.UP and not child.leaving
            )
            if first.phase is Phase.DOWN:
                yield first
            return
        for child in list(self._down.values()):
            if child.static and not child.tried:
                # Even those who are independent start one after the other the first time.
                if self._first is not None and self._first.phase is Phase.STARTING:
                    continue
                self._first = child
            yield child

    def _static(self) -> Iterator[_Child]:
        return takewhile(lambda child: child.static, self._children.values())
