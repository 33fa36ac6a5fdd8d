"""One simulated life: the daemon is started, things happen, it stops or is stopped, and is started again on what was
durable; at the end a last start looks whether everything is as the records say.

Each start is a run of its own on a virtual clock under a seeded schedule.  A crash comes before any step of any task;
what the dying tasks do afterwards reaches neither the disk nor the world.

Source: architecture 5 (the table of crashes), 10 (I1 to I9).
"""

from __future__ import annotations

import os
import threading
from collections import Counter

import msgspec
import trio

from astrid.kernel.testing import run_seeded
from tests.fakes.home import USER
from tests.simulation.authority import Authority
from tests.simulation.disk import Disk
from tests.simulation.edges import START_NS, SimClock, SimEntropy, SimTools
from tests.simulation.ending import check_log, check_replays
from tests.simulation.people import AUD, People
from tests.simulation.plan import Boot, Plan
from tests.simulation.records import Records
from tests.simulation.start import Start
from tests.simulation.watch import Violation, Watch, digest_of

MAX_STEPS = 400_000
LAST = Boot(acts=(), end="stop", at_step=0, kept=False, down_s=0)


class Result(msgspec.Struct, frozen=True):
    """What came of a life."""

    seed: int
    sessions: int
    steps: int
    crashes: int
    records: int
    effects: int
    hash: str
    faults: dict[str, int]
    violations: tuple[Violation, ...]
    trace: tuple[str, ...] = ()


class _Steps(trio.abc.Instrument):
    """Counts steps, and does something before one of them."""

    def __init__(self, at: int) -> None:
        self.count = 0
        self.at = at
        self.action = _nothing

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
        if self.count == self.at:
            self.action()


def _nothing() -> None:
    """Before the start is there."""


class Life:
    """What outlives the starts of one home: disk, people, the checker, and the tally."""

    def __init__(self, plan: Plan, *, trace: bool = False) -> None:
        self.plan = plan
        self.faults: Counter[str] = Counter()
        self.trace: list[str] | None = [] if trace else None
        self.watch = Watch(self.note, self.say)
        asks = frozenset(("note", "trusted")) if plan.policy == "asks" else frozenset[str]()
        blocks = frozenset(("wipe", "trusted")) if plan.policy == "blocks" else frozenset[str]()
        self.authority = Authority(USER.public, asked_each_time=asks, forbidden=blocks)
        self.records = Records(AUD, self.authority, plan.workspace_micros, self.watch.wrong)
        self.watch.begin(self.records)
        self.disk = Disk((*plan.disk, ""), self.watch.written, self.note)
        self.entropy = SimEntropy(plan.seed)
        self.people = People(plan.people, self.records, SimEntropy(~plan.seed))
        self.tools = SimTools(plan, self.note, self.watch.ran, lambda: self.watch.dead)
        self.clock = SimClock(START_NS)
        self.steps = self.crashes = 0
        self.number = 0

    def note(self, fault: str) -> None:
        """A fault happened."""
        self.faults[fault] += 1
        self.say(f"fault {fault}")

    def say(self, text: str) -> None:
        """For a person who reads along."""
        if self.trace is not None:
            try:
                now = f"{trio.current_time():10.3f}"
            except RuntimeError:
                now = " " * 10
            self.trace.append(f"{self.number} {now} {text}")

    def run(self) -> Result:
        """Live it."""
        before = _belongings()
        for boot in (*self.plan.boots, LAST):
            self.number += 1
            self._start(boot, last=boot is LAST)
            if self.watch.violations:
                break
        if not self.watch.violations:
            check_log(self.disk, self.records, self.watch.wrong, self.plan.seed)
            check_replays(self.disk, self.plan, self.watch.wrong)
        if left := _belongings() - before:  # what others left behind may go at any time
            self.watch.wrong("I8", f"a thread or an open file is left: {left}")
        return self._result()

    def _start(self, boot: Boot, *, last: bool) -> None:
        self.watch.start()
        self.tools.calm = self.disk.calm = last
        steps = _Steps(boot.at_step)
        start = Start(self, boot, last=last)
        steps.action = start.crash

        async def main() -> None:
            before = _tasks()
            await start.run()
            if _tasks() != before:
                self.watch.wrong("I8", f"tasks are left: {_tasks()}")

        try:
            run_seeded(self.plan.seed * 8 + self.number, main, instruments=(steps,), steps=MAX_STEPS)
        except AssertionError as error:
            self.watch.wrong("L", str(error))
        self.steps += steps.count
        self.crashes += self.watch.dead
        self.disk.rest()
        self.clock = SimClock(start.ended_ns + boot.down_s * 10**9)

    def _result(self) -> Result:
        log = self.disk.log
        parts = [*log.log, *(note for _, note in sorted(log.notes.items()))]
        parts += [salt + data for _, (salt, data) in sorted(log.kept.items())]
        parts += [data for _, data in sorted(log.journal.items())]
        parts.append(repr((self.steps, sorted(self.faults.items()), self.watch.effects)).encode())
        return Result(
            seed=self.plan.seed,
            sessions=len(self.records.lived & self.records.started),
            steps=self.steps,
            crashes=self.crashes,
            records=len(log.log),
            effects=self.watch.effects,
            hash=digest_of(*parts),
            faults=dict(sorted(self.faults.items())),
            violations=tuple(self.watch.violations),
            trace=tuple(self.trace or ()),
        )


def live(plan: Plan, *, trace: bool = False) -> Result:
    """Live a plan."""
    return Life(plan, trace=trace).run()


def _tasks() -> list[str]:
    """Every task of this run, Trio's own among them."""
    root = trio.lowlevel.current_root_task()
    found: list[str] = []
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        found.append(task.name)
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return sorted(found)


def _belongings() -> set[str]:
    """Threads and open files of this process, but for the one with which the files are listed."""
    files = [name for name in os.listdir("/dev/fd") if os.path.lexists(f"/dev/fd/{name}")]
    return {thread.name for thread in threading.enumerate()} | set(files)
