"""Tickets: how something outside the actor system waits for what an actor answers later.

Source: architecture 3 ("what may take long is never an ask").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from astrid.errors import InternalError

_T = TypeVar("_T")


class Ticket(Generic[_T]):
    """One awaited answer."""

    def __init__(self, desk: Desk[_T], number: int) -> None:
        self.number = number
        self._desk = desk
        self._done = trio.Event()
        self._answer: _T | None = None

    def settle(self, answer: _T) -> None:
        """The answer is here."""
        self._answer = answer
        self._done.set()

    async def wait_answer(self) -> _T:
        """The answer.  If cancelled, it is dropped when it comes."""
        try:
            await self._done.wait()
        finally:
            self._desk.drop(self.number)
        if self._answer is None:
            raise InternalError("desk.empty", "a ticket was settled without an answer")
        return self._answer


class Desk(Generic[_T]):
    """All open tickets."""

    def __init__(self) -> None:
        self._tickets: dict[int, Ticket[_T]] = {}
        self._next = 1

    def take(self) -> Ticket[_T]:
        """A new ticket."""
        ticket = self._tickets[self._next] = Ticket(self, self._next)
        self._next += 1
        return ticket

    def settle(self, number: int, answer: _T) -> None:
        """Answer a ticket, if anybody still waits."""
        ticket = self._tickets.pop(number, None)
        if ticket is not None:
            ticket.settle(answer)

    def settle_all(self, answer: Callable[[int], _T]) -> None:
        """Answer every open ticket with what ``answer`` makes of its number."""
        for number in list(self._tickets):
            self.settle(number, answer(number))

    def drop(self, number: int) -> None:
        """Nobody waits any more."""
        self._tickets.pop(number, None)
