"""What the questions here share: rounds in turn, what they cost, and one line for each answer.

A figure is a ratio to a peer that was measured in the same run, in turn with it, so that a slow machine or a busy
neighbour slows both.  Cost is processor time wherever nobody waits; other processes only ever add to it, so the least
of many rounds is the truest.  Where waiting is the question, both are timed by the wall within one round.

A module of this folder that has a function ``rows`` is a question: ``python -m bench`` asks them all, each in a process
of its own, and ``python -m bench.NAME`` asks one.  A bar is part of its row, never of what runs it.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

MISSED = 3  # what a question exits with that was answered and missed a bar; Python's own 1 says that it broke


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One answer.  ``unit`` goes behind both figures: ``x a bare commit``, ``KB``."""

    what: str
    measured: float
    bar: float
    unit: str
    at_least: bool = False  # whether the bar is below, and not above
    detail: str = ""  # the figures that the ratio was made of

    @property
    def holds(self) -> bool:
        """Whether the bar is kept.  What is no number keeps none."""
        return self.measured >= self.bar if self.at_least else self.measured <= self.bar


def cost(work: Callable[[], object], times: int = 1, clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of processor time of one run of ``work`` that does the thing so many ``times``, for one thing.

    What is garbage already is collected before, so that it is nobody's cost here.
    """
    gc.collect()
    began = clock()
    work()
    return (clock() - began) / times


def in_turn(rounds: int, *measures: Callable[[], float]) -> tuple[list[float], ...]:
    """What each of ``measures`` gave in each round.  One round before is thrown away: it fills the caches."""
    for measure in measures:
        measure()
    found: tuple[list[float], ...] = tuple([] for _ in measures)
    for _ in range(rounds):
        for measure, figures in zip(measures, found, strict=True):
            figures.append(measure())
    return found


def least(rounds: int, *measures: Callable[[], float]) -> tuple[float, ...]:
    """The least of what each gave, measured in turn."""
    return tuple(min(figures) for figures in in_turn(rounds, *measures))


def shown(seconds: float) -> str:
    """A time as people read it, with three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def line(row: Row) -> str:
    """A row for people: ``what | measured | bar | holds``, and what it was made of."""
    bound = "at least" if row.at_least else "at most"
    verdict = "holds" if row.holds else "MISSED"
    return f"{row.what:<58} | {row.measured:>7.4g} | {bound} {row.bar:g} {row.unit} | {verdict} | {row.detail}"


def main(rows: Callable[[int], Iterable[Row]], *, rounds: int) -> int:
    """Answer one question from the command line; 0 if every bar is kept, ``MISSED`` if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each thing is measured")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    asked = parser.parse_args()
    kept = True
    for row in told(rows(asked.rounds), as_json=asked.json):
        kept = kept and row.holds
    return 0 if kept else MISSED


def told(rows: Iterable[Row], *, as_json: bool) -> Iterator[Row]:
    """The same rows, each printed on its way."""
    for row in rows:
        print(msgspec.json.encode(row).decode() if as_json else line(row), flush=True)
        yield row


def progress(text: str) -> None:
    """Say on the way what is being measured."""
    print(f"    {text}", file=sys.stderr, flush=True)
