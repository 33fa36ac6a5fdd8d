"""What sessions may do that slept: what was revoked, spent and answered before, and meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from astrid.core.approval import Verdict
from astrid.core.canon import Domain
from astrid.core.facts import LAST_BYTES_PER_SESSION, LOG_BYTES_PER_SESSION
from astrid.core.grants import Mode
from astrid.core.install import Revocation, sign_statement
from astrid.core.tokens import verify_chain
from astrid.messages.gate import Done
from astrid.messages.gateway import RevokeToken
from tests.fakes.home import USER
from tests.fakes.runtime import Runtime, running
from tests.fakes.sleepers import actor, children, listen, opened, sleep, states, talk


def revocation(runtime: Runtime, target: bytes, kind: str) -> bytes:
    return sign_statement(Domain.REVOKE, Revocation(runtime.aud, target, kind, 1, USER.public), USER)  # type: ignore[arg-type]


async def revoke(runtime: Runtime, target: bytes, kind: str = "token") -> None:
    statement = revocation(runtime, target, kind)
    answer = await runtime.by_ticket(lambda n: RevokeToken(ticket=n, statement=statement))
    assert isinstance(answer, Done)


async def test_with_the_grant_revoked_nobody_wakes_and_that_is_said(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await sleep(runtime, mock_clock)
        [mode] = list(runtime.world.shelf.all())
        await revoke(runtime, mode.token.id)
        await listen(runtime)
        events = await talk(runtime)
        assert [event["event"] for event in events] == ["error", "turn_complete"]
        assert events[0]["code"] == events[1]["code"] == "token.no-grant"
        assert (await states(runtime), children(runtime)) == (["asleep"], [])
        await runtime.grant(Mode.GUIDED)  # by the user's own word it wakes
        runtime._turn = 0
        assert (await talk(runtime))[-1]["stop_reason"] == "end_turn"


@pytest.mark.parametrize("kind", ["token", "key"])
async def test_what_was_revoked_of_a_session_itself_stays_revoked_over_its_sleep(
    tmp_path: Path, mock_clock: MockClock, kind: str
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        mine = verify_chain(actor(runtime, session)._presented[0], runtime.world.identity.roots)
        await revoke(runtime, mine.id if kind == "token" else mine.holder, kind)
        awake = (await talk(runtime))[-1]
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        woken = (await talk(runtime))[-1]
        assert (woken["stop_reason"], woken["code"]) == (awake["stop_reason"], awake["code"])
        assert woken["stop_reason"] == "failed"
        assert len(runtime.model.asked) == 1


async def test_nobody_gets_more_of_the_log_or_of_their_purse_by_sleeping(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        facts = runtime.world.facts
        used = facts.quota._bytes[session]
        assert used > 0
        spent = {key: purse.spent for key, purse in facts.ledger.purses.items()}
        mine = verify_chain(actor(runtime, session)._presented[0], runtime.world.identity.roots)
        await sleep(runtime, mock_clock)
        assert facts.quota._bytes[session] == used
        await listen(runtime, 100)
        await talk(runtime)
        assert facts.quota._bytes[session] > used
        assert not facts.quota.has_room(session, LOG_BYTES_PER_SESSION + LAST_BYTES_PER_SESSION - used)
        assert set(facts.ledger.purses) == set(spent)
        assert all(facts.ledger.purses[key].spent > amount for key, amount in spent.items())
        assert facts.ledger.used[mine.id] == 2


def command(word: str) -> tuple[str, str, str]:
    """What is asked about each time."""
    return (f"c-{word}", "bash", json.dumps({"command": f"echo {word}"}))


WRITE = ("w1", "write_file", '{"file_path": "new.txt", "content": "hello"}')


async def deferred(runtime: Runtime, call: tuple[str, str, str]) -> dict[str, Any]:
    """Nobody is there, so a question stays open."""
    runtime.model.says = [call]
    events = await talk(runtime)
    return next(event for event in events if event["event"] == "deferred")


async def ran(runtime: Runtime, call: tuple[str, str, str]) -> bool:
    """Whether the call, proposed now, is run without a question."""
    runtime.model.says = [call]
    events = await talk(runtime)
    names = [event["event"] for event in events]
    assert ("tool_call_result" in names) is not ("deferred" in names or "denied" in names)
    return "tool_call_result" in names


@pytest.mark.parametrize("verdict", [Verdict.ONCE, Verdict.SESSION, Verdict.WORKSPACE])
async def test_a_yes_that_comes_while_it_sleeps_is_there_when_it_wakes(
    tmp_path: Path, mock_clock: MockClock, verdict: Verdict
) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime, Mode.SAFE)
        asked = await deferred(runtime, WRITE)
        await sleep(runtime, mock_clock)
        assert isinstance(await runtime.respond(asked, verdict), Done)
        await listen(runtime)
        await runtime.until("approval_settled")  # it is told to whoever listens, though nobody did
        assert await ran(runtime, WRITE)
        assert (runtime.workspace / "new.txt").read_text() == "hello"


async def test_a_no_that_comes_while_it_sleeps_is_none(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime, Mode.SAFE)
        asked = await deferred(runtime, WRITE)
        await sleep(runtime, mock_clock)
        assert isinstance(await runtime.respond(asked, Verdict.DENY), Done)
        await listen(runtime, 100)
        assert not await ran(runtime, WRITE)


async def test_a_once_that_was_used_is_not_there_again_when_it_wakes(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await runtime.respond(await deferred(runtime, command("one")), Verdict.ONCE)
        assert await ran(runtime, command("one"))
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        assert not await ran(runtime, command("one"))


async def test_a_once_that_was_not_used_is_there_once_when_it_wakes(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await runtime.respond(await deferred(runtime, command("one")), Verdict.ONCE)
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        assert await ran(runtime, command("one"))
        assert not await ran(runtime, command("one"))


async def test_a_yes_for_the_session_holds_for_all_of_it_and_for_no_other(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime, Mode.SAFE)
        await runtime.respond(await deferred(runtime, WRITE), Verdict.SESSION)
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        assert await ran(runtime, WRITE)
        (runtime.workspace / "new.txt").unlink()
        await runtime.open_shared(mode="safe")
        assert not await ran(runtime, WRITE)


async def test_two_noes_hold_over_a_sleep(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        for word in ("one", "two"):
            await runtime.respond(await deferred(runtime, command(word)), Verdict.DENY)
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        runtime.model.says = [command("three")]
        events = await talk(runtime)
        assert [event["code"] for event in events if event["event"] == "denied"] == ["approval.said-no"]


async def test_another_folder_in_the_place_of_its_own_is_not_its_workspace(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await sleep(runtime, mock_clock)
        runtime.workspace.rename(tmp_path / "gone")
        runtime.workspace.mkdir()
        await runtime.grant(Mode.GUIDED)
        await listen(runtime)
        events = await talk(runtime)
        assert [event.get("code") for event in events] == ["session.elsewhere"] * 2
        assert await states(runtime) == ["asleep"]
