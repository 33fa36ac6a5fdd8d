"""Two clocks, and what it means when they part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.clock import AHEAD_NS, BACK_NS, ClockWatch, Step

SECOND = 10**9
WALL, RUNNING = 1_790_000_000 * SECOND, 5 * SECOND


def after(seconds: int, *, set_by_ns: int = 0) -> tuple[int, int]:
    """Both clocks after ``seconds``, the wall clock set meanwhile."""
    return WALL + seconds * SECOND + set_by_ns, RUNNING + seconds * SECOND


def test_two_clocks_that_run_alike_tell_nothing() -> None:
    watch = ClockWatch(WALL, RUNNING)
    assert watch.observe(*after(10**6)) is None
    assert (watch.went_back, watch.jumped_ahead, watch.offset_ns) == (False, False, 0)


@pytest.mark.parametrize("by_ns", [-BACK_NS, -SECOND, SECOND, AHEAD_NS])
def test_a_small_correction_is_nothing(by_ns: int) -> None:
    watch = ClockWatch(WALL, RUNNING)
    assert watch.observe(*after(1, set_by_ns=by_ns)) is None
    assert (watch.went_back, watch.jumped_ahead) == (False, False)


def test_a_step_back_of_more_than_a_minute_is_told_once_and_stays() -> None:
    watch = ClockWatch(WALL, RUNNING)
    step = watch.observe(*after(1, set_by_ns=-BACK_NS - 1))
    assert step == Step(-BACK_NS - 1)
    assert step is not None
    assert step.back
    assert watch.observe(*after(2, set_by_ns=-BACK_NS - 1)) is None
    assert (watch.went_back, watch.jumped_ahead) == (True, False)


def test_a_minute_back_and_a_day_ahead_are_the_limits() -> None:
    assert (BACK_NS, AHEAD_NS) == (60 * SECOND, 86_400 * SECOND)


def test_a_clock_that_nobody_has_looked_at_yet_is_believed() -> None:
    watch = ClockWatch(WALL, RUNNING)
    assert (watch.offset_ns, watch.went_back, watch.jumped_ahead) == (0, False, False)


def test_many_small_steps_back_are_one_large_one() -> None:
    watch = ClockWatch(WALL, RUNNING)
    steps = [watch.observe(*after(n, set_by_ns=-n * SECOND)) for n in range(1, 70)]
    assert [n for n, step in enumerate(steps, 1) if step is not None] == [61]


def test_a_jump_of_more_than_a_day_is_told_once_and_stays() -> None:
    watch = ClockWatch(WALL, RUNNING)
    step = watch.observe(*after(1, set_by_ns=AHEAD_NS + 1))
    assert step is not None
    assert not step.back
    assert watch.observe(*after(2, set_by_ns=AHEAD_NS + 1)) is None
    assert (watch.went_back, watch.jumped_ahead) == (False, True)


def test_time_that_passes_is_no_jump() -> None:
    """Also while the machine sleeps: the running clock runs on."""
    watch = ClockWatch(WALL, RUNNING)
    assert watch.observe(*after(30 * 24 * 3600)) is None
    assert not watch.jumped_ahead


def test_a_clock_set_right_again_is_believed_and_the_next_step_told_again() -> None:
    watch = ClockWatch(WALL, RUNNING)
    assert watch.observe(*after(1, set_by_ns=-2 * BACK_NS)) is not None
    assert watch.observe(*after(2)) is None
    assert not watch.went_back
    assert watch.observe(*after(3, set_by_ns=-2 * BACK_NS)) is not None


def test_a_clock_that_goes_from_far_behind_to_far_ahead_is_told_twice() -> None:
    watch = ClockWatch(WALL, RUNNING)
    assert watch.observe(*after(1, set_by_ns=-2 * BACK_NS)) == Step(-2 * BACK_NS)
    assert watch.observe(*after(2, set_by_ns=2 * AHEAD_NS)) == Step(2 * AHEAD_NS)


# --- against the log, for what happened while nobody watched


@pytest.mark.parametrize("by_s", [-61, -3600, -(10**9)])
def test_a_clock_that_stands_before_the_last_record_was_set_back(by_s: int) -> None:
    watch = ClockWatch(WALL + by_s * SECOND, RUNNING, last_ns=WALL)
    assert watch.went_back
    assert watch.observe(*after(5, set_by_ns=by_s * SECOND)) == Step(by_s * SECOND)
    assert watch.observe(*after(6, set_by_ns=by_s * SECOND)) is None
    assert watch.went_back


@pytest.mark.parametrize("by_s", [-60, 0, 86_401, 10**9])
def test_a_clock_that_stands_behind_the_last_record_cannot_be_judged(by_s: int) -> None:
    watch = ClockWatch(WALL + by_s * SECOND, RUNNING, last_ns=WALL)
    assert (watch.offset_ns, watch.went_back, watch.jumped_ahead) == (0, False, False)
    assert watch.observe(*after(5, set_by_ns=by_s * SECOND)) is None


@pytest.mark.parametrize("off_for_s", [0, 30, 86_401, 10**9])
def test_a_clock_that_began_behind_and_is_set_right_is_believed_from_there(off_for_s: int) -> None:
    watch = ClockWatch(0, RUNNING, last_ns=WALL)
    assert watch.observe(SECOND, RUNNING + SECOND) is not None
    assert watch.observe(*after(10, set_by_ns=off_for_s * SECOND)) is None
    assert (watch.offset_ns, watch.went_back, watch.jumped_ahead) == (0, False, False)
    assert watch.observe(*after(20, set_by_ns=off_for_s * SECOND + AHEAD_NS + 1)) is not None
    assert watch.jumped_ahead
    assert watch.observe(*after(30, set_by_ns=off_for_s * SECOND - BACK_NS - 1)) is not None
    assert watch.went_back


def test_a_clock_that_began_behind_becomes_right_by_running_on_only_as_the_log_s_time_does() -> None:
    """Waiting does not make it right: the time that passes, passes for both."""
    watch = ClockWatch(WALL - 3600 * SECOND, RUNNING, last_ns=WALL)
    watch.observe(*after(0, set_by_ns=-3600 * SECOND))
    watch.observe(*after(7200, set_by_ns=-3600 * SECOND))
    assert watch.went_back


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(-2 * AHEAD_NS, 2 * AHEAD_NS)), max_size=20))
def test_the_state_depends_on_where_the_clocks_stand_and_on_nothing_before(looks: list[tuple[int, int]]) -> None:
    watch = ClockWatch(WALL, RUNNING)
    told = 0
    for seconds, set_by_ns in looks:
        step = watch.observe(*after(seconds, set_by_ns=set_by_ns))
        state = -1 if set_by_ns < -BACK_NS else 1 if set_by_ns > AHEAD_NS else 0
        assert (watch.went_back, watch.jumped_ahead) == (state < 0, state > 0)
        assert (step is not None) == (state not in (0, told))
        told = state
