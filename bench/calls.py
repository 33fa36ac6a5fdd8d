"""What does it cost that every call is authorised, paid for and recorded, next to only writing its records down?

The peer is a bare SQLite table in the same folder with the same durability (write-ahead log, synchronous FULL) that
takes the same bytes (each record with what lies beside it) in commits of 64 rows, by ``executemany``: no chain, no
tree, no triggers, no decision, no actors.  A call writes two records.

Of many callers the question is how many calls a second there are, over rows a second: by the wall, each round beside
the peer's, the median of the rounds.  Where the disk is fast that is as good as processor time, which is told beside it
and counts all threads.  Of one caller the question is how long it waits: by the wall as well.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import trio

from bench import measure
from bench.guarded import guarded
from bench.measure import Row, shown

ROUNDS = 15
CALLS_AT_ONCE = 4096  # of one round, over all callers
CALLS_ALONE = 100
GROUP = 64  # rows of one bare commit
BARS = {64: 0.08, 512: 0.12}


class Bare:
    """A table that takes rows."""

    def __init__(self, folder: Path) -> None:
        self._connection = apsw.Connection(str(folder / "bare.db"))
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "FULL")
        self._connection.execute("CREATE TABLE log(seq INTEGER PRIMARY KEY, frame BLOB NOT NULL) STRICT")

    def write(self, rows: list[bytes], group: int) -> float:
        """Seconds by the wall to commit ``rows``, so many at a time."""
        began = time.perf_counter()
        for first in range(0, len(rows), group):
            with self._connection:
                values = [(row,) for row in rows[first : first + group]]
                self._connection.executemany("INSERT INTO log(frame) VALUES(?1)", values)
        return time.perf_counter() - began

    def close(self) -> None:
        self._connection.close()


async def together(callers: int, rounds: int) -> Row:
    """Rows a second through the whole path, over rows a second into the bare table."""
    each = CALLS_AT_ONCE // callers
    count = 2 * each * callers
    ours: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as folder:
        table = Bare(Path(folder))
        async with guarded(callers) as guard:
            await guard.calls(max(1, each // 4))
            for _ in range(rounds):
                cpu = time.process_time()
                seconds = await guard.calls(each)
                ours.append((seconds, time.process_time() - cpu))
                rows = guard.rows(count)
                cpu = time.process_time()
                seconds = table.write(rows, GROUP)
                bare.append((seconds, time.process_time() - cpu))
        table.close()
    share, share_cpu = (
        statistics.median(peer[clock] / one[clock] for one, peer in zip(ours, bare, strict=True)) for clock in (0, 1)
    )
    wall, bare_wall = (statistics.median(one for one, _ in rounds_of) for rounds_of in (ours, bare))
    return Row(
        what=f"authorised and logged calls, {callers} callers: rows",
        measured=share,
        bar=BARS[callers],
        unit="x rows of a bare group commit",
        at_least=True,
        detail=(
            f"{count / 2 / wall:.0f} calls and {count / bare_wall:.0f} rows a second; "
            f"of processor time {share_cpu:.3f} x"
        ),
    )


async def alone(rounds: int) -> Row:
    """The median call of one caller, over the median commit of one of its rows."""
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as folder:
        table = Bare(Path(folder))
        async with guarded(1) as guard:
            await guard.calls(CALLS_ALONE)
            for _ in range(rounds):
                await guard.calls(CALLS_ALONE)
                ours += guard.latencies
                bare += [table.write([row], 1) for row in guard.rows(2 * CALLS_ALONE)]
        table.close()
    call, commit = statistics.median(ours), statistics.median(bare)
    return Row(
        what="one caller: a call, median",
        measured=call / commit,
        bar=4,
        unit="x a bare commit of one row",
        detail=f"{shown(call)} beside {shown(commit)}",
    )


def rows(rounds: int) -> Iterator[Row]:
    """An answer for many callers and for one."""
    for callers in BARS:
        yield trio.run(together, callers, rounds)
    yield trio.run(alone, rounds)


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
