"""A field that decodes is in range."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.ids import parse_id, show_id
from astrid.wire import fields

MODEST = settings(max_examples=150, deadline=None)
MAX_U64 = 2**64 - 1


def accepts(shape: Any, value: object) -> bool:
    try:
        msgspec.json.decode(json.dumps(value).encode(), type=shape)
    except msgspec.ValidationError:
        return False
    return True


@MODEST
@given(
    number=st.one_of(
        st.integers(0, MAX_U64),
        st.integers(MAX_U64 - 100, MAX_U64 + 100),
        st.integers(0, 19).flatmap(lambda e: st.integers(max(0, 10**e - 2), 10**e + 2)),
        st.integers(MAX_U64, 10**21),
        st.integers(0, 20).map(lambda digits: int(str(MAX_U64)[:digits] or "0") + 1),
    )
)
def test_a_decimal_text_is_taken_exactly_up_to_2_to_the_64(number: int) -> None:
    assert accepts(fields.U64Text, str(number)) == (number <= MAX_U64)


@pytest.mark.parametrize("text", ["", "00", "01", "+1", "-1", "1.0", "1e3", " 1", "1 ", "1\n", "0x1", "1_0", "\u0661"])
def test_a_second_spelling_of_a_number_is_refused(text: str) -> None:
    assert not accepts(fields.U64Text, text)


@pytest.mark.parametrize("value", [-1, 2**53 + 1, True, 1.0, "1", None])
def test_a_safe_integer_is_nothing_else(value: object) -> None:
    assert not accepts(fields.Safe, value)


@pytest.mark.parametrize(
    ("kind", "shape", "size"),
    [("session", fields.SessionText, 16), ("question", fields.QuestionText, 16), ("token", fields.TokenText, 32)],
)
def test_an_identifier_travels_exactly_as_the_core_prints_it(kind: str, shape: Any, size: int) -> None:
    printed = show_id(kind, bytes(range(size)))
    assert accepts(shape, printed)
    assert accepts(fields.AnyIdText, printed)
    assert parse_id(kind, printed) == bytes(range(size))
    for other in (
        printed.upper(),
        printed[:-2],
        printed + "00",
        printed + "\n",
        " " + printed,
        printed.replace(kind, "x"),
    ):
        assert not accepts(shape, other)


@pytest.mark.parametrize("text", ["", "a b", "a\n", "é", "\x1b[2J", "x" * 129, "\x7f"])
def test_a_name_is_short_and_cannot_steer_a_terminal(text: str) -> None:
    assert not accepts(fields.Name, text)


@pytest.mark.parametrize("text", ["", "relative", "/a\x00b", "/" + "x" * 4096])
def test_a_path_is_absolute_bounded_and_without_nul(text: str) -> None:
    assert not accepts(fields.PathText, text)


def test_a_path_may_hold_any_text_a_folder_may() -> None:
    assert accepts(fields.PathText, "/home/u/näh/a b\n\u202e")


@pytest.mark.parametrize("text", ["a", "a.", ".a", "A.b", "a.B", "a b.c", "a.b\n", "9.a", "a..b", "a." + "b" * 64])
def test_a_code_is_a_family_and_a_reason(text: str) -> None:
    assert not accepts(fields.CodeText, text)


@pytest.mark.parametrize("text", ["wire.not-json", "a.b", "canon.json-utf8", "a.b.c"])
def test_every_spelling_of_a_code_is_taken(text: str) -> None:
    assert accepts(fields.CodeText, text)


@pytest.mark.parametrize("text", ["QQ", "Q Q==", "QQ==\n", "-_-_", "QQ==QQ==", "=QQQ", "\u00e9"])
def test_bytes_are_taken_from_padded_standard_base64_only(text: str) -> None:
    assert not accepts(bytes, text)


@pytest.mark.parametrize(("shape", "size"), [(fields.Bytes32, 32), (fields.Bytes64, 64)])
def test_bytes_of_fixed_length_have_that_length(shape: Any, size: int) -> None:
    spelled = {n: json.loads(msgspec.json.encode(bytes(n))) for n in (size - 1, size, size + 1)}
    assert [accepts(shape, text) for text in spelled.values()] == [False, True, False]
