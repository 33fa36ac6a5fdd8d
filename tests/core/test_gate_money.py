"""What an ended call is booked at, and what its session is told of it."""

from __future__ import annotations

import msgspec
import pytest

from astrid.core.budget import Cap, Charge, Ledger
from astrid.core.gate_messages import Booked, Executed, PurseLine
from astrid.core.gate_money import book, true_cost
from tests.fakes.authority import call

CAPS = (Cap(b"B" * 32, 100, "token"), Cap(b"session", 50, "session"), Cap(b"workspace", 2**64 - 1, "workspace"))
CHARGE = Charge(40, CAPS, ())


@pytest.mark.parametrize(
    ("kind", "effect", "said", "booked"),
    [
        ("workspace", "none", 0, 0),
        ("workspace", "none", 7, 7),
        ("workspace", "done", 0, 40),
        ("workspace", "maybe", 41, 41),
        ("model", "done", 0, 0),
        ("model", "done", 7, 7),
        ("model", "maybe", 7, 40),
        ("model", "done", 2**70, 2**64 - 1),
    ],
)
def test_only_a_models_complete_bill_or_that_nothing_happened_lowers_what_is_booked(
    kind: str, effect: str, said: int, booked: int
) -> None:
    made = msgspec.structs.replace(call(max_micros=40), host_kind=kind)
    ended = Executed(ref=1, permit_seq=1, content=b"", is_error=False, effect="none", spent_micros=said)
    assert true_cost(made, msgspec.structs.replace(ended, effect=effect)) == booked


def test_a_session_is_told_what_it_spent_and_every_purse_that_is_full_to_the_mark() -> None:
    ledger = Ledger()
    ledger.reserve(CHARGE)
    ledger.reserve(Charge(5, CAPS, ()))
    sound, told = book(ledger, CHARGE, 40, warn_at_percent=40)
    session = PurseLine("session", b"", 40, 5, 50)
    assert (sound, told) == (True, Booked(session=session, filled=(PurseLine("token", b"B" * 32, 40, 5, 100), session)))


def test_an_overrun_is_told_as_it_is() -> None:
    ledger = Ledger()
    ledger.reserve(CHARGE)
    sound, told = book(ledger, CHARGE, 70, warn_at_percent=80)
    assert told is not None
    assert (sound, told.session.spent, [purse.what for purse in told.filled]) == (False, 70, ["session"])


def test_where_no_money_moved_there_is_nothing_to_tell() -> None:
    ledger, free = Ledger(), Charge(0, CAPS, ())
    ledger.reserve(free)
    assert book(ledger, free, 0, warn_at_percent=80) == (True, None)
