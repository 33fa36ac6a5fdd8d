"""The operating system behind the ports."""

from __future__ import annotations

import time

from astrid.adapters.system import SystemClock, SystemEntropy


def test_the_wall_clock_is_the_systems() -> None:
    before = time.time_ns()
    assert before <= SystemClock().now_ns() <= time.time_ns()


def test_the_running_clock_never_goes_back() -> None:
    clock = SystemClock()
    seen = [clock.running_ns() for _ in range(1000)]
    assert seen == sorted(seen)
    assert clock.running_ns() >= time.monotonic_ns() - 10**9  # sleep of the machine counts too


def test_no_two_draws_are_alike() -> None:
    entropy = SystemEntropy()
    draws = {entropy.random_bytes(16) for _ in range(1000)}
    assert len(draws) == 1000
    assert {len(entropy.random_bytes(count)) for count in (0, 1, 32)} == {0, 1, 32}
