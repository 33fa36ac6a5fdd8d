"""What happens at a stop: the daemon is killed, its write is torn, the power goes, the disk is full or broken, or a
signal comes.

A fault strikes at one stop, named by its kind and number (``write:17``; in the play of a session that sleeps,
``sleep/write:17``), and the same name is the same place in the session each time, as far as threads and processes take
turns alike.

    kill    the daemon is killed before the call happens
    late    the call happens, and the daemon is killed a moment later, wherever it is by then
    torn    half of the write happens, then the daemon is killed
    power   the daemon is killed, and the disk forgets what was not synced
    full    this write and all that follow find no room on the disk, until the play is over
    broken  this sync fails, and only this one
    term    SIGTERM to the daemon
    int     Ctrl-C to the daemon
    cli-kill, cli-term, cli-int    the same to a command line at one of its own stops, while the daemon goes on

Source: architecture 5 (the table of crashes); threats 24.
"""

from __future__ import annotations

import enum
import errno
import os
import random
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.crash.platter import Platter
from tests.crash.trap import Kind, Stop, strike

LATE_SECONDS = 0.02
_DYING = None  # SAFETY: a call that is answered may still happen, although its process is dead to the world


class Fault(enum.StrEnum):
    """What strikes."""

    KILL = "kill"
    LATE = "late"
    TORN = "torn"
    POWER = "power"
    FULL = "full"
    BROKEN = "broken"
    TERM = "term"
    INT = "int"
    CLI_KILL = "cli-kill"
    CLI_TERM = "cli-term"
    CLI_INT = "cli-int"


class Play(enum.StrEnum):
    """Which session is struck."""

    LIFE = "life"  # all that one can come to that follows a script
    SLEEP = "sleep"  # one that falls asleep and is woken
    FAMILY = "family"  # one with two sub-agents, which is resumed


OF_CLIENT = frozenset({Fault.CLI_KILL, Fault.CLI_TERM, Fault.CLI_INT})
DEADLY = frozenset({Fault.KILL, Fault.LATE, Fault.TORN, Fault.POWER, Fault.CLI_KILL})
SIGNALS = {
    Fault.TERM: signal.SIGTERM,
    Fault.INT: signal.SIGINT,
    Fault.CLI_TERM: signal.SIGTERM,
    Fault.CLI_INT: signal.SIGINT,
}
STRUCK_BY = {
    Play.LIFE: frozenset(Fault),
    Play.SLEEP: frozenset(Fault) - OF_CLIENT,
    Play.FAMILY: DEADLY - OF_CLIENT,  # whoever is stopped in order, or ends of a bad disk, is not resumed
}
SUITS = {Fault.TORN: {Kind.WRITE}, Fault.FULL: {Kind.WRITE}, Fault.BROKEN: {Kind.SYNC}}


@dataclass(frozen=True, slots=True)
class Point:
    """One case: what strikes where.  Written ``power@sync:3``, or ``power@sleep/sync:3``."""

    fault: Fault
    kind: Kind
    number: int
    play: Play = Play.LIFE

    def __str__(self) -> str:
        where = "" if self.play is Play.LIFE else f"{self.play}/"
        return f"{self.fault}@{where}{self.kind}:{self.number}"


def parse_point(text: str) -> Point:
    """The point that ``text`` names.

    Raises:
        ValueError: it names none.
    """
    fault, _, place = text.partition("@")
    play, _, stop = place.rpartition("/")
    kind, _, number = stop.partition(":")
    point = Point(Fault(fault), Kind(kind), int(number), Play(play or Play.LIFE))
    if point.fault not in STRUCK_BY[point.play]:
        raise ValueError(f"`{point.fault}` does not strike the play `{point.play}`")
    if point.kind not in SUITS.get(point.fault, set(Kind)):
        raise ValueError(f"`{point.fault}` does not happen at a {point.kind}")
    return point


class Striker:
    """Watches a daemon's stops and strikes at one of them."""

    def __init__(self, point: Point | None, root: Path, home: Path) -> None:
        self.point = point
        self.struck: Stop | None = None
        self.platter = Platter(home) if point is not None and point.fault is Fault.POWER else None
        self._full = False
        self._room = 0
        self._inside = f"{root}/"
        self._later: threading.Timer | None = None

    def stopped(self, stop: Stop) -> int | None:
        """0, the error that the call fails with, or ``None``: it never comes back."""
        if self.struck is not None and self.point is not None and self.point.fault in DEADLY - {Fault.LATE}:
            return _DYING if stop.kind is not Kind.CHILD else 0  # what it started may still go on a little
        if self.platter is not None:
            self.platter.stopped(stop)
        if self.point is not None and self.struck is None and stop.name == f"{self.point.kind}:{self.point.number}":
            self.struck = stop
            return self._strike(self.point.fault, stop)
        return self._no_room(stop) if self._full else 0

    def over(self) -> None:
        """Nothing is left that could be struck."""
        if self._later is not None:
            self._later.cancel()
            self._later.join()

    def make_room(self) -> None:
        """The disk is no longer full."""
        self._full = False

    def _strike(self, fault: Fault, stop: Stop) -> int | None:
        match fault:
            case Fault.KILL | Fault.POWER | Fault.CLI_KILL:
                strike(stop.daemon, signal.SIGKILL)
                return _DYING if stop.kind is not Kind.CHILD else 0
            case Fault.LATE:
                # The moment is the point's own, so that a replay comes as close as it can.
                moment = random.Random(str(self.point)).uniform(0, LATE_SECONDS)  # noqa: S311 - for variety
                self._later = threading.Timer(moment, strike, (stop.daemon, signal.SIGKILL))
                self._later.start()
            case Fault.TORN:
                tear(stop)
                strike(stop.daemon, signal.SIGKILL)
                return _DYING
            case Fault.FULL:
                self._full = True
                return self._no_room(stop)
            case Fault.BROKEN:
                return errno.EIO
            case Fault.TERM | Fault.INT | Fault.CLI_TERM | Fault.CLI_INT:
                strike(stop.daemon, SIGNALS[fault])
        return 0

    def _no_room(self, stop: Stop) -> int:
        """What a full disk says.  What is kept there as ballast makes room when it goes."""
        removed = stop.removed()
        if removed.endswith("/ballast") and os.path.exists(removed):
            self._room += os.path.getsize(removed)
        if stop.call not in ("write", "pwrite64") or not stop.target.startswith(self._inside):
            return 0
        size = stop.arguments[2]
        if size > self._room or stop.target.endswith("/ballast"):
            return errno.ENOSPC
        self._room -= size
        return 0


def tear(stop: Stop) -> None:
    """Do half of a write."""
    if stop.call not in ("write", "pwrite64"):
        return
    with suppress(FileNotFoundError, ProcessLookupError):  # it died meanwhile
        with stop.memory.open("rb", buffering=0) as memory:
            memory.seek(stop.arguments[1])
            data = memory.read(min(stop.arguments[2], 1 << 20) // 2)
        with stop.file.open("r+b", buffering=0) as file:
            if stop.call == "pwrite64":
                file.seek(stop.arguments[3])
            else:
                said = Path(f"/proc/{stop.tid}/fdinfo/{stop.arguments[0]}").read_text()
                file.seek(int(said.split()[1]))
            file.write(data)
