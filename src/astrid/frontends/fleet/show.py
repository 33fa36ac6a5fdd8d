"""What is seen of a fleet: a bar at a terminal, or a JSON object a line.

Never: prints what a task, a model or a tool said unescaped.

Source: threats 37.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import Protocol

import msgspec

from astrid.core.money import Micros, format_usd
from astrid.errors import plain
from astrid.frontends.fleet.engine import Result

BAR_COLUMNS = 24


class Summary(msgspec.Struct, frozen=True):
    """A fleet in figures.  ``unknown`` tasks were under way when an earlier run died, ``left`` ones were not begun."""

    tasks: int
    done: int
    failed: int
    denied: int
    cancelled: int
    unknown: int
    left: int
    spent_micros: int
    seconds: float


class Show(Protocol):
    """How a run is printed."""

    def told(self, result: Result) -> None:
        """A task ended."""
        ...

    def note(self, text: str) -> None:
        """Something that is no task's end."""
        ...

    def summary(self, summary: Summary) -> None:
        """The end."""
        ...


class ForPeople:
    """A bar that moves, a line for each task that did not go well, and a table at the end."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._states: Counter[str] = Counter()
        self._spent = 0
        self._began = time.monotonic()

    def told(self, result: Result) -> None:
        """A task ended."""
        self._states[result.state] += 1
        self._spent += result.spent_micros
        if result.state != "done":
            self.note(f"{result.id}: {result.state}{f' [{result.code}]' if result.code else ''}")
        self._draw()

    def note(self, text: str) -> None:
        """A line of its own."""
        sys.stderr.write(f"\r\x1b[K{plain(text)}\n")

    def summary(self, summary: Summary) -> None:
        """The table."""
        sys.stderr.write("\r\x1b[K")
        figures = msgspec.to_builtins(summary)
        rows = [
            (name, str(figures[name])) for name in ("tasks", "done", "failed", "denied", "cancelled", "unknown", "left")
        ]
        rows += [("cost", format_usd(Micros(summary.spent_micros))), ("time", f"{summary.seconds:.1f} s")]
        for name, figure in rows:
            print(f"{name:<10} {figure:>12}")

    def _draw(self) -> None:
        ended = sum(self._states.values())
        filled = BAR_COLUMNS * ended // max(self._total, 1)
        bar = "#" * filled + "." * (BAR_COLUMNS - filled)
        bad = ended - self._states["done"]
        line = f"[{bar}] {ended} of {self._total}, {bad} not done, {format_usd(Micros(self._spent))}"
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


class Silent:
    """For whoever looks at the results alone."""

    def told(self, result: Result) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def summary(self, summary: Summary) -> None:
        """Nothing."""


class ForPrograms:
    """One JSON object a line, in ASCII."""

    def told(self, result: Result) -> None:
        """A task ended."""
        self._write({"event": "task", **msgspec.to_builtins(result)})

    def note(self, text: str) -> None:
        """For people only."""
        sys.stderr.write(f"{plain(text)}\n")

    def summary(self, summary: Summary) -> None:
        """The last line."""
        self._write({"event": "summary", **msgspec.to_builtins(summary)})

    def _write(self, fields: dict[str, object]) -> None:
        sys.stdout.write(f"{json.dumps(fields)}\n")
        sys.stdout.flush()
