"""Server-sent events, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.llm.sse import EventDecoder

LINES = st.lists(
    st.one_of(
        st.sampled_from([b"", b"", b"data: {}", b"data:x", b"data:  y", b"data", b": note", b"event: ping", b"id: 1"]),
        st.text(alphabet="da:t \u2028\u0085é\x0b", max_size=6).map(str.encode),
    ),
    max_size=12,
)


def decode(pieces: list[bytes]) -> list[bytes]:
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


@settings(max_examples=200, deadline=None)
@given(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 100), max_size=8))
def test_the_events_are_the_same_however_the_bytes_are_cut(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    whole = b"".join(line + end for line in lines)
    places = sorted(min(cut, len(whole)) for cut in cuts)
    pieces = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
    naive: list[bytes] = []
    held: list[bytes] = []
    for line in lines:
        field, _, value = line.partition(b":")
        if not line and held:
            naive.append(b"\n".join(held))
            held = []
        elif field == b"data":
            held.append(value[1:] if value.startswith(b" ") else value)
    assert decode([whole]) == naive
    assert decode(pieces) == naive
    assert decode([whole[at : at + 1] for at in range(len(whole))]) == naive


@pytest.mark.parametrize(
    ("pieces", "events"),
    [
        ([b"data: a\r", b"\n\r", b"\n"], [b"a"]),
        ([b"data: a\r", b"\rdata: b\n\n"], [b"a", b"b"]),
        ([b"data: a\n", b"", b"\n"], [b"a"]),
        ([b"data: a\r", b"", b"\n", b"\n"], [b"a"]),
        ([b"data: a\n\ndata: cut off"], [b"a"]),
        (["data: a\u2028b\n\n".encode()], ["a\u2028b".encode()]),
    ],
)
def test_a_line_end_may_be_cut_in_two(pieces: list[bytes], events: list[bytes]) -> None:
    assert decode(pieces) == events


def test_what_is_held_back_is_known_and_let_go_with_the_event() -> None:
    decoder = EventDecoder()
    decoder.feed(b"data: 12345\ndata: 678")
    assert decoder.held_bytes == len(b"data: 12345") + len(b"data: 678")
    decoder.feed(b"\n\n")
    assert decoder.held_bytes == 0
