"""A journal is cut between turns alone, and what is left is what it was after that turn."""

from __future__ import annotations

import pytest

from astrid.core.conversation import Text, ToolUse
from astrid.core.labels import RUNTIME, Integrity, Label
from astrid.core.turn_cut import rows_up_to
from astrid.core.turn_messages import (
    AnswerRow,
    AnyRow,
    AskRow,
    CallRow,
    EndRow,
    FrameRow,
    InputRow,
    RestoreRow,
    ResultRow,
    Setting,
)
from astrid.core.turn_state import Idle, restore
from astrid.errors import InputError

SETTING = Setting(model="p/m", system="s", max_tokens=100)
SAID = Label(Integrity.UNTRUSTED)


def turn_rows(number: int) -> list[AnyRow]:
    """A turn with one call; its refs and ids are its own."""
    ref, call = 10 * number, f"call-{number}"
    use = ToolUse(id=call, name="read_file", arguments="{}")
    return [
        InputRow(at_ns=number, text=f"say {number}", label=SAID),
        AskRow(at_ns=number, ref=ref),
        AnswerRow(at_ns=number, parts=(use,), label=RUNTIME, usage=None),
        CallRow(at_ns=number, id=call, ref=ref + 1),
        ResultRow(at_ns=number, id=call, content="hello", is_error=False, label=SAID),
        AskRow(at_ns=number, ref=ref + 2),
        AnswerRow(at_ns=number, parts=(Text(text=f"said {number}"),), label=SAID, usage=None),
        EndRow(at_ns=number, reason="end_turn", code=""),
    ]


FRAME = FrameRow(at_ns=0, setting=SETTING)
THREE: list[AnyRow] = [FRAME, *turn_rows(1), *turn_rows(2), *turn_rows(3)]
PER_TURN = len(turn_rows(1))


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_what_is_left_is_a_conversation_of_so_many_turns_in_which_nobody_waits(turn: int) -> None:
    count, number = rows_up_to(THREE, turn)
    left = restore(SETTING, THREE[:count])
    assert (number, left.number, left.phase) == (turn, turn, Idle())
    assert count == (1 + turn * PER_TURN if turn else 0)


@pytest.mark.parametrize("missing", range(1, PER_TURN))
def test_wherever_the_last_turn_was_cut_off_the_last_that_ended_is_the_one_before_it(missing: int) -> None:
    cut_off = THREE[: len(THREE) - missing]
    assert rows_up_to(cut_off) == rows_up_to(THREE, 2)
    with pytest.raises(InputError) as caught:
        rows_up_to(cut_off, 3)
    assert (caught.value.code, "0 (nothing) to 2" in caught.value.advice) == ("session.no-such-turn", True)


@pytest.mark.parametrize("turn", [-1, 4])
def test_a_turn_that_there_never_was_is_refused(turn: int) -> None:
    with pytest.raises(InputError) as caught:
        rows_up_to(THREE, turn)
    assert caught.value.code == "session.no-such-turn"


def test_a_journal_in_which_nothing_was_said_has_nothing_to_leave() -> None:
    assert rows_up_to([]) == rows_up_to([FRAME]) == (0, 0)


def test_what_was_put_back_after_a_turn_belongs_to_that_turn() -> None:
    put_back = RestoreRow(at_ns=1)
    rows = [FRAME, *turn_rows(1), put_back, *turn_rows(2)]
    assert rows[rows_up_to(rows, 1)[0] - 1] == put_back
    assert rows_up_to([FRAME, *turn_rows(1), put_back]) == (2 + PER_TURN, 1)
