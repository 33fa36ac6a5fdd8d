"""INVARIANT: no schedule of calls, cancels, deaths and crashes exceeds a cap or leaves a reservation behind.

``tests/fakes/spending`` says what may happen and what must hold; ``tests/machines`` plays ten thousand schedules of it
from a plain generator.  Here the fuzzer chooses, and goes where it finds something new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.fakes.spending import HAPPENINGS, Spending

_T = TypeVar("_T")


class Drawn:
    """Choices of Hypothesis."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def pick(self, options: Sequence[_T]) -> _T:
        return self._data.draw(st.sampled_from(options))


class Budgets(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.spending = Spending()

    @rule(data=st.data(), what=st.sampled_from(HAPPENINGS))
    def act(self, data: st.DataObject, what: str) -> None:
        self.spending.act(Drawn(data), what)

    @invariant()
    def the_ledger_is_what_counting_the_records_gives(self) -> None:
        self.spending.check()

    def teardown(self) -> None:
        self.spending.finish()


Budgets.TestCase.settings = settings(stateful_step_count=60)
TestBudgets = Budgets.TestCase
