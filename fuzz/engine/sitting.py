"""One run over many targets: a process for each, two at once, the time shared evenly.

Those that had the least time so far go first, so that a run that is broken off is made up for by the next.

Never: loses what a process found.  Corpora and crashes are files from the moment they are known; what it ran last
stands on its board; and how long each target has been attacked in all sittings is kept in ``.fuzz/ledger.json``.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import trio

from fuzz.engine import vectors
from fuzz.engine.attack import HANG_SECONDS, SHRINKING_SECONDS, Order
from fuzz.engine.board import Board
from fuzz.engine.corpus import CACHE, cache_folder, write_whole
from fuzz.engine.targets import PROJECT, Target, to_text

PROGRESS_SECONDS = 5.0
_LEDGER = CACHE / "ledger.json"
_START_SECONDS = 60.0  # to import and instrument everything on a slow machine


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for."""

    seconds: float
    jobs: int
    driver: Literal["atheris", "hypothesis"]
    seed: int | None


@dataclass(slots=True)
class Outcome:
    """What came of one target."""

    name: str
    executions: int = 0
    repeated: int = 0
    new_inputs: int = 0
    seconds: float = 0.0
    crashes: list[str] = field(default_factory=list[str])
    trouble: str = ""


class Sitting:
    """See the module."""

    def __init__(self, targets: list[Target], plan: Plan) -> None:
        self._plan = plan
        self._ledger = _read_ledger()
        self._targets = sorted(targets, key=lambda target: (self._ledger.get(target.name, 0.0), target.name))
        self._share = plan.seconds * min(plan.jobs, len(targets)) / len(targets)
        self._seeds = random.Random(plan.seed) if plan.seed is not None else random.SystemRandom()  # noqa: S311
        self.outcomes = {target.name: Outcome(target.name) for target in self._targets}
        self._began = time.monotonic()
        self._done = 0

    async def run(self) -> None:
        """Attack each target for its share of the time."""
        room = trio.CapacityLimiter(self._plan.jobs)
        async with trio.open_nursery() as nursery:
            for target in self._targets:
                await room.acquire_on_behalf_of(target)
                nursery.start_soon(self._attack, target, self._seeds.getrandbits(31), room)

    async def _attack(self, target: Target, seed: int, room: trio.CapacityLimiter) -> None:
        outcome = self.outcomes[target.name]
        board_path = cache_folder(target, "boards") / "board"
        board = Board(board_path, fresh=True)
        corpus = cache_folder(target)
        before = sum(1 for _ in corpus.iterdir())
        began = time.monotonic()
        order = Order(
            file=target.file,
            item=target.item,
            driver=self._plan.driver,
            until=began + self._share,
            seed=seed,
            board=str(board_path),
        )
        log = cache_folder(target, "logs") / "log"
        code: int | None = None
        try:
            with log.open("wb") as output, trio.move_on_after(_longest(self._share)):
                code = await self._process(order, output, board, outcome)
            if code != 0:
                self._died(target, outcome, board, code, log)
        finally:
            outcome.executions, outcome.repeated = board.executions, board.repeated
            outcome.new_inputs = max(0, sum(1 for _ in corpus.iterdir()) - before)
            outcome.seconds = time.monotonic() - began
            board.close()
            self._collect(target, outcome)
            self._enter(outcome)
            room.release_on_behalf_of(target)
            self._done += 1
            _say(self._line(outcome))

    async def _process(self, order: Order, output: object, board: Board, outcome: Outcome) -> int:
        command = [sys.executable, "-m", "fuzz.engine.attack", msgspec.json.encode(order).decode()]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._progress, board, outcome)
            with _home() as environment:
                done = await trio.run_process(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,  # pyright: ignore[reportArgumentType] - a file, which trio's stubs forbid here
                    stderr=subprocess.STDOUT,
                    cwd=PROJECT,
                    env=environment,
                    check=False,
                    start_new_session=True,  # Ctrl-C is for the runner, which ends the others in order
                )
            nursery.cancel_scope.cancel()
        return done.returncode

    async def _progress(self, board: Board, outcome: Outcome) -> None:
        while True:
            await trio.sleep(PROGRESS_SECONDS)
            outcome.executions = board.executions
            _say(self._line(outcome))

    def _died(self, target: Target, outcome: Outcome, board: Board, code: int | None, log: Path) -> None:
        how = "it did not end" if code is None else f"its process ended with {code}"
        last = log.read_text(errors="replace").strip().splitlines()[-12:]
        outcome.trouble = f"{how}; see {log}"
        if board.input or board.seed:
            error = "\n".join([how, *last])
            vector = vectors.Vector(
                target=target.name, error=error, drawn="", raw=to_text(board.input), seed=board.seed
            )
            path, _ = vectors.number(vector)
            outcome.crashes.append(vectors.command(path))

    def _collect(self, target: Target, outcome: Outcome) -> None:
        for found in sorted(cache_folder(target, "crashes").iterdir()):
            if found.suffix != ".json":
                continue
            vector = vectors.read(found)
            path, is_new = vectors.number(vector)
            found.unlink()
            outcome.crashes.append(vectors.command(path))
            _say(f"{target.name}: {'a crash' if is_new else 'a known crash'}: {vectors.command(path)}")
            # All of it: of a run on another machine, its output may be all that is left.
            _say("\n".join([vector.error, vector.drawn, f"choices: {vector.choices}"]))

    def _enter(self, outcome: Outcome) -> None:
        self._ledger[outcome.name] = round(self._ledger.get(outcome.name, 0.0) + outcome.seconds, 1)
        write_whole(_LEDGER, json.dumps(self._ledger, indent=1, sort_keys=True).encode())

    def _line(self, outcome: Outcome) -> str:
        found = f", {len(outcome.crashes)} crashes" if outcome.crashes else ""
        return (
            f"[{self._done}/{len(self._targets)}, {time.monotonic() - self._began:.0f} s] {outcome.name}:"
            f" {outcome.executions} executions, {outcome.new_inputs} new inputs{found}{outcome.trouble and '; '}"
            f"{outcome.trouble}"
        )

    def report(self) -> dict[str, object]:
        """Everything, as it stands in JSON."""
        return {
            "driver": self._plan.driver,
            "targets": [msgspec.to_builtins(outcome) for outcome in self.outcomes.values()],
            "executions": sum(outcome.executions for outcome in self.outcomes.values()),
            "new_inputs": sum(outcome.new_inputs for outcome in self.outcomes.values()),
            "crashes": self.crashes,
            "seconds": round(time.monotonic() - self._began, 1),
            "seconds_in_all_sittings": sum(self._ledger.values()),
        }

    @property
    def crashes(self) -> int:
        """How many kinds of failure were met, those included that have no vector."""
        return sum(len(outcome.crashes) or bool(outcome.trouble) for outcome in self.outcomes.values())

    def figures(self) -> str:
        """One line."""
        said = self.report()
        return (
            f"fuzz: {len(self.outcomes)} targets, {said['executions']} executions, {said['new_inputs']} new corpus"
            f" entries, {said['crashes']} crashes, {said['seconds']} seconds ({self._plan.driver})"
        )


def _longest(share: float) -> float:
    return share + _START_SECONDS + 4 * HANG_SECONDS + 8 * SHRINKING_SECONDS


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _read_ledger() -> dict[str, float]:
    return msgspec.json.decode(_LEDGER.read_bytes(), type=dict[str, float]) if _LEDGER.exists() else {}


@contextmanager
def _home() -> Iterator[dict[str, str]]:
    """An environment in which nothing of the developer's is found."""
    home = CACHE / "home"
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "TMPDIR", "LC_ALL", "LANG") if name in os.environ}
    yield {**kept, "HOME": str(home), "ASTRID_HOME": str(home / ".astrid"), "PYTHONDONTWRITEBYTECODE": "1"}
