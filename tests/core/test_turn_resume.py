"""A turn that was cut off goes on as if nothing had happened."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core import turn_answer as texts
from astrid.core.context import summary_request
from astrid.core.conversation import Text
from astrid.core.labels import RUNTIME, SIGNED_USER, Integrity
from astrid.core.turn import resume
from astrid.core.turn_messages import (
    AnyRow,
    AskRow,
    CallDenied,
    CallRow,
    CallUnknown,
    FrameRow,
    InputRow,
    ModelAnswered,
    ModelFailed,
    ProposeModel,
    ProposeTool,
    Save,
    SummaryRow,
    ToolAnswered,
    Verdict,
    decode_row,
    encode_row,
)
from astrid.core.turn_state import Asking, Calling, Idle, OpenCall, Turn, apply, outstanding, restore
from astrid.errors import InputError
from tests.fakes.turns import FROM_WEB, Session, answered, full, setting, use


def cut(session: Session) -> None:
    """The process dies: what was saved is all that is left."""
    session.turn = restore(session.turn.setting, [decode_row(encode_row(row)) for row in session.rows])


def go_on(session: Session, *verdicts: Verdict) -> None:
    session.effects = resume(session.turn, verdicts, 5)
    for effect in session.effects:
        if isinstance(effect, Save):
            session.rows.extend(effect.rows)
    assert restore(session.turn.setting, session.rows) == session.turn


def asked(session: Session) -> list[ProposeModel]:
    return [effect for effect in session.effects if isinstance(effect, ProposeModel)]


def test_who_was_idle_has_nothing_to_go_on_with() -> None:
    session = Session()
    session.begin()
    session.answer(Text(text="done"))
    cut(session)
    go_on(session)
    assert session.effects == ()


def test_a_model_call_that_nobody_answered_is_asked_anew_and_counts_once() -> None:
    session = Session(asks_per_input=1)
    session.begin()
    (before,) = asked(session)
    cut(session)
    go_on(session)
    (again,) = asked(session)
    assert (again.request, again.label, again.ref) == (before.request, before.label, before.ref + 1)
    assert (session.turn.asked, session.turn.asked_in_session) == (1, 1)
    assert outstanding(session.turn) == (again.ref,)


def test_a_call_for_a_summary_is_asked_anew_as_one() -> None:
    session = full()
    (ref,) = outstanding(session.turn)
    cut(session)
    go_on(session)
    (again,) = asked(session)
    assert again.request == summary_request(session.turn)
    assert session.turn.phase == Asking(ref + 1, for_summary=True)


def test_the_answer_that_the_log_has_is_not_asked_for_again() -> None:
    session = Session()
    session.begin()
    (ref,) = outstanding(session.turn)
    cut(session)
    go_on(session, ModelAnswered(ref=ref, parts=(Text(text="here"),), stop_reason="end_turn"))
    assert not asked(session)
    assert isinstance(session.turn.phase, Idle)


def test_a_call_that_never_ran_is_proposed_again_with_the_same_bytes_under_another_ref() -> None:
    session = Session()
    (before,) = session.calling("edit")
    cut(session)
    go_on(session)
    (again,) = session.proposed()
    assert (again.tool_use_id, again.name, again.arguments) == (before.tool_use_id, before.name, before.arguments)
    assert again.ref > before.ref
    session.tell(answered(before))  # nobody is waiting for that any more
    assert outstanding(session.turn) == (again.ref,)


def test_what_is_known_of_a_call_is_its_result_and_it_is_not_proposed_again() -> None:
    session = Session()
    done, denied, unknown, never = session.calling("look", "look", "look", "look")
    cut(session)
    go_on(
        session,
        answered(done, b"text", FROM_WEB),
        CallDenied(ref=denied.ref, code="a.b", layer="policy", model_text="no"),
        CallUnknown(ref=unknown.ref),
    )
    (again,) = session.proposed()
    assert again.tool_use_id == never.tool_use_id
    assert session.turn.label.integrity is Integrity.UNTRUSTED
    assert again.label == session.turn.label  # it is decided about with that text in view
    session.tell(answered(again))
    content = [result.content for result in session.results()]
    assert content[0] == "text"
    assert content[1] == texts.DENIED.format(layer="policy", code="a.b", text="no")
    assert content[2:] == [texts.OUTCOME_UNKNOWN, "done"]


def test_the_next_call_waits_until_all_before_it_are_known() -> None:
    session = Session()
    (first,) = session.calling("edit", "run")
    cut(session)
    go_on(session)
    (again,) = session.proposed()
    assert again.tool_use_id == first.tool_use_id
    cut(session)
    go_on(session, answered(again))
    (second,) = session.proposed()
    assert second.name == "run"


def test_an_input_whose_model_call_was_not_saved_is_asked_about() -> None:
    session = Session()
    session.rows = [FrameRow(at_ns=1, setting=setting()), InputRow(at_ns=1, text="go", label=SIGNED_USER)]
    cut(session)
    go_on(session)
    assert len(asked(session)) == 1


def test_calls_of_which_none_was_saved_as_proposed_are_proposed() -> None:
    session = Session()
    session.calling("edit")
    session.rows = [row for row in session.rows if not isinstance(row, CallRow)]
    cut(session)
    go_on(session)
    assert len(session.proposed()) == 1


@pytest.mark.parametrize("row", [AskRow(at_ns=0, ref=1), SummaryRow(at_ns=0, ref=9)], ids=["old", "another kind"])
def test_only_the_same_is_asked_again_and_under_a_new_ref(row: AnyRow) -> None:
    session = Session()
    session.begin()
    with pytest.raises(InputError):
        apply(session.turn, row)


def test_a_call_that_is_answered_is_not_proposed_again() -> None:
    session = Session()
    first, _ = session.calling("look", "look")
    session.tell(answered(first))
    with pytest.raises(InputError):
        apply(session.turn, CallRow(at_ns=0, id="id0", ref=99))


# ---- with and without crashes


def state(turn: Turn) -> dict[str, Any]:
    """Everything of it but the numbers of proposals."""
    fields = {name: getattr(turn, name) for name in turn.__struct_fields__ if name != "last_ref"}
    match turn.phase:
        case Asking(_, for_summary):
            fields["phase"] = Asking(0, for_summary=for_summary)
        case Calling(calls):
            fields["phase"] = Calling(tuple(OpenCall(c.use, bool(c.ref), c.result, c.label) for c in calls))
        case _:
            pass
    return fields


NAMES = st.sampled_from(["look", "peek", "edit", "run"])


def verdict(data: st.DataObject, session: Session, place: int) -> dict[str, Any]:
    """How what is proposed in this place ends; without its ref."""
    if isinstance(session.turn.phase, Asking):
        if not data.draw(st.integers(0, 9)):
            return {"kind": ModelFailed, "code": "model.x"}
        names = data.draw(st.lists(NAMES, max_size=5))
        calls = [use(name, number) for number, name in enumerate(names)]
        return {"kind": ModelAnswered, "parts": (Text(text="so"), *calls), "stop_reason": "end_turn"}
    kinds: list[dict[str, Any]] = [
        {
            "kind": ToolAnswered,
            "content": b"out",
            "is_error": False,
            "label": data.draw(st.sampled_from([FROM_WEB, RUNTIME])),
        },
        {"kind": CallDenied, "code": "a.b", "layer": "policy", "model_text": "no"},
        {"kind": CallUnknown},
    ]
    return data.draw(st.sampled_from(kinds))


def made(fields: dict[str, Any], session: Session, place: int) -> Any:
    rest = dict(fields)
    return rest.pop("kind")(ref=outstanding(session.turn)[place], **rest)


def proposals(session: Session) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for effect in session.effects:
        match effect:
            case ProposeTool():
                found.append((effect.tool_use_id, effect.name, effect.arguments))
            case ProposeModel():
                found.append((effect.request,))
            case _:
                pass
    return found


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_with_crashes_anywhere_everything_goes_as_it_does_without(data: st.DataObject) -> None:
    """Two runs hear the same; one of them dies again and again, before or after the log knew how something ended."""
    calm, shaken = Session(asks_per_input=4, side_by_side=3), Session(asks_per_input=4, side_by_side=3)
    for session in (calm, shaken):
        session.begin()
    while not isinstance(calm.turn.phase, Idle):
        if data.draw(st.booleans()):  # nothing was known; all of it is proposed again
            open_before = outstanding(shaken.turn)
            cut(shaken)
            go_on(shaken)
            assert len(proposals(shaken)) == len(outstanding(shaken.turn)) == len(open_before)
            assert not set(open_before) & set(outstanding(shaken.turn))
            assert state(shaken.turn) == state(calm.turn)
        place = data.draw(st.integers(0, len(outstanding(calm.turn)) - 1))
        fields = verdict(data, calm, place)
        calm.tell(made(fields, calm, place))
        if data.draw(st.booleans()):  # this was known; the others are proposed again
            known = made(fields, shaken, place)
            open_before = outstanding(shaken.turn)
            cut(shaken)
            go_on(shaken, known)
            assert not set(open_before) & set(outstanding(shaken.turn))
        else:
            shaken.tell(made(fields, shaken, place))
            assert proposals(shaken) == proposals(calm)
        assert state(shaken.turn) == state(calm.turn)
