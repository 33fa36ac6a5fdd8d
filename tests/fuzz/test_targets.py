"""Each fuzz target fits what it attacks: a few inputs, the same on every run, find nothing.

New inputs are the work of ``make fuzz``; a target that the product has left behind must be seen before that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from fuzz.engine.targets import Target, change_settings, find_targets, watched

EXAMPLES = 5
STEPS = 10  # of a state machine, in each


@contextmanager
def briefly(test: Any) -> Iterator[None]:
    """Within the block ``test`` runs a few inputs, whatever its file says."""
    before = test._hypothesis_internal_use_settings
    change_settings(
        test,
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    try:
        yield
    finally:
        test._hypothesis_internal_use_settings = before


def run(target: Target) -> int:
    """How many inputs a target has held for.

    Raises:
        Exception: whatever it found.
    """
    test = target.load()
    with briefly(test), watched(test) as seen:
        test()
    return len(seen)


@pytest.mark.parametrize("target", find_targets(), ids=lambda target: target.name)
def test_a_target_finds_nothing_in_a_few_inputs(target: Target) -> None:
    assert run(target) >= 1


# --- that this sees something


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A target that asks what it attacks for something that was renamed, and one that holds."""
    module: Any = ModuleType("fuzz.planted")

    @given(st.integers())
    def test_left_behind(number: int) -> None:
        module.renamed(number)

    @given(st.integers())
    def test_holds(number: int) -> None:
        assert number == number + 0

    module.test_left_behind, module.test_holds = test_left_behind, test_holds
    monkeypatch.setitem(sys.modules, "fuzz.planted", module)
    return module


def test_a_target_that_the_product_has_left_behind_is_seen(planted: ModuleType) -> None:
    with pytest.raises(AttributeError, match="renamed"):
        run(Target("planted", "test_left_behind"))


def test_the_settings_of_a_target_are_its_own_again_afterwards(planted: Any) -> None:
    before = planted.test_holds._hypothesis_internal_use_settings
    assert run(Target("planted", "test_holds")) == EXAMPLES
    assert planted.test_holds._hypothesis_internal_use_settings is before
