"""A fleet: many sessions that spend from one purse, and nothing that gets round it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from astrid.core.grants import Mode
from astrid.core.records import Kind
from astrid.core.tokens import Grant, Scope, Token, verify_chain
from astrid.daemon.fleets import mint_fleet
from astrid.errors import TokenError
from astrid.hosts.session import Session
from astrid.messages.gate import Done, Failed
from astrid.messages.gateway import AddToken, OpenSession, SessionOpened
from astrid.runtime import opening
from astrid.runtime.opening import Opener
from astrid.wire import params as p
from tests.fakes.authority import token
from tests.fakes.runtime import Json, Runtime, running
from tests.fakes.shared_model import NAME

COST = 7  # micro-dollars, of each call of the shared model


def permits(runtime: Runtime) -> list[Any]:
    return [body for kind, body in runtime.records() if kind is Kind.PERMIT]


async def fleet_of(runtime: Runtime, purse: int, mode: Mode = Mode.GUIDED) -> Token:
    """A fleet in the workspace, kept as the daemon keeps it."""
    asked = p.CreateFleet(workspace=str(runtime.workspace), mode=mode.value, purse_micros=str(purse))
    raw = mint_fleet(runtime.world, asked)
    kept = await runtime.by_ticket(lambda n: AddToken(ticket=n, token=raw, source="fleet"))
    assert isinstance(kept, Done)
    return verify_chain(raw, runtime.world.identity.roots)


async def opened(runtime: Runtime, fleet: bytes, **fields: Any) -> SessionOpened | Failed:
    given: dict[str, Any] = {"workspace": str(runtime.workspace), "mode": "guided", "interactive": True} | fields
    answer = await runtime.by_ticket(
        lambda n: OpenSession(ticket=n, model=NAME, budget_micros=0, max_turns=0, fleet=fleet, **given)
    )
    if isinstance(answer, SessionOpened):
        runtime.session, runtime._turn, runtime._behind = answer.session, 0, []
        runtime.events, _ = runtime.world.hub.subscribe(answer.session, 0)
    return answer


async def task(runtime: Runtime, fleet: bytes) -> list[Json]:
    """One session, one turn; how that went."""
    assert isinstance(await opened(runtime, fleet), SessionOpened)
    await runtime.say("go")
    return await runtime.until("turn_complete")


def codes(events: list[Json]) -> list[str]:
    return [event["code"] for event in events if event["event"] == "denied"]


async def priced(runtime: Runtime) -> int:
    """What a call of the shared model sets aside."""
    await runtime.grant(Mode.GUIDED)
    await runtime.open_shared(interactive=False)  # as a session of a fleet is
    await runtime.say("go")
    await runtime.until("turn_complete")
    return permits(runtime)[0].micros


async def test_the_sessions_of_a_fleet_spend_together_what_its_purse_holds_and_no_more(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        dear = await priced(runtime)
        fleet = await fleet_of(runtime, dear + COST)
        assert [codes(await task(runtime, fleet.id)) for _ in range(3)] == [[], [], ["budget.exceeded"]]
        assert runtime.world.facts.ledger.purses[fleet.id].spent == 2 * COST
        chains = [[row.block for row in permit.charges] for permit in permits(runtime)[1:]]
        assert all(chain[1] == fleet.id and len(chain) == 3 for chain in chains)


async def test_without_the_block_of_the_fleet_its_sessions_would_spend_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as runtime:
        dear = await priced(runtime)
        fleet = await fleet_of(runtime, dear + COST)
        around = Opener._base
        monkeypatch.setattr(Opener, "_base", lambda self, place, mode, _: around(self, place, mode, b""))
        assert [codes(await task(runtime, fleet.id)) for _ in range(3)] == [[], [], []]


async def test_after_a_restart_a_fleet_goes_on_with_what_is_left_in_its_purse(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        dear = await priced(runtime)
        fleet = await fleet_of(runtime, dear + COST)
        assert codes(await task(runtime, fleet.id)) == []
    async with running(tmp_path) as runtime:
        await runtime.open_shared()  # the model is known to this start, too
        assert [codes(await task(runtime, fleet.id)) for _ in range(2)] == [[], ["budget.exceeded"]]


async def test_a_fleets_session_asks_nobody_and_presents_no_chain_beside_the_fleets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[bytes, ...]] = []

    def session(**given: Any) -> Session:
        held.append(given["tokens"])
        return Session(**given)

    monkeypatch.setattr(opening, "Session", session)
    async with running(tmp_path) as runtime:
        await priced(runtime)
        single = token(
            grants=(Grant("net://443/com/example", 1, 0, 1, b""),),
            aud=runtime.aud,
            workspace=b"",
            scope=Scope.ALWAYS,
            tainted_ok=False,
            not_before=0,
            expires=2**64 - 1,
        )
        kept = await runtime.by_ticket(lambda n: AddToken(ticket=n, token=single.raw, source="file"))
        assert isinstance(kept, Done)
        fleet = await fleet_of(runtime, 10**9)
        for one in (b"", fleet.id):
            assert isinstance(await opened(runtime, one, interactive=True), SessionOpened)
            [principal] = [each for each in runtime.world.facts.principals.values() if each.session == runtime.session]
            assert principal.asks is (not one)
    assert [len(tokens) for tokens in held[1:]] == [2, 1]


@pytest.mark.parametrize("what", ["unknown", "elsewhere", "another mode"])
async def test_a_session_is_not_opened_on_a_fleet_that_is_not_its_own(tmp_path: Path, what: str) -> None:
    async with running(tmp_path) as runtime:
        await priced(runtime)
        await runtime.grant(Mode.AUTONOMOUS)
        fleet = await fleet_of(runtime, 10**9, Mode.GUIDED)
        (tmp_path / "other").mkdir()
        given: dict[str, Json] = {
            "elsewhere": {"workspace": str(tmp_path / "other")},
            "another mode": {"mode": "autonomous"},
        }
        refused = await opened(runtime, b"?" * 32 if what == "unknown" else fleet.id, **given.get(what, {}))
    assert isinstance(refused, Failed)
    assert refused.code == ("token.wider" if what == "another mode" else "fleet.no-token")


async def test_a_revoked_fleet_opens_no_session(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await priced(runtime)
        fleet = await fleet_of(runtime, 10**9)
        runtime.world.facts.revoked.add(fleet.id)
        refused = await opened(runtime, fleet.id)
    assert isinstance(refused, Failed)
    assert refused.code == "fleet.no-token"


async def test_no_fleet_is_made_where_nothing_was_granted_nor_of_more_than_was(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        asked = p.CreateFleet(workspace=str(runtime.workspace), mode="guided", purse_micros="1")
        with pytest.raises(TokenError, match="nothing that you signed"):
            mint_fleet(runtime.world, asked)
        await runtime.grant(Mode.GUIDED)
        fleet = await fleet_of(runtime, 2**64 - 1)
        assert fleet.leaf.purse == fleet.blocks[0].purse
        assert fleet.leaf.grants == fleet.blocks[0].grants


async def test_a_fleet_that_was_made_and_never_named_holds_no_money_and_lends_nothing(tmp_path: Path) -> None:
    """As one whose command line was killed before it wrote down which fleet it had made."""
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        forgotten = await fleet_of(runtime, 10**9)
        purses = runtime.world.facts.ledger.purses
        assert not any(purse.reserved or purse.spent for purse in purses.values())
        await runtime.open_shared(interactive=False)
        await runtime.say("go")
        assert codes(await runtime.until("turn_complete")) == []
        assert forgotten.id not in [row.block for permit in permits(runtime) for row in permit.charges]
        other = await fleet_of(runtime, 10**9)
        assert codes(await task(runtime, other.id)) == []
        assert [purses[one.id].spent if one.id in purses else 0 for one in (forgotten, other)] == [0, COST]
