"""The heap of deadlines that all actors share."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.kernel.timers import SLACK, Timer, Timers


@asynccontextmanager
async def running() -> AsyncIterator[Timers]:
    timers = Timers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        yield timers
        nursery.cancel_scope.cancel()


async def test_a_call_is_made_at_its_time_and_once(autojump_clock: trio.testing.MockClock) -> None:
    calls: list[float] = []
    async with running() as timers:
        start = trio.current_time()
        timers.call_at(start + 2, lambda: calls.append(trio.current_time() - start))
        await trio.sleep(10)
    assert calls == [2]


async def test_an_earlier_deadline_is_met_though_the_task_sleeps_for_a_later_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls: list[str] = []
    async with running() as timers:
        start = trio.current_time()
        timers.call_at(start + 50, lambda: calls.append("late"))
        await trio.sleep(1)
        timers.call_at(start + 2, lambda: calls.append("early"))
        await trio.sleep(2)
        assert calls == ["early"]
        await trio.sleep(50)
    assert calls == ["early", "late"]


async def test_calls_of_one_moment_are_made_in_the_order_they_were_set(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls: list[int] = []
    async with running() as timers:
        for n in range(20):
            timers.call_at(trio.current_time() + 1, lambda n=n: calls.append(n))
        await trio.sleep(2)
    assert calls == list(range(20))


async def test_a_call_may_set_another(autojump_clock: trio.testing.MockClock) -> None:
    calls: list[int] = []
    async with running() as timers:

        def again() -> None:
            calls.append(len(calls))
            if len(calls) < 5:
                timers.call_at(trio.current_time() + 1, again)

        again()
        await trio.sleep(10)
    assert calls == [0, 1, 2, 3, 4]


async def test_deadlines_that_were_set_before_the_task_runs_are_met(
    autojump_clock: trio.testing.MockClock,
) -> None:
    timers = Timers()
    calls: list[int] = []
    timers.call_at(trio.current_time() + 1, lambda: calls.append(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert calls == [1]


async def test_a_timer_is_kept_until_it_is_over(autojump_clock: trio.testing.MockClock) -> None:
    kept: dict[Timer, None] = {}
    async with running() as timers:
        now = trio.current_time()
        fires = timers.call_at(now + 1, lambda: None, kept)
        cancelled = timers.call_at(now + 1, lambda: None, kept)
        assert list(kept) == [fires, cancelled]
        cancelled.cancel()
        assert list(kept) == [fires]
        await trio.sleep(2)
        assert kept == {}
        assert len(timers) == 0


async def test_timers_that_are_moot_do_not_pile_up() -> None:
    timers = Timers()
    keep = [timers.call_at(math.inf, lambda: None) for _ in range(10)]
    for _ in range(50):
        for timer in [timers.call_at(1e12, lambda: None) for _ in range(100)]:
            timer.cancel()
        assert len(timers._heap) <= 2 * (SLACK + len(keep) + 100)  # pyright: ignore[reportPrivateUsage]
    assert len(timers) == 10


operations = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 20)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("sleep"), st.integers(1, 8)),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(operations)
def test_timers_agree_with_a_list_that_is_searched(script: list[tuple[str, int]]) -> None:
    async def follow() -> None:
        fired: list[int] = []
        naive: dict[int, tuple[float, int]] = {}
        expected: list[int] = []
        handles: list[Timer] = []
        async with running() as timers:
            for what, number in script:
                if what == "add":
                    key = len(handles)
                    deadline = trio.current_time() + number + 0.5
                    handles.append(timers.call_at(deadline, lambda key=key: fired.append(key)))
                    naive[key] = (deadline, key)
                elif what == "cancel" and number < len(handles):
                    handles[number].cancel()
                    naive.pop(number, None)
                elif what == "sleep":
                    await trio.sleep(number)
                    due = sorted(entry for entry in naive.values() if entry[0] <= trio.current_time())
                    for _, key in due:
                        del naive[key]
                        expected.append(key)
                assert fired == expected
                assert len(timers) == len(naive)

    trio.run(follow, clock=trio.testing.MockClock(autojump_threshold=0))
