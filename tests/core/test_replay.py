"""A journal comes out as it was written, and where it does not, the first row that differs is named.

That every session of the turn machine replays to itself, ``test_turn_machine`` shows.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from astrid.core import turn
from astrid.core.conversation import Image, Text
from astrid.core.ids import QuestionId
from astrid.core.labels import RUNTIME, SIGNED_USER, Integrity, Label
from astrid.core.replay import Difference, Heard, Proposed, replay
from astrid.core.turn import resume
from astrid.core.turn_fork import Origin, forked
from astrid.core.turn_messages import (
    AnswerRow,
    AnyRow,
    AnyTurnEffect,
    AnyTurnInput,
    AskRow,
    CallDeferred,
    CallDenied,
    CallRow,
    CallUnknown,
    Cancel,
    EndRow,
    InputRow,
    ModelAnswered,
    ModelFailed,
    Restore,
    RestoreRow,
    ResultRow,
    Rewind,
    Save,
    Setting,
    ToolAnswered,
    UserInput,
    Verdict,
    Waited,
    WaitRow,
    decode_row,
    encode_row,
)
from astrid.core.turn_state import outstanding, restore
from astrid.core.verdicts import refused
from astrid.errors import InputError
from tests.fakes.turns import FROM_WEB, Session, answered, full, setting, use


class Kept(Session):
    """A session of which is kept what a log would have: whole answers and results, nothing that a row says itself."""

    def __init__(self, **limits: int) -> None:
        super().__init__(**limits)
        self.heard: dict[int, Verdict] = {}

    def keep(self, message: AnyTurnInput) -> None:
        if isinstance(message, ModelAnswered | ModelFailed | ToolAnswered):
            self.heard[message.ref] = message

    def tell(self, message: AnyTurnInput) -> tuple[AnyTurnEffect, ...]:
        self.keep(message)
        return super().tell(message)

    def go_on(self, *verdicts: Verdict) -> None:
        for verdict in verdicts:
            self.keep(verdict)
        self.effects = resume(self.turn, verdicts, 6)
        self.rows += [row for effect in self.effects if isinstance(effect, Save) for row in effect.rows]

    def ref(self) -> int:
        (ref,) = outstanding(self.turn)
        return ref


def differences(rows: list[AnyRow], heard: Heard) -> list[Difference]:
    read_back = [decode_row(encode_row(row)) for row in rows]
    return [one for one in replay(read_back, heard) if isinstance(one, Difference)]


def test_what_was_proposed_is_proposed_again_with_the_number_of_its_row() -> None:
    session = Kept()
    (call,) = session.calling("look")
    session.tell(answered(call, label=FROM_WEB))
    session.answer(Text(text="done"))
    found = list(replay(session.rows, session.heard))
    assert [type(one) for one in found] == [Proposed] * 3
    rows = [session.rows[one.row - 1] for one in found]
    assert [type(row) for row in rows] == [AskRow, CallRow, AskRow]
    assert found[1] == Proposed(5, call)


@pytest.mark.parametrize(
    "verdict",
    [
        refused(2, "policy", "policy.path"),
        refused(2, "nothing known", "a.b"),
        CallDeferred(ref=2, question_id=QuestionId(b"q" * 16)),
        CallUnknown(ref=2),
    ],
)
def test_how_a_call_ended_that_has_no_outcome_its_result_says(verdict: Verdict) -> None:
    session = Kept()
    (call,) = session.calling("look")
    session.tell(replace(verdict, ref=call.ref))
    session.answer(Text(text="done"))
    assert call.ref not in session.heard
    assert differences(session.rows, session.heard) == []
    assert differences(session.rows, {**session.heard, call.ref: replace(verdict, ref=call.ref)}) == []


@pytest.mark.parametrize(
    "verdict",
    [
        CallDenied(ref=2, code="budget.exceeded", layer="budget", model_text="no"),
        CallDeferred(ref=2, question_id=QuestionId(b"q" * 16)),
        CallUnknown(ref=2),
    ],
)
def test_how_a_model_call_ended_that_has_no_outcome_the_end_of_the_turn_says(verdict: Verdict) -> None:
    session = Kept()
    session.begin()
    session.tell(replace(verdict, ref=session.ref()))
    assert isinstance(session.rows[-1], EndRow)
    assert differences(session.rows, session.heard) == []


def test_how_far_a_result_may_be_believed_is_taken_from_its_row_only_where_nobody_vouched() -> None:
    session = Kept()
    (call,) = session.calling("look")
    session.tell(answered(call, label=Label(Integrity.TOOL, (7,), chosen=True)))
    heard = {**session.heard, call.ref: answered(call, label=Label(Integrity.UNTRUSTED, (7,)))}
    assert differences(session.rows, heard) == []
    for label in (Label(Integrity.UNTRUSTED, (8,)), Label(Integrity.TOOL, (7,), chosen=False)):
        [found] = differences(session.rows, {**session.heard, call.ref: answered(call, label=label)})
        assert isinstance(found.was, ResultRow)


@pytest.mark.parametrize("die", [0, 1, 30_000, 65_535])
@pytest.mark.parametrize("retry_after_ms", [0, 20_000])
def test_whatever_spread_a_wait_it_is_the_same_wait_again(die: int, retry_after_ms: int) -> None:
    session = Kept()
    session.begin()
    failed = ModelFailed(ref=session.ref(), code="model.timeout", retry_after_ms=retry_after_ms, die=die)
    session.tell(failed)
    wait = session.rows[-1]
    assert isinstance(wait, WaitRow)
    session.heard[failed.ref] = replace(failed, die=0)
    session.tell(Waited(ref=wait.ref))
    session.answer(Text(text="done"))
    assert differences(session.rows, session.heard) == []


def test_a_wait_that_no_number_gives_is_a_difference() -> None:
    session = Kept()
    session.begin()
    session.tell(ModelFailed(ref=session.ref(), code="model.timeout"))
    wait = session.rows[-1]
    assert isinstance(wait, WaitRow)
    for wait_ms in (wait.wait_ms - 1, wait.wait_ms * 2):
        rows = [*session.rows[:-1], replace(wait, wait_ms=wait_ms)]
        assert [(one.row, type(one.now)) for one in differences(rows, session.heard)] == [(4, WaitRow)]


def test_the_last_attempt_of_a_model_that_stays_away_ends_the_turn_again() -> None:
    session = Kept()
    session.begin()
    while outstanding(session.turn):
        # So long that how much it is spread decides whether it is waited for once more.
        session.tell(ModelFailed(ref=session.ref(), code="model.timeout", retry_after_ms=70_000, die=40_000))
        session.heard[session.turn.last_ref - 1] = ModelFailed(
            ref=session.turn.last_ref - 1, code="model.timeout", retry_after_ms=70_000
        )
        wait = session.rows[-1]
        if isinstance(wait, WaitRow):
            session.tell(Waited(ref=wait.ref))
    assert isinstance(session.rows[-1], EndRow)
    assert differences(session.rows, session.heard) == []


def test_who_goes_on_after_a_crash_proposes_again_only_what_nobody_knows_of() -> None:
    session = Kept()
    done, denied, unknown, never = session.calling("look", "look", "look", "look")
    session.go_on(answered(done, b"text", FROM_WEB), refused(denied.ref, "policy", "a.b"), CallUnknown(ref=unknown.ref))
    (again,) = session.proposed()
    assert again.tool_use_id == never.tool_use_id
    session.tell(answered(again))
    session.go_on()  # while the model is asked
    session.answer(Text(text="done"))
    assert differences(session.rows, session.heard) == []


def test_a_call_that_was_proposed_again_and_then_was_cut_off_again_is_no_difference() -> None:
    session = Kept()
    session.calling("look", "look")
    session.go_on()
    first, _ = session.proposed()
    session.go_on(answered(first))
    assert differences(session.rows, session.heard) == []


@pytest.mark.parametrize("asked", ["model", "tools"])
def test_a_turn_that_was_cancelled_is_cancelled_again(asked: str) -> None:
    session = Kept()
    session.begin() if asked == "model" else session.calling("look", "look", "edit")
    session.tell(Cancel())
    session.begin("go on")
    session.answer(Text(text="done"))
    assert differences(session.rows, session.heard) == []


def gone_on(rows: list[AnyRow], turns: int, own: Setting, *, own_ns: int) -> Kept:
    """Another session that goes on from ``rows``, all of which were said before."""
    lead, said = forked(own, rows, Origin(session=b"S" * 16, turn=turns, record=7), own_ns)
    session = Kept()
    session.rows = [*lead, *(replace(row, at_ns=1) for row in said)]
    session.turn = restore(own, session.rows)
    return session


def test_what_a_fork_has_from_another_session_is_not_decided_again() -> None:
    other = full()
    (ref,) = outstanding(other.turn)
    other.tell(ModelAnswered(ref=ref, parts=(Text(text="sum"),), stop_reason="end_turn"))
    other.answer(Text(text="one"))
    other.tell(Restore())
    assert isinstance(other.rows[-1], RestoreRow)
    # Its model takes less than what was put back, so its own machine would not put it back.
    session = gone_on(other.rows, 1, replace(other.turn.setting, window_tokens=600), own_ns=3)
    session.tell(Rewind(turn=0))
    session.begin("and now")
    session.answer(Text(text="two"))
    assert differences(session.rows, session.heard) == []
    assert {one.row for one in replay(session.rows, session.heard)} == {len(session.rows) - 2}


def test_a_fork_of_nothing_is_replayed_from_its_first_words() -> None:
    session = gone_on([], 0, setting(), own_ns=3)
    session.tell(Rewind(turn=0))
    assert differences(session.rows, session.heard) == []
    session.begin()
    assert differences(session.rows, session.heard) == []


def test_what_was_rewound_before_anything_was_said_is_no_difference() -> None:
    session = Kept()
    session.tell(Rewind(turn=0))
    with pytest.raises(InputError, match="what the session was told to be"):
        differences(session.rows, session.heard)
    session.begin()
    assert differences(session.rows, session.heard) == []


def test_a_journal_that_does_not_say_how_the_session_was_set_up_is_refused() -> None:
    with pytest.raises(InputError, match="what the session was told to be"):
        list(replay([InputRow(at_ns=1, text="go", label=SIGNED_USER)], {}))


def test_an_image_that_somebody_gave_with_their_words_is_no_difference() -> None:
    image = Image(media_type="image/png", width=4, height=3, size_bytes=9, digest="ab" * 32, record=5)
    session = Kept()
    session.tell(UserInput(text="see", label=SIGNED_USER, images=(image,)))
    session.answer(Text(text="seen"))
    assert InputRow(at_ns=1, text="see", label=SIGNED_USER, images=(image,)) in [
        replace(row, at_ns=1) for row in session.rows if isinstance(row, InputRow)
    ]
    assert differences(session.rows, session.heard) == []


def test_where_nothing_was_said_nothing_comes_out() -> None:
    assert list(replay([], {})) == []


def whole() -> Kept:
    session = Kept()
    (call,) = session.calling("look")
    session.tell(answered(call, label=FROM_WEB))
    session.answer(Text(text="done"))
    return session


@pytest.mark.parametrize("place", range(1, len(whole().rows)))
def test_a_row_that_is_missing_or_twice_is_named(place: int) -> None:
    session = whole()
    rows = session.rows
    [twice] = differences([*rows[: place + 1], *rows[place:]], session.heard)
    assert twice.row == place + 2
    missing = differences([*rows[:place], *rows[place + 1 :]], session.heard)
    # Without its first words, nothing makes a session say what it was told to be.
    assert [one.row for one in missing] == [1 if isinstance(rows[place], InputRow) else place + 1]


@pytest.mark.parametrize(
    "row", [RestoreRow(at_ns=5), EndRow(at_ns=5, reason="end_turn", code=""), AskRow(at_ns=5, ref=9)]
)
def test_a_row_that_the_machine_does_not_write_there_is_named(row: AnyRow) -> None:
    session = whole()
    [found] = differences([*session.rows, row], session.heard)
    assert found == Difference(len(session.rows) + 1, row, None)


def test_a_row_that_belongs_to_no_call_is_named() -> None:
    session = Kept()
    session.calling("look")
    for row in (
        ResultRow(at_ns=5, id="another", content="", is_error=False, label=RUNTIME),
        ResultRow(at_ns=5, id="id0", content="who says so?", is_error=False, label=RUNTIME),
        AskRow(at_ns=5, ref=9),
    ):
        assert differences([*session.rows, row], session.heard) == [Difference(len(session.rows) + 1, row, None)]


def test_an_answer_of_which_the_log_has_nothing_is_named() -> None:
    session = whole()
    [found] = differences(session.rows, {})
    assert (found.row, type(found.was), found.now) == (4, AnswerRow, None)


def test_what_the_log_has_of_an_answer_counts_and_not_what_the_row_says() -> None:
    session = whole()
    ref, answer = next(iter(session.heard.items()))
    assert isinstance(answer, ModelAnswered)
    other = replace(answer, parts=(use("look", 0, '{"a":2}'),))
    [found] = differences(session.rows, {**session.heard, ref: other})
    assert found == Difference(4, session.rows[3], replace(session.rows[3], parts=other.parts))


def test_a_machine_that_does_otherwise_is_found_at_the_first_row_that_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    session = whole()
    monkeypatch.setattr(turn.texts, "result_text", lambda *_: "cut")
    [found] = differences(session.rows, session.heard)
    assert isinstance(found.was, ResultRow)
    assert found == Difference(6, found.was, replace(found.was, content="cut"))


def test_a_journal_that_ends_before_the_machine_does_is_a_difference() -> None:
    session = whole()
    [found] = differences(session.rows[:2], session.heard)
    assert (found.row, found.was, type(found.now)) == (3, None, AskRow)
