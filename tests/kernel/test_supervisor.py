"""Supervisors at work: order, strategies, delay, escalation, dynamic children, and children that do not end."""

from __future__ import annotations

import contextvars
from itertools import pairwise

import pytest
import trio
import trio.testing

from astrid.kernel import (
    Actor,
    ActorGone,
    ChildSpec,
    Exit,
    Misuse,
    Posted,
    Reason,
    Ref,
    Sender,
    Stuck,
    SupervisorHandle,
    SupervisorSpec,
    TooManyRestarts,
    open_system,
)
from astrid.kernel.signals import Restart, Strategy
from astrid.kernel.testing import Probe, settle


class Child(Actor):
    """Says when it starts and stops, and breaks when told to."""

    def __init__(self, name: str, log: list[str], start_seconds: float = 0, stop_seconds: float = 0) -> None:
        self.name = name
        self.log = log
        self.start_seconds = start_seconds
        self.stop_seconds = stop_seconds

    async def started(self) -> None:
        await trio.sleep(self.start_seconds)
        self.log.append(f"+{self.name}")

    async def receive(self, message: object, sender: Sender) -> object:
        if message == "break":
            raise ValueError(self.name)
        if message == "shield":
            with trio.CancelScope(shield=True):
                await trio.sleep(1000)
        return self.name

    async def stopping(self, reason: Reason) -> None:
        await trio.sleep(self.stop_seconds)
        self.log.append(f"-{self.name}")


def child(
    name: str,
    log: list[str],
    *,
    restart: Restart = "permanent",
    start_seconds: float = 0,
    stop_seconds: float = 0,
    shutdown: float = 5,
) -> ChildSpec:
    return ChildSpec(name, lambda: Child(name, log, start_seconds, stop_seconds), restart=restart, shutdown=shutdown)


# ---- order ----------------------------------------------------------------------------------------------------------


async def test_children_start_left_to_right_and_stop_right_to_left_however_long_each_takes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []
    spec = SupervisorSpec(
        "root",
        children=tuple(
            child(name, log, start_seconds=seconds, stop_seconds=seconds)
            for name, seconds in (("a", 3), ("b", 2), ("c", 1))
        ),
    )
    async with open_system(spec):
        assert log == ["+a", "+b", "+c"]
    assert log[3:] == ["-c", "-b", "-a"]


async def test_a_tree_stops_right_to_left_and_inside_out() -> None:
    log: list[str] = []
    spec = SupervisorSpec(
        "root",
        children=(
            child("a", log),
            SupervisorSpec("s", children=(child("s1", log), child("s2", log))),
            child("z", log),
        ),
    )
    async with open_system(spec):
        assert log == ["+a", "+s1", "+s2", "+z"]
    assert log[4:] == ["-z", "-s2", "-s1", "-a"]


@pytest.mark.parametrize("how", ["cancel", "error", "leave"])
async def test_the_order_is_the_same_however_the_context_is_left(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    log: list[str] = []
    spec = SupervisorSpec("root", children=tuple(child(name, log, stop_seconds=1) for name in "abc"))
    with trio.CancelScope() as scope:
        try:
            async with open_system(spec):
                if how == "cancel":
                    scope.cancel()
                    await trio.sleep_forever()
                if how == "error":
                    raise KeyError
        except KeyError:
            log.append("raised")
    assert log[3:6] == ["-c", "-b", "-a"]
    assert (log[6:] == ["raised"]) == (how == "error")
    assert scope.cancelled_caught == (how == "cancel")


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["-b", "+b"]),
        ("one_for_all", ["-b", "-c", "-a", "+a", "+b", "+c"]),
        ("rest_for_one", ["-b", "-c", "+b", "+c"]),
    ],
)
async def test_the_strategy_says_who_is_restarted(strategy: Strategy, expected: list[str]) -> None:
    log: list[str] = []
    spec = SupervisorSpec("root", strategy, children=tuple(child(name, log) for name in "abc"))
    async with open_system(spec) as system:
        log.clear()
        system.post(system.ref("root/b"), "break")
        await settle()
        assert log == expected
        assert await system.ask(system.ref("root/b"), "x", within=1) == "b"


async def test_children_that_are_alike_stop_together(autojump_clock: trio.testing.MockClock) -> None:
    log: list[str] = []
    spec = SupervisorSpec("root", stop="together", children=tuple(child(n, log, stop_seconds=3) for n in "abc"))
    async with open_system(spec):
        start = trio.current_time()
    assert trio.current_time() - start == 3


# ---- delay, intensity, escalation -----------------------------------------------------------------------------------


async def test_the_delay_grows_while_a_child_keeps_breaking(autojump_clock: trio.testing.MockClock) -> None:
    times: list[float] = []

    class Broken(Actor):
        async def started(self) -> None:
            times.append(trio.current_time())
            if len(times) < 6:
                raise ValueError

        async def receive(self, message: object, sender: Sender) -> object:
            return None

    spec = SupervisorSpec("root", intensity=100, delay=(1, 5), children=(ChildSpec("a", Broken),))
    async with open_system(spec) as system:
        assert system.ref("root/a").incarnation == 6
    assert [round(b - a, 6) for a, b in pairwise(times)] == [1, 2, 4, 5, 5]


async def test_a_child_that_breaks_too_often_ends_the_system_with_its_error_as_the_cause() -> None:
    log: list[str] = []
    spec = SupervisorSpec("root", intensity=2, children=(child("a", log), child("b", log)))

    async def scenario() -> None:
        async with open_system(spec) as system:
            for _ in range(3):
                system.post(system.ref("root/b"), "break")
                await settle()

    with pytest.raises(TooManyRestarts) as gave_up:
        await scenario()
    assert isinstance(gave_up.value.__cause__, ValueError)
    assert gave_up.value.code == "kernel.too_many_restarts"
    assert log[-2:] == ["-b", "-a"]


async def test_the_body_is_cancelled_when_the_root_gives_up() -> None:
    async def scenario() -> None:
        async with open_system(SupervisorSpec("root", intensity=0, children=(child("a", []),))) as system:
            system.post(system.ref("root/a"), "break")
            await trio.sleep_forever()

    with pytest.raises(TooManyRestarts):
        await scenario()


async def test_an_error_of_the_body_does_not_hide_that_the_root_gave_up() -> None:
    async def scenario() -> None:
        async with open_system(SupervisorSpec("root", intensity=0, children=(child("a", []),))) as system:
            system.post(system.ref("root/a"), "break")
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError

    with pytest.raises(TooManyRestarts) as gave_up:
        await scenario()
    assert isinstance(gave_up.value.__cause__, ValueError)


async def test_a_supervisor_that_gives_up_is_restarted_by_the_one_above_and_its_refs_live_on() -> None:
    log: list[str] = []
    inner = SupervisorSpec("inner", intensity=1, children=(child("a", log), child("b", log)))
    async with open_system(SupervisorSpec("root", children=(inner,))) as system:
        a = system.ref("root/inner/a")
        for _ in range(2):
            system.post(system.ref("root/inner/b"), "break")
            await settle()
        assert log == ["+a", "+b", "-b", "+b", "-b", "-a", "+a", "+b"]
        assert (a.incarnation, a.alive) == (2, True)
        assert await system.ask(a, "x", within=1) == "a"
        assert system.snapshot().supervisor("root/inner").incarnation == 2


async def test_the_cause_is_what_broke_the_child_and_not_what_broke_on_the_way_down() -> None:
    class Clumsy(Child):
        async def stopping(self, reason: Reason) -> None:
            raise KeyError

    async def scenario() -> None:
        spec = SupervisorSpec("root", intensity=0, children=(ChildSpec("a", lambda: Clumsy("a", [])), child("b", [])))
        async with open_system(spec) as system:
            system.post(system.ref("root/b"), "break")
            await trio.sleep_forever()

    with pytest.raises(TooManyRestarts) as gave_up:
        await scenario()
    assert isinstance(gave_up.value.__cause__, ValueError)


async def test_escalation_goes_up_level_by_level_and_keeps_the_chain_of_causes() -> None:
    spec = SupervisorSpec("leaf", intensity=0, children=(child("a", []),))
    for name in ("middle", "root"):
        spec = SupervisorSpec(name, intensity=1, children=(spec,))

    async def scenario() -> None:
        async with open_system(spec) as system:
            for _ in range(4):
                system.post(system.ref("root/middle/leaf/a"), "break")
                await settle()
            await trio.sleep_forever()

    with pytest.raises(TooManyRestarts) as gave_up:
        await scenario()
    chain: list[str] = []
    error: BaseException | None = gave_up.value
    while error is not None:
        chain.append(str(error).split("`")[1] if isinstance(error, TooManyRestarts) else type(error).__name__)
        error = error.__cause__
    assert chain == ["root", "root/middle", "root/middle/leaf", "ValueError"]


async def test_a_group_restart_above_takes_a_whole_supervisor_down_and_up() -> None:
    log: list[str] = []
    inner = SupervisorSpec("inner", children=(child("x", log), child("y", log)))
    spec = SupervisorSpec("root", "rest_for_one", children=(child("a", log), inner))
    async with open_system(spec) as system:
        y = system.ref("root/inner/y")
        log.clear()
        system.post(system.ref("root/a"), "break")
        await settle()
        assert log == ["-a", "-y", "-x", "+a", "+x", "+y"]
        assert y.incarnation == 2


async def test_a_start_that_fails_counts_and_is_tried_again_before_the_system_is_up() -> None:
    attempts: list[int] = []

    class Shy(Actor):
        async def started(self) -> None:
            attempts.append(len(attempts))
            if len(attempts) < 3:
                raise ValueError

        async def receive(self, message: object, sender: Sender) -> object:
            return len(attempts)

    async with open_system(SupervisorSpec("root", intensity=2, children=(ChildSpec("a", Shy),))) as system:
        assert await system.ask(system.ref("root/a"), "x", within=1) == 3

    async def scenario() -> None:
        attempts.clear()
        async with open_system(SupervisorSpec("root", intensity=1, children=(ChildSpec("a", Shy),))):
            raise AssertionError("it has not started")

    with pytest.raises(TooManyRestarts):
        await scenario()


async def test_a_context_that_is_cancelled_while_it_opens_leaves_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []
    spec = SupervisorSpec("root", children=(child("a", log), child("b", log, start_seconds=60)))
    with trio.move_on_after(1):
        async with open_system(spec):
            raise AssertionError("it has not started")
    assert log == ["+a", "-b", "-a"]


# ---- dynamic children -----------------------------------------------------------------------------------------------


async def test_a_child_can_be_added_and_its_ref_used_at_once() -> None:
    log: list[str] = []
    async with open_system(SupervisorSpec("root", children=(SupervisorSpec("sessions"),))) as system:
        sessions = system.supervisor("root/sessions")
        ref = sessions.start_child(child("session/1", log))
        assert system.post(ref, "x") is Posted.ACCEPTED
        assert await system.ask(ref, "x", within=1) == "session/1"
        assert ref == system.ref("root/sessions/session/1")
        assert sessions.stop_child("session/1")
        assert not sessions.stop_child("nobody")
        await settle()
        assert not ref.alive
        with pytest.raises(Misuse):
            system.ref("root/sessions/session/1")
    assert log == ["+session/1", "-session/1"]


async def test_an_id_is_free_again_once_its_child_is_gone() -> None:
    async with open_system(SupervisorSpec("root")) as system:
        root = system.supervisor("root")
        first = root.start_child(child("a", []))
        with pytest.raises(Misuse) as taken:
            root.start_child(child("a", []))
        assert taken.value.code == "kernel.id_taken"
        root.stop_child("a")
        await settle()
        second = root.start_child(child("a", []))
        assert first != second
        assert first.path == second.path
        assert (first.alive, second.alive) == (False, True)


async def test_a_whole_supervisor_can_be_added() -> None:
    log: list[str] = []
    async with open_system(SupervisorSpec("root")) as system:
        handle = system.supervisor("root").start_child(
            SupervisorSpec("s", rank=7, children=(child("a", log), child("b", log)))
        )
        assert isinstance(handle, SupervisorHandle)
        await settle()
        assert (handle.path, handle.rank, handle.alive) == ("root/s", 7, True)
        assert "root/s" in repr(handle)
        handle.start_child(child("c", log))
        await settle()
        system.supervisor("root").stop_child("s")
        await settle()
        assert not handle.alive
        with pytest.raises(ActorGone):
            handle.start_child(child("d", log))
        assert not handle.stop_child("a")
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_an_added_child_ends_with_the_incarnation_of_its_supervisor() -> None:
    log: list[str] = []
    inner = SupervisorSpec("inner", intensity=0, children=(child("a", log),))
    async with open_system(SupervisorSpec("root", children=(inner,))) as system:
        ref = system.supervisor("root/inner").start_child(child("x", log))
        await settle()
        system.post(system.ref("root/inner/a"), "break")
        await settle()
        assert not ref.alive
        assert log == ["+a", "+x", "-a", "-x", "+a"]


async def test_a_static_child_that_was_retired_is_back_with_a_new_ref_when_its_supervisor_restarts() -> None:
    inner = SupervisorSpec("inner", intensity=0, children=(child("t", [], restart="temporary"), child("a", [])))
    async with open_system(SupervisorSpec("root", children=(inner,))) as system:
        old = system.ref("root/inner/t")
        system.post(old, "break")
        await settle()
        assert not old.alive
        system.post(system.ref("root/inner/a"), "break")
        await settle()
        assert system.ref("root/inner/t") != old
        assert await system.ask(system.ref("root/inner/t"), "x", within=1) == "t"


async def test_an_actor_reaches_its_own_supervisor() -> None:
    probe = Probe()
    async with open_system(SupervisorSpec("root", children=(ChildSpec("probe", lambda: probe),))) as system:
        ref = probe.ctx.parent.start_child(child("x", []))
        assert ref.path == "root/x"
        assert await system.ask(ref, "x", within=1) == "x"


async def test_a_path_has_one_owner_even_where_ids_hold_slashes() -> None:
    async with open_system(SupervisorSpec("root", children=(SupervisorSpec("a", children=(child("b", []),)),))) as s:
        with pytest.raises(Misuse) as taken:
            s.supervisor("root").start_child(child("a/b", []))
        assert taken.value.code == "kernel.id_taken"
        assert s.ref("root/a/b").alive


async def test_a_supervisor_that_cannot_be_added_whole_leaves_no_part_of_it() -> None:
    async with open_system(SupervisorSpec("root")) as system:
        root = system.supervisor("root")
        root.start_child(child("s/b", []))
        with pytest.raises(Misuse):
            root.start_child(SupervisorSpec("s", children=(child("a", []), child("b", []))))
        with pytest.raises(Misuse):
            system.ref("root/s/a")
        with pytest.raises(Misuse):
            system.supervisor("root/s")
        assert root.start_child(child("s/a", [])).alive


async def test_what_an_actor_knows_of_its_context_is_not_what_its_starter_knew() -> None:
    secret: contextvars.ContextVar[str] = contextvars.ContextVar("secret", default="none")
    seen: list[str] = []

    class Curious(Actor):
        async def started(self) -> None:
            seen.append(secret.get())

        async def receive(self, message: object, sender: Sender) -> object:
            secret.set("of the starter")
            self.ctx.parent.start_child(ChildSpec("child", Curious))
            return None

    async with open_system(SupervisorSpec("root", children=(ChildSpec("a", Curious),))) as system:
        secret.set("of the test")
        await system.ask(system.ref("root/a"), "x", within=1)
        await settle()
    assert seen == ["none", "none"]


@pytest.mark.parametrize(
    "build",
    [
        lambda: SupervisorSpec("root", "one_for_none"),  # pyright: ignore[reportArgumentType]
        lambda: SupervisorSpec("root", stop="at once"),  # pyright: ignore[reportArgumentType]
        lambda: SupervisorSpec("root", intensity=-1),
        lambda: SupervisorSpec("root", period=0),
        lambda: SupervisorSpec("root", delay=(2, 1)),
        lambda: SupervisorSpec("root", delay=(-1, 1)),
        lambda: SupervisorSpec("root", delay=(1, float("inf"))),
        lambda: SupervisorSpec("", children=()),
        lambda: SupervisorSpec("root", children=(child("a", []), child("a", []))),
    ],
)
def test_a_tree_that_makes_no_sense_cannot_be_described(build: object) -> None:
    with pytest.raises(Misuse):
        build()  # pyright: ignore[reportCallIssue]


# ---- children that do not end ---------------------------------------------------------------------------------------


async def test_a_supervisor_whose_time_is_over_cancels_its_children_in_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []

    class Slow(Child):
        async def receive(self, message: object, sender: Sender) -> object:
            await trio.sleep_forever()

    def slow(name: str) -> ChildSpec:
        return ChildSpec(name, lambda: Slow(name, log), shutdown=60)

    inner = SupervisorSpec("inner", shutdown=5, children=tuple(slow(name) for name in "abc"))
    async with open_system(SupervisorSpec("root", children=(inner,))) as system:
        for name in "abc":
            system.post(system.ref(f"root/inner/{name}"), "x")
        await settle()
        log.clear()
        start = trio.current_time()
    assert log == ["-c", "-b", "-a"]
    assert trio.current_time() - start == 5


async def test_an_actor_that_shields_itself_holds_nobody_else_up_and_is_named(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []
    spec = SupervisorSpec("root", children=tuple(child(name, log, shutdown=2) for name in "abc"))
    start = trio.current_time()

    async def scenario() -> None:
        async with open_system(spec) as system:
            system.post(system.ref("root/b"), "shield")
            await settle()
            system.stop()
            await system.wait_stopped()
            assert log == ["+a", "+b", "+c", "-c", "-a"]
            assert trio.current_time() - start == 2 + 2 + 1

    with pytest.raises(Stuck, match="root/b"):
        await scenario()
    assert trio.current_time() - start == 1000
    assert log[-1] == "-b"


async def test_an_actor_that_shields_itself_is_not_replaced_while_it_is_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []
    spec = SupervisorSpec(
        "root",
        intensity=100,
        children=(
            SupervisorSpec(
                "inner",
                "one_for_all",
                intensity=100,
                children=(child("a", log, shutdown=1), child("b", log, shutdown=1)),
            ),
        ),
    )

    async def scenario() -> None:
        async with open_system(spec) as system:
            system.post(system.ref("root/inner/b"), "shield")
            await settle()
            system.post(system.ref("root/inner/a"), "break")
            await trio.sleep_forever()

    with pytest.raises(Stuck, match="root/inner/b"):
        await scenario()
    assert log == ["+a", "+b", "-a", "-b"]


async def test_an_actor_that_shields_its_start_comes_up_too_late_for_anybody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Shielded(Child):
        async def started(self) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(1000)

    log: list[str] = []
    spec = SupervisorSpec("root", children=(ChildSpec("a", lambda: Shielded("a", log), shutdown=1),))

    async def scenario() -> None:
        with trio.move_on_after(10):
            async with open_system(spec):
                raise AssertionError("it has not started")

    start = trio.current_time()
    with pytest.raises(Stuck, match="root/a"):
        await scenario()
    assert trio.current_time() - start == 1000
    assert log == ["-a"]


async def test_a_supervisor_that_is_told_to_hurry_cancels_in_order_instead_of_asking(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []

    class Slow(Child):
        async def receive(self, message: object, sender: Sender) -> object:
            await trio.sleep_forever()

    inner = SupervisorSpec("inner", children=tuple(ChildSpec(n, lambda n=n: Slow(n, log), shutdown=60) for n in "abc"))
    async with open_system(SupervisorSpec("root", children=(inner,))) as system:
        for name in "abc":
            system.post(system.ref(f"root/inner/{name}"), "x")
        await settle()
        log.clear()
        start = trio.current_time()
        system.stop()
        await trio.sleep(7)
        assert log == []
        system.supervisor("root").hurry()
        system.supervisor("root").hurry()
    assert log == ["-c", "-b", "-a"]
    assert trio.current_time() - start == 7


async def test_a_supervisor_that_was_told_to_hurry_is_patient_again_after_its_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []
    inner = SupervisorSpec("inner", intensity=0, children=(child("a", log, stop_seconds=2),))
    async with open_system(SupervisorSpec("root", children=(inner,))) as system:
        system.supervisor("root/inner").hurry()
        system.post(system.ref("root/inner/a"), "break")
        await trio.sleep(10)
        assert log == ["+a", "-a", "+a"]
        reasons: list[Reason] = []

        class Last(Child):
            async def stopping(self, reason: Reason) -> None:
                reasons.append(reason)

        last = system.supervisor("root/inner").start_child(ChildSpec("last", lambda: Last("last", log)))
        await settle()
        system.post(last, "x")
    assert reasons == [Reason(Exit.SHUTDOWN)]


async def test_a_removed_actor_that_shields_itself_keeps_its_id_until_it_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []
    async with open_system(SupervisorSpec("root", children=(child("a", log, shutdown=1),))) as system:
        root = system.supervisor("root")
        ref = system.ref("root/a")
        system.post(ref, "shield")
        await settle()
        root.stop_child("a")
        await trio.sleep(100)
        assert ref.alive
        with pytest.raises(Misuse):
            root.start_child(child("a", log))
        await trio.sleep(1000)
        assert not ref.alive
        root.start_child(child("a", log))
        await settle()
    assert log == ["+a", "-a", "+a", "-a"]


async def test_a_supervisor_that_leaves_an_actor_behind_is_not_restarted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []
    inner = SupervisorSpec("inner", children=(child("x", log), child("a", log, shutdown=1)))
    spec = SupervisorSpec("root", "rest_for_one", intensity=100, children=(child("first", log), inner))

    async def scenario() -> None:
        async with open_system(spec) as system:
            system.post(system.ref("root/inner/a"), "shield")
            await settle()
            system.supervisor("root/inner").stop_child("a")
            await trio.sleep(100)
            system.post(system.ref("root/first"), "break")
            await trio.sleep_forever()

    with pytest.raises(Stuck, match="root/inner/a"):
        await scenario()
    assert log == ["+first", "+x", "+a", "-first", "-x", "-a"]


async def test_everybody_who_failed_is_reported_before_anything_is_done_about_it() -> None:
    reports: list[tuple[str, Reason, type[BaseException], bool]] = []

    def note(ref: Ref, reason: Reason, error: BaseException) -> None:
        reports.append((ref.path, reason, type(error), ref.alive))

    spec = SupervisorSpec("root", children=(child("a", [], restart="temporary"),))
    async with open_system(spec, on_failure=note) as system:
        system.post(system.ref("root/a"), "break")
        await settle()
    assert reports == [("root/a", Reason(Exit.FAILED, "ValueError"), ValueError, True)]


async def test_a_crash_of_a_supervised_child_at_the_moment_of_its_stop_costs_its_successor_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The deadline of a stop belongs to one incarnation; the next one must not be cancelled by it."""
    log: list[str] = []

    class Touchy(Child):
        async def stopping(self, reason: Reason) -> None:
            self.log.append(f"-{self.name}")
            if reason.exit is Exit.SHUTDOWN:
                raise ValueError

    spec = SupervisorSpec(
        "root",
        "one_for_all",
        intensity=100,
        period=1,
        children=(child("a", log), ChildSpec("b", lambda: Touchy("b", log), shutdown=3)),
    )
    async with open_system(spec) as system:
        system.post(system.ref("root/a"), "break")
        await trio.sleep(60)
        assert log == ["+a", "+b", "-a", "-b", "+a", "+b"]
        assert system.ref("root/b").incarnation == 2
