"""An identifier that is not printable ASCII is found wherever in a value it stands, and nothing else is judged."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import astrid
from astrid.core.canon import Ascii, Signed, decode, encode
from astrid.core.printable import check_of, is_printable
from astrid.errors import CanonError


class One(Signed, frozen=True, array_like=True):
    name: Ascii
    size: int


class Free(Signed, frozen=True, array_like=True):
    text: str
    size: int


class Many(Signed, frozen=True, array_like=True):
    first: Ascii
    free: str
    second: Ascii
    ones: tuple[One, ...]
    pair: tuple[int, Ascii]
    names: tuple[Ascii, ...]
    none: tuple[Free, ...]
    inner: One
    last: Ascii


TEXTS = st.text(max_size=3) | st.sampled_from(["", "a", " ~", "\x7f", "\x1f", "é", "\n", "a\n", "\u00a0"])
ONES = st.builds(One, TEXTS, st.integers(0, 9))
MANY = st.builds(
    Many,
    TEXTS,
    TEXTS,
    TEXTS,
    st.lists(ONES, max_size=2).map(tuple),
    st.tuples(st.integers(0, 9), TEXTS),
    st.lists(TEXTS, max_size=2).map(tuple),
    st.lists(st.builds(Free, TEXTS, st.integers(0, 9)), max_size=2).map(tuple),
    ONES,
    TEXTS,
)


def plainly(value: Many) -> bool:
    """The same, said field by field."""
    marked = [value.first, value.second, value.last, value.inner.name, value.pair[1], *value.names]
    return all(re.fullmatch(r"[ -~]*", text) for text in (*marked, *(one.name for one in value.ones)))


@given(st.text())
def test_printable_is_what_stands_between_space_and_tilde(text: str) -> None:
    assert is_printable(text) == bool(re.fullmatch(r"[ -~]*", text))


@given(MANY)
def test_every_marked_text_is_looked_at_and_no_other(value: Many) -> None:
    check = check_of(Many)
    assert check is not None
    assert check(value) == plainly(value)


@given(MANY)
def test_what_is_not_printable_is_neither_encoded_nor_decoded(value: Many) -> None:
    if plainly(value):
        assert decode(encode(value), Many, max_bytes=10_000, what="it") == value
        return
    with pytest.raises(CanonError, match="declared type"):
        encode(value)
    with pytest.raises(CanonError, match="printable"):
        decode(_unchecked(value), Many, max_bytes=10_000, what="it")


def _unchecked(value: Many) -> bytes:
    """The bytes that somebody else may send."""
    ones = tuple((one.name, one.size) for one in value.ones)
    none = tuple((one.text, one.size) for one in value.none)
    inner = (value.inner.name, value.inner.size)
    fields = (value.first, value.free, value.second, ones, value.pair, value.names, none, inner, value.last)
    return encode(fields)


@pytest.mark.parametrize("kind", [Free, int, str, tuple[int, ...], tuple[int, str], tuple[Free, ...]])
def test_where_no_text_is_marked_nothing_is_asked(kind: object) -> None:
    assert check_of(kind) is None


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Ascii, "a", "é"),
        (tuple[Ascii, ...], ("a", "b"), ("a", "é")),
        (tuple[int, Ascii], (1, "a"), (1, "é")),
        (tuple[One, ...], (One("a", 1),), (One("a", 1), One("é", 1))),
    ],
)
def test_a_mark_counts_outside_of_a_struct_too(kind: object, good: object, bad: object) -> None:
    check = check_of(kind)
    assert check is not None
    assert (check(good), check(bad)) == (True, False)


def marked_outside(source: str) -> list[str]:
    """The classes that mark a text and that ``canon`` does not read."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(one, ast.AnnAssign) and "Ascii" in ast.unparse(one.annotation) for one in node.body)
        and "Signed" not in map(ast.unparse, node.bases)
    ]


def test_a_mark_stands_only_where_it_is_read() -> None:
    """What decodes by itself, JSON say, would not know of it."""
    sources = {path: path.read_text("utf-8") for path in Path(astrid.__file__).parent.rglob("*.py")}
    assert {str(path): found for path, text in sources.items() if (found := marked_outside(text))} == {}
    assert marked_outside("class A(Signed):\n    name: Ascii\nclass B(Struct):\n    many: tuple[Ascii, ...]") == ["B"]
