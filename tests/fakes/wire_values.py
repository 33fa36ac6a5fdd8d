"""Hypothesis strategies for everything that travels: any value a wire type admits, made from the type itself."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from astrid.wire import fields

_SIMPLE: dict[type, st.SearchStrategy[Any]] = {
    inspect.NoneType: st.none(),
    inspect.BoolType: st.booleans(),
}


@cache
def values_of(shape: Any) -> st.SearchStrategy[Any]:
    """Values of a wire type: a struct, a union of structs, or the type of a field."""
    return _of(inspect.type_info(shape))


def _of(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StructType():
            fields = {field.name: _of(field.type) for field in info.fields}
            return st.builds(info.cls, **fields)
        case inspect.UnionType():
            return st.one_of([_of(member) for member in info.types])
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case inspect.VarTupleType():
            return st.lists(_of(info.item_type), max_size=3).map(tuple)
        case inspect.IntType():
            return st.integers(info.ge or 0, 2**53 if info.le is None else info.le)
        case inspect.BytesType():
            low = info.min_length or 0
            return st.binary(min_size=low, max_size=min(info.max_length or 64, low + 64))
        case inspect.StrType(pattern=str() as pattern):
            return st.from_regex(pattern)
        case inspect.StrType():
            return st.text(min_size=info.min_length or 0, max_size=min(info.max_length or 40, 40))
        case _:
            return _SIMPLE[type(info)]


def shape_of(value: msgspec.Struct) -> dict[str, Any]:
    """The struct as plain JSON data, to be damaged by a test."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _pattern(shape: Any) -> str | None:
    info = inspect.type_info(shape)
    return info.pattern if isinstance(info, inspect.StrType) else None


# One spelling for each pattern that a field of a wire type may have.
_SPELLED: dict[Any, str] = {
    fields.U64Text: "0",
    fields.SessionText: "session:" + "0" * 32,
    fields.QuestionText: "question:" + "0" * 32,
    fields.TokenText: "token:" + "0" * 64,
    fields.AnyIdText: "token:" + "0" * 64,
    fields.Name: "name",
    fields.PathText: "/",
    fields.ModelText: "model",
    fields.ResourceText: "file://a",
    fields.CodeText: "a.b",
}
_BY_PATTERN = {_pattern(shape): text for shape, text in _SPELLED.items()}


def smallest(shape: Any) -> Any:
    """A simple value of a wire type; always the same."""
    return _smallest(inspect.type_info(shape))


def _smallest(info: inspect.Type) -> Any:
    match info:
        case inspect.StructType():
            return info.cls(**{field.name: _smallest(field.type) for field in info.fields})
        case inspect.UnionType():
            nothing = [member for member in info.types if isinstance(member, inspect.NoneType)]
            return _smallest((nothing or info.types)[0])
        case inspect.LiteralType():
            return info.values[0]
        case inspect.VarTupleType():
            return ()
        case inspect.IntType():
            return info.ge or 0
        case inspect.BytesType():
            return bytes(info.min_length or 0)
        case inspect.StrType():
            return _BY_PATTERN[info.pattern] if info.pattern else "x" * (info.min_length or 0)
        case _:
            return None if isinstance(info, inspect.NoneType) else False
