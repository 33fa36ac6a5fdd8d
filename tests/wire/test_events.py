"""Events travel as they are, one a line, and each says when it may leave."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.errors import LocalProtocolError, RemoteProtocolError
from astrid.wire.events import (
    AnyEvent,
    Event,
    Flow,
    SessionSaved,
    TextDelta,
    ToolCallStart,
    decode_event,
    encode_event,
)
from tests.fakes.wire_values import values_of

SESSION = "session:" + "0" * 32
MODEST = settings(max_examples=150, deadline=None)
KINDS: tuple[type[Event], ...] = get_args(AnyEvent)


@MODEST
@given(event=values_of(AnyEvent))
def test_an_event_is_one_line_and_comes_back_the_same(event: AnyEvent) -> None:
    line = encode_event(event)
    assert b"\n" not in line
    assert decode_event(line) == event


@MODEST
@given(event=values_of(AnyEvent))
def test_every_event_says_what_it_is_whose_it_is_and_where_it_stands(event: AnyEvent) -> None:
    read = json.loads(encode_event(event))
    assert (read["event"], read["session_id"], read["seq"]) == (
        type(event).__struct_config__.tag,
        event.session_id,
        event.seq,
    )


def test_the_names_of_the_events_are_the_known_ones() -> None:
    assert [kind.__struct_config__.tag for kind in KINDS] == [
        *("text", "message", "tool_call_start", "tool_call_result", "approval_needed", "approval_settled", "denied"),
        *(
            "deferred",
            "usage",
            "context_compacted",
            "conversation_rewound",
            "budget",
            "budget_warning",
            "task_progress",
            "retrying",
            "session_saved",
            "turn_complete",
        ),
        *("error", "session_ended"),
    ]


def test_only_streamed_text_may_be_dropped_and_only_an_error_goes_ahead_of_the_log() -> None:
    flows = {kind.__struct_config__.tag: kind.flow for kind in KINDS if kind.flow is not Flow.DURABLE}
    assert flows == {"text": Flow.PROVISIONAL, "error": Flow.IMMEDIATE, "session_ended": Flow.IMMEDIATE}


def test_when_an_event_leaves_is_no_part_of_what_is_sent() -> None:
    assert b"flow" not in encode_event(TextDelta(session_id=SESSION, seq=0, text=""))


def test_the_arguments_of_a_call_arrive_byte_for_byte() -> None:
    args = '{"b": 1.50,\n "a":1, "a":\t"\\u0061"}'
    event = ToolCallStart(session_id=SESSION, seq=1, id="c", name="t", args=args)
    back = decode_event(encode_event(event))
    assert isinstance(back, ToolCallStart)
    assert back.args == args


@pytest.mark.parametrize(
    "event",
    [
        SessionSaved(session_id="x", seq=1),
        SessionSaved(session_id=SESSION, seq=-1),
        TextDelta(session_id=SESSION, seq=1, text="\ud800"),
    ],
)
def test_an_event_that_nobody_could_read_is_not_written(event: AnyEvent) -> None:
    with pytest.raises(LocalProtocolError):
        encode_event(event)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"event":"session_saved","session_id":"session:%s"}' % (b"0" * 32),
        b'{"event":"no_such","session_id":"session:%s","seq":1}' % (b"0" * 32),
        b'{"event":"session_saved","session_id":"session:%s","seq":1,"seq":2}' % (b"0" * 32),
        b'{"event":"session_saved","session_id":"session:%s","seq":1,"more":1}' % (b"0" * 32),
        b'{"event":"session_saved","event":"text","session_id":"session:%s","seq":1}' % (b"0" * 32),
    ],
)
def test_a_line_that_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_event(line)
    assert caught.value.code == "wire.bad-notice"


@MODEST
@given(data=st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_no_bytes_make_the_reader_of_events_raise_anything_else(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_event(data)
