from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.canon import Signed, encode
from astrid.errors import AstridError, CanonError, LocalProtocolError
from astrid.frontends.signer.protocol import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    REQUESTS,
    AcceptLoss,
    AnswerQuestion,
    Create,
    Failure,
    GrantPatterns,
    GrantWorkspace,
    KeyState,
    Reply,
    Request,
    Reseal,
    Revoke,
    Show,
    SignPrompt,
    Unlock,
    Unseal,
    answered,
    check_length,
    frame,
    pack,
    unpack,
)

EVERY = (
    Show(),
    Unlock(),
    Create(plain=True),
    Reseal(),
    Unseal(),
    AnswerQuestion(b"q", b"note", (b"p" * 32,)),
    GrantWorkspace(b"/w", "safe", 3, 7),
    GrantPatterns(("file://w/**",), 1, 1, 3, 5, 7, b"", tainted_ok=False),
    Revoke(b"t" * 32, "token"),
    SignPrompt(b"a" * 32, b"s" * 16, 1, b"text"),
    AcceptLoss(),
)


def body(asked: Signed) -> bytes:
    return pack(asked)[HEADER_BYTES:]


@pytest.mark.parametrize("asked", EVERY, ids=lambda asked: type(asked).__name__)
def test_every_request_arrives_as_it_was_sent(asked: Signed) -> None:
    data = pack(asked)
    assert int.from_bytes(data[:HEADER_BYTES]) == len(data) - HEADER_BYTES
    assert unpack(data[HEADER_BYTES:]) == asked


def test_every_operation_has_an_example_here() -> None:
    assert {type(asked) for asked in EVERY} == set(REQUESTS.values())


def test_an_operation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(LocalProtocolError) as refused:
        unpack(encode(Request("sign-digest", b"\x90")))
    assert refused.value.code == "signer.unknown-request"


def test_the_fields_of_one_operation_are_not_taken_for_another() -> None:
    with pytest.raises(CanonError):
        unpack(encode(Request("create", encode(Reseal()))))


@given(st.sampled_from(EVERY), st.data())
@settings(max_examples=150)
def test_a_changed_request_is_refused_or_is_another_request(asked: Signed, data: st.DataObject) -> None:
    raw = bytearray(body(asked))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = unpack(bytes(raw))
    except AstridError:
        return
    assert body(changed) == bytes(raw)


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_a_frame_of_a_wrong_length_is_refused_before_it_is_read(size: int) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        check_length(size)
    assert refused.value.code == "signer.frame"


def test_a_frame_that_is_too_long_is_not_made() -> None:
    with pytest.raises(LocalProtocolError):
        frame(bytes(MAX_FRAME_BYTES + 1))


def test_a_reply_is_what_was_expected_or_a_failure() -> None:
    state, failure = KeyState(b"k" * 32, 1, unlocked=False), Failure("a.b", "text", "", "")
    assert answered(encode(Reply(done=True, body=encode(state))), KeyState) == state
    assert answered(encode(Reply(done=False, body=encode(failure))), KeyState) == failure


def test_a_failure_is_not_taken_for_an_answer() -> None:
    with pytest.raises(CanonError):
        answered(encode(Reply(done=True, body=encode(Failure("a.b", "text", "", "")))), KeyState)
