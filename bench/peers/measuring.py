"""What every peer is asked: an agent that makes so many calls of a tool, alone or many at once.

Runs with the peer's own Python, which has nothing of Astrid's.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

Run = Callable[[Path, int], Awaitable[int]]


def main(run: Run) -> None:
    """``PEER AGENTS CALLS ROUNDS``: the least processor and wall time of a round of so many agents at once, as JSON."""
    agents, calls, rounds = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.txt")
        file.write_text("hello\n")
        figures = [asyncio.run(_round(run, file, agents, calls)) for _ in range(rounds + 1)][1:]
    found = {
        "cpu_seconds": min(cpu for cpu, _ in figures),
        "wall_seconds": min(wall for _, wall in figures),
        "peak_kilobytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    print(json.dumps(found))


async def _round(run: Run, file: Path, agents: int, calls: int) -> tuple[float, float]:
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    seen = await asyncio.gather(*(run(file, calls) for _ in range(agents)))
    assert set(seen) == {calls}, f"{set(seen)} results, not {calls}"
    return time.process_time() - cpu, time.perf_counter() - wall
