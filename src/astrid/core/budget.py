"""The ledger: uses and money, reserved before an effect and settled after it.  Pure.

A purse is one cap: the session's, the workspace's, or one block's of a token chain.  A charge names every purse it
draws on, each once; all move in one step or none.  Uses are never given back.  Money comes back only when nothing
happened.

Invariants:
  After every reservation, spent + reserved <= limit for every cap that was charged.
  A reservation is settled exactly once.
  Settling books the true amount even above the reservation; a purse above its limit is frozen.

Source: protocol N3; architecture 6 (step 3); threats 2, 3, 23.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from astrid.core.money import Micros, format_usd
from astrid.errors import InternalError


class Purse(msgspec.Struct, frozen=True, gc=False):
    """What was drawn on one cap, in micro-dollars.  The limit is the cap's, given anew with each charge."""

    spent: int = 0
    reserved: int = 0


EMPTY = Purse()


class Cap(msgspec.Struct, frozen=True, gc=False):
    """A purse that a charge draws on, and its limit.  ``what`` is for people: ``session``, ``workspace``, ``token``."""

    key: bytes
    limit: int
    what: str


class Use(msgspec.Struct, frozen=True, gc=False):
    """One use of one block; ``limit`` is the block's ``uses``."""

    block: bytes
    limit: int


class Charge(msgspec.Struct, frozen=True):
    """Everything one call takes: at most ``micros`` of every purse, one use of every block."""

    micros: int
    caps: tuple[Cap, ...]
    uses: tuple[Use, ...]


class Shortage(msgspec.Struct, frozen=True):
    """Why a charge does not fit."""

    code: str
    reason: str


class Ledger:
    """All purses and uses.  Machine-owned dicts with frozen leaves: a failed step changes nothing, a shallow copy
    is a snapshot.
    """

    __slots__ = ("purses", "used")

    def __init__(self) -> None:
        self.purses: dict[bytes, Purse] = {}
        self.used: dict[bytes, int] = {}

    def copy(self) -> Ledger:
        """A snapshot that later steps do not touch."""
        other = Ledger()
        other.purses = dict(self.purses)
        other.used = dict(self.used)
        return other

    def shortage(self, charge: Charge) -> Shortage | None:
        """The first cap that ``charge`` would break, or ``None`` if it fits."""
        for use in charge.uses:
            if self.used.get(use.block, 0) >= use.limit:
                return Shortage("token.used", "the token has been used up")
        return self.lack(charge.micros, charge.caps)

    def lack(self, micros: int, caps: Iterable[Cap]) -> Shortage | None:
        """The first of ``caps`` that has no room for ``micros``."""
        for cap in caps:
            purse = self.purses.get(cap.key, EMPTY)
            left = cap.limit - purse.spent - purse.reserved
            if micros <= left and purse.spent <= cap.limit:
                continue
            if purse.spent > cap.limit:
                # An overrun freezes the purse: even a call that costs nothing waits until a person has looked.
                return Shortage("budget.frozen", f"the {cap.what} purse was overdrawn and is frozen")
            asked, rest = format_usd(Micros(micros)), format_usd(Micros(max(left, 0)))
            return Shortage("budget.exceeded", f"the {cap.what} budget has {rest} left and the call may cost {asked}")
        return None

    def reserve(self, charge: Charge) -> None:
        """Take one use and set money aside, on every purse of ``charge``.

        Raises:
            InternalError: the charge does not fit; the caller did not ask ``shortage`` in the same step.
        """
        short = self.shortage(charge)
        if short is not None:
            raise InternalError("budget.unchecked", f"a charge was reserved that does not fit: {short.reason}")
        self.retake(charge)

    def retake(self, charge: Charge) -> None:
        """Reserve what the log says was reserved.  It was judged then, by limits that the log does not hold."""
        for use in charge.uses:
            self.used[use.block] = self.used.get(use.block, 0) + 1
        for cap in charge.caps:
            purse = self.purses.get(cap.key, EMPTY)
            self.purses[cap.key] = Purse(purse.spent, purse.reserved + charge.micros)

    def filled(self, charge: Charge, spent_micros: int, percent: int) -> list[Cap]:
        """The caps of which settling ``charge`` at ``spent_micros`` makes ``percent`` spent that was not before."""
        return [
            cap
            for cap in charge.caps
            if (spent := self.purses.get(cap.key, EMPTY).spent) * 100 < cap.limit * percent
            and (spent + spent_micros) * 100 >= cap.limit * percent
        ]

    def settle(self, charge: Charge, spent_micros: int) -> bool:
        """Replace the reservation of ``charge`` by what was really spent.  Whether every purse still holds.

        Raises:
            InternalError: there is no such reservation, or the amount is negative.
        """
        micros = charge.micros
        purses = [self.purses.get(cap.key, EMPTY) for cap in charge.caps]
        if spent_micros < 0 or min([purse.reserved for purse in purses], default=micros) < micros:
            raise InternalError("budget.unreserved", "a charge was settled that was not reserved")
        sound = True
        for cap, purse in zip(charge.caps, purses, strict=True):
            # SAFETY: an overrun is booked truly; hiding it would let a callee spend above every cap, call by call.
            spent = purse.spent + spent_micros
            self.purses[cap.key] = Purse(spent, purse.reserved - micros)
            sound = sound and spent <= cap.limit
        return sound
