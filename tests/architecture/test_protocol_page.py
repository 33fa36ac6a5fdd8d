"""The normative page states what the code does: every signed array, closed list, kind of record and limit.

The page is written for people; the blocks that are read here are marked by the word behind their fence.
"""

from __future__ import annotations

import enum
import importlib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, get_args

import msgspec
import pytest
from msgspec.inspect import (
    BoolType,
    BytesType,
    IntType,
    Metadata,
    StrType,
    StructType,
    TupleType,
    Type,
    VarTupleType,
    type_info,
)

from astrid import errors
from astrid.core.canon import Signed
from astrid.core.records import BODIES, Kind
from astrid.core.risk import NEVER_STANDING
from tests.architecture.source import ROOT, modules

PAGE = (ROOT / "docs" / "design" / "protocol.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ARRAY = re.compile(r"^(\w+) +\[(.*?)\]$", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"([a-z_]+) (\([^)]*\)\*?|[^\s,]+)")
RECORD = re.compile(r"^(\d+) +([a-z-]+) +(\w+|-)(?: +\S.*)?$", re.MULTILINE)
LIMIT = re.compile(r"^\| [^|]+ \| (\d+)(?: ([A-Za-z]+))? \| `(\w+)\.(\w+)` \|$", re.MULTILINE)
UNITS = MappingProxyType({"": 1, "KiB": 1024, "MiB": 1024**2, "s": 1, "h": 3600, "d": 24 * 3600})
INTEGERS = {0xFF: "u8", 0xFFFF: "u16", 0xFFFF_FFFF: "u32", None: "u64"}

Fields = dict[str, list[tuple[str, str]]]


# ---- what the page says


def blocks(page: str, mark: str) -> Iterator[str]:
    return (text for word, text in FENCE.findall(page) if word == mark)


def stated_fields(page: str) -> Fields:
    arrays = [array for text in blocks(page, "fields") for array in ARRAY.findall(text)]
    stated = {name: FIELD.findall(fields) for name, fields in arrays}
    assert len(stated) == len(arrays), "an array is stated twice"
    return stated


def stated_values(page: str) -> dict[str, dict[str, int | None]]:
    """List -> name -> number; without a number where names alone are signed."""
    stated: dict[str, dict[str, int | None]] = {}
    for line in (line for text in blocks(page, "values") for line in text.splitlines()):
        name, _, rest = line.partition(" ")
        stated[name] = {}
        for value in map(str.strip, rest.split(",")):
            number, _, word = value.rpartition(" ")
            stated[name][word] = int(number) if number else None
    return stated


def stated_records(page: str) -> list[tuple[int, str, str]]:
    return [
        (int(number), name, body) for text in blocks(page, "records") for number, name, body in RECORD.findall(text)
    ]


def stated_limits(page: str) -> dict[tuple[str, str], int]:
    return {(module, name): int(number) * UNITS[unit] for number, unit, module, name in LIMIT.findall(page)}


# ---- what the code says


def structs() -> dict[str, type[Signed]]:
    """Every array that is signed, hashed or recorded; what goes through the signer's pipes is none of these."""
    for module in modules():
        if module.name.startswith("astrid.core.") or module.name == "astrid.wire.pop":
            importlib.import_module(module.name)
    shapes = [*Signed.__subclasses__()]
    for shape in shapes:
        shapes += shape.__subclasses__()
    ours = [shape for shape in shapes if shape.__module__.startswith(("astrid.core.", "astrid.wire."))]
    return {shape.__name__: shape for shape in ours}


def spelt(kind: Type) -> str:
    """A type as the page writes it."""
    match kind:
        case BoolType():
            return "bool"
        case IntType(ge=0, le=limit):
            return INTEGERS.get(limit) or f"0..{limit}"
        case BytesType(min_length=None, max_length=None):
            return "bin"
        case BytesType(min_length=None, max_length=most):
            return f"bin0/{most}"
        case BytesType(min_length=least, max_length=most) if least == most:
            return f"bin{most}"
        case StrType(pattern=None):
            return "text"
        case Metadata(type=StrType(pattern=None), extra={"printable ASCII": True}):
            return "ascii"
        case StrType(pattern=str(pattern)) if choice := re.fullmatch(r"\^\(\?:([a-z|]+)\)\\Z", pattern):
            return choice[1]
        case StructType(cls=shape):
            return shape.__name__
        case VarTupleType(item_type=item):
            return f"{spelt(item)}*"
        case TupleType(item_types=items):
            return f"({', '.join(map(spelt, items))})"
        case _:
            raise AssertionError(f"the page has no word for {kind}")


def coded_fields() -> Fields:
    coded: Fields = {}
    for name, shape in structs().items():
        info = type_info(shape)
        assert isinstance(info, StructType)
        assert all(field.required for field in info.fields), f"`{name}` has a default, and so more than one length"
        coded[name] = [(field.name.rstrip("_"), spelt(field.type)) for field in info.fields]
    return coded


def coded_values(name: str) -> dict[str, int | None]:
    if name == "Effect":
        return dict.fromkeys(get_args(errors.Effect))
    if name == "NEVER_STANDING":
        return {effect.value: None for effect in NEVER_STANDING}
    members = importlib.import_module(f"astrid.core.{ENUMS[name]}").__dict__[name]
    return {_word(member): member.value if isinstance(member.value, int) else None for member in members}


def _word(member: enum.Enum) -> str:
    return member.value if isinstance(member.value, str) else (member.name or "").lower().replace("_", "-")


ENUMS = {
    "Domain": "canon",
    "Permission": "blocks",
    "Scope": "blocks",
    "Assurance": "blocks",
    "Risk": "risk",
    "EffectClass": "risk",
    "ControlKind": "tools",
    "OutputTrust": "tools",
    "Verdict": "answers",
    "Integrity": "labels",
}
LISTS = (*ENUMS, "Effect", "NEVER_STANDING")


def coded_records() -> list[tuple[int, str, str]]:
    return [(kind.value, _word(kind), BODIES[kind].__name__ if kind in BODIES else "-") for kind in Kind]


def differing(stated: Mapping[Any, Any], coded: Mapping[Any, Any]) -> list[object]:
    """The names about which page and code differ."""
    return [name for name in {**coded, **stated} if stated.get(name) != coded.get(name)]


# ---- and that they agree


@pytest.mark.parametrize("name", sorted({**structs(), **stated_fields(PAGE)}))
def test_an_array_has_on_the_page_the_fields_it_has_in_the_code(name: str) -> None:
    assert stated_fields(PAGE).get(name) == coded_fields().get(name)


@pytest.mark.parametrize("name", LISTS)
def test_a_closed_list_is_the_same_on_the_page_and_in_the_code(name: str) -> None:
    assert stated_values(PAGE).get(name) == coded_values(name)


def test_the_page_names_no_list_that_nothing_is_compared_with() -> None:
    assert sorted(stated_values(PAGE)) == sorted(LISTS)


def test_the_order_of_a_list_that_is_an_order_is_that_of_the_code() -> None:
    for name in ("EffectClass", "Integrity", "Risk", "Scope"):
        assert list(stated_values(PAGE)[name]) == list(coded_values(name))


def test_every_kind_of_record_has_its_row_and_its_body() -> None:
    assert stated_records(PAGE) == coded_records()


def test_every_limit_is_the_constant_that_it_names() -> None:
    stated = stated_limits(PAGE)
    assert len(stated) == PAGE.count("\n| ") - 1, "a row of the table cannot be read"
    for (module, name), value in stated.items():
        constant = importlib.import_module(f"astrid.core.{module}").__dict__[name]
        assert constant == value * (10**9 if name.endswith("_NS") else 1), f"{module}.{name}"


# ---- and that a difference would be seen


@pytest.mark.parametrize("name", sorted(stated_fields(PAGE)))
def test_a_field_missing_from_the_page_would_be_seen(name: str) -> None:
    short = re.sub(rf"^({name} +\[)[a-z_]+ [^\s,\]]+(, *)?", r"\1", PAGE, count=1, flags=re.MULTILINE)
    assert differing(stated_fields(short), stated_fields(PAGE)) == [name]
    assert stated_fields(short)[name] == stated_fields(PAGE)[name][1:]


@pytest.mark.parametrize(
    ("was", "becomes", "name"),
    [
        ("holder bin32, aud bin32", "aud bin32, holder bin32", "Block"),
        ("max_risk u8", "max_risk u16", "Grant"),
        ("turn u32", "turn u32, more u8", "PromptStatement"),
        ("kind token|key", "kind text", "Revocation"),
        ("session bin0/16, body", "session bin16, body", "Frame"),
        ("DeferredRecord   [ref", "DeferredRecrod   [ref", "DeferredRecord"),
    ],
)
def test_a_field_that_is_stated_wrongly_would_be_seen(was: str, becomes: str, name: str) -> None:
    assert name in differing(stated_fields(PAGE.replace(was, becomes)), stated_fields(PAGE))


@pytest.mark.parametrize(
    ("was", "becomes", "name"),
    [
        ("4 execute, 8 delete", "8 execute, 4 delete", "Permission"),
        ("snapshot, genesis", "genesis", "Domain"),
        ("3 critical", "3 critical, 4 worse", "Risk"),
    ],
)
def test_a_value_that_is_stated_wrongly_would_be_seen(was: str, becomes: str, name: str) -> None:
    stated = stated_values(PAGE.replace(was, becomes))
    assert differing(stated, stated_values(PAGE)) == [name]


@pytest.mark.parametrize("was", ["8     denied  ", "DeniedRecord    0", "\n8     denied           DeniedRecord"])
def test_a_kind_that_is_stated_wrongly_would_be_seen(was: str) -> None:
    assert was in PAGE
    assert stated_records(PAGE.replace(was, "\n99    other            Stop")) != stated_records(PAGE)


def test_a_limit_in_another_unit_would_be_seen() -> None:
    assert stated_limits("| x | 4 KiB | `blocks.MAX_PAYLOAD_BYTES` |") == {("blocks", "MAX_PAYLOAD_BYTES"): 4096}
    assert stated_limits("| x | 4 MiB | `blocks.MAX_PAYLOAD_BYTES` |") != {("blocks", "MAX_PAYLOAD_BYTES"): 4096}


def test_a_default_in_a_signed_array_would_be_seen() -> None:
    class Planted(msgspec.Struct, frozen=True, array_like=True):
        one: int = 1

    info = type_info(Planted)
    assert isinstance(info, StructType)
    assert not all(field.required for field in info.fields)
