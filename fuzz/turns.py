"""INVARIANT: whatever happens to a session in whatever order, and wherever it is cut off, its journal is its state, its
calls are proposed in order under all that is in view, and lived through again it proposes the same (I5, I9).

The agent loop beside a naive book-keeper (``tests/fakes/turn_machine``), also where conversations are summed up.
"""

from __future__ import annotations

from hypothesis import settings

from tests.fakes.turn_machine import CompactingMachine, TurnMachine


class Loop(TurnMachine):
    """A window that holds every conversation."""


class Compacting(CompactingMachine):
    """A window that holds little."""


Loop.TestCase.settings = settings(stateful_step_count=40)
Compacting.TestCase.settings = settings(stateful_step_count=40)
TestLoop = Loop.TestCase
TestCompacting = Compacting.TestCase
