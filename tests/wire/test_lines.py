"""However a stream is cut, the same lines come out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.errors import RemoteProtocolError
from astrid.wire.lines import LineReader, as_line


def lines_of(reader: LineReader, chunks: list[bytes]) -> list[bytes]:
    found: list[bytes] = []
    for chunk in chunks:
        reader.feed(chunk)
        while (line := reader.next_line()) is not None:
            found.append(line)
    return found


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=6),
    rest=st.binary(max_size=5).map(lambda rest: rest.replace(b"\n", b"")),
    cuts=st.lists(st.integers(0, 80), max_size=8).map(sorted),
)
def test_the_lines_do_not_depend_on_how_the_stream_is_cut(lines: list[bytes], rest: bytes, cuts: list[int]) -> None:
    stream = b"".join(map(as_line, lines)) + rest
    edges = [0, *cuts, len(stream) + 80]
    reader = LineReader()
    assert lines_of(reader, [stream[a:b] for a, b in pairwise(edges)]) == lines
    assert reader.held_bytes == len(rest)


def test_an_empty_line_is_a_line() -> None:
    assert lines_of(LineReader(), [b"\n\na\n"]) == [b"", b"", b"a"]


def test_a_line_of_the_greatest_length_passes() -> None:
    assert lines_of(LineReader(3), [b"abc\n"]) == [b"abc"]


@pytest.mark.parametrize("chunks", [[b"abcd\n"], [b"ab", b"cd"], [b"abcd"], [b"ab", b"cd\n"]])
def test_a_longer_line_is_refused_whether_it_ended_or_not(chunks: list[bytes]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        lines_of(LineReader(3), chunks)
    assert caught.value.code == "wire.too-long"


def test_the_lines_before_one_that_is_too_long_come_out() -> None:
    reader = LineReader(3)
    reader.feed(b"a\nbc\nlonger\nd\n")
    assert [reader.next_line(), reader.next_line()] == [b"a", b"bc"]
    with pytest.raises(RemoteProtocolError):
        reader.next_line()


@pytest.mark.parametrize("chunk", [b"longer\nd\n", b"longer"])
def test_no_line_comes_out_after_one_that_was_too_long(chunk: bytes) -> None:
    reader = LineReader(3)
    reader.feed(chunk)
    for more in (b"", b"\n", b"e\n"):
        reader.feed(more)
        with pytest.raises(RemoteProtocolError):
            reader.next_line()


def test_the_limit_may_grow_between_lines() -> None:
    reader = LineReader(3)
    assert lines_of(reader, [b"abc\n"]) == [b"abc"]
    reader.max_bytes = 6
    assert lines_of(reader, [b"longer\n"]) == [b"longer"]


def test_many_small_chunks_are_searched_once() -> None:
    """A reader that began its search anew with each chunk would take minutes here."""
    reader = LineReader()
    assert lines_of(reader, [b"x"] * 300_000 + [b"\n"]) == [b"x" * 300_000]
