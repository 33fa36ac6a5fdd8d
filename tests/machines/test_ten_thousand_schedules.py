"""Ten thousand schedules of concurrent spending: no cap is ever exceeded, and nothing stays set aside.

What may happen, and the naive books that it is compared with, is in ``tests/fakes/spending``; ``fuzz/budgets`` goes on
from here.  Schedule ``n`` is always the same: what fails says its number.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec
import pytest

from astrid.core import decide
from astrid.core.budget import Cap, Ledger, Shortage
from astrid.core.call import Call
from tests.fakes.authority import WORKSPACE
from tests.fakes.spending import AGENTS, HAPPENINGS, HEAD, S, Spending, play

SCHEDULES, STEPS = 10_000, 40
BATCH = 1000
# Every purse that can be the first to have no room.  The others stand behind one that is smaller.
BINDING = {
    "grant": HEAD.id,
    "sub-agent": AGENTS["sub-agent"].token.id,
    "sub-agent of a sub-agent": AGENTS["sub-agent of it"].token.id,
    "token of a session": AGENTS["other session"].token.id,
    "session": b"session" + S,
    "workspace": b"workspace" + WORKSPACE,
}
_T = TypeVar("_T")


class Seeded:
    """Choices of a plain generator."""

    def __init__(self, number: int) -> None:
        self._random = random.Random(f"schedule {number}")  # noqa: S311 - no secret, a seed

    def pick(self, options: Sequence[_T]) -> _T:
        return options[int(self._random.random() * len(options))]


def schedule(number: int) -> Spending:
    """Play schedule ``number`` to its end."""
    choices = Seeded(number)
    return play(choices, (choices.pick(HAPPENINGS) for _ in range(STEPS)))


@pytest.mark.parametrize("first", range(0, SCHEDULES, BATCH))
def test_of_ten_thousand_schedules_none_spends_more_than_a_cap_holds(first: int) -> None:
    for number in range(first, first + BATCH):
        try:
            schedule(number)
        except AssertionError as error:
            raise AssertionError(f"schedule {number}") from error


# --- the check of the check


def played() -> None:
    for number in range(2 * BATCH):
        schedule(number)


@pytest.mark.parametrize("purse", BINDING.values(), ids=BINDING)
def test_a_reservation_that_may_be_one_too_large_for_a_purse_would_be_found(
    monkeypatch: pytest.MonkeyPatch, purse: bytes
) -> None:
    original = Ledger.lack

    def lack(ledger: Ledger, micros: int, caps: Iterable[Cap]) -> Shortage | None:
        wider = [msgspec.structs.replace(cap, limit=cap.limit + (cap.key == purse)) for cap in caps]
        return original(ledger, micros, wider)

    monkeypatch.setattr(Ledger, "lack", lack)
    with pytest.raises(AssertionError):
        played()


def test_a_call_that_may_cost_one_more_than_an_action_is_allowed_to_would_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = decide._unpayable

    def lenient(call: Call, around: decide.Circumstances) -> decide.Denied | None:
        limits = msgspec.structs.replace(around.limits, per_action_micros=around.limits.per_action_micros + 1)
        return original(call, msgspec.structs.replace(around, limits=limits))

    monkeypatch.setattr(decide, "_unpayable", lenient)
    with pytest.raises(AssertionError):
        played()
