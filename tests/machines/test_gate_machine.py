"""The gate in any order of events: what was promised of each call holds after every one of them (``gate_story``)."""

from __future__ import annotations

from hypothesis import settings

from tests.fakes.gate_story import Story


class TheGate(Story):
    """See the module."""


TheGate.TestCase.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)
TestTheGateInAnyOrderOfEvents = TheGate.TestCase
