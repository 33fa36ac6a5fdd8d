"""Sessions that wake in the whole tree: what they are then, and what may be done to them on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trio.testing import MockClock

from astrid.core.conversation import Text
from astrid.core.records import Kind
from astrid.messages.gateway import CancelTurn, EndSession, Input, Taken
from astrid.runtime.verify import Result, Trust, verify_home
from tests.fakes.runtime import running
from tests.fakes.sleepers import (
    actor,
    ask,
    children,
    is_in,
    line,
    listen,
    opened,
    pass_time,
    sleep,
    states,
    talk,
    until,
)

READ = ("c1", "read_file", '{"file_path": "a.txt"}')


async def test_who_wakes_goes_on_where_they_were(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        (runtime.workspace / "a.txt").write_text("what is in it")
        runtime.model.says = [READ]
        before = await talk(runtime, "remember this")
        await sleep(runtime, mock_clock)
        last = before[-1]["seq"]
        assert await listen(runtime, last) == last
        after = await talk(runtime, "and now?")
        assert next(event["seq"] for event in after if event["event"] != "text") == last + 1
        assert after[-1]["turn"] == 2
        parts = [part for one in runtime.model.asked[-1].messages for part in one.parts]
        said = [part.text for part in parts if isinstance(part, Text)]
        assert said == ["remember this", "all right", "and now?"]
        journal = [body for kind, body in runtime.records() if kind is Kind.JOURNAL]
        numbers = [number for body in journal for number in range(body.first, body.first + body.count)]  # type: ignore[attr-defined]
        assert numbers == list(range(1, len(numbers) + 1))
        found = await line(runtime, session)
        assert found is not None
        assert (found.turns, found.state, found.mode, found.model) == (2, "idle", "guided", "fake/shared")
    finding = verify_home(runtime.world.home.root, Trust(), is_own=True)
    assert finding.result is Result.SOUND, finding


async def test_who_slept_again_and_again_is_still_the_same(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        keys: set[bytes] = set()
        for number in range(1, 4):
            events = await talk(runtime, f"turn {number}")
            assert events[-1]["turn"] == number
            keys.add(actor(runtime, session)._key)
            await sleep(runtime, mock_clock)
            await listen(runtime, events[-1]["seq"])
        assert len(keys) == 1
        assert [kind for kind, _ in runtime.records()].count(Kind.SESSION_STARTED) == 1


async def test_a_client_that_listens_to_one_asleep_misses_nothing_and_sees_its_gap(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        last = (await talk(runtime))[-1]["seq"]
        await sleep(runtime, mock_clock)
        assert await listen(runtime, 1) == last  # what was said before is not kept
        await pass_time(mock_clock)
        assert await states(runtime) == ["asleep"]
        events = await talk(runtime)
        numbered = [event["seq"] for event in events if event["event"] != "text"]
        assert numbered == list(range(last + 1, last + 1 + len(numbered)))


async def test_who_saw_untrusted_text_has_seen_it_when_they_wake(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime, "unsigned words")  # so the session is tainted
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        await talk(runtime, "more")
        permits = [body for kind, body in runtime.records() if kind is Kind.PERMIT]
        assert [body.tainted for body in permits] == [True, True]  # type: ignore[attr-defined]
        assert actor(runtime, session)._turn.label.tainted


async def test_only_the_next_turn_is_taken_by_one_that_sleeps_and_only_one(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)

        async def say(number: int) -> Any:
            return await ask(runtime, Input(session=session, turn=number, text="x", signer=b"", signature=b""))

        assert [(await say(number)).code for number in (0, 1, 3)] == ["session.turn"] * 3
        assert await say(2) == Taken(number=2)
        assert (await say(3)).code == "session.busy"
        await is_in(runtime, session, "idle")
        assert len(runtime.model.asked) == 2


async def test_a_turn_that_is_cancelled_before_the_session_is_awake_does_not_begin(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await sleep(runtime, mock_clock)
        await listen(runtime)
        await runtime.say("go")
        assert await ask(runtime, CancelTurn(session=session)) == Taken(number=0)
        events = await runtime.until("turn_complete")
        assert (events[-1]["stop_reason"], events[-1]["turn"]) == ("cancelled", 1)
        await is_in(runtime, session, "idle")
        assert runtime.model.asked == []
        runtime._turn = 0
        assert (await talk(runtime))[-1]["turn"] == 1


async def test_one_that_sleeps_can_be_ended_and_the_log_says_so(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)
        await listen(runtime)
        assert await ask(runtime, EndSession(session=session, reason="asked")) == Taken(number=1)
        assert (await runtime.until("session_ended"))[-1]["reason"] == "asked"
        assert await line(runtime, session) is None
        assert (await ask(runtime, EndSession(session=session, reason="asked"))).code == "session.unknown"
        assert len(runtime.world.dormitory) == 0

        async def recorded() -> bool:
            return [kind for kind, _ in runtime.records()].count(Kind.SESSION_ENDED) == 1

        await until(recorded)
        assert not runtime.world.facts.quota.knows(session)
        assert session not in runtime.world.facts.rows


async def test_one_that_is_being_woken_can_be_ended(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await sleep(runtime, mock_clock)
        await runtime.say("go")
        await ask(runtime, EndSession(session=session, reason="asked"))

        async def over() -> bool:
            return [kind for kind, _ in runtime.records()].count(Kind.SESSION_ENDED) == 1

        await until(over)
        assert (children(runtime), runtime.world.facts.principals, runtime.model.asked) == ([], {}, [])


async def test_cancelling_nothing_wakes_nobody(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await sleep(runtime, mock_clock)
        assert await ask(runtime, CancelTurn(session=session)) == Taken(number=0)
        assert await states(runtime) == ["asleep"]
