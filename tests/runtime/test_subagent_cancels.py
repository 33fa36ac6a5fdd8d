"""A turn that is cancelled under a tree of sub-agents, at whatever moment: within a second nothing of it is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio

from astrid.core.records import Kind
from astrid.kernel.testing import act_at_every_step
from astrid.messages.gateway import CancelTurn, EndSession
from astrid.messages.gateway import ListSessions as Sessions
from tests.fakes.journal import FakeLog
from tests.fakes.minds import FOREVER, Said, calls, task
from tests.fakes.runtime import Runtime, kinds
from tests.runtime.test_subagent_limits import ask, left, timed

CHAIN: dict[str, Sequence[Said]] = {
    "go": [calls(task("a")), "done"],
    "a": [calls(task("b")), "x"],
    "b": [calls(task("c")), "x"],
    "c": [FOREVER],
}
BUSH: dict[str, Sequence[Said]] = {
    "go": [calls(task("a"), task("b")), "done"],
    "a": [calls(task("c"), task("d")), "x"],
    "c": [calls(task("e")), "x"],
    **{name: [FOREVER] for name in ("b", "d", "e")},
}
STRIDE = 7  # where not every step is tried; a prime, so that no rhythm of the runtime hides the others


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


async def nothing_is_left(runtime: Runtime, thinking: list[str], sessions: int) -> None:
    assert (thinking, left(runtime)) == ([], (sessions, sessions, 0))
    facts = runtime.world.facts
    assert sum(purse.reserved for purse in facts.ledger.purses.values()) == 0
    assert len(await ask(runtime, Sessions())) == sessions


@pytest.mark.parametrize(
    ("parts", "slots", "stride", "ends"),
    [(CHAIN, 1, 1, False), (CHAIN, 1, STRIDE, True), (BUSH, 2, STRIDE, False), (BUSH, 2, STRIDE, True)],
    ids=["the turn of a chain", "the session of a chain", "the turn of a bush", "the session of a bush"],
)
def test_whenever_it_is_cancelled_nothing_of_a_tree_is_left_a_second_later(
    tmp_path: Path, parts: dict[str, Sequence[Said]], slots: int, stride: int, ends: bool
) -> None:
    runs = 0

    async def scenario(arm: Callable[[Callable[[], object]], None]) -> None:
        nonlocal runs
        runs += 1
        log = FakeLog()
        folder = tmp_path / str(runs)
        folder.mkdir()
        async with timed(folder, parts, log=log, limits={"concurrent": slots}) as (runtime, minds):
            stop = EndSession(session=runtime.session, reason="asked") if ends else CancelTurn(session=runtime.session)
            await runtime.say("go")
            before = handles()
            arm(lambda: runtime.system.post(runtime.gateway, stop))
            await trio.sleep(5)
            await ask(runtime, stop)
            await trio.sleep(1)
            await nothing_is_left(runtime, minds.thinking, 0 if ends else 1)
            assert handles() == before
        begun = kinds(log).count(Kind.SESSION_STARTED) + kinds(log).count(Kind.SUBAGENT_STARTED)
        assert begun == kinds(log).count(Kind.SESSION_ENDED)
        ended = sum(kind in (Kind.OUTCOME, Kind.OUTCOME_VOUCHED) for kind in kinds(log))
        assert kinds(log).count(Kind.PERMIT) == ended

    assert act_at_every_step(scenario, stride=stride) > 100
