"""One incarnation: how it starts, how it ends; and what a broken actor leaves behind."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from astrid.kernel import (
    Actor,
    ActorGone,
    ChildSpec,
    Exit,
    Failed,
    Lane,
    Message,
    Misuse,
    Posted,
    Reason,
    Ref,
    Sender,
    SupervisorSpec,
    TooManyRestarts,
    open_system,
)
from astrid.kernel.testing import Probe, settle


class Urgent(Message, frozen=True, kw_only=True):
    lane = Lane.CONTROL


class Diary(Actor):
    """Writes down what happens to it, and does what a test gives it to do."""

    def __init__(
        self,
        log: list[object],
        *,
        start: Callable[[], Awaitable[object]] | None = None,
        stop: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.log = log
        self.start = start
        self.stop = stop

    async def started(self) -> None:
        self.log.append("started")
        if self.start is not None:
            await self.start()

    async def receive(self, message: object, sender: Sender) -> object:
        self.log.append(message)
        if isinstance(message, BaseException):
            raise message
        if message == "hang":
            await trio.sleep_forever()
        if message == "stop":
            self.ctx.stop()
        return message

    async def stopping(self, reason: Reason) -> None:
        self.log.append(reason)
        if self.stop is not None:
            await self.stop()


def one(factory: Callable[[], Actor], *, shutdown: float = 5.0) -> SupervisorSpec:
    """A system of one actor, ``root/a``, that is not restarted."""
    return SupervisorSpec("root", children=(ChildSpec("a", factory, restart="temporary", shutdown=shutdown),))


async def fails() -> None:
    raise ValueError


# ---- ends -----------------------------------------------------------------------------------------------------------


async def test_an_actor_that_stops_itself_ends_after_the_message_it_handles() -> None:
    log: list[object] = []
    async with open_system(one(lambda: Diary(log))) as system:
        for message in ("stop", "x"):
            system.post(system.ref("root/a"), message)
        await settle()
    assert log == ["started", "stop", Reason(Exit.NORMAL)]


async def test_an_actor_that_is_stopped_by_its_supervisor_handles_what_is_queued_first() -> None:
    log: list[object] = []
    async with open_system(one(lambda: Diary(log))) as system:
        for message in ("x", "y"):
            system.post(system.ref("root/a"), message)
    assert log == ["started", "x", "y", Reason(Exit.SHUTDOWN)]


async def test_control_that_is_queued_is_handled_before_a_stop_however_much_it_is() -> None:
    log: list[object] = []
    gate = trio.Event()

    class Gated(Diary):
        async def receive(self, message: object, sender: Sender) -> object:
            self.log.append(message)
            if message == "wait":
                await gate.wait()
            return None

    async with open_system(one(lambda: Gated(log))) as system:
        ref = system.ref("root/a")
        system.post(ref, "wait")
        await settle()
        system.stop()
        for _ in range(50):
            assert system.post(ref, Urgent()) is Posted.ACCEPTED
        gate.set()
    assert log == ["started", "wait", *[Urgent()] * 50, Reason(Exit.SHUTDOWN)]


async def test_an_actor_that_raises_ends_with_the_type_of_its_error_and_never_its_text() -> None:
    log: list[object] = []
    async with open_system(one(lambda: Diary(log))) as system:
        system.post(system.ref("root/a"), ValueError("a secret"))
        await settle()
    assert log[-1] == Reason(Exit.FAILED, "ValueError")


async def test_an_error_in_a_nursery_of_the_actor_s_own_counts_as_that_error() -> None:
    log: list[object] = []

    class Nested(Diary):
        async def receive(self, message: object, sender: Sender) -> object:
            async with trio.open_nursery() as outer, trio.open_nursery() as inner:
                outer.start_soon(trio.sleep_forever)
                inner.start_soon(fails)
            return None

    async with open_system(one(lambda: Nested(log))) as system:
        with pytest.raises(Failed):
            await system.ask(system.ref("root/a"), "x", within=1)
    assert log[-1] == Reason(Exit.FAILED, "ValueError")


async def test_several_errors_at_once_count_as_a_group() -> None:
    log: list[object] = []
    async with open_system(one(lambda: Diary(log))) as system:
        system.post(system.ref("root/a"), ExceptionGroup("", [ValueError(), KeyError()]))
        await settle()
    assert log[-1] == Reason(Exit.FAILED, "ExceptionGroup")


async def test_an_actor_that_does_not_stop_in_time_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    log: list[object] = []
    async with open_system(one(lambda: Diary(log), shutdown=3)) as system:
        system.post(system.ref("root/a"), "hang")
        await settle()
        start = trio.current_time()
        system.stop()
        await system.wait_stopped()
        assert trio.current_time() - start == 3
    assert log[-1] == Reason(Exit.KILLED, "its time to stop was over")


async def test_an_actor_with_no_time_to_stop_is_cancelled_at_once() -> None:
    log: list[object] = []
    async with open_system(one(lambda: Diary(log), shutdown=0)) as system:
        system.post(system.ref("root/a"), "hang")
        await settle()
    assert log[-1] == Reason(Exit.KILLED, "its time to stop was over")


async def test_an_actor_that_still_starts_when_it_is_stopped_is_cancelled_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[object] = []
    start = trio.current_time()
    with trio.move_on_after(10):
        async with open_system(one(lambda: Diary(log, start=trio.sleep_forever), shutdown=3)):
            raise AssertionError("it has not started")
    assert trio.current_time() - start == 13
    assert log == ["started", Reason(Exit.KILLED, "its time to stop was over")]


async def test_clean_up_is_shielded_but_not_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    log: list[object] = []

    async def clean_up() -> None:
        try:
            await trio.sleep(2)
            log.append("cleaned up")
            await trio.sleep_forever()
        finally:
            log.append("cut off")

    async with open_system(one(lambda: Diary(log, stop=clean_up), shutdown=3)) as system:
        system.post(system.ref("root/a"), "stop")
        await trio.sleep(10)
        assert system.snapshot().actors == 0
    assert log[-2:] == ["cleaned up", "cut off"]


async def test_clean_up_that_fails_makes_a_normal_end_a_failure() -> None:
    log: list[object] = []
    failures: list[tuple[str, Reason, str]] = []

    def note(ref: Ref, reason: Reason, error: BaseException) -> None:
        failures.append((ref.path, reason, type(error).__name__))

    async with open_system(one(lambda: Diary(log, stop=fails)), on_failure=note) as system:
        system.post(system.ref("root/a"), "stop")
        await settle()
    assert failures == [("root/a", Reason(Exit.FAILED, "ValueError"), "ValueError")]


async def test_clean_up_that_fails_after_a_failure_does_not_hide_it() -> None:
    errors: list[BaseException] = []
    spec = one(lambda: Diary([], stop=fails))
    async with open_system(spec, on_failure=lambda ref, reason, error: errors.append(error)) as system:
        system.post(system.ref("root/a"), KeyError())
        await settle()
    (error,) = errors
    assert isinstance(error, KeyError)
    assert error.__notes__ == ["its clean-up failed too, by ValueError"]


async def test_clean_up_that_fails_after_a_cancellation_is_reported(
    autojump_clock: trio.testing.MockClock,
) -> None:
    reported: list[tuple[Reason, str]] = []
    async with open_system(
        one(lambda: Diary([], stop=fails)),
        on_failure=lambda ref, reason, error: reported.append((reason, type(error).__name__)),
    ) as system:
        system.post(system.ref("root/a"), "hang")
        await settle()
    assert reported == [(Reason(Exit.KILLED, "its time to stop was over"), "ValueError")]


async def test_clean_up_is_called_once_even_when_the_start_fails_half_way() -> None:
    log: list[object] = []
    async with open_system(one(lambda: Diary(log, start=fails))):
        pass
    assert log == ["started", Reason(Exit.FAILED, "ValueError")]


async def test_an_actor_that_cannot_even_be_made_is_a_failed_start() -> None:
    def broken() -> Actor:
        raise ValueError

    async def scenario() -> None:
        async with open_system(SupervisorSpec("root", intensity=0, children=(ChildSpec("a", broken),))):
            raise AssertionError("it has not started")

    with pytest.raises(TooManyRestarts) as gave_up:
        await scenario()
    assert isinstance(gave_up.value.__cause__, ValueError)


# ---- what nobody may restart after ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_what_is_no_exception_ends_the_system_in_order_and_is_raised_there(error: type[BaseException]) -> None:
    log: list[object] = []

    def child(name: str) -> ChildSpec:
        async def stop() -> None:
            log.append(name)

        return ChildSpec(name, lambda: Diary([], stop=stop))

    async def scenario() -> None:
        async with open_system(
            SupervisorSpec("root", intensity=100, children=(child("a"), child("b"), child("c")))
        ) as system:
            system.post(system.ref("root/b"), error())
            await trio.sleep_forever()
            log.append("the body went on")

    with pytest.raises(error):
        await scenario()
    assert log == ["b", "c", "a"]


async def test_what_is_no_exception_counts_in_clean_up_too() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    async def scenario() -> None:
        async with open_system(one(lambda: Diary([], stop=interrupted))) as system:
            system.post(system.ref("root/a"), ValueError())
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        await scenario()


async def test_what_is_no_exception_counts_while_the_system_stops_too() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    async def scenario() -> None:
        async with open_system(one(lambda: Diary([], stop=interrupted))):
            pass

    with pytest.raises(KeyboardInterrupt):
        await scenario()


async def test_an_interrupt_by_hand_in_an_actor_s_own_code_ends_the_system() -> None:
    class Endless(Actor):
        async def receive(self, message: object, sender: Sender) -> object:
            signal.raise_signal(signal.SIGINT)
            return None

    async def scenario() -> None:
        async with open_system(one(Endless)) as system:
            system.post(system.ref("root/a"), "x")
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        await scenario()


async def test_an_interrupt_by_hand_never_hits_the_kernel_itself() -> None:
    hits: list[bool] = []

    class Outside(Message, frozen=True, kw_only=True):
        """Its lane is looked up in the middle of the kernel's own code."""

    class Meta(type):
        @property
        def lane(cls) -> Lane:
            hits.append(trio.lowlevel.currently_ki_protected())
            return Lane.WORK

    class Spy(metaclass=Meta):
        pass

    async with open_system(one(lambda: Diary([]))) as system:
        ref = system.ref("root/a")
        system.post(ref, Outside())
        system.post(ref, Spy())
        await system.tell(ref, Spy())
        await settle()
    assert hits
    assert all(hits)


# ---- what it leaves behind ------------------------------------------------------------------------------------------


async def test_messages_that_an_actor_left_behind_are_dead_letters() -> None:
    async with open_system(one(lambda: Diary([]))) as system:
        ref = system.ref("root/a")
        for message in ("stop", "x", Urgent()):
            system.post(ref, message)
        await settle()
        snapshot = system.snapshot()
        assert snapshot.dead_letters == 2
        (_, letter) = snapshot.last_dead_letters
        assert (letter.to, letter.incarnation, letter.sender, letter.message) == ("root/a", 1, "", "str")
        assert system.post(ref, "y") is Posted.GONE
        assert system.snapshot().dead_letters == 2  # the sender knows


async def test_who_asked_an_actor_that_broke_need_not_wait_for_its_clean_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def clean_up() -> None:
        await trio.sleep(2)

    ends: list[tuple[str, float]] = []
    async with open_system(one(lambda: Diary([], stop=clean_up))) as system:
        ref = system.ref("root/a")
        start = trio.current_time()

        async def ask(message: object) -> None:
            try:
                await system.ask(ref, message, within=60)
            except ActorGone as error:
                ends.append((type(error).__name__, trio.current_time() - start))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, ValueError())
            nursery.start_soon(ask, ValueError())
    assert sorted(ends) == [("ActorGone", 0), ("Failed", 0)]


async def test_asks_that_come_while_an_actor_cleans_up_end_when_it_has(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def clean_up() -> None:
        await trio.sleep(2)

    async with open_system(one(lambda: Diary([], stop=clean_up))) as system:
        ref = system.ref("root/a")
        system.post(ref, "stop")
        await settle()
        start = trio.current_time()
        with pytest.raises(ActorGone, match="ended before it took the ask up"):
            await system.ask(ref, "x", within=60)
        assert trio.current_time() - start == 2


# ---- links and specs ------------------------------------------------------------------------------------------------


async def test_actors_that_are_linked_in_a_ring_all_end_once() -> None:
    log: list[object] = []
    children = tuple(ChildSpec(n, lambda: Diary(log), restart="temporary") for n in "abc")
    async with open_system(SupervisorSpec("root", children=children)) as system:
        refs = [system.ref(f"root/{n}") for n in "abc"]
        for one_end in refs:
            for other in refs:
                one_end.cell.life.link(other.cell)  # pyright: ignore[reportOptionalMemberAccess]
        system.post(refs[1], ValueError())
        await settle()
        assert [ref.alive for ref in refs] == [False] * 3
        assert system.snapshot().dead_letters == 0
    ends = [entry.exit for entry in log if isinstance(entry, Reason)]
    assert ends == [Exit.FAILED, Exit.KILLED, Exit.KILLED]


async def test_a_spec_is_checked_when_it_is_made() -> None:
    def child(**settings: object) -> ChildSpec:
        return ChildSpec(**{"id": "a", "factory": Probe, **settings})  # pyright: ignore[reportArgumentType]

    for settings in (
        {"id": ""},
        {"id": "a//b"},
        {"id": "/a"},
        {"id": "a\n"},
        {"restart": "sometimes"},
        {"shutdown": -1},
        {"shutdown": float("nan")},
        {"capacity": 0},
        {"control_capacity": 0},
    ):
        with pytest.raises(Misuse) as misuse:
            child(**settings)
        assert misuse.value.code == "kernel.bad_spec"
