"""INVARIANT: what takes something away never permits, what is added to the tokens never forbids, and every decision is
the one that the design spells out.

Cases come from a tape (``tests/fakes/decisions``).  What the design says of them, two models written from its words
alone know: ``tests/fakes/naive_policy`` and ``tests/fakes/naive_decide``.
"""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.chains import Tape
from tests.fakes.decisions import WORSE, check_agrees, some_case, some_presented

CASES = 6  # of a tape
tapes = st.binary(min_size=400, max_size=400).map(Tape)


@given(tapes)
def test_every_decision_is_the_one_that_the_design_spells_out(tape: Tape) -> None:
    for _ in range(CASES):
        check_agrees(some_case(tape))


@given(tapes)
def test_taking_something_away_never_permits(tape: Tape) -> None:
    for _ in range(CASES):
        case = some_case(tape)
        permitted = case.permitted()
        for _ in range(5):
            what = tape.pick(tuple(WORSE))
            case = WORSE[what](tape, case)
            after = case.permitted()
            assert permitted or not after, what
            permitted = after


@given(tapes)
def test_whatever_is_presented_beside_them_takes_no_permit_away_and_leaving_it_away_gives_none(tape: Tape) -> None:
    for _ in range(CASES):
        case = some_case(tape)
        crowd = list(case.tokens)
        for _ in range(tape.pick((1, 2, 4))):
            crowd.insert(tape.pick(range(len(crowd) + 1)), some_presented(tape, case.digest))
        crowded = msgspec.structs.replace(case, tokens=tuple(crowd))
        turned = msgspec.structs.replace(case, tokens=tuple(reversed(crowd)))
        assert crowded.permitted() or not case.permitted()
        assert crowded.permitted() is turned.permitted()


@given(tapes)
def test_untrusted_text_in_view_never_permits_what_was_not_permitted_without_it(tape: Tape) -> None:
    """With everything that goes with it: another call, another digest, other tokens that name it."""
    for _ in range(CASES):
        case = some_case(tape)
        tainted = WORSE["a taint"](tape, case)
        assert case.permitted() or not tainted.permitted()
