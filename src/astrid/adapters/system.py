"""The operating system's clock and randomness."""

from __future__ import annotations

import os
import time

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """The ``Clock`` port over the wall clock."""

    def now_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return time.time_ns()

    def running_ns(self) -> int:
        """Nanoseconds since the machine started, sleep included where the system can tell."""
        return time.monotonic_ns() if _BOOTTIME is None else time.clock_gettime_ns(_BOOTTIME)


class SystemEntropy:
    """The ``Entropy`` port over the kernel's generator."""

    def random_bytes(self, count: int) -> bytes:
        """``count`` fresh bytes."""
        return os.urandom(count)
