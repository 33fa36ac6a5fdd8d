"""What an actor can do through its context: send, ask, answer, watch, time; and what it cannot."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from astrid.kernel import (
    OUTSIDE,
    Actor,
    ActorGone,
    AgainstRank,
    AskTooLate,
    ChildSpec,
    Context,
    Down,
    Exit,
    Failed,
    KernelError,
    Lane,
    MailboxFull,
    Message,
    Misuse,
    Overflow,
    Posted,
    Reason,
    Ref,
    Sender,
    SupervisorSpec,
    System,
    open_system,
)
from astrid.kernel.testing import Probe, settle


class Note(Message, frozen=True, kw_only=True):
    text: str = ""


class Urgent(Message, frozen=True, kw_only=True):
    lane = Lane.CONTROL


class Progress(Message, frozen=True, kw_only=True):
    overflow = Overflow.DROP


class Important(Message, frozen=True, kw_only=True):
    overflow = Overflow.DEAD_LETTER


class Worker(Actor):
    """Does as it is told: fails, hangs, or answers with what it was sent."""

    def __init__(self, handled: list[object]) -> None:
        self.handled = handled
        self.gate = trio.Event()

    async def receive(self, message: object, sender: Sender) -> object:
        self.handled.append(message)
        if message == "fail":
            raise ValueError("a secret")
        if message == "hang":
            await trio.sleep_forever()
        if message == "pause":
            await self.gate.wait()
        return message


@asynccontextmanager
async def pair(
    *, capacity: int = 8, control_capacity: int = 8, own_capacity: int = 8
) -> AsyncIterator[tuple[System, Probe, Ref, list[object]]]:
    """A probe of rank 2, above a worker of rank 1."""
    probe = Probe()
    handled: list[object] = []
    spec = SupervisorSpec(
        "root",
        intensity=100,
        children=(
            ChildSpec("worker", lambda: Worker(handled), rank=1, capacity=capacity, control_capacity=control_capacity),
            ChildSpec("probe", lambda: probe, rank=2, capacity=own_capacity),
        ),
    )
    async with open_system(spec) as system:
        yield system, probe, system.ref("root/worker"), handled


async def fill(probe: Probe, worker: Ref, capacity: int) -> None:
    """The worker is busy, and its mailbox is full."""
    probe.ctx.post(worker, "hang")
    await settle()
    for n in range(capacity):
        assert probe.ctx.post(worker, n) is Posted.ACCEPTED


# ---- who sends ------------------------------------------------------------------------------------------------------


async def test_a_message_bears_the_identity_of_the_incarnation_that_sent_it() -> None:
    async with pair() as (_system, probe, _worker, _):
        me = probe.ctx.ref
        probe.ctx.post(me, "a")
        await settle()
        assert probe.received[-1][1] == Sender(id=me.id, path="root/probe", incarnation=1, rank=2)


async def test_what_comes_from_outside_says_so() -> None:
    async with pair() as (system, probe, _, _):
        probe_ref = probe.ctx.ref
        system.post(probe_ref, "a")
        await system.tell(probe_ref, "b")
        await system.ask(probe_ref, "c", within=1)
        assert [sender for _, sender in probe.received] == [OUTSIDE] * 3


def test_no_function_lets_anybody_choose_a_sender() -> None:
    for owner in (Context, System):
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if not name.startswith("_"):
                assert "sender" not in inspect.signature(function).parameters, name


async def test_a_sender_that_somebody_made_up_opens_no_way_to_that_actor() -> None:
    async with pair() as (_, probe, worker, handled):
        made_up = Sender(id=worker.id, path=worker.path, incarnation=1, rank=0)
        assert probe.ctx.answer(made_up, "any", "hello") is Posted.LATE
        await settle()
        assert handled == []


async def test_an_actor_cannot_send_as_somebody_outside() -> None:
    errors: list[Exception] = []

    class Sneaky(Actor):
        def __init__(self, system: System) -> None:
            self.system = system

        async def try_all(self) -> None:
            me = self.ctx.ref
            for attempt in (
                lambda: self.system.ask(me, "x", within=1),
                lambda: self.system.tell(me, "x"),
            ):
                try:
                    await attempt()
                except Misuse as error:
                    errors.append(error)
            try:
                self.system.post(me, "x")
            except Misuse as error:
                errors.append(error)

        async def receive(self, message: object, sender: Sender) -> object:
            await self.try_all()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.try_all)  # nor in a task of its own making
            return None

    def tree(system: System) -> SupervisorSpec:
        return SupervisorSpec("root", children=(ChildSpec("sneaky", lambda: Sneaky(system)),))

    async with open_system(tree) as system:
        await system.ask(system.ref("root/sneaky"), "go", within=1)
    assert [error.args[0] for error in errors] == ["an actor sends through its own context"] * 6


class LooksDown(Down):
    """Whoever matches ``Down`` would take it for one."""


@pytest.mark.parametrize("shape", [Down, LooksDown])
async def test_nobody_but_the_kernel_says_that_an_actor_is_down(shape: type[Down]) -> None:
    async with pair() as (system, probe, worker, _):
        lie = shape(worker, Reason(Exit.FAILED), 1)
        with pytest.raises(Misuse, match="only the kernel"):
            probe.ctx.post(worker, lie)
        with pytest.raises(Misuse, match="only the kernel"):
            await probe.ctx.tell(worker, lie)
        with pytest.raises(Misuse, match="only the kernel"):
            await probe.ctx.ask(worker, lie, within=1)
        with pytest.raises(Misuse, match="only the kernel"):
            probe.ctx.answer(worker, "a", lie)
        with pytest.raises(Misuse, match="only the kernel"):
            probe.ctx.start_timer(1, lie)
        with pytest.raises(Misuse, match="only the kernel"):
            system.post(worker, lie)


# ---- post -----------------------------------------------------------------------------------------------------------


async def test_a_post_says_what_became_of_the_message(autojump_clock: trio.testing.MockClock) -> None:
    async with pair(capacity=2) as (system, probe, worker, _):
        await fill(probe, worker, 2)
        assert probe.ctx.post(worker, Note()) is Posted.REFUSED
        assert probe.ctx.post(worker, Progress()) is Posted.DROPPED
        assert probe.ctx.post(worker, Important()) is Posted.DEAD_LETTER
        assert system.post(worker, Important()) is Posted.DEAD_LETTER
        assert probe.ctx.post(worker, Urgent()) is Posted.ACCEPTED
        (letter, other) = system.snapshot().last_dead_letters
        assert (letter.to, letter.sender, letter.message) == ("root/worker", "root/probe", "Important")
        assert other.sender == ""
        probe.ctx.parent.stop_child("worker")
        await trio.sleep(60)
        assert probe.ctx.post(worker, Note()) is Posted.GONE


async def test_a_post_goes_in_any_direction() -> None:
    async with pair() as (_, probe, worker, handled):
        assert probe.ctx.post(worker, "down") is Posted.ACCEPTED
        assert probe.ctx.post(probe.ctx.ref, "sideways") is Posted.ACCEPTED
        await settle()
        assert (handled, probe.messages) == (["down"], ["sideways"])


# ---- tell -----------------------------------------------------------------------------------------------------------


async def test_a_tell_waits_until_there_is_room(autojump_clock: trio.testing.MockClock) -> None:
    async with pair(capacity=2) as (system, probe, worker, _handled):
        told: list[int] = []

        async def tell() -> None:
            for n in range(6):
                await probe.ctx.tell(worker, n)
                told.append(n)

        probe.ctx.post(worker, "hang")
        await settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            await settle()
            assert told == [0, 1]
            assert system.snapshot().actor("root/worker").waiting == 1
            nursery.cancel_scope.cancel()


async def test_a_tell_that_waits_ends_when_the_recipient_does(autojump_clock: trio.testing.MockClock) -> None:
    async with pair(capacity=1) as (_, probe, worker, _):
        await fill(probe, worker, 1)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def stop() -> None:
                await settle()
                probe.ctx.parent.stop_child("worker")

            with pytest.raises(ActorGone):
                await probe.ctx.tell(worker, "x")
        with pytest.raises(ActorGone):
            await probe.ctx.tell(worker, "x")


async def test_who_waits_for_room_when_an_actor_breaks_is_let_in_to_the_next_one() -> None:
    async with pair(capacity=1) as (_, probe, worker, handled):
        probe.ctx.post(worker, "pause")
        await settle()
        probe.ctx.post(worker, "fail")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe.ctx.tell, worker, "patient")
            await settle()
            (life,) = [worker.cell.life]
            assert life is not None
            life.kill("a test")
            await settle()
        assert handled == ["pause", "patient"]
        assert worker.incarnation == 2


# ---- ask ------------------------------------------------------------------------------------------------------------


async def test_an_ask_gets_what_receive_returns() -> None:
    async with pair() as (_, probe, worker, _):
        assert await probe.ctx.ask(worker, "hello", within=1) == "hello"


async def test_an_ask_of_a_full_actor_is_refused_whatever_its_type(autojump_clock: trio.testing.MockClock) -> None:
    async with pair(capacity=1) as (system, probe, worker, _):
        await fill(probe, worker, 1)
        for message in (Note(), Progress(), Important()):
            with pytest.raises(MailboxFull) as refused:
                await probe.ctx.ask(worker, message, within=1)
            assert refused.value.code == "kernel.mailbox_full"
        assert system.snapshot().dead_letters == 0


async def test_an_ask_of_an_actor_that_is_gone_says_so() -> None:
    async with pair() as (_, probe, worker, _):
        probe.ctx.parent.stop_child("worker")
        await settle()
        with pytest.raises(ActorGone) as gone:
            await probe.ctx.ask(worker, "x", within=1)
        assert not gone.value.began
        assert not worker.alive


async def test_when_the_actor_breaks_on_an_ask_the_asker_learns_that_it_had_begun() -> None:
    async with pair() as (_, probe, worker, _):
        with pytest.raises(Failed) as failed:
            await probe.ctx.ask(worker, "fail", within=1)
        assert failed.value.began
        assert "secret" not in str(failed.value)  # what the callee raised stays with the callee


async def test_asks_that_were_queued_when_the_actor_broke_had_not_begun() -> None:
    async with pair() as (_, probe, worker, handled):
        outcomes: list[tuple[type[Exception], bool]] = []

        async def ask(message: str) -> None:
            try:
                await probe.ctx.ask(worker, message, within=1)
            except ActorGone as error:
                outcomes.append((type(error), error.began))

        probe.ctx.post(worker, "pause")
        await settle()
        async with trio.open_nursery() as nursery:
            for message in ("fail", "x", "y"):
                nursery.start_soon(ask, message)
                await settle()
            assert worker.cell.life is not None
            worker.cell.life.kill("a test")
        assert outcomes == [(ActorGone, False)] * 3
        assert handled == ["pause"]


@pytest.mark.parametrize(("first", "began"), [("hang", True), ("pause", False)])
async def test_an_ask_ends_in_time_and_says_whether_it_had_begun(
    first: str, began: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with pair() as (_, probe, worker, _handled):
        if not began:
            probe.ctx.post(worker, first)
            await settle()
        start = trio.current_time()
        with pytest.raises(AskTooLate) as late:
            await probe.ctx.ask(worker, "hang", within=3)
        assert trio.current_time() - start == 3
        assert late.value.began is began


async def test_an_ask_that_is_too_late_or_cancelled_before_it_began_is_never_handled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    gates: list[trio.Event] = []
    handled: list[object] = []

    class Gated(Actor):
        async def receive(self, message: object, sender: Sender) -> object:
            handled.append(message)
            if message == "wait":
                gates.append(trio.Event())
                await gates[-1].wait()
            return message

    spec = SupervisorSpec("root", children=(ChildSpec("a", Gated),))
    async with open_system(spec) as system:
        ref = system.ref("root/a")
        system.post(ref, "wait")
        await settle()
        with pytest.raises(AskTooLate):
            await system.ask(ref, "late", within=1)
        with trio.move_on_after(1):
            await system.ask(ref, "cancelled", within=5)
        gates[0].set()
        assert await system.ask(ref, "alive", within=1) == "alive"
    assert handled == ["wait", "alive"]


async def test_an_ask_that_was_cancelled_before_it_was_made_is_never_handled() -> None:
    async with pair() as (_, probe, worker, handled):
        with trio.CancelScope() as scope:
            scope.cancel()
            await probe.ctx.ask(worker, "x", within=1)
        await settle()
        assert (scope.cancelled_caught, handled) == (True, [])


async def test_an_answer_that_comes_when_the_asker_has_left_disturbs_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(answer: object = None) -> None:
        await trio.sleep(2)

    class Slow(Actor):
        async def receive(self, message: object, sender: Sender) -> object:
            await slow()
            return message

    async with open_system(SupervisorSpec("root", children=(ChildSpec("a", Slow),))) as system:
        ref = system.ref("root/a")
        with pytest.raises(AskTooLate):
            await system.ask(ref, 1, within=1)
        assert await system.ask(ref, 2, within=5) == 2
        assert ref.incarnation == 1


@pytest.mark.parametrize("within", [0, -1, float("inf"), float("nan")])
async def test_an_ask_has_a_deadline(within: float) -> None:
    async with pair() as (_, probe, worker, handled):
        with pytest.raises(Misuse):
            await probe.ctx.ask(worker, "x", within=within)
        await settle()
        assert handled == []


# ---- rank -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target_rank", [2, 3])
async def test_nobody_waits_for_an_equal_or_a_higher_rank(target_rank: int) -> None:
    probe, target = Probe(), Probe()
    spec = SupervisorSpec(
        "root",
        children=(
            ChildSpec("probe", lambda: probe, rank=2),
            ChildSpec("target", lambda: target, rank=target_rank),
        ),
    )
    async with open_system(spec):
        with pytest.raises(AgainstRank) as against:
            await probe.ctx.ask(target.ctx.ref, "x", within=1)
        assert against.value.code == "kernel.against_rank"
        with pytest.raises(AgainstRank):
            await probe.ctx.tell(target.ctx.ref, "x")
        with pytest.raises(AgainstRank):
            await probe.ctx.ask(probe.ctx.ref, "x", within=1)
        await settle()
        assert target.messages == []


# ---- answers that are posted ----------------------------------------------------------------------------------------


class Clerk(Actor):
    """Answers each message with its id, later."""

    async def receive(self, message: object, sender: Sender) -> object:
        self.outcome = self.ctx.answer(sender, message, f"answer to {message}")
        return self.outcome


@asynccontextmanager
async def clerk(*, own_capacity: int = 2, capacity: int = 8) -> AsyncIterator[tuple[System, Probe, Ref]]:
    probe = Probe()
    spec = SupervisorSpec(
        "root",
        intensity=100,
        children=(
            ChildSpec("probe", lambda: probe, rank=1, capacity=own_capacity),
            ChildSpec("clerk", Clerk, rank=9, capacity=capacity),
        ),
    )
    async with open_system(spec) as system:
        yield system, probe, system.ref("root/clerk")


async def test_an_answer_comes_upward_or_sideways_into_the_slot_that_was_kept_for_it() -> None:
    async with clerk() as (_system, probe, ref):
        assert probe.ctx.post(ref, "q1", answer_id="q1") is Posted.ACCEPTED
        await settle()
        assert probe.messages == ["answer to q1"]
        assert probe.received[0][1].path == "root/clerk"


async def test_an_answer_comes_though_the_mailbox_is_full() -> None:
    posted: list[Posted] = []
    gate = trio.Event()

    class Busy(Actor):
        def __init__(self, clerk_ref: Callable[[], Ref]) -> None:
            self.clerk = clerk_ref
            self.got: list[object] = []

        async def receive(self, message: object, sender: Sender) -> object:
            self.got.append(message)
            if message == "go":
                posted.append(self.ctx.post(self.clerk(), "q", answer_id="q"))
                await gate.wait()
            return tuple(self.got)

    def tree(system: System) -> SupervisorSpec:
        return SupervisorSpec(
            "root",
            children=(
                ChildSpec("busy", lambda: Busy(lambda: system.ref("root/clerk")), capacity=2),
                ChildSpec("clerk", Clerk),
            ),
        )

    async with open_system(tree) as system:
        busy = system.ref("root/busy")
        system.post(busy, "go")
        for n in range(2):
            system.post(busy, n)
        await settle()
        assert system.post(busy, "no room") is Posted.REFUSED
        gate.set()
        await settle()
        assert await system.ask(busy, "end", within=1) == ("go", 0, 1, "answer to q", "end")
        assert posted == [Posted.ACCEPTED]


async def test_more_open_questions_than_an_actor_may_have_are_refused_here_not_there() -> None:
    async with clerk(own_capacity=2) as (_system, probe, ref):
        posted = [probe.ctx.post(ref, n, answer_id=n) for n in range(3)]
        assert posted == [Posted.ACCEPTED, Posted.ACCEPTED, Posted.REFUSED]
        assert ref.cell.mailbox.depth <= 2


async def test_a_refused_question_keeps_no_slot(autojump_clock: trio.testing.MockClock) -> None:
    async with pair(capacity=1) as (_, probe, worker, _):
        await fill(probe, worker, 1)
        assert probe.ctx.post(worker, "q", answer_id="q") is Posted.REFUSED
        assert probe.ctx.ref.cell.mailbox.reserved == 0
        assert probe.ctx.post(worker, Urgent(), answer_id="q") is Posted.ACCEPTED


async def test_two_open_questions_cannot_have_one_id() -> None:
    async with pair() as (_, probe, worker, _):
        probe.ctx.post(worker, "q", answer_id="q")
        with pytest.raises(Misuse) as misuse:
            probe.ctx.post(worker, "q", answer_id="q")
        assert misuse.value.code == "kernel.answer_id_taken"


async def test_an_answer_that_nobody_waits_for_is_late_and_counted() -> None:
    async with clerk() as (system, probe, ref):
        probe.ctx.post(ref, "q", answer_id="q")
        assert probe.ctx.forget("q")
        assert not probe.ctx.forget("q")
        await settle()
        assert probe.messages == []
        assert system.snapshot().actor("root/probe").late == 1


async def test_only_who_was_asked_can_answer() -> None:
    async with clerk() as (_system, probe, _ref):
        third = Probe()
        third_ref = probe.ctx.parent.start_child(ChildSpec("third", lambda: third))
        await settle()
        probe.ctx.post(third_ref, "q", answer_id="q")
        thief = Probe()
        probe.ctx.parent.start_child(ChildSpec("thief", lambda: thief))
        await settle()
        assert thief.ctx.answer(probe.ctx.ref, "q", "stolen") is Posted.LATE
        assert third.ctx.answer(probe.ctx.ref, "q", "true") is Posted.ACCEPTED
        await settle()
        assert probe.messages == ["true"]


async def test_an_answer_to_an_earlier_incarnation_is_late() -> None:
    async with clerk() as (_system, probe, _ref):
        old = probe.ctx
        third = Probe()
        third_ref = probe.ctx.parent.start_child(ChildSpec("third", lambda: third))
        await settle()
        old.post(third_ref, "q", answer_id="q")
        old.stop()
        await settle()
        assert probe.ctx is not old
        assert third.ctx.answer(probe.ctx.ref, "q", "too late") is Posted.LATE


async def test_an_earlier_incarnation_cannot_forget_what_the_next_one_waits_for() -> None:
    async with pair() as (_, probe, worker, _):
        old = probe.ctx
        old.stop()
        await settle()
        probe.ctx.post(worker, "q", answer_id="q")
        assert not old.forget("q")
        assert probe.ctx.forget("q")


async def test_an_answer_to_who_is_gone_says_so() -> None:
    async with pair() as (_, probe, worker, _):
        sender = Sender(id=worker.id, path=worker.path, incarnation=1, rank=1)
        probe.ctx.parent.stop_child("worker")
        await settle()
        assert probe.ctx.answer(sender, "q", "x") is Posted.GONE
        assert probe.ctx.answer(worker, "q", "x") is Posted.GONE


# ---- timers ---------------------------------------------------------------------------------------------------------


async def test_a_timer_sends_its_message_when_its_time_has_come(autojump_clock: trio.testing.MockClock) -> None:
    async with pair() as (_, probe, _, _):
        start = probe.ctx.now()
        for seconds in (3, 1, 2):
            probe.ctx.start_timer(seconds, seconds)
        await probe.wait_received(3)
        assert probe.messages == [1, 2, 3]
        assert probe.ctx.now() - start == 3
        assert probe.received[0][1].path == "root/probe"


async def test_a_timer_that_is_cancelled_sends_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with pair() as (system, probe, _, _):
        timer = probe.ctx.start_timer(1, "x")
        assert timer.pending
        timer.cancel()
        timer.cancel()
        assert not timer.pending
        await trio.sleep(5)
        assert probe.messages == []
        assert system.snapshot().timers == 0


async def test_a_timer_ends_with_the_incarnation_that_set_it(autojump_clock: trio.testing.MockClock) -> None:
    async with pair() as (system, probe, _, _):
        probe.ctx.start_timer(1, "x")
        probe.ctx.stop()
        await trio.sleep(5)
        assert probe.ctx.ref.incarnation == 2
        assert probe.messages == []
        assert system.snapshot().timers == 0


async def test_a_timer_comes_through_a_full_mailbox(autojump_clock: trio.testing.MockClock) -> None:
    gate = trio.Event()
    got: list[object] = []

    class Busy(Actor):
        async def receive(self, message: object, sender: Sender) -> object:
            got.append(message)
            if message == "go":
                self.ctx.start_timer(1, "tick")
                await gate.wait()
            return None

    async with open_system(SupervisorSpec("root", children=(ChildSpec("a", Busy, capacity=1),))) as system:
        for message in ("go", "x"):
            system.post(system.ref("root/a"), message)
            await settle()
        await trio.sleep(2)
        gate.set()
        await settle()
    assert got == ["go", "x", "tick"]


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
async def test_a_timer_needs_a_time_that_comes(seconds: float) -> None:
    async with pair() as (_, probe, _, _):
        with pytest.raises(Misuse):
            probe.ctx.start_timer(seconds, "x")


# ---- monitors and links ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "reason"),
    [("fail", Reason(Exit.FAILED, "ValueError")), ("stop", Reason(Exit.SHUTDOWN))],
)
async def test_a_monitor_is_told_once_how_an_incarnation_ended(message: str, reason: Reason) -> None:
    async with pair() as (_, probe, worker, _):
        probe.ctx.monitor(worker)
        probe.ctx.monitor(worker)
        if message == "stop":
            probe.ctx.parent.stop_child("worker")
        else:
            probe.ctx.post(worker, message)
        await settle()
        assert probe.messages == [Down(worker, reason, 1)]
        assert probe.received[0][1].path == "root/worker"
        if worker.alive:
            probe.ctx.post(worker, "fail")
            await settle()
            assert len(probe.messages) == 1


async def test_a_down_passes_a_full_mailbox() -> None:
    gate = trio.Event()
    got: list[object] = []

    class Watcher(Actor):
        def __init__(self, other: Callable[[], Ref]) -> None:
            self.other = other

        async def receive(self, message: object, sender: Sender) -> object:
            got.append(message)
            if message == "go":
                self.ctx.monitor(self.other())
                await gate.wait()
            return None

    def tree(system: System) -> SupervisorSpec:
        return SupervisorSpec(
            "root",
            children=(
                ChildSpec("a", lambda: Worker([]), restart="temporary"),
                ChildSpec("watcher", lambda: Watcher(lambda: system.ref("root/a")), capacity=1, control_capacity=1),
            ),
        )

    async with open_system(tree) as system:
        watcher, other = system.ref("root/watcher"), system.ref("root/a")
        system.post(watcher, "go")
        await settle()
        system.post(watcher, "x")
        system.post(watcher, Urgent())
        assert system.post(watcher, Urgent()) is Posted.REFUSED
        system.post(other, "fail")
        await settle()
        gate.set()
        await settle()
    assert got[0] == "go"
    assert Down(other, Reason(Exit.FAILED, "ValueError"), 1) in got


async def test_who_monitors_an_actor_that_is_gone_is_told_at_once() -> None:
    async with pair() as (_, probe, worker, _):
        probe.ctx.parent.stop_child("worker")
        await settle()
        probe.ctx.monitor(worker)
        await settle()
        assert probe.messages == [Down(worker, Reason(Exit.GONE), 1)]


async def test_who_monitors_an_actor_between_two_incarnations_is_told_of_the_next_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    probe = Probe()
    spec = SupervisorSpec(
        "root",
        delay=(5, 5),
        children=(ChildSpec("a", lambda: Worker([])), ChildSpec("probe", lambda: probe)),
    )
    async with open_system(spec) as system:
        ref = system.ref("root/a")
        system.post(ref, "fail")
        await settle()
        probe.ctx.monitor(ref)
        await settle()
        assert probe.messages == []
        system.post(ref, "fail")  # it queues for the next one
        await trio.sleep(6)
        assert probe.messages == [Down(ref, Reason(Exit.FAILED, "ValueError"), 2)]
        probe.ctx.monitor(ref)
        probe.ctx.parent.stop_child("a")
        await settle()
        assert probe.messages[1:] == [Down(ref, Reason(Exit.GONE), 2)]


async def test_a_monitor_that_was_taken_back_says_nothing() -> None:
    async with pair() as (_, probe, worker, _):
        probe.ctx.monitor(worker)
        probe.ctx.demonitor(worker)
        probe.ctx.post(worker, "fail")
        await settle()
        assert probe.messages == []


async def test_a_monitor_ends_with_the_incarnation_that_set_it() -> None:
    async with pair() as (_, probe, worker, _):
        probe.ctx.monitor(worker)
        probe.ctx.stop()
        await settle()
        probe.ctx.post(worker, "fail")
        await settle()
        assert probe.messages == []


@pytest.mark.parametrize("broken", ["a", "b"])
async def test_linked_actors_break_together(broken: str) -> None:
    probe = Probe()
    spec = SupervisorSpec(
        "root",
        children=(
            ChildSpec("a", lambda: Linker("root/b", system_of), restart="temporary"),
            ChildSpec("b", lambda: Worker([]), restart="temporary"),
            ChildSpec("probe", lambda: probe),
        ),
    )
    async with open_system(spec) as system:
        system_of.append(system)
        a, b = system.ref("root/a"), system.ref("root/b")
        await system.ask(a, "link", within=1)
        other = b if broken == "a" else a
        probe.ctx.monitor(other)
        system.post(system.ref(f"root/{broken}"), "fail")
        await settle()
        (down,) = probe.messages
        assert isinstance(down, Down)
        assert (down.ref, down.reason.exit) == (other, Exit.KILLED)
        assert f"root/{broken}" in down.reason.detail
        assert not a.alive
        assert not b.alive
    system_of.clear()


system_of: list[System] = []


class Linker(Actor):
    """Links itself to another, or takes that back."""

    def __init__(self, path: str, systems: list[System]) -> None:
        self.path = path
        self.systems = systems

    async def receive(self, message: object, sender: Sender) -> object:
        ref = self.systems[0].ref(self.path)
        if message == "link":
            self.ctx.link(ref)
            self.ctx.link(ref)
        elif message == "unlink":
            self.ctx.unlink(ref)
            self.ctx.unlink(ref)
        elif message == "fail":
            raise ValueError
        elif message == "stop":
            self.ctx.stop()
        return None


async def linked_pair(*messages: str) -> tuple[bool, bool]:
    """Who is alive after ``a``, linked to ``b``, was sent these messages."""
    systems: list[System] = []
    spec = SupervisorSpec(
        "root",
        children=(
            ChildSpec("b", lambda: Worker([]), restart="temporary"),
            ChildSpec("a", lambda: Linker("root/b", systems), restart="temporary"),
        ),
    )
    async with open_system(spec) as system:
        systems.append(system)
        a, b = system.ref("root/a"), system.ref("root/b")
        for message in messages:
            system.post(a, message)
        await settle()
        return a.alive, b.alive


async def test_a_linked_actor_survives_a_normal_end() -> None:
    assert await linked_pair("link", "stop") == (False, True)


async def test_a_link_that_was_taken_back_ties_nobody() -> None:
    assert await linked_pair("link", "unlink", "fail") == (False, True)


async def test_a_link_to_oneself_means_nothing() -> None:
    async with pair() as (_, probe, _, _):
        probe.ctx.link(probe.ctx.ref)
        await settle()
        assert probe.ctx.ref.incarnation == 1


async def test_who_links_to_an_actor_that_is_not_up_is_cancelled_at_once() -> None:
    async with pair() as (_, probe, worker, _):
        probe.ctx.parent.stop_child("worker")
        await settle()
        probe.ctx.link(worker)
        await settle()
        assert probe.ctx.ref.incarnation == 2


# ---- refs and contexts ----------------------------------------------------------------------------------------------


async def test_a_ref_outlives_the_incarnations_of_its_actor() -> None:
    async with pair() as (system, probe, worker, _):
        for incarnation in (1, 2, 3):
            assert worker.incarnation == incarnation
            assert worker.alive
            assert await probe.ctx.ask(worker, "x", within=1) == "x"
            probe.ctx.post(worker, "fail")
            await settle()
        assert system.ref("root/worker") == worker


async def test_a_ref_is_known_by_its_id() -> None:
    async with pair() as (_system, probe, worker, _):
        again = Ref(worker.cell)
        assert again == worker
        assert len({again, worker}) == 1
        assert worker != probe.ctx.ref
        assert worker != worker.id
        assert "root/worker" in repr(worker)
        assert (worker.path, worker.rank) == ("root/worker", 1)


async def test_messages_queue_up_while_an_actor_is_restarted(autojump_clock: trio.testing.MockClock) -> None:
    handled: list[object] = []
    spec = SupervisorSpec("root", delay=(5, 5), children=(ChildSpec("a", lambda: Worker(handled), capacity=2),))
    async with open_system(spec) as system:
        ref = system.ref("root/a")
        system.post(ref, "fail")
        system.post(ref, "lost with its incarnation")
        await settle()
        assert ref.alive
        assert [system.post(ref, n) for n in range(3)] == [Posted.ACCEPTED, Posted.ACCEPTED, Posted.REFUSED]
        await trio.sleep(6)
    assert handled == ["fail", 0, 1]


async def test_a_context_whose_incarnation_is_over_can_start_nothing_that_lasts() -> None:
    async with pair() as (_, probe, worker, _):
        old = probe.ctx
        old.stop()
        await settle()
        assert probe.ctx is not old
        for attempt in (
            lambda: old.post(worker, "q", answer_id="q"),
            lambda: old.monitor(worker),
            lambda: old.link(worker),
            lambda: old.start_timer(1, "x"),
        ):
            with pytest.raises(ActorGone) as over:
                attempt()
            assert over.value.code == "kernel.incarnation_over"
        assert not old.forget("q")
        old.stop()
        await settle()
        assert probe.ctx.ref.incarnation == 2


async def test_an_actor_without_receive_cannot_be_made() -> None:
    with pytest.raises(TypeError):
        Actor()  # pyright: ignore[reportAbstractUsage]


def test_every_kernel_error_has_a_code() -> None:
    error = KernelError("kernel.some_code", "something broke", where="here")
    assert (error.code, error.fields, str(error)) == (
        "kernel.some_code",
        {"where": "here"},
        "something broke [kernel.some_code]",
    )
