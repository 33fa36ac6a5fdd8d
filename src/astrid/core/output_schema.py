"""What a sub-agent's answer may look like: a part of JSON Schema small enough that its values can be counted.  Pure.

    {"type": "object", "properties": {...}, "required": [...], "additionalProperties": false}
    {"enum": ["yes", "no", 3, true]}    {"const": "done"}    {"type": "boolean"}
    {"type": "integer", "minimum": 0, "maximum": 9}
    {"type": "array", "items": {...}, "minItems": 0, "maxItems": 4}
    {"type": "string", "maxLength": 40}

``title`` and ``description`` may stand anywhere and mean nothing.  An object has the properties that it names and no
others.  Whatever else is written is refused: a keyword that nobody looks at would promise what nobody keeps.

Invariants:
  A text that ``read_output`` takes has one canonical form, so a schema admits as many texts as ``count_values`` says.
  ``count_values`` is exact up to its limit.

Source: JSON Schema 2020-12; docs/design/threats.md, threat 10.
"""

from __future__ import annotations

from typing import Literal, assert_never, cast

import msgspec

from astrid.core.json_scan import MAX_SAFE_INT, scan_json
from astrid.errors import CanonError, InputError

MAX_SCHEMA_BYTES = 16 * 1024
MAX_SCHEMA_DEPTH = 16
MAX_OUTPUT_BYTES = 64 * 1024
MAX_ENDORSED_VALUES = 2**16  # that a schema may admit in all if what follows it is to be believed

_CHARACTERS = 0x110000 - 0x800  # that a text can hold: all but the surrogates
_NOTES = frozenset({"title", "description"})
_SAFE_RANGE = range(-MAX_SAFE_INT, MAX_SAFE_INT + 1)
_Scalar = str | int | bool


class Choice(msgspec.Struct, frozen=True):
    """One of these texts, numbers, or true and false."""

    values: tuple[tuple[str, _Scalar], ...]  # each with its type's name: ``True == 1`` in this language, not in JSON


class Whole(msgspec.Struct, frozen=True):
    """A whole number, both ends included."""

    low: int
    high: int


class String(msgspec.Struct, frozen=True):
    """A text of so many characters at most."""

    longest: int


class Items(msgspec.Struct, frozen=True):
    """A list."""

    item: AnySchema
    fewest: int
    most: int


class Record(msgspec.Struct, frozen=True):
    """An object; each field with whether it must be there."""

    fields: tuple[tuple[str, AnySchema, bool], ...]


AnySchema = Choice | Whole | String | Items | Record


def parse_schema(data: bytes) -> AnySchema:
    """The schema that a JSON text spells.

    Raises:
        InputError: it is no schema, or says more than can be decided.
    """
    try:
        scan_json(data, max_bytes=MAX_SCHEMA_BYTES, max_depth=MAX_SCHEMA_DEPTH)
    except CanonError as error:
        raise _invalid(error.message) from error
    return _parse(msgspec.json.decode(data), "the schema")


def count_values(schema: AnySchema, limit: int = MAX_ENDORSED_VALUES) -> int:
    """How many values there are; of more than ``limit``, only that there are more (``limit + 1``)."""
    return min(_count(schema, limit), limit + 1)


def read_output(schema: AnySchema, text: str) -> bytes | None:
    """The one spelling of the value in ``text``; ``None`` if it holds no value of ``schema``."""
    data = text.strip().encode("utf-8", "surrogatepass")
    try:
        scan_json(data, max_bytes=MAX_OUTPUT_BYTES, max_depth=MAX_SCHEMA_DEPTH)
    except CanonError:
        return None
    value: object = msgspec.json.decode(data)
    # SAFETY: written anew in one order.  Which order of the keys, or which spaces, a poisoned child chose would say
    # more than the schema lets it say.
    return msgspec.json.encode(value, order="sorted") if _admits(schema, value) else None


# --- reading


def _parse(node: object, where: str) -> AnySchema:
    if not isinstance(node, dict):
        raise _invalid(f"{where} is not an object")
    table = cast("dict[str, object]", node)
    if "const" in table:
        _only(table, where, "const")
        return _choice([table["const"]], where)
    if "enum" in table:
        _only(table, where, "enum", "type")
        return _choice(table["enum"], where, table.get("type"))
    match table.get("type"):
        case "boolean":
            _only(table, where, "type")
            return _choice([False, True], where)
        case "integer":
            _only(table, where, "type", "minimum", "maximum")
            low, high = (_whole(table, name, where, _SAFE_RANGE) for name in ("minimum", "maximum"))
            if low > high:
                raise _invalid(f"{where} admits no number")
            return Whole(low, high)
        case "string":
            _only(table, where, "type", "maxLength")
            return String(_whole(table, "maxLength", where, range(MAX_OUTPUT_BYTES + 1)))
        case "array":
            return _items(table, where)
        case "object":
            return _record(table, where)
        case _:
            raise _invalid(f"{where} has no type, enum or const that is understood")


def _choice(values: object, where: str, declared: object = None) -> Choice:
    if not isinstance(values, list) or not values:
        raise _invalid(f"{where} lists no values")
    found = tuple([(_kind(value, where), cast("_Scalar", value)) for value in cast("list[object]", values)])
    if len(set(found)) != len(found):
        raise _invalid(f"{where} lists a value twice")
    if declared is not None and any(kind != declared for kind, _ in found):
        raise _invalid(f"{where} lists a value of another type")
    return Choice(found)


def _kind(value: object, where: str) -> Literal["boolean", "integer", "string"]:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case str():
            return "string"
        case _:
            raise _invalid(f"{where} lists what is no text, whole number, true or false")


def _items(table: dict[str, object], where: str) -> Items:
    _only(table, where, "type", "items", "minItems", "maxItems")
    item = _parse(table.get("items"), f"what {where} lists")
    most = _whole(table, "maxItems", where, range(MAX_OUTPUT_BYTES + 1))
    fewest = _whole({"minItems": 0} | table, "minItems", where, range(most + 1))
    return Items(item, fewest, most)


def _record(table: dict[str, object], where: str) -> Record:
    _only(table, where, "type", "properties", "required", "additionalProperties")
    properties, required = table.get("properties", {}), table.get("required", [])
    if table.get("additionalProperties", False) is not False:
        raise _invalid(f"{where} admits properties that it does not name")
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise _invalid(f"{where} names no properties")
    named = cast("dict[str, object]", properties)
    wanted = cast("list[object]", required)
    if any(name not in named for name in wanted if isinstance(name, str)) or not all(
        isinstance(name, str) for name in wanted
    ):
        raise _invalid(f"{where} requires a property that it does not name")
    return Record(
        tuple([(name, _parse(below, f"property `{name[:40]}`"), name in wanted) for name, below in named.items()])
    )


def _only(table: dict[str, object], where: str, *known: str) -> None:
    others = sorted(table.keys() - set(known) - _NOTES)
    if others:
        raise _invalid(f"{where} says `{others[0][:40]}`, which is not understood here")


def _whole(table: dict[str, object], name: str, where: str, within: range) -> int:
    value = table.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value not in within:
        raise _invalid(f"{where} needs `{name}`, a whole number that makes sense there")
    return value


def _invalid(what: str) -> InputError:
    return InputError(
        "schema.invalid",
        what,
        advice="use object, array, string, integer and boolean with bounds, enum and const, and nothing else",
    )


# --- counting


def _count(schema: AnySchema, limit: int) -> int:
    """Exact up to ``limit``; above it anything above it."""
    match schema:
        case Choice():
            return len(schema.values)
        case Whole():
            return schema.high - schema.low + 1
        case String():
            return _lists(_CHARACTERS, 0, schema.longest, limit)
        case Items():
            return _lists(_count(schema.item, limit), schema.fewest, schema.most, limit)
        case Record():
            total = 1
            for _, below, required in schema.fields:
                total = min(total * (_count(below, limit) + (not required)), limit + 1)
            return total
        case _:
            assert_never(schema)


def _lists(each: int, fewest: int, most: int, limit: int) -> int:
    """How many lists there are of ``fewest`` to ``most`` things, of ``each`` kinds."""
    if each == 1:
        return most - fewest + 1
    total, power = 0, 1
    for length in range(most + 1):
        total += power if length >= fewest else 0
        power *= each
        if total > limit or (power > limit and length < most):
            return limit + 1
    return total


# --- judging


def _admits(schema: AnySchema, value: object) -> bool:
    match schema:
        case Choice():
            return any(type(value) is type(known) and value == known for _, known in schema.values)
        case Whole():
            return type(value) is int and schema.low <= value <= schema.high
        case String():
            return isinstance(value, str) and len(value) <= schema.longest
        case Items():
            if not isinstance(value, list):
                return False
            items = cast("list[object]", value)
            return schema.fewest <= len(items) <= schema.most and all(_admits(schema.item, item) for item in items)
        case Record():
            if not isinstance(value, dict):
                return False
            members = cast("dict[str, object]", value)
            known = {name for name, _, _ in schema.fields}
            return members.keys() <= known and all(
                _admits(below, members[name]) if name in members else not required
                for name, below, required in schema.fields
            )
        case _:
            assert_never(schema)
