"""Requests in the vendor's terms."""

from __future__ import annotations

import base64
import re
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from astrid.adapters.llm.anthropic_request import request_body
from astrid.adapters.llm.names import NO_OUTPUT, UNPARSED, legal_name
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
from tests.fakes.anthropic_server import vendor_complaint
from tests.fakes.pictures import png

NAMES = st.one_of(
    st.text(alphabet="ab_xX-:.4A1 é", max_size=12), st.text(max_size=20).filter(lambda text: text.isprintable())
)


def request(*messages: tuple[Role, tuple[AnyPart, ...]], tools: tuple[str, ...] = (), system: str = "") -> ModelRequest:
    return ModelRequest(
        model="anthropic/claude-m",
        system=system,
        messages=tuple(Message(role=role, parts=parts) for role, parts in messages),
        tools=tuple(ToolDefinition(name=name, description="d", schema='{"type":"object"}') for name in tools),
        max_tokens=9,
    )


HELLO: tuple[Role, tuple[AnyPart, ...]] = ("user", (Text(text="hi"),))


@settings(max_examples=200, deadline=None)
@given(NAMES, NAMES)
@example("_x3A_", ":")
@example("_x3A:", "_x3A_x3A_")
@example("a" * 70, "a" * 71)
@example("__x3A_", "_:")
def test_names_are_legal_and_never_become_alike(one: str, other: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", legal_name(one))
    assert (legal_name(one) == legal_name(other)) is (one == other) or not (one and other)


def test_a_name_that_is_legal_already_is_left_alone() -> None:
    for name in ("read_file", "mcp__server__do-it", "A" * 64, "_x_"):
        assert legal_name(name) == name


def test_the_body_holds_what_the_request_holds() -> None:
    body, names = request_body(request(HELLO, tools=("server:tool", "look"), system="be useful"))
    assert body == {
        "model": "claude-m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "be useful", "cache_control": {"type": "ephemeral"}}],
        "cache_control": {"type": "ephemeral"},
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "tools": [
            {"name": "server_x3A_tool", "description": "d", "input_schema": {"type": "object"}},
            {"name": "look", "description": "d", "input_schema": {"type": "object"}},
        ],
        "stream": True,
    }
    assert names == {"server_x3A_tool": "server:tool", "look": "look"}


def test_what_the_model_paused_at_goes_back_without_white_space_at_its_end() -> None:
    body, _ = request_body(request(HELLO, ("assistant", (Text(text="a \n"), Text(text="b \n")))))
    texts = [block["text"] for block in body["messages"][1]["content"]]  # type: ignore[index]
    assert texts == ["a \n", "b"]
    other, _ = request_body(request(HELLO, ("assistant", (Text(text="a \n"),)), HELLO))
    assert other["messages"][1]["content"][0]["text"] == "a \n"  # type: ignore[index]


def test_a_blank_system_prompt_and_no_tools_are_left_out() -> None:
    body, _ = request_body(request(HELLO, system=" \n"))
    assert "system" not in body
    assert "tools" not in body


def test_a_call_and_its_result_go_back_under_one_id() -> None:
    parts = (Text(text=" "), ToolUse(id="call:1", name="a:b", arguments='{"a": [1, 2.5]}'))
    result = (Text(text="by the way"), ToolResult(id="call:1", content="out", is_error=False))
    body, _ = request_body(request(HELLO, ("assistant", parts), ("user", result)))
    messages = body["messages"]
    assert isinstance(messages, list)
    assert messages[1]["content"] == [
        {"type": "tool_use", "id": "call_x3A_1", "name": "a_x3A_b", "input": {"a": [1, 2.5]}}
    ]
    assert messages[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_x3A_1", "content": "out"},
        {"type": "text", "text": "by the way"},
    ]


def test_reasoning_goes_back_as_it_came_to_the_model_that_had_it_and_to_no_other() -> None:
    def thought(model: str, text: str, *, withheld: bool = False) -> Reasoning:
        return Reasoning(model=model, text=text, proof="sig+/=", withheld=withheld)

    parts = (
        thought("anthropic/claude-m", " \n so\u2028 "),
        thought("anthropic/claude-m", "", withheld=True),
        thought("anthropic/claude-n", "not mine"),
        Text(text="well"),
    )
    body, _ = request_body(request(HELLO, ("assistant", parts), ("user", (Text(text="go on"),))))
    messages = body["messages"]
    assert isinstance(messages, list)
    assert messages[1]["content"] == [
        {"type": "thinking", "thinking": " \n so\u2028 ", "signature": "sig+/="},
        {"type": "redacted_thinking", "data": "sig+/="},
        {"type": "text", "text": "well"},
    ]


@pytest.mark.parametrize("written", ["", "{", "[1]", "1", '{"a":NaN}', "[" * 5000])
def test_arguments_that_are_no_object_go_back_quoted(written: str) -> None:
    use = ToolUse(id="a", name="look", arguments=written)
    body, _ = request_body(
        request(HELLO, ("assistant", (use,)), ("user", (ToolResult(id="a", content="", is_error=True),)))
    )
    messages = body["messages"]
    assert isinstance(messages, list)
    assert messages[1]["content"][0]["input"] == {UNPARSED: written}
    assert messages[2]["content"][0] == {
        "type": "tool_result",
        "tool_use_id": "a",
        "content": NO_OUTPUT,
        "is_error": True,
    }
    assert vendor_complaint(body) == ""


@pytest.mark.parametrize(
    "unsayable",
    [
        request(("user", (Text(text=" "),))),
        request(("user", ())),
        request(HELLO, tools=("a", "a")),
        ModelRequest(
            model="anthropic/m",
            system="",
            messages=(Message(role="user", parts=(Text(text="x"),)),),
            tools=(ToolDefinition(name="a", description="", schema="[]"),),
            max_tokens=1,
        ),
    ],
)
def test_what_the_vendor_would_refuse_is_not_sent(unsayable: ModelRequest) -> None:
    with pytest.raises(ModelError) as caught:
        request_body(unsayable)
    assert (caught.value.code, caught.value.effect) == ("model.bad-request", "none")


def test_the_image_in_a_result_is_a_block_of_its_own() -> None:
    image = image_of(png(), 7)
    assert image is not None
    result = ToolResult(id="a", content="[an image]", is_error=False, image=replace(image, data=png()))
    body, _ = request_body(request(("user", (result,))))
    [message] = cast("list[dict[str, Any]]", body["messages"])
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()}
    assert message["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": [{"type": "text", "text": "[an image]"}, {"type": "image", "source": source}],
        }
    ]


def test_an_image_that_somebody_gave_is_a_block_beside_their_words() -> None:
    image = image_of(png(), 7)
    assert image is not None
    body, _ = request_body(request(("user", (Text(text="look"), Picture(image=replace(image, data=png()))))))
    [message] = cast("list[dict[str, Any]]", body["messages"])
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()}
    assert message["content"] == [{"type": "text", "text": "look"}, {"type": "image", "source": source}]
