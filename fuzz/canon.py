"""INVARIANT: one value has one byte string; bytes that decode are exactly what the value encodes to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from astrid.core.call import Call, decode_call
from astrid.core.canon import decode, encode
from astrid.core.chain import Frame
from astrid.core.question import Question
from astrid.core.tokens import Block, Grant, SignedBlock
from astrid.errors import AstridError

SHAPES = (Block, Grant, SignedBlock, Frame, Question, Call)


@given(st.binary(max_size=300), st.sampled_from(SHAPES))
def test_bytes_that_decode_are_the_one_spelling_of_their_value(data: bytes, shape: type) -> None:
    try:
        value = decode(data, shape, max_bytes=300, what="it")
    except AstridError:
        return
    assert encode(value) == data


@given(st.binary(max_size=400))
def test_call_bytes_are_refused_or_canonical(data: bytes) -> None:
    try:
        call = decode_call(data)
    except AstridError:
        return
    assert encode(call) == data
