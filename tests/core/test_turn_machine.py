"""The agent loop against a naive book-keeper (``tests/fakes/turn_machine``)."""

from __future__ import annotations

from hypothesis import settings

from tests.fakes.turn_machine import CompactingMachine, TurnMachine

TurnMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
CompactingMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTheTurnMachine = TurnMachine.TestCase
TestTheTurnMachineThatCompacts = CompactingMachine.TestCase
