"""The vendor's events, in and out of order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.llm.anthropic_answer import AnswerReader
from astrid.adapters.llm.faults import vendor_fault
from astrid.core.conversation import (
    AnyStreamEvent,
    Done,
    ReasoningDelta,
    ReasoningReady,
    TextDelta,
    ToolCallReady,
    Usage,
)
from astrid.errors import ModelError
from tests.fakes.anthropic_server import block_events

START = {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}
STOP = {"type": "message_stop"}


def ending(reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def read(events: Iterable[dict[str, Any]], names: dict[str, str] | None = None) -> list[AnyStreamEvent]:
    reader = AnswerReader("anthropic/claude-m", names or {})
    return [event for data in events for event in reader.read(json.dumps(data).encode())]


def use(index: int, use_id: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    return list(block_events(index, {"type": "tool_use", "id": use_id, "name": "look", "input": arguments}))


def test_text_and_reasoning_are_told_apart() -> None:
    text = block_events(1, {"type": "text", "text": "answer"})
    thoughts = block_events(0, {"type": "thinking", "thinking": "hm so", "signature": "s"})
    assert read([START, *thoughts, *text, ending(output_tokens=7), STOP]) == [
        ReasoningDelta(text="hm so"),
        ReasoningReady(model="anthropic/claude-m", text="hm so", proof="s", withheld=False),
        TextDelta(text="answe"),
        TextDelta(text="r"),
        Usage(input_tokens=10, output_tokens=7),
        Done(stop_reason="end_turn"),
    ]


def test_what_is_withheld_of_the_reasoning_is_kept_for_the_vendor_and_shown_to_nobody() -> None:
    opening = {"type": "content_block_start", "index": 0, "content_block": {"type": "redacted_thinking", "data": "x=="}}
    events = read([START, opening, {"type": "content_block_stop", "index": 0}])
    assert events == [ReasoningReady(model="anthropic/claude-m", text="", proof="x==", withheld=True)]


def test_reasoning_without_a_signature_is_shown_and_not_kept() -> None:
    thoughts = block_events(0, {"type": "thinking", "thinking": "hm so", "signature": ""})
    events = read([START, *thoughts])
    assert ReasoningDelta(text="hm so") in events
    assert not [event for event in events if isinstance(event, ReasoningReady)]


def test_text_in_the_opening_of_a_block_is_text() -> None:
    opening = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "at once"}}
    assert TextDelta(text="at once") in read([START, opening])


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(2, 4))
def test_interleaved_pieces_of_several_calls_never_mix_and_keep_their_order(data: st.DataObject, count: int) -> None:
    given_arguments = [{"n": number, "text": "é" * number} for number in range(count)]
    streams = [use(number, f"id{number}", arguments) for number, arguments in enumerate(given_arguments)]
    begun = 1
    mixed: list[dict[str, Any]] = [streams[0].pop(0)]
    while any(streams):
        open_ones = [number for number in range(min(begun + 1, count)) if streams[number]]
        number = data.draw(st.sampled_from(open_ones))
        begun = max(begun, number + 1)
        mixed.append(streams[number].pop(0))
    calls = [event for event in read([START, *mixed, ending("tool_use"), STOP]) if isinstance(event, ToolCallReady)]
    assert [(call.id, json.loads(call.arguments)) for call in calls] == [
        (f"id{number}", arguments) for number, arguments in enumerate(given_arguments)
    ]


def test_a_call_without_arguments_is_an_empty_object_as_the_vendor_says() -> None:
    events = [
        START,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": "look"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}},
        {"type": "content_block_stop", "index": 0},
    ]
    assert ToolCallReady(id="a", name="look", arguments="{}") in read(events)


def test_arguments_that_were_cut_off_are_handed_on_as_they_are() -> None:
    events = [
        START,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": "look"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a": "b'}},
        {"type": "content_block_stop", "index": 0},
        ending("max_tokens"),
        STOP,
    ]
    assert ToolCallReady(id="a", name="look", arguments='{"a": "b') in read(events)


def test_names_are_given_back_and_unknown_ones_are_left_alone() -> None:
    events = [START, *use(0, "a", {}), ending("tool_use"), STOP]
    assert [event.name for event in read(events, {"look": "server:look"}) if isinstance(event, ToolCallReady)] == [
        "server:look"
    ]
    assert [event.name for event in read(events) if isinstance(event, ToolCallReady)] == ["look"]


def test_cached_input_has_counts_of_its_own_and_a_later_figure_never_lowers_an_earlier() -> None:
    cached = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 418,
        "cache_read_input_tokens": 1111,
        "output_tokens": 9,
    }
    events = [
        {"type": "message_start", "message": {"usage": cached}},
        ending("end_turn", output_tokens=2, input_tokens=1),
    ]
    counted = {"input_tokens": 3, "cache_write_tokens": 418, "cache_read_tokens": 1111}
    done = Done(stop_reason="end_turn")
    assert read([*events, STOP]) == [Usage(output_tokens=9, **counted), done]
    assert read([*events, ending(None, output_tokens=30), STOP]) == [Usage(output_tokens=30, **counted), done]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ({"input_tokens": 10, "output_tokens": 1}, {}),
        ({"input_tokens": 10, "output_tokens": 1}, {"input_tokens": 10}),
        ({}, {"output_tokens": 30}),
        ({"input_tokens": 0}, {"output_tokens": 0}),
    ],
)
def test_what_counts_only_a_part_of_an_answer_is_no_count(start: dict[str, int], end: dict[str, int]) -> None:
    events = [{"type": "message_start", "message": {"usage": start}}, ending("end_turn", **end), STOP]
    assert read(events) == [Done(stop_reason="end_turn")]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("tool_use", "tool_use"),
        ("stop_sequence", "stop_sequence"),
        ("refusal", "refusal"),
        ("pause_turn", "pause"),
        ("model_context_window_exceeded", "max_tokens"),
    ],
)
def test_stop_reasons_are_ours(theirs: str, ours: str) -> None:
    assert read([START, ending(theirs), STOP])[-1] == Done(stop_reason=ours)  # type: ignore[arg-type]


def test_what_is_not_known_is_passed_over() -> None:
    odd = {"type": "server_tool_use", "id": 7, "name": ["x"], "text": {"not": "text"}}
    events = [
        START,
        {"type": "ping"},
        {"type": "brand_new", "index": "?"},
        {"type": "content_block_start", "index": 0, "content_block": odd},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hidden"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "text": 5}},
        {"type": "content_block_stop", "index": 1},
        ending(),
        STOP,
    ]
    assert read(events) == [Done(stop_reason="end_turn")]


BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}
END = {"type": "content_block_stop", "index": 0}


@pytest.mark.parametrize(
    ("events", "effect"),
    [
        ([BLOCK], "maybe"),
        ([STOP], "maybe"),
        ([{"type": "message_start"}], "maybe"),
        ([{"type": "message_start", "message": {"usage": {"input_tokens": -1}}}], "maybe"),
        ([{"type": "message_start", "message": {"usage": {"input_tokens": 2**60}}}], "maybe"),
        ([{"no": "type"}], "maybe"),
        ([START, START], "done"),
        ([START, DELTA], "done"),
        ([START, END], "done"),
        ([START, BLOCK, BLOCK], "done"),
        ([START, BLOCK, END, DELTA], "done"),
        ([START, BLOCK, END, END], "done"),
        ([START, {**BLOCK, "index": 3}, {**END, "index": 3}, {**BLOCK, "index": 2}], "done"),
        ([START, BLOCK, {**DELTA, "delta": {"type": "text_delta", "text": 5}}], "done"),
        ([START, BLOCK, {**DELTA, "delta": {}}], "done"),
        ([START, {**BLOCK, "index": -1}], "done"),
        ([START, {**BLOCK, "content_block": []}], "done"),
        ([START, ending("gave_up")], "done"),
        ([START, STOP], "done"),
        ([START, BLOCK, ending(), STOP], "done"),
        ([START, ending(), STOP, STOP], "done"),
        ([START, ending(), STOP, BLOCK], "done"),
    ],
)
def test_a_known_event_in_the_wrong_place_or_shape_is_an_error(events: list[dict[str, Any]], effect: str) -> None:
    with pytest.raises(ModelError) as caught:
        read(events)
    assert (caught.value.code, caught.value.effect) == ("model.bad-answer", effect)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"type":"\xff"}', b"[" * 3000])
def test_bytes_that_are_no_event_are_an_error(data: bytes) -> None:
    with pytest.raises(ModelError) as caught:
        AnswerReader("anthropic/claude-m", {}).read(data)
    assert caught.value.code == "model.bad-answer"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("rate_limit_error", "model.rate-limited"),
        ("overloaded_error", "model.overloaded"),
        ("authentication_error", "model.auth"),
        ("permission_error", "model.auth"),
        ("billing_error", "model.auth"),
        ("invalid_request_error", "model.bad-request"),
        ("not_found_error", "model.bad-request"),
        ("request_too_large", "model.bad-request"),
        ("timeout_error", "model.timeout"),
        ("api_error", "model.unavailable"),
        ("brand_new_error", "model.unavailable"),
    ],
)
def test_a_fault_in_the_stream_has_its_code_and_says_whether_a_bill_is_certain(kind: str, code: str) -> None:
    fault = {"type": "error", "error": {"type": kind, "message": "sorry"}}
    for events, effect in (([fault], "maybe"), ([START, fault], "done")):
        with pytest.raises(ModelError) as caught:
            read(events)
        assert (caught.value.code, caught.value.effect) == (code, effect)


def test_what_the_vendor_says_is_shown_short_and_without_control_characters() -> None:
    error = vendor_fault("api_error", "a\x1b[2Jb\u202e" + "x" * 1000, "none")
    assert error.message.isascii()
    assert error.message.isprintable()
    assert len(error.message) < 400
