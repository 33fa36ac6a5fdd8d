"""Events on their way out: bounded, numbered, and every loss can be seen and made good."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from astrid.runtime import hub as module
from astrid.runtime.hub import KEPT_EVENTS, QUEUE_EVENTS, Hub, Subscription

ONE, OTHER = b"1" * 16, b"2" * 16


def numbered(number: int) -> bytes:
    return b"%d" % number


def say(hub: Hub, count: int, session: bytes = ONE) -> None:
    for _ in range(count):
        hub.publish(session, numbered(hub.number(session) + 1))


def numbers(events: list[bytes]) -> list[int]:
    return [int(event) for event in events]


async def heard(subscription: Subscription) -> list[int]:
    with trio.fail_after(5):
        return numbers(await subscription.wait_events())


async def test_a_listener_hears_what_is_said_after_it_came(autojump_clock: MockClock) -> None:
    hub = Hub()
    say(hub, 3)
    listener, begun = hub.subscribe(ONE, 3)
    say(hub, 2)
    assert (begun, await heard(listener)) == (3, [4, 5])


@pytest.mark.parametrize(("after", "begun", "told"), [(0, 0, [1, 2, 3]), (2, 2, [3]), (3, 3, []), (99, 3, [])])
async def test_a_listener_hears_what_it_missed(
    autojump_clock: MockClock, after: int, begun: int, told: list[int]
) -> None:
    hub = Hub()
    say(hub, 3)
    listener, really = hub.subscribe(ONE, after)
    say(hub, 1)
    assert (really, await heard(listener)) == (begun, [*told, 4])


async def test_what_is_too_old_to_be_kept_is_a_gap_that_can_be_seen(autojump_clock: MockClock) -> None:
    hub = Hub()
    say(hub, KEPT_EVENTS + 10)
    listener, begun = hub.subscribe(ONE, 5)
    events = await heard(listener)
    assert (begun, events[0], len(events)) == (10, 11, KEPT_EVENTS)
    assert not listener.lost


async def test_long_events_are_kept_by_their_bytes(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 100)
    hub = Hub()
    for _ in range(10):
        hub.publish(ONE, b"x" * 30)
    listener, begun = hub.subscribe(ONE, 0)
    assert (begun, len(await listener.wait_events())) == (7, 3)
    hub.publish(ONE, b"y" * 1000)
    assert hub.subscribe(ONE, 0)[1] == 10  # one event is always kept


async def test_sessions_do_not_hear_each_other(autojump_clock: MockClock) -> None:
    hub = Hub()
    mine, _ = hub.subscribe(ONE, 0)
    theirs, _ = hub.subscribe(OTHER, 0)
    say(hub, 1)
    say(hub, 2, OTHER)
    assert (await heard(mine), await heard(theirs)) == ([1], [1, 2])
    assert (hub.number(ONE), hub.number(OTHER)) == (1, 2)


async def test_provisional_text_has_no_number_and_is_not_kept(autojump_clock: MockClock) -> None:
    hub = Hub()
    listener, _ = hub.subscribe(ONE, 0)
    hub.publish(ONE, b"0", provisional=True)
    assert (await heard(listener), hub.number(ONE)) == ([0], 0)
    late, _ = hub.subscribe(ONE, 0)
    say(hub, 1)
    assert await heard(late) == [1]


async def test_a_listener_that_does_not_keep_up_loses_provisional_text_first(autojump_clock: MockClock) -> None:
    hub = Hub()
    listener, _ = hub.subscribe(ONE, 0)
    for _ in range(QUEUE_EVENTS):
        hub.publish(ONE, b"0", provisional=True)
    say(hub, QUEUE_EVENTS // 2)
    assert not listener.lost
    events = await heard(listener)
    assert events == [0] * (QUEUE_EVENTS // 2) + list(range(1, QUEUE_EVENTS // 2 + 1))


async def test_a_listener_that_lost_something_knows_and_can_make_it_good(autojump_clock: MockClock) -> None:
    hub = Hub()
    listener, _ = hub.subscribe(ONE, 0)
    say(hub, QUEUE_EVENTS + 100)
    assert listener.lost
    last = (await heard(listener))[-1]
    assert last == QUEUE_EVENTS
    hub.unsubscribe(listener)
    again, begun = hub.subscribe(ONE, last)
    assert begun == last
    assert await heard(again) == list(range(last + 1, last + 101))
    assert not again.lost


async def test_a_listener_that_does_not_read_takes_bounded_room(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_BYTES", 1000)
    hub = Hub()
    listener, _ = hub.subscribe(ONE, 0)
    for _ in range(100):
        hub.publish(ONE, b"x" * 100)
    assert listener.lost
    assert len(await listener.wait_events()) == 10


async def test_one_that_does_not_read_holds_up_no_other(autojump_clock: MockClock) -> None:
    hub = Hub()
    slow, _ = hub.subscribe(ONE, 0)
    quick, _ = hub.subscribe(ONE, 0)
    told: list[int] = []
    for _ in range(3):
        say(hub, QUEUE_EVENTS)
        told += await heard(quick)
    assert told == list(range(1, 3 * QUEUE_EVENTS + 1))
    assert (slow.lost, quick.lost) == (True, False)


async def test_waiting_is_cancelled_at_no_loss(autojump_clock: MockClock) -> None:
    hub = Hub()
    listener, _ = hub.subscribe(ONE, 0)
    with trio.move_on_after(1):
        await listener.wait_events()
    say(hub, 2)
    assert await heard(listener) == [1, 2]


async def test_the_end_of_a_session_is_heard_after_its_last_event(autojump_clock: MockClock) -> None:
    hub = Hub()
    listener, _ = hub.subscribe(ONE, 0)
    say(hub, 1)
    hub.forget(ONE)
    assert await heard(listener) == [1]
    assert await heard(listener) == []
    assert listener.closed


async def test_whoever_waits_when_it_ends_is_woken(autojump_clock: MockClock) -> None:
    hub = Hub()
    listener, _ = hub.subscribe(ONE, 0)
    told: list[list[bytes]] = []

    async def wait() -> None:
        told.append(await listener.wait_events())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        hub.unsubscribe(listener)
    assert told == [[]]


def test_nothing_is_kept_of_what_is_over() -> None:
    hub = Hub()
    say(hub, 5)
    listener, _ = hub.subscribe(ONE, 0)
    unknown, _ = hub.subscribe(OTHER, 7)
    hub.unsubscribe(unknown)
    hub.unsubscribe(unknown)
    hub.forget(ONE)
    hub.unsubscribe(listener)
    assert (hub.listeners(ONE), hub.number(ONE)) == (0, 0)
    assert not hub._kept
    assert not hub._listeners


async def test_the_events_of_one_that_slept_are_numbered_on(autojump_clock: MockClock) -> None:
    hub = Hub({ONE: 7}.__getitem__)
    say(hub, 1)
    listener, begun = hub.subscribe(ONE, 2)
    assert (begun, hub.number(ONE)) == (7, 8)  # what was before is a gap that can be seen
    assert await listener.wait_events() == [numbered(8)]


def test_one_that_sleeps_keeps_its_number_and_none_of_its_events() -> None:
    before = {ONE: 0}
    hub = Hub(lambda session: before.get(session, 0))
    say(hub, 3)
    before[ONE] = hub.number(ONE)
    hub.rest(ONE)
    assert (hub._kept, hub.number(ONE), hub.subscribe(ONE, 1)[1]) == ({}, 3, 3)
    hub.wake(ONE)
    del before[ONE]
    assert hub.number(ONE) == 3


async def test_whoever_listens_to_one_that_falls_asleep_hears_what_it_says_when_it_wakes(
    autojump_clock: MockClock,
) -> None:
    hub = Hub()
    listener, _ = hub.subscribe(ONE, 0)
    hub.rest(ONE)
    hub.wake(ONE)
    say(hub, 1)
    assert await listener.wait_events() == [numbered(1)]
