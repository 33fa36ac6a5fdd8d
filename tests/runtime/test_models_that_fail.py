"""Models that fail, under a whole runtime: asked again, each time permitted, counted and paid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import trio
from trio.testing import MockClock

from astrid.core.chain import decode_body, decode_frame
from astrid.core.conversation import AnyStreamEvent, ModelRequest, TextDelta
from astrid.core.grants import Mode
from astrid.core.money import Price
from astrid.core.records import OutcomeRecord, PermitRecord
from astrid.errors import ModelError
from astrid.hosts.model import ModelServer
from astrid.messages.gateway import CancelTurn
from astrid.runtime.parts import Brain
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.runtime import Runtime, running
from tests.fakes.shared_model import SharedModel, shared_brain

TOKENS_MICROS = 7  # what an answer of the shared model costs
PATIENCE = 1_000


class FailingModel(SharedModel):
    """Fails as often as ``faults`` says, each time with the next of them; then it answers.

    An answer breaks off after a word; before that nothing was said.
    """

    def __init__(self, *faults: ModelError, until: float = 0.0) -> None:
        super().__init__()
        self.faults = list(faults)
        self.until = until  # overloaded up to then
        self.at: list[float] = []

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[AnyStreamEvent]]:
        self.at.append(trio.current_time())
        if trio.current_time() < self.until:
            raise ModelError("model.overloaded", "too much to do", effect="none", retry_after=None)
        if self.faults:
            self.asked.append(request)
            yield self._broken(self.faults.pop(0))
        else:
            async with super().stream(request) as stream:
                yield stream

    async def _broken(self, fault: ModelError) -> AsyncIterator[AnyStreamEvent]:
        yield TextDelta(text="half an ")
        raise fault


@asynccontextmanager
async def failing(folder: Path) -> AsyncIterator[tuple[Runtime, FakeLog]]:
    """A runtime in virtual time, and its log."""
    log = FakeLog()
    async with running(folder, store=FakeStore(log)) as runtime:
        await runtime.grant(Mode.GUIDED)
        yield runtime, log


async def asked(runtime: Runtime, model: FailingModel) -> list[dict[str, object]]:
    """One turn, up to its end."""
    runtime.model = model
    await runtime.open_shared()
    await runtime.say("do it")
    return await runtime.until("turn_complete", within=PATIENCE)


def paid(log: FakeLog) -> tuple[list[int], list[tuple[str, int]]]:
    """What each permit set aside, and how each call ended: what may have happened, and what it cost."""
    bodies = [decode_body(decode_frame(frame)) for frame in log.log]
    permits = [body.micros for body in bodies if isinstance(body, PermitRecord)]
    outcomes = [(body.effect, body.spent) for body in bodies if isinstance(body, OutcomeRecord)]
    return permits, outcomes


async def test_a_vendor_that_is_overloaded_for_a_minute_ends_no_turn(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with failing(tmp_path) as (runtime, _):
        model = FailingModel(until=trio.current_time() + 60)
        events = await asked(runtime, model)
    assert [event["event"] for event in events].count("retrying") == 4
    assert events[-1]["stop_reason"] == "end_turn"
    assert [round(after - before) for before, after in pairwise(model.at)] >= [2, 6, 20, 45]


async def test_every_attempt_has_a_permit_of_its_own_and_is_paid_as_it_ended(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    faults = (
        ModelError("model.rate-limited", "slowly", effect="none", retry_after=12.0),
        ModelError("model.stream-broken", "it broke", effect="maybe"),
        ModelError("model.timeout", "silence", effect="done"),
    )
    async with failing(tmp_path) as (runtime, log):
        events = await asked(runtime, FailingModel(*faults))
    permits, outcomes = paid(log)
    assert len(set(permits)) == 1, "the same request is worth the same"
    assert outcomes == [("none", 0), ("maybe", permits[1]), ("done", permits[2]), ("done", TOKENS_MICROS)]
    assert [event["text"] for event in events if event["event"] == "message"] == ["all right"]


async def test_an_attempt_that_the_budget_does_not_hold_is_not_made(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with failing(tmp_path) as (runtime, log):
        model = runtime.model = FailingModel(*[ModelError("model.stream-broken", "it broke", effect="maybe")] * 9)
        await runtime.open_shared(budget=40_000)
        await runtime.say("do it")
        events = await runtime.until("turn_complete", within=PATIENCE)
        permits, _ = paid(log)
    assert sum(permits) <= 40_000 < sum(permits) + permits[0]
    assert len(model.asked) == len(permits) < 5
    assert (events[-1]["stop_reason"], events[-1]["code"]) == ("failed", "budget.exceeded")


async def test_a_model_that_stands_in_is_permitted_recorded_and_paid_as_itself(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with failing(tmp_path) as (runtime, log):
        first, other = FailingModel(until=trio.current_time() + 1e6), SharedModel()
        other.name, other.price = "other/dear", Price(input_micros_per_million=10**7, output_micros_per_million=10**7)
        stands_in = Brain(other.name, "model-2:" + "6" * 32, ModelServer(other, place=1), False, 10_000)
        brain = msgspec.structs.replace(shared_brain(first), fallbacks=(stands_in,))
        brains: Any = runtime.world.catalogue
        brains._brains["chain"] = brain
        await runtime.open_as("chain")
        await runtime.say("do it")
        events = await runtime.until("turn_complete", within=PATIENCE)
        await runtime.say("and again")
        await runtime.until("turn_complete", within=PATIENCE)
    [told] = [event for event in events if event["event"] == "retrying"]
    assert (told["code"], told["attempt"], told["wait_ms"], told["model"]) == ("model.overloaded", 1, 0, "other/dear")
    assert events[-1]["stop_reason"] == "end_turn"
    assert len(first.at) == 2, "the session's own model is asked first in each turn"
    bodies = [decode_body(decode_frame(frame)) for frame in log.log]
    hosts = [(body.host_id, body.tool) for body in bodies if isinstance(body, PermitRecord)]
    assert hosts == [("fake/shared", "model"), ("other/dear", "model-2")] * 2
    assert paid(log)[1] == [("none", 0), ("done", 10 * TOKENS_MICROS)] * 2
    assert [request.model for request in other.asked] == ["other/dear"] * 2


async def test_nothing_is_asked_after_a_turn_was_stopped_in_a_wait(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with failing(tmp_path) as (runtime, _):
        model = runtime.model = FailingModel(until=trio.current_time() + 1e6)
        await runtime.open_shared()
        await runtime.say("do it")
        await runtime.until("retrying", within=PATIENCE)
        runtime.system.post(runtime.gateway, CancelTurn(session=runtime.session))
        [*_, end] = await runtime.until("turn_complete", within=PATIENCE)
        await trio.sleep(600)
    assert end["stop_reason"] == "cancelled"
    assert len(model.at) == 1
