"""The slot that an answer comes back in.  One asker, one answer, one deadline.

Invariants:
  Settled exactly once: by an answer, by an error, by the deadline, or because the asker left.
  ``begun`` is set before the recipient acts on the ask; so if it is not set, it did not and never will.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from outcome import Error, Value
from trio.lowlevel import Abort, current_task, enable_ki_protection, reschedule

from astrid.kernel.errors import ActorGone, AskTooLate
from astrid.kernel.timers import Timers

if TYPE_CHECKING:
    from astrid.kernel.ref import Ref


class Slot:
    """Where one ask waits for its answer."""

    __slots__ = ("_ref", "_task", "_timers", "begun", "pending")

    def __init__(self, ref: Ref, timers: Timers) -> None:
        self._task = current_task()
        self._timers = timers
        self._ref = ref
        self.pending = True
        self.begun = False  # the recipient has taken it up

    @enable_ki_protection
    def answer(self, value: object) -> None:
        """Hand the asker its answer.  Nothing happens if it has left."""
        if self.pending:
            self.pending = False
            self._timers.settled()
            reschedule(self._task, Value(value))

    @enable_ki_protection
    def fail(self, error: ActorGone) -> None:
        """There will be no answer."""
        if self.pending:
            self.pending = False
            self._timers.settled()
            reschedule(self._task, Error(error))

    def fire(self) -> None:
        """The deadline passed: whoever takes the ask up later sees that it is no longer pending, and skips it."""
        self.pending = False
        message = f"`{self._ref.path}` did not answer in time"
        reschedule(self._task, Error(AskTooLate("kernel.ask_too_late", message, began=self.begun)))

    def abandon(self, _raise_cancel: Callable[[], object]) -> Abort:
        """The asker was cancelled."""
        self.pending = False
        self._timers.settled()
        return Abort.SUCCEEDED
