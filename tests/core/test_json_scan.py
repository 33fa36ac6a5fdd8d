"""The JSON scan: exactly the texts with one meaning pass."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astrid.core.json_scan import MAX_SAFE_INT, scan_json
from astrid.errors import CanonError

MODEST = settings(max_examples=200, deadline=None)
LIMIT = 1024 * 1024


def refusal(data: bytes, *, max_bytes: int = LIMIT, max_depth: int = 64, floats: bool = False) -> str | None:
    """The code with which the scan refuses ``data``, or ``None`` if it passes."""
    try:
        scan_json(data, max_bytes=max_bytes, max_depth=max_depth, floats=floats)
    except CanonError as error:
        return error.code
    return None


class Refused(Exception):  # noqa: N818 - a word of the tests, caught where it is raised
    """The reference reader says no."""


def reference_accepts(data: bytes, *, floats: bool) -> bool:
    """The same rules on top of the standard library's reader, which is another parser."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) != len(items):
            raise Refused
        return dict(items)

    def constant(_: str) -> None:
        raise Refused

    def integer(digits: str) -> int:
        if len(digits) > 20 or abs(int(digits)) > 2**53:
            raise Refused
        return int(digits)

    def fraction(digits: str) -> float:
        if not floats or abs(float(digits)) == float("inf"):
            raise Refused
        return float(digits)

    try:
        text = data.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=pairs, parse_constant=constant, parse_int=integer, parse_float=fraction
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on half a surrogate pair
    except (Refused, ValueError, RecursionError):
        return False
    return _depth(value) <= 64


def _depth(value: object) -> int:
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
        case _:
            return 0


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"[]",
        b"0",
        b"-0",
        b'""',
        b"null",
        b" \t\r\n[ true , false ]\n",
        b'{"a":{"a":1},"b":[{"a":1},{"a":2}]}',
        b'{"a:b":"c:d","\\":":":"}',
        b'"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\ud83d\\ude00"',
        b'"\\\\ud800"',
        '{"é":"\U0001f600\u2028\x7f"}'.encode(),
        b"[9007199254740992,-9007199254740992]",
    ],
)
def test_text_with_one_meaning_passes(text: bytes) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"\\/":1,"/":2}',
        b'{"\xf0\x9f\x98\x80":1,"\\uD83D\\uDE00":2}',
        b'{"":1,"":2}',
        b'[{"b":[{"x":1,"y":{},"x":1}]}]',
        b'{"a":{},"b":{},"a":{"c":":"}}',
    ],
)
def test_a_key_named_twice_in_one_object_is_refused(text: bytes) -> None:
    assert refusal(text) == "canon.json-duplicate-key"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf{}",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b"{1:1}",
        b"[1 2]",
        b"1 2",
        b"{}{}",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"1e",
        b"0x1",
        b"1_0",
        b"-",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"nul",
        b"True",
        b'"',
        b'"\\',
        b'"\\"' * 1000,
        b'"\\x"',
        b'"\\u12"',
        b'"a\nb"',
        b'"\x00"',
        b"/**/1",
        b"\x0c1",
        b"1\x00",
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud83d\\n"',
        b'"\\ud83d\\ud83d"',
        b'{"\\udfff":1}',
    ],
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    assert refusal(text, floats=True) == "canon.json-syntax"


@pytest.mark.parametrize("text", [b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'{"\xfe":1}'])
def test_what_is_not_utf8_is_refused(text: bytes) -> None:
    assert refusal(text) == "canon.json-utf8"


@pytest.mark.parametrize(
    "text", [b"9007199254740993", b"-9007199254740993", b"[18446744073709551616]", b"1" * 5000, b"1e400", b"-1e400"]
)
def test_a_number_that_readers_round_differently_is_refused(text: bytes) -> None:
    assert refusal(text, floats=True) == "canon.json-number"


@pytest.mark.parametrize("text", [b"1.0", b"[1e2]", b"-0.0", b'{"a":1E-5}'])
def test_a_fraction_passes_only_where_the_caller_allows_it(text: bytes) -> None:
    assert refusal(text) == "canon.json-number"
    assert refusal(text, floats=True) is None


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_containers_nest_as_deep_as_the_caller_says_and_no_deeper(opening: bytes, closing: bytes) -> None:
    assert refusal(opening * 8 + b"1" + closing * 8, max_depth=8) is None
    assert refusal(opening * 9 + b"1" + closing * 9, max_depth=8) == "canon.json-depth"


def test_an_empty_container_counts_as_a_level() -> None:
    assert refusal(b"[[]]", max_depth=2) is None
    assert refusal(b"[[]]", max_depth=1) == "canon.json-depth"
    assert refusal(b"1", max_depth=0) is None


def test_nesting_beyond_any_stack_is_refused_and_not_a_crash() -> None:
    assert refusal(b"[" * 500_000 + b"]" * 500_000, max_depth=2_000_000) == "canon.json-depth"


def test_the_length_is_judged_before_the_text_is_read() -> None:
    assert refusal(b'"12345678"', max_bytes=10) is None
    assert refusal(b"not JSON at all", max_bytes=10) == "canon.json-too-long"


def test_a_refusal_names_no_part_of_a_number_that_is_too_long_to_print() -> None:
    with pytest.raises(CanonError) as caught:
        scan_json(b"9" * 4300, max_bytes=LIMIT, max_depth=1)
    assert len(caught.value.message) < 100


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(b'"' + b'\\"' * (LIMIT // 2 - 1), "canon.json-syntax", id="quotes in a string that never ends"),
        pytest.param(b'"' + b"\\\\" * (LIMIT // 2 - 1) + b'"', None, id="backslashes"),
        pytest.param(b"[" + b'"",' * (LIMIT // 3 - 1) + b'""]', None, id="empty strings"),
        pytest.param(b"{" + b'"":1,' * (LIMIT // 5 - 2) + b'"":1}', "canon.json-duplicate-key", id="equal keys"),
        pytest.param(b"0." + b"1" * (LIMIT - 2), None, id="one long fraction"),
        pytest.param(b"1" * LIMIT, "canon.json-number", id="one long integer"),
    ],
)
def test_a_hostile_mebibyte_costs_few_steps_for_each_byte(text: bytes, code: str | None) -> None:
    """With a quadratic scan this test would not end in hours; with a linear one it takes hundredths of a second."""
    assert refusal(text, floats=True) == code


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INT, MAX_SAFE_INT) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
# Pieces that, put together at random, come near to JSON, and often near to its edges.
PIECES = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"',
            b"\\",
            b" ",
            b"\n",
            b"true",
            b"null",
            b"NaN",
            b"-",
            b"0",
            b"1",
            b".",
        ),
        *(b"e", b"9007199254740992", b"9007199254740993", b'"a":', b'"\\u0061":', b'"a"', b"\\ud800", b"\\udc00"),
        *(b'{"a":1}', b'{"a":1,"a":2}', b"\xff", b"\xed\xa0\x80", "é".encode(), b"[[]]", b'{"":', b"1e5", b"1.5"),
    ]
)


@MODEST
@given(value=VALUES, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 2))
def test_every_value_written_by_another_library_passes(value: object, ascii_only: bool, indent: int | None) -> None:
    assert refusal(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()) is None


@MODEST
@given(pairs=st.lists(st.tuples(st.text(max_size=2), VALUES), max_size=6))
def test_an_object_passes_exactly_if_its_keys_differ(pairs: list[tuple[str, object]]) -> None:
    text = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}"
    repeated = len({key for key, _ in pairs}) != len(pairs)
    assert refusal(text.encode()) == ("canon.json-duplicate-key" if repeated else None)


@MODEST
@given(pieces=st.lists(PIECES, max_size=8), floats=st.booleans())
@example(pieces=[b'{"a":', b'{"a":1}', b"}"], floats=False)
def test_the_scan_and_another_parser_agree_on_what_comes_near_to_json(pieces: list[bytes], floats: bool) -> None:
    text = b"".join(pieces)
    assert (refusal(text, floats=floats) is None) == reference_accepts(text, floats=floats)


@MODEST
@given(value=VALUES, ascii_only=st.booleans(), floats=st.booleans(), data=st.data())
def test_the_scan_and_another_parser_agree_on_damaged_json(
    value: object, ascii_only: bool, floats: bool, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    at = data.draw(st.integers(0, len(text)))
    drop = data.draw(st.integers(0, 3))
    text = text[:at] + data.draw(PIECES | st.binary(max_size=2)) + text[at + drop :]
    assert (refusal(text, floats=floats) is None) == reference_accepts(text, floats=floats)


@MODEST
@given(data=st.binary(max_size=64))
def test_no_bytes_at_all_raise_anything_else(data: bytes) -> None:
    assert (refusal(data) is None) == reference_accepts(data, floats=False)
