"""Slots, and that trees of sub-agents of any shape get done within them."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from astrid.core.slots import Slots

DEPTH = 3


def test_no_more_work_than_there_are_slots_and_the_first_that_was_queued_is_the_next() -> None:
    slots = Slots(2)
    for task in (1, 2, 3):
        slots.ask(task, None)
    assert [slots.turn() for _ in range(3)] == [1, 2, None]
    slots.over(2, None)
    assert [slots.turn(), slots.turn()] == [3, None]


def test_whoever_returns_takes_a_slot_before_it_goes_on_and_comes_before_the_queue() -> None:
    slots = Slots(1)
    for task, above in ((1, None), (2, None), (3, 1)):
        slots.ask(task, above)
        if task == 1:
            assert slots.turn() == 1
    assert (slots.turn(), slots.is_waiting(1)) == (2, True)  # who waits has none
    slots.ask(4, None)
    slots.over(3, 1)  # it never began
    assert (slots.turn(), slots.is_waiting(1)) == (None, False)
    slots.over(2, None)
    assert slots.turn() == 1


def test_whoever_asks_once_more_before_it_went_on_waits_again() -> None:
    slots = Slots(1)
    slots.ask(1, None)
    slots.turn()
    slots.ask(2, 1)
    assert slots.turn() == 2
    slots.over(2, 1)
    slots.ask(3, 1)
    assert (slots.turn(), slots.is_waiting(1)) == (3, True)


def test_the_queue_has_room_for_those_that_have_no_slot_at_once() -> None:
    slots = Slots(1)
    assert slots.has_room(None, 0)
    slots.ask(1, None)
    slots.turn()
    assert not slots.has_room(None, 0)
    assert slots.has_room(1, 0)  # it gives its own back
    assert slots.has_room(None, 1)
    slots.ask(2, None)
    assert not slots.has_room(None, 1)
    slots.ask(3, 1)
    slots.turn()
    slots.over(3, 1)
    slots.over(2, None)
    assert not slots.has_room(None, 0)  # the slot is free, and 1 comes back to it
    assert slots.has_room(1, 0)


class Trees(RuleBasedStateMachine):
    """What each task does is kept here beside, one by one; of the slots only what they answer is taken."""

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        self.count = count
        self.slots = Slots(count)
        self.above: dict[int, int | None] = {}  # of all that are not over
        self.working: set[int] = set()
        self.waiting: dict[int, set[int]] = {}
        self.returning: set[int] = set()
        self.queued: list[int] = []
        self.asked = 0
        self.begun: list[int] = []

    def depth(self, task: int | None) -> int:
        return 0 if task is None else 1 + self.depth(self.above[task])

    def ask(self, above: int | None) -> None:
        self.asked += 1
        self.slots.ask(self.asked, above)
        self.above[self.asked] = above
        self.queued.append(self.asked)
        if above is not None:
            self.working.discard(above)
            self.returning.discard(above)
            self.waiting.setdefault(above, set()).add(self.asked)

    @rule()
    def somebody_asks(self) -> None:
        self.ask(None)
        self.fill()

    @rule(data=st.data())
    def a_task_asks(self, data: st.DataObject) -> None:
        """Who works, or has not heard of all that it asked for."""
        able = sorted(self.working | set(self.waiting) | self.returning)
        able = [task for task in able if self.depth(task) < DEPTH]
        if able:
            self.ask(data.draw(st.sampled_from(able)))
            self.fill()

    @rule(data=st.data())
    def a_task_is_over(self, data: st.DataObject) -> None:
        """Done, or out of time, or taken back; and with it all that is done for it."""
        if self.above:
            self.end(data.draw(st.sampled_from(sorted(self.above))))
            self.fill()

    def end(self, task: int) -> None:
        above = self.above.pop(task)
        for below in [one for one, of in self.above.items() if of == task]:
            self.above[below] = None
            self.end(below)
        self.slots.over(task, above)
        for among in (self.working, self.returning):
            among.discard(task)
        self.waiting.pop(task, None)
        if task in self.queued:
            self.queued.remove(task)
        if above is not None:
            self.waiting[above].remove(task)
            if not self.waiting[above]:
                del self.waiting[above]
                self.returning.add(above)

    def fill(self) -> None:
        """All go on who may, as after each message to the gateway."""
        while (task := self.slots.turn()) is not None:
            if task in self.returning:
                self.returning.remove(task)
            else:
                assert not self.returning
                assert task == self.queued.pop(0)
                self.begun.append(task)
            self.working.add(task)
            self.never_too_many()
        assert len(self.working) == self.count or not (self.returning or self.queued)

    @invariant()
    def never_too_many(self) -> None:
        assert len(getattr(self, "working", ())) <= getattr(self, "count", 0)

    @invariant()
    def who_waits_is_known(self) -> None:
        for task in getattr(self, "above", {}):
            assert self.slots.is_waiting(task) == (task in self.waiting)

    def teardown(self) -> None:
        """Whatever there is gets done: somebody works as long as anybody is left."""
        while getattr(self, "above", {}):
            assert self.working
            self.end(min(self.working))
            self.fill()
        assert len(getattr(self, "begun", [])) == len(set(getattr(self, "begun", [])))


def test_trees_of_any_shape_get_done_and_never_have_more_slots_than_there_are() -> None:
    run_state_machine_as_test(Trees, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


class AtOnce(Slots):
    """Whoever returns goes on at once, as if slots were without number for it."""

    def turn(self) -> int | None:
        if self._returning:
            task = next(iter(self._returning))
            del self._returning[task]
            self._working.add(task)
            return task
        return super().turn()


class Last(Slots):
    """Whoever returns comes after the queue."""

    def turn(self) -> int | None:
        line = self._queued or self._returning
        if not line or len(self._working) >= self._count:
            return None
        task = next(iter(line))
        del line[task]
        self._working.add(task)
        return task


@pytest.mark.parametrize("wrong", [AtOnce, Last])
def test_slots_that_are_given_otherwise_are_seen(wrong: type[Slots], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.core.test_slots.Slots", wrong)
    hasty = settings(
        max_examples=300,
        stateful_step_count=40,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Trees, settings=hasty)
