"""What every ``Model`` keeps to: the script and the vendor's adapter pass the same suite."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
import trio

from astrid.adapters.llm.script import load_script
from astrid.adapters.llm.scripted import ScriptedModel
from astrid.core.conversation import (
    AnyPart,
    AnyStreamEvent,
    Done,
    Message,
    ModelRequest,
    Text,
    TextDelta,
    ToolCallReady,
    ToolDefinition,
    ToolResult,
    ToolUse,
    Usage,
)
from astrid.core.money import Price
from astrid.errors import ModelError
from astrid.ports import Model
from tests.fakes.anthropic_server import AnthropicServer, Reply, cut, fault, message_events, sse
from tests.fakes.openai_answers import answer_chunks, chunk_stream, openai_complaint

PRICE = Price(input_micros_per_million=3_000_000, output_micros_per_million=15_000_000)
TEXT = "Let me look at the café \N{LINE SEPARATOR} first."


@dataclass(frozen=True)
class Answer:
    """What a model is to say."""

    text: str = ""
    calls: tuple[tuple[str, str, dict[str, Any]], ...] = ()  # id, name, arguments
    usage: tuple[int, int] = (7, 5)
    stop_reason: str = "end_turn"


TALK = Answer(text=TEXT)
CALLS = Answer(
    text=TEXT,
    calls=(
        ("a", "read_file", {"file_path": "x", "limit": 3}),
        ("b", "server:tool", {}),
        ("c", "read_file", {"file_path": "é\u2028", "deep": {"list": [1, 2.5, None]}}),
    ),
    usage=(400, 30),
    stop_reason="tool_use",
)


class Bench(Protocol):
    """Makes models that will give these answers."""

    def model(self, *answers: Answer) -> Model: ...

    def failing(self) -> Model: ...

    def reason(self, answer: Answer) -> str:
        """Why it stops, as far as its protocol tells."""
        ...

    async def wait_left(self) -> None:
        """Until whoever answered knows that nobody listens any more."""
        ...


class ScriptedBench:
    def model(self, *answers: Answer) -> Model:
        price = {"input_usd_per_million": "3", "output_usd_per_million": "15"}
        lines: list[dict[str, Any]] = [{"model": {"name": "m", "price": price}}]
        for answer in answers:
            calls = [{"id": use_id, "name": name, "arguments": given} for use_id, name, given in answer.calls]
            usage = {"input_tokens": answer.usage[0], "output_tokens": answer.usage[1]}
            said = {"text": answer.text, "tool_calls": calls, "usage": usage, "stop_reason": answer.stop_reason}
            lines.append(said)
        return ScriptedModel(load_script("\n".join(map(json.dumps, lines)), "contract"))

    def failing(self) -> Model:
        lines = ['{"model": {"name": "m"}}', '{"text": "x", "expect": {"last_text_contains": "not said"}}']
        return ScriptedModel(load_script("\n".join(lines), "contract"))

    def reason(self, answer: Answer) -> str:
        return answer.stop_reason

    async def wait_left(self) -> None:
        await trio.lowlevel.checkpoint()


class AnthropicBench:
    def __init__(self, server: AnthropicServer) -> None:
        self._server = server

    def _ready(self) -> Model:
        from astrid.adapters.llm.anthropic import AnthropicModel

        return AnthropicModel("claude-m", price=PRICE, api_key="sk-test", base_url=self._server.url)

    def model(self, *answers: Answer) -> Model:
        for answer in answers:
            content: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
            content += [
                {"type": "tool_use", "id": use_id, "name": name.replace(":", "_x3A_"), "input": arguments}
                for use_id, name, arguments in answer.calls
            ]
            usage = {"input_tokens": answer.usage[0], "output_tokens": answer.usage[1]}
            message = {"content": content, "stop_reason": answer.stop_reason, "usage": usage}
            self._server.replies.append(Reply(cut(sse(message_events(message)), 64), ending="whole"))
        return self._ready()

    def failing(self) -> Model:
        self._server.replies.append(fault(529, "overloaded_error", "too much"))
        return self._ready()

    def reason(self, answer: Answer) -> str:
        return answer.stop_reason

    async def wait_left(self) -> None:
        await self._server.wait_alone()


FINISH = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}


class OpenAIBench(AnthropicBench):
    def _ready(self) -> Model:
        from astrid.adapters.llm.openai import OpenAIModel

        return OpenAIModel("openai", "m", price=PRICE, api_key="sk-test", base_url=f"{self._server.url}/v1")

    def model(self, *answers: Answer) -> Model:
        for answer in answers:
            calls = [(use_id, name.replace(":", "_x3A_"), json.dumps(given)) for use_id, name, given in answer.calls]
            chunks = answer_chunks(answer.text, calls, answer.usage, FINISH.get(answer.stop_reason, "stop"))
            self._server.replies.append(Reply(cut(chunk_stream(chunks), 64), ending="whole"))
        return self._ready()

    def reason(self, answer: Answer) -> str:
        return "end_turn" if answer.stop_reason == "stop_sequence" else answer.stop_reason  # one word for both


@pytest.fixture(params=["scripted", "anthropic", "openai"])
async def bench(request: pytest.FixtureRequest, nursery: trio.Nursery) -> AsyncIterator[Bench]:
    if request.param == "scripted":
        yield ScriptedBench()
        return
    needed = "anthropic" if request.param == "anthropic" else "httpx2"
    pytest.importorskip(needed, reason="the extra is not installed")
    server = AnthropicServer() if request.param == "anthropic" else AnthropicServer(complain=openai_complaint)
    await nursery.start(server.run)
    yield AnthropicBench(server) if request.param == "anthropic" else OpenAIBench(server)
    await server.wait_alone()


def ask(model: Model, *parts: AnyPart, name: str | None = None) -> ModelRequest:
    """A request with a user message of ``parts``."""
    tools = tuple(
        ToolDefinition(name=tool, description="", schema='{"type":"object"}') for tool in ("read_file", "server:tool")
    )
    said = parts or (Text(text="go"),)
    return ModelRequest(
        model=name or model.name,
        system="be useful",
        messages=(Message(role="user", parts=said),),
        tools=tools,
        max_tokens=100,
    )


async def listen(model: Model, request: ModelRequest) -> list[AnyStreamEvent]:
    async with model.stream(request) as events:
        return [event async for event in events]


async def test_a_model_has_a_name_with_its_provider_and_a_price(bench: Bench) -> None:
    model = bench.model()
    provider, _, name = model.name.partition("/")
    assert provider in ("scripted", "anthropic", "openai")
    assert name
    assert model.price == PRICE
    assert model.scripted is (provider == "scripted")


async def test_text_comes_in_pieces_that_make_the_whole(bench: Bench) -> None:
    model = bench.model(TALK)
    pieces = [event.text for event in await listen(model, ask(model)) if isinstance(event, TextDelta)]
    assert "".join(pieces) == TEXT
    assert len(pieces) > 1
    assert all(pieces)


async def test_several_calls_come_whole_in_order_under_their_own_names(bench: Bench) -> None:
    model = bench.model(CALLS)
    calls = [event for event in await listen(model, ask(model)) if isinstance(event, ToolCallReady)]
    assert [(call.id, call.name, json.loads(call.arguments)) for call in calls] == list(CALLS.calls)


async def test_the_last_usage_is_what_was_counted(bench: Bench) -> None:
    model = bench.model(CALLS)
    usages = [event for event in await listen(model, ask(model)) if isinstance(event, Usage)]
    assert usages[-1] == Usage(input_tokens=400, output_tokens=30)


@pytest.mark.parametrize(
    "answer",
    [
        TALK,
        CALLS,
        Answer(calls=CALLS.calls[:1], stop_reason="tool_use"),
        Answer(text="x", stop_reason="max_tokens"),
        Answer(text="x", stop_reason="refusal"),
        Answer(text="x", stop_reason="stop_sequence"),
    ],
)
async def test_done_comes_once_and_last_with_the_reason(bench: Bench, answer: Answer) -> None:
    model = bench.model(answer)
    events = await listen(model, ask(model))
    assert [event for event in events if isinstance(event, Done)] == [Done(stop_reason=bench.reason(answer))]  # type: ignore[arg-type]
    assert isinstance(events[-1], Done)
    assert isinstance(events[-2], Usage)


async def test_the_conversation_goes_on_with_the_results(bench: Bench) -> None:
    model = bench.model(CALLS, TALK)
    request = ask(model)
    events = await listen(model, request)
    calls = [event for event in events if isinstance(event, ToolCallReady)]
    uses = tuple(ToolUse(id=call.id, name=call.name, arguments=call.arguments) for call in calls)
    results = tuple(ToolResult(id=call.id, content="", is_error=call.id == "b") for call in calls)
    messages = (
        *request.messages,
        Message(role="assistant", parts=(Text(text=TEXT), *uses)),
        Message(role="user", parts=results),
    )
    again = ModelRequest(
        model=model.name, system=request.system, messages=messages, tools=request.tools, max_tokens=100
    )
    assert isinstance((await listen(model, again))[-1], Done)


async def test_a_call_that_is_left_early_is_over_and_the_model_can_be_asked_again(bench: Bench) -> None:
    model = bench.model(TALK, TALK)
    async with model.stream(ask(model)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    await bench.wait_left()
    assert isinstance((await listen(model, ask(model)))[-1], Done)


async def test_a_cancelled_call_is_over_and_the_model_can_be_asked_again(bench: Bench) -> None:
    model = bench.model(TALK, TALK)
    heard: list[AnyStreamEvent] = []
    with trio.CancelScope() as scope:
        async with model.stream(ask(model)) as events:
            async for event in events:
                heard.append(event)
                if isinstance(event, TextDelta):
                    scope.cancel()
                await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert not any(isinstance(event, Done) for event in heard)
    await bench.wait_left()
    assert isinstance((await listen(model, ask(model)))[-1], Done)


async def test_a_failure_is_a_model_error_that_says_what_happened(bench: Bench) -> None:
    model = bench.failing()
    with pytest.raises(ModelError) as caught:
        await listen(model, ask(model))
    assert caught.value.code.startswith("model.")
    assert caught.value.effect == "none"


async def test_a_request_for_another_model_is_not_sent(bench: Bench) -> None:
    model = bench.model()
    with pytest.raises(ModelError) as caught:
        await listen(model, ask(model, name="other/model"))
    assert (caught.value.code, caught.value.effect) == ("model.wrong-model", "none")
