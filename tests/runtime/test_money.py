"""What a model call sets aside, what it costs, and what people are told of it, through the whole tree."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrid.core.conversation import AnyStreamEvent, Done, ModelRequest, TextDelta, Usage, encode_request
from astrid.core.grants import Mode
from astrid.core.money import VENDOR_PREAMBLE_TOKENS, Price
from astrid.core.records import Kind
from astrid.errors import ModelError
from astrid.hosts.model import ModelServer
from astrid.runtime.catalogue import Catalogue
from astrid.runtime.parts import Brain
from tests.fakes.runtime import Runtime, running, turn

PRICE = Price(
    input_micros_per_million=1_000_000,
    output_micros_per_million=2_000_000,
    cache_write_micros_per_million=3_000_000,
    cache_read_micros_per_million=500_000,
)


class Billed:
    """A model that puts what it is asked into its cache, and answers with what the test says it used."""

    name, price, scripted = "billed/model", PRICE, False

    def __init__(self, *said: Usage | ModelError) -> None:
        self.said = list(said)
        self.asked: list[bytes] = []

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[AnyStreamEvent], None]:
        self.asked.append(encode_request(request))
        said = self.said.pop(0)
        if isinstance(said, ModelError):
            raise said
        yield self._say(said)

    async def _say(self, usage: Usage) -> AsyncGenerator[AnyStreamEvent, None]:
        yield TextDelta(text="a word")
        yield usage
        yield Done(stop_reason="end_turn")


@asynccontextmanager
async def with_model(
    folder: Path, patch: pytest.MonkeyPatch, model: Billed, *, workspace_usd: str = "", **options: Any
) -> AsyncIterator[Runtime]:
    """A runtime whose sessions all have this model, with a session open."""
    brain = Brain(model.name, "model:billed", ModelServer(model), scripted=False, context_tokens=100_000)
    patch.setattr(Catalogue, "brain", lambda self, name: brain)
    async with running(folder) as runtime:
        catalogue: Any = runtime.world.catalogue
        table = msgspec.structs.replace(catalogue._config.budget, workspace_max_usd=workspace_usd)
        catalogue._config = msgspec.structs.replace(catalogue._config, budget=table)
        await runtime.grant(Mode.SAFE)
        await runtime.open([turn()], mode="safe", **options)
        yield runtime


def bodies(runtime: Runtime, kind: Kind) -> list[Any]:
    return [body for of, body in runtime.records() if of is kind]


async def test_a_model_call_sets_aside_its_bytes_at_the_dearest_rate_of_input_and_its_longest_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Billed(Usage(input_tokens=10, output_tokens=5, cache_write_tokens=100, cache_read_tokens=40))
    async with with_model(tmp_path, monkeypatch, model) as runtime:
        await runtime.say("go")
        await runtime.until("turn_complete")
        (permit,), (outcome,) = bodies(runtime, Kind.PERMIT), bodies(runtime, Kind.OUTCOME)
    [asked] = model.asked
    longest = json.loads(asked)["max_tokens"]
    assert permit.micros == (len(asked) + VENDOR_PREAMBLE_TOKENS) * 3 + longest * 2
    assert outcome.spent == 10 + 100 * 3 + 40 // 2 + 5 * 2


@pytest.mark.parametrize(("effect", "paid"), [("none", False), ("maybe", True), ("done", True)])
async def test_a_model_call_that_fails_is_free_only_where_nothing_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effect: Any, paid: bool
) -> None:
    model = Billed(ModelError("model.refused", "it will not", effect=effect))
    async with with_model(tmp_path, monkeypatch, model) as runtime:
        await runtime.say("go")
        events = await runtime.until("turn_complete")
        (permit,), (outcome,) = bodies(runtime, Kind.PERMIT), bodies(runtime, Kind.OUTCOME)
    assert outcome.spent == (permit.micros if paid else 0)
    assert [one["spent_micros"] for one in events if one["event"] == "budget"] == [str(outcome.spent)]


async def test_after_each_call_that_costs_people_are_told_what_the_session_spent_of_its_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Billed(*[Usage(input_tokens=100_000, output_tokens=0)] * 2)
    async with with_model(tmp_path, monkeypatch, model, budget=1_000_000) as runtime:
        for spent in ("100000", "200000"):
            await runtime.say("go")
            [told] = [one for one in await runtime.until("turn_complete") if one["event"] == "budget"]
            assert (told["spent_micros"], told["reserved_micros"], told["cap_micros"]) == (spent, "0", "1000000")


async def test_each_purse_that_fills_up_to_the_mark_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Billed(*[Usage(input_tokens=300_000, output_tokens=0)] * 3)
    told: list[list[tuple[str, bool]]] = []
    async with with_model(tmp_path, monkeypatch, model, workspace_usd="0.35", budget=1_000_000) as runtime:
        for _ in range(2):
            await runtime.say("go")
            events = await runtime.until("turn_complete")
            told.append([(one["purse"], bool(one["token_id"])) for one in events if one["event"] == "budget_warning"])
    assert told == [[("workspace", False)], []]


async def test_the_token_that_a_session_draws_on_warns_by_its_name_beside_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Billed(Usage(input_tokens=850_000, output_tokens=0))
    async with with_model(tmp_path, monkeypatch, model, budget=1_000_000) as runtime:
        await runtime.say("go")
        events = await runtime.until("turn_complete")
        (permit,) = bodies(runtime, Kind.PERMIT)
    warned = {one["purse"]: one for one in events if one["event"] == "budget_warning"}
    assert set(warned) == {"session", "token"}
    assert warned["token"]["token_id"] == f"token:{permit.token.hex()}"
    names = [one["event"] for one in events]
    assert names.index("budget_warning") < names.index("turn_complete")
