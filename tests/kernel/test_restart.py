"""The restart machine: examples, and a naive description of a supervisor that it must obey."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from astrid.kernel.restart import Restarts
from astrid.kernel.signals import (
    Add,
    Boot,
    Cause,
    Effect,
    Ended,
    Escalate,
    Event,
    Lost,
    Phase,
    Ready,
    Remove,
    Restart,
    Retire,
    Rules,
    Shutdown,
    Start,
    Stop,
    Strategy,
    Tick,
    Up,
    Wait,
)


def rules(
    strategy: Strategy = "one_for_one",
    intensity: int = 3,
    period: float = 5.0,
    delay: tuple[float, float] = (0.0, 0.0),
    *,
    together: bool = False,
) -> Rules:
    return Rules(strategy, intensity, period, delay, together)


class Driver:
    """Plays the shell: obeys at once, and keeps what it was told."""

    def __init__(self, the_rules: Rules, *children: tuple[str, Restart], boot: bool = True) -> None:
        self.machine = Restarts(the_rules, children)
        self.now = 100.0
        self.log: list[Effect] = []
        if boot:
            self.happens(Boot())

    def happens(self, event: Event) -> list[Effect]:
        """What the machine says to this, and to what comes of doing it."""
        start = len(self.log)
        todo = [event]
        while todo:
            for effect in self.machine.step(todo.pop(0), self.now):
                self.log.append(effect)
                match effect:
                    case Start(name):
                        todo.append(Up(name))
                    case Stop(name):
                        todo.append(Ended(name, failed=False))
                    case _:
                        pass
        return self.log[start:]

    def breaks(self, name: str) -> list[Effect]:
        return self.happens(Ended(name, failed=True))


def permanent(names: str) -> list[tuple[str, Restart]]:
    return [(name, "permanent") for name in names]


# ---- starting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_children_start_left_to_right_each_when_the_one_before_is_up(strategy: Strategy) -> None:
    machine = Restarts(rules(strategy), permanent("abc"))
    assert machine.step(Boot(), 0) == [Start("a")]
    assert machine.step(Up("a"), 1) == [Start("b")]
    assert machine.step(Up("b"), 2) == [Start("c")]
    assert machine.step(Up("c"), 3) == [Ready()]


def test_a_supervisor_without_children_is_ready_at_once() -> None:
    assert Restarts(rules(), []).step(Boot(), 0) == [Ready()]


def test_a_supervisor_is_ready_once() -> None:
    driver = Driver(rules(), *permanent("a"))
    assert Ready() not in driver.breaks("a")


def test_a_child_that_fails_to_start_holds_up_those_that_are_tied_to_it() -> None:
    machine = Restarts(rules("rest_for_one", delay=(1, 1)), permanent("ab"))
    machine.step(Boot(), 0)
    assert machine.step(Ended("a", failed=True), 0) == [Wait(1)]
    assert machine.step(Tick(), 1) == [Start("a")]
    assert machine.step(Up("a"), 1) == [Start("b")]


def test_a_child_that_fails_to_start_holds_up_no_independent_one() -> None:
    machine = Restarts(rules(delay=(1, 1)), permanent("ab"))
    machine.step(Boot(), 0)
    assert machine.step(Ended("a", failed=True), 0) == [Start("b"), Wait(1)]
    assert machine.step(Up("b"), 0) == []
    assert machine.step(Tick(), 1) == [Start("a")]
    assert machine.step(Up("a"), 1) == [Ready()]


def test_a_temporary_child_that_fails_to_start_holds_up_nobody() -> None:
    machine = Restarts(rules("rest_for_one"), [("a", "temporary"), ("b", "permanent")])
    machine.step(Boot(), 0)
    assert machine.step(Ended("a", failed=True), 0) == [Retire("a"), Start("b")]
    assert machine.step(Up("b"), 0) == [Ready()]


def test_a_failing_start_counts_as_a_failure() -> None:
    machine = Restarts(rules(intensity=1), permanent("a"))
    machine.step(Boot(), 0)
    assert machine.step(Ended("a", failed=True), 0) == [Start("a")]
    assert machine.step(Ended("a", failed=True), 0) == [Escalate(Cause.GAVE_UP, "a")]


# ---- restarting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", [Start("b")]),
        ("one_for_all", [Stop("c"), Stop("a"), Start("a"), Start("b"), Start("c")]),
        ("rest_for_one", [Stop("c"), Start("b"), Start("c")]),
    ],
)
def test_the_strategy_says_who_goes_down_with_a_broken_child(strategy: Strategy, expected: list[Effect]) -> None:
    assert Driver(rules(strategy), *permanent("abc")).breaks("b") == expected


@pytest.mark.parametrize(
    ("restart", "failed", "expected"),
    [
        ("permanent", True, Start("a")),
        ("permanent", False, Start("a")),
        ("transient", True, Start("a")),
        ("transient", False, Retire("a")),
        ("temporary", True, Retire("a")),
        ("temporary", False, Retire("a")),
    ],
)
def test_the_kind_of_child_says_whether_it_comes_back(restart: Restart, failed: bool, expected: Effect) -> None:
    driver = Driver(rules(), ("a", restart))
    assert driver.happens(Ended("a", failed=failed)) == [expected]


def test_a_group_goes_down_one_at_a_time_and_wholly_before_it_comes_up() -> None:
    machine = Restarts(rules("one_for_all"), permanent("abc"))
    for event in (Boot(), Up("a"), Up("b"), Up("c")):
        machine.step(event, 0)
    assert machine.step(Ended("a", failed=True), 0) == [Stop("c")]
    assert machine.step(Ended("c", failed=False), 0) == [Stop("b")]
    assert machine.step(Ended("b", failed=False), 0) == [Start("a")]


def test_a_group_that_broke_once_breaks_the_same_way_again() -> None:
    driver = Driver(rules("one_for_all"), *permanent("abc"))
    assert driver.breaks("a") == [Stop("c"), Stop("b"), Start("a"), Start("b"), Start("c")]
    assert driver.breaks("c") == [Stop("b"), Stop("a"), Start("a"), Start("b"), Start("c")]


def test_a_second_child_of_a_group_that_goes_down_widens_it() -> None:
    machine = Restarts(rules("rest_for_one"), permanent("abcd"))
    for event in (Boot(), *(Up(name) for name in "abcd"), Ended("c", failed=True)):
        machine.step(event, 0)
    assert machine.step(Ended("a", failed=True), 0) == []
    assert machine.step(Ended("d", failed=False), 0) == [Stop("b")]
    assert machine.step(Ended("b", failed=False), 0) == [Start("a")]
    assert machine.restarts == 2


def test_a_temporary_child_that_goes_down_with_its_group_does_not_come_back() -> None:
    driver = Driver(rules("one_for_all"), ("a", "permanent"), ("t", "temporary"))
    assert driver.breaks("a") == [Stop("t"), Retire("t"), Start("a")]


def test_a_temporary_child_that_was_not_started_yet_is_started_after_its_group_broke() -> None:
    machine = Restarts(rules("one_for_all"), [("a", "permanent"), ("t", "temporary")])
    machine.step(Boot(), 0)
    assert machine.step(Ended("a", failed=True), 0) == [Start("a")]
    assert machine.step(Up("a"), 0) == [Start("t")]


def test_those_who_break_while_they_are_taken_down_do_not_count() -> None:
    machine = Restarts(rules("one_for_all", intensity=1), permanent("abc"))
    for event in (Boot(), Up("a"), Up("b"), Up("c")):
        machine.step(event, 0)
    assert machine.step(Ended("a", failed=True), 0) == [Stop("c")]
    assert machine.step(Ended("b", failed=True), 0) == []  # before its turn
    assert machine.step(Ended("c", failed=True), 0) == [Start("a")]
    assert machine.restarts == 1


# ---- intensity and delay --------------------------------------------------------------------------------------------


def test_more_restarts_than_allowed_take_everything_down_right_to_left() -> None:
    driver = Driver(rules(intensity=2), *permanent("abc"))
    driver.breaks("b")
    driver.breaks("b")
    assert driver.breaks("b") == [Stop("c"), Stop("a"), Escalate(Cause.GAVE_UP, "b")]


def test_restarts_that_are_long_past_do_not_count() -> None:
    driver = Driver(rules(intensity=1, period=5), *permanent("a"))
    for _ in range(5):
        assert driver.breaks("a") == [Start("a")]
        driver.now += 5.01


def test_a_restart_exactly_one_period_ago_still_counts() -> None:
    driver = Driver(rules(intensity=1, period=5), *permanent("a"))
    driver.breaks("a")
    driver.now += 5
    assert driver.breaks("a") == [Escalate(Cause.GAVE_UP, "a")]


def test_the_delay_doubles_up_to_its_limit_and_falls_back_after_a_period_of_peace() -> None:
    driver = Driver(rules(intensity=100, period=50, delay=(1, 5)), *permanent("a"))
    waited: list[float] = []

    def break_and_wait() -> None:
        (wait,) = driver.breaks("a")
        assert isinstance(wait, Wait)
        waited.append(wait.until - driver.now)
        driver.now = wait.until
        assert driver.happens(Tick()) == [Start("a")]

    for _ in range(5):
        break_and_wait()
    driver.now += 50
    break_and_wait()
    assert waited == [1, 2, 4, 5, 5, 1]


def test_the_delay_grows_for_a_child_that_was_up_once_and_cannot_start_again() -> None:
    machine = Restarts(rules(intensity=100, delay=(1, 60)), permanent("a"))
    machine.step(Boot(), 0)
    machine.step(Up("a"), 0)
    now = 50.0
    waited: list[float] = []
    for _ in range(4):
        (wait,) = machine.step(Ended("a", failed=True), now)
        assert isinstance(wait, Wait)
        waited.append(wait.until - now)
        now = wait.until
        assert machine.step(Tick(), now) == [Start("a")]
    assert waited == [1, 2, 4, 8]


def test_a_child_that_has_to_wait_long_is_not_let_off_because_another_need_not() -> None:
    machine = Restarts(rules("rest_for_one", intensity=100, delay=(1, 60)), permanent("ab"))
    for event in (Boot(), Up("a"), Up("b")):
        machine.step(event, 0)
    for now, until in ((0, 1), (1, 3)):
        assert machine.step(Ended("b", failed=True), now) == [Wait(until)]
        assert machine.step(Tick(), until) == [Start("b")]
    assert machine.step(Ended("b", failed=True), 3) == [Wait(7)]
    assert machine.step(Ended("a", failed=True), 3) == [Wait(4)]
    assert machine.step(Tick(), 4) == [Start("a")]
    assert machine.step(Up("a"), 4) == [Wait(7)]


def test_a_thousand_failures_do_not_overflow_the_delay() -> None:
    driver = Driver(rules(intensity=10_000, delay=(0.5, 8)), *permanent("a"))
    for _ in range(1200):
        (wait,) = driver.breaks("a")
        assert isinstance(wait, Wait)
        assert wait.until - driver.now <= 8
        driver.now = wait.until
        driver.happens(Tick())


def test_a_group_comes_up_only_after_the_delay() -> None:
    driver = Driver(rules("one_for_all", delay=(1, 1)), *permanent("ab"))
    assert driver.breaks("b") == [Stop("a"), Wait(101)]
    driver.now = 100.5
    assert driver.happens(Tick()) == [Wait(101)]
    driver.now = 101
    assert driver.happens(Tick()) == [Start("a"), Start("b")]


def test_one_wait_serves_for_the_earliest_of_all() -> None:
    driver = Driver(rules(intensity=9, delay=(1, 8)), *permanent("ab"))
    driver.breaks("a")
    driver.now = 101
    driver.happens(Tick())
    assert driver.breaks("a") == [Wait(103)]
    assert driver.breaks("b") == [Wait(102)]


# ---- adding and removing --------------------------------------------------------------------------------------------


def test_an_added_child_starts_at_once_and_delays_nobody() -> None:
    machine = Restarts(rules(), permanent("ab"))
    machine.step(Boot(), 0)
    assert machine.step(Add("x", "temporary"), 0) == [Start("x")]
    assert machine.step(Up("a"), 0) == [Start("b")]
    assert machine.step(Up("b"), 0) == [Ready()]


def test_an_added_child_that_is_tied_waits_for_those_on_its_left() -> None:
    machine = Restarts(rules("rest_for_one"), permanent("a"))
    machine.step(Boot(), 0)
    assert machine.step(Add("x", "permanent"), 0) == []
    assert machine.step(Up("a"), 0) == [Start("x"), Ready()]


def test_a_removed_child_goes_for_good_and_alone() -> None:
    driver = Driver(rules("one_for_all"), *permanent("abc"))
    assert driver.happens(Remove("b")) == [Stop("b"), Retire("b")]
    assert driver.machine.phase("b") is None
    assert driver.breaks("a") == [Stop("c"), Start("a"), Start("c")]


def test_a_child_that_is_removed_while_it_waits_for_its_restart_is_never_started() -> None:
    driver = Driver(rules(delay=(1, 1)), *permanent("a"))
    driver.breaks("a")
    assert driver.happens(Remove("a")) == [Retire("a")]
    driver.now = 200
    assert driver.happens(Tick()) == []


def test_a_child_that_is_removed_while_it_starts_is_stopped() -> None:
    machine = Restarts(rules(), permanent("a"))
    machine.step(Boot(), 0)
    assert machine.step(Remove("a"), 0) == [Stop("a"), Ready()]
    assert machine.step(Up("a"), 0) == []
    assert machine.phase("a") is Phase.STOPPING
    assert machine.step(Remove("a"), 0) == []
    assert machine.step(Ended("a", failed=True), 0) == [Retire("a")]


def test_a_child_that_is_removed_while_it_goes_down_with_its_group_does_not_come_back() -> None:
    machine = Restarts(rules("one_for_all"), permanent("ab"))
    for event in (Boot(), Up("a"), Up("b"), Ended("a", failed=True)):
        machine.step(event, 0)
    assert machine.step(Remove("b"), 0) == []
    assert machine.step(Ended("b", failed=False), 0) == [Retire("b"), Start("a")]


def test_to_remove_nobody_changes_nothing() -> None:
    assert Driver(rules(), *permanent("a")).happens(Remove("z")) == []


# ---- ending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_shutdown_goes_right_to_left_and_restarts_nobody(strategy: Strategy) -> None:
    driver = Driver(rules(strategy), *permanent("abc"))
    driver.happens(Add("x", "permanent"))
    assert driver.happens(Shutdown()) == [
        Stop("x"),
        Stop("c"),
        Stop("b"),
        Stop("a"),
        Retire("x"),
        Escalate(Cause.ASKED, ""),
    ]
    assert driver.happens(Tick()) == []


def test_children_that_are_alike_are_stopped_together() -> None:
    machine = Restarts(rules(together=True), permanent("ab"))
    for event in (Boot(), Up("a"), Up("b")):
        machine.step(event, 0)
    assert machine.step(Shutdown(), 0) == [Stop("b"), Stop("a")]
    assert machine.step(Ended("a", failed=False), 0) == []
    assert machine.step(Ended("b", failed=False), 0) == [Escalate(Cause.ASKED, "")]


def test_a_child_that_breaks_during_a_shutdown_is_not_restarted() -> None:
    machine = Restarts(rules(intensity=0), permanent("ab"))
    for event in (Boot(), Up("a"), Up("b")):
        machine.step(event, 0)
    machine.step(Shutdown(), 0)
    assert machine.step(Ended("a", failed=True), 0) == []
    assert machine.step(Ended("b", failed=True), 0) == [Escalate(Cause.ASKED, "")]


def test_a_shutdown_that_comes_before_the_start_starts_nobody() -> None:
    machine = Restarts(rules(), permanent("a"))
    assert machine.step(Shutdown(), 0) == [Escalate(Cause.ASKED, "")]
    assert machine.step(Boot(), 0) == []


def test_to_remove_a_child_during_a_shutdown_does_not_change_the_order() -> None:
    machine = Restarts(rules(), permanent("ab"))
    for event in (Boot(), Up("a"), Up("b")):
        machine.step(event, 0)
    assert machine.step(Shutdown(), 0) == [Stop("b")]
    assert machine.step(Remove("a"), 0) == []


def test_what_is_fatal_is_not_restarted_even_where_it_is_allowed() -> None:
    driver = Driver(rules(intensity=100), *permanent("ab"))
    assert driver.happens(Ended("a", failed=True, fatal=True)) == [Stop("b"), Escalate(Cause.FATAL, "a")]


def test_what_is_fatal_during_a_shutdown_is_what_the_end_is_put_down_to() -> None:
    machine = Restarts(rules(), permanent("ab"))
    for event in (Boot(), Up("a"), Up("b"), Shutdown()):
        machine.step(event, 0)
    assert machine.step(Ended("b", failed=True, fatal=True), 0) == [Stop("a")]
    assert machine.step(Ended("a", failed=False), 0) == [Escalate(Cause.FATAL, "b")]


def test_the_first_fatal_end_is_the_one_that_is_told() -> None:
    machine = Restarts(rules(), permanent("abc"))
    for event in (Boot(), Up("a"), Up("b"), Up("c"), Ended("b", failed=True, fatal=True), Lost("c")):
        machine.step(event, 0)
    assert machine.step(Ended("a", failed=True, fatal=True), 0) == [Escalate(Cause.FATAL, "b")]


def test_a_child_that_does_not_end_has_no_successor() -> None:
    machine = Restarts(rules("one_for_all"), permanent("abc"))
    for event in (Boot(), Up("a"), Up("b"), Up("c")):
        machine.step(event, 0)
    assert machine.step(Ended("a", failed=True), 0) == [Stop("c")]
    assert machine.step(Lost("c"), 0) == [Stop("b")]
    assert machine.step(Ended("b", failed=False), 0) == [Escalate(Cause.FATAL, "c")]


def test_a_removed_child_that_does_not_end_keeps_its_place_until_it_does() -> None:
    machine = Restarts(rules(), permanent("ab"))
    for event in (Boot(), Up("a"), Up("b"), Remove("a")):
        machine.step(event, 0)
    assert machine.step(Lost("a"), 0) == []
    assert machine.phase("a") is Phase.LOST
    assert machine.step(Ended("a", failed=False), 0) == [Retire("a")]


def test_a_supervisor_that_leaves_a_lost_child_behind_ends_fatally() -> None:
    machine = Restarts(rules(), permanent("ab"))
    for event in (Boot(), Up("a"), Up("b"), Remove("a"), Lost("a"), Shutdown()):
        machine.step(event, 0)
    assert machine.step(Ended("b", failed=False), 0) == [Retire("a"), Escalate(Cause.FATAL, "a")]


def test_who_has_ended_cannot_be_lost() -> None:
    assert Driver(rules(), *permanent("a")).happens(Lost("a")) == []


# ---- against a naive description ------------------------------------------------------------------------------------


@dataclass
class Child:
    """One child as one would describe it."""

    name: str
    restart: Restart
    static: bool
    phase: str = "down"
    tried: bool = False
    doomed: bool = False
    not_before: float = 0.0


@dataclass
class Naive:
    """What holds of a supervisor, said without any thought of how it is done."""

    rules: Rules
    children: list[Child] = field(default_factory=list[Child])  # who is wanted, or not yet retired, left to right
    leaving: set[str] = field(default_factory=set[str])
    failures: list[float] = field(default_factory=list[float])
    cause: Cause | None = None
    ready: bool = False
    over: bool = False
    lost: bool = False  # somebody who does not end was left behind

    @property
    def tied(self) -> bool:
        return self.rules.strategy != "one_for_one"

    def find(self, name: str) -> Child:
        return next(child for child in self.children if child.name == name)

    def live(self) -> list[Child]:
        return [child for child in self.children if child.phase in ("starting", "up")]

    def starting(self) -> list[Child]:
        return [child for child in self.children if child.phase == "starting"]

    def stopping(self) -> list[Child]:
        return [child for child in self.children if child.phase == "stopping"]

    def wanted(self) -> list[Child]:
        return [child for child in self.children if child.name not in self.leaving]

    def ended(self, name: str, *, failed: bool, fatal: bool, now: float) -> None:
        child = self.find(name)
        expected = child.phase in ("stopping", "lost") or child.doomed or self.cause is not None
        child.phase, child.tried, child.doomed = "down", True, False
        if fatal:
            self.cause = Cause.FATAL
        elif not expected and name not in self.leaving:
            if child.restart == "temporary" or (child.restart == "transient" and not failed):
                self.leaving.add(name)
                return
            self.failures.append(now)
            if sum(1 for when in self.failures if when >= now - self.rules.period) > self.rules.intensity:
                self.cause = Cause.GAVE_UP
                return
            index = self.children.index(child)
            group = {
                "one_for_one": [],
                "one_for_all": self.children,
                "rest_for_one": self.children[index:],
            }[self.rules.strategy]
            child.not_before = now + self.rules.delay[0]
            for member in group:
                member.not_before = max(member.not_before, now + self.rules.delay[0])
                if member.phase in ("starting", "up"):
                    member.doomed = True
                    if member.restart == "temporary":
                        self.leaving.add(member.name)

    def check(self, effect: Effect, now: float) -> None:
        """This effect is allowed now."""
        assert not self.over
        match effect:
            case Start(name):
                child = self.find(name)
                assert child.phase == "down"
                assert name not in self.leaving
                assert self.cause is None
                assert child.not_before <= now
                left = self.children[: self.children.index(child)]
                if self.tied:
                    assert all(other.phase == "up" for other in left if other.name not in self.leaving)
                    assert not any(other.doomed for other in self.children)
                elif child.static and not child.tried:
                    assert all(other.tried for other in left if other.static and other.name not in self.leaving)
                child.phase = "starting"
            case Stop(name):
                child = self.find(name)
                assert child.phase in ("starting", "up")
                assert child.doomed or name in self.leaving or self.cause is not None
                if name not in self.leaving and not (self.rules.together and self.cause is not None):
                    going = [other for other in self.live() if other.doomed or self.cause is not None]
                    assert child is going[-1]
                    assert not any(other.doomed or self.cause is not None for other in self.stopping())
                child.phase = "stopping"
            case Retire(name):
                child = self.find(name)
                assert child.phase in ("down", "lost")
                assert name in self.leaving or (self.cause is not None and not child.static)
                self.lost = self.lost or child.phase == "lost"
                self.children.remove(child)
            case Ready():
                assert not self.ready
                assert all(child.phase == "up" for child in self.wanted() if child.static)
                self.ready = True
            case Escalate(cause, _):
                assert not self.live()
                assert not self.stopping()
                lost = self.lost or any(child.phase == "lost" for child in self.children)
                assert cause is (Cause.FATAL if lost else self.cause)
                assert all(child.static for child in self.children)
                self.over = True
            case Wait(until):
                assert until > now


Choose = Callable[[Sequence[Any]], Any]


class Play:
    """A supervisor's life: the machine and the description side by side, and whatever may happen to them."""

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        delay = choose([0.0, 0.0, 1.0])
        strategy: Strategy = choose(["one_for_one", "one_for_all", "rest_for_one"])
        the_rules = Rules(strategy, choose([0, 1, 3, 9, 9]), 5.0, (delay, delay), choose([True, False]))
        kinds: Sequence[Restart] = ["permanent", "permanent", "transient", "temporary"]
        names: list[tuple[str, Restart]] = [(f"s{n}", choose(kinds)) for n in range(choose([0, 1, 2, 3, 4, 5]))]
        self.machine = Restarts(the_rules, names)
        self.naive = Naive(the_rules, [Child(name, restart, static=True) for name, restart in names])
        self.now = 10.0
        self.wait: float | None = None
        self.added = 0
        self.happens(Boot())

    def act(self) -> None:
        """One of the things that may happen now."""
        naive = self.naive
        actions: list[Callable[[], None]] = [self.time_passes, self.all_is_done_that_was_said]
        if naive.starting():
            actions += [lambda: self.come_up(self.choose(naive.starting()))] * 3
        if naive.live():
            actions += [self.one_ends_by_itself] * 2
        if naive.stopping():
            actions += [self.one_ends_that_was_told_to] * 3
            actions += [self.one_comes_up_that_is_stopping]
        if naive.cause is None and len(naive.children) < 8:
            actions += [self.one_is_added]
        if naive.children:
            actions += [self.one_is_removed]
        if self.choose(range(12)) == 0:
            actions = [self.everything_is_to_end, self.one_ends_fatally, self.one_does_not_end]
        self.choose(actions)()
        self.both_know_the_same_children()

    def happens(self, event: Event) -> None:
        for effect in self.machine.step(event, self.now):
            self.naive.check(effect, self.now)
            if isinstance(effect, Wait):
                self.wait = effect.until

    def end(self, child: Child, *, failed: bool, fatal: bool = False) -> None:
        self.naive.ended(child.name, failed=failed, fatal=fatal, now=self.now)
        self.happens(Ended(child.name, failed=failed, fatal=fatal))

    def come_up(self, child: Child) -> None:
        child.phase, child.tried = "up", True
        self.happens(Up(child.name))

    def one_comes_up_that_is_stopping(self) -> None:
        for child in self.naive.stopping():
            if not child.tried:
                child.tried = True
                self.happens(Up(child.name))
                return

    def one_ends_by_itself(self) -> None:
        self.end(self.choose(self.naive.live()), failed=self.choose([True, True, False]))

    def one_ends_that_was_told_to(self) -> None:
        self.end(self.choose(self.naive.stopping()), failed=self.choose([True, False]))

    def one_is_added(self) -> None:
        self.added += 1
        restart: Restart = self.choose(["permanent", "transient", "temporary"])
        self.naive.children.append(Child(f"d{self.added}", restart, static=False))
        self.happens(Add(f"d{self.added}", restart))

    def one_is_removed(self) -> None:
        name = self.choose(self.naive.children).name
        if self.naive.cause is None:
            self.naive.leaving.add(name)
        self.happens(Remove(name))

    def time_passes(self) -> None:
        self.now += self.choose([0.5, 1.0, 3.0, 10.0])
        if self.wait is not None and self.wait <= self.now:
            self.wait = None
            self.happens(Tick())

    def everything_is_to_end(self) -> None:
        self.naive.cause = self.naive.cause or Cause.ASKED
        self.happens(Shutdown())

    def one_ends_fatally(self) -> None:
        if self.naive.live():
            self.end(self.choose(self.naive.live()), failed=True, fatal=True)

    def one_does_not_end(self) -> None:
        if self.naive.stopping():
            child = self.choose(self.naive.stopping())
            child.phase, child.doomed = "lost", False
            if child.name not in self.naive.leaving:
                self.naive.cause = Cause.FATAL
            self.happens(Lost(child.name))

    def all_is_done_that_was_said(self) -> None:
        """When every start succeeds and every stop does, everybody is up who should be, or everything is down."""
        for _ in range(200):
            if self.naive.starting():
                self.come_up(self.naive.starting()[0])
            elif self.naive.stopping():
                self.end(self.naive.stopping()[0], failed=False)
            elif self.wait is not None:
                self.now, self.wait = max(self.now, self.wait), None
                self.happens(Tick())
            else:
                break
        if self.naive.cause is not None:
            assert self.naive.over
        else:
            assert self.naive.ready
            assert all(child.phase == "up" for child in self.naive.wanted())
            assert all(child.phase == "lost" for child in self.naive.children if child.name in self.naive.leaving)

    def both_know_the_same_children(self) -> None:
        for child in [] if self.naive.over else self.naive.children:
            phase = self.machine.phase(child.name)
            assert phase is not None
            assert phase.value == child.phase


class Supervised(RuleBasedStateMachine):
    """The machine obeys the description, whatever happens in whatever order."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.play = Play(lambda among: data.draw(st.sampled_from(among)))

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        self.play.choose = lambda among: data.draw(st.sampled_from(among))
        self.play.act()


TestSupervised = Supervised.TestCase
TestSupervised.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("seed", range(40))
def test_the_machine_obeys_the_description_on_long_walks(seed: int) -> None:
    # Hypothesis prefers short stories, and the worst need many steps: these are long, and the same every time.
    for walk in range(10):
        play = Play(random.Random(40 * walk + seed).choice)  # noqa: S311 - chance, not a secret
        for _ in range(60):
            play.act()
        play.all_is_done_that_was_said()
