"""OpenAI-compatible servers: recorded answers, failures, keys."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from astrid.adapters.llm import connection, openai
from astrid.adapters.llm.openai import OpenAIModel
from astrid.adapters.llm.openai_request import Dialect
from astrid.core.conversation import (
    AnyStreamEvent,
    Done,
    Message,
    ModelRequest,
    Reasoning,
    Text,
    TextDelta,
    ToolDefinition,
    ToolResult,
    ToolUse,
    Usage,
)
from astrid.core.money import Price
from astrid.core.turn_answer import answer_parts, sound_parts
from astrid.errors import ConfigError, ModelError
from tests.fakes.anthropic_server import AnthropicServer, Reply, cut
from tests.fakes.openai_answers import END, chunk_stream, counted, openai_complaint, said

pytest.importorskip("httpx2", reason="the extra is not installed")

VECTORS = Path(__file__).parents[2] / "vectors" / "llm" / "openai"
FREE = Price(input_micros_per_million=0, output_micros_per_million=0)
KEY = "sk-test-0123"
REQUEST = ModelRequest(
    model="local/m",
    system="",
    messages=(Message(role="user", parts=(Text(text="hi"),)),),
    tools=(ToolDefinition(name="get_capital", description="", schema="{}"),),
    max_tokens=9,
)
SHORT = chunk_stream([said({"content": "hello"}), said({}, "stop"), counted(1, 2)])


@pytest.fixture
async def server(nursery: trio.Nursery) -> AnthropicServer:
    server = AnthropicServer(complain=openai_complaint)
    await nursery.start(server.run)
    return server


def model_at(server: AnthropicServer, *, key: str = "", dialect: Dialect = openai.PLAIN) -> OpenAIModel:
    return OpenAIModel("local", "m", price=FREE, base_url=f"{server.url}/v1/", api_key=key, dialect=dialect)


async def listen(model: OpenAIModel, request: ModelRequest = REQUEST) -> list[AnyStreamEvent]:
    async with model.stream(request) as events:
        return [event async for event in events]


async def failure(model: OpenAIModel) -> ModelError:
    """How a call fails.  The limit only keeps a defect from looking like a hang."""
    with trio.fail_after(10), pytest.raises(ModelError) as caught:
        await listen(model)
    return caught.value


# ---- recorded answers ---------------------------------------------------------------------------


def recorded() -> list[tuple[str, Reply]]:
    """Every recorded chat completion, as it came."""
    return [
        (f"{path.stem}-{number}", Reply((exchange["body"].encode(),), content_type=exchange["ctype"]))
        for path in sorted(VECTORS.glob("*.json"))
        for number, exchange in enumerate(json.loads(path.read_text())["interactions"])
        if exchange["path"].endswith("/chat/completions")
    ]


RECORDED = recorded()


@pytest.mark.parametrize(("name", "reply"), RECORDED, ids=[name for name, _ in RECORDED])
async def test_a_recorded_answer_gives_the_same_events_whole_and_in_pieces_of_seven_bytes(
    server: AnthropicServer, name: str, reply: Reply
) -> None:
    pieces = Reply(cut(b"".join(reply.pieces), 7), content_type=reply.content_type)
    server.replies += [reply, pieces]
    model = model_at(server)
    whole = await listen(model)
    assert whole == await listen(model)
    assert [event for event in whole if isinstance(event, Done)] == whole[-1:]
    assert [event for event in whole if isinstance(event, Usage)]


async def test_a_recorded_call_and_its_result_go_back_as_the_vendors_own_client_sent_them(
    server: AnthropicServer,
) -> None:
    exchanges = json.loads((VECTORS / "run_stream_sync_streams_real_model.json").read_text())["interactions"]
    replies = dict(RECORDED)
    server.replies += [replies[f"run_stream_sync_streams_real_model-{number}"] for number in range(2)]
    model = model_at(server)
    parts = sound_parts(answer_parts(await listen(model)), frozenset(), 10**6)
    assert parts is not None
    [use] = [part for part in parts if isinstance(part, ToolUse)]
    answered = ToolResult(id=use.id, content="London", is_error=False)
    conversation = (Message(role="assistant", parts=parts), Message(role="user", parts=(answered,)))
    events = await listen(model, msgspec.structs.replace(REQUEST, messages=REQUEST.messages + conversation))
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "The capital of the UK is London."
    assert server.seen[1].body["messages"][1:] == exchanges[1]["request"]["messages"][1:]


async def test_recorded_calls_without_an_id_get_one_and_thinking_that_only_the_total_counts_is_paid(
    server: AnthropicServer,
) -> None:
    server.replies.append(dict(RECORDED)["compatible_api_with_tool_calls_without_id-0"])
    events = await listen(model_at(server))
    parts = sound_parts(answer_parts(events), frozenset(), 10**6)
    assert parts is not None
    [use] = [part for part in parts if isinstance(part, ToolUse)]
    assert (use.id, use.name, use.arguments) == ("call-1", "get_current_time", "{}")
    assert [event for event in events if isinstance(event, Usage)] == [Usage(input_tokens=35, output_tokens=109 - 35)]


async def test_recorded_reasoning_is_kept_and_given_back_to_a_server_that_wants_it(server: AnthropicServer) -> None:
    server.replies += [dict(RECORDED)["zai_thinking_stream-0"], Reply((SHORT,))]
    model = model_at(server, dialect=Dialect(wants_reasoning=True))
    parts = sound_parts(answer_parts(await listen(model)), frozenset(), 10**6)
    assert parts is not None
    thought, text = parts
    assert isinstance(thought, Reasoning)
    assert "simple, fundamental arithmetic question" in thought.text
    assert text == Text(text="4")
    conversation = (Message(role="assistant", parts=parts), Message(role="user", parts=(Text(text="and 3 + 3?"),)))
    await listen(model, msgspec.structs.replace(REQUEST, messages=REQUEST.messages + conversation))
    assert server.seen[1].body["messages"][1] == {
        "role": "assistant",
        "content": "4",
        "reasoning_content": thought.text,
    }


# ---- what is sent ---------------------------------------------------------------------------------


async def test_a_server_on_this_machine_needs_no_key_and_is_sent_none(server: AnthropicServer) -> None:
    server.replies.append(Reply((SHORT,)))
    await listen(model_at(server))
    [seen] = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert "authorization" not in seen.headers


async def test_a_key_goes_to_the_server_and_is_in_nothing_that_is_printed(server: AnthropicServer) -> None:
    server.replies += [Reply((SHORT,)), Reply((f"no {KEY}".encode(),), status=401, content_type="text/plain")]
    model = model_at(server, key=KEY)
    await listen(model)
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    error = await failure(model)
    assert (error.code, KEY in error.message, KEY in repr(vars(model))) == ("model.auth", False, False)


@pytest.mark.parametrize(
    ("url", "key", "code"),
    [
        ("https://api.example.com/v1", "", "model.key-missing"),
        ("https://api.example.com/v1", "a b", "model.key-malformed"),
        ("http://api.example.com/v1", "k", "model.base-url"),
        ("https://u:p@api.example.com", "k", "model.base-url"),
        ("ftp://127.0.0.1", "k", "model.base-url"),
    ],
)
def test_an_address_or_a_key_that_cannot_be_used_is_refused(url: str, key: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAIModel("p", "m", price=FREE, base_url=url, api_key=key)
    assert caught.value.code == code


async def test_a_redirect_is_not_followed(server: AnthropicServer) -> None:
    server.replies.append(Reply(status=307, headers=(("location", "http://127.0.0.1:1/v1/chat/completions"),)))
    error = await failure(model_at(server, key=KEY))
    assert (error.code, error.effect, len(server.seen)) == ("model.bad-request", "none", 1)


# ---- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "effect"),
    [
        (202, "model.bad-answer", "maybe"),
        (307, "model.bad-request", "none"),
        (400, "model.bad-request", "none"),
        (401, "model.auth", "none"),
        (404, "model.bad-request", "none"),
        (408, "model.timeout", "maybe"),
        (429, "model.rate-limited", "none"),
        (500, "model.unavailable", "maybe"),
        (529, "model.overloaded", "none"),
    ],
)
async def test_a_status_says_what_happened(server: AnthropicServer, status: int, code: str, effect: str) -> None:
    body = json.dumps({"error": {"message": "because"}}).encode()
    server.replies.append(Reply((body,), status=status, headers=(("retry-after", "7"),)))
    error = await failure(model_at(server))
    assert (error.code, error.effect) == (code, effect)
    assert status not in (429, 500, 529) or error.fields.get("retry_after") == 7.0


async def test_an_answer_that_breaks_off_is_broken_and_one_that_was_counted_is_paid(server: AnthropicServer) -> None:
    server.replies += [
        Reply((chunk_stream([said({"content": "x"})], end=b""),)),
        Reply((chunk_stream([counted(1, 1)], end=b""),), ending="drop"),
        Reply(),
    ]
    errors = [await failure(model_at(server)) for _ in range(3)]
    assert [error.code for error in errors] == ["model.stream-broken"] * 3
    assert [error.effect for error in errors] == ["maybe", "done", "maybe"]


async def test_a_stream_may_end_without_the_last_word(server: AnthropicServer) -> None:
    server.replies.append(Reply((chunk_stream([said({"content": "x"}, "stop")], end=b""),)))
    assert await listen(model_at(server)) == [TextDelta(text="x"), Done(stop_reason="end_turn")]


async def test_nobody_there_is_nothing_done() -> None:
    with trio.socket.socket() as held:
        await held.bind(("127.0.0.1", 0))
        model = OpenAIModel("local", "m", price=FREE, base_url=f"http://127.0.0.1:{held.getsockname()[1]}")
        error = await failure(model)
    assert (error.code, error.effect) == ("model.unavailable", "none")


async def test_an_answer_without_end_is_cut_off(server: AnthropicServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_EVENT_BYTES", 100)
    monkeypatch.setattr(openai, "MAX_ANSWER_BYTES", 100)
    server.replies += [Reply((b"data: " + b"x" * 300,)), Reply((b" " * 300,), content_type="application/json")]
    for _ in range(2):
        assert "longer than any answer" in (await failure(model_at(server))).message


async def test_silence_is_not_waited_for(
    server: AnthropicServer, nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    server.replies.append(Reply((chunk_stream([said({"content": "x"})], end=b""),), ending="stall"))

    async def let_time_pass() -> None:
        await server.stalled.wait()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(connection.SILENCE_SECONDS + 1)

    nursery.start_soon(let_time_pass)
    with pytest.raises(ModelError) as caught:
        await listen(model_at(server))
    assert (caught.value.code, caught.value.effect) == ("model.timeout", "maybe")
    await server.left.wait()


async def test_a_lone_surrogate_is_not_sent(server: AnthropicServer) -> None:
    request = msgspec.structs.replace(REQUEST, messages=(Message(role="user", parts=(Text(text="\ud800"),)),))
    with pytest.raises(ModelError) as caught:
        await listen(model_at(server), request)
    assert (caught.value.code, caught.value.effect, server.seen) == ("model.bad-request", "none", [])


def test_every_recording_names_its_source_and_its_licence() -> None:
    paths = sorted(VECTORS.glob("*.json"))
    assert len(paths) == 4
    for path in paths:
        held = json.loads(path.read_text())
        assert held["source"]
        assert held["licence"] == "MIT"


def test_the_end_is_a_word_of_its_own() -> None:
    assert chunk_stream([]) == END
