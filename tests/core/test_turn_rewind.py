"""A conversation that goes back to an earlier turn: what the model sees then, and what stays as it is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from astrid.core.context import can_restore
from astrid.core.conversation import Text
from astrid.core.labels import Integrity
from astrid.core.turn_fork import Origin, forked
from astrid.core.turn_messages import (
    FrameRow,
    Refused,
    Restore,
    Rewind,
    RewindRow,
    Rewound,
    decode_row,
    encode_row,
)
from astrid.core.turn_state import apply, restore
from astrid.errors import InputError
from tests.fakes.turns import FROM_WEB, Long, full


def talk(turns: int) -> Long:
    """One with so many turns behind it, in each of which a tool was called."""
    session = Long()
    for number in range(1, turns + 1):
        session.begin(f"input {number}")
        session.round(b"found %d" % number)
        session.answer(Text(text=f"answer {number}"))
    return session


def test_the_conversation_ends_with_the_turn_that_it_is_rewound_to() -> None:
    session = talk(1)
    then = list(session.turn.conversation)
    session = talk(3)
    session.tell(Rewind(turn=1))
    assert session.turn.conversation == then
    assert session.of(Rewound) == [Rewound(turn=1, messages=8)]
    assert isinstance(session.rows[-1], RewindRow)


def test_before_the_first_turn_nothing_was_said() -> None:
    session = talk(2)
    session.tell(Rewind(turn=0))
    assert session.turn.conversation == []
    assert session.turn.weight == 0


def test_what_is_said_next_follows_what_was_rewound_to() -> None:
    session = talk(3)
    session.tell(Rewind(turn=1))
    session.begin("instead")
    texts = session.texts()
    assert "instead" in texts
    assert "input 1" in texts
    assert "input 2" not in texts


def test_no_number_is_used_again_and_nothing_asked_is_forgotten() -> None:
    session = talk(3)
    turn = session.turn
    before = (turn.number, turn.last_ref, turn.asked_in_session, set(turn.ids))
    session.tell(Rewind(turn=0))
    assert (turn.number, turn.last_ref, turn.asked_in_session, turn.ids) == before


def test_rewinding_gives_no_trust_back_even_under_another_frame() -> None:
    session = Long()
    session.begin("look it up")
    session.round(b"found", FROM_WEB)
    session.answer(Text(text="done"))
    session.tell(Rewind(turn=0))
    assert session.turn.label.integrity is Integrity.UNTRUSTED
    apply(session.turn, FrameRow(at_ns=9, setting=replace(session.turn.setting, system="another prompt")))
    assert session.turn.label.integrity is Integrity.UNTRUSTED


def test_a_turn_that_was_rewound_away_cannot_be_gone_back_to() -> None:
    session = talk(3)
    session.tell(Rewind(turn=1))
    session.tell(Rewind(turn=2))
    assert session.effects == (Refused(code="turn.not-there"),)
    session.tell(Rewind(turn=1))
    assert session.of(Rewound) == [Rewound(turn=1, messages=0)]


def test_a_turn_that_was_never_taken_cannot_be_gone_back_to() -> None:
    session = talk(1)
    session.tell(Rewind(turn=2))
    assert session.effects == (Refused(code="turn.not-there"),)


def test_nothing_is_rewound_while_the_model_works() -> None:
    session = talk(1)
    session.begin("more")
    session.tell(Rewind(turn=1))
    assert session.effects == (Refused(code="turn.busy"),)


def test_what_was_summed_up_since_is_there_again() -> None:
    session = full()
    session.answer(Text(text="summary"))
    session.answer(Text(text="done"))
    after_first = list(session.turn.conversation)
    session.begin("again")
    session.answer(Text(text="yes"))
    session.tell(Restore())
    session.tell(Rewind(turn=1))
    assert session.turn.conversation == after_first
    assert session.turn.evicted


def test_after_a_restart_a_rewound_conversation_is_the_same() -> None:
    session = talk(3)
    session.tell(Rewind(turn=1))
    session.begin("instead")
    assert restore(session.turn.setting, [decode_row(encode_row(row)) for row in session.rows]) == session.turn


@pytest.mark.parametrize("to", [2, 7])
def test_a_row_that_rewinds_to_no_turn_is_refused(to: int) -> None:
    session = talk(1)
    before = restore(session.turn.setting, session.rows)
    with pytest.raises(InputError):
        apply(session.turn, RewindRow(at_ns=0, turn=to))
    assert session.turn == before


def test_what_no_longer_fits_is_not_put_back() -> None:
    session = full()
    session.answer(Text(text="summary"))
    session.answer(Text(text="done"))
    assert can_restore(session.turn)
    session.turn.setting = replace(session.turn.setting, window_tokens=900)
    before = list(session.turn.conversation)
    session.tell(Restore())
    assert session.effects == (Refused(code="turn.no-room"),)
    assert session.turn.conversation == before


def test_a_row_that_rewinds_in_the_middle_of_a_turn_is_refused() -> None:
    session = talk(1)
    session.begin("more")
    before = list(session.turn.conversation)
    with pytest.raises(InputError):
        apply(session.turn, RewindRow(at_ns=0, turn=1))
    assert session.turn.conversation == before


def test_a_fork_of_a_rewound_conversation_begins_as_that_is() -> None:
    session = talk(3)
    session.tell(Rewind(turn=1))
    origin = Origin(session=b"S" * 16, turn=3, record=9)
    lead, said = forked(session.turn.setting, session.rows, origin, now_ns=9)
    again = restore(session.turn.setting, (*lead, *said))
    assert (again.conversation, again.number, again.label) == (session.turn.conversation, 3, session.turn.label)
