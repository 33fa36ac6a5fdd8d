"""Does a call wait long when the event loop has much else to do?  It decides whether the log's writer may be a thread.

The writer is a thread of this process: to begin and to end each commit it needs the interpreter lock, which the loop
holds while it computes.  Eight callers make calls one after the other, first on an idle loop, then on one on which
another task computes half of the time, in slices of one length: all others wait that long anyway.  Both are measured in
turn, by the wall; a row gives the median over the rounds of the two 99th percentiles' ratio.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

import trio

from bench import measure
from bench.guarded import Guarded, guarded
from bench.measure import Row, shown

ROUNDS = 5
CALLERS = 8
CALLS = 250  # of each caller, in each round
SLICES_MS = (0.05, 0.3, 3.0)
BAR = 10


async def compute(slice_seconds: float) -> None:
    """Keep the loop busy half of the time, for ever."""
    while True:
        end = time.perf_counter() + slice_seconds
        while time.perf_counter() < end:
            pass
        await trio.sleep(slice_seconds)


async def p99(guard: Guarded) -> float:
    """The latency that one call in a hundred exceeds."""
    await guard.calls(CALLS)
    return statistics.quantiles(guard.latencies, n=100)[98]


async def busy_p99(guard: Guarded, slice_seconds: float) -> float:
    """The same, while the loop is kept busy."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(compute, slice_seconds)
        found = await p99(guard)
        nursery.cancel_scope.cancel()
    return found


async def ask(rounds: int) -> list[tuple[float, list[float]]]:
    """Of each round the idle figure and that for each slice."""
    async with guarded(CALLERS) as guard:
        await p99(guard)
        found: list[tuple[float, list[float]]] = []
        for number in range(rounds):
            measure.progress(f"round {number + 1} of {rounds}")
            found.append((await p99(guard), [await busy_p99(guard, ms / 1e3) for ms in SLICES_MS]))
        return found


def rows(rounds: int) -> Iterator[Row]:
    """One answer for each length of slice."""
    found = trio.run(ask, rounds)
    idle = statistics.median(one for one, _ in found)
    for place, slice_ms in enumerate(SLICES_MS):
        busy = [figures[place] for _, figures in found]
        yield Row(
            what=f"p99 at {CALLERS} callers, loop half busy by {slice_ms:g} ms",
            measured=statistics.median(figures[place] / one for one, figures in found),
            bar=BAR,
            unit="x the idle p99",
            detail=f"{shown(statistics.median(busy))} (worst {shown(max(busy))}) beside {shown(idle)}",
        )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
