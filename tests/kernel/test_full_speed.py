"""While nothing else is to be looked at, a teller fills the work lane itself and its consumer empties it itself.

What may come in between must not be overlooked by either: control, a stop, a sleep, an end, somebody waiting for room.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio

from astrid.kernel import (
    Actor,
    ActorGone,
    ChildSpec,
    Exit,
    Lane,
    Message,
    Reason,
    Ref,
    Sender,
    SupervisorSpec,
    System,
    open_system,
)
from astrid.kernel.testing import settle

MANY = 40


class Number(Message, frozen=True, kw_only=True):
    """Work."""

    value: int


class Urgent(Message, frozen=True, kw_only=True):
    """Control."""

    lane = Lane.CONTROL


class Go(Message, frozen=True, kw_only=True):
    """To a teller: begin."""


class Consumer(Actor):
    """Keeps what it gets, and does ``at(number)`` while it handles that number."""

    def __init__(self, got: list[object], at: Callable[[Consumer, int], Awaitable[None]] | None = None) -> None:
        self.got = got
        self.at = at

    async def receive(self, message: object, sender: Sender) -> object:
        self.got.append(message.value if isinstance(message, Number) else type(message).__name__)
        if isinstance(message, Number) and self.at is not None:
            await self.at(self, message.value)
        return None

    async def stopping(self, reason: Reason) -> None:
        self.got.append(reason.exit)


class Teller(Actor):
    """Tells the consumer so many numbers, without a pause."""

    def __init__(self, to: Callable[[], Ref], count: int, first: int = 0) -> None:
        self.to = to
        self.count = count
        self.first = first
        self.error: BaseException | None = None

    async def receive(self, message: object, sender: Sender) -> object:
        try:
            for value in range(self.first, self.first + self.count):
                await self.ctx.tell(self.to(), Number(value=value))
        except ActorGone as error:
            self.error = error
        return None


def tree(
    system: System,
    got: list[object],
    at: Callable[[Consumer, int], Awaitable[None]] | None = None,
    *,
    capacity: int = 1024,
    tellers: tuple[Teller, ...] | None = None,
) -> SupervisorSpec:
    """``root/consumer``, and a teller or several above it."""
    mine = tellers or (Teller(lambda: system.ref("root/consumer"), MANY),)
    return SupervisorSpec(
        "root",
        children=(
            ChildSpec("consumer", lambda: Consumer(got, at), capacity=capacity, restart="temporary"),
            *(ChildSpec(f"teller-{place}", lambda one=one: one, rank=1) for place, one in enumerate(mine)),
        ),
    )


async def told(system: System, count: int = 1) -> None:
    for place in range(count):
        system.post(system.ref(f"root/teller-{place}"), Go())
    await settle()


async def test_what_one_tells_arrives_whole_and_in_order() -> None:
    got: list[object] = []
    async with open_system(lambda system: tree(system, got)) as system:
        await told(system)
        await told(system)
    assert got == [*range(MANY), *range(MANY), Exit.SHUTDOWN]


@pytest.mark.parametrize("capacity", [1, 2, 3, 7])
async def test_a_mailbox_never_holds_more_than_its_capacity_however_fast_it_is_filled(capacity: int) -> None:
    got: list[object] = []
    depths: list[int] = []

    async def look(consumer: Consumer, number: int) -> None:
        depths.append(consumer.ctx.ref.cell.mailbox.depth)
        await trio.lowlevel.checkpoint()
        depths.append(consumer.ctx.ref.cell.mailbox.depth)

    async with open_system(lambda system: tree(system, got, look, capacity=capacity)) as system:
        await told(system)
    assert got == [*range(MANY), Exit.SHUTDOWN]
    assert max(depths) <= capacity


async def test_control_that_comes_while_work_is_taken_in_one_go_is_handled_next() -> None:
    got: list[object] = []

    async def interrupt(consumer: Consumer, number: int) -> None:
        if number in (3, 20):
            consumer.ctx.post(consumer.ctx.ref, Urgent())

    async with open_system(lambda system: tree(system, got, interrupt)) as system:
        await told(system)
    assert [got[got.index(number) + 1] for number in (3, 20)] == ["Urgent", "Urgent"]
    assert [one for one in got if isinstance(one, int)] == [*range(MANY)]


async def test_an_actor_that_stops_itself_in_the_middle_handles_nothing_more() -> None:
    got: list[object] = []

    async def stop(consumer: Consumer, number: int) -> None:
        if number == 5:
            consumer.ctx.stop()

    async with open_system(lambda system: tree(system, got, stop)) as system:
        await told(system)
    assert got == [*range(6), Exit.NORMAL]


async def test_telling_one_that_has_ended_is_an_error_and_nothing_is_lost_in_silence() -> None:
    got: list[object] = []
    tellers: list[Teller] = []

    async def stop(consumer: Consumer, number: int) -> None:
        consumer.ctx.stop()

    def made(system: System) -> SupervisorSpec:
        tellers.append(Teller(lambda: system.ref("root/consumer") if not refs else refs[0], MANY))
        return tree(system, got, stop, tellers=(tellers[0],))

    refs: list[Ref] = []
    async with open_system(made) as system:
        refs.append(system.ref("root/consumer"))
        await told(system)
        assert tellers[0].error is None  # it was told while it was there
        await told(system)
        assert isinstance(tellers[0].error, ActorGone)
        assert system.snapshot().dead_letters == MANY - 1


async def test_those_who_wait_for_room_are_let_in_in_turn_and_nobody_overtakes_them() -> None:
    got: list[object] = []

    def made(system: System) -> SupervisorSpec:
        mine = tuple(Teller(lambda: system.ref("root/consumer"), MANY, first=1000 * place) for place in range(3))
        return tree(system, got, capacity=4, tellers=mine)

    async with open_system(made) as system:
        await told(system, 3)
    numbers = [one for one in got if isinstance(one, int)]
    for place in range(3):
        assert [one for one in numbers if one // 1000 == place] == [1000 * place + step for step in range(MANY)]


async def test_a_long_run_of_work_lets_others_have_the_processor() -> None:
    got: list[object] = []
    seen: list[int] = []

    async def beside() -> None:
        while len(got) < 10_000:
            seen.append(len(got))
            await trio.lowlevel.checkpoint()

    def made(system: System) -> SupervisorSpec:
        return tree(system, got, tellers=(Teller(lambda: system.ref("root/consumer"), 10_000),))

    async with open_system(made) as system, trio.open_nursery() as nursery:
        nursery.start_soon(beside)
        await told(system)
    # A slice is never longer than a full mailbox, and whoever is beside it comes at the latest after the next one.
    assert max(after - before for before, after in pairwise(seen)) <= 2 * 1024
