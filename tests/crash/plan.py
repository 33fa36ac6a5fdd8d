"""Which points a sweep visits, in which order, and what it remembers of those it has visited.

A plan follows from the number of stops of each kind, the options and the seed alone, so an interrupted sweep goes on
where it was.  It is begun anew when the sources have changed since, or when it had come to its end.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.crash.faults import OF_CLIENT, STRUCK_BY, SUITS, Fault, Play, Point
from tests.crash.scene import SOURCE
from tests.crash.trap import Kind

# Every so many stops are struck by this fault.  A torn write and the kill before it differ in one write only.
STRIDES = {
    Fault.KILL: 1,
    Fault.POWER: 1,
    Fault.FULL: 1,
    Fault.BROKEN: 1,
    Fault.TORN: 4,
    Fault.CLI_KILL: 1,
    Fault.CLI_TERM: 1,
    Fault.CLI_INT: 1,
}
KINDS = {Fault.POWER: (Kind.SYNC, Kind.SEND)}  # only where somebody is told, or where the disk is, does it matter
AT_RANDOM = (Fault.LATE, Fault.TERM, Fault.INT)
Counts = Mapping[Kind, int]


@dataclass(frozen=True)
class Stops:
    """How many stops each play has; of the one of a session that sleeps, also how many before it is to."""

    daemon: Counts = field(default_factory=dict[Kind, int])
    client: Counts = field(default_factory=dict[Kind, int])
    sleep: Counts = field(default_factory=dict[Kind, int])
    before: Counts = field(default_factory=dict[Kind, int])
    family: Counts = field(default_factory=dict[Kind, int])

    def numbers(self, fault: Fault, play: Play, kind: Kind) -> range:
        """The stops of one kind that a fault can strike."""
        if fault not in STRUCK_BY[play]:
            return range(0)
        if play is Play.SLEEP:  # what comes before is like the other play
            return range(self.before.get(kind, 0) + 1, self.sleep.get(kind, 0) + 1)
        if play is Play.FAMILY:
            return range(1, self.family.get(kind, 0) + 1)
        counts = self.client if fault in OF_CLIENT else self.daemon
        return range(1, counts.get(kind, 0) + 1)


@dataclass(frozen=True)
class Options:
    """What is asked for."""

    every: int = 1
    random: int = 150
    seed: int = 0
    faults: tuple[Fault, ...] = tuple(Fault)
    plays: tuple[Play, ...] = tuple(Play)

    @property
    def header(self) -> dict[str, Any]:
        """The same, as it is read back from a file."""
        return msgspec.json.decode(msgspec.json.encode(self))


def plan(stops: Stops, options: Options) -> list[Point]:
    """Every point; shuffled, so that a sweep that was broken off has seen something of everything."""
    points: list[Point] = []
    for fault, stride in STRIDES.items():
        if fault in options.faults:
            points += [
                Point(fault, kind, number, play)
                for play in options.plays
                for kind in Kind
                if kind in KINDS.get(fault, SUITS.get(fault, tuple(Kind)))
                for number in stops.numbers(fault, play, kind)[:: stride * options.every]
            ]
    drawn = random.Random(options.seed)  # noqa: S311 - for variety, not for secrets
    for fault in AT_RANDOM:
        if fault in options.faults:
            all_points = [
                Point(fault, kind, number, play)
                for play in options.plays
                for kind in Kind
                for number in stops.numbers(fault, play, kind)
            ]
            points += drawn.sample(all_points, min(len(all_points), options.random // len(AT_RANDOM)))
    drawn.shuffle(points)
    return points


def sources() -> str:
    """A digest of the product and of the sweep."""
    state = hashlib.sha256()
    for root in (Path(SOURCE, "astrid"), Path(__file__).parent):
        for path in sorted(root.rglob("*.py")):
            state.update(path.read_bytes())
    return state.hexdigest()


@dataclass
class Memory:
    """What was done so far: a file of JSON lines, the first of which says what the sweep is."""

    path: Path
    header: dict[str, Any]
    done: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def recall(cls, path: Path, header: dict[str, Any]) -> Memory:
        """What is known of the sweep that ``header`` describes; nothing of any other."""
        memory = cls(path, header)
        lines = path.read_text().splitlines() if path.exists() else []
        entries = list(_whole(lines))
        if entries and {**entries[0], "counts": None} == {**header, "counts": None}:
            memory.header = entries[0]
            memory.done = {entry["point"]: entry for entry in entries[1:]}
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        return memory

    @property
    def stops(self) -> Stops | None:
        """How many stops there were, if they were counted."""
        known = self.header.get("counts")
        return None if known is None else msgspec.convert(known, Stops)

    def counted(self, stops: Stops) -> None:
        """Remember how many stops there are."""
        self.header = {**self.header, "counts": msgspec.to_builtins(stops)}
        self.path.write_text(f"{json.dumps(self.header)}\n")

    def add(self, entry: dict[str, Any]) -> None:
        """A case is done."""
        self.done[entry["point"]] = entry
        with self.path.open("a") as file:
            file.write(f"{json.dumps(entry)}\n")

    def forget(self) -> None:
        """The sweep has come to its end."""
        self.path.unlink(missing_ok=True)


def _whole(lines: list[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:  # cut off where the last sweep was killed
            return
