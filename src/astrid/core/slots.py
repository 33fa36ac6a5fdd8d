"""Slots: how many sub-agents work at once, and who is next.  Pure.

    queued ──turn──► working ──ask──► waiting ──the last it waits for is over──► returning ──turn──► working
                        └────────────────── over, from anywhere ──────────────────┘

Who works holds a slot; who waits for sub-agents of its own gives it back, and takes one again before it goes on.

Invariants:
  No more slots are held than there are, at every step.
  Who returns comes before whoever is queued.  So nesting cannot deadlock: while anybody is left, somebody works, or
  ``turn`` names one.
  Each that is queued begins once, in the order of asking.

Source: architecture 6 ("Sub-agents").
"""

from __future__ import annotations


class Slots:
    """See the module.  Tasks are named by numbers."""

    __slots__ = ("_count", "_queued", "_returning", "_waits", "_working")

    def __init__(self, count: int) -> None:
        self._count = count
        self._working: set[int] = set()
        self._waits: dict[int, int] = {}  # for how many tasks each waits that waits
        self._returning: dict[int, None] = {}  # in order
        self._queued: dict[int, None] = {}  # in order

    def has_room(self, above: int | None, queue: int) -> bool:
        """Whether one task more can be asked for by ``above``, of whom no more than ``queue`` are to be left waiting
        for a slot.
        """
        ahead = len(self._returning) - (above in self._returning)
        free = self._count - len(self._working) + (above in self._working) - ahead
        return len(self._queued) < queue + max(free, 0)

    def ask(self, task: int, above: int | None) -> None:
        """``task`` is queued; ``above``, if that is a task as well, waits for it."""
        self._queued[task] = None
        if above is not None:
            self._working.discard(above)
            self._returning.pop(above, None)
            self._waits[above] = self._waits.get(above, 0) + 1

    def over(self, task: int, above: int | None) -> None:
        """``task`` is over, however far it came; ``above`` no longer waits for it."""
        self._working.discard(task)
        self._waits.pop(task, None)
        self._returning.pop(task, None)
        self._queued.pop(task, None)
        if above is not None:
            self._waits[above] -= 1
            if not self._waits[above]:
                del self._waits[above]
                self._returning[above] = None

    def is_waiting(self, task: int) -> bool:
        """Whether ``task`` still waits for others."""
        return task in self._waits

    def turn(self) -> int | None:
        """The next who begins or goes on, and has a slot from now on; ``None`` if there is nobody, or no slot."""
        line = self._returning or self._queued
        if not line or len(self._working) >= self._count:
            return None
        task = next(iter(line))
        del line[task]
        self._working.add(task)
        return task
