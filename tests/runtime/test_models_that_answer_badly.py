"""Models that answer nonsense, under a whole runtime: the turn goes on or ends clearly, and the money is exact."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from astrid.core.chain import decode_body, decode_frame
from astrid.core.conversation import (
    AnyStreamEvent,
    Done,
    ModelRequest,
    StopReason,
    TextDelta,
    ToolCallReady,
    ToolResult,
    Usage,
)
from astrid.core.grants import Mode
from astrid.core.records import OutcomeRecord, PermitRecord
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.runtime import Runtime, running
from tests.fakes.shared_model import SharedModel

AGREES_MICROS = 7  # what the last answer of each turn costs
READ = '{"file_path": "a.txt"}'


class OddModel(SharedModel):
    """Says these events first, and then that it is all right."""

    def __init__(self, *events: AnyStreamEvent) -> None:
        super().__init__()
        self._odd = list(events)

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[AnyStreamEvent]]:
        if self._odd:
            self.asked.append(request)
            odd, self._odd = self._odd, []
            yield self._said(odd)
        else:
            async with super().stream(request) as stream:
                yield stream

    async def _said(self, events: list[AnyStreamEvent]) -> AsyncIterator[AnyStreamEvent]:
        for event in events:
            yield event


async def turn(folder: Path, model: OddModel) -> tuple[list[dict[str, Any]], list[int], int]:
    """What people were told, what each model call cost, and what the first may have cost at most."""
    log = FakeLog()
    async with running(folder, store=FakeStore(log)) as runtime:
        (runtime.workspace / "a.txt").write_text("hello")
        await _granted(runtime, model)
        await runtime.say("do it")
        events = await runtime.until("turn_complete")
    bodies = [decode_body(decode_frame(frame)) for frame in log.log]
    permits = {body.ref: body for body in bodies if isinstance(body, PermitRecord) and body.host_kind == "model"}
    spent = [body.spent for body in bodies if isinstance(body, OutcomeRecord) and body.ref in permits]
    return events, spent, next(iter(permits.values())).micros


async def _granted(runtime: Runtime, model: OddModel) -> None:
    await runtime.grant(Mode.GUIDED)
    runtime.model = model
    await runtime.open_shared()


def ending(stop: StopReason = "end_turn", *, tokens_in: int = 10, out: int = 20) -> tuple[AnyStreamEvent, ...]:
    return Usage(input_tokens=tokens_in, output_tokens=out), Done(stop_reason=stop)


def results(model: OddModel) -> list[ToolResult]:
    """What the model was told of its calls."""
    return [part for part in model.asked[-1].messages[-1].parts if isinstance(part, ToolResult)]


async def test_an_empty_reply_ends_the_turn(tmp_path: Path, autojump_clock: MockClock) -> None:
    events, spent, _ = await turn(tmp_path, OddModel(*ending(out=0)))
    assert [event["event"] for event in events if event["event"] in ("message", "error")] == []
    assert (events[-1]["stop_reason"], spent) == ("end_turn", [10])


async def test_the_last_count_is_what_is_paid_where_it_was_more_before(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    more = Usage(input_tokens=500, output_tokens=500)
    _, spent, _ = await turn(tmp_path, OddModel(TextDelta(text="hi"), more, *ending()))
    assert spent == [30], "readers of vendors hand on what only grows; the host takes the last word"


async def test_a_count_below_nothing_is_none_and_the_call_is_paid_in_full(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    events, spent, most = await turn(tmp_path, OddModel(TextDelta(text="hi"), *ending(out=-1)))
    assert (events[-1]["stop_reason"], spent) == ("end_turn", [most])


async def test_a_reply_that_is_far_too_long_ends_the_turn_with_an_error_and_is_paid(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    long = TextDelta(text="token " * 1_000_000)
    events, spent, most = await turn(tmp_path, OddModel(long, *ending(out=1_000_000)))
    assert (events[-1]["stop_reason"], events[-1]["code"]) == ("failed", "turn.answer-unusable")
    assert spent == [1_000_010]
    assert spent[0] > most, "more than was set aside is booked truly"


@pytest.mark.parametrize("arguments", ["", "{", "[]", '{"file_path": "a.txt", "file_path": "b.txt"}', "x" * 100_000])
async def test_arguments_that_mean_nothing_are_told_and_the_turn_goes_on(
    tmp_path: Path, autojump_clock: MockClock, arguments: str
) -> None:
    model = OddModel(ToolCallReady(id="a", name="read_file", arguments=arguments), *ending("tool_use"))
    events, spent, _ = await turn(tmp_path, model)
    [result] = results(model)
    assert result.is_error
    assert "not one JSON object" in result.content
    assert (events[-1]["stop_reason"], spent) == ("end_turn", [30, AGREES_MICROS])


async def test_a_tool_that_was_invented_is_refused_and_the_turn_goes_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    model = OddModel(ToolCallReady(id="a", name="launch_rocket", arguments="{}"), *ending("tool_use"))
    events, spent, _ = await turn(tmp_path, model)
    [denied] = [event for event in events if event["event"] == "denied"]
    assert denied["tool"] == "launch_rocket"
    assert results(model)[0].is_error
    assert "launch_rocket" not in results(model)[0].content
    assert (events[-1]["stop_reason"], spent) == ("end_turn", [30, AGREES_MICROS])


async def test_two_calls_with_one_id_are_two_calls(tmp_path: Path, mock_clock: MockClock) -> None:
    calls = [ToolCallReady(id="same", name="read_file", arguments=READ) for _ in range(2)]
    model = OddModel(*calls, *ending("tool_use"))
    events, spent, _ = await turn(tmp_path, model)
    assert len({result.id for result in results(model)}) == 2
    assert all("hello" in result.content for result in results(model))
    assert (events[-1]["stop_reason"], spent) == ("end_turn", [30, AGREES_MICROS])
