"""Many lives on a few processes: what was lived so far, what broke, and how fast it went.

Seeds are handed out in order, a few at a time, and counted when they come back; what was handed out and not counted is
lived again after an interruption.  So nothing is lost and nothing counted twice.

Never: lets a worker decide what is lived next.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from tests.simulation.life import Result, live
from tests.simulation.plan import plan_of

CHUNK = 8  # lives at a time
MAX_FAILURES = 20


class Failure(msgspec.Struct, frozen=True):
    """A promise that was broken, and by which life."""

    seed: int
    invariant: str
    what: str


class Tally(msgspec.Struct):
    """What was lived, over all sittings.  Every seed below ``next_seed`` is counted."""

    next_seed: int = 0
    lives: int = 0
    sessions: int = 0
    steps: int = 0
    crashes: int = 0
    records: int = 0
    effects: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    faults: dict[str, int] = {}
    failures: list[Failure] = []


def load_tally(state: Path) -> Tally:
    """What the file remembers; a beginning if there is none."""
    return msgspec.json.decode(state.read_bytes(), type=Tally) if state.exists() else Tally()


Lived = tuple[Result, float]  # and the processor time that it took, in seconds


def live_one(seed: int) -> Lived:
    """The life of one seed."""
    began = time.process_time()
    return live(plan_of(seed)), time.process_time() - began


def live_some(first: int) -> list[Lived]:
    """The lives of one chunk of seeds."""
    return [live_one(seed) for seed in range(first, first + CHUNK)]


class Campaign:
    """One sitting."""

    def __init__(self, tally: Tally, state: Path | None, *, jobs: int, sessions: int, seconds: float) -> None:
        self.tally = tally
        self._state = state
        self._jobs = jobs
        self._sessions = sessions
        self._seconds = seconds
        self._before = msgspec.structs.replace(tally)
        self._began = time.monotonic()
        self._told = 0.0
        self._failures: list[Failure] = []

    def run(self) -> list[Failure]:
        """Live until enough was lived, time is up, or somebody presses Ctrl-C; what broke."""
        try:
            (self._run_here if self._jobs < 2 else self._run_there)()
        except KeyboardInterrupt:
            sys.stderr.write("\nstopped; the same command goes on from here\n")
        self._keep()
        return self._failures

    def _run_here(self) -> None:
        while not self._enough:
            self._count(*live_one(self.tally.next_seed))

    def _run_there(self) -> None:
        context = multiprocessing.get_context("spawn")
        with context.Pool(self._jobs, initializer=_work_on) as pool:
            first, waiting = self.tally.next_seed, []
            while not self._enough:
                while len(waiting) < 2 * self._jobs:
                    waiting.append(pool.apply_async(live_some, (first,)))
                    first += CHUNK
                for result, seconds in waiting.pop(0).get():
                    self._count(result, seconds)

    @property
    def _enough(self) -> bool:
        lived = self.tally.sessions - self._before.sessions
        late = bool(self._seconds) and time.monotonic() - self._began >= self._seconds
        return late or (bool(self._sessions) and lived >= self._sessions) or len(self._failures) >= MAX_FAILURES

    def _count(self, result: Result, seconds: float) -> None:
        tally = self.tally
        tally.processor_seconds += seconds
        tally.next_seed = result.seed + 1
        tally.lives += 1
        tally.faults = dict(Counter(tally.faults) + Counter(result.faults))
        for name in ("sessions", "steps", "crashes", "records", "effects"):
            setattr(tally, name, getattr(tally, name) + getattr(result, name))
        if result.violations:
            first = result.violations[0]
            failure = Failure(result.seed, first.invariant, first.what)
            self._failures.append(failure)
            tally.failures.append(failure)
            sys.stderr.write(f"\nseed {result.seed} breaks {first.invariant}: {first.what}\n")
        now = time.monotonic()
        if now - self._told > 5:
            self._told = now
            self._keep()
            sys.stderr.write(f"\r{self.line()}"[: _columns()])
            sys.stderr.flush()

    def _keep(self) -> None:
        self.tally.seconds = self._before.seconds + time.monotonic() - self._began
        if self._state is not None:
            fresh = self._state.with_name(self._state.name + ".new")
            fresh.write_bytes(msgspec.json.encode(self.tally))
            os.replace(fresh, self._state)

    # --- figures

    def figures(self) -> dict[str, object]:
        """What was lived in all, and how fast in this sitting."""
        tally = self.tally
        seconds = max(time.monotonic() - self._began, 0.001)
        faults = dict(sorted(tally.faults.items(), key=lambda item: -item[1]))
        return {
            "sessions": tally.sessions,
            "lives": tally.lives,
            "steps": tally.steps,
            "crashes": tally.crashes,
            "records": tally.records,
            "effects": tally.effects,
            "faults": faults,
            "sessions_per_minute": round((tally.sessions - self._before.sessions) / seconds * 60),
            "sessions_per_processor_minute": round(tally.sessions / max(tally.processor_seconds, 0.001) * 60),
            "next_seed": tally.next_seed,
            "failures": len(self._failures),
        }

    def line(self) -> str:
        """The figures on one line."""
        figures = self.figures()
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.tally.faults.items()))
        return (
            f"simulation: {figures['sessions']} sessions in {figures['lives']} lives, {figures['steps']} steps, "
            f"{figures['crashes']} crashes, {figures['sessions_per_minute']} sessions a minute "
            f"({figures['sessions_per_processor_minute']} a minute of one processor), "
            f"{figures['failures']} failures; faults: {faults}"
        )


def _work_on() -> None:
    """A worker is ended by whoever made it; Ctrl-C is for that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns
    except OSError:
        return 200
