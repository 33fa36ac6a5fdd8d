"""Model scripts: the language, and how a script follows a conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.llm import script as language
from astrid.adapters.llm.script import load_script
from astrid.adapters.llm.scripted import ScriptedModel
from astrid.core.conversation import (
    AnyPart,
    AnyStreamEvent,
    Done,
    Message,
    ModelRequest,
    Text,
    TextDelta,
    ToolCallReady,
    ToolDefinition,
    ToolResult,
    ToolUse,
    Usage,
)
from astrid.core.labels import RUNTIME, SIGNED_USER
from astrid.core.risk import EffectClass
from astrid.core.turn import step
from astrid.core.turn_answer import answer_parts
from astrid.core.turn_messages import (
    AnyTurnInput,
    Finished,
    ModelAnswered,
    ProposeModel,
    ProposeTool,
    Say,
    Setting,
    ToolAnswered,
    UserInput,
)
from astrid.core.turn_state import new_turn
from astrid.errors import ConfigError, ModelError


def scripted(*lines: dict[str, Any] | str) -> ScriptedModel:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return ScriptedModel(load_script(text, "play.jsonl"))


def user(*parts: AnyPart | str) -> Message:
    return Message(role="user", parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def said(*parts: AnyPart | str) -> Message:
    return Message(role="assistant", parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def result(use_id: str, content: str, *, is_error: bool = False) -> ToolResult:
    return ToolResult(id=use_id, content=content, is_error=is_error)


async def listen(model: ScriptedModel, *messages: Message) -> list[AnyStreamEvent]:
    request = ModelRequest(model=model.name, system="", messages=messages, tools=(), max_tokens=9)
    async with model.stream(request) as events:
        return [event async for event in events]


async def text_of(model: ScriptedModel, *messages: Message) -> str:
    return "".join(event.text for event in await listen(model, *messages) if isinstance(event, TextDelta))


async def mismatch(model: ScriptedModel, *messages: Message) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await listen(model, *messages)
    assert caught.value.effect == "none"
    return caught.value


# ---- following a conversation -------------------------------------------------------------------


async def test_a_script_goes_on_one_step_for_each_answer_in_the_conversation() -> None:
    model = scripted({"text": "one"}, {"text": "two"})
    assert await text_of(model, user("a")) == "one"
    assert await text_of(model, user("a"), said("one"), user("b")) == "two"
    assert await text_of(model, user("a")) == "one"


async def test_a_call_that_is_made_again_gives_the_same_answer() -> None:
    model = scripted({"text": "one"}, {"tool_calls": [{"name": "x", "arguments": {"a": 1}}]})
    conversation = (user("a"), said("one"), user("b"))
    assert await listen(model, *conversation) == await listen(model, *conversation)


@pytest.mark.parametrize("lines", [[], ["", "# nothing"], [{"model": {"name": "m"}}]])
async def test_an_empty_script_ends_at_once(lines: list[Any]) -> None:
    events = await listen(scripted(*lines), user("a"))
    assert [type(event) for event in events] == [Usage, Done]
    assert events[-1] == Done(stop_reason="end_turn")


async def test_the_end_of_a_script_ends_at_once() -> None:
    events = await listen(scripted({"text": "one"}), user("a"), said("one"), user("b"))
    assert [type(event) for event in events] == [Usage, Done]


async def test_a_conversation_of_another_script_is_refused() -> None:
    error = await mismatch(scripted({"text": "one"}), user("a"), said("one"), user("b"), said("two"), user("c"))
    assert error.code == "model.script-lost"


async def test_text_comes_word_by_word_and_whole() -> None:
    events = await listen(scripted({"text": "  Let me\nsee. "}), user("a"))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["  ", "Let ", "me\n", "see. "]


async def test_arguments_are_handed_on_as_they_are_written() -> None:
    calls = '{"name": "a", "arguments": { "x" : 1.50 }}, {"name": "b", "raw_arguments": "{oops", "id": "z"}'
    model = scripted('{"tool_calls": [' + calls + "]}")
    events = await listen(model, user("a"))
    assert [event for event in events if isinstance(event, ToolCallReady)] == [
        ToolCallReady(id="call-0-0", name="a", arguments='{ "x" : 1.50 }'),
        ToolCallReady(id="z", name="b", arguments="{oops"),
    ]
    assert events[-1] == Done(stop_reason="tool_use")


async def test_usage_is_what_the_script_says_or_an_estimate_of_the_bytes() -> None:
    told = scripted({"text": "x", "usage": {"input_tokens": 100, "output_tokens": 2}}, {"text": "four"})
    assert Usage(input_tokens=100, output_tokens=2) in await listen(told, user("a"))
    (estimate,) = [e for e in await listen(told, user("a"), said("x"), user("b")) if isinstance(e, Usage)]
    assert estimate.output_tokens == 1
    (longer,) = [e for e in await listen(told, user("a"), said("x"), user("b" * 400)) if isinstance(e, Usage)]
    assert 99 <= longer.input_tokens - estimate.input_tokens <= 100


# ---- conditions ---------------------------------------------------------------------------------

HEARD = (user("go"), said("x"), user(result("a", "hello"), result("b", "denied by policy", is_error=True)))


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"tool_result": {}},
        {"tool_result": {"contains": "hello"}},
        {"tool_result": {"index": 0, "contains": "hell", "is_error": False}},
        {"tool_result": {"id": "b", "is_error": True}},
        {"tool_result": [{"id": "a"}, {"index": 1, "contains": "policy"}]},
    ],
)
async def test_a_condition_that_holds_lets_the_script_go_on(condition: dict[str, Any]) -> None:
    assert await text_of(scripted({"text": "x"}, {"text": "y", "expect": condition}), *HEARD) == "y"


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [
        ({"tool_result": {"id": "c"}}, "id `c`"),
        ({"tool_result": {"index": 0, "contains": "policy"}}, "index `0`, contains `policy`"),
        ({"tool_result": {"index": 5}}, "index `5`"),
        ({"tool_result": {"id": "a", "is_error": True}}, "is_error `True`"),
        ({"tool_result": [{"id": "a"}, {"id": "z"}]}, "id `z`"),
        ({"last_text_contains": "go"}, "the last text to contain `go`"),
    ],
)
async def test_an_expectation_that_fails_names_its_line_and_what_was_expected(
    condition: dict[str, Any], complaint: str
) -> None:
    error = await mismatch(scripted({"text": "x"}, "# a note", {"text": "y", "expect": condition}), *HEARD)
    assert error.code == "model.script-mismatch"
    assert error.where == "play.jsonl:3"
    assert complaint in error.message
    assert "hello" not in error.message
    assert error.fields["heard"] == (("a", False, "hello"), ("b", True, "denied by policy"))


async def test_nothing_heard_meets_no_condition_on_results() -> None:
    error = await mismatch(scripted({"text": "x", "expect": {"tool_result": {}}}), user("go"))
    assert "at all" in error.message


async def test_only_what_was_heard_since_the_last_answer_counts() -> None:
    model = scripted({"text": "x"}, {"text": "y", "expect": {"last_text_contains": "go"}})
    assert await text_of(model, user("no"), said("x"), user("stop"), user("do go on")) == "y"
    assert (await mismatch(model, user("go"), said("x"), user("stop"))).code == "model.script-mismatch"


CHOICE = {
    "choose": [
        {"when": {"tool_result": {"is_error": True}}, "text": "It failed.", "goto": "sorry"},
        {"when": {"last_text_contains": "again"}, "text": "Once more.", "goto": "start"},
        {"text": "Fine."},
    ]
}
PLAY = ({"text": "start", "label": "start"}, CHOICE, {"text": "after fine"}, {"text": "sorry", "label": "sorry"})


async def test_the_first_turn_whose_condition_holds_is_taken() -> None:
    model = scripted(*PLAY)
    assert await text_of(model, user("a"), said("start"), user(result("x", "no", is_error=True))) == "It failed."
    assert await text_of(model, user("a"), said("start"), user("again")) == "Once more."
    assert await text_of(model, user("a"), said("start"), user("ok")) == "Fine."


async def test_what_follows_depends_on_the_turn_that_was_taken() -> None:
    model = scripted(*PLAY)
    failed = (user("a"), said("start"), user(result("x", "no", is_error=True)), said("It failed."))
    assert await text_of(model, *failed, user("b")) == "sorry"
    again = (user("a"), said("start"), user("again"), said("Once more."))
    assert await text_of(model, *again, user("b")) == "start"
    assert await text_of(model, *again, user("b"), said("start"), user("ok")) == "Fine."
    fine = (user("a"), said("start"), user("ok"), said("Fine."))
    assert await text_of(model, *fine, user("b")) == "after fine"


async def test_goto_end_is_the_end() -> None:
    model = scripted({"text": "one", "goto": "end"}, {"text": "never"})
    assert await text_of(model, user("a"), said("one"), user("b")) == ""


async def test_a_choice_in_which_nothing_fits_names_its_line() -> None:
    model = scripted({"choose": [{"when": {"last_text_contains": "x"}, "text": "1"}]})
    error = await mismatch(model, user("a"))
    assert (error.code, error.where) == ("model.script-mismatch", "play.jsonl:1")


# ---- the language -------------------------------------------------------------------------------


def test_the_first_line_may_name_and_price_the_model() -> None:
    price = {"input_usd_per_million": "3", "output_usd_per_million": "0.25"}
    model = scripted("# a play", {"model": {"name": "demo-1", "price": price}}, {"text": "x"})
    assert model.name == "scripted/demo-1"
    assert (model.price.input_micros_per_million, model.price.output_micros_per_million) == (3_000_000, 250_000)
    assert model.scripted


def test_a_script_without_a_head_is_free() -> None:
    model = scripted({"text": "x"})
    assert model.name == "scripted/script"
    assert model.price.input_micros_per_million == model.price.output_micros_per_million == 0
    assert scripted({"model": {"name": "n"}}).price == model.price


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "1",
        "null",
        '{"text": "a", "text": "b"}',
        '{"text": "a", "t\\u0065xt": "b"}',
        '{"text": "\\ud800"}',
        '{"text": "a\ud800"}',
        '{"txt": "a"}',
        '{"text": 5}',
        '{"text": ""}',
        '{"text": " \\n"}',
        '{"stop_reason": "refusal", "tool_calls": [{"name": "a", "arguments": {}}]}',
        '{"tool_calls": [{"name": "a"}]}',
        '{"tool_calls": [{"name": "a", "arguments": {}, "raw_arguments": ""}]}',
        '{"tool_calls": [{"name": "a", "arguments": []}]}',
        '{"tool_calls": [{"name": "a", "arguments": {"x": 1, "x": 2}}]}',
        '{"tool_calls": [{"arguments": {}}]}',
        '{"text": "a", "usage": {"input_tokens": -1, "output_tokens": 0}}',
        '{"text": "a", "usage": {"input_tokens": 1}}',
        '{"text": "a", "stop_reason": "bored"}',
        '{"text": "a", "when": {}}',
        '{"text": "a", "expect": {"contains": "x"}}',
        '{"text": "a", "expect": {"tool_result": {"index": -1}}}',
        '{"text": "a", "goto": "nowhere"}',
        '{"text": "a", "label": "end"}',
        '{"choose": []}',
        '{"choose": [{"text": "a"}, {"text": "b", "when": {}}]}',
        '{"choose": [{"text": ""}]}',
        '{"choose": [{"text": "a", "label": "x"}]}',
        '{"choose": [{"text": "a"}], "text": "b"}',
        '{"model": {"name": "a/b"}}',
        '{"model": {"name": "a", "price": {"input_usd_per_million": "x", "output_usd_per_million": "1"}}}',
        '{"model": {"name": "a", "price": {"input_usd_per_million": "1"}}}',
        '{"model": {"price": {"input_usd_per_million": "9999999", "output_usd_per_million": "1"}}}',
        '{"model": {}, "text": "x"}',
    ],
)
def test_a_line_that_the_language_does_not_know_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_script("# play\n\n" + line, "play.jsonl")
    assert caught.value.code == "model.script-line"
    assert caught.value.where == "play.jsonl:3"
    assert caught.value.advice


@pytest.mark.parametrize(
    "second", [{"model": {"name": "b"}}, {"text": "b", "label": "x"}, {"choose": [{"text": "b"}], "label": "x"}]
)
def test_a_second_description_and_a_second_use_of_a_label_are_refused(second: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        scripted({"text": "a", "label": "x"}, second)
    assert caught.value.where == "play.jsonl:2"


def test_a_script_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        load_script("\n" * language.MAX_SCRIPT_LINES, "play.jsonl")
    assert caught.value.code == "model.script-too-long"
    monkeypatch.setattr(language, "MAX_SCRIPT_BYTES", 10)
    with pytest.raises(ConfigError) as caught:
        load_script('{"text": "a"}', "play.jsonl")
    assert caught.value.code == "model.script-too-long"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(st.text(max_size=30), st.sampled_from(['{"text":"a"}', '{"choose":[]}', '{"model":{}}'])), max_size=4
    )
)
def test_any_text_is_a_script_or_an_error_with_a_place(lines: Sequence[str]) -> None:
    try:
        load_script("\n".join(lines), "play.jsonl")
    except ConfigError as error:
        assert error.where.startswith("play.jsonl:")


# ---- with the agent loop ------------------------------------------------------------------------


async def test_a_script_drives_the_agent_loop_to_its_end() -> None:
    model = scripted(
        {
            "text": "Looking.",
            "tool_calls": [{"name": "look", "arguments": {"at": "a"}}, {"name": "no", "arguments": {}}],
        },
        {
            "expect": {"tool_result": [{"index": 0, "contains": "seen"}, {"index": 1, "is_error": True}]},
            "text": "Done.",
        },
    )
    tools = (ToolDefinition(name="look", description="", schema="{}"),)
    turn = new_turn(Setting(model=model.name, system="", max_tokens=9, tools=tools, effects={"look": EffectClass.READ}))
    todo: list[AnyTurnInput] = [UserInput(text="go", label=SIGNED_USER)]
    heard: list[object] = []
    while todo:
        for effect in step(turn, todo.pop(0), 0):
            if isinstance(effect, ProposeModel):
                async with model.stream(effect.request) as stream:
                    events = [event async for event in stream]
                stop = events[-1]
                assert isinstance(stop, Done)
                parts = answer_parts(events)
                todo.append(ModelAnswered(ref=effect.ref, parts=parts, stop_reason=stop.stop_reason))
            elif isinstance(effect, ProposeTool):
                unknown = effect.name == "no"
                todo.append(ToolAnswered(ref=effect.ref, content=b"seen", is_error=unknown, label=RUNTIME))
            elif isinstance(effect, Say | Finished):
                heard.append(effect)
    assert heard == [
        Say(text="Looking.", label=SIGNED_USER),
        Say(text="Done.", label=SIGNED_USER),
        Finished(reason="end_turn", code=""),
    ]
    assert isinstance(turn.conversation[1].message.parts[1], ToolUse)
