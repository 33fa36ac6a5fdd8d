"""The ``Clock`` port in a test's hands: it runs with Trio's clock, and the wall can be set."""

from __future__ import annotations

import trio

START_NS = 1_790_000_000 * 10**9


class FakeClock:
    """``wall_ns`` is where the wall clock stands when Trio's clock stands at zero."""

    def __init__(self, wall_ns: int = START_NS) -> None:
        self.wall_ns = wall_ns

    def now_ns(self) -> int:
        return self.wall_ns + self._elapsed_ns()

    def running_ns(self) -> int:
        return 10**12 + self._elapsed_ns()

    def set_by(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.wall_ns += int(seconds * 10**9)

    def _elapsed_ns(self) -> int:
        try:
            return int(trio.current_time() * 10**9)
        except RuntimeError:  # before or after the run
            return 0


class StillClock:
    """The ``Clock`` port where no time passes unless the test says so."""

    def __init__(self, wall_ns: int = START_NS) -> None:
        self.wall_ns = wall_ns
        self.ran_ns = 10**12

    def now_ns(self) -> int:
        return self.wall_ns

    def running_ns(self) -> int:
        return self.ran_ns

    def pass_by(self, seconds: float) -> None:
        """Time passes."""
        self.wall_ns += int(seconds * 10**9)
        self.ran_ns += int(seconds * 10**9)


class FakeEntropy:
    """The ``Entropy`` port: never the same twice, always the same again."""

    def __init__(self) -> None:
        self._count = 0

    def random_bytes(self, count: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(count, "big")
