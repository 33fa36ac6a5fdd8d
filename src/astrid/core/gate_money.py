"""Money at the gate: what a call that ended is booked at, and what its session is told of the purses.  Pure.

Invariants:
  What is booked is at least what was reserved, unless nothing happened or a model's bill is complete.
  A purse is told of once when it fills up to the mark: by the call that took it there, for what is spent only grows.

Source: protocol N3; architecture 6 (step 3); threats 23.
"""

from __future__ import annotations

from astrid.core.budget import EMPTY, Cap, Charge, Ledger
from astrid.core.call import Call
from astrid.core.canon import MAX_U64
from astrid.core.gate_messages import Booked, Executed, PurseLine


def true_cost(call: Call, message: Executed) -> int:
    """What a call is booked at: at least what was reserved, unless nothing happened.

    A callee's own figure only counts upward.  A model's is the exception: its host computes it from a complete bill.
    """
    billed = call.host_kind == "model" and message.effect == "done"
    least = 0 if billed or message.effect == "none" else call.max_micros
    return min(max(message.spent_micros, least), MAX_U64)


def book(ledger: Ledger, charge: Charge, spent_micros: int, *, warn_at_percent: int) -> tuple[bool, Booked | None]:
    """Settle ``charge``: whether every purse still holds, and what to tell the session; nothing where no money moved.

    Raises:
        InternalError: there is no such reservation.
    """
    filled = ledger.filled(charge, spent_micros, warn_at_percent)
    sound = ledger.settle(charge, spent_micros)
    if not charge.micros and not spent_micros:
        return sound, None
    [session] = [cap for cap in charge.caps if cap.what == "session"]
    return sound, Booked(session=_line(ledger, session), filled=tuple(_line(ledger, cap) for cap in filled))


def _line(ledger: Ledger, cap: Cap) -> PurseLine:
    purse = ledger.purses.get(cap.key, EMPTY)
    block = cap.key if cap.what == "token" else b""
    return PurseLine(cap.what, block, purse.spent, purse.reserved, cap.limit)
