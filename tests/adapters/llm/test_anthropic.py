"""Anthropic's models: recorded answers, failures, and what the vendor's library must not do behind our back."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from astrid.adapters.llm import connection
from astrid.adapters.llm.anthropic import AnthropicModel
from astrid.core.conversation import (
    AnyStreamEvent,
    Done,
    Message,
    ModelRequest,
    Reasoning,
    ReasoningDelta,
    Text,
    TextDelta,
    ToolCallReady,
    ToolDefinition,
    ToolResult,
    ToolUse,
    Usage,
)
from astrid.core.money import Price
from astrid.core.turn_answer import answer_parts, sound_parts
from astrid.errors import ConfigError, ModelError
from tests.fakes.anthropic_server import AnthropicServer, Reply, cut, fault, message_events, sse

pytest.importorskip("anthropic", reason="the extra is not installed")

VECTORS = Path(__file__).parents[2] / "vectors" / "llm"
FREE = Price(input_micros_per_million=0, output_micros_per_million=0)
KEY = "sk-ant-test-0123"
REQUEST = ModelRequest(
    model="anthropic/claude-m",
    system="",
    messages=(Message(role="user", parts=(Text(text="hi"),)),),
    tools=(ToolDefinition(name="retrieve_entity_info", description="", schema="{}"),),
    max_tokens=9,
)
START = {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}
BEGUN = sse(  # a count, and a word
    [START, {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "hello"}}]
)
SHORT = sse(
    message_events(
        {
            "content": [{"type": "text", "text": "hello"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 2},
        }
    )
)


@pytest.fixture
async def server(nursery: trio.Nursery) -> AnthropicServer:
    server = AnthropicServer()
    await nursery.start(server.run)
    return server


def model_at(server: AnthropicServer) -> AnthropicModel:
    return AnthropicModel("claude-m", price=FREE, api_key=KEY, base_url=server.url)


async def listen(model: AnthropicModel, request: ModelRequest = REQUEST) -> list[AnyStreamEvent]:
    async with model.stream(request) as events:
        return [event async for event in events]


async def failure(model: AnthropicModel) -> ModelError:
    """How a call fails.  The limit only keeps a defect from looking like a hang."""
    with trio.fail_after(10), pytest.raises(ModelError) as caught:
        await listen(model)
    return caught.value


# ---- recorded answers ---------------------------------------------------------------------------


def recorded() -> list[tuple[str, bytes]]:
    """Every recorded answer of the vendor as a stream; those that were not streamed are spelled as one."""
    answers: list[tuple[str, bytes]] = []
    for path in sorted(VECTORS.glob("*.json")):
        for number, exchange in enumerate(json.loads(path.read_text())["interactions"]):
            streamed = exchange["ctype"].startswith("text/event-stream")
            body = exchange["body"].encode() if streamed else sse(message_events(json.loads(exchange["body"])))
            answers.append((f"{path.stem}-{number}", body))
    return answers


RECORDED = recorded()


@pytest.mark.parametrize(("name", "body"), RECORDED, ids=[name for name, _ in RECORDED])
async def test_a_recorded_answer_gives_the_same_events_whole_and_in_pieces_of_seven_bytes(
    server: AnthropicServer, name: str, body: bytes
) -> None:
    server.replies += [Reply((body,)), Reply(cut(body, 7))]
    model = model_at(server)
    whole = await listen(model)
    assert whole == await listen(model)
    assert [event for event in whole if isinstance(event, Done)] == whole[-1:]


async def test_recorded_thoughts_are_reasoning_and_never_text(server: AnthropicServer) -> None:
    body = dict(RECORDED)["anthropic_model_thinking_part_stream-0"]
    server.replies.append(Reply((body,)))
    events = await listen(model_at(server))
    thoughts = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    kept, said = answer_parts(events)
    assert thoughts.startswith("This is a straightforward question about pedestrian safety")
    assert isinstance(kept, Reasoning)
    assert kept.text == thoughts
    assert isinstance(said, Text)
    assert said.text.endswith("Always prioritize safety over speed when crossing streets.")
    assert events[-2:] == [Usage(input_tokens=43, output_tokens=282), Done(stop_reason="end_turn")]


async def test_a_recorded_thought_is_given_back_to_the_vendor_byte_for_byte(server: AnthropicServer) -> None:
    exchange = json.loads((VECTORS / "anthropic_tool_with_thinking.json").read_text())["interactions"]
    server.replies += [Reply((dict(RECORDED)[f"anthropic_tool_with_thinking-{number}"],)) for number in range(2)]
    model = model_at(server)
    parts = sound_parts(answer_parts(await listen(model)), frozenset(), 10**6)
    assert parts is not None
    call_id = next(part.id for part in parts if isinstance(part, ToolUse))
    answered = ToolResult(id=call_id, content="Mexico", is_error=False)
    conversation = (Message(role="assistant", parts=parts), Message(role="user", parts=(answered,)))
    again = msgspec.structs.replace(REQUEST, messages=REQUEST.messages + conversation)
    assert isinstance((await listen(model, again))[-1], Done)
    assert server.seen[1].body["messages"][-2] == exchange[1]["request"]["messages"][1]


async def test_recorded_parallel_calls_come_in_order(server: AnthropicServer) -> None:
    server.replies.append(Reply(cut(dict(RECORDED)["multiple_parallel_tool_calls-0"], 100)))
    calls = [event for event in await listen(model_at(server)) if isinstance(event, ToolCallReady)]
    assert [json.loads(call.arguments) for call in calls] == [
        {"name": "Alice"},
        {"name": "Bob"},
        {"name": "Charlie"},
        {"name": "Daisy"},
    ]


async def test_recorded_cached_input_is_counted_apart_from_what_was_read_anew(server: AnthropicServer) -> None:
    server.replies.append(Reply((dict(RECORDED)["anthropic_cache_real_api-1"],)))
    usages = [event for event in await listen(model_at(server)) if isinstance(event, Usage)]
    assert usages[-1] == Usage(input_tokens=3, output_tokens=33, cache_write_tokens=418, cache_read_tokens=1111)
    assert usages[-1].context_tokens == 3 + 418 + 1111


def test_every_recording_names_its_source_and_its_licence() -> None:
    paths = list(VECTORS.glob("*.json"))
    assert {path.stem for path in paths} == {name.rpartition("-")[0] for name, _ in RECORDED}
    for path in paths:
        recording = json.loads(path.read_text())
        assert recording["source"]
        assert recording["licence"] in ("MIT", "Apache-2.0")


# ---- what leaves --------------------------------------------------------------------------------


async def test_one_call_is_one_request_on_one_connection_with_the_key_given(server: AnthropicServer) -> None:
    server.replies.append(Reply((SHORT,)))
    await listen(model_at(server))
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/messages")
    assert seen.body["model"] == "claude-m"
    assert seen.body["stream"] is True
    assert KEY in (seen.headers.get("x-api-key", ""), seen.headers.get("authorization", "").removeprefix("Bearer "))
    assert seen.headers["accept-encoding"] == "identity"
    await server.wait_alone()


HOSTILE = {
    "ANTHROPIC_API_KEY": "sk-other",
    "ANTHROPIC_AUTH_TOKEN": "other-token",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9/",
    "ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer other\nX-Api-Key: sk-other\nX-Evil: 1\n"
    "Content-Type: multipart/form-data\nAnthropic-Version: 1999-01-01",
    "ANTHROPIC_LOG": "debug",
    "ANTHROPIC_PROFILE": "other",
    "ANTHROPIC_CONFIG_DIR": "/nowhere",
    "ANTHROPIC_WEBHOOK_SIGNING_KEY": "other",
    "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content",
    "HTTP_PROXY": "http://127.0.0.1:9/",
    "HTTPS_PROXY": "http://127.0.0.1:9/",
    "ALL_PROXY": "http://127.0.0.1:9/",
    "http_proxy": "http://127.0.0.1:9/",
    "all_proxy": "http://127.0.0.1:9/",
    "NETRC": "/nowhere",
}


async def test_no_variable_of_the_environment_changes_a_request(
    server: AnthropicServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.replies += [Reply((SHORT,)), Reply((SHORT,))]
    await listen(model_at(server))
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING):
        await listen(model_at(server))
    plain, hostile = server.seen
    volatile = {"idempotency-key", "x-stainless-read-timeout"}
    assert {name: value for name, value in hostile.headers.items() if name not in volatile} == {
        name: value for name, value in plain.headers.items() if name not in volatile
    }
    assert hostile.body == plain.body
    assert hostile.path == plain.path
    assert not caplog.records
    assert {name: os.environ[name] for name in HOSTILE} == HOSTILE


async def test_a_redirect_is_not_followed(server: AnthropicServer) -> None:
    server.replies.append(Reply(status=307, headers=(("location", f"{server.url}/elsewhere"),)))
    error = await failure(model_at(server))
    assert (error.code, error.effect) == ("model.bad-request", "none")
    assert len(server.seen) == 1


async def test_a_lone_surrogate_is_refused_before_anything_is_sent(server: AnthropicServer) -> None:
    broken = Message(role="user", parts=(Text(text="a\ud800"),))
    request = ModelRequest(model=REQUEST.model, system="", messages=(broken,), tools=(), max_tokens=1)
    with pytest.raises(ModelError) as caught:
        await listen(model_at(server), request)
    assert (caught.value.code, caught.value.effect) == ("model.bad-request", "none")
    assert server.seen == []


# ---- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "effect"),
    [
        (400, "model.bad-request", "none"),
        (401, "model.auth", "none"),
        (402, "model.auth", "none"),
        (403, "model.auth", "none"),
        (404, "model.bad-request", "none"),
        (408, "model.timeout", "maybe"),
        (409, "model.unavailable", "none"),
        (413, "model.bad-request", "none"),
        (429, "model.rate-limited", "none"),
        (500, "model.unavailable", "maybe"),
        (503, "model.unavailable", "maybe"),
        (504, "model.unavailable", "maybe"),
        (529, "model.overloaded", "none"),
    ],
)
async def test_a_refusal_has_its_code_and_is_not_repeated(
    server: AnthropicServer, status: int, code: str, effect: str
) -> None:
    server.replies += [fault(status, "some_error", "no"), Reply((SHORT,))]
    error = await failure(model_at(server))
    assert (error.code, error.effect) == (code, effect)
    assert "no" in error.message
    assert len(server.seen) == 1
    await server.wait_alone()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("1e9", 86_400.0), ("-1", None), ("nan", None), ("soon", None), (None, None)],
)
async def test_the_wait_that_the_vendor_asks_for_is_told(
    server: AnthropicServer, header: str | None, seconds: float | None
) -> None:
    headers = [("retry-after", header)] if header is not None else []
    server.replies.append(fault(429, "rate_limit_error", "slow down", *headers))
    assert (await failure(model_at(server))).fields["retry_after"] == seconds


@pytest.mark.parametrize("ending", ["whole", "drop"])
@pytest.mark.parametrize(
    ("pieces", "effect"),
    [((), "maybe"), ((b"event: mess",), "maybe"), ((sse([START]),), "done"), ((SHORT[:-9],), "done")],
)
async def test_a_stream_that_breaks_off_is_an_error(
    server: AnthropicServer, pieces: tuple[bytes, ...], effect: str, ending: Any
) -> None:
    server.replies.append(Reply(pieces, ending=ending))
    error = await failure(model_at(server))
    assert (error.code, error.effect) == ("model.stream-broken", effect)


async def test_what_came_before_a_break_was_heard(server: AnthropicServer) -> None:
    server.replies.append(Reply((SHORT[: SHORT.index(b"event: content_block_stop")],), ending="drop"))
    async with model_at(server).stream(REQUEST) as events:
        assert await anext(events) == TextDelta(text="hello")
        with pytest.raises(ModelError):
            await anext(events)


async def test_a_fault_inside_the_stream_is_the_vendors(server: AnthropicServer) -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "too much"}}
    server.replies.append(Reply((sse([START, overloaded]),)))
    error = await failure(model_at(server))
    assert (error.code, error.effect) == ("model.overloaded", "done")


@pytest.mark.parametrize("at", ["before the stream", "in the stream"])
@pytest.mark.parametrize("lead", ["", "x" * 299])  # whole, and where the text is cut
async def test_a_vendor_that_repeats_the_key_does_not_have_it_kept(server: AnthropicServer, at: str, lead: str) -> None:
    complaint = {"type": "error", "error": {"type": "authentication_error", "message": f"{lead}{KEY} is no good"}}
    first = fault(401, "authentication_error", f"{lead}{KEY} is no good")
    server.replies.append(first if at == "before the stream" else Reply((sse([START, complaint]),)))
    error = await failure(model_at(server))
    assert error.code == "model.auth"
    shown = f"{error!r} {error} {error.fields} {error.advice}"
    assert not [n for n in range(len(KEY) - 6) if KEY[n : n + 7] in shown], shown


async def test_an_answer_that_is_no_stream_is_an_error(server: AnthropicServer) -> None:
    server.replies.append(Reply((b'{"content": []}',), content_type="application/json"))
    assert (await failure(model_at(server))).code == "model.stream-broken"


async def test_an_event_without_end_is_an_error(server: AnthropicServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_EVENT_BYTES", 100)
    server.replies.append(Reply((sse([START]), b"data: ", *(b"x" * 60,) * 3), ending="stall"))
    error = await failure(model_at(server))
    assert (error.code, error.effect) == ("model.bad-answer", "done")


async def test_an_answer_without_end_is_an_error(server: AnthropicServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 500)
    server.replies.append(Reply((sse([START]), *(sse([{"type": "ping"}]),) * 30), ending="stall"))
    assert (await failure(model_at(server))).code == "model.bad-answer"


async def test_a_refusal_that_breaks_off_is_an_error(server: AnthropicServer) -> None:
    server.replies.append(Reply((b'{"error',), status=400, ending="drop"))
    error = await failure(model_at(server))
    assert (error.code, error.effect) == ("model.stream-broken", "maybe")


async def test_nobody_at_the_address_means_that_nothing_was_sent() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    await listener.aclose()
    error = await failure(AnthropicModel("claude-m", price=FREE, api_key=KEY, base_url=url))
    assert (error.code, error.effect) == ("model.unavailable", "none")


async def test_a_server_that_hangs_up_without_a_word_may_have_acted(nursery: trio.Nursery) -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some(1000)
        await stream.aclose()

    listeners = await nursery.start(trio.serve_tcp, hang_up, 0)
    port = listeners[0].socket.getsockname()[1]
    error = await failure(AnthropicModel("claude-m", price=FREE, api_key=KEY, base_url=f"http://127.0.0.1:{port}"))
    assert (error.code, error.effect) == ("model.unavailable", "maybe")


async def wait_for_more(model: AnthropicModel, clock: trio.testing.MockClock, seconds: float) -> None:
    """Hear the first event, then wait for the next while ``seconds`` pass."""

    async def let_time_pass() -> None:
        await trio.testing.wait_all_tasks_blocked()
        clock.jump(seconds)

    async with trio.open_nursery() as nursery, model.stream(REQUEST) as events:
        assert await anext(events) == TextDelta(text="hello")
        nursery.start_soon(let_time_pass)
        await anext(events)


@pytest.mark.parametrize(("limit", "seconds"), [("SILENCE_SECONDS", 500.0), ("CALL_SECONDS", 5.0)])
async def test_neither_silence_nor_an_endless_call_is_waited_for(
    server: AnthropicServer,
    mock_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    seconds: float,
) -> None:
    monkeypatch.setattr(connection, limit, seconds)
    server.replies.append(Reply((BEGUN,), ending="stall"))
    with pytest.RaisesGroup(
        pytest.RaisesExc(ModelError, check=lambda error: error.code == "model.timeout" and error.effect == "done")
    ):
        await wait_for_more(model_at(server), mock_clock, seconds + 1)
    await server.left.wait()


async def test_a_server_that_never_answers_is_not_waited_for(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    asked = trio.Event()

    async def say_nothing(stream: trio.SocketStream) -> None:
        while await stream.receive_some(1000):
            asked.set()

    async def let_time_pass() -> None:
        await asked.wait()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(connection.SILENCE_SECONDS + 1)

    listeners = await nursery.start(trio.serve_tcp, say_nothing, 0)
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    nursery.start_soon(let_time_pass)
    with pytest.raises(ModelError) as caught:
        await listen(AnthropicModel("claude-m", price=FREE, api_key=KEY, base_url=url))
    assert caught.value.code == "model.timeout"


async def test_an_answer_can_be_left_while_more_of_it_waits_to_be_read(server: AnthropicServer) -> None:
    server.replies.append(Reply((BEGUN, *(sse([{"type": "ping"}]),) * 20), ending="stall", at_once=True))
    async with model_at(server).stream(REQUEST) as events:
        assert await anext(events) == TextDelta(text="hello")
    await server.left.wait()


async def test_cancelling_in_the_middle_of_an_answer_closes_the_connection(
    server: AnthropicServer, nursery: trio.Nursery
) -> None:
    server.replies.append(Reply((SHORT[:300],), ending="stall"))
    with trio.CancelScope() as scope:

        async def cancel_when_stalled() -> None:
            await server.stalled.wait()
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

        nursery.start_soon(cancel_when_stalled)
        await listen(model_at(server))
    assert scope.cancelled_caught
    await server.left.wait()


# ---- making one ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", " ", "sk-\n", "sk-é", "sk a", "x" * 600])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AnthropicModel("claude-m", price=FREE, api_key=key)
    assert caught.value.code == ("model.key-malformed" if key else "model.key-missing")
    assert not key.strip() or key not in caught.value.render()


@pytest.mark.parametrize(
    "url",
    [
        "http://api.anthropic.com",
        "http://127.0.0.1.evil.org",
        "ftp://127.0.0.1",
        "https://user:pw@host",
        "https://user@host",
        "https://",
        "//host",
        "host",
        "https://host?x=1",
        "https://host#x",
        "https://[::1",
        "https://host:99999",
    ],
)
def test_an_address_that_a_key_must_not_go_to_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AnthropicModel("claude-m", price=FREE, api_key=KEY, base_url=url)
    assert caught.value.code == "model.base-url"


@pytest.mark.parametrize(
    "url", ["https://proxy.example/v1", "http://127.0.0.1:80", "http://[::1]:8", "http://localhost"]
)
def test_an_address_with_encryption_or_on_this_machine_is_taken(url: str) -> None:
    assert AnthropicModel("claude-m", price=FREE, api_key=KEY, base_url=url).name == "anthropic/claude-m"


def test_without_the_library_there_is_advice_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(ConfigError) as caught:
        AnthropicModel("claude-m", price=FREE, api_key=KEY)
    assert caught.value.code == "model.extra-missing"
    assert "astrid[anthropic]" in caught.value.advice


def test_neither_the_model_nor_its_errors_show_the_key() -> None:
    model = AnthropicModel("claude-m", price=FREE, api_key=KEY)
    assert KEY not in repr(model)
    assert KEY not in str(vars(model))
