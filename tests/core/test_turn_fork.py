"""What a session begins with that goes on from another one: all that was said, as it was labelled, and nothing else."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from astrid.core.conversation import Text
from astrid.core.labels import RUNTIME, Label, join
from astrid.core.turn_cut import rows_up_to
from astrid.core.turn_fork import Origin, forked
from astrid.core.turn_messages import (
    AnyRow,
    ForkRow,
    FrameRow,
    ModelFailed,
    Waited,
    WaitRow,
    decode_row,
    encode_row,
)
from astrid.core.turn_state import Turn, apply, new_turn, outstanding, restore
from astrid.errors import InputError
from tests.fakes.turns import FROM_WEB, Session, answered, setting, use

ORIGIN = Origin(session=b"S" * 16, turn=2, record=70)
OWN = replace(setting(), model="other/m", system="be another")


def talked(frame_label: Label = RUNTIME) -> Session:
    """Two turns: one with a call, one in which the model failed at first."""
    session = Session()
    session.turn = new_turn(replace(session.turn.setting, frame_label=frame_label, fallbacks=("next/m",)))
    (call,) = session.calling("look")
    session.tell(answered(call, label=FROM_WEB))
    session.answer(Text(text="one"))
    session.begin("and then")
    (ref,) = outstanding(session.turn)
    session.tell(ModelFailed(ref=ref, code="model.overloaded"))
    row = session.rows[-1]
    assert isinstance(row, WaitRow)
    session.tell(Waited(ref=row.ref))
    session.answer(Text(text="two"))
    return session


def gone_on(rows: list[AnyRow], origin: Origin = ORIGIN) -> tuple[Turn, list[AnyRow]]:
    """The new session, and its journal as it is read back."""
    count, _ = rows_up_to(rows, origin.turn)
    lead, said = forked(OWN, rows[:count], origin, 9)
    kept = [decode_row(encode_row(row)) for row in (*lead, *said)]
    return restore(setting(), kept), kept


def test_all_that_was_said_is_there_as_it_was_labelled_under_a_setting_of_its_own() -> None:
    session = talked()
    turn, rows = gone_on(session.rows)
    assert turn.conversation == session.turn.conversation
    assert (turn.number, turn.ids, turn.label) == (2, session.turn.ids, session.turn.label)
    assert turn.setting == OWN
    frame, fork = rows[:2]
    assert frame == FrameRow(at_ns=9, setting=OWN)
    assert isinstance(fork, ForkRow)
    assert (fork.session, fork.turn, fork.record) == (ORIGIN.session, 2, 70)


def test_it_has_made_no_model_call_yet() -> None:
    session = talked()
    assert session.turn.asked_in_session == 4
    assert gone_on(session.rows)[0].asked_in_session == 0
    assert gone_on(session.rows, replace(ORIGIN, turn=1))[0].asked_in_session == 0


def test_what_its_origin_was_told_to_be_taints_it_though_it_is_not_told_that() -> None:
    from_project = replace(FROM_WEB, origins=(3,))
    turn, rows = gone_on(talked(from_project).rows, replace(ORIGIN, turn=1))
    assert turn.label == join(from_project, FROM_WEB)
    assert [row.setting for row in rows if isinstance(row, FrameRow)] == [OWN]


def test_what_its_origin_had_seen_taints_it_also_where_nobody_answered() -> None:
    session = Session()
    session.turn = new_turn(replace(session.turn.setting, frame_label=FROM_WEB))
    session.begin()
    (ref,) = outstanding(session.turn)
    session.tell(ModelFailed(ref=ref, code="model.auth"))
    assert gone_on(session.rows, replace(ORIGIN, turn=1))[0].label == session.turn.label == FROM_WEB


def test_a_wait_for_a_model_that_it_does_not_have_is_not_taken_over() -> None:
    session = talked()
    assert any(isinstance(row, WaitRow) and row.switches for row in session.rows)
    assert not any(isinstance(row, WaitRow) for row in gone_on(session.rows)[1])


def test_from_turn_0_on_nothing_was_said() -> None:
    turn, rows = gone_on(talked().rows, replace(ORIGIN, turn=0))
    assert (turn.number, turn.conversation, len(rows)) == (0, [], 2)


def test_one_that_goes_on_from_one_that_went_on_has_all_of_it_once() -> None:
    first = Session()
    first.turn, rows = gone_on(talked().rows)
    first.rows = list(rows)
    first.begin("a third")
    first.answer(use("look", 8), stop="tool_use")
    first.tell(answered(first.proposed()[0]))
    first.answer(Text(text="three"))
    second, again = gone_on(first.rows, replace(ORIGIN, session=b"T" * 16, turn=3))
    assert second.conversation == first.turn.conversation
    assert (second.number, second.asked_in_session) == (3, 0)
    assert [row.session for row in again if isinstance(row, ForkRow)] == [b"T" * 16]


@pytest.mark.parametrize("place", ["before it knows what it is", "when something was said"])
def test_a_session_goes_on_from_another_one_at_its_beginning_alone(place: str) -> None:
    turn, rows = gone_on(talked().rows)
    turn = new_turn(OWN) if place == "before it knows what it is" else turn
    with pytest.raises(InputError) as caught:
        apply(turn, rows[1])
    assert caught.value.code == "turn.row-misplaced"
