"""What enters a conversation from a model, and the texts of the runtime."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core import turn_answer
from astrid.core.conversation import (
    AnyStreamEvent,
    Done,
    Reasoning,
    ReasoningDelta,
    ReasoningReady,
    Text,
    TextDelta,
    ToolCallReady,
    ToolUse,
    Usage,
)
from astrid.core.turn_answer import answer_parts, is_json_object, result_text, sound_parts


def thought(text: str) -> Reasoning:
    return Reasoning(model="p/m", text=text, proof="signed", withheld=False)


def test_an_answer_is_its_texts_calls_and_signed_reasoning_in_order() -> None:
    events: list[AnyStreamEvent] = [
        ReasoningDelta(text="hm"),
        ReasoningReady(model="p/m", text="hm", proof="signed", withheld=False),
        TextDelta(text="a"),
        TextDelta(text="b"),
        ToolCallReady(id="1", name="x", arguments="{}"),
        ToolCallReady(id="2", name="y", arguments="{}"),
        TextDelta(text="c"),
        Usage(input_tokens=1, output_tokens=1),
        Done(stop_reason="tool_use"),
    ]
    assert answer_parts(events) == (
        thought("hm"),
        Text(text="ab"),
        ToolUse(id="1", name="x", arguments="{}"),
        ToolUse(id="2", name="y", arguments="{}"),
        Text(text="c"),
    )
    assert answer_parts([]) == ()


def test_reasoning_stays_as_it_came_and_goes_if_nothing_came_of_it() -> None:
    use = ToolUse(id="a", name="x", arguments="{}")
    assert sound_parts((thought(" "), use), frozenset(), 100) == (thought(" "), use)
    assert sound_parts((thought("x"), Text(text=" ")), frozenset(), 100) == ()
    assert sound_parts((Text(text="y"), thought("x")), frozenset(), 100) == (Text(text="y"),)
    assert sound_parts((thought("x" * 100), use), frozenset(), 100) is None
    assert sound_parts((thought("\ud800"), use), frozenset(), 100) is None


PART = st.one_of(
    st.builds(Text, text=st.text(max_size=5)),
    st.builds(
        ToolUse,
        id=st.sampled_from(["", "a", "b", "call-1", "call-2", "call-3", "\n", "é"]),
        name=st.text(max_size=3),
        arguments=st.text(max_size=3),
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PART, max_size=6), st.frozensets(st.sampled_from(["a", "call-1", "call-4"])))
def test_sound_parts_keep_every_call_in_order_under_legal_ids_never_used_before(
    parts: list[Text | ToolUse], taken: frozenset[str]
) -> None:
    sound = sound_parts(tuple(parts), taken, 1_000)
    if sound is None:
        assert any("\ud800" <= char <= "\udfff" for part in parts for char in msgspec.json.encode(part).decode())
        return
    uses = [part for part in sound if isinstance(part, ToolUse)]
    assert [(use.name, use.arguments) for use in uses] == [
        (part.name, part.arguments) for part in parts if isinstance(part, ToolUse)
    ]
    ids = [use.id for use in uses]
    assert len({*ids, *taken}) == len(ids) + len(taken)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", use_id) for use_id in ids)
    assert [part.text for part in sound if isinstance(part, Text)] == [
        part.text for part in parts if isinstance(part, Text) and part.text.strip()
    ]


def test_an_answer_is_measured_in_bytes_of_everything_in_it() -> None:
    parts = (Text(text="é"), ToolUse(id="a", name="b", arguments="{}"))
    assert sound_parts(parts, frozenset(), 6) == parts
    assert sound_parts(parts, frozenset(), 5) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(alphabet='ab é"\\', max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='ab"', max_size=2), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from(["", " ", "\n\t"]))
def test_exactly_the_objects_among_well_formed_texts_are_objects(value: object, space: str) -> None:
    text = space + msgspec.json.encode(value).decode() + space
    assert is_json_object(text, 10_000) is isinstance(value, dict)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60), st.sampled_from([0, 7]))
def test_a_result_is_text_never_longer_than_allowed_and_whole_if_it_fits(
    content: bytes, limit: int, handle: int
) -> None:
    text = result_text(content, limit, handle)
    if len(content) <= limit:
        assert text == content.decode(errors="replace")
    else:
        head, mark, note = text.partition("\n[cut by the runtime: bytes ")
        assert mark
        said, tail = note.split(" are left out here", 1)
        more, tail = tail.split("]\n", 1)
        first, last, total = map(int, re.findall("[0-9]+", said))
        assert (first, total - last - 1, total) == (limit - limit // 8, limit // 8, len(content))
        assert content[:first].decode(errors="replace").startswith(head)
        assert content[last + 1 :].decode(errors="replace").endswith(tail)
        assert more == ("; read_result with handle 7 gives them" if handle else "")


@pytest.mark.parametrize("cut", ["é", "€", "\U0001f600"])
def test_no_half_of_a_character_is_shown_where_a_result_is_cut(cut: str) -> None:
    for before in range(4):
        text = result_text(("x" * before + cut * 100).encode(), 64)
        assert "\N{REPLACEMENT CHARACTER}" not in text


def test_no_text_of_the_runtime_has_a_field_that_is_not_from_a_closed_set_or_a_number() -> None:
    fields = {
        field
        for name, value in vars(turn_answer).items()
        if name.isupper() and isinstance(value, str)
        for field in re.findall(r"\{(\w*)\}", value)
    }
    assert fields == {"layer", "code", "text", "question", "first", "last", "total", "handle"}
