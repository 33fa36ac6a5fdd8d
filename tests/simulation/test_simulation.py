"""A short look at simulated lives: no promise is broken, and only the seed decides.

The long one is ``python -m tests.simulation``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrid.core.records import Kind
from tests.simulation import plan as plans
from tests.simulation.campaign import Campaign, Tally, load_tally
from tests.simulation.life import Life, Result, live
from tests.simulation.plan import Plan, draw_plan, plan_of

SEEDS = range(1, 61)
AGAIN = (3, 4, 7, 12)
ROOT = Path(__file__).resolve().parents[2]
_SHOW = (
    "import sys; from tests.simulation.life import live; from tests.simulation.plan import plan_of; "
    "print(*[live(plan_of(int(seed))).hash for seed in sys.argv[1:]])"
)


class Drawn:
    """The picker by which Hypothesis draws a plan, and makes it smaller."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def below(self, number: int) -> int:
        return self._draw(st.integers(0, number - 1))


@st.composite
def drawn_plans(draw: st.DrawFn) -> Plan:
    return draw_plan(Drawn(draw), draw(st.integers(0, 2**16)))


@pytest.fixture(scope="module")
def lives() -> list[tuple[Life, Result]]:
    made = [Life(plan_of(seed)) for seed in SEEDS]
    return [(life, life.run()) for life in made]


def test_no_life_breaks_a_promise(lives: list[tuple[Life, Result]]) -> None:
    assert [(result.seed, result.violations) for _, result in lives if result.violations] == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(drawn_plans())
def test_no_plan_that_is_drawn_breaks_a_promise(plan: Plan) -> None:
    assert live(plan).violations == ()


def test_the_lives_are_no_quiet_ones(lives: list[tuple[Life, Result]]) -> None:
    records = Counter[Kind]()
    faults = Counter[str]()
    for life, result in lives:
        records.update(life.watch.kinds)
        faults.update(result.faults)
    others = {Kind.COSIGNED, Kind.SUBAGENT_STARTED, Kind.SESSION_ERASED, Kind.ATTACHED, Kind.OUTCOME_VOUCHED}
    others |= {Kind.FILES_REWINDING, Kind.FILES_REWOUND}
    assert set(Kind) - set(records) <= others | {Kind.CONNECTION, Kind.CONNECTION_ENDED}
    expected = {f"disk:{fault}" for fault in plans.DISK_FAULTS if fault}
    expected |= {"crash", "clock", "kill", "forge", "revoke", "kill:archive"}
    assert expected - set(faults) == set()
    assert faults["woke"] > len(SEEDS) // 2
    assert sum(result.sessions for _, result in lives) > 2 * len(SEEDS)
    assert sum(result.effects for _, result in lives) > len(SEEDS)


def test_the_same_seed_lives_the_same_life_in_any_process(lives: list[tuple[Life, Result]]) -> None:
    here = " ".join(result.hash for _, result in lives if result.seed in AGAIN)
    for hash_seed in ("1", "77"):
        run = subprocess.run(
            [sys.executable, "-c", _SHOW, *map(str, AGAIN)],
            cwd=ROOT,
            env=dict(os.environ, PYTHONHASHSEED=hash_seed, PYTHONPATH=f"{ROOT / 'src'}{os.pathsep}{ROOT}"),
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == here


def test_another_schedule_lives_another_life() -> None:
    plan = plan_of(3)
    assert live(plan).hash != live(msgspec.structs.replace(plan, seed=4)).hash


def test_neither_the_clock_nor_the_entropy_of_the_machine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = live(plan_of(12)).hash

    def asked(*_: object) -> object:
        pytest.fail("a simulated life asked the machine")

    for name in ("time", "time_ns", "clock_gettime_ns", "monotonic_ns"):
        monkeypatch.setattr(time, name, asked)
    monkeypatch.setattr(os, "urandom", asked)
    assert live(plan_of(12)).hash == expected


def test_a_seed_always_draws_the_same_plan_and_a_plan_is_plain_data() -> None:
    for seed in range(50):
        plan = plan_of(seed)
        assert plan == plan_of(seed)
        assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_a_sitting_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for lived in (3, 6):
        campaign = Campaign(load_tally(state), state, jobs=1, sessions=1, seconds=0)
        before = campaign.tally.next_seed
        assert campaign.run() == []
        assert campaign.tally.next_seed > before
        assert load_tally(state) == campaign.tally
        assert campaign.tally.lives == campaign.tally.next_seed <= lived
    whole = Campaign(Tally(), None, jobs=1, sessions=campaign.tally.sessions, seconds=0)
    whole.run()
    assert (whole.tally.steps, whole.tally.faults) == (campaign.tally.steps, campaign.tally.faults)
