"""Has the wall clock been set?  Compared with a clock that only runs on, and at first with the log.  Pure.

A clock that goes back would let expired tokens live again; one that jumps ahead would end every token at once, and
since the log's time never falls, one record written then would spoil the log's clock for good.

What nobody watched, between two runs, shows only in part.  A clock that stands before the log's last record was set
back.  One that stands far ahead of it may have been set ahead, or the machine was off; nobody can tell, so it is
believed.

Never: says what time it is.  The gate's time never falls, whatever the wall clock does (``facts.time_s``), and what is
recorded while the clock stands far ahead keeps the log's last time (the audit actor).

Source: threats 31.
"""

from __future__ import annotations

import msgspec

BACK_NS = 60 * 10**9
AHEAD_NS = 24 * 3600 * 10**9


class Step(msgspec.Struct, frozen=True):
    """The wall clock was set: by so many nanoseconds, forward or back."""

    by_ns: int

    @property
    def back(self) -> bool:
        """Whether it was set back."""
        return self.by_ns < 0


class ClockWatch:
    """Watches two clocks.

    ``offset_ns`` is how far the wall clock is from where it would be had nobody set it, as far as can be told.
    ``went_back``: it stands more than a minute behind, so standing grants must not be believed.  ``jumped_ahead``: it
    stands more than a day ahead, so nothing must be permitted, and its time must not be recorded.
    """

    __slots__ = ("_began_behind", "_origin_ns", "_told", "jumped_ahead", "offset_ns", "went_back")

    def __init__(self, wall_ns: int, running_ns: int, *, last_ns: int = 0) -> None:
        """``running_ns`` is a clock that only runs on, sleep of the machine included; ``last_ns`` is the time of the
        log's last record.
        """
        self._began_behind = wall_ns < last_ns - BACK_NS
        self._origin_ns = (last_ns if self._began_behind else wall_ns) - running_ns
        self._told = 0
        self._see(wall_ns - running_ns - self._origin_ns)

    def observe(self, wall_ns: int, running_ns: int) -> Step | None:
        """Look at both clocks.  A step is told once, when it is first seen; small corrections are nothing."""
        offset_ns = wall_ns - running_ns - self._origin_ns
        if -BACK_NS <= offset_ns <= AHEAD_NS and not self._told and not self._began_behind:
            self.offset_ns = offset_ns  # nothing else changes, as nearly always, and this is asked for each message
            return None
        self._see(offset_ns)
        if self._began_behind and not self.went_back:
            # It was set right.  How long ago the last record was made was never known, so this is no jump ahead.
            self._began_behind = False
            self._origin_ns = wall_ns - running_ns
            self._see(0)
        state = self.jumped_ahead - self.went_back
        if state == self._told:
            return None
        self._told = state
        return Step(self.offset_ns) if state else None

    def _see(self, offset_ns: int) -> None:
        self.offset_ns = offset_ns
        self.went_back = offset_ns < -BACK_NS
        self.jumped_ahead = offset_ns > AHEAD_NS
