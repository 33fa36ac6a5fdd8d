"""A whole system: how it opens, is looked at, is told to stop and closes."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from astrid.kernel import (
    Actor,
    ChildSpec,
    Message,
    Misuse,
    Posted,
    Ref,
    Sender,
    SupervisorSpec,
    System,
    open_system,
)
from astrid.kernel.run import DEAD_LETTERS_KEPT, Run
from astrid.kernel.testing import Probe, settle


class Forward(Actor):
    """Asks another, and answers with what that one said."""

    def __init__(self, other: Ref) -> None:
        self.other = other

    async def receive(self, message: object, sender: Sender) -> object:
        return await self.ctx.ask(self.other, message, within=1)


class Keep(Message, frozen=True, kw_only=True):
    n: int


def two(system: System) -> SupervisorSpec:
    """The first child is given the ref of the second."""
    return SupervisorSpec(
        "root",
        children=(
            ChildSpec("first", lambda: Forward(system.ref("root/second")), rank=2),
            ChildSpec("second", lambda: Probe(lambda message: ("seen", message)), rank=1),
        ),
    )


async def test_a_tree_can_be_wired_before_any_of_it_runs() -> None:
    async with open_system(two) as system:
        assert await system.ask(system.ref("root/first"), "x", within=1) == ("seen", "x")


async def test_nothing_can_be_found_where_nothing_is() -> None:
    async with open_system(two) as system:
        for find, path in (
            (system.ref, "root/third"),
            (system.ref, "root"),
            (system.supervisor, "root/first"),
            (system.supervisor, "other"),
            (system.snapshot().actor, "root"),
            (system.snapshot().actor, "root/third"),
            (system.snapshot().supervisor, "root/first"),
        ):
            with pytest.raises(Misuse) as unknown:
                find(path)
            assert unknown.value.code == "kernel.unknown_path"


async def test_a_snapshot_shows_the_whole_tree_in_numbers(autojump_clock: trio.testing.MockClock) -> None:
    spec = SupervisorSpec(
        "root",
        "rest_for_one",
        rank=9,
        children=(SupervisorSpec("inner", children=(ChildSpec("a", Probe, rank=3, capacity=2, control_capacity=1),)),),
    )
    async with open_system(spec) as system:
        ref = system.ref("root/inner/a")
        for n in range(3):
            system.post(ref, n)
        await trio.sleep(4)
        snapshot = system.snapshot()
        actor = snapshot.actor("root/inner/a")
        assert (actor.id, actor.rank, actor.state, actor.incarnation, actor.restarts) == (ref.id, 3, "up", 1, 0)
        assert (actor.age_seconds, actor.received, actor.refused) == (4, 2 + 1, 0)
        assert (actor.depth, actor.capacity, actor.control_depth, actor.control_capacity) == (0, 2, 0, 1)
        assert (snapshot.root.path, snapshot.root.rank, snapshot.root.strategy) == ("root", 9, "rest_for_one")
        assert snapshot.supervisor("root/inner").state == "up"
        assert (snapshot.actors, snapshot.now_seconds) == (1, trio.current_time())
        ref.cell.life.kill("a test")  # pyright: ignore[reportOptionalMemberAccess]
        await settle()
        later = system.snapshot().actor("root/inner/a")
        assert (later.incarnation, later.restarts, later.received) == (2, 1, 3)
        assert system.snapshot().supervisor("root/inner").restarts == 1
    assert actor.received == 3  # what was seen does not change


async def test_a_snapshot_names_the_last_failure_by_its_type() -> None:
    class Broken(Actor):
        async def receive(self, message: object, sender: Sender) -> object:
            raise KeyError("a secret")

    async with open_system(SupervisorSpec("root", delay=(60, 60), children=(ChildSpec("a", Broken),))) as system:
        system.post(system.ref("root/a"), "x")
        await settle()
        actor = system.snapshot().actor("root/a")
        assert (actor.last_failure, actor.state, actor.age_seconds) == ("KeyError", "down", 0)


async def test_only_the_last_dead_letters_are_kept_and_all_are_counted() -> None:
    async with open_system(SupervisorSpec("root", children=(ChildSpec("a", Probe, capacity=1000),))) as system:
        ref = system.ref("root/a")
        for n in range(DEAD_LETTERS_KEPT + 10):
            system.post(ref, n)
        system.post(ref, Keep(n=1))
        ref.cell.life.kill("a test")  # pyright: ignore[reportOptionalMemberAccess]
        ref.cell.mailbox.stop_now()
        await settle()
        snapshot = system.snapshot()
        assert len(snapshot.last_dead_letters) == DEAD_LETTERS_KEPT
        assert snapshot.dead_letters >= DEAD_LETTERS_KEPT + 9
        assert snapshot.last_dead_letters[-1].message == "Keep"


async def test_a_system_can_be_stopped_and_waited_for() -> None:
    async with open_system(two) as system:
        ref = system.ref("root/first")
        system.stop()
        await system.wait_stopped()
        assert system.post(ref, "x") is Posted.GONE
        assert not ref.alive
        assert system.snapshot().root.state == "down"
        assert system.snapshot().root.children == ()
        system.stop()
        with pytest.raises(Misuse):
            system.ref("root/first")


async def test_a_system_whose_body_fails_closes_and_raises_that_very_error() -> None:
    error = KeyError("x")

    async def scenario() -> None:
        async with open_system(two):
            raise error

    with pytest.raises(KeyError) as caught:
        await scenario()
    assert caught.value is error


async def test_a_system_that_is_told_to_stop_before_it_begins_starts_nobody() -> None:
    made: list[Probe] = []

    def tree(system: System) -> SupervisorSpec:
        with pytest.raises(Misuse):
            system.snapshot()
        system.stop()
        return SupervisorSpec("root", children=(ChildSpec("a", lambda: made.append(Probe()) or made[-1]),))

    async with open_system(tree) as system:
        await system.wait_stopped()
    assert made == []


async def test_a_system_that_is_told_to_stop_while_it_starts_stops() -> None:
    def tree(system: System) -> SupervisorSpec:
        class Quitter(Probe):
            async def started(self) -> None:
                system.stop()

        return SupervisorSpec("root", children=(ChildSpec("a", Quitter), ChildSpec("b", Probe)))

    async with open_system(tree) as system:
        await system.wait_stopped()
        assert system.snapshot().actors == 0


async def test_an_actor_may_hold_a_system_of_its_own() -> None:
    class Host(Actor):
        async def receive(self, message: object, sender: Sender) -> object:
            async with open_system(two) as inner:
                return await inner.ask(inner.ref("root/first"), message, within=1)

    async with open_system(SupervisorSpec("root", children=(ChildSpec("host", Host),))) as system:
        assert await system.ask(system.ref("root/host"), "x", within=1) == ("seen", "x")


async def test_a_child_cannot_be_started_in_a_system_that_has_closed() -> None:
    async with open_system(SupervisorSpec("root")) as system:
        handle = system.supervisor("root")
    with pytest.raises(Exception, match="is down"):
        handle.start_child(ChildSpec("a", Probe))


async def test_nothing_starts_where_no_system_is_open() -> None:
    run = Run(None, None)
    async with open_system(two) as system:
        life = system.ref("root/first").cell.life
        assert life is not None
        with pytest.raises(Misuse) as misuse:
            run.spawn(life)
    assert misuse.value.code == "kernel.not_running"
    run.abandon()


async def test_a_tree_that_cannot_be_planted_opens_nothing() -> None:
    spec = SupervisorSpec(
        "root",
        children=(SupervisorSpec("a", children=(ChildSpec("b", Probe),)), ChildSpec("a/b", Probe)),
    )

    async def scenario() -> None:
        async with open_system(spec):
            raise AssertionError("it has not started")

    with pytest.raises(Misuse):
        await scenario()


async def test_actors_are_tasks_with_the_names_of_their_paths() -> None:
    names: list[str] = []

    class Named(Actor):
        async def receive(self, message: object, sender: Sender) -> object:
            names.append(trio.lowlevel.current_task().name)
            return None

    async with open_system(SupervisorSpec("root", children=(ChildSpec("a", Named),))) as system:
        await system.ask(system.ref("root/a"), "x", within=1)
    assert names == ["root/a"]
