"""INVARIANT: one value has one byte string; bytes that decode are exactly what the value encodes to.

The model is a second encoder, written from the msgpack specification, that can also spell each part in the ways that
the protocol forbids.  Every type that is signed, hashed or recorded is drawn from its declaration.
"""

from __future__ import annotations

import importlib
import pkgutil
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache

import msgspec
import msgspec.inspect as declared
from hypothesis import given
from hypothesis import strategies as st

import astrid.core
from astrid.core.call import decode_call
from astrid.core.canon import Signed, decode, encode
from astrid.errors import AstridError, CanonError

MAX = 1 << 20
Choose = Callable[[int], int]
"""Which of so many spellings; 0 is the shortest."""


def all_shapes() -> list[type[Signed]]:
    """Every type of the core that has an encoding."""
    for module in pkgutil.iter_modules(astrid.core.__path__):
        importlib.import_module(f"astrid.core.{module.name}")
    found: list[type[Signed]] = []
    todo: list[type[Signed]] = [Signed]
    while todo:
        for shape in todo.pop().__subclasses__():
            todo.append(shape)
            if shape.__module__.startswith("astrid.core."):
                found.append(shape)
    return sorted(found, key=lambda shape: shape.__qualname__)


def values_of(kind: declared.Type) -> st.SearchStrategy[object]:
    """What may stand where ``kind`` is declared."""
    match kind:
        case declared.IntType(ge=least, le=most):
            lowest, highest = int(least or 0), int(most if most is not None else 2**64 - 1)
            edges = (lowest, highest, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63)
            return st.sampled_from([n for n in edges if lowest <= n <= highest]) | st.integers(lowest, highest)
        case declared.BytesType(min_length=shortest, max_length=longest):
            return st.binary(min_size=shortest or 0, max_size=min(longest or 40, 300))
        case declared.Metadata(type=declared.StrType(pattern=None), extra={"printable ASCII": True}):
            return st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
        case declared.StrType(pattern=None):
            return st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
        case declared.StrType(pattern=pattern):
            return st.from_regex(str(pattern))
        case declared.BoolType():
            return st.booleans()
        case declared.VarTupleType(item_type=item, max_length=longest):
            return st.lists(values_of(item), max_size=min(longest or 4, 17)).map(tuple)
        case declared.TupleType(item_types=items):
            return st.tuples(*map(values_of, items))
        case declared.StructType(cls=shape):
            return values_of_shape(shape)
        case _:
            raise AssertionError(f"nothing of the kind {kind} is signed")


@lru_cache
def values_of_shape(shape: type) -> st.SearchStrategy[object]:
    kind = declared.type_info(shape)
    assert isinstance(kind, declared.StructType)
    return st.tuples(*(values_of(field.type) for field in kind.fields)).map(lambda fields: shape(*fields))


SHAPES = all_shapes()
VALUES = st.sampled_from(SHAPES).flatmap(values_of_shape)


def spell(value: object, choose: Choose) -> bytes:
    """The value in msgpack; all shortest, it is the canonical spelling."""
    match value:
        case bool():
            return _one_of((bytes([0xC2 + value]), bytes([value])), choose)
        case int():
            return _one_of(tuple(_integers(value)), choose)
        case bytes():
            headers = _lengths(len(value), (), (0xC4, 0xC5, 0xC6)), _lengths(len(value), (0xA0, 32), (0xD9, 0xDA, 0xDB))
            return _one_of((*headers[0], *headers[1]), choose) + value
        case str():
            data = value.encode()
            headers = _lengths(len(data), (0xA0, 32), (0xD9, 0xDA, 0xDB)), _lengths(len(data), (), (0xC4, 0xC5, 0xC6))
            return _one_of((*headers[0], *headers[1]), choose) + data
        case tuple():
            return _row(value, choose)
        case Signed():
            return _row(tuple(getattr(value, name) for name in value.__struct_fields__), choose)
        case _:
            raise AssertionError(f"no spelling of {value!r}")


def _one_of(spellings: tuple[bytes, ...], choose: Choose) -> bytes:
    return spellings[choose(len(spellings))]


def _row(items: tuple, choose: Choose) -> bytes:
    lists = tuple(_lengths(len(items), (0x90, 16), (None, 0xDC, 0xDD)))
    map_of_numbers = bytes([0x80 | len(items)]) if len(items) < 16 else b"\xde" + struct.pack(">H", len(items))
    header = _one_of((*lists, map_of_numbers), choose)
    if header == map_of_numbers:
        return header + b"".join(spell(n, choose) + spell(item, choose) for n, item in enumerate(items))
    return header + b"".join(spell(item, choose) for item in items)


def _integers(number: int) -> Iterator[bytes]:
    if number < 128:
        yield bytes([number])
    for code, width in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        if number < 256**width:
            yield bytes([code]) + number.to_bytes(width, "big")
    for code, width in ((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)):
        if number < 256**width // 2:
            yield bytes([code]) + number.to_bytes(width, "big", signed=True)
    yield b"\xcb" + struct.pack(">d", number)


def _lengths(length: int, short: tuple[int, ...], codes: tuple[int | None, ...]) -> Iterator[bytes]:
    if short and length < short[1]:
        yield bytes([short[0] | length])
    for code, width in zip(codes, (1, 2, 4), strict=True):
        if code is not None and length < 256**width:
            yield bytes([code]) + length.to_bytes(width, "big")


def shortest(_count: int) -> int:
    return 0


@given(VALUES)
def test_each_value_is_encoded_as_the_specification_says_and_read_back_as_itself(value: Signed) -> None:
    data = encode(value)
    assert data == spell(value, shortest)
    assert decode(data, type(value), max_bytes=MAX, what="it") == value


@given(VALUES, st.data())
def test_no_second_spelling_of_a_value_is_read(value: Signed, data: st.DataObject) -> None:
    odd = set(data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=3)))
    count = iter(range(10**6))
    other = spell(value, lambda options: data.draw(st.integers(0, options - 1)) if next(count) in odd else 0)
    try:
        read = decode(other, type(value), max_bytes=MAX, what="it")
    except CanonError:
        assert other != encode(value)
    else:
        assert other == encode(read) == spell(read, shortest)


EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3), st.integers(0, 7)), min_size=1, max_size=4
)


@given(VALUES, EDITS, st.sampled_from(SHAPES))
def test_bytes_that_decode_are_the_one_spelling_of_their_value(
    value: Signed, edits: list[tuple[int, int, bytes, int]], other: type[Signed]
) -> None:
    data = bytearray(encode(value))
    for place, what, new, bit in edits:
        at = place % (len(data) + 1)
        if what == 0:
            data[at:at] = new
        elif what == 1:
            del data[at : at + 1 + bit]
        elif at < len(data):
            data[at] = data[at] ^ 1 << bit if what == 2 else (new or b"\0")[0]
    for shape in (type(value), other):
        try:
            read = decode(bytes(data), shape, max_bytes=MAX, what="it")
        except AstridError:
            continue
        assert encode(read) == bytes(data) == spell(read, shortest)


def fine(value: object) -> bool:
    """Whether the protocol has an encoding for it."""
    match value:
        case bool() | bytes():
            return True
        case int():
            return -(2**63) <= value < 2**64
        case str():
            return not any(0xD800 <= ord(char) < 0xE000 for char in value)
        case tuple():
            return all(map(fine, value))
        case _:
            return False


def as_read(value: object) -> object:
    return [as_read(item) for item in value] if isinstance(value, tuple) else value


plain = st.booleans() | st.integers() | st.binary(max_size=9) | st.text(st.characters(), max_size=5)
odd_ones = st.none() | st.floats() | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2) | st.just([1])
edges = st.sampled_from([2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**200, "\ud800", "a\udfff", float("nan")])
anything = st.recursive(plain | odd_ones | edges, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)


@given(anything)
def test_what_has_no_encoding_is_refused_and_all_else_is_encoded(value: object) -> None:
    try:
        data = encode(value)
    except CanonError:
        assert not fine(value)
    else:
        assert fine(value)
        assert msgspec.msgpack.decode(data) == as_read(value)


@given(VALUES, st.data())
def test_a_field_that_is_not_what_was_declared_is_refused_before_it_is_signed(
    value: Signed, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(value.__struct_fields__))
    wrong = msgspec.structs.replace(value, **{name: data.draw(anything)})
    try:
        written = encode(wrong)
    except CanonError:
        return
    assert decode(written, type(value), max_bytes=MAX, what="it") == wrong


@given(st.binary(max_size=400))
def test_call_bytes_are_refused_or_canonical(data: bytes) -> None:
    try:
        call = decode_call(data)
    except AstridError:
        return
    assert encode(call) == data
