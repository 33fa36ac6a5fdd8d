"""What does it cost to run a program in a box, and to talk to one?

The peer of a start is ``trio.run_process(["true"])``; both are counted in processor time of every process that takes
part: ours, the zygote's, the supervisor's and the program's.  The peer of a line that goes to a program and back is the
same program without a box, by the wall, in turn within one round; it has a session of its own as well, since the kernel
shares out processors by session.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import trio

from astrid.adapters.sandbox.launcher import ZygoteLauncher, open_launcher
from astrid.adapters.sandbox.profile import build_box
from astrid.box_ports import Box
from bench import measure
from bench.measure import Row, shown

ROUNDS = 6
STARTS = 40
LINES = 500
BARS = {"l1": 8.0, "l0": 6.0}  # times the peer
LINE_BAR = 1.15
ZYGOTE_MB = 15.0
CHILD_MB = 2.0
ENV = {"PATH": "/usr/bin:/bin"}
ECHO = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line); sys.stdout.buffer.flush()"
_TICKS = os.sysconf("SC_CLK_TCK")
Tier = Literal["l1", "l0"]


def spent_here() -> float:
    """Processor time of this process and of its children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + used.ru_utime + used.ru_stime


def spent_by(pid: int) -> float:
    """The same of another process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


@asynccontextmanager
async def boxed(tier: Tier) -> AsyncIterator[tuple[ZygoteLauncher, Box]]:
    """A launcher, and the box of an empty workspace."""
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as place:
        real = os.path.realpath(place)  # noqa: ASYNC240 - nothing else runs
        workspace = os.path.join(real, "workspace")
        os.mkdir(workspace)
        folder = os.open(workspace, os.O_PATH | os.O_DIRECTORY)
        try:
            async with open_launcher(least="l0", never=(), temporary=Path(real)) as launcher:
                yield launcher, build_box(tier, workspace, folder)
        finally:
            os.close(folder)


async def start_many(launcher: ZygoteLauncher, box: Box) -> float:
    """Seconds of processor time of one ``true`` in the box."""
    began = spent_here() + spent_by(launcher.zygote_pid)
    for _ in range(STARTS):
        done = await launcher.run(box, ["/usr/bin/true"], cwd="", env=ENV, seconds=60, max_bytes=1000)
        if done.returncode:
            raise AssertionError("what was to be measured did not run")
    return (spent_here() + spent_by(launcher.zygote_pid) - began) / STARTS


async def start_plain() -> float:
    """Seconds of processor time of one ``true`` without a box."""
    began = spent_here()
    for _ in range(STARTS):
        await trio.run_process(["/usr/bin/true"])
    return (spent_here() - began) / STARTS


async def talk(stdin: trio.abc.SendStream, stdout: trio.abc.ReceiveStream) -> float:
    """Seconds of one line there and back."""
    line = b"x" * 200 + b"\n"
    began = time.perf_counter()
    for _ in range(LINES):
        await stdin.send_all(line)
        heard = 0
        while heard < len(line):
            heard += len(await stdout.receive_some())
    return (time.perf_counter() - began) / LINES


def private_mb(pid: int) -> float | None:
    """What a process has for itself alone; ``None`` where only root may look."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except PermissionError:
        return None
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def resident_mb(pid: int) -> float:
    """What a process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


async def ask(tier: Tier, rounds: int) -> list[Row]:
    """Every answer about one tier; none where it does not work."""
    async with boxed(tier) as (launcher, box):
        if tier not in launcher.tiers.works:
            print(f"no tier {tier} here: {launcher.tiers.why.get(tier)}", file=sys.stderr)
            return []
        starts = [(await start_plain(), await start_many(launcher, box)) for _ in range(rounds)]
        plain, ours = (min(figures) for figures in zip(*starts, strict=True))
        argv = ["/usr/bin/python3", "-I", "-S", "-c", ECHO]
        child = await launcher.start(box, argv, cwd="", env=ENV)
        pipes = partial(trio.lowlevel.open_process, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        peer = await pipes(argv, env=ENV, start_new_session=True)
        assert peer.stdin is not None
        assert peer.stdout is not None
        lines = [
            (await talk(peer.stdin, peer.stdout), await talk(child.stdin, child.stdout)) for _ in range(5 * rounds)
        ]
        line, boxed_line = (min(figures) for figures in zip(*lines, strict=True))
        held = private_mb(child.pid)
        peer.kill()
        await peer.wait()
        await child.aclose()
        return [
            Row(
                what=f"a contained true, {tier}, processor time of all processes",
                measured=ours / plain,
                bar=BARS[tier],
                unit="x trio.run_process",
                detail=f"{shown(ours)} beside {shown(plain)}",
            ),
            Row(
                what=f"a line to a contained program and back, {tier}",
                measured=boxed_line / line,
                bar=LINE_BAR,
                unit="x without a box",
                detail=f"{shown(boxed_line)} beside {shown(line)}",
            ),
            Row(
                what=f"zygote, after {rounds * STARTS} starts, {tier}",
                measured=resident_mb(launcher.zygote_pid),
                bar=ZYGOTE_MB,
                unit="MB",
            ),
            *(
                [Row(what=f"a live supervisor, for itself alone, {tier}", measured=held, bar=CHILD_MB, unit="MB")]
                if held is not None
                else []
            ),
        ]


def rows(rounds: int) -> Iterator[Row]:
    """Start, line and memory at each tier."""
    tiers: tuple[Tier, ...] = ("l1", "l0")
    for tier in tiers:
        yield from trio.run(ask, tier, rounds)


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
