"""Chunks, in and out of order, as many servers send them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.llm.openai_answer import MAX_CALLS, ChunkReader, complaint_in
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
from tests.fakes.openai_answers import answer_chunks, counted, said

MODEL = "lmstudio/m"


def reader(names: dict[str, str] | None = None) -> ChunkReader:
    return ChunkReader(MODEL, names or {}, lambda text: text.replace("sk-1", "(the key)"))


def read(chunks: Iterable[dict[str, Any] | bytes], names: dict[str, str] | None = None) -> list[AnyStreamEvent]:
    mine = reader(names)
    events = [
        event
        for chunk in chunks
        for event in mine.read(chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode())
    ]
    return events if mine.done else [*events, *mine.end()]


def failure(*chunks: dict[str, Any] | bytes) -> ModelError:
    with pytest.raises(ModelError) as caught:
        read(chunks)
    return caught.value


def piece(index: int | None, arguments: str = "", **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return said({"tool_calls": [{**({} if index is None else {"index": index}), "function": function, **more}]})


def calls(events: list[AnyStreamEvent]) -> list[tuple[str, str, str]]:
    return [(event.id, event.name, event.arguments) for event in events if isinstance(event, ToolCallReady)]


def test_an_answer_is_its_text_its_calls_its_count_and_its_end() -> None:
    events = read([*answer_chunks("hello", [("a", "look", '{"n":1}')], (7, 5), "tool_calls"), b"[DONE]"])
    assert events == [
        TextDelta(text="hello"),
        ToolCallReady(id="a", name="look", arguments='{"n":1}'),
        Usage(input_tokens=7, output_tokens=5),
        Done(stop_reason="tool_use"),
    ]


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(2, 4))
def test_interleaved_pieces_of_several_calls_never_mix_and_keep_their_order(data: st.DataObject, count: int) -> None:
    written = [json.dumps({"n": number, "text": "é" * number}) for number in range(count)]
    streams = [
        [piece(number, "", id=f"id{number}", name="look"), *(piece(number, char) for char in written[number])]
        for number in range(count)
    ]
    mixed: list[dict[str, Any]] = []
    while any(streams):
        mixed.append(data.draw(st.sampled_from([stream for stream in streams if stream])).pop(0))
    assert calls(read([*mixed, said({}, "tool_calls")])) == [
        (f"id{number}", "look", written[number]) for number in range(count)
    ]


def test_calls_without_an_index_are_whole_and_those_without_an_id_are_told_apart() -> None:
    one = {"id": "", "function": {"name": "look", "arguments": "{}"}}
    events = read([said({"tool_calls": [one, one]}), said({"tool_calls": [one]}, None), said({}, "tool_calls")])
    assert calls(events) == [("", "look", "{}")] * 3


def test_a_name_or_id_that_comes_with_each_piece_is_taken_once_and_never_changed() -> None:
    events = read(
        [
            piece(0, '{"a"', id="a", name="look"),
            piece(0, ":1}", id="a", name="look"),
            piece(0, "", id="b", name="run"),
            said({}, "tool_calls"),
        ]
    )
    assert calls(events) == [("a", "look", '{"a":1}')]


def test_a_call_is_handed_on_only_when_the_answer_has_ended() -> None:
    mine = reader()
    whole = json.dumps(piece(0, "{}", id="a", name="look")).encode()
    assert mine.read(whole) == []
    with pytest.raises(ModelError):
        mine.end()


def test_names_that_were_spelled_for_the_vendor_come_back_as_ours() -> None:
    events = read([piece(0, "{}", id="a", name="s_x3A_t"), said({}, "tool_calls")], {"s_x3A_t": "s:t"})
    assert calls(events) == [("a", "s:t", "{}")]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_shown_as_it_comes_and_kept_whole(field: str) -> None:
    events = read([said({field: "hm "}), said({field: "so"}), said({"content": "yes"}), said({}, "stop")])
    assert events == [
        ReasoningDelta(text="hm "),
        ReasoningDelta(text="so"),
        ReasoningReady(model=MODEL, text="hm so", proof="", withheld=False),
        TextDelta(text="yes"),
        Done(stop_reason="end_turn"),
    ]


def test_reasoning_before_a_call_stands_before_it() -> None:
    events = read([said({"reasoning_content": "hm"}), piece(0, "{}", id="a", name="look"), said({}, "tool_calls")])
    assert [type(event) for event in events] == [ReasoningDelta, ReasoningReady, ToolCallReady, Done]


@pytest.mark.parametrize(
    ("said_reason", "ours"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
    ],
)
def test_every_reason_to_stop_has_ours(said_reason: str, ours: str) -> None:
    assert read([said({"content": "x"}, said_reason)])[-1] == Done(stop_reason=ours)  # type: ignore[arg-type]


def test_a_refusal_is_text_and_ends_as_one() -> None:
    assert read([said({"refusal": "I will not"}), said({}, "stop")]) == [
        TextDelta(text="I will not"),
        Done(stop_reason="refusal"),
    ]


def test_a_whole_answer_in_place_of_a_stream_is_the_same_answer() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": "well", "tool_calls": [call]}
    whole = {
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    assert read([whole]) == [
        TextDelta(text="well"),
        ToolCallReady(id="a", name="look", arguments="{}"),
        Usage(input_tokens=3, output_tokens=2),
        Done(stop_reason="tool_use"),
    ]


def test_of_several_answers_only_the_one_that_was_asked_for_is_taken() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "length"}]}
    assert read([said({"content": "mine"}), other, said({}, "stop")])[:-1] == [TextDelta(text="mine")]


def test_a_count_that_falls_or_moves_lowers_no_bill() -> None:
    cached = {"prompt_tokens_details": {"cached_tokens": 40}}
    counts = [counted(100, 9, **cached), counted(50, 2), counted(100, 30)]
    for seen, output in ((1, 9), (2, 9), (3, 30)):
        usage, _ = read([*counts[:seen], said({}, "stop")])
        assert usage == Usage(input_tokens=60, output_tokens=output, cache_read_tokens=40)


def test_what_only_the_total_counts_is_output() -> None:
    usage = {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}
    assert Usage(input_tokens=35, output_tokens=74) in read([{"choices": [], "usage": usage}, said({}, "stop")])


def test_more_cached_than_there_is_takes_nothing_off_the_bill() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 99}}
    [counted_so, _] = read([{"choices": [], "usage": usage}, said({}, "stop")])
    assert counted_so == Usage(input_tokens=0, output_tokens=1, cache_read_tokens=10)


def test_without_a_count_nothing_is_counted() -> None:
    assert read([said({"content": "x"}, "stop", usage=None)]) == [TextDelta(text="x"), Done(stop_reason="end_turn")]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"[]",
        b'{"choices": 1}',
        b'{"choices": [{"delta": {"content": 1}}]}',
        b'{"usage": {"prompt_tokens": -1}}',
        b'{"usage": {"prompt_tokens": 1e300}}',
        b"\xff",
        b"[" * 5000,
        json.dumps(said({}, "because")).encode(),
    ],
)
def test_a_chunk_that_is_none_is_an_error(broken: bytes) -> None:
    assert (failure(broken).code, failure(broken).effect) == ("model.bad-answer", "maybe")


def test_nothing_comes_after_the_end_and_no_piece_after_the_reason_to_stop() -> None:
    assert failure(said({}, "stop"), b"[DONE]", b"[DONE]").code == "model.bad-answer"
    assert failure(said({}, "tool_calls"), piece(0, "{}", id="a", name="run")).code == "model.bad-answer"


def test_an_answer_that_stops_without_a_reason_is_broken_and_its_bill_is_certain_once_counted() -> None:
    assert failure(said({"content": "x"})).code == "model.stream-broken"
    assert failure(b"[DONE]").code == "model.stream-broken"
    assert failure(said({"content": "x"})).effect == "maybe"
    assert failure(counted(1, 1)).effect == "done"


def test_there_is_an_end_to_the_number_of_calls() -> None:
    assert failure(*(piece(number) for number in range(MAX_CALLS + 1))).code == "model.bad-answer"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"message": "slow down", "type": "rate_limit_exceeded"}, "model.rate-limited"),
        ({"message": "busy", "code": "overloaded"}, "model.overloaded"),
        ({"message": "no", "code": "invalid_api_key"}, "model.auth"),
        ({"message": "too long", "type": "invalid_request_error"}, "model.bad-request"),
        ({"message": "oh", "code": 500}, "model.unavailable"),
        ("out of memory", "model.unavailable"),
    ],
)
def test_a_fault_in_the_middle_of_a_stream_is_named_and_bears_no_key(fault: Any, code: str) -> None:
    assert failure(said({"content": "x"}), {"error": fault}).code == code
    with_key = {"error": {"message": "the key sk-1 is wrong"}}
    assert "sk-1" not in failure(with_key).message


@pytest.mark.parametrize(
    ("body", "said_so"),
    [
        (b'{"error": {"message": "no such model", "type": "x"}}', "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"message": "no such model"}', "no such model"),
        (b"no such model", "no such model"),
        (b'{"detail": 1}', '{"detail": 1}'),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_complaint_is_found_in_every_usual_form(body: bytes, said_so: str) -> None:
    assert complaint_in(body) == said_so


@pytest.mark.parametrize(
    "chunks",
    [
        [said({"content": "hel"}, usage={"prompt_tokens": 7, "completion_tokens": 1}), said({"content": "lo"}, "stop")],
        [counted(7, 1), said({"tool_calls": [{"index": 0, "function": {"name": "look"}}]}, "tool_calls")],
        [said({"content": "hello"}, "stop"), {"usage": {}}],
        [said({"content": "hello"}, "stop"), {"usage": {"prompt_tokens": 7}}],
        [said({"content": "hello"}, "stop"), {"usage": {"completion_tokens": 5}}],
        [said({"content": "hello"}, "stop"), counted(0, 0)],
    ],
)
def test_what_counts_only_a_part_of_an_answer_is_no_count(chunks: list[dict[str, Any]]) -> None:
    events = read([*chunks, b"[DONE]"])
    assert not [event for event in events if isinstance(event, Usage)]
    assert isinstance(events[-1], Done)


def test_a_count_in_each_chunk_is_taken_from_the_last() -> None:
    chunks = [
        said({"content": "hel"}, usage={"prompt_tokens": 7, "completion_tokens": 1}),
        said({"content": "lo"}, usage={"prompt_tokens": 7, "completion_tokens": 2}),
        said({}, "stop"),
    ]
    assert Usage(input_tokens=7, output_tokens=2) in read([*chunks, b"[DONE]"])
