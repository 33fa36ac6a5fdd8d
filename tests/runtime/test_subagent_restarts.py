"""A gateway that breaks under tasks: who was at work ends, the caller hears it, and what was held is free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from astrid.core.chain import decode_body, decode_frame
from astrid.core.records import Kind, OutcomeRecord, PermitRecord
from tests.fakes.journal import FakeLog
from tests.fakes.minds import FOREVER, Said, calls, task
from tests.fakes.runtime import Runtime, kinds
from tests.runtime.test_subagent_limits import left, settled, timed
from tests.runtime.test_subagents import results

LOST = "agent.lost"
# In one slot as in five: `a` waits for `c` and `d`, `b` and whoever else has a slot work, the others are queued.
PARTS: dict[str, Sequence[Said]] = {
    "go": [calls(task("a"), task("b")), calls(task("again"), task("once more")), "done"],
    "a": [calls(task("c"), task("d")), "x"],
    **{name: [FOREVER] for name in ("b", "c", "d")},
    "again": ["ready"],
    "once more": ["ready, too"],
}


def reserved(runtime: Runtime) -> int:
    return sum(purse.reserved for purse in runtime.world.facts.ledger.purses.values())


async def broken_under(runtime: Runtime, times: int = 1) -> None:
    for number in range(1, times + 1):
        assert runtime.gateway.cell.incarnation == number
        runtime.gateway.cell.kill("by a test")
        await trio.sleep(10)


@pytest.mark.parametrize("slots", [2, 5])
async def test_who_asked_for_a_task_hears_that_it_was_lost_and_goes_on(
    tmp_path: Path, autojump_clock: MockClock, slots: int
) -> None:
    async with timed(tmp_path, PARTS, limits={"concurrent": slots}, broken=True) as (runtime, minds):
        await runtime.say("go")
        await settled()
        assert "b" in minds.thinking
        await broken_under(runtime)
        await runtime.until("turn_complete")
        said = [(one.content.partition(":")[0], one.is_error) for one in results(minds, "go")]
        assert said == [(LOST, True), (LOST, True), ("ready", False), ("ready, too", False)]


@pytest.mark.parametrize("slots", [1, 2])
async def test_what_a_lost_task_held_is_free_and_nothing_of_it_runs_again(
    tmp_path: Path, autojump_clock: MockClock, slots: int
) -> None:
    log = FakeLog()
    async with timed(tmp_path, PARTS, log=log, limits={"concurrent": slots}, broken=True) as (runtime, minds):
        await runtime.say("go")
        await settled()
        assert reserved(runtime) > 0
        await broken_under(runtime)
        await runtime.until("turn_complete")  # in as few slots as before
        await settled()
        assert (minds.thinking, left(runtime), reserved(runtime)) == ([], (1, 1, 0), 0)
        heard = [(request.messages[0].parts[0], len(request.messages)) for request in minds.asked]
        assert all(heard.count(one) == 1 for one in heard)
    bodies = [decode_body(decode_frame(frame)) for frame in log.log]
    permits = [body.ref for body in bodies if isinstance(body, PermitRecord)]
    assert len(permits) == len(set(permits))
    assert sorted(permits) == sorted(body.ref for body in bodies if isinstance(body, OutcomeRecord))
    assert kinds(log).count(Kind.SUBAGENT_STARTED) == kinds(log).count(Kind.SESSION_ENDED) - 1


async def test_a_gateway_that_breaks_twice_leaves_no_more_than_one_that_breaks_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    parts = {**PARTS, "again": [FOREVER]}
    async with timed(tmp_path, parts, limits={"concurrent": 2}, broken=True) as (runtime, minds):
        await runtime.say("go")
        await settled()
        await broken_under(runtime, times=2)
        await runtime.until("turn_complete")
        assert [one.content.partition(":")[0] for one in results(minds, "go")] == [LOST, LOST, LOST, "ready, too"]
        await settled()
        assert (minds.thinking, left(runtime), reserved(runtime)) == ([], (1, 1, 0), 0)
