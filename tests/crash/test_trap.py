"""The sweep's own tools: what is stopped, what a strike does, what a disk still holds."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.faults import OF_CLIENT, Fault, Play, Point, Striker, parse_point
from tests.crash.plan import Memory, Options, Stops, plan
from tests.crash.platter import Platter
from tests.crash.sweep import served
from tests.crash.trap import Kind, Pass, Stop, Trap, works

WHY_NOT = works()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

TWO_WRITES = """
import os, sys
file = os.open("log/f", os.O_RDWR | os.O_CREAT, 0o600)
os.write(file, b"first")
os.fsync(file)
os.write(file, b"second")
os.close(file)
"""


class Listing(Pass):
    """Lets everything happen, and writes it down."""

    def __init__(self) -> None:
        self.seen: list[Stop] = []
        self.removed: list[str] = []

    def stopped(self, stop: Stop) -> int | None:
        """Noted."""
        self.seen.append(stop)
        self.removed += filter(None, [stop.removed()])
        return 0


def run(program: str, folder: Path, watch: Listing | Striker) -> int:
    """The exit code of a Python program in ``folder``."""
    (folder / "log").mkdir(exist_ok=True)
    command = [sys.executable, "-I", "-S", "-c", program]
    with served(Trap(command, {}, cwd=str(folder), out=subprocess.DEVNULL), watch) as trap:
        code = trap.process.wait(30)
        assert trap.gone.wait(30)
    return code


def test_every_write_sync_and_send_of_a_process_and_of_its_children_is_stopped_in_order(tmp_path: Path) -> None:
    more = "os.rename('log/f', 'log/g'); os.unlink('log/g'); a, b = os.pipe(); os.write(b, b'x'); os.system('echo x')"
    watch = Listing()
    assert run(TWO_WRITES + more, tmp_path, watch) == 0
    said = [(stop.name, stop.call, stop.target.removeprefix(f"{tmp_path}/")) for stop in watch.seen[:5]]
    file = "log/f"
    assert said[:3] == [("write:1", "write", file), ("sync:1", "fsync", file), ("write:2", "write", file)]
    assert [name for name, _, _ in said[3:]] == ["name:1", "name:2"]
    assert [stop.kind for stop in watch.seen[5:]] == [Kind.SEND, Kind.CHILD]
    assert watch.removed == ["log/g"]


def test_a_process_that_makes_itself_unreadable_can_still_be_looked_at(tmp_path: Path) -> None:
    hide = "import ctypes; assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0\n"
    watch = Listing()
    assert run(hide + TWO_WRITES, tmp_path, watch) == 0
    assert [stop.target for stop in watch.seen] == [str(tmp_path / "log/f")] * 3


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("kill@write:1", b""),
        ("kill@sync:1", b"first"),
        ("kill@write:2", b"first"),
        ("torn@write:2", b"firstsec"),
        ("power@sync:1", b""),
        ("power@write:2", b"first"),
    ],
)
def test_a_strike_leaves_what_was_written_before_it(tmp_path: Path, point: str, left: bytes) -> None:
    striker = Striker(parse_point(point), tmp_path, tmp_path)
    assert run(TWO_WRITES, tmp_path, striker) == -signal.SIGKILL
    assert striker.struck is not None
    if striker.platter is not None:
        striker.platter.cut()
    assert (tmp_path / "log/f").read_bytes() == left


def test_what_was_written_after_the_last_sync_is_lost_with_the_power(tmp_path: Path) -> None:
    class Noting(Listing):
        platter = Platter(tmp_path)

        def stopped(self, stop: Stop) -> int | None:
            self.platter.stopped(stop)
            return 0

    watch = Noting()
    assert run(TWO_WRITES, tmp_path, watch) == 0
    assert (tmp_path / "log/f").read_bytes() == b"firstsecond"
    assert watch.platter.cut() == ["f"]
    assert (tmp_path / "log/f").read_bytes() == b"first"


def test_on_a_full_disk_every_write_fails_until_there_is_room(tmp_path: Path) -> None:
    striker = Striker(parse_point("full@write:2"), tmp_path, tmp_path)
    again = """
for _ in range(2):
    try:
        os.write(file, b"third")
    except OSError as error:
        assert error.errno == 28, error
    else:
        sys.exit(5)
sys.exit(4)
"""
    program = TWO_WRITES.replace('os.write(file, b"second")\nos.close(file)\n', again)
    assert run(program, tmp_path, striker) == 4
    assert (tmp_path / "log/f").read_bytes() == b"first"


def test_a_broken_sync_fails_once(tmp_path: Path) -> None:
    program = f"""
import os, sys
file = os.open("log/f", os.O_RDWR | os.O_CREAT, 0o600)
try:
    os.fsync(file)
except OSError as error:
    os.fsync(file)
    sys.exit(error.errno == {errno.EIO})
"""
    assert run(program, tmp_path, Striker(parse_point("broken@sync:1"), tmp_path, tmp_path)) == 1


def test_a_process_that_is_left_is_noticed(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", "import os, time; os.fork() or time.sleep(600)"]
    with served(Trap(command, {}, cwd=str(tmp_path), out=subprocess.DEVNULL), Pass()) as trap:
        assert trap.process.wait(30) == 0
        assert not trap.gone.wait(0.2)
        left = [
            int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_in(entry, tmp_path)
        ]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert trap.gone.wait(30)
    assert len(left) == 1


def _is_in(entry: Path, folder: Path) -> bool:
    try:
        return os.readlink(entry / "cwd") == str(folder)
    except OSError:
        return False


def test_a_point_is_named_as_it_is_read() -> None:
    for fault in Fault:
        point = Point(fault, Kind.SYNC if fault in (Fault.BROKEN, Fault.POWER) else Kind.WRITE, 7)
        assert parse_point(str(point)) == point
        asleep = Point(fault, point.kind, 7, Play.SLEEP)
        if fault not in OF_CLIENT:
            assert parse_point(str(asleep)) == asleep
    in_no_play = ("cli-int@sleep/send:1", "term@family/send:1", "kill@nap/write:1")
    no_points = ("torn@sync:1", "full@send:2", "broken@write:1", "kill@write", "kill@write:x", "die@write:1")
    for wrong in (*in_no_play, *no_points):
        with pytest.raises(ValueError, match=r"."):
            parse_point(wrong)


def test_a_sweep_goes_on_where_it_was_and_begins_anew_for_other_options(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    header = {**Options(seed=1).header, "counts": None}
    memory = Memory.recall(path, header)
    stops = Stops({Kind.WRITE: 3}, {Kind.SEND: 2}, {Kind.SYNC: 4}, {Kind.SYNC: 1})
    memory.counted(stops)
    memory.add({"point": "kill@write:1", "complaints": []})
    with path.open("a") as file:
        file.write('{"point": "kill@wr')  # it was killed while it wrote that
    again = Memory.recall(path, header)
    assert again.stops == stops
    assert set(again.done) == {"kill@write:1"}
    other = Memory.recall(path, {**Options(seed=2).header, "counts": None})
    assert (other.stops, other.done) == (None, {})


def test_a_plan_visits_every_point_once_and_is_the_same_for_the_same_seed() -> None:
    counts = {Kind.WRITE: 5, Kind.SYNC: 3, Kind.SEND: 4}
    stops = Stops(counts, {Kind.SEND: 2}, {Kind.WRITE: 6, Kind.SYNC: 2}, {Kind.WRITE: 4})
    options = Options(random=6, seed=3)
    points = plan(stops, options)
    assert points == plan(stops, options)
    assert len(points) == len(set(points))
    killed = {(point.kind, point.number) for point in points if point.fault is Fault.KILL and point.play is Play.LIFE}
    assert killed == {(kind, number) for kind, count in counts.items() for number in range(1, count + 1)}


def test_of_a_session_that_sleeps_every_point_from_there_on_is_visited() -> None:
    stops = Stops({}, {Kind.SEND: 2}, {Kind.WRITE: 6, Kind.SYNC: 2}, {Kind.WRITE: 4})
    points = plan(stops, Options(faults=(Fault.KILL, Fault.CLI_KILL)))
    asleep = {str(point) for point in points if point.play is Play.SLEEP}
    assert asleep == {f"kill@sleep/{stop}" for stop in ("write:5", "write:6", "sync:1", "sync:2")}
