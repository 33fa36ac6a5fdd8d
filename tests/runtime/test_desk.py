"""Tickets: whoever waits gets one answer, and nothing is kept of whoever does not."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from astrid.runtime.desk import Desk


async def test_an_answer_reaches_its_ticket_and_no_other(autojump_clock: MockClock) -> None:
    desk: Desk[str] = Desk()
    one, two = desk.take(), desk.take()
    desk.settle(two.number, "two")
    assert await two.wait_answer() == "two"
    desk.settle(one.number, "one")
    assert await one.wait_answer() == "one"


async def test_the_first_answer_counts(autojump_clock: MockClock) -> None:
    desk: Desk[str] = Desk()
    ticket = desk.take()
    desk.settle(ticket.number, "first")
    desk.settle(ticket.number, "second")
    assert await ticket.wait_answer() == "first"


async def test_whoever_gave_up_is_forgotten(autojump_clock: MockClock) -> None:
    desk: Desk[str] = Desk()
    ticket = desk.take()
    with trio.move_on_after(1):
        await ticket.wait_answer()
    desk.settle(ticket.number, "late")
    dropped = desk.take()
    desk.drop(dropped.number)
    desk.drop(dropped.number)
    assert not desk._tickets


async def test_numbers_are_never_used_again(autojump_clock: MockClock) -> None:
    desk: Desk[str] = Desk()
    first = desk.take()
    desk.settle(first.number, "x")
    assert desk.take().number != first.number


async def test_everybody_who_waits_is_answered_when_it_is_over(autojump_clock: MockClock) -> None:
    desk: Desk[str] = Desk()
    tickets = [desk.take() for _ in range(3)]
    desk.settle_all(lambda number: f"gone {number}")
    assert [await ticket.wait_answer() for ticket in tickets] == [f"gone {ticket.number}" for ticket in tickets]
    assert not desk._tickets
