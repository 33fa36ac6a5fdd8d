"""Sessions that fall asleep in the whole tree: who does, and what is left of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from astrid.core.grants import Mode
from astrid.core.records import Kind
from astrid.messages.gate import Release
from astrid.messages.gateway import Input, SessionOpened, Taken
from astrid.runtime import dormant as dormant_module
from astrid.runtime import sessions as sessions_module
from astrid.runtime.gateway import Gateway
from tests.fakes.runtime import running, turn
from tests.fakes.sleepers import IDLE, ask, children, is_in, line, listen, opened, pass_time, sleep, states, talk


async def test_an_idle_session_leaves_nothing_but_its_record(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)
        world = runtime.world
        assert children(runtime) == []
        assert world.facts.principals == {}
        assert len(world.dormitory) == 1
        assert session not in world.hub._kept
        assert [path for path in runtime.directory.by_path if path.startswith("root/sessions/")] == []
        assert all(ref.alive for ref in runtime.directory.by_id.values())
        gateway: Any = runtime.gateway.cell.life
        gate: Any = runtime.directory.by_path["root/interceptor"].cell.life
        assert (len(gateway._actor._sessions._roster), gateway._actor._waiting) == (0, {})
        assert gate._actor._senders == {}
        assert set(gate._actor._owed) == {runtime.gateway.id}
        assert [kind for kind, _ in runtime.records()].count(Kind.SESSION_ENDED) == 0


async def test_whoever_is_listened_to_stays_awake(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await talk(runtime)
        await pass_time(mock_clock)
        assert await states(runtime) == ["idle"]


async def test_whoever_was_told_something_a_moment_ago_stays_awake(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await pass_time(mock_clock, 0.9 * IDLE)
        await talk(runtime)
        runtime.world.hub.unsubscribe(runtime.events)
        await pass_time(mock_clock, 0.9 * IDLE)
        assert await states(runtime) == ["idle"]
        await pass_time(mock_clock, 0.6 * IDLE)
        await is_in(runtime, session, "asleep")


async def test_whoever_waits_for_a_person_is_not_even_asked_to_sleep(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    post = Gateway._post

    def heard(self: Gateway, path: str, message: Any, waiting: Any) -> None:
        asked.append(message)
        post(self, path, message, waiting)

    monkeypatch.setattr(Gateway, "_post", heard)
    async with running(tmp_path, idle_seconds=50) as runtime:
        await opened(runtime)
        await runtime.attend()
        runtime.model.says = [("c1", "bash", '{"command": "echo hello"}')]
        await runtime.say("go")
        await runtime.until("approval_needed")
        runtime.world.hub.unsubscribe(runtime.events)
        await pass_time(mock_clock, 0.9 * IDLE)
        assert await states(runtime) == ["running"]
        assert [one for one in asked if isinstance(one, Release)] == []


async def test_whoever_follows_a_script_keeps_their_place_in_it_and_never_sleeps(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        assert isinstance(await runtime.open([turn(text="one"), turn(text="two")]), SessionOpened)
        events = await talk(runtime)
        runtime.world.hub.unsubscribe(runtime.events)
        await pass_time(mock_clock)
        assert await states(runtime) == ["idle"]
        await listen(runtime, 100)
        events = await talk(runtime)
        assert [event["text"] for event in events if event["event"] == "message"] == ["two"]


async def test_no_more_sleep_than_there_are_beds(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dormant_module, "MAX_ASLEEP", 1)
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await sleep(runtime, mock_clock)
        await runtime.open_shared()
        runtime.world.hub.unsubscribe(runtime.events)
        await pass_time(mock_clock)
        assert sorted(await states(runtime)) == ["asleep", "idle"]


async def test_those_that_sleep_leave_room_for_others(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 1)
    async with running(tmp_path) as runtime:
        first = await opened(runtime)
        await sleep(runtime, mock_clock)
        await runtime.open_shared()
        declined = await ask(runtime, Input(session=first, turn=1, text="x", signer=b"", signature=b""))
        assert declined.code == "session.too-many"
        await sleep(runtime, mock_clock)
        taken = await ask(runtime, Input(session=first, turn=1, text="x", signer=b"", signature=b""))
        assert taken == Taken(number=1)


async def test_after_a_week_a_session_is_over(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await sleep(runtime, mock_clock)
        await pass_time(mock_clock, dormant_module.LONGEST_SECONDS - 4 * IDLE)
        assert await states(runtime) == ["asleep"]
        await pass_time(mock_clock, 5 * IDLE)
        assert await line(runtime, session) is None
