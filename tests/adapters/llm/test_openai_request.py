"""Requests as chat completions."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from msgspec.structs import replace

from astrid.adapters.llm.names import NO_OUTPUT, UNPARSED
from astrid.adapters.llm.openai_request import FAILED, Dialect, request_body
from astrid.core.conversation import (
    AnyPart,
    Message,
    ModelRequest,
    Picture,
    Reasoning,
    Role,
    Text,
    ToolDefinition,
    ToolResult,
    ToolUse,
)
from astrid.core.images import image_of
from astrid.errors import ModelError
from tests.fakes.openai_answers import openai_complaint
from tests.fakes.pictures import jpeg

HELLO: tuple[Role, tuple[AnyPart, ...]] = ("user", (Text(text="hi"),))
PLAIN = Dialect()


def request(*messages: tuple[Role, tuple[AnyPart, ...]], tools: tuple[str, ...] = (), system: str = "") -> ModelRequest:
    return ModelRequest(
        model="ollama/qwen3:8b",
        system=system,
        messages=tuple(Message(role=role, parts=parts) for role, parts in messages),
        tools=tuple(ToolDefinition(name=name, description="d", schema='{"type":"object"}') for name in tools),
        max_tokens=9,
    )


def said(*messages: tuple[Role, tuple[AnyPart, ...]], dialect: Dialect = PLAIN) -> list[dict[str, Any]]:
    body: Any = request_body(request(*messages), dialect)[0]
    assert openai_complaint(body) == ""
    return body["messages"]


def test_the_body_holds_what_the_request_holds() -> None:
    body, names = request_body(request(HELLO, tools=("server:tool",), system="be useful"), PLAIN)
    function = {"name": "server_x3A_tool", "description": "d", "parameters": {"type": "object"}}
    assert body == {
        "model": "qwen3:8b",
        "max_tokens": 9,
        "messages": [{"role": "system", "content": "be useful"}, {"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": function}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert names == {"server_x3A_tool": "server:tool"}


def test_a_dialect_names_its_limit_and_adds_what_its_server_wants() -> None:
    dialect = Dialect(max_tokens="max_completion_tokens", always={"thinking": {"type": "enabled"}})
    body, _ = request_body(request(HELLO), dialect)
    assert (body["max_completion_tokens"], body["thinking"]) == (9, {"type": "enabled"})
    assert "max_tokens" not in body


def test_calls_and_their_results_go_back_under_one_id_and_right_after_each_other() -> None:
    uses = (
        Text(text="so"),
        ToolUse(id="call:1", name="a:b", arguments='{"a": [1]}'),
        ToolUse(id="b", name="c", arguments="{}"),
    )
    results = (
        Text(text="by the way"),
        ToolResult(id="call:1", content="out", is_error=False),
        ToolResult(id="b", content=" ", is_error=True),
    )
    _, spoken, first, second, after = said(HELLO, ("assistant", uses), ("user", results))
    assert spoken["content"] == "so"
    assert [(call["id"], call["function"]["name"]) for call in spoken["tool_calls"]] == [
        ("call_x3A_1", "a_x3A_b"),
        ("b", "c"),
    ]
    assert json.loads(spoken["tool_calls"][0]["function"]["arguments"]) == {"a": [1]}
    assert first == {"role": "tool", "tool_call_id": "call_x3A_1", "content": "out"}
    assert second == {"role": "tool", "tool_call_id": "b", "content": FAILED + NO_OUTPUT}
    assert after == {"role": "user", "content": "by the way"}


def test_a_message_of_calls_alone_has_no_content() -> None:
    use = ToolUse(id="a", name="look", arguments="{}")
    result = ToolResult(id="a", content="x", is_error=False)
    assert said(HELLO, ("assistant", (use,)), ("user", (result,)))[1]["content"] is None


@pytest.mark.parametrize("written", ["", "{", "[1]", '{"a":NaN}'])
def test_arguments_that_are_no_object_go_back_quoted(written: str) -> None:
    use = ToolUse(id="a", name="look", arguments=written)
    result = ToolResult(id="a", content="x", is_error=True)
    call = said(HELLO, ("assistant", (use,)), ("user", (result,)))[1]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {UNPARSED: written}


def test_reasoning_goes_back_only_to_a_server_that_wants_it_and_to_the_model_that_had_it() -> None:
    def thought(model: str) -> Reasoning:
        return Reasoning(model=model, text=f"by {model}", proof="", withheld=False)

    spoken = ("assistant", (thought("ollama/qwen3:8b"), thought("zai/glm"), Text(text="so")))
    wanting = Dialect(wants_reasoning=True)
    assert said(HELLO, spoken, dialect=wanting)[1]["reasoning_content"] == "by ollama/qwen3:8b"  # type: ignore[arg-type]
    assert "reasoning_content" not in said(HELLO, spoken)[1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "unsayable", [request(("user", (Text(text=" "),))), request(("user", ())), request(HELLO, tools=("a", "a"))]
)
def test_what_a_server_would_refuse_is_not_sent(unsayable: ModelRequest) -> None:
    with pytest.raises(ModelError) as caught:
        request_body(unsayable, PLAIN)
    assert (caught.value.code, caught.value.effect) == ("model.bad-request", "none")


def test_the_image_in_a_result_comes_behind_all_results_under_the_name_of_its_call() -> None:
    image = image_of(jpeg(), 7)
    assert image is not None
    parts = (
        ToolResult(id="a", content="[an image]", is_error=False, image=replace(image, data=jpeg())),
        ToolResult(id="b", content="text", is_error=False),
        Text(text="and now?"),
    )
    url = f"data:image/jpeg;base64,{base64.b64encode(jpeg()).decode()}"
    calls = tuple(ToolUse(id=one, name="look", arguments="{}") for one in "ab")
    assert said(HELLO, ("assistant", calls), ("user", parts))[-3:] == [
        {"role": "tool", "tool_call_id": "a", "content": "[an image]"},
        {"role": "tool", "tool_call_id": "b", "content": "text"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "(the image that call a gave)"},
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": "and now?"},
            ],
        },
    ]


def test_an_image_that_somebody_gave_is_sent_with_their_words() -> None:
    image = image_of(jpeg(), 7)
    assert image is not None
    url = f"data:image/jpeg;base64,{base64.b64encode(jpeg()).decode()}"
    assert said(("user", (Text(text="look"), Picture(image=replace(image, data=jpeg()))))) == [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "look"}],
        }
    ]
