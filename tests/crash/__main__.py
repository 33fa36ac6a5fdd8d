"""``python -m tests.crash``: sweep every fault point of a scripted session, with real processes.

    python -m tests.crash                        all of it; an interrupted sweep goes on where it was
    python -m tests.crash --every 10             every tenth point
    python -m tests.crash --faults kill,power    only these faults
    python -m tests.crash --plays sleep          only the session that falls asleep and is woken
    python -m tests.crash --random 1000 --seed 7 --faults late,term,int
    python -m tests.crash --point power@sync:17  one case, again; power@sleep/sync:17, of a session that sleeps

First a session without a fault is counted.  Progress goes to the standard error output, the line of figures at the end
to the standard output; ``--json`` prints one object instead.  Exits with 1 if anything failed, and each failure is said
with the command that plays it again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from astrid.errors import AstridError
from tests.crash.faults import Fault, Play, Point, parse_point
from tests.crash.plan import Memory, Options, plan, sources
from tests.crash.sweep import Verdict, count_stops, run_case
from tests.crash.trap import works
from tests.crash.vendor import WHY_NOT

MEMORY = Path(".crash/sweep.jsonl")
PROGRESS_SECONDS = 10.0


@dataclass
class Figures:
    """What the last line says."""

    swept: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    restarts: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def take(self, entry: dict[str, object]) -> None:
        """One case."""
        point = parse_point(str(entry["point"]))
        self.restarts += int(str(entry["restarts"]))
        if entry["complaints"]:
            self.failures.append(str(point))
        if entry["reached"]:
            self.swept[point.fault] += 1
            self.kinds[point.kind] += 1
        else:
            self.missed += 1

    def line(self) -> str:
        """For people."""
        faults = ", ".join(f"{count} {fault}" for fault, count in sorted(self.swept.items()))
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return (
            f"crash sweep: {self.swept.total()} points ({faults}; at {kinds}), {self.missed} not reached, "
            f"{self.restarts} restarts, {len(self.failures)} failures, {self.seconds:.0f} s"
        )

    def to_json(self) -> str:
        """For programs."""
        return json.dumps({**vars(self), "points": self.swept.total()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; what the process exits with."""
    args = _parser().parse_args(arguments)
    why = works()
    if why:
        sys.stderr.write(f"crash sweep: nothing was swept: {why}\n")
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell had the former ignored
        signal.signal(number, signal.default_int_handler)
    with _folder(args.folder) as folder:
        return _one(args.point, folder) if args.point else _sweep(args, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Sweep the fault points of a session.")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th point")
    parser.add_argument("--random", type=int, default=Options.random, metavar="COUNT", help="points drawn at random")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="what they are drawn from")
    parser.add_argument("--faults", type=_faults, default=tuple(Fault), metavar="A,B", help=f"of {', '.join(Fault)}")
    parser.add_argument("--plays", type=_plays, default=tuple(Play), metavar="A,B", help=f"of {', '.join(Play)}")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="cases at once (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where cases play; no system folder, since no tool may write there")
    parser.add_argument("--point", type=parse_point, metavar="POINT", help="play this one case, such as power@sync:17")
    parser.add_argument("--memory", type=Path, default=MEMORY, help="what is known of an interrupted sweep")
    parser.add_argument("--first", action="store_true", help="stop at the first failure")
    parser.add_argument("--json", action="store_true", help="print one object instead of a line")
    return parser


def _faults(text: str) -> tuple[Fault, ...]:
    return tuple(Fault(name) for name in text.split(","))


def _plays(text: str) -> tuple[Play, ...]:
    return tuple(Play(name) for name in text.split(","))


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """Where cases play; taken away again if nothing is left in it."""
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="crash", dir=wanted))
    try:
        yield folder
    finally:
        if not any(folder.iterdir()):
            shutil.rmtree(folder)


def _one(point: Point, folder: Path) -> int:
    verdict = run_case(point, folder)
    reached = f"struck at {verdict.where}" if verdict.reached else "not reached"
    sys.stdout.write("\n  ".join([f"{point}: {reached}", *verdict.complaints]) + "\n")
    return 1 if verdict.complaints else 0


def _sweep(args: argparse.Namespace, folder: Path) -> int:
    began = time.monotonic()
    options = Options(args.every, args.random, args.seed, args.faults, args.plays)
    memory = Memory.recall(args.memory, {**options.header, "sources": sources(), "counts": None})
    stops = memory.stops
    if stops is None:
        stops, complaints = count_stops(folder)
        if complaints:
            sys.stderr.write(f"crash sweep: without any fault: {complaints}\n")
            return 1
        memory.counted(stops)
    said = ", ".join(f"{count} {kind}" for kind, count in stops.daemon.items())
    sys.stderr.write(f"crash sweep: the session has {sum(stops.daemon.values())} fault points: {said}\n")
    sys.stderr.write(f"crash sweep: the command line has {sum(stops.client.values())}\n")
    sleeps = sum(stops.sleep.values()) - sum(stops.before.values())
    sys.stderr.write(f"crash sweep: a session that sleeps has {sleeps} {f'({WHY_NOT})' if WHY_NOT else ''}\n")
    sys.stderr.write(f"crash sweep: a session with sub-agents has {sum(stops.family.values())}\n")
    points = plan(stops, options)
    figures = Figures()
    for entry in memory.done.values():
        figures.take(entry)
    todo = [point for point in points if str(point) not in memory.done]
    sys.stderr.write(f"crash sweep: {len(points)} cases, {len(points) - len(todo)} of them done before\n")
    whole = _run(todo, folder, args.jobs, memory, figures, first=args.first)
    figures.seconds = time.monotonic() - began
    sys.stdout.write((figures.to_json() if args.json else figures.line()) + "\n")
    if whole:
        memory.forget()
    return 130 if not whole else 1 if figures.failures else 0


def _run(todo: list[Point], folder: Path, jobs: int, memory: Memory, figures: Figures, *, first: bool) -> bool:
    """Play them all; whether it came to the end."""
    stopping = threading.Event()
    said, total = time.monotonic(), len(todo)

    def play(point: Point) -> Verdict | None:
        if stopping.is_set():
            return None
        try:
            return run_case(point, folder)
        except (AstridError, OSError, AssertionError, apsw.Error) as error:  # it breaks off this case alone
            return Verdict(point, complaints=[f"the case broke: {error!r} {traceback.format_exc()}"])

    with ThreadPoolExecutor(jobs) as pool:
        waiting: set[Future[Verdict | None]] = {pool.submit(play, point) for point in todo}
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                for one in finished:
                    _take(one.result(), memory, figures)
                if first and figures.failures:
                    stopping.set()
                if time.monotonic() - said > PROGRESS_SECONDS:
                    said = time.monotonic()
                    done = total - len(waiting)
                    sys.stderr.write(f"crash sweep: {done} of {total}, {len(figures.failures)} failures\n")
        except KeyboardInterrupt:
            stopping.set()
            sys.stderr.write("crash sweep: stopping after the cases that are being played; begin again to go on\n")
            for one in wait(waiting).done:
                _take(one.result(), memory, figures)
            return False
    return True


def _take(verdict: Verdict | None, memory: Memory, figures: Figures) -> None:
    if verdict is None or verdict.point is None:
        return
    entry: dict[str, object] = {
        "point": str(verdict.point),
        "reached": verdict.reached,
        "where": verdict.where,
        "restarts": verdict.restarts,
        "complaints": verdict.complaints,
    }
    memory.add(entry)
    figures.take(entry)
    if verdict.complaints:
        sys.stderr.write(f"FAILED {verdict.point} ({verdict.where}): python -m tests.crash --point {verdict.point}\n")
        for complaint in verdict.complaints:
            sys.stderr.write(f"    {complaint}\n")


if __name__ == "__main__":
    sys.exit(main())
