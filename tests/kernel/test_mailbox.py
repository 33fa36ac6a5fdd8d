"""The mailbox alone: examples, and a naive model that it must agree with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.kernel import ActorGone, Lane, Message, Overflow, Posted, Sender
from astrid.kernel.mailbox import BURST, SLICE, STOP, Entry, Mailbox
from astrid.kernel.testing import cancel_at_every_step

SENDER = Sender(id=7, path="root/a", incarnation=1, rank=3)


class Work(Message, frozen=True, kw_only=True):
    n: int


class Control(Message, frozen=True, kw_only=True):
    lane = Lane.CONTROL
    n: int


class Droppable(Message, frozen=True, kw_only=True):
    overflow = Overflow.DROP


class Kept(Message, frozen=True, kw_only=True):
    overflow = Overflow.DEAD_LETTER


def work(n: int) -> Entry:
    return Work(n=n), SENDER, None


def control(n: int) -> Entry:
    return Control(n=n), SENDER, None


def number(entry: Entry | None) -> int:
    assert entry is not None
    message = entry[0]
    assert isinstance(message, (Work, Control))
    return message.n


async def next_number(mailbox: Mailbox) -> int:
    entry = mailbox.take()
    return number(entry if entry is not None else await mailbox.wait())


# ---- room -----------------------------------------------------------------------------------------------------------


async def test_a_full_lane_refuses_and_counts_it() -> None:
    mailbox = Mailbox(2, 1)
    assert [mailbox.offer(work(n)) for n in range(3)] == [Posted.ACCEPTED, Posted.ACCEPTED, Posted.REFUSED]
    assert mailbox.refused == 1


async def test_the_type_of_a_message_says_what_becomes_of_it_without_room() -> None:
    mailbox = Mailbox(1, 1)
    mailbox.offer(work(0))
    assert mailbox.offer((Droppable(), SENDER, None)) is Posted.DROPPED
    assert mailbox.offer((Kept(), SENDER, None)) is Posted.DEAD_LETTER
    assert mailbox.offer(("no message at all", SENDER, None)) is Posted.REFUSED
    assert (mailbox.dropped, mailbox.dead_letters, mailbox.refused) == (1, 1, 1)


async def test_control_passes_full_work() -> None:
    mailbox = Mailbox(1, 1)
    mailbox.offer(work(0))
    assert mailbox.offer(control(1)) is Posted.ACCEPTED
    assert [number(mailbox.take()), number(mailbox.take())] == [1, 0]


async def test_a_flood_of_control_does_not_starve_work() -> None:
    mailbox = Mailbox(10, 10 * BURST)
    mailbox.offer(work(-1))
    mailbox.offer(work(-2))
    for n in range(3 * BURST):
        mailbox.offer(control(n))
    taken = [number(mailbox.take()) for _ in range(2 * BURST + 2)]
    assert taken.index(-1) == BURST
    assert taken.index(-2) == 2 * BURST + 1


async def test_control_alone_uses_up_nobody_s_patience() -> None:
    mailbox = Mailbox(10, 10 * BURST)
    for n in range(2 * BURST):
        mailbox.offer(control(n))
    for _ in range(2 * BURST):
        mailbox.take()
    mailbox.offer(work(-1))
    mailbox.offer(control(5))
    assert number(mailbox.take()) == 5


# ---- the consumer ---------------------------------------------------------------------------------------------------


async def test_a_consumer_that_waits_is_handed_the_message_itself(autojump_clock: trio.testing.MockClock) -> None:
    mailbox = Mailbox(1, 1)
    got: list[int] = []

    async def consume() -> None:
        got.append(number(await mailbox.wait()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        assert mailbox.offer(work(1)) is Posted.ACCEPTED
        assert mailbox.depth == 0
    assert got == [1]


async def test_a_consumer_that_is_cancelled_while_it_waits_leaves_the_mailbox_usable() -> None:
    mailbox = Mailbox(1, 1)
    with trio.move_on_after(0):
        await mailbox.wait()
    assert mailbox.offer(work(1)) is Posted.ACCEPTED
    assert mailbox.depth == 1


async def test_a_busy_consumer_lets_others_run_once_per_slice() -> None:
    mailbox = Mailbox(10 * SLICE, 1)
    others = 0

    async def count() -> None:
        nonlocal others
        while True:
            others += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for _ in range(4):
            for n in range(SLICE):
                mailbox.offer(work(n))
            for _ in range(SLICE):
                await next_number(mailbox)
        assert 2 <= others <= 8
        nursery.cancel_scope.cancel()


async def test_a_slice_is_never_shorter_than_the_queue_so_a_burst_does_not_overflow_it() -> None:
    burst = 4 * SLICE
    mailbox = Mailbox(2 * burst, 1)  # Trio may run the producer twice in a row, never three times
    refused = 0
    taken = 0

    async def produce() -> None:
        nonlocal refused
        for _ in range(8):
            for n in range(burst):
                refused += mailbox.offer(work(n)) is not Posted.ACCEPTED
            await trio.lowlevel.checkpoint()

    async def consume() -> None:
        nonlocal taken
        while True:
            await next_number(mailbox)
            taken += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(produce)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (taken, refused) == (8 * burst, 0)


# ---- waiting for room -----------------------------------------------------------------------------------------------


async def put_in_background(nursery: trio.Nursery, mailbox: Mailbox, entries: list[Entry], done: list[int]) -> None:
    async def put(entry: Entry) -> None:
        await mailbox.put(entry)
        done.append(number(entry))

    for entry in entries:
        nursery.start_soon(put, entry)
        await trio.testing.wait_all_tasks_blocked()


async def test_senders_that_wait_for_room_are_served_in_the_order_of_arrival() -> None:
    mailbox = Mailbox(1, 1)
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        await put_in_background(nursery, mailbox, [work(n) for n in range(5)], done)
        assert (done, mailbox.waiting) == ([0], 4)
        for n in range(5):
            assert await next_number(mailbox) == n
            await trio.testing.wait_all_tasks_blocked()
            assert done == list(range(min(n + 2, 5)))


async def test_nobody_overtakes_a_sender_that_waits() -> None:
    mailbox = Mailbox(1, 1)
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        await put_in_background(nursery, mailbox, [work(0), work(1)], done)
        await next_number(mailbox)
        assert mailbox.offer(work(9)) is Posted.REFUSED
        assert await next_number(mailbox) == 1


async def test_a_sender_that_waits_for_the_control_lane_does_not_wait_for_the_work_lane() -> None:
    mailbox = Mailbox(1, 1)
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        await put_in_background(nursery, mailbox, [work(0), work(1), control(2), control(3)], done)
        assert await next_number(mailbox) == 2
        await trio.testing.wait_all_tasks_blocked()
        assert done == [0, 2, 3]
        assert [await next_number(mailbox) for _ in range(3)] == [3, 0, 1]


async def test_a_sender_that_is_cancelled_while_it_waits_sends_nothing() -> None:
    mailbox = Mailbox(1, 1)
    mailbox.offer(work(0))
    with trio.move_on_after(0.01) as scope:
        await mailbox.put(work(1))
    assert scope.cancelled_caught
    assert (await next_number(mailbox), mailbox.depth, mailbox.waiting) == (0, 0, 0)


async def test_a_sender_that_was_cancelled_before_sends_nothing() -> None:
    mailbox = Mailbox(1, 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await mailbox.put(work(1))
    assert (scope.cancelled_caught, mailbox.depth) == (True, 0)


@pytest.mark.parametrize("already_queued", [0, 1])
def test_a_sender_learns_of_its_cancellation_only_if_nothing_was_sent(already_queued: int) -> None:
    async def scenario() -> None:
        mailbox = Mailbox(1, 1)
        for _ in range(already_queued):
            mailbox.offer(work(0))
        sent = False

        async def put() -> None:
            nonlocal sent
            try:
                await mailbox.put(work(1))
                sent = True
            finally:
                arrived = [number(entry) for entry in mailbox.drain()].count(1)
                assert arrived == sent

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put)
            await trio.lowlevel.checkpoint()
            if already_queued:
                mailbox.take()

    assert cancel_at_every_step(scenario) > 3


async def test_a_light_offer_is_declined_from_half_full_on() -> None:
    mailbox = Mailbox(4, 4)
    assert [mailbox.offer_if_roomy(work(n)) for n in range(3)] == [True, True, False]
    assert mailbox.refused == 0


async def test_a_light_offer_of_control_that_has_no_room_counts_as_nothing() -> None:
    mailbox = Mailbox(4, 1)
    mailbox.offer(control(0))
    assert not mailbox.offer_if_roomy(control(1))
    assert (mailbox.refused, mailbox.control_depth) == (0, 1)


# ---- answers --------------------------------------------------------------------------------------------------------


async def test_an_answer_that_was_asked_for_comes_through_a_full_mailbox() -> None:
    mailbox = Mailbox(1, 1)
    assert mailbox.reserve("a", asked=5)
    mailbox.offer(work(0))
    assert mailbox.fill("a", 5, work(1)) is Posted.ACCEPTED
    assert mailbox.depth == 2


async def test_an_answer_is_taken_once() -> None:
    mailbox = Mailbox(1, 1)
    mailbox.reserve("a", asked=5)
    assert [mailbox.fill("a", 5, work(n)) for n in range(2)] == [Posted.ACCEPTED, Posted.LATE]
    assert mailbox.late == 1


async def test_who_was_not_asked_can_neither_answer_nor_use_the_reservation_up() -> None:
    mailbox = Mailbox(1, 1)
    mailbox.reserve("a", asked=5)
    assert mailbox.fill("a", 6, work(0)) is Posted.LATE
    assert mailbox.fill("a", 5, work(1)) is Posted.ACCEPTED


async def test_a_forgotten_answer_is_late() -> None:
    mailbox = Mailbox(1, 1)
    mailbox.reserve("a", asked=5)
    assert [mailbox.forget("a"), mailbox.forget("a")] == [True, False]
    assert mailbox.fill("a", 5, work(0)) is Posted.LATE


async def test_answers_that_nobody_takes_are_bounded() -> None:
    mailbox = Mailbox(4, 4)
    accepted = 0
    for n in range(100):
        if mailbox.reserve(n, asked=5):
            accepted += 1
            mailbox.fill(n, 5, work(n))
    assert accepted == 8
    for n in range(100):
        if mailbox.reserve(n, asked=5):
            accepted += 1
            mailbox.fill(n, 5, control(n))
    assert accepted == 8  # a mailbox with so much to do takes on nothing more, in either lane


async def test_strangers_cannot_crowd_out_answers() -> None:
    mailbox = Mailbox(4, 4)
    while mailbox.offer(work(0)) is Posted.ACCEPTED or mailbox.offer(control(0)) is Posted.ACCEPTED:
        pass
    assert [mailbox.reserve(n, asked=5) for n in range(5)] == [True] * 4 + [False]


async def test_answers_cannot_crowd_out_strangers() -> None:
    mailbox = Mailbox(4, 4)
    for n in range(4):
        mailbox.reserve(n, asked=5)
    assert [mailbox.offer(work(n)) for n in range(4)] == [Posted.ACCEPTED] * 4


# ---- the ends -------------------------------------------------------------------------------------------------------


async def test_a_stop_comes_after_all_that_was_queued_before_it() -> None:
    mailbox = Mailbox(8, 8)
    mailbox.offer(work(0))
    mailbox.stop_after_queue()
    mailbox.offer(work(1))
    mailbox.offer(control(2))
    assert number(mailbox.take()) == 2
    assert number(mailbox.take()) == 0
    assert mailbox.take() is STOP
    assert mailbox.obey_stop()


async def test_control_that_is_queued_goes_before_a_stop() -> None:
    mailbox = Mailbox(8, 2 * BURST)
    mailbox.stop_after_queue()
    for n in range(BURST + 1):
        mailbox.offer(control(n))
    taken: list[int] = []
    while True:
        entry = mailbox.take()
        if entry is not STOP:
            taken.append(number(entry))
        elif mailbox.obey_stop():
            break
    assert taken == list(range(BURST + 1))


async def test_a_stop_that_was_handed_over_stays_when_control_comes_before_the_consumer_runs() -> None:
    mailbox = Mailbox(8, 8)
    got: list[Entry | None] = []

    async def consume() -> None:
        got.append(await mailbox.wait())
        assert not mailbox.obey_stop()
        got.extend((mailbox.take(), mailbox.take()))
        assert mailbox.obey_stop()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.stop_after_queue()
        mailbox.offer(control(0))
    assert got == [STOP, control(0), STOP]


async def test_to_stop_now_leaves_the_queue_alone() -> None:
    mailbox = Mailbox(8, 8)
    mailbox.offer(work(0))
    mailbox.offer(control(1))
    mailbox.stop_now()
    assert mailbox.take() is None
    assert await mailbox.wait() is STOP
    assert mailbox.obey_stop()


async def test_to_stop_now_holds_for_a_consumer_that_was_just_handed_a_message() -> None:
    mailbox = Mailbox(8, 8)
    got: list[Entry | None] = []

    async def consume() -> None:
        got.append(await mailbox.wait())
        got.append(mailbox.take())
        got.append(await mailbox.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.offer(work(0))
        mailbox.stop_now()
        mailbox.offer(work(1))
    assert got == [work(0), None, STOP]


@pytest.mark.parametrize("act", [Mailbox.stop_now, Mailbox.stop_after_queue])
async def test_a_consumer_that_waits_is_told_at_once(act: Callable[[Mailbox], None]) -> None:
    mailbox = Mailbox(8, 8)
    got: list[Entry] = []

    async def consume() -> None:
        got.append(await mailbox.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        act(mailbox)
    assert got[0] is STOP


async def test_a_drained_mailbox_keeps_those_who_wait_and_forgets_reservations() -> None:
    mailbox = Mailbox(1, 1)
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        await put_in_background(nursery, mailbox, [work(0), work(1)], done)
        mailbox.reserve("a", asked=5)
        mailbox.stop_after_queue()
        assert [number(entry) for entry in mailbox.drain()] == [0]
        assert mailbox.fill("a", 5, work(9)) is Posted.LATE
        mailbox.admit()
        assert number(mailbox.take()) == 1
    assert mailbox.dead_letters == 1


async def test_a_closed_mailbox_sends_everybody_away() -> None:
    mailbox = Mailbox(1, 1)
    gone: list[str] = []

    async def put(entry: Entry) -> None:
        try:
            await mailbox.put(entry)
        except ActorGone as error:
            gone.append(error.code)

    async with trio.open_nursery() as nursery:
        for entry in (work(0), work(1), control(2), control(3)):
            nursery.start_soon(put, entry)
            await trio.testing.wait_all_tasks_blocked()
        assert {number(entry) for entry in mailbox.close()} == {0, 2}
    assert gone == ["kernel.actor_gone"] * 2
    assert mailbox.offer(work(4)) is mailbox.deliver(work(4)) is mailbox.fill("a", 5, work(4)) is Posted.GONE
    assert mailbox.offer(control(4)) is mailbox.offer((Droppable(), SENDER, None)) is Posted.GONE
    with pytest.raises(ActorGone):
        await mailbox.put(work(5))
    assert mailbox.depth == mailbox.control_depth == 0


# ---- the naive model ------------------------------------------------------------------------------------------------

CAPACITY, CONTROL_CAPACITY = 3, 2


@dataclass
class Model:
    """A mailbox as one would describe it: lists, and no thought of speed."""

    work: list[int] = field(default_factory=list[int])
    control: list[int] = field(default_factory=list[int])
    work_line: list[int] = field(default_factory=list[int])
    control_line: list[int] = field(default_factory=list[int])
    reserved: dict[int, int] = field(default_factory=dict[int, int])
    control_in_a_row: int = 0

    def lane(self, *, is_control: bool) -> tuple[list[int], list[int], int]:
        if is_control:
            return self.control, self.control_line, CONTROL_CAPACITY
        return self.work, self.work_line, CAPACITY

    def offer(self, n: int, *, is_control: bool) -> Posted:
        queue, _, room = self.lane(is_control=is_control)
        if len(queue) >= room:
            return Posted.REFUSED
        queue.append(n)
        return Posted.ACCEPTED

    def put(self, n: int, *, is_control: bool) -> None:
        if self.offer(n, is_control=is_control) is Posted.REFUSED:
            self.lane(is_control=is_control)[1].append(n)

    def take(self) -> int | None:
        if self.control and (not self.work or self.control_in_a_row < BURST):
            self.control_in_a_row += bool(self.work)
            taken = self.control.pop(0)
        elif self.work:
            self.control_in_a_row = 0
            taken = self.work.pop(0)
        else:
            return None
        self.admit()
        return taken

    def admit(self) -> None:
        for is_control in (False, True):
            queue, line, room = self.lane(is_control=is_control)
            while line and len(queue) < room:
                queue.append(line.pop(0))

    def reserve(self, answer: int, asked: int) -> bool:
        spare = CAPACITY - len(self.reserved)
        if spare <= 0 or len(self.work) >= CAPACITY + spare or len(self.control) >= CONTROL_CAPACITY + spare:
            return False
        self.reserved[answer] = asked
        return True

    def fill(self, answer: int, by: int, n: int, *, is_control: bool) -> Posted:
        if self.reserved.get(answer) != by:
            return Posted.LATE
        del self.reserved[answer]
        self.lane(is_control=is_control)[0].append(n)
        return Posted.ACCEPTED


lanes = st.booleans()
ids = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("offer"), lanes),
    st.tuples(st.just("put"), lanes),
    st.tuples(st.just("take")),
    st.tuples(st.just("take")),
    st.tuples(st.just("reserve"), ids, ids),
    st.tuples(st.just("fill"), ids, ids, lanes),
    st.tuples(st.just("forget"), ids),
    st.tuples(st.just("drain")),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=40))
def test_the_mailbox_agrees_with_the_naive_model(script: list[tuple[object, ...]]) -> None:
    trio.run(follow, script)


async def follow(script: list[tuple[object, ...]]) -> None:
    mailbox, model = Mailbox(CAPACITY, CONTROL_CAPACITY), Model()

    def entry(n: int, is_control: object) -> Entry:
        return control(n) if is_control else work(n)

    async with trio.open_nursery() as nursery:
        for n, step in enumerate(script):
            match step:
                case ("offer", bool(is_control)):
                    assert mailbox.offer(entry(n, is_control)) is model.offer(n, is_control=is_control)
                case ("put", bool(is_control)):
                    nursery.start_soon(mailbox.put, entry(n, is_control))
                    await trio.testing.wait_all_tasks_blocked()
                    model.put(n, is_control=is_control)
                case ("take",):
                    if mailbox.depth + mailbox.control_depth == 0:
                        assert model.take() is None
                    else:
                        assert await next_number(mailbox) == model.take()
                case ("reserve", int(answer), int(asked)):
                    if not mailbox.reserves(answer):
                        assert mailbox.reserve(answer, asked) == model.reserve(answer, asked)
                case ("fill", int(answer), int(by), bool(is_control)):
                    filled = mailbox.fill(answer, by, entry(n, is_control))
                    assert filled is model.fill(answer, by, n, is_control=is_control)
                case ("forget", int(answer)):
                    assert mailbox.forget(answer) == (model.reserved.pop(answer, None) is not None)
                case _:
                    drained = [number(entry) for entry in mailbox.drain()]
                    assert drained == model.control + model.work
                    mailbox.admit()
                    model.work, model.control, model.reserved = [], [], {}
                    model.admit()
            assert (mailbox.depth, mailbox.control_depth) == (len(model.work), len(model.control))
            assert (mailbox.waiting, mailbox.reserved) == (
                len(model.work_line) + len(model.control_line),
                len(model.reserved),
            )
            assert mailbox.depth + mailbox.reserved <= 2 * CAPACITY
            assert mailbox.control_depth + mailbox.reserved <= CAPACITY + CONTROL_CAPACITY
        nursery.cancel_scope.cancel()
