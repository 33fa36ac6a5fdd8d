"""What does a message to an actor cost, next to the least that any queue and any scheduler must do?

``tell``: an actor sends until it has to wait for room, another handles what is there, both at full speed.  The peer
puts as many of the same objects into a deque and takes them out again, without anybody who waits, identity, bounds
or order of lanes.

``ask``: one actor asks another and waits.  Whoever waits for another task is scheduled twice, once on each side; the
peer is a task that lets the scheduler pass twice.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

import trio
from trio.lowlevel import checkpoint

from astrid.kernel import Actor, ChildSpec, Message, Ref, Sender, SupervisorSpec, System, open_system
from bench import measure
from bench.measure import Row, cost, shown

ROUNDS = 15
CAPACITY = 4096  # of a mailbox, as a tool host's has
DEPTH = CAPACITY // 2  # here whoever tells has to wait
MESSAGES = 10 * DEPTH
ASKS = 4_000
WITHIN = 60.0


class Note(Message, frozen=True, kw_only=True):
    """Something to send."""

    number: int


class Begin(Message, frozen=True, kw_only=True):
    """To a sender: go."""


NOTE, LAST = Note(number=1), Note(number=2)


class Sink(Actor):
    """Handles what it is told by looking at it, and says when it had all of it."""

    def __init__(self, finished: Callable[[], None]) -> None:
        self._finished = finished

    async def receive(self, message: object, sender: Sender) -> object:
        if message is LAST:
            self._finished()
        return None


class Teller(Actor):
    """Tells a sink everything, as fast as it may."""

    def __init__(self, sink: Callable[[], Ref]) -> None:
        self._sink = sink

    async def receive(self, message: object, sender: Sender) -> object:
        tell, sink = self.ctx.tell, self._sink()
        for _ in range(MESSAGES - 1):
            await tell(sink, NOTE)
        await tell(sink, LAST)
        return None


class Asker(Teller):
    """Asks one thing after the other; gives the seconds of processor time that took."""

    async def receive(self, message: object, sender: Sender) -> object:
        ask, sink = self.ctx.ask, self._sink()
        began = time.process_time()
        for _ in range(ASKS):
            await ask(sink, NOTE, WITHIN)
        return time.process_time() - began


class Asked(Actor):
    """Answers at once."""

    async def receive(self, message: object, sender: Sender) -> object:
        return message


def told_seconds() -> float:
    """Processor time of one message from an actor to another."""
    finished = trio.Event()

    def tree(system: System) -> SupervisorSpec:
        sink = ChildSpec("sink", lambda: Sink(finished.set), rank=1, capacity=CAPACITY)
        teller = ChildSpec("teller", lambda: Teller(lambda: system.ref("root/sink")), rank=2)
        return SupervisorSpec("root", children=(sink, teller))

    async def run() -> float:
        async with open_system(tree) as system:
            began = time.process_time()
            system.post(system.ref("root/teller"), Begin())
            await finished.wait()
            return time.process_time() - began

    return trio.run(run) / MESSAGES


def queued_seconds() -> float:
    """Processor time of an append and a pop on a deque that is as full as a mailbox gets."""
    queue: deque[Note] = deque()

    def work() -> None:
        append, pop = queue.append, queue.popleft
        for _ in range(MESSAGES // DEPTH):
            for _ in range(DEPTH):
                append(NOTE)
            while queue:
                pop()

    return cost(work, MESSAGES)


def awaited_seconds() -> float:
    """Processor time of two awaits of a coroutine that does nothing: no way of sending between two coroutines is for
    less.
    """

    async def nothing() -> None:
        pass

    async def run() -> float:
        began = time.process_time()
        for _ in range(MESSAGES):
            await nothing()
            await nothing()
        return time.process_time() - began

    return trio.run(run) / MESSAGES


def asked_seconds() -> float:
    """Processor time of one ask, answer included."""

    def tree(system: System) -> SupervisorSpec:
        asked = ChildSpec("asked", Asked, rank=1)
        asker = ChildSpec("asker", lambda: Asker(lambda: system.ref("root/asked")), rank=2)
        return SupervisorSpec("root", children=(asked, asker))

    async def run() -> float:
        async with open_system(tree) as system:
            seconds = await system.ask(system.ref("root/asker"), Begin(), WITHIN)
            assert isinstance(seconds, float)
            return seconds

    return trio.run(run) / ASKS


def passed_seconds() -> float:
    """Processor time of two passes of the scheduler."""

    async def run() -> float:
        began = time.process_time()
        for _ in range(2 * ASKS):
            await checkpoint()
        return time.process_time() - began

    return trio.run(run) / ASKS


def rows(rounds: int) -> Iterator[Row]:
    """One answer for each way of sending."""
    tell, queued, awaited = measure.least(rounds, told_seconds, queued_seconds, awaited_seconds)
    yield Row(
        what="tell through the actor loop",
        measured=tell / queued,
        bar=10,
        unit="x a bare deque append and pop",
        detail=f"{shown(tell)} beside {shown(queued)}; to await nothing on both sides takes {shown(awaited)}",
    )
    ask, passed = measure.least(rounds, asked_seconds, passed_seconds)
    yield Row(
        what="ask round trip",
        measured=ask / passed,
        bar=2,
        unit="x two passes of the scheduler",
        detail=f"{shown(ask)} beside {shown(passed)}",
    )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
