"""INVARIANT: a mailbox does what a list would: nothing is lost, doubled, overtaken or let in beyond its room.

Two attacks.  One follows a script step by step and compares everything that can be seen with a description made of
plain lists; whoever waits may be cancelled, and the ends may come at any time.  The other lets senders and a consumer
run against each other on a drawn schedule, cancelled at every single step, and looks at what came out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from astrid.kernel import ActorGone, Lane, Message, Overflow, Posted, Sender
from astrid.kernel.mailbox import BURST, SLICE, STOP, Entry, Mailbox
from astrid.kernel.testing import act_at_every_step, run_seeded

SENDER = Sender(id=7, path="root/a", incarnation=1, rank=3)


class Work(Message, frozen=True, kw_only=True):
    n: int


class Control(Message, frozen=True, kw_only=True):
    lane = Lane.CONTROL
    n: int


class Droppable(Message, frozen=True, kw_only=True):
    overflow = Overflow.DROP
    n: int


class Kept(Message, frozen=True, kw_only=True):
    overflow = Overflow.DEAD_LETTER
    n: int


KINDS = (Work, Control, Droppable, Kept)
NO_ROOM = {Work: Posted.REFUSED, Control: Posted.REFUSED, Droppable: Posted.DROPPED, Kept: Posted.DEAD_LETTER}


@dataclass
class Described:
    """What is seen of a mailbox from outside, in plain lists.  Messages are their numbers; -1 says stop."""

    capacity: int
    control_capacity: int
    work: list[int] = field(default_factory=list[int])
    control: list[int] = field(default_factory=list[int])
    lines: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))  # who waits: for work, for control
    reserved: dict[int, int] = field(default_factory=dict[int, int])
    counted: dict[Posted, int] = field(default_factory=dict[Posted, int])
    waits: bool = False  # the consumer does
    got: list[int] = field(default_factory=list[int])
    patience: int = BURST
    halted: bool = False
    closed: bool = False

    def lane(self, is_control: bool) -> tuple[list[int], int]:
        return (self.control, self.control_capacity) if is_control else (self.work, self.capacity)

    def count(self, posted: Posted) -> Posted:
        self.counted[posted] = self.counted.get(posted, 0) + 1
        return posted

    def arrive(self, n: int, is_control: bool) -> None:
        """It is in; a consumer that waits has it at once."""
        if self.waits:
            self.waits = False
            self.got.append(n)
        else:
            self.lane(is_control)[0].append(n)

    def offer(self, n: int, kind: type) -> Posted:
        queue, room = self.lane(kind is Control)
        if self.closed:
            return Posted.GONE
        if len(queue) >= room and not self.waits:
            return self.count(NO_ROOM[kind])
        self.arrive(n, kind is Control)
        return Posted.ACCEPTED

    def offer_lightly(self, n: int, kind: type) -> bool:
        if not self.waits and (self.closed or kind is Control or len(self.work) * 2 >= self.capacity):
            return False
        self.arrive(n, kind is Control)
        return True

    def put(self, n: int, kind: type) -> bool:
        """Whether it is in, rather than in line."""
        queue, room = self.lane(kind is Control)
        if self.waits or len(queue) < room:
            self.arrive(n, kind is Control)
            return True
        self.lines[kind is Control].append(n)
        return False

    def next(self) -> int | None:
        """What the consumer is given, if there is anything."""
        if self.halted:
            return -1
        if self.control and (not self.work or self.patience):
            self.patience -= bool(self.work)
            taken = self.control.pop(0)
        elif self.work:
            self.patience = BURST
            taken = self.work.pop(0)
        else:
            return None
        self.admit()
        return taken

    def admit(self) -> None:
        for is_control in (False, True):
            queue, room = self.lane(is_control)
            while self.lines[is_control] and len(queue) < room and not self.closed:
                queue.append(self.lines[is_control].pop(0))

    def reserve(self, answer: int, asked: int) -> bool:
        spare = self.capacity - len(self.reserved)
        full = len(self.work) >= self.capacity + spare or len(self.control) >= self.control_capacity + spare
        if spare <= 0 or full:
            return False
        self.reserved[answer] = asked
        return True

    def fill(self, answer: int, by: int, n: int, is_control: bool) -> Posted:
        if self.closed:
            return Posted.GONE
        if self.reserved.get(answer) != by:
            return self.count(Posted.LATE)
        del self.reserved[answer]
        self.arrive(n, is_control)
        return Posted.ACCEPTED

    def end(self) -> list[int]:
        """An incarnation is over: what it had not taken, but for the word to stop."""
        dead = [n for n in (*self.control, *self.work) if n != -1]
        self.counted[Posted.DEAD_LETTER] = self.counted.get(Posted.DEAD_LETTER, 0) + len(dead)
        self.control, self.work, self.reserved, self.halted = [], [], {}, False
        return dead


def number(entry: Entry) -> int:
    return -1 if entry is STOP else entry[0].n  # type: ignore[attr-defined] - only this file's messages are sent


class Stage:
    """The mailbox, its description, and the tasks of those who wait."""

    def __init__(self, nursery: trio.Nursery, capacity: int, control_capacity: int) -> None:
        self.nursery = nursery
        self.box = Mailbox(capacity, control_capacity)
        self.said = Described(capacity, control_capacity)
        self.got: list[int] = []
        self.sent: dict[int, str] = {}  # what became of each put
        self.scopes: dict[int, trio.CancelScope] = {}
        self.consumer: trio.CancelScope | None = None

    async def send(self, n: int, kind: type) -> None:
        with trio.CancelScope() as self.scopes[n]:
            try:
                await self.box.put((kind(n=n), SENDER, None))
                self.sent[n] = "in"
            except ActorGone:
                self.sent[n] = "gone"
        if self.scopes.pop(n).cancelled_caught:
            self.sent[n] = "cancelled"

    async def consume(self) -> None:
        with trio.CancelScope() as self.consumer:
            self.got.append(number(self.box.take() or await self.box.wait()))
        self.consumer = None

    async def step(self, n: int, what: str, kind: type, one: int, two: int) -> None:
        box, said = self.box, self.said
        entry: Entry = (kind(n=n), SENDER, None)
        match what:
            case "offer":
                assert box.offer(entry) is said.offer(n, kind)
            case "offer lightly":
                assert box.offer_if_roomy(entry) is said.offer_lightly(n, kind)
            case "put":
                self.nursery.start_soon(self.send, n, kind)
                await wait_all_tasks_blocked()
                assert self.sent.get(n) == ("gone" if said.closed else "in" if said.put(n, kind) else None)
            case "consume" if not said.waits and not said.closed:  # closed, there is nobody who would
                self.nursery.start_soon(self.consume)
                await wait_all_tasks_blocked()
                taken = said.next()
                said.waits = taken is None
                said.got += [] if taken is None else [taken]
            case "cancel the consumer" if self.consumer is not None:
                self.consumer.cancel()
                said.waits = False
            case "cancel a sender" if self.scopes:
                gone = sorted(self.scopes)[one % len(self.scopes)]
                self.scopes[gone].cancel()
                for line in said.lines:
                    line[:] = [waiting for waiting in line if waiting != gone]
            case "reserve" if not box.reserves(one):
                assert box.reserve(one, two) is said.reserve(one, two)
            case "fill":
                assert box.fill(one, two, entry) is said.fill(one, two, n, kind is Control)
            case "forget":
                assert box.forget(one) is (said.reserved.pop(one, None) is not None)
            case "stop after the queue":
                box.stop_after_queue()
                if not said.closed:
                    said.arrive(-1, is_control=False)
            case "stop now":
                box.stop_now()
                said.halted = True
                if said.waits:
                    said.waits = False
                    said.got.append(-1)
            case "end" if not said.waits:
                assert [number(dead) for dead in box.drain()] == said.end()
                box.admit()
                said.admit()
            case "close" if not said.waits:
                in_line = [*said.lines[0], *said.lines[1]]
                assert [number(dead) for dead in box.close()] == said.end()
                said.closed = True
                for line in said.lines:
                    line.clear()
                await wait_all_tasks_blocked()
                assert all(self.sent[waiting] == "gone" for waiting in in_line)
            case _:
                pass
        await wait_all_tasks_blocked()
        self.compare()

    def compare(self) -> None:
        box, said = self.box, self.said
        assert self.got == said.got
        assert (box.depth, box.control_depth) == (len(said.work), len(said.control))
        assert (box.waiting, box.reserved) == (sum(map(len, said.lines)), len(said.reserved))
        counted = (box.refused, box.dropped, box.dead_letters, box.late)
        wanted = (Posted.REFUSED, Posted.DROPPED, Posted.DEAD_LETTER, Posted.LATE)
        assert counted == tuple(said.counted.get(what, 0) for what in wanted)
        in_line = {*said.lines[0], *said.lines[1]}
        assert set(self.scopes) == in_line
        # What strangers may fill, and what was asked for, have room of their own.
        stops = said.work.count(-1)
        assert len(said.work) - stops <= 2 * said.capacity
        assert len(said.control) <= said.capacity + said.control_capacity


WHAT = (
    *("offer", "offer", "offer lightly", "put", "put", "consume", "consume", "consume", "cancel the consumer"),
    *("cancel a sender", "reserve", "fill", "fill", "forget", "stop after the queue", "stop now", "end", "close"),
)
step = st.tuples(st.sampled_from(WHAT), st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 1))


@given(st.integers(1, 4), st.integers(1, 3), st.lists(step, max_size=60))
def test_a_mailbox_is_seen_to_do_what_plain_lists_do(
    capacity: int, control_capacity: int, script: list[tuple[str, type, int, int]]
) -> None:
    async def follow() -> None:
        async with trio.open_nursery() as nursery:
            stage = Stage(nursery, capacity, control_capacity)
            for n, (what, kind, one, two) in enumerate(script):
                await stage.step(n, what, kind, one, two)
                # A new consumer begins where the old one left its slice; long before that is over, it is renewed here.
                if n % (SLICE // 2) == 0 and not stage.said.waits:
                    stage.box.stop_now()
                    stage.said.halted = True
                    await stage.step(-2, "end", Work, 0, 0)
            nursery.cancel_scope.cancel()

    trio.run(follow)


# ---- many at once, cancelled anywhere -------------------------------------------------------------------------------

Orders = list[tuple[str, type]]
order = st.tuples(st.sampled_from(("put", "put", "offer", "pause")), st.sampled_from((Work, Control)))
orders = st.lists(order, max_size=5)


@given(st.integers(0, 10**6), st.integers(1, 3), st.lists(orders, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_what_was_sent_arrives_once_and_in_order_wherever_a_sender_is_cancelled(
    seed: int, capacity: int, senders: list[Orders], closes: bool, whom: bool
) -> None:
    """The first sender, or the consumer, is cancelled at its first step, its second, and so on to the end."""

    async def scenario(arm) -> None:  # noqa: ANN001 - as `act_at_every_step` hands it over
        box, got, sent = Mailbox(capacity, 1), list[int](), list[int]()
        first, consumer = trio.CancelScope(), trio.CancelScope()

        async def send(number_of: int, what: Orders) -> None:
            with first if number_of == 0 else trio.CancelScope():
                for place, (how, kind) in enumerate(what):
                    n = 100 * number_of + place
                    entry: Entry = (kind(n=n), SENDER, None)
                    if how == "pause":
                        await trio.lowlevel.checkpoint()
                    elif how == "offer":
                        sent.extend([n] if box.offer(entry) is Posted.ACCEPTED else [])
                    else:
                        try:
                            await box.put(entry)
                        except ActorGone:
                            return
                        sent.append(n)

        async def consume() -> None:
            with consumer:
                while True:
                    got.append(number(box.take() or await box.wait()))
                    if closes and len(got) == 3:
                        return

        arm((first if whom else consumer).cancel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consume)
            for number_of, what in enumerate(senders):
                nursery.start_soon(send, number_of, what)
            await wait_all_tasks_blocked()
            left = [number(entry) for entry in box.close()]
            nursery.cancel_scope.cancel()
        arrived = [*got, *left]
        assert sorted(arrived) == sorted(sent), "what was sent is what arrived"
        kinds = {100 * i + j: kind for i, what in enumerate(senders) for j, (_, kind) in enumerate(what)}
        for number_of in range(len(senders)):
            for lane in (Work, Control):
                mine = [n for n in got if n // 100 == number_of and kinds[n] is lane]
                assert mine == sorted(mine), "one sender overtook itself"

    def run() -> int:
        return act_at_every_step(scenario, seed)

    assert run() >= 0


@given(st.integers(0, 10**6), st.lists(orders, min_size=1, max_size=3))
def test_the_same_seed_is_the_same_run(seed: int, senders: list[Orders]) -> None:
    """What all of this rests on: a schedule that is drawn once is met again."""

    async def scenario() -> list[int]:
        box, got = Mailbox(2, 1), list[int]()

        async def send(number_of: int, what: Orders) -> None:
            for place, (_, kind) in enumerate(what):
                await box.put((kind(n=100 * number_of + place), SENDER, None))

        async with trio.open_nursery() as nursery:
            for number_of, what in enumerate(senders):
                nursery.start_soon(send, number_of, what)
            for _ in range(sum(map(len, senders))):
                got.append(number(box.take() or await box.wait()))
        return got

    assert run_seeded(seed, scenario) == run_seeded(seed, scenario)
