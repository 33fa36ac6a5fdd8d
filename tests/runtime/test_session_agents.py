"""Sessions that follow a sub-agent's definition: its prompt, its tools, and of what is granted what it asks for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from astrid.core.grants import Mode
from astrid.core.records import Kind
from astrid.core.tokens import Grant, Permission
from astrid.messages.gate import Failed
from astrid.messages.gateway import OpenSession
from astrid.runtime import opening
from tests.fakes.runtime import Runtime, running
from tests.fakes.shared_model import NAME
from tests.fakes.sleepers import actor, listen, sleep
from tests.runtime.test_fleets import fleet_of, opened

WRITE = ("c1", "write_file", '{"file_path": "made.txt", "content": "x"}')


async def tried_to_write(runtime: Runtime) -> list[str]:
    """What became of a write that the model came up with: the codes of denials."""
    runtime.model.says = [WRITE]
    await runtime.say("go")
    return [event["code"] for event in await runtime.until("turn_complete") if event["event"] == "denied"]


def writes(runtime: Runtime, session: bytes) -> list[Grant]:
    """The grants in the session's tokens by which it may write."""
    tokens = [runtime.world.wallet.verified(raw) for raw in actor(runtime, session)._tokens]
    return [grant for one in tokens for grant in one.leaf.grants if grant.perms & Permission.WRITE]


async def test_it_has_the_prompt_and_the_tools_of_its_definition_and_no_others(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.AUTONOMOUS)
        await runtime.open_shared(mode="autonomous", agent="explorer")
        await runtime.say("go")
        await runtime.until("turn_complete")
        [asked] = runtime.model.asked
        explorer = runtime.world.subagents["explorer"]
        assert asked.system.startswith(explorer.prompt.rstrip())
        assert {tool.name for tool in asked.tools} == set(explorer.tools)


async def test_a_tool_that_its_model_makes_up_is_one_it_has_no_token_for(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.AUTONOMOUS)
        session = await runtime.open_shared(mode="autonomous", interactive=False, agent="explorer")
        assert await tried_to_write(runtime)
        assert not (runtime.workspace / "made.txt").exists()
        assert not writes(runtime, session)


async def test_without_the_narrowing_its_token_would_let_it_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything(grants: Iterable[Grant], *_: Any) -> tuple[Grant, ...]:
        return tuple(grants)

    monkeypatch.setattr(opening, "child_grants", everything)
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.AUTONOMOUS)
        session = await runtime.open_shared(mode="autonomous", interactive=False, agent="explorer")
        assert await tried_to_write(runtime) == []
        assert (runtime.workspace / "made.txt").exists()
        assert writes(runtime, session)


async def test_who_wakes_still_follows_it(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.AUTONOMOUS)
        session = await runtime.open_shared(mode="autonomous", interactive=False, agent="explorer")
        await runtime.say("go")
        last = (await runtime.until("turn_complete"))[-1]["seq"]
        await sleep(runtime, mock_clock)
        await listen(runtime, last)
        assert await tried_to_write(runtime)
        assert not writes(runtime, session)
        assert {tool.name for tool in runtime.model.asked[-1].tools} == set(runtime.world.subagents["explorer"].tools)


async def test_in_a_fleet_it_has_the_purse_of_all_and_no_more_than_its_definition_asks_for(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        await runtime.open_shared()
        fleet = await fleet_of(runtime, 10_000_000)
        await opened(runtime, fleet.id, agent="explorer")
        assert await tried_to_write(runtime)
        assert not writes(runtime, runtime.session)
        permits: list[Any] = [body for kind, body in runtime.records() if kind is Kind.PERMIT]
        assert permits
        assert all(fleet.id in [row.block for row in permit.charges] for permit in permits)


async def test_a_name_that_nobody_has_is_refused_and_says_which_there_are(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        await runtime.open_shared()
        fields: dict[str, Any] = {"budget_micros": 0, "max_turns": 0, "interactive": True, "agent": "../coder"}
        answer = await runtime.by_ticket(
            lambda n: OpenSession(ticket=n, workspace=str(runtime.workspace), mode="guided", model=NAME, **fields)
        )
        assert isinstance(answer, Failed)
        assert answer.code == "agent.unknown"
        assert "explorer" in answer.advice
