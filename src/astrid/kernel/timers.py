"""All the deadlines of one system in one heap, watched by one task.

A cancel scope for each ask costs as much as the ask itself; an entry in a heap costs a tenth of it.

Invariants:
  An alarm fires at most once, at or after its deadline, and never once it is no longer pending.
  Alarms with the same deadline fire in the order in which they were set.
  Alarms that are no longer pending never outnumber the others by more than ``SLACK``.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Protocol

import trio
from trio.lowlevel import enable_ki_protection

SLACK = 256


class Alarm(Protocol):
    """Something that is due at some time, unless it is settled before."""

    pending: bool

    def fire(self) -> None:
        """The deadline passed.  Must not wait, and must not raise."""


class Timers:
    """The heap.  ``run`` is its task; everything else is a plain call."""

    __slots__ = ("_armed", "_heap", "_order", "_scope", "_settled")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self._settled = 0  # entries in the heap that are no longer pending
        self._scope: trio.CancelScope | None = None  # what the task sleeps in; its deadline is the next alarm
        self._armed = math.inf

    def __len__(self) -> int:
        return len(self._heap) - self._settled

    @enable_ki_protection
    def add(self, deadline: float, alarm: Alarm) -> None:
        """Have ``alarm`` fire at ``deadline``, in seconds of the run's clock."""
        heapq.heappush(self._heap, (deadline, next(self._order), alarm))
        if deadline < self._armed:
            self._armed = deadline
            if self._scope is not None:
                self._scope.deadline = deadline

    def call_at(self, deadline: float, call: Callable[[], object], kept: dict[Timer, None] | None = None) -> Timer:
        """Have ``call`` called at ``deadline``, unless the timer is cancelled before.  Until then it is in ``kept``."""
        timer = Timer(self, call, kept)
        self.add(deadline, timer)
        return timer

    @enable_ki_protection
    def settled(self) -> None:
        """An alarm in the heap is moot.  Its entry goes when its time comes, or when there are too many."""
        self._settled += 1
        if self._settled > SLACK and self._settled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)
            self._settled = 0

    @enable_ki_protection
    async def run(self) -> None:
        """Fire each alarm when it is due, for ever."""
        while True:
            # A deadline that became moot is slept to all the same: that is cheaper than to move it at each answer.
            with trio.CancelScope(deadline=self._armed) as self._scope:
                await trio.sleep_forever()
            self._scope = None
            self._fire_due(trio.current_time())
            self._armed = self._heap[0][0] if self._heap else math.inf

    def _fire_due(self, now: float) -> None:
        while self._heap and (self._heap[0][0] <= now or not self._heap[0][2].pending):
            _, _, alarm = heapq.heappop(self._heap)
            if alarm.pending:
                alarm.fire()
            else:
                self._settled -= 1


class Timer:
    """One call at one time."""

    __slots__ = ("_call", "_kept", "_timers", "pending")

    def __init__(self, timers: Timers, call: Callable[[], object], kept: dict[Timer, None] | None) -> None:
        self.pending = True
        self._timers = timers
        self._call = call
        self._kept = kept
        if kept is not None:
            kept[self] = None

    @enable_ki_protection
    def cancel(self) -> None:
        """It will not happen.  Nothing changes if it has."""
        if self.pending:
            self._let_go()
            self._timers.settled()

    def fire(self) -> None:
        """The deadline passed."""
        self._let_go()
        self._call()

    def _let_go(self) -> None:
        self.pending = False
        if self._kept is not None:
            self._kept.pop(self, None)
