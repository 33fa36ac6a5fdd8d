"""INVARIANT: text that the scanner accepts means one thing elsewhere too, and nothing that means one thing is refused.

The model is the standard library's reader with every liberty taken away: equal keys, odd numbers, halves of surrogate
pairs.  It shares no code with the scanner, which reads with another library.
"""

from __future__ import annotations

import json
import math
from typing import NoReturn

from hypothesis import given
from hypothesis import strategies as st

from astrid.core.json_scan import scan_json
from astrid.errors import CanonError

MAX_BYTES = 120
LIMIT = 2**53


class OddError(Exception):
    """The model refuses."""


def refuse(_text: str) -> NoReturn:
    raise OddError


def whole(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > LIMIT:
        raise OddError
    return int(text)


def fraction(text: str) -> float:
    if not math.isfinite(float(text)):
        raise OddError
    return float(text)


def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise OddError
    for key, _ in pairs:
        check_text(key)
    return dict(pairs)


def check_text(text: str) -> None:
    if any(0xD800 <= ord(char) < 0xE000 for char in text):
        raise OddError


def depth_of(value: object) -> int:
    """How many containers are around the deepest place; on the way every text is looked at."""
    match value:
        case str():
            check_text(value)
            return 0
        case dict():
            return 1 + max(map(depth_of, value.values()), default=0)
        case list():
            return 1 + max(map(depth_of, value), default=0)
        case _:
            return 0


def means_one_thing(data: bytes, max_depth: int, floats: bool) -> bool:
    if len(data) > MAX_BYTES:
        return False
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=members,
            parse_int=whole,
            parse_float=fraction if floats else refuse,
            parse_constant=refuse,
        )
        return depth_of(value) <= max_depth
    except (OddError, UnicodeDecodeError, json.JSONDecodeError):
        return False


PIECES = (
    *'{ } [ ] , : " "a" "b" "" "\\u0061" "\\u0000" "\\ud83d\\ude00" "\\ud83d" "\\ude00" "\\ude00\\ud83d"'.split(),
    *"true false null True NaN Infinity -Infinity 0 -0 00 01 1. .5 1.5 -1 +1 1e5 1E400 1e-400 0x1 1_0 -".split(),
    *(str(n) for edge in (2**53, 2**63, 2**64) for n in (edge - 1, edge, edge + 1, -edge, -edge - 1)),
    *(" ", "\t", "\n", "\r", "\v", "\xa0", "\ufeff", "\x00", "\x1f", "\x7f", "//", "/**/", "'", "\\", '"\\', '"\n"'),
    *('{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '{"a:":1}', '":"', '"\\""', '"\\\\"', '{"k":', "[[", "]]", "é", "\u2028"),
)
soup = st.lists(st.sampled_from(PIECES), max_size=14).map("".join).map(lambda text: text.encode())
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
written = st.tuples(values, st.booleans()).map(lambda drawn: json.dumps(drawn[0], ensure_ascii=drawn[1]))
valid = written.map(lambda text: text.encode("utf-8", "surrogatepass"))


KEYS = ('"a"', '"\\u0061"', '"b"', '""', '"a:"', '"\\""', '"\\ud83d\\ude00"', '"\U0001f600"', '"\\ud83d"')
LEAVES = (
    *KEYS,
    "true",
    "null",
    "0",
    "-0",
    "1.5",
    "1e5",
    "1e400",
    "NaN",
    *(str(2**53 + n) for n in (0, 1)),
    "-9007199254740993",
)


def contain(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Lists and objects of pieces that are text already, so that a key may stand twice, in one spelling or in two."""
    members = st.tuples(st.sampled_from(KEYS), inner).map(":".join)
    return st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]") | st.lists(members, max_size=3).map(
        lambda items: f"{{{', '.join(items)}}}"
    )


spelled = st.recursive(st.sampled_from(LEAVES), contain, max_leaves=6).map(lambda text: text.encode())


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """Valid text with a piece put in, taken out, or doubled."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at:at] = draw(st.sampled_from(PIECES)).encode()
            case 1:
                del data[at : at + draw(st.integers(1, 4))]
            case 2:
                data[at:at] = data[max(0, at - 6) : at]
            case _:
                data[at:at] = draw(st.binary(min_size=1, max_size=2))
    return bytes(data)


@given(spelled | spelled | soup | edited() | st.binary(max_size=60), st.integers(0, 5), st.booleans())
def test_accepted_is_exactly_what_means_one_thing(data: bytes, max_depth: int, floats: bool) -> None:
    try:
        scan_json(data, max_bytes=MAX_BYTES, max_depth=max_depth, floats=floats)
    except CanonError as error:
        assert error.code.startswith("canon.json-")
        assert not means_one_thing(data, max_depth, floats), error.message
    else:
        assert means_one_thing(data, max_depth, floats)
