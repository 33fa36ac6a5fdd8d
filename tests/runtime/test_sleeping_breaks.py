"""Sessions that sleep, or are on the way, when a part of the daemon breaks or all of it stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from astrid.core.records import Kind
from astrid.messages.gateway import EndSession, Input
from astrid.runtime.gateway import Gateway
from astrid.runtime.sleeping import Asked, Step
from astrid.runtime.verify import Result, Trust, verify_home
from tests.fakes.runtime import running
from tests.fakes.sleepers import children, is_in, line, listen, opened, pass_time, sleep, talk, until


async def test_one_that_sleeps_outlives_the_guard(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path, broken=True) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)
        runtime.directory.by_path["root/interceptor"].cell.kill("by a test")

        async def up() -> bool:
            gate = runtime.directory.by_path["root/interceptor"]
            return gate.alive and gate.cell.life is not None and runtime.gateway.cell.life is not None

        await pass_time(mock_clock, 60)
        await until(up)
        await is_in(runtime, session, "asleep")
        assert runtime.world.facts.quota._bytes[session] > 0
        await listen(runtime, 100)
        assert (await talk(runtime))[-1]["turn"] == 2


@pytest.mark.parametrize("step", ["release", "checkpoint", "recall", "admit"])
async def test_a_gateway_that_breaks_on_the_way_leaves_nobody_between_sleep_and_waking(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async with running(tmp_path, broken=True) as runtime:
        session = await opened(runtime)
        last = (await talk(runtime))[-1]["seq"]
        if step != "release":
            await sleep(runtime, mock_clock)
            await listen(runtime, last)
        broke: list[str] = []
        post = Gateway._post

        def breaking(self: Gateway, path: str, message: Any, waiting: Any) -> None:
            post(self, path, message, waiting)
            if isinstance(waiting, Asked) and waiting.step is Step(step) and not broke:
                broke.append(step)
                raise RuntimeError("by a test")

        monkeypatch.setattr(Gateway, "_post", breaking)
        if step == "release":
            runtime.world.hub.unsubscribe(runtime.events)
            await pass_time(mock_clock)
        else:
            runtime.system.post(runtime.gateway, Input(session=session, turn=2, text="go", signer=b"", signature=b""))

        async def has_broken() -> bool:
            return bool(broke)

        async def settled() -> bool:
            mock_clock.jump(0.1)  # whoever broke is started again a little later
            await wait_all_tasks_blocked()
            found = await line(runtime, session) if runtime.gateway.cell.life is not None else None
            return runtime.gateway.cell.incarnation == 2 and (found is None or found.state == "asleep")

        await until(has_broken)
        await until(settled)
        found = await line(runtime, session)
        if found is not None:
            assert children(runtime) == []
            assert runtime.world.facts.quota.knows(session)
            await listen(runtime, 100)
            runtime._turn = found.turns
            events = await talk(runtime)
            assert events[-1]["stop_reason"] == "end_turn", events
        else:

            async def over() -> bool:
                return [kind for kind, _ in runtime.records()].count(Kind.SESSION_ENDED) == 1

            await until(over)
            assert (children(runtime), runtime.world.facts.principals) == ([], {})
            assert not runtime.world.facts.quota.knows(session)


async def test_no_number_of_a_request_is_used_again_by_a_gateway_that_broke(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late answer to the one that broke would pass for an answer to the next, about another session."""
    numbers: dict[int, list[int]] = {1: [], 2: []}
    post = Gateway._post

    def heard(self: Gateway, path: str, message: Any, waiting: Any) -> None:
        numbers[self.ctx.ref.cell.incarnation].append(message.id)
        post(self, path, message, waiting)

    monkeypatch.setattr(Gateway, "_post", heard)
    async with running(tmp_path, broken=True) as runtime:
        await opened(runtime)
        runtime.gateway.cell.kill("by a test")
        await pass_time(mock_clock, 5)
        await runtime.open_shared()
        assert numbers[2]
        assert max(numbers[1]) < min(numbers[2])


async def test_after_a_start_of_the_daemon_those_that_slept_are_gone_and_the_log_is_whole(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)
    async with running(tmp_path) as runtime:
        assert await line(runtime, session) is None
        assert runtime.world.facts.rows[session] > 0
        assert runtime.world.facts.quota.knows(session)
    assert verify_home(runtime.world.home.root, Trust(), is_own=True).result is Result.SOUND


async def test_one_that_is_ended_while_the_gate_lets_it_go_is_ended_and_does_not_sleep(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        post = Gateway._post
        ended: list[bytes] = []

        def ending(self: Gateway, path: str, message: Any, waiting: Any) -> None:
            post(self, path, message, waiting)
            if isinstance(waiting, Asked) and waiting.step is Step.RELEASE and not ended:
                ended.append(waiting.session)
                self.ctx.post(runtime.gateway, EndSession(session=session, reason="asked"))

        monkeypatch.setattr(Gateway, "_post", ending)
        runtime.world.hub.unsubscribe(runtime.events)
        await pass_time(mock_clock)

        async def is_gone() -> bool:
            return await line(runtime, session) is None

        await until(is_gone)
        assert ended == [session]
        assert (children(runtime), len(runtime.world.dormitory)) == ([], 0)
        assert not runtime.world.facts.quota.knows(session)
