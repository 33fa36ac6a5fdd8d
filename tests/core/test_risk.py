"""Risk and classes of effect: nothing lowers either."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.risk import (
    NEVER_STANDING,
    UNDECLARED,
    EffectClass,
    Risk,
    base_risk,
    is_sink,
    raised,
    worst,
)
from astrid.errors import InputError

RISKS = st.sampled_from(list(Risk))
EFFECTS = st.sampled_from(list(EffectClass))
STEPS = st.integers(0, 2**70)


def test_the_levels_are_ordered_and_numbered_as_tokens_carry_them() -> None:
    assert [(risk.name, int(risk)) for risk in sorted(Risk)] == [
        ("LOW", 0),
        ("MEDIUM", 1),
        ("HIGH", 2),
        ("CRITICAL", 3),
    ]


@pytest.mark.parametrize(
    ("effect", "risk", "sink", "never_standing"),
    [
        ("read", Risk.LOW, False, False),
        ("staging", Risk.LOW, False, False),
        ("contained", Risk.MEDIUM, False, False),
        ("fetch", Risk.MEDIUM, True, False),
        ("write", Risk.HIGH, True, False),
        ("exec", Risk.HIGH, True, False),
        ("destructive", Risk.HIGH, True, False),
        ("egress", Risk.HIGH, True, True),
        ("grant", Risk.HIGH, True, True),
        ("account", Risk.CRITICAL, True, True),
        ("financial", Risk.CRITICAL, True, True),
    ],
)
def test_each_class_has_the_level_and_the_limits_that_the_design_gives_it(
    effect: str, risk: Risk, sink: bool, never_standing: bool
) -> None:
    effect_class = EffectClass(effect)
    assert base_risk(effect_class) is risk
    assert is_sink(effect_class) is sink
    assert (effect_class in NEVER_STANDING) is never_standing


def test_every_class_has_a_level() -> None:
    assert {base_risk(effect) for effect in EffectClass} == set(Risk)


def test_a_tool_that_declares_nothing_counts_as_one_that_sends() -> None:
    assert UNDECLARED is EffectClass.EGRESS


@given(RISKS, STEPS)
def test_raising_never_lowers(risk: Risk, by: int) -> None:
    assert risk <= raised(risk, by) <= Risk.CRITICAL


@given(RISKS, RISKS, STEPS, STEPS)
def test_raising_keeps_the_order(low: Risk, high: Risk, little: int, much: int) -> None:
    low, high = sorted((low, high))
    little, much = sorted((little, much))
    assert raised(low, little) <= raised(high, much)


@given(RISKS, st.integers(0, 5), st.integers(0, 5))
def test_raising_twice_is_raising_by_the_sum(risk: Risk, first: int, second: int) -> None:
    assert raised(raised(risk, first), second) is raised(risk, first + second)


@pytest.mark.parametrize("risk", list(Risk))
def test_nothing_raises_by_less_than_nothing(risk: Risk) -> None:
    with pytest.raises(InputError) as caught:
        raised(risk, -1)
    assert caught.value.code == "risk.lowered"


@given(st.lists(EFFECTS, min_size=1))
def test_a_hint_only_ever_makes_a_class_stricter(effects: list[EffectClass]) -> None:
    joined = worst(*effects)
    assert joined in effects
    for effect in effects:
        assert base_risk(joined) >= base_risk(effect)
        assert is_sink(joined) >= is_sink(effect)
        assert (joined in NEVER_STANDING) >= (effect in NEVER_STANDING)


@given(EFFECTS, EFFECTS, EFFECTS)
def test_the_order_of_hints_does_not_matter(one: EffectClass, two: EffectClass, three: EffectClass) -> None:
    assert worst(one, two, three) is worst(worst(three, one), two)
