"""The part of JSON Schema in which a sub-agent may answer: read, counted, kept to."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.output_schema import (
    MAX_ENDORSED_VALUES,
    MAX_OUTPUT_BYTES,
    MAX_SCHEMA_BYTES,
    count_values,
    parse_schema,
    read_output,
)
from astrid.errors import InputError

Json = Any
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
YES_NO = {"type": "object", "properties": {"found": {"type": "boolean"}}, "required": ["found"]}


def schema(value: Json) -> Any:
    return parse_schema(json.dumps(value).encode())


def count(value: Json) -> int:
    return count_values(schema(value))


def output(value: Json, text: str) -> bytes | None:
    return read_output(schema(value), text)


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ({"type": "boolean"}, 2),
        ({"const": "x"}, 1),
        ({"enum": ["a", "b", 1, True]}, 4),
        ({"type": "string", "enum": ["a", "b"]}, 2),
        (DIGIT, 10),
        (YES_NO, 2),
        ({"type": "object"}, 1),
        ({"type": "object", "properties": {"a": DIGIT, "b": {"type": "boolean"}}, "required": ["b"]}, 22),
        ({"type": "array", "items": {"const": 1}, "maxItems": 5}, 6),
        ({"type": "array", "items": DIGIT, "minItems": 2, "maxItems": 3}, 1100),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 15}, 65_535),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 16}, MAX_ENDORSED_VALUES + 1),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 10_000}, MAX_ENDORSED_VALUES + 1),
        ({"type": "integer", "minimum": 1, "maximum": 65_536}, 65_536),
        ({"type": "integer", "minimum": 0, "maximum": 65_536}, 65_537),
        ({"type": "string", "maxLength": 0}, 1),
        ({"type": "string", "maxLength": 1}, MAX_ENDORSED_VALUES + 1),
        ({"type": "object", "properties": {str(n): DIGIT for n in range(5)}}, MAX_ENDORSED_VALUES + 1),
    ],
)
def test_a_schema_admits_as_many_values_as_are_counted(value: Json, values: int) -> None:
    assert count(value) == values


@pytest.mark.parametrize(
    "value",
    [
        1,
        [],
        {},
        {"type": "number"},
        {"type": ["string"]},
        {"type": "integer"},
        {"type": "integer", "minimum": 0},
        {"type": "integer", "minimum": True, "maximum": 3},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "string"},
        {"type": "string", "maxLength": -1},
        {"type": "string", "maxLength": 3, "pattern": "a*"},
        {"type": "array", "maxItems": 3},
        {"type": "array", "items": DIGIT},
        {"type": "array", "items": DIGIT, "maxItems": 3, "minItems": 4},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {}, "required": {}},
        {"type": "object", "properties": {"a": DIGIT}, "required": ["b"]},
        {"type": "object", "properties": {"a": DIGIT}, "required": [1]},
        {"type": "object", "properties": {"a": 3}},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "properties": {}, "patternProperties": {}},
        {"enum": []},
        {"enum": {}},
        {"enum": [1, 1]},
        {"enum": [None]},
        {"enum": [[1]]},
        {"type": "string", "enum": ["a", 1]},
        {"const": 1, "type": "integer"},
        {"$ref": "#"},
        {"anyOf": [DIGIT]},
        {"not": DIGIT},
        {"type": "boolean", "default": True},
    ],
)
def test_what_cannot_be_decided_is_no_schema(value: Json) -> None:
    with pytest.raises(InputError) as raised:
        schema(value)
    assert raised.value.code == "schema.invalid"


@pytest.mark.parametrize("data", [b"", b"{", b'{"type":1.5}', b'{"type":"boolean","type":"string"}', b" " * 20_000])
def test_what_is_no_json_is_no_schema(data: bytes) -> None:
    assert MAX_SCHEMA_BYTES < 20_000
    with pytest.raises(InputError) as raised:
        parse_schema(data)
    assert raised.value.code == "schema.invalid"


def test_a_title_and_a_description_mean_nothing() -> None:
    assert schema({"title": "t", "description": "d", **DIGIT}) == schema(DIGIT)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (DIGIT, " 7 \n"),
        ({"enum": ["a", 1]}, '"a"'),
        ({"enum": ["a", 1]}, "1"),
        ({"const": True}, "true"),
        ({"type": "string", "maxLength": 2}, '"\u00e4b"'),
        ({"type": "array", "items": DIGIT, "minItems": 1, "maxItems": 2}, "[1, 2]"),
        (YES_NO, '{"found": false}'),
        ({"type": "object", "properties": {"a": DIGIT}}, "{}"),
    ],
)
def test_a_value_of_the_schema_is_taken(value: Json, text: str) -> None:
    taken = output(value, text)
    assert taken is not None
    assert json.loads(taken) == json.loads(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (DIGIT, "10"),
        (DIGIT, "true"),
        (DIGIT, "7.0"),
        (DIGIT, '"7"'),
        (DIGIT, "7 and more"),
        (DIGIT, "```json\n7\n```"),
        ({"enum": [1]}, "true"),
        ({"const": True}, "1"),
        ({"type": "string", "maxLength": 2}, '"abc"'),
        ({"type": "string", "maxLength": 2}, "12"),
        ({"type": "string", "maxLength": 2}, '"\\ud800"'),
        ({"type": "string", "maxLength": 9}, '"\ud800"'),
        ({"type": "array", "items": DIGIT, "minItems": 1, "maxItems": 2}, "[]"),
        ({"type": "array", "items": DIGIT, "maxItems": 2}, "[1,2,3]"),
        ({"type": "array", "items": DIGIT, "maxItems": 2}, '["a"]'),
        ({"type": "array", "items": DIGIT, "maxItems": 2}, "1"),
        (YES_NO, "{}"),
        (YES_NO, "[]"),
        (YES_NO, '{"found": true, "found": false}'),
        (YES_NO, '{"found": true, "account": 1}'),
        ({"type": "string", "maxLength": 60_000}, '"' + "a" * (MAX_OUTPUT_BYTES + 1) + '"'),
    ],
)
def test_what_the_schema_does_not_admit_is_not_taken(value: Json, text: str) -> None:
    assert output(value, text) is None


def test_the_order_of_keys_and_the_spaces_say_nothing() -> None:
    value = {"type": "object", "properties": {"a": DIGIT, "b": DIGIT}}
    texts = ['{"a":1,"b":2}', '{"b":2,"a":1}', ' { "b" : 2 , "a" : 1 } ', '{"\\u0061":1,"b":2}']
    assert {output(value, text) for text in texts} == {b'{"a":1,"b":2}'}


LEAVES = st.sampled_from(
    [{"type": "boolean"}, {"const": 1}, {"enum": ["a", 1, True]}, {"type": "integer", "minimum": -1, "maximum": 1}]
)


def _records(below: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    fields = st.dictionaries(st.sampled_from("ab"), below, max_size=2)
    return st.builds(
        lambda some, must: {"type": "object", "properties": some, "required": [n for n in some if n in must]},
        fields,
        st.sets(st.sampled_from("ab")),
    )


def _lists(below: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    sizes = st.tuples(st.integers(0, 2), st.integers(0, 1))
    return st.builds(
        lambda one, size: {"type": "array", "items": one, "minItems": size[0], "maxItems": size[0] + size[1]},
        below,
        sizes,
    )


SMALL = st.recursive(LEAVES, lambda below: _records(below) | _lists(below), max_leaves=3)


def _all_of(value: Json) -> list[str]:
    """Every value of a small schema, written out by the meaning of JSON Schema."""
    if "const" in value:
        return [json.dumps(value["const"])]
    if "enum" in value:
        return [json.dumps(one) for one in value["enum"]]
    match value["type"]:
        case "boolean":
            return ["true", "false"]
        case "integer":
            return [str(n) for n in range(value["minimum"], value["maximum"] + 1)]
        case "array":
            below = _all_of(value["items"])
            sizes = range(value["minItems"], value["maxItems"] + 1)
            return [f"[{','.join(some)}]" for size in sizes for some in itertools.product(below, repeat=size)]
        case _:
            choices: list[list[str]] = []
            for name, one in value["properties"].items():
                there = [f'"{name}":{text}' for text in _all_of(one)]
                choices.append(there if name in value["required"] else ["", *there])
            return ["{" + ",".join(filter(None, some)) + "}" for some in itertools.product(*choices)]


@given(SMALL)
def test_the_count_is_that_of_the_values_themselves(value: Json) -> None:
    every = _all_of(value)
    if len(every) > 5000:
        every = every[:5000]
    else:
        assert count(value) == len(every)
    assert len({output(value, text) for text in every}) == len(every)
    assert all(output(value, text) is not None for text in every)


@given(SMALL, st.integers(0, 40))
def test_above_its_limit_a_count_says_only_that_it_is_above(value: Json, limit: int) -> None:
    exact = count_values(schema(value), 10**9)
    assert count_values(schema(value), limit) == min(exact, limit + 1)
