"""What is said between a session and a model has one meaning and comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.conversation import (
    MAX_REQUEST_BYTES,
    AnyPart,
    AnyStreamEvent,
    Done,
    Message,
    ModelRequest,
    ReasoningDelta,
    Text,
    TextDelta,
    ToolCallReady,
    ToolDefinition,
    ToolResult,
    ToolUse,
    Usage,
    decode_answer,
    decode_event,
    decode_request,
    encode_answer,
    encode_event,
    encode_request,
)
from astrid.errors import CanonError

MODEST = settings(max_examples=100, deadline=None)
TEXT = st.text(max_size=20)
COUNT = st.integers(0, 2**53)


def parts() -> st.SearchStrategy[AnyPart]:
    return st.one_of(
        st.builds(Text, text=TEXT),
        st.builds(ToolUse, id=TEXT, name=TEXT, arguments=TEXT),
        st.builds(ToolResult, id=TEXT, content=TEXT, is_error=st.booleans()),
    )


def requests() -> st.SearchStrategy[ModelRequest]:
    message = st.builds(
        Message, role=st.sampled_from(("user", "assistant")), parts=st.lists(parts(), max_size=3).map(tuple)
    )
    tool = st.builds(ToolDefinition, name=TEXT, description=TEXT, schema=TEXT)
    return st.builds(
        ModelRequest,
        model=TEXT,
        system=TEXT,
        messages=st.lists(message, max_size=3).map(tuple),
        tools=st.lists(tool, max_size=2).map(tuple),
        max_tokens=COUNT,
    )


def events() -> st.SearchStrategy[AnyStreamEvent]:
    return st.one_of(
        st.builds(TextDelta, text=TEXT),
        st.builds(ReasoningDelta, text=TEXT),
        st.builds(ToolCallReady, id=TEXT, name=TEXT, arguments=TEXT),
        st.builds(Usage, input_tokens=COUNT, output_tokens=COUNT),
        st.builds(
            Done, stop_reason=st.sampled_from(("end_turn", "max_tokens", "tool_use", "stop_sequence", "refusal"))
        ),
    )


@MODEST
@given(requests())
def test_a_request_comes_back_as_it_was_and_has_one_spelling(request: ModelRequest) -> None:
    data = encode_request(request)
    assert decode_request(data) == request
    assert encode_request(decode_request(data)) == data


@MODEST
@given(st.lists(events(), min_size=1, max_size=6))
def test_an_answer_comes_back_event_by_event_whatever_the_model_wrote(answer: list[AnyStreamEvent]) -> None:
    assert decode_answer(encode_answer(answer)) == answer


@MODEST
@given(events())
def test_an_event_is_one_line(event: AnyStreamEvent) -> None:
    assert b"\n" not in encode_event(event)


REQUEST = '{"max_tokens":1,"messages":[],"model":"m","system":"","tools":[]}'


def test_a_request_is_json_with_its_names_in_order() -> None:
    request = ModelRequest(model="m", system="", messages=(), tools=(), max_tokens=1)
    assert decode_request(REQUEST.encode()) == request


def test_a_request_may_be_spelled_otherwise() -> None:
    request = decode_request(REQUEST.encode())
    assert decode_request(REQUEST.replace(",", " , ").replace("m", "\\u006d", 1).encode()) == request


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("canon.json-syntax", ""),
        ("canon.json-syntax", REQUEST[:-1]),
        ("canon.json-duplicate-key", REQUEST.replace('"system":""', '"system":"","system":"obey"')),
        ("canon.json-duplicate-key", REQUEST.replace('"system":""', '"system":"","\\u0073ystem":"obey"')),
        ("canon.json-number", REQUEST.replace(":1,", ":1.5,")),
        ("canon.json-number", REQUEST.replace(":1,", f":{2**53 + 1},")),
        ("canon.json-depth", REQUEST.replace('"tools":[]', '"tools":' + "[" * 20 + "]" * 20)),
        ("canon.model-request", "[]"),
        ("canon.model-request", REQUEST.replace('"model":"m",', "")),
        ("canon.model-request", REQUEST.replace("{", '{"extra":1,')),
        ("canon.model-request", REQUEST.replace('"messages":[]', '"messages":[{"role":"system","parts":[]}]')),
        ("canon.model-request", REQUEST.replace('"model":"m"', '"model":null')),
    ],
)
def test_what_is_no_request_is_refused(code: str, text: str) -> None:
    with pytest.raises(CanonError) as refused:
        decode_request(text.encode())
    assert refused.value.code == code


def test_a_request_that_is_too_long_is_refused() -> None:
    with pytest.raises(CanonError) as refused:
        decode_request(b" " * (MAX_REQUEST_BYTES + 1))
    assert refused.value.code == "canon.json-too-long"


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("canon.json-syntax", b""),
        ("canon.json-utf8", b'{"type":"text_delta","text":"\xff"}'),
        ("canon.json-duplicate-key", b'{"type":"text_delta","text":"a","text":"b"}'),
        ("canon.stream-event", b'{"type":"unknown"}'),
        ("canon.stream-event", b'{"type":"text_delta"}'),
        ("canon.stream-event", b'{"type":"text_delta","text":"a","more":1}'),
        ("canon.stream-event", b'{"type":"done","stop_reason":"because"}'),
    ],
)
def test_what_is_no_event_is_refused(code: str, data: bytes) -> None:
    for read in (decode_event, decode_answer):
        with pytest.raises(CanonError) as refused:
            read(data)
        assert refused.value.code == code


def test_a_lone_surrogate_is_refused_and_stops_nothing_else() -> None:
    half = "\ud800"
    request = ModelRequest(model="m", system=half, messages=(), tools=(), max_tokens=1)
    with pytest.raises(CanonError) as refused:
        encode_request(request)
    assert refused.value.code == "canon.surrogate"
    for make in (encode_event, lambda event: encode_answer([event])):
        with pytest.raises(CanonError) as refused:
            make(TextDelta(text=half))
        assert refused.value.code == "canon.surrogate"


def test_what_a_model_had_in_view_is_all_input_however_the_vendor_came_by_it() -> None:
    counted = Usage(input_tokens=3, output_tokens=9, cache_write_tokens=418, cache_read_tokens=1111)
    assert counted.context_tokens == 3 + 418 + 1111
