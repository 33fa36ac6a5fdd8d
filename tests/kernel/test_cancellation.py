"""Cancelled at every single step, nothing is left: no owed reply, no task, no timer, no scope."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from astrid.kernel import (
    Actor,
    ActorGone,
    AskTooLate,
    ChildSpec,
    Down,
    Exit,
    KernelError,
    MailboxFull,
    Posted,
    Reason,
    Ref,
    Sender,
    SupervisorSpec,
    System,
    open_system,
)
from astrid.kernel.restart import Restarts
from astrid.kernel.testing import act_at_every_step, cancel_at_every_step

Arm = Callable[[Callable[[], object]], None]


class Books:
    """Who is owed something, and who is alive."""

    def __init__(self) -> None:
        self.owed: set[object] = set()
        self.alive: list[str] = []
        self.order: list[str] = []
        self.answered = 0


class Worker(Actor):
    """Takes its time, and breaks now and then."""

    def __init__(self, books: Books) -> None:
        self.books = books

    async def started(self) -> None:
        self.books.alive.append("worker")
        await trio.sleep(0.1)

    async def receive(self, message: object, sender: Sender) -> object:
        await trio.sleep(0.1)
        if message == "break":
            raise ValueError
        self.ctx.answer(sender, message, ("late answer", message))
        return message

    async def stopping(self, reason: Reason) -> None:
        await trio.sleep(0.1)
        self.books.alive.remove("worker")
        if reason.exit is not Exit.FAILED:
            self.books.order.append("worker")


class Client(Actor):
    """Uses everything there is."""

    def __init__(self, books: Books, worker: Callable[[], Ref]) -> None:
        self.books = books
        self.worker = worker

    async def started(self) -> None:
        self.books.alive.append("client")

    async def receive(self, message: object, sender: Sender) -> object:
        if isinstance(message, (Down, tuple)):
            return None
        worker = self.worker()
        self.ctx.monitor(worker)
        self.ctx.start_timer(1000, ("never",))
        self.ctx.post(worker, 1, answer_id=1)
        await self.owing("tell", lambda: self.ctx.tell(worker, 2))
        await self.owing("tell", lambda: self.ctx.tell(worker, 3))
        for question in ("x", "break", "y"):
            await self.owing(question, lambda question=question: self.ctx.ask(worker, question, within=5))
        return "done"

    async def owing(self, what: object, wait: Callable[[], Awaitable[object]]) -> None:
        self.books.owed.add(what)
        try:
            while True:
                try:
                    await wait()
                except MailboxFull:
                    await trio.sleep(0.1)
                else:
                    break
        except ActorGone:
            pass
        finally:
            self.books.owed.discard(what)
        self.books.answered += 1

    async def stopping(self, reason: Reason) -> None:
        self.books.alive.remove("client")
        self.books.order.append("client")


def tree(books: Books) -> Callable[[System], SupervisorSpec]:
    def build(system: System) -> SupervisorSpec:
        return SupervisorSpec(
            "root",
            intensity=9,
            delay=(0.5, 1),
            children=(
                ChildSpec("worker", lambda: Worker(books), rank=1, capacity=2, shutdown=3),
                SupervisorSpec(
                    "upper",
                    children=(
                        ChildSpec(
                            "client", lambda: Client(books, lambda: system.ref("root/worker")), rank=2, shutdown=3
                        ),
                    ),
                ),
            ),
        )

    return build


def nothing_is_left(books: Books, tasks_before: int, system: System | None) -> None:
    assert books.owed == set()
    assert books.alive == []
    statistics = trio.lowlevel.current_statistics()
    assert statistics.tasks_living == tasks_before
    assert statistics.seconds_to_next_deadline == math.inf
    if system is not None:
        snapshot = system.snapshot()
        assert (snapshot.actors, snapshot.timers, snapshot.root.state) == (0, 0, "down")


def test_a_system_that_is_cancelled_at_any_step_leaves_nothing_behind() -> None:
    finished = 0

    async def scenario() -> None:
        nonlocal finished
        books = Books()
        seen: System | None = None
        tasks = trio.lowlevel.current_statistics().tasks_living
        try:
            async with open_system(tree(books)) as system:
                seen = system
                assert await system.ask(system.ref("root/upper/client"), "go", within=60) == "done"
                assert books.answered == 5
                finished += 1
        finally:
            nothing_is_left(books, tasks, seen)
            assert books.order in ([], ["worker"], ["client"], ["client", "worker"])

    assert cancel_at_every_step(scenario) > 20
    assert finished


def test_an_actor_that_is_killed_at_any_step_owes_nobody_an_answer_and_comes_back() -> None:
    ends: set[str] = set()

    async def scenario(arm: Arm) -> None:
        books = Books()
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with open_system(tree(books)) as system:
            worker = system.ref("root/worker")

            def kill() -> None:
                life = worker.cell.life
                if life is not None:
                    life.kill("a test")

            arm(kill)
            for _ in range(4):
                try:
                    ends.add(str(await system.ask(worker, "x", within=60)))
                except ActorGone as error:  # and never AskTooLate: the asker is told, and does not wait in vain
                    ends.add(f"began: {error.began}")
                    await trio.sleep(2)
            await trio.sleep(2)
            assert worker.alive
        nothing_is_left(books, tasks, system)

    assert act_at_every_step(scenario) > 10
    assert ends == {"x", "began: False", "began: True"}


def test_an_asker_that_is_cancelled_at_any_step_costs_the_others_nothing() -> None:
    async def scenario(arm: Arm) -> None:
        books = Books()
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with open_system(tree(books)) as system:
            worker = system.ref("root/worker")
            answers: list[object] = []

            async def ask(question: str, scope: trio.CancelScope) -> None:
                with scope:
                    answers.append(await system.ask(worker, question, within=60))

            async with trio.open_nursery() as nursery:
                doomed = trio.CancelScope()
                nursery.start_soon(ask, "doomed", doomed)
                nursery.start_soon(ask, "other", trio.CancelScope())
                arm(doomed.cancel)
            assert "other" in answers
            assert worker.incarnation == 1
        nothing_is_left(books, tasks, system)

    assert act_at_every_step(scenario) > 5


@pytest.mark.parametrize("seed", range(8))
def test_a_stop_at_any_step_ends_every_wait(seed: int) -> None:
    async def scenario(arm: Arm) -> None:
        books = Books()
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with open_system(tree(books)) as system:
            arm(system.stop)
            try:
                await system.ask(system.ref("root/upper/client"), "go", within=60)
            except (ActorGone, KernelError) as error:
                assert not isinstance(error, AskTooLate)
            await trio.sleep(5)
            system.stop()
            await system.wait_stopped()
            assert books.owed == set()
        nothing_is_left(books, tasks, system)

    assert act_at_every_step(scenario, seed) > 20


def broken(*_: object) -> None:
    raise ZeroDivisionError


async def test_a_bug_in_the_kernel_itself_ends_the_system_instead_of_hanging_it(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    books = Books()
    tasks = trio.lowlevel.current_statistics().tasks_living

    async def scenario() -> None:
        async with open_system(tree(books)) as system:
            monkeypatch.setattr(Restarts, "step", broken)
            assert system.post(system.ref("root/worker"), "break") is Posted.ACCEPTED
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await scenario()
    assert caught.group_contains(ZeroDivisionError)
    assert (books.owed, books.alive) == (set(), [])
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_a_bug_in_the_kernel_that_shows_outside_of_it_ends_the_system_too(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living

    async def scenario() -> None:
        async with open_system(tree(Books())) as system:
            monkeypatch.setattr(Restarts, "step", broken)
            system.supervisor("root").start_child(ChildSpec("x", lambda: Worker(Books())))

    with pytest.raises(ExceptionGroup) as caught:
        await scenario()
    assert caught.group_contains(ZeroDivisionError)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
