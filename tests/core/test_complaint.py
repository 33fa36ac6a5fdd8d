from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from astrid.core.complaint import complaint


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    needed: int
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    names: list[str] = []


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: Inner | None = None
    flag: bool = False


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"wrong": 1}, "there is no key `wrong`"),
        ({"inner": {"needed": 1, "wrong": 1}}, "there is no key `inner.wrong`"),
        ({"inner": {"needed": 1, "a - at `$.b": 1}}, "there is no key `inner.a - at `$.b`"),
        ({"inner": {}}, "the key `inner.needed` is missing"),
        ({"inner": {"needed": 1, "count": 0}}, "`inner.count`: expected a whole number >= 1"),
        ({"inner": {"needed": "x"}}, "`inner.needed`: expected a whole number, got a text"),
        ({"inner": {"needed": 1, "names": ["a", 2]}}, "`inner.names[1]`: expected a text, got a whole number"),
        ({"flag": None}, "`flag`: expected true or false, got nothing"),
        ([], "expected a table, got a list"),
    ],
)
def test_a_complaint_names_the_key_and_no_class(value: object, says: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Outer, strict=True)
    assert complaint(caught.value) == says
