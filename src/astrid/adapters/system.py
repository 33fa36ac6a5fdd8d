"""The operating system's clock and randomness."""

from __future__ import annotations

import os
import time


class SystemClock:
    """The ``Clock`` port over the wall clock."""

    def now_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return time.time_ns()

    def running_ns(self) -> int:
        """Nanoseconds since the machine started, sleep included where the system can tell."""
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        return time.monotonic_ns() if boottime is None else time.clock_gettime_ns(boottime)


class SystemEntropy:
    """The ``Entropy`` port over the kernel's generator."""

    def random_bytes(self, count: int) -> bytes:
        """``count`` fresh bytes."""
        return os.urandom(count)
