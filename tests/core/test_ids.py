"""Identifiers have one spelling each."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.ids import is_scripted, parse_id, session_id, show_call, show_id
from astrid.errors import InputError

KINDS = {"session": 16, "question": 16, "token": 32, "workspace": 32, "install": 32, "call": 8}
MODEST = settings(max_examples=100, deadline=None)


@MODEST
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_an_identifier_is_read_back_as_it_was_printed(kind: str, data: st.DataObject) -> None:
    value = data.draw(st.binary(min_size=KINDS[kind], max_size=KINDS[kind]))
    assert parse_id(kind, show_id(kind, value)) == value


@MODEST
@given(st.binary(min_size=16, max_size=16), st.booleans())
def test_the_id_of_a_session_says_whether_it_is_scripted(entropy: bytes, scripted: bool) -> None:
    made = session_id(entropy, scripted=scripted)
    assert is_scripted(made) is scripted
    assert (made[0] & 0x7F, made[1:]) == (entropy[0] & 0x7F, entropy[1:])


def test_no_session_is_not_scripted() -> None:
    assert not is_scripted(b"")


def test_a_call_prints_as_its_number() -> None:
    assert parse_id("call", show_call(2**64 - 2)) == b"\xff" * 7 + b"\xfe"
    assert show_call(17) == "call:0000000000000011"


def test_it_prints_as_its_kind_and_lower_case_hex() -> None:
    assert show_id("session", b"\x00\xff" * 8) == "session:" + "00ff" * 8


GOOD = "session:" + "0a" * 16


@pytest.mark.parametrize(
    "text",
    [
        "",
        "session:",
        "0a" * 16,
        "token:" + "0a" * 16,
        "session:" + "0a" * 15,
        "session:" + "0a" * 17,
        "session:" + "0A" * 16,
        "SESSION:" + "0a" * 16,
        GOOD + "\n",
        " " + GOOD,
        GOOD.replace(":", "："),
        GOOD[:-1] + "g",
        GOOD[:-1] + "٣",
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_id("session", text)
    assert refused.value.code == "id.malformed"
    assert "32 lower-case hex digits" in refused.value.advice


def test_a_long_text_is_not_repeated_whole() -> None:
    with pytest.raises(InputError) as refused:
        parse_id("call", "x" * 10_000)
    assert len(refused.value.message) < 200
