"""A session of a fleet that is resumed by another daemon is in its fleet again, and spends from that purse alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from trio.testing import MockClock

from astrid.daemon.histories import revival
from astrid.messages.gateway import Revive
from astrid.runtime.chronicle import PastSession
from astrid.wire import params as p
from tests.daemon.test_resuming import resumed
from tests.fakes.runtime import Runtime, running
from tests.fakes.sleepers import sleep
from tests.runtime.test_fleets import COST, codes, fleet_of, permits, priced, task

LITTLE = 1  # micro-dollars beside what a first call costs and sets aside: a longer conversation sets aside more


async def cut_off(folder: Path, clock: MockClock, *, more: int) -> tuple[bytes, bytes]:
    """A fleet, and its session that no daemon ended."""
    async with running(folder) as runtime:
        dear = await priced(runtime)
        fleet = await fleet_of(runtime, dear + more)
        assert codes(await task(runtime, fleet.id)) == []
        await sleep(runtime, clock)
        return fleet.id, runtime.session


async def goes_on(runtime: Runtime, session: bytes) -> list[str]:
    """Resume it for one turn more; what went wrong in that."""
    await runtime.open_shared()  # the model is known to this start, too
    await resumed(runtime, session, None)
    await runtime.say("go on")
    events = await runtime.until("turn_complete")
    return [event["code"] for event in events if event["event"] in ("denied", "error")]


async def test_it_spends_from_the_fleets_purse(tmp_path: Path, mock_clock: MockClock) -> None:
    fleet, session = await cut_off(tmp_path, mock_clock, more=10**9)
    async with running(tmp_path) as runtime:
        assert await goes_on(runtime, session) == []
        assert runtime.world.facts.ledger.purses[fleet].spent == 2 * COST
        assert [row.block for row in permits(runtime)[-1].charges][1] == fleet


async def test_it_spends_no_more_than_that_purse_holds(tmp_path: Path, mock_clock: MockClock) -> None:
    fleet, session = await cut_off(tmp_path, mock_clock, more=LITTLE)
    async with running(tmp_path) as runtime:
        assert "budget.exceeded" in await goes_on(runtime, session)
        assert runtime.world.facts.ledger.purses[fleet].spent == COST


async def test_without_its_fleet_it_would_spend_more(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, session = await cut_off(tmp_path, mock_clock, more=LITTLE)

    def alone(past: PastSession, rows: Sequence[bytes], wanted: p.ResumeSession) -> Revive:
        return msgspec.structs.replace(revival(past, rows, wanted), fleet=b"")

    monkeypatch.setattr("astrid.daemon.histories.revival", alone)
    async with running(tmp_path) as runtime:
        assert await goes_on(runtime, session) == []
        assert runtime.world.facts.ledger.purses[fleet].spent == COST


async def test_it_says_nothing_more_once_its_fleet_was_revoked(tmp_path: Path, mock_clock: MockClock) -> None:
    fleet, session = await cut_off(tmp_path, mock_clock, more=10**9)
    async with running(tmp_path) as runtime:
        before = len(permits(runtime))
        runtime.world.facts.revoked.add(fleet)
        assert "fleet.no-token" in await goes_on(runtime, session)
        assert len(permits(runtime)) == before
