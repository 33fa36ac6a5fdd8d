"""How many sub-agents work at once, how long, and that nothing of them is left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from astrid.core.records import Kind
from astrid.messages.gateway import CancelTurn, Declined, EndSession, Input, ListSessions, Taken
from tests.fakes.clock import FakeClock
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.minds import FOREVER, Minds, Said, calls, task
from tests.fakes.runtime import Runtime, kinds
from tests.runtime.test_subagents import minded, results

Parts = Mapping[str, Sequence[Said]]


@asynccontextmanager
async def timed(
    folder: Path,
    parts: Parts,
    *,
    log: FakeLog | None = None,
    limits: Mapping[str, int] | None = None,
    broken: bool = False,
) -> AsyncIterator[tuple[Runtime, Minds]]:
    """A session in virtual time: no thread writes its log, and so nothing waits for real time."""
    store = FakeStore(log or FakeLog())
    async with minded(folder, parts, limits=limits, clock=FakeClock(), store=store, broken=broken) as both:
        yield both


def several(count: int, child: Sequence[Said]) -> dict[str, Sequence[Said]]:
    """A session that wants so many tasks at once, each done by a child that plays ``child``."""
    names = [f"part {number}" for number in range(count)]
    return {"go": [calls(*map(task, names)), "done"], **dict.fromkeys(names, child)}


async def settled() -> None:
    """Everybody waits, and none of them for the log or for 20 ms."""
    await trio.sleep(1)
    await trio.testing.wait_all_tasks_blocked()


async def ask(runtime: Runtime, message: Any) -> Any:
    return await runtime.system.ask(runtime.gateway, message, within=30)


def left(runtime: Runtime) -> tuple[int, int, int]:
    """How many actors there are of sessions, how many principals, and how many calls in hand."""
    world = runtime.world
    actors = [
        path for path, ref in runtime.directory.by_path.items() if path.startswith("root/sessions/") and ref.alive
    ]
    return len(actors), len(world.facts.principals), len(world.facts.open_permits)


async def test_no_more_work_at_once_than_there_are_slots(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with timed(tmp_path, several(7, [FOREVER])) as (runtime, minds):
        await runtime.say("go")
        await settled()
        assert len(minds.thinking) == 5
        assert left(runtime)[:2] == (6, 6)


async def test_whoever_waits_for_a_slot_gets_it_when_one_is_free(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with timed(tmp_path, several(8, ["ready"])) as (runtime, minds):
        await runtime.say("go")
        await runtime.until("turn_complete")
        assert [one.content for one in results(minds, "go")] == ["ready"] * 8


async def test_beyond_the_queue_a_task_is_refused_and_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    limits = {"concurrent": 1, "queue": 2}
    async with timed(tmp_path, several(4, ["ready"]), limits=limits) as (runtime, minds):
        await runtime.say("go")
        await runtime.until("turn_complete")
        ends = [(one.content.partition(":")[0], one.is_error) for one in results(minds, "go")]
        assert ends == [("ready", False)] * 3 + [("agent.queue-full", True)]


@pytest.mark.parametrize("slots", [1, 2, 5])
async def test_nesting_does_not_deadlock_however_few_slots_there_are(
    tmp_path: Path, autojump_clock: MockClock, slots: int
) -> None:
    parts: dict[str, Sequence[Said]] = {
        "go": [calls(task("a"), task("b")), "done"],
        "a": [calls(task("aa"), task("ab")), "A"],
        "b": [calls(task("ba"), task("bb")), "B"],
        "aa": [calls(task("aaa")), "AA"],
        **{name: [name.upper()] for name in ("ab", "ba", "bb", "aaa")},
    }
    async with timed(tmp_path, parts, limits={"concurrent": slots}) as (runtime, minds):
        await runtime.say("go")
        await runtime.until("turn_complete")
        assert [one.content for one in results(minds, "go")] == ["A", "B"]
        assert left(runtime)[:2] == (1, 1)


async def test_a_child_that_waits_keeps_nobody_from_working(tmp_path: Path, autojump_clock: MockClock) -> None:
    parts = {"go": [calls(task("a")), "done"], "a": [calls(task("b")), "x"], "b": [FOREVER]}
    async with timed(tmp_path, parts, limits={"concurrent": 1}) as (runtime, minds):
        await runtime.say("go")
        await settled()
        assert minds.thinking == ["b"]


async def test_whoever_goes_on_after_its_own_sub_agents_waits_for_a_slot(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    parts: dict[str, Sequence[Said]] = {
        "go": [calls(task("a"), task("z")), "done"],
        "a": [calls(task("c", timeout_secs=60)), "A"],
        "z": [calls(task("y", timeout_secs=100)), "Z"],
        "c": [calls(task("d")), "x"],
        "y": [FOREVER],
    }
    async with timed(tmp_path, parts, limits={"concurrent": 1}) as (runtime, minds):
        await runtime.say("go")
        await trio.sleep(80)  # `c` had its time while `y` had the slot: its caller, `a`, may not go on yet
        assert (minds.thinking, len(minds.heard("a"))) == (["y"], 1)
        await runtime.until("turn_complete")
        assert [one.content for one in results(minds, "go")] == ["A", "Z"]
        assert len(minds.heard("a")) == 2
        await settled()
        assert left(runtime) == (1, 1, 0)


async def test_a_task_has_its_time_and_no_more(tmp_path: Path, autojump_clock: MockClock) -> None:
    parts = {"go": [calls(task("slow", timeout_secs=60)), "done"], "slow": [FOREVER]}
    async with timed(tmp_path, parts) as (runtime, minds):
        await runtime.say("go")
        await trio.sleep(59)
        assert minds.thinking == ["slow"]
        await trio.sleep(2)
        assert minds.thinking == []
        await runtime.until("turn_complete")
        assert results(minds, "go")[0].content.startswith("agent.timeout")
        await settled()
        assert (minds.thinking, left(runtime)) == ([], (1, 1, 0))


async def test_a_task_that_does_not_say_has_five_minutes(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with timed(tmp_path, several(1, [FOREVER])) as (runtime, minds):
        await runtime.say("go")
        await trio.sleep(299)
        assert minds.thinking == ["part 0"]
        await trio.sleep(2)
        assert minds.thinking == []


NEST: Parts = {
    "go": [calls(task("a"), task("b")), "done"],
    "a": [calls(task("c"), task("d")), "x"],
    "c": [calls(task("e")), "x"],
    **{name: [FOREVER] for name in ("b", "d", "e")},
}


async def a_nest(runtime: Runtime, minds: Minds) -> None:
    await runtime.say("go")
    await settled()
    assert sorted(minds.thinking) == ["b", "d", "e"]
    assert left(runtime)[:2] == (6, 6)


async def test_to_cancel_a_turn_ends_all_that_was_done_for_it_within_a_second(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with timed(tmp_path, NEST) as (runtime, minds):
        await a_nest(runtime, minds)
        assert isinstance(await ask(runtime, CancelTurn(session=runtime.session)), Taken)
        await trio.sleep(1)
        assert (minds.thinking, left(runtime)) == ([], (1, 1, 0))
        assert len(await ask(runtime, ListSessions())) == 1


async def test_to_end_a_session_ends_all_that_was_done_for_it_within_a_second(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    log = FakeLog()
    async with timed(tmp_path, NEST, log=log) as (runtime, minds):
        await a_nest(runtime, minds)
        await ask(runtime, EndSession(session=runtime.session, reason="asked"))
        await trio.sleep(1)
        assert (minds.thinking, left(runtime)) == ([], (0, 0, 0))
        assert await ask(runtime, ListSessions()) == ()
    started = kinds(log).count(Kind.SESSION_STARTED) + kinds(log).count(Kind.SUBAGENT_STARTED)
    assert started == kinds(log).count(Kind.SESSION_ENDED) == 6


async def test_a_sub_agent_that_a_person_ends_is_said_to_have_ended(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with timed(tmp_path, several(1, [FOREVER])) as (runtime, minds):
        await runtime.say("go")
        await settled()
        [child] = [one.session for one in await ask(runtime, ListSessions()) if one.session != runtime.session]
        await ask(runtime, EndSession(session=child, reason="asked"))
        await runtime.until("turn_complete")
        assert results(minds, "go")[0].content.startswith("agent.failed")


async def test_nobody_speaks_to_a_sub_agent(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with timed(tmp_path, several(1, [FOREVER])) as (runtime, _):
        await runtime.say("go")
        await settled()
        [child] = [one.session for one in await ask(runtime, ListSessions()) if one.session != runtime.session]
        answer = await ask(runtime, Input(session=child, turn=2, text="stop that", signer=b"", signature=b""))
        assert isinstance(answer, Declined)
        assert answer.code == "session.subagent"


async def test_a_sub_agent_is_listed_with_its_parent_and_what_it_and_its_own_cost(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    parts = {"go": [calls(task("a")), "done"], "a": [calls(task("b")), FOREVER], "b": ["x"]}
    async with timed(tmp_path, parts) as (runtime, _):
        await runtime.say("go")
        await settled()
        [child] = [line for line in await ask(runtime, ListSessions()) if line.parent]
        assert (child.parent, child.agent, child.state) == (runtime.session, "worker", "running")
        purses = runtime.world.facts.ledger.purses
        assert (purses[child.purse].spent, purses[b"session" + runtime.session].spent) == (14, 21)
