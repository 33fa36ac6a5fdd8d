"""One value, one byte string, one digest in each domain."""

from __future__ import annotations

import importlib
import json
import pkgutil
import tracemalloc
from collections.abc import Iterator
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

import astrid.core
from astrid.core.canon import (
    MAX_U64,
    U8,
    U16,
    U32,
    U64,
    Ascii,
    Bytes16,
    Bytes32,
    Bytes64,
    Domain,
    Signed,
    commitment,
    decode,
    digest,
    encode,
)
from astrid.errors import CanonError

MODEST = settings(max_examples=150, deadline=None)
VECTORS = Path(__file__).parent.parent / "vectors"


class Inner(Signed, frozen=True, array_like=True):
    name: Ascii
    number: U16


class Sample(Signed, frozen=True, array_like=True):
    small: U8
    large: U64
    flag: bool
    text: str
    data: bytes
    key: Bytes32
    rows: tuple[Inner, ...]


class Lenient(Signed, frozen=True, array_like=True):
    """What protocol types must not be: it gives a field a default."""

    small: U8
    large: U64 = 7


SAMPLE = Sample(1, 2**40, True, "t", b"d", b"k" * 32, (Inner("a", 1), Inner("b", 2)))


def read(data: bytes, shape: type[Any] = Sample) -> Any:
    return decode(data, shape, max_bytes=4096, what="a sample")


def samples() -> st.SearchStrategy[Sample]:
    inner = st.builds(Inner, st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.integers(0, 2**16 - 1))
    return st.builds(
        Sample,
        st.integers(0, 255),
        st.integers(0, MAX_U64),
        st.booleans(),
        st.text(),
        st.binary(max_size=300),
        st.binary(min_size=32, max_size=32),
        st.lists(inner, max_size=4).map(tuple),
    )


@MODEST
@given(samples())
def test_what_is_encoded_is_read_back(value: Sample) -> None:
    assert decode(encode(value), Sample, max_bytes=1 << 20, what="a sample") == value


@MODEST
@given(samples(), st.data())
def test_no_other_byte_string_of_one_changed_byte_means_the_same(value: Sample, data: st.DataObject) -> None:
    right = encode(value)
    place = data.draw(st.integers(0, len(right) - 1))
    other = right[:place] + bytes([right[place] ^ data.draw(st.integers(1, 255))]) + right[place + 1 :]
    try:
        meant = decode(other, Sample, max_bytes=1 << 20, what="a sample")
    except CanonError:
        return
    assert meant != value
    assert encode(meant) == other


@MODEST
@given(st.binary(max_size=200))
def test_whatever_is_accepted_is_in_its_one_form(data: bytes) -> None:
    try:
        value = decode(data, tuple[Inner, ...], max_bytes=4096, what="rows")
    except CanonError:
        return
    assert encode(value) == data


SMALL = Inner("a", 1)
SPELLINGS = {
    "array16": b"\xdc\x00\x02\xa1a\x01",
    "array32": b"\xdd\x00\x00\x00\x02\xa1a\x01",
    "str8": b"\x92\xd9\x01a\x01",
    "str16": b"\x92\xda\x00\x01a\x01",
    "str32": b"\x92\xdb\x00\x00\x00\x01a\x01",
    "uint8": b"\x92\xa1a\xcc\x01",
    "uint16": b"\x92\xa1a\xcd\x00\x01",
    "uint32": b"\x92\xa1a\xce\x00\x00\x00\x01",
    "uint64": b"\x92\xa1a\xcf\x00\x00\x00\x00\x00\x00\x00\x01",
    "int8": b"\x92\xa1a\xd0\x01",
    "int64": b"\x92\xa1a\xd3\x00\x00\x00\x00\x00\x00\x00\x01",
}
OTHER_SHAPES = {
    "empty": b"",
    "nothing": b"\xc0",
    "cut short": b"\x91\xa1a",
    "extended": b"\x93\xa1a\x01\x02",
    "trailing": b"\x92\xa1a\x01\x00",
    "truncated": b"\x92\xa1a",
    "map": b"\x82\xa4name\xa1a\xa6number\x01",
    "nil": b"\x92\xa1a\xc0",
    "float": b"\x92\xa1a\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
    "bool for int": b"\x92\xa1a\xc3",
    "bin for str": b"\x92\xc4\x01a\x01",
    "str for int": b"\x92\xa1a\xa11",
    "extension": b"\x92\xa1a\xd4\x01\x00",
    "negative": b"\x92\xa1a\xff",
    "too large": b"\x92\xa1a\xce\x00\x01\x00\x00",
    "not UTF-8": b"\x92\xa1\xff\x01",
    "half a surrogate pair": b"\x92\xa3\xed\xa0\x80\x01",
    "not ASCII": b"\x92\xa2\xc3\xa9\x01",
    "a line break": b"\x92\xa1\n\x01",
    "a line break at the end": b"\x92\xa2a\n\x01",
    "huge array": b"\xdd\xff\xff\xff\xff",
    "huge string": b"\x92\xdb\xff\xff\xff\xff",
}


def test_the_minimal_spelling_is_the_one_that_is_accepted() -> None:
    assert encode(SMALL) == b"\x92\xa1a\x01"
    assert read(b"\x92\xa1a\x01", Inner) == SMALL


@pytest.mark.parametrize("data", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_second_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(CanonError) as refused:
        read(data, Inner)
    assert refused.value.code == "canon.second-spelling"


@pytest.mark.parametrize("data", OTHER_SHAPES.values(), ids=OTHER_SHAPES.keys())
def test_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises(CanonError) as refused:
        read(data, Inner)
    assert refused.value.code == "canon.malformed"


@pytest.mark.parametrize("data", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_without_writing_it_again_every_second_spelling_would_be_read_as_the_same(data: bytes) -> None:
    """Threat 14.  The control removed: what the library alone reads."""
    assert msgspec.msgpack.decode(data, type=Inner) == SMALL
    assert digest(Domain.BLOCK, data) != digest(Domain.BLOCK, encode(SMALL))


def test_a_nested_second_spelling_is_refused() -> None:
    with pytest.raises(CanonError, match="canonical form"):
        read(encode(SAMPLE).replace(b"\x92\xa1b\x02", b"\xdc\x00\x02\xa1b\x02"))


class Ranges(Signed, frozen=True, array_like=True):
    u8: U8
    u16: U16
    u32: U32
    u64: U64
    b16: Bytes16
    b32: Bytes32
    b64: Bytes64


LOWEST = Ranges(0, 0, 0, 0, b"x" * 16, b"x" * 32, b"x" * 64)


def test_numbers_reach_from_nothing_to_the_end_of_their_type() -> None:
    highest = msgspec.structs.replace(LOWEST, u8=2**8 - 1, u16=2**16 - 1, u32=2**32 - 1, u64=2**64 - 1)
    for value in (LOWEST, highest):
        assert decode(encode(value), Ranges, max_bytes=1024, what="ranges") == value


@pytest.mark.parametrize(
    "change",
    [
        *({name: -1} for name in ("u8", "u16", "u32", "u64")),
        *({name: 2**bits} for name, bits in (("u8", 8), ("u16", 16), ("u32", 32), ("u64", 64))),
        *({name: b"x" * (size + more)} for name, size in (("b16", 16), ("b32", 32), ("b64", 64)) for more in (-1, 1)),
    ],
    ids=str,
)
def test_what_is_beyond_the_end_of_its_type_is_not_encoded(change: dict[str, object]) -> None:
    with pytest.raises(CanonError):
        encode(msgspec.structs.replace(LOWEST, **change))


def test_input_as_long_as_the_bound_is_read() -> None:
    assert decode(b"\x92\xa1a\x01", Inner, max_bytes=4, what="a sample") == SMALL


def test_a_struct_with_a_default_still_has_one_spelling() -> None:
    assert read(b"\x92\x01\x07", Lenient) == Lenient(1)
    with pytest.raises(CanonError) as refused:
        read(b"\x91\x01", Lenient)
    assert refused.value.code == "canon.second-spelling"


def test_input_beyond_the_bound_is_refused_before_any_work_is_done() -> None:
    with pytest.raises(CanonError) as refused:
        decode(b"\x92\xa1a\x01", Inner, max_bytes=3, what="a sample")
    assert refused.value.code == "canon.too-long"
    assert "a sample is 4 bytes" in refused.value.message


@pytest.mark.parametrize("data", [b"\xdd\xff\xff\xff\xff", b"\x91\xc6\xff\xff\xff\xff"])
def test_a_length_that_lies_takes_no_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CanonError):
            decode(data, tuple[bytes, ...], max_bytes=64, what="a lie")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        None,
        {},
        {"a": 1},
        [1],
        {1},
        (1, None),
        (1, (2.0,)),
        2**64,
        -(2**64),
        "\ud800",
        date(2026, 1, 1),
        Colour.RED,
        object(),
    ],
    ids=repr,
)
def test_what_has_no_canonical_form_is_not_encoded(value: object) -> None:
    with pytest.raises(CanonError) as refused:
        encode(value)
    assert refused.value.code == "canon.no-encoding"


def test_plain_values_and_tuples_of_them_are_encoded() -> None:
    assert encode((1, b"a", "b", True, (SMALL,))) == b"\x95\x01\xc4\x01a\xa1b\xc3\x91\x92\xa1a\x01"


@pytest.mark.parametrize(
    "change",
    [
        {"small": 256},
        {"small": -1},
        {"small": True},
        {"small": 1.0},
        {"large": None},
        {"flag": 1},
        {"text": b"t"},
        {"data": "d"},
        {"key": b"k" * 31},
        {"key": b"k" * 33},
        {"rows": ["x"]},
        {"rows": {SMALL}},
        {"rows": (Inner("é", 1),)},
        {"rows": ((("a", 1)),)},
    ],
    ids=str,
)
def test_a_struct_that_no_reader_would_accept_is_not_encoded(change: dict[str, object]) -> None:
    with pytest.raises(CanonError) as refused:
        encode(msgspec.structs.replace(SAMPLE, **change))
    assert refused.value.code == "canon.no-encoding"


def test_a_bad_struct_inside_a_tuple_is_not_encoded() -> None:
    with pytest.raises(CanonError):
        encode((1, Inner("a", -1)))


def test_a_tuple_without_end_is_not_encoded() -> None:
    value: tuple[object, ...] = ()
    for _ in range(100_000):
        value = (value,)
    with pytest.raises(CanonError):
        encode(value)


# --- what may be in a protocol type at all

PLAIN = (int, bool, str, bytes, U8, U16, U32, U64, Ascii, Bytes16, Bytes32, Bytes64)


def signed_types() -> Iterator[type[Signed]]:
    for found in pkgutil.iter_modules(astrid.core.__path__, "astrid.core."):
        importlib.import_module(found.name)
    todo = list(Signed.__subclasses__())
    while todo:
        shape = todo.pop()
        todo += shape.__subclasses__()
        if shape.__module__.startswith("astrid."):
            yield shape


def leaves(info: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """The types a field is made of; those of nested structs are judged with the struct."""
    match info:
        case msgspec.inspect.VarTupleType():
            yield from leaves(info.item_type)
        case msgspec.inspect.TupleType():
            for item in info.item_types:
                yield from leaves(item)
        case msgspec.inspect.Metadata():  # a mark
            yield from leaves(info.type)
        case _:
            yield info


ALLOWED = (
    msgspec.inspect.IntType,
    msgspec.inspect.BoolType,
    msgspec.inspect.StrType,
    msgspec.inspect.BytesType,
    msgspec.inspect.StructType,
)


def breaches(shape: type[Signed]) -> list[str]:
    info = msgspec.inspect.type_info(shape)
    assert isinstance(info, msgspec.inspect.StructType)
    found = [f"{field.name} has a default" for field in info.fields if not field.required]
    found += [
        f"{field.name} is a {type(leaf).__name__}"
        for field in info.fields
        for leaf in leaves(field.type)
        if not isinstance(leaf, ALLOWED)
    ]
    return found if info.array_like and info.forbid_unknown_fields else [*found, "not a fixed array"]


def test_every_signed_type_is_a_fixed_array_without_defaults_maps_floats_or_nothing() -> None:
    shapes = list(signed_types())
    assert len(shapes) > 20
    assert {shape.__name__: wrong for shape in shapes if (wrong := breaches(shape))} == {}


def test_a_default_a_map_a_float_and_nothing_would_be_found() -> None:
    class Loose(Signed, frozen=True, array_like=True):
        a: dict[str, int]
        b: float
        c: int | None
        d: tuple[tuple[str, float], ...]
        e: int = 0

    assert [line.split(" ", 1)[0] for line in breaches(Loose)] == ["e", "a", "b", "c", "d"]
    assert breaches(Lenient) == ["large has a default"]


# --- digests


def blake3_vectors() -> list[dict[str, Any]]:
    content = json.loads((VECTORS / "blake3_official.json").read_text("utf-8"))
    assert content["count"] == len(content["vectors"]) == 35
    return content["vectors"]


@pytest.mark.parametrize("vector", blake3_vectors(), ids=lambda vector: str(vector["input_len"]))
def test_the_hash_is_blake3(vector: dict[str, Any]) -> None:
    data = bytes(i % 251 for i in range(vector["input_len"]))
    assert blake3(data).hexdigest() == vector["hash"][:64]
    assert commitment(b"whats the Elvish word for friend", data).hex() == vector["keyed_hash"][:64]
    derived = blake3(data, derive_key_context="BLAKE3 2019-12-27 16:29:52 test vectors context")
    assert derived.hexdigest() == vector["derive_key"][:64]


def test_a_digest_is_blake3_under_the_context_of_its_domain() -> None:
    for domain in Domain:
        assert digest(domain, b"x") == blake3(b"x", derive_key_context=f"astrid {domain.value} v1").digest()


def test_there_are_fourteen_domains_and_no_two_digests_of_one_text_are_equal() -> None:
    assert len(Domain) == 14
    assert len({digest(domain, b"x") for domain in Domain}) == 14


@pytest.mark.parametrize("salt", [b"", b"s" * 31, b"s" * 33])
def test_a_salt_of_another_length_is_refused(salt: bytes) -> None:
    with pytest.raises(CanonError) as refused:
        commitment(salt, b"x")
    assert refused.value.code == "canon.salt-length"


def test_commitments_to_one_text_under_two_salts_have_nothing_in_common() -> None:
    assert commitment(b"a" * 32, b"x") != commitment(b"b" * 32, b"x")
