"""The agent loop: one example for each rule, and the drawn state table held against the machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from astrid.core import turn as turn_module
from astrid.core import turn_answer as texts
from astrid.core.conversation import (
    ModelRequest,
    Picture,
    ReasoningDelta,
    Text,
    TextDelta,
    ToolResult,
    ToolUse,
    Usage,
)
from astrid.core.ids import QuestionId
from astrid.core.images import image_of, told
from astrid.core.labels import RUNTIME, SIGNED_USER, UNTRUSTED, VOUCHED, Integrity, Label, join
from astrid.core.risk import EffectClass
from astrid.core.turn import context_label, step
from astrid.core.turn_messages import (
    AnswerPart,
    AnswerRow,
    AnyRow,
    AnyTurnInput,
    AskRow,
    CallDeferred,
    CallDenied,
    CallRow,
    CallUnknown,
    Cancel,
    EndRow,
    Finished,
    FrameRow,
    InputRow,
    LimitReached,
    ModelAnswered,
    ModelFailed,
    ModelProgressed,
    ProposeModel,
    ProposeTool,
    Refused,
    Restore,
    ResultRow,
    Rewind,
    Save,
    Say,
    StreamText,
    ToolAnswered,
    UserInput,
    Wait,
    Waited,
    WaitRow,
    Withdraw,
    decode_row,
    encode_row,
)
from astrid.core.turn_plan import model_request
from astrid.core.turn_state import Turn, apply, new_turn, outstanding, restore
from astrid.errors import CanonError, InputError
from tests.fakes.pictures import png
from tests.fakes.turns import FROM_WEB, Session, answered, full, setting, use

# ---- asking -----------------------------------------------------------------------------------


def test_an_input_is_saved_and_the_model_is_asked_with_the_whole_conversation() -> None:
    session = Session()
    saved, proposed = session.begin("hello")
    assert saved == Save(
        rows=(
            FrameRow(at_ns=5, setting=session.turn.setting),
            InputRow(at_ns=5, text="hello", label=SIGNED_USER),
            AskRow(at_ns=5, ref=outstanding(session.turn)[0]),
        )
    )
    assert isinstance(proposed, ProposeModel)
    assert proposed.request == model_request(session.turn)
    assert proposed.request == ModelRequest(
        model="scripted/m",
        system="be useful",
        messages=(session.turn.conversation[0].message,),
        tools=setting().tools,
        max_tokens=100,
    )
    assert session.turn.conversation[0].message.parts == (Text(text="hello"),)
    assert session.turn.number == 1


def test_an_answer_without_calls_is_said_and_ends_the_turn() -> None:
    session = Session()
    session.begin()
    effects = session.answer(Text(text="hi"))
    assert effects[1:] == (Say(text="hi", label=SIGNED_USER), Finished(reason="end_turn", code=""))
    assert session.turn.conversation[-1].message.role == "assistant"


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("refusal", "refusal"),
        ("tool_use", "end_turn"),
    ],
)
def test_an_answer_without_calls_ends_with_the_models_own_reason(stop: str, reason: str) -> None:
    session = Session()
    session.begin()
    assert session.answer(Text(text="hi"), stop=stop)[-1] == Finished(reason=reason, code="")  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", ["{}", '{"a":1}', "{", ""])
def test_a_call_at_which_an_answer_was_cut_off_is_never_proposed(arguments: str) -> None:
    session = Session()
    session.begin()
    session.answer(use("look", 0), use("look", 1, arguments), Text(text=" "), stop="max_tokens")
    [whole] = session.proposed()
    assert whole.tool_use_id == "id0"
    session.tell(answered(whole))
    assert session.results() == (
        ToolResult(id="id0", content="done", is_error=False),
        ToolResult(id="id1", content=texts.CUT_OFF, is_error=True),
    )
    assert session.of(ProposeModel), "the model is asked to make it again"


def test_calls_before_a_text_that_was_cut_off_are_whole() -> None:
    session = Session()
    session.begin()
    session.answer(use("look"), Text(text="and now I will"), stop="max_tokens")
    assert [call.tool_use_id for call in session.proposed()] == ["id0"]


def test_a_model_that_paused_goes_on_after_what_it_said() -> None:
    session = Session()
    session.begin()
    session.answer(Text(text="first"), stop="pause")
    assert session.of(Say) == [Say(text="first", label=SIGNED_USER)]
    (asked,) = session.of(ProposeModel)
    assert isinstance(asked, ProposeModel)
    assert [message.parts for message in asked.request.messages[1:]] == [(Text(text="first"),)]
    assert session.turn.asked == 2
    assert session.answer(Text(text="then"))[-1] == Finished(reason="end_turn", code="")
    assert [entry.message.role for entry in session.turn.conversation] == ["user", "assistant", "assistant"]


def test_a_model_that_only_pauses_is_not_asked_more_often_than_any() -> None:
    session = Session(asks_per_input=3)
    session.begin()
    for _ in range(3):
        session.answer(Text(text="hm"), stop="pause")
    assert session.effects[-1] == Finished(reason="limit", code="turn.asks-per-input")


def test_a_pause_without_a_word_ends_the_turn() -> None:
    session = Session()
    session.begin()
    assert session.answer(Text(text=" "), stop="pause")[-1] == Finished(reason="end_turn", code="")


def test_calls_before_a_pause_are_made() -> None:
    session = Session()
    session.begin()
    session.answer(use("look"), stop="pause")
    assert [call.name for call in session.proposed()] == ["look"]


def test_an_empty_answer_ends_the_turn_and_leaves_no_message() -> None:
    session = Session()
    session.begin()
    effects = session.answer(Text(text=" \n"))
    assert session.of(Say) == []
    assert effects[-1] == Finished(reason="end_turn", code="")
    assert [entry.message.role for entry in session.turn.conversation] == ["user"]


def test_only_visible_text_of_the_open_call_is_streamed_and_nothing_of_it_is_saved() -> None:
    session = Session()
    session.begin()
    (ref,) = outstanding(session.turn)
    assert session.tell(ModelProgressed(ref=ref, event=TextDelta(text="he"))) == (StreamText(text="he"),)
    assert session.tell(ModelProgressed(ref=ref, event=ReasoningDelta(text="hm"))) == ()
    assert session.tell(ModelProgressed(ref=ref + 1, event=TextDelta(text="x"))) == ()


def test_text_before_calls_is_kept_and_said() -> None:
    session = Session()
    session.begin()
    session.answer(Text(text="let me look"), use("look"), Text(text="and then"), stop="tool_use")
    assert session.of(Say) == [Say(text="let me look\n\nand then", label=SIGNED_USER)]
    assert session.turn.conversation[-1].message.parts == (
        Text(text="let me look"),
        use("look"),
        Text(text="and then"),
    )


def test_usage_is_written_down_with_the_answer() -> None:
    session = Session()
    session.begin()
    usage = Usage(input_tokens=3, output_tokens=4)
    (ref,) = outstanding(session.turn)
    session.tell(ModelAnswered(ref=ref, parts=(Text(text="x"),), stop_reason="end_turn", usage=usage))
    assert [row.usage for row in session.rows if isinstance(row, AnswerRow)] == [usage]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (ModelFailed(ref=1, code="model.auth"), "model.auth"),
        (CallDenied(ref=1, code="budget.spent", layer="budget", model_text="no"), "budget.spent"),
        (CallDeferred(ref=1, question_id=QuestionId(bytes(16))), "turn.ask-deferred"),
        (CallUnknown(ref=1), "turn.ask-unknown"),
    ],
)
def test_a_model_call_that_fails_ends_the_turn_and_keeps_the_conversation(message: AnyTurnInput, code: str) -> None:
    session = Session()
    session.begin()
    before = list(session.turn.conversation)
    assert outstanding(session.turn) == (1,)
    assert session.tell(message)[1:] == (Finished(reason="failed", code=code),)
    assert session.turn.conversation == before


# ---- asking again --------------------------------------------------------------------------------


def failing(session: Session, code: str = "model.overloaded", retry_after_ms: int = 0) -> list[Wait]:
    """The model fails; the waits that follow."""
    (ref,) = outstanding(session.turn)
    session.tell(ModelFailed(ref=ref, code=code, retry_after_ms=retry_after_ms))
    return [effect for effect in session.effects if isinstance(effect, Wait)]


def test_what_passes_is_asked_again_under_a_new_number_after_a_wait() -> None:
    session = Session()
    (_, first) = session.begin()
    [wait] = failing(session)
    assert wait == Wait(ref=2, code="model.overloaded", wait_ms=2250, attempt=2, model="scripted/m")
    assert outstanding(session.turn) == ()
    saved, again = session.tell(Waited(ref=wait.ref))
    assert saved == Save(rows=(AskRow(at_ns=5, ref=3),))
    assert isinstance(first, ProposeModel)
    assert again == replace(first, ref=3)
    assert session.turn.asked == 2


def test_an_answer_at_last_is_like_one_at_first() -> None:
    session, other = Session(), Session()
    session.begin()
    session.tell(Waited(ref=failing(session)[0].ref))
    other.begin()
    assert session.answer(Text(text="hi"))[1:] == other.answer(Text(text="hi"))[1:]
    assert session.turn.conversation == other.turn.conversation


def test_attempts_are_counted_for_each_answer_alone() -> None:
    session = Session()
    session.begin()
    for call in range(3):
        for attempt in (2, 3):
            [wait] = failing(session)
            assert (wait.attempt, wait.wait_ms) == (attempt, {2: 2250, 3: 6750}[attempt])
            session.tell(Waited(ref=wait.ref))
        session.answer(use("look", call), stop="tool_use")
        session.tell(answered(session.proposed()[0]))
    session.answer(Text(text="done"))
    session.begin()
    assert failing(session)[0].attempt == 2


def test_a_model_that_only_fails_ends_the_turn_after_five_attempts() -> None:
    session = Session()
    session.begin()
    while waits := failing(session):
        session.tell(Waited(ref=waits[0].ref))
    assert session.effects[1:] == (Finished(reason="failed", code="model.overloaded"),)
    assert session.turn.asked == 5


@pytest.mark.parametrize("limits", [{"asks_per_input": 1}, {"asks_per_session": 1}])
def test_an_attempt_counts_as_a_call_and_none_is_waited_for_that_may_not_be_made(limits: dict[str, int]) -> None:
    session = Session(**limits)
    session.begin()
    assert failing(session) == []
    assert session.effects[1:] == (Finished(reason="failed", code="model.overloaded"),)


def test_a_vendor_is_left_alone_for_as_long_as_it_says() -> None:
    session = Session()
    session.begin()
    [wait] = failing(session, retry_after_ms=100_000)
    assert wait.wait_ms >= 100_000
    session.tell(Waited(ref=wait.ref))
    session.tell(Waited(ref=failing(session, retry_after_ms=150_000)[0].ref))
    assert failing(session, retry_after_ms=100_000) == []


def standing_in(*names: str, asks: int = 50) -> Session:
    session = Session(asks_per_input=asks)
    session.turn = new_turn(replace(session.turn.setting, fallbacks=names))
    session.begin()
    return session


def models(session: Session) -> list[tuple[str, int]]:
    """What is asked now: the model and its place."""
    return [(one.request.model, one.place) for one in session.of(ProposeModel) if isinstance(one, ProposeModel)]


@pytest.mark.parametrize("code", ["model.overloaded", "model.auth", "model.bad-request", "model.bad-answer"])
def test_another_model_is_asked_at_once_where_waiting_is_of_no_use(code: str) -> None:
    session = standing_in("q/n")
    [wait] = failing(session, code)
    assert (wait.wait_ms, wait.attempt, wait.model) == (0, 1, "q/n")
    session.tell(Waited(ref=wait.ref))
    assert models(session) == [("q/n", 1)]
    assert [row.switches for row in session.rows if isinstance(row, WaitRow)] == [True]


def test_another_model_is_asked_when_the_attempts_are_used_up() -> None:
    session = standing_in("q/n")
    asked = []
    for _ in range(5):
        [wait] = failing(session, "model.rate-limited")
        session.tell(Waited(ref=wait.ref))
        asked += models(session)
    assert asked == [("scripted/m", 0)] * 4 + [("q/n", 1)]
    assert failing(session, "model.rate-limited")[0].attempt == 2, "with attempts of its own"


def test_what_stands_in_is_asked_for_the_rest_of_the_turn_and_not_in_the_next_one() -> None:
    session = standing_in("q/n")
    session.tell(Waited(ref=failing(session)[0].ref))
    session.answer(use("look"), stop="tool_use")
    session.tell(answered(session.proposed()[0]))
    assert models(session) == [("q/n", 1)]
    session.answer(Text(text="done"))
    session.begin()
    assert models(session) == [("scripted/m", 0)]


def test_when_the_last_model_fails_the_turn_fails() -> None:
    session = standing_in("q/n", "r/o")
    for _ in range(2):
        session.tell(Waited(ref=failing(session, "model.auth")[0].ref))
    assert models(session) == [("r/o", 2)]
    assert failing(session, "model.auth") == []
    assert session.effects[-1] == Finished(reason="failed", code="model.auth")


@pytest.mark.parametrize("code", ["model.unknown", "tool.stopped", "model.answer-unusable"])
def test_no_other_model_is_asked_about_what_is_no_fault_of_the_vendors(code: str) -> None:
    assert failing(standing_in("q/n"), code) == []


def test_no_other_model_is_asked_where_none_may_be_asked_any_more() -> None:
    assert failing(standing_in("q/n", asks=1)) == []


def test_a_switch_to_a_model_that_is_not_there_is_no_row() -> None:
    session = standing_in("q/n")
    session.tell(Waited(ref=failing(session)[0].ref))
    with pytest.raises(InputError):
        apply(session.turn, WaitRow(at_ns=0, ref=99, code="x", wait_ms=0, switches=True))


def test_a_session_whose_model_was_stood_in_for_can_be_gone_on_from() -> None:
    session = standing_in("q/n")
    session.tell(Waited(ref=failing(session)[0].ref))
    assert restore(session.turn.setting, [decode_row(encode_row(row)) for row in session.rows]) == session.turn


def test_whoever_waits_can_be_stopped_and_nothing_is_asked_afterwards() -> None:
    session = Session()
    session.begin()
    [wait] = failing(session)
    assert session.tell(Cancel())[1:] == (Finished(reason="cancelled", code=""),)
    assert session.tell(Waited(ref=wait.ref)) == ()
    session.begin()
    assert session.tell(Waited(ref=wait.ref)) == ()


def test_a_session_that_waits_can_be_gone_on_from() -> None:
    session = Session()
    session.begin()
    [wait] = failing(session)
    again = restore(session.turn.setting, [decode_row(encode_row(row)) for row in session.rows])
    assert again == session.turn
    assert isinstance(step(again, Waited(ref=wait.ref), 9)[-1], ProposeModel)


@pytest.mark.parametrize("part", [Text(text="a\ud800"), use("look", arguments='{"a":"\ud800"}'), Text(text="x" * 101)])
def test_an_answer_that_is_no_unicode_or_too_long_is_a_failure(part: AnswerPart) -> None:
    session = Session(answer_bytes=100)
    session.begin()
    assert session.answer(part)[1:] == (Finished(reason="failed", code="turn.answer-unusable"),)
    assert len(session.turn.conversation) == 1


def test_calls_that_a_refusal_took_back_are_not_proposed() -> None:
    session = Session()
    session.begin()
    effects = session.answer(Text(text="no"), use("run"), stop="refusal")
    assert session.proposed() == []
    assert effects[-1] == Finished(reason="refusal", code="")
    assert session.turn.conversation[-1].message.parts == (Text(text="no"),)


# ---- inputs that are not taken ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (" \n", "turn.input-empty"),
        ("a\udcff", "turn.input-malformed"),
        ("é" * 6, "turn.input-too-long"),
    ],
)
def test_an_unusable_input_is_refused_and_changes_nothing(text: str, code: str) -> None:
    session = Session(input_bytes=11)
    assert session.begin(text) == (Refused(code=code),)
    assert session.turn == new_turn(session.turn.setting)


def test_a_second_input_during_a_turn_is_refused_and_changes_nothing() -> None:
    session = Session()
    session.begin()
    rows = list(session.rows)
    assert session.begin("me too") == (Refused(code="turn.busy"),)
    assert restore(session.turn.setting, rows) == session.turn


# ---- calls --------------------------------------------------------------------------------------


def test_arguments_reach_the_gate_byte_for_byte() -> None:
    session = Session()
    session.begin()
    written = '{ "b" : 1.50, "a":"\\u00e9é" }'
    session.answer(use("look", arguments=written), stop="tool_use")
    assert [call.arguments for call in session.proposed()] == [written.encode()]


def test_reads_are_proposed_side_by_side() -> None:
    assert [call.name for call in Session().calling("look", "peek", "look")] == ["look", "peek", "look"]


def test_a_call_that_is_no_read_waits_for_all_before_it_and_all_after_it_wait() -> None:
    session = Session()
    order = [session.calling("look", "peek", "edit", "look", "run", "undeclared")]
    while session.proposed():
        for proposal in order[-1]:
            session.tell(answered(proposal))
        order.append(session.proposed())
    assert [[call.name for call in wave] for wave in order] == [
        ["look", "peek"],
        ["edit"],
        ["look"],
        ["run"],
        ["undeclared"],
        [],
    ]


def test_a_write_waits_for_the_slowest_read_before_it() -> None:
    session = Session()
    first, second = session.calling("look", "peek", "edit")
    session.tell(answered(second))
    assert session.proposed() == []
    session.tell(answered(first))
    assert [call.name for call in session.proposed()] == ["edit"]


def test_no_more_calls_are_open_at_once_than_the_limit_allows() -> None:
    session = Session(side_by_side=2)
    first, second = session.calling("look", "look", "look", "edit")
    session.tell(answered(first))
    assert [call.name for call in session.proposed()] == ["look"]
    assert len(outstanding(session.turn)) == 2
    session.tell(answered(second))
    assert session.proposed() == []


def test_results_go_back_in_one_message_in_the_models_order() -> None:
    session = Session()
    first, second, third = session.calling("look", "look", "look")
    for proposal, content in ((third, b"3"), (first, b"1"), (second, b"2")):
        session.tell(answered(proposal, content))
    assert [(part.id, part.content) for part in session.results()] == [("id0", "1"), ("id1", "2"), ("id2", "3")]
    assert len(session.of(ProposeModel)) == 1
    assert session.turn.conversation[-1].message.role == "user"


def test_an_answer_that_comes_twice_counts_once() -> None:
    session = Session()
    first, _ = session.calling("look", "look")
    session.tell(answered(first, b"one"))
    assert session.tell(answered(first, b"two")) == ()


def test_an_answer_to_a_ref_that_was_never_open_changes_nothing() -> None:
    session = Session()
    session.calling("look")
    for ref in (0, 1, 99):
        assert session.tell(ToolAnswered(ref=ref, content=b"x", is_error=False, label=RUNTIME)) == ()
        assert session.tell(ModelAnswered(ref=ref, parts=(), stop_reason="end_turn")) == ()
        assert session.tell(ModelFailed(ref=ref, code="x")) == ()


def test_a_tools_answer_to_the_models_ref_changes_nothing() -> None:
    session = Session()
    session.begin()
    (ref,) = outstanding(session.turn)
    assert session.tell(ToolAnswered(ref=ref, content=b"x", is_error=False, label=RUNTIME)) == ()


@pytest.mark.parametrize(
    "arguments",
    ["", "{", "[]", '"a"', "null", '{"a":1,"a":2}', '{"a":NaN}', '{"a":9007199254740993}', '{"a":"\\ud800"}', "{} {}"],
)
def test_arguments_without_a_single_meaning_get_an_error_and_run_nothing(arguments: str) -> None:
    session = Session()
    session.begin()
    session.answer(use("look", arguments=arguments), stop="tool_use")
    assert session.proposed() == []
    assert session.results() == (ToolResult(id="id0", content=texts.BAD_ARGUMENTS, is_error=True),)
    assert len(session.of(ProposeModel)) == 1


def test_arguments_that_are_too_long_get_an_error() -> None:
    session = Session(argument_bytes=6)
    session.begin()
    session.answer(use("look"), stop="tool_use")
    assert session.results()[0].content == texts.BAD_ARGUMENTS


def test_a_call_of_an_unknown_tool_is_proposed_so_that_it_is_denied_where_everything_is() -> None:
    session = Session()
    session.begin()
    session.answer(use("look"), use("rm -rf", 1), stop="tool_use")
    (look,) = session.proposed()
    session.tell(answered(look))
    assert [proposal.name for proposal in session.proposed()] == ["rm -rf"]


def test_calls_beyond_the_limit_of_one_answer_get_an_error() -> None:
    session = Session(calls_per_answer=2)
    first, second = session.calling("look", "look", "look")
    session.tell(answered(first))
    session.tell(answered(second))
    assert [part.content for part in session.results()] == ["done", "done", texts.TOO_MANY_CALLS]


def test_a_call_with_an_objection_holds_up_no_other() -> None:
    session = Session()
    session.begin()
    session.answer(use("edit", 0, "nonsense"), use("look", 1), use("edit", 2, "[]"), stop="tool_use")
    (proposal,) = session.proposed()
    session.tell(answered(proposal))
    assert [part.content for part in session.results()] == [texts.BAD_ARGUMENTS, "done", texts.BAD_ARGUMENTS]


@pytest.mark.parametrize("bad", ["", "id0", "a b", "é", "x" * 65])
def test_an_id_that_is_unusable_or_was_used_before_is_replaced(bad: str) -> None:
    session = Session()
    session.begin()
    session.answer(use("look"), ToolUse(id=bad, name="look", arguments="{}"), stop="tool_use")
    first, second = session.proposed()
    assert first.tool_use_id == "id0"
    assert second.tool_use_id == "call-2"
    session.tell(answered(first))
    session.tell(answered(second))
    session.answer(ToolUse(id="call-2", name="look", arguments="{}"), stop="tool_use")
    assert [call.tool_use_id for call in session.proposed()] == ["call-3"]


def test_a_fresh_id_steps_aside_for_one_the_model_took() -> None:
    session = Session()
    session.begin()
    session.answer(
        ToolUse(id="call-2", name="look", arguments="{}"),
        ToolUse(id="", name="look", arguments="{}"),
        stop="tool_use",
    )
    assert [call.tool_use_id for call in session.proposed()] == ["call-2", "call-3"]


def test_a_failed_tool_is_told_as_failed() -> None:
    session = Session()
    (proposal,) = session.calling("look")
    session.tell(ToolAnswered(ref=proposal.ref, content=b"no such file", is_error=True, label=UNTRUSTED))
    assert session.results() == (ToolResult(id="id0", content="no such file", is_error=True),)


def test_a_long_result_is_cut_and_says_so() -> None:
    session = Session(result_bytes=4)
    (proposal,) = session.calling("look")
    session.tell(answered(proposal, "abcéf".encode()))
    assert session.results()[0].content == "abc" + texts.CUT.format(first=4, last=5, total=6)


def test_where_the_rest_can_be_read_the_note_names_the_record_of_the_call() -> None:
    session = Session(result_bytes=4)
    effects = {**session.turn.setting.effects, texts.READ_RESULT: EffectClass.READ}
    session.turn = new_turn(replace(session.turn.setting, effects=effects))
    (proposal,) = session.calling("look")
    label = Label(Integrity.UNTRUSTED, (17,))
    session.tell(ToolAnswered(ref=proposal.ref, content=b"abcdef", is_error=False, label=label))
    assert session.results()[0].content == "abcd" + texts.CUT_KEPT.format(first=4, last=5, total=6, handle=17)


def test_a_result_that_is_no_utf8_is_shown_with_replacements() -> None:
    session = Session()
    (proposal,) = session.calling("look")
    session.tell(answered(proposal, b"a\xffb"))
    assert session.results()[0].content == "a\N{REPLACEMENT CHARACTER}b"


def test_a_denial_tells_the_model_code_layer_and_the_constant_text() -> None:
    session = Session()
    (proposal,) = session.calling("run")
    session.tell(CallDenied(ref=proposal.ref, code="policy.command", layer="policy", model_text="Not allowed {here}."))
    assert session.results() == (
        ToolResult(
            id="id0",
            content="This call was denied and did not run.\nlayer: policy\ncode: policy.command\nNot allowed {here}.",
            is_error=True,
        ),
    )


def test_a_deferred_call_names_its_question() -> None:
    session = Session()
    (proposal,) = session.calling("run")
    session.tell(CallDeferred(ref=proposal.ref, question_id=QuestionId(b"\x01" * 16)))
    (result,) = session.results()
    assert "question:" + "01" * 16 in result.content
    assert result.is_error


def test_an_unknown_outcome_is_told_as_unknown_and_not_as_failed() -> None:
    session = Session()
    (proposal,) = session.calling("run")
    session.tell(CallUnknown(ref=proposal.ref))
    assert session.results() == (ToolResult(id="id0", content=texts.OUTCOME_UNKNOWN, is_error=False),)


# ---- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "finished"),
    [
        (Cancel(), Finished(reason="cancelled", code="")),
        (LimitReached(code="budget.spent"), Finished(reason="limit", code="budget.spent")),
    ],
)
def test_stopping_while_the_model_is_asked_withdraws_the_call(message: AnyTurnInput, finished: Finished) -> None:
    session = Session()
    session.begin()
    (ref,) = outstanding(session.turn)
    assert session.tell(message)[1:] == (Withdraw(ref=ref), finished)
    assert session.tell(ModelAnswered(ref=ref, parts=(Text(text="late"),), stop_reason="end_turn")) == ()


@pytest.mark.parametrize("message", [Cancel(), LimitReached(code="time.turn")])
def test_stopping_while_tools_run_answers_every_call_and_withdraws_what_was_proposed(message: AnyTurnInput) -> None:
    session = Session()
    first, second = session.calling("look", "peek", "edit", "run")
    session.tell(answered(first, b"seen"))
    effects = session.tell(message)
    assert effects[1] == Withdraw(ref=second.ref)
    assert isinstance(effects[2], Finished)
    assert [part.content for part in session.results()] == [
        "seen",
        texts.STOPPED_DURING,
        texts.STOPPED_BEFORE,
        texts.STOPPED_BEFORE,
    ]
    assert session.tell(answered(second)) == ()
    assert outstanding(session.turn) == ()


def test_stopping_when_nothing_runs_is_no_event() -> None:
    session = Session()
    assert session.tell(Cancel()) == ()
    assert session.tell(LimitReached(code="x")) == ()


def test_a_session_goes_on_after_a_stop() -> None:
    session = Session()
    session.calling("look")
    session.tell(Cancel())
    session.begin("again")
    assert session.answer(Text(text="ok"))[-1] == Finished(reason="end_turn", code="")


def test_the_number_of_model_calls_for_one_input_is_bounded() -> None:
    session = Session(asks_per_input=3)
    session.begin()
    for _ in range(3):
        session.answer(use("look"), stop="tool_use")
        session.tell(answered(session.proposed()[0]))
    assert session.effects[-1] == Finished(reason="limit", code="turn.asks-per-input")
    assert session.results()[0].content == "done"
    session.begin("more")
    assert len(session.of(ProposeModel)) == 1


def test_the_number_of_model_calls_of_a_session_is_bounded() -> None:
    session = Session(asks_per_session=2)
    session.begin()
    for _ in range(2):
        session.answer(use("look"), stop="tool_use")
        session.tell(answered(session.proposed()[0]))
    assert session.effects[-1] == Finished(reason="limit", code="turn.asks-per-session")
    assert session.begin("more") == (Refused(code="turn.asks-per-session"),)


# ---- labels -------------------------------------------------------------------------------------


def test_every_proposal_carries_the_label_of_the_context() -> None:
    session = Session()
    session.begin(label=SIGNED_USER)
    session.answer(use("look"), use("edit", 1), stop="tool_use")
    (look,) = session.proposed()
    assert look.label == SIGNED_USER
    session.tell(answered(look, label=FROM_WEB))
    assert [call.label for call in session.proposed()] == [FROM_WEB]
    session.tell(answered(session.proposed()[0]))
    assert [effect.label for effect in session.of(ProposeModel)] == [FROM_WEB]  # type: ignore[union-attr]
    assert context_label(session.turn).tainted


def test_what_the_model_says_is_labelled_with_what_it_had_seen() -> None:
    session = Session()
    (look,) = session.calling("look")
    session.tell(answered(look, label=FROM_WEB))
    assert session.answer(Text(text="so"))[1] == Say(text="so", label=FROM_WEB)
    assert [entry.labels for entry in session.turn.conversation] == [
        (SIGNED_USER,),
        (SIGNED_USER,),
        (FROM_WEB,),
        (FROM_WEB,),
    ]


def test_texts_of_the_runtime_do_not_taint() -> None:
    session = Session()
    (proposal,) = session.calling("run")
    session.tell(CallDenied(ref=proposal.ref, code="a.b", layer="policy", model_text="no"))
    assert context_label(session.turn) == SIGNED_USER


def test_an_untrusted_frame_taints_from_the_start() -> None:
    turn = new_turn(setting(frame_label=UNTRUSTED))
    proposal = step(turn, UserInput(text="x", label=SIGNED_USER), 0)[1]
    assert isinstance(proposal, ProposeModel)
    assert proposal.label.tainted


# ---- what is saved ------------------------------------------------------------------------------


def test_after_a_restart_what_was_open_is_still_open() -> None:
    session = Session()
    first, second = session.calling("look", "look", "edit")
    session.tell(answered(first))
    again = restore(session.turn.setting, [decode_row(encode_row(row)) for row in session.rows])
    assert again == session.turn
    assert outstanding(again) == (second.ref,)
    effects = step(again, CallUnknown(ref=second.ref), 9)
    assert [effect.name for effect in effects if isinstance(effect, ProposeTool)] == ["edit"]


def test_a_turn_that_was_cut_between_two_rows_can_be_ended() -> None:
    session = Session()
    session.begin()
    cut = restore(session.turn.setting, session.rows[:2])
    assert outstanding(cut) == ()
    assert step(cut, Cancel(), 9)[-1] == Finished(reason="cancelled", code="")


def test_a_session_stays_under_the_setting_that_its_journal_names() -> None:
    session = Session()
    session.begin()
    session.answer(Text(text="hello"))
    session.begin("more")
    assert [type(row) for row in session.rows].count(FrameRow) == 1  # said once
    today = replace(setting(frame_label=RUNTIME), system="be quick", tools=())
    again = restore(today, [decode_row(encode_row(row)) for row in session.rows])
    assert again == session.turn
    assert model_request(again).system == "be useful"


def test_a_journal_from_before_settings_were_named_gets_todays_and_says_so() -> None:
    session = Session()
    session.begin()
    session.answer(Text(text="hello"))
    old = [row for row in session.rows if not isinstance(row, FrameRow)]
    again = restore(replace(session.turn.setting, system="be quick"), old)
    saved, proposed = step(again, UserInput(text="more", label=SIGNED_USER), 9)
    assert isinstance(saved, Save)
    assert isinstance(proposed, ProposeModel)
    assert saved.rows[0] == FrameRow(at_ns=9, setting=replace(session.turn.setting, system="be quick"))
    assert proposed.request.system == "be quick"


def test_settings_that_are_alike_are_kept_once() -> None:
    session = Session()
    session.begin()
    shared = session.turn.setting
    again = restore(shared, [decode_row(encode_row(row)) for row in session.rows])
    assert again.setting is shared


def test_what_untrusted_text_in_a_setting_did_to_a_session_stays_done() -> None:
    session = Session()
    session.turn = new_turn(setting(frame_label=FROM_WEB))
    session.begin()
    again = restore(setting(frame_label=RUNTIME), session.rows)
    assert again.label == FROM_WEB


def test_a_frame_that_is_not_in_view_taints_nothing() -> None:
    session = Session()
    session.begin()
    again = restore(setting(frame_label=FROM_WEB), session.rows)
    assert again == session.turn


@pytest.mark.parametrize(
    "row",
    [
        FrameRow(at_ns=0, setting=setting()),
        InputRow(at_ns=0, text="x", label=RUNTIME),
        AskRow(at_ns=0, ref=9),
        WaitRow(at_ns=0, ref=9, code="x", wait_ms=1),
        AnswerRow(at_ns=0, parts=(), label=RUNTIME, usage=None),
        CallRow(at_ns=0, id="id0", ref=2),
        CallRow(at_ns=0, id="id1", ref=2),
        CallRow(at_ns=0, id="none", ref=9),
        ResultRow(at_ns=0, id="none", content="", is_error=False, label=RUNTIME),
        EndRow(at_ns=0, reason="end_turn", code=""),
    ],
)
def test_a_row_that_does_not_fit_is_refused_and_changes_nothing(row: AnyRow) -> None:
    session = Session()
    session.calling("look", "edit")
    before = restore(session.turn.setting, session.rows)
    with pytest.raises(InputError):
        apply(session.turn, row)
    assert session.turn == before


def test_a_second_result_for_one_call_is_refused() -> None:
    session = Session()
    first, _ = session.calling("look", "look")
    session.tell(answered(first))
    with pytest.raises(InputError):
        apply(session.turn, ResultRow(at_ns=0, id="id0", content="", is_error=False, label=RUNTIME))


@pytest.mark.parametrize("data", [b"", b"{}", b'{"row":"end"}', b'{"row":"x"}', b"\xff", b"[" * 2000])
def test_bytes_that_are_no_row_are_refused(data: bytes) -> None:
    with pytest.raises(CanonError):
        decode_row(data)


# ---- the table ----------------------------------------------------------------------------------


def _phase(turn: Turn) -> str:
    return type(turn.phase).__name__.lower()


def _idle() -> Session:
    return Session()


def _asking() -> Session:
    session = Session(asks_per_input=2)
    session.begin()
    return session


def _last_ask() -> Session:
    session = Session(asks_per_input=1)
    session.begin()
    return session


def _waiting() -> Session:
    session = Session(asks_per_input=2)
    session.begin()
    session.tell(ModelFailed(ref=outstanding(session.turn)[0], code="model.timeout"))
    return session


def _calling(*names: str, asks: int = 2) -> Session:
    session = Session(asks_per_input=asks)
    session.calling(*names)
    return session


def _now(session: Session, message: Callable[[int], AnyTurnInput]) -> str:
    session.tell(message(outstanding(session.turn)[0] if outstanding(session.turn) else 0))
    return _phase(session.turn)


def _said(*parts: AnswerPart) -> Callable[[int], AnyTurnInput]:
    return lambda ref: ModelAnswered(ref=ref, parts=parts, stop_reason="end_turn")


def _paused(*parts: AnswerPart) -> Callable[[int], AnyTurnInput]:
    return lambda ref: ModelAnswered(ref=ref, parts=parts, stop_reason="pause")


RESULTS: tuple[Callable[[int], AnyTurnInput], ...] = (
    lambda ref: ToolAnswered(ref=ref, content=b"", is_error=False, label=RUNTIME),
    lambda ref: CallDenied(ref=ref, code="a.b", layer="policy", model_text=""),
    lambda ref: CallDeferred(ref=ref, question_id=QuestionId(bytes(16))),
    lambda ref: CallUnknown(ref=ref),
)
OVERLOADED: Callable[[int], AnyTurnInput] = lambda ref: ModelFailed(ref=ref, code="model.overloaded")  # noqa: E731
FAILURES: tuple[Callable[[int], AnyTurnInput], ...] = (lambda ref: ModelFailed(ref=ref, code="x"), *RESULTS[1:])
WAITED: Callable[[int], AnyTurnInput] = lambda _: Waited(ref=2)  # noqa: E731
STOPS: tuple[Callable[[int], AnyTurnInput], ...] = (lambda _: Cancel(), lambda _: LimitReached(code="x"))
LATE: tuple[Callable[[int], AnyTurnInput], ...] = tuple(
    lambda ref, make=make: make(ref + 50) for make in (*FAILURES, *RESULTS, _said(Text(text="x")))
)
PROGRESS: tuple[Callable[[int], AnyTurnInput], ...] = (lambda ref: ModelProgressed(ref=ref, event=TextDelta(text="x")),)
UNDONE: tuple[Callable[[int], AnyTurnInput], ...] = (lambda _: Restore(), lambda _: Rewind(turn=0))
INPUT: tuple[Callable[[int], AnyTurnInput], ...] = (lambda _: UserInput(text="x", label=RUNTIME),)

REACHED: dict[tuple[str, str], set[str]] = {
    ("idle", "UserInput"): {
        _now(_idle(), INPUT[0]),
        _now(_idle(), lambda _: UserInput(text="", label=RUNTIME)) + " (refused)",
    },
    ("idle", "anything else"): {_now(_idle(), told) for told in (*STOPS, *LATE, *PROGRESS, WAITED)},
    ("asking", "ModelAnswered without calls"): {_now(_asking(), _said(Text(text="x"))), _now(_asking(), _said())},
    ("idle", "Restore, Rewind"): {_now(_idle(), told) for told in UNDONE},
    ("asking", "ModelAnswered with a summary"): {
        _now(full(), _said(Text(text="x"))),
        _now(full(), _said(Text(text="x" * 2_500))) + " (limit)",
    },
    ("asking", "ModelAnswered without the summary"): {_now(full(), _said()), _now(full(), _said(use("look")))},
    ("asking", "ModelAnswered, and paused"): {
        _now(_asking(), _paused(Text(text="x"))),
        _now(_last_ask(), _paused(Text(text="x"))) + " (limit)",
    },
    ("asking", "ModelAnswered with calls"): {
        _now(_asking(), _said(use("look"))),
        _now(_asking(), _said(use("look", 0, "nonsense"))),
        _now(_last_ask(), _said(use("look", 0, "nonsense"))) + " (limit)",
    },
    ("asking", "ModelFailed"): {_now(_asking(), FAILURES[0]), _now(_asking(), OVERLOADED)},
    ("asking", "CallDenied, Deferred, Unknown"): {_now(_asking(), told) for told in FAILURES[1:]},
    ("asking", "Cancel, LimitReached"): {_now(_asking(), told) for told in STOPS},
    ("asking", "anything else"): {_now(_asking(), told) for told in (*INPUT, *LATE, *PROGRESS, RESULTS[0], WAITED)},
    ("waiting", "Waited"): {_now(_waiting(), WAITED)},
    ("waiting", "Cancel, LimitReached"): {_now(_waiting(), told) for told in STOPS},
    ("waiting", "anything else"): {
        _now(_waiting(), told) for told in (*INPUT, *LATE, *PROGRESS, *RESULTS, OVERLOADED, lambda _: Waited(ref=1))
    },
    ("calling", "the answer to one of several open calls"): {_now(_calling("look", "look"), told) for told in RESULTS},
    ("calling", "the answer to the last open call"): {
        *(_now(_calling("look"), told) for told in RESULTS),
        *(_now(_calling("look", asks=1), told) + " (limit)" for told in RESULTS),
    },
    ("calling", "Cancel, LimitReached"): {_now(_calling("look", "edit"), told) for told in STOPS},
    ("calling", "anything else"): {
        _now(_calling("look"), told) for told in (*INPUT, *LATE, *PROGRESS, _said(Text(text="x")), WAITED)
    },
}


def drawn_table() -> dict[tuple[str, str], set[str]]:
    """The table in the head of the module: (phase, told) -> next phases."""
    lines = [line.split("|") for line in (turn_module.__doc__ or "").splitlines() if line.count("|") == 2]
    rows = [[cell.strip() for cell in line] for line in lines]
    table = {(phase, told): set(following.replace(" or ", " ").split(", ")) for phase, told, following in rows[2:]}
    return {key: {name.strip() for name in following} for key, following in table.items()}


def test_every_transition_of_the_drawn_table_is_reached_and_there_is_no_other() -> None:
    assert drawn_table() == REACHED


def test_a_join_of_every_label_is_the_label_of_the_context() -> None:
    session = Session()
    first, _ = session.calling("look", "look")
    session.tell(answered(first, label=FROM_WEB))
    labels = [label for entry in session.turn.conversation for label in entry.labels]
    assert context_label(session.turn) == join(RUNTIME, FROM_WEB, *labels)


def test_an_image_in_a_result_is_kept_as_what_it_is_and_where_it_is_found() -> None:
    session = Session()
    [proposal] = session.calling("look")
    session.tell(answered(proposal, png(640, 480, size=100_000), FROM_WEB))
    [result] = session.results()
    assert result.image == image_of(png(640, 480, size=100_000), 7)
    assert result.image is not None
    assert result.content == told(result.image)
    assert max(len(encode_row(row)) for row in session.rows if isinstance(row, ResultRow)) < 500
    assert context_label(session.turn) == join(SIGNED_USER, FROM_WEB), "an image is believed as its file is"
    rows = [decode_row(encode_row(row)) for row in session.rows]
    assert restore(session.turn.setting, rows).conversation == session.turn.conversation


def test_an_image_that_somebody_gives_is_a_part_of_what_they_say() -> None:
    session = Session()
    image = image_of(png(640, 480, size=100_000), 7)
    assert image is not None
    effects = session.tell(UserInput(text="look", label=SIGNED_USER, images=(image,)))
    [proposal] = [effect for effect in effects if isinstance(effect, ProposeModel)]
    assert proposal.request.messages[-1].parts == (Text(text="look"), Picture(image=image))
    rows = [decode_row(encode_row(row)) for row in session.rows]
    assert restore(session.turn.setting, rows).conversation == session.turn.conversation
    assert max(len(encode_row(row)) for row in rows if isinstance(row, InputRow)) < 500


@pytest.mark.parametrize(("said", "worth"), [(SIGNED_USER, VOUCHED), (UNTRUSTED, UNTRUSTED)])
def test_an_image_is_believed_as_a_file_that_its_giver_vouches_for(said: Label, worth: Label) -> None:
    session = Session()
    image = image_of(png(), 7)
    assert image is not None
    session.tell(UserInput(text="look", label=said, images=(image,)))
    assert session.turn.conversation[0].labels == (said, worth)
    assert context_label(session.turn) == join(RUNTIME, worth)


def test_an_input_without_images_is_written_down_as_it_always_was() -> None:
    row = InputRow(at_ns=1, text="look", label=SIGNED_USER)
    assert b"image" not in encode_row(row)
    assert decode_row(encode_row(row)) == row


def test_a_result_that_is_no_image_is_written_down_as_it_always_was() -> None:
    row = ResultRow(at_ns=1, id="a", content="b", is_error=False, label=Label(Integrity.TOOL))
    assert b"image" not in encode_row(row)
    assert decode_row(encode_row(row)) == row


def test_what_broke_and_begins_as_an_image_does_is_text() -> None:
    session = Session()
    [proposal] = session.calling("look")
    session.tell(answered(proposal, png(0, 480)))
    [result] = session.results()
    assert result.image is None
    assert "PNG" in result.content
