"""A process that runs commands is killed on the spot: what becomes of the commands, with a watchman and without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from astrid.adapters.workspace import watchman as module
from astrid.adapters.workspace.watchman import disposed, watchman
from astrid.errors import LaunchError

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="nothing is found by its environment elsewhere"),
]
PLENTY = 30.0  # far more than anything here takes: a test that waits this long has failed
PROGRAM = """
import contextlib, sys, trio
sys.path.insert(0, sys.argv[1])
from astrid.adapters.workspace.process import run_process
from astrid.adapters.workspace.watchman import watchman

async def run():
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    await run_process(["/bin/sh", "-c", sys.argv[3]], cwd=".", env=env, seconds=600, max_bytes=100)

with watchman() if sys.argv[2] == "watched" else contextlib.nullcontext():
    trio.run(run)
"""
GOES_ON = "echo $$ > pid; cat fifo > said"


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PLENTY
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.005)


class Runner:
    """A process that runs one command in ``folder``."""

    def __init__(self, folder: Path, command: str, *, watched: bool = True) -> None:
        self.pid = folder / "pid"
        os.mkfifo(folder / "fifo")
        source = str(Path(module.__file__).parents[3])
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, source, "watched" if watched else "alone", command],
            cwd=folder,
            start_new_session=True,
        )
        wait_until(lambda: self.pid.exists() and self.pid.read_text().endswith("\n"), "the command runs")

    def command_runs(self) -> bool:
        try:
            state = Path("/proc", self.pid.read_text().strip(), "stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        return state != "Z"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.command_runs():
            os.kill(int(self.pid.read_text()), signal.SIGKILL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Runner]]:
    started: list[Runner] = []

    def run(command: str, *, watched: bool = True) -> Runner:
        started.append(Runner(tmp_path, command, watched=watched))
        return started[-1]

    yield run
    for one in started:
        one.close()


@pytest.mark.parametrize(
    "command",
    [
        GOES_ON,
        f"trap '' TERM HUP; {GOES_ON}",
        f"setsid sh -c '{GOES_ON}'; true",
        f"env -i sh -c '{GOES_ON}'; true",
        f"setsid env X=1 sh -c 'env -i sh -c \"{GOES_ON.replace('$', chr(92) + '$')}\"; true'; true",
    ],
    ids=["as it is", "deaf to signals", "out of the group", "without its mark", "out of the group, without its mark"],
)
def test_a_command_dies_with_the_process_that_ran_it(start: Callable[..., Runner], command: str) -> None:
    runner = start(command)
    runner.process.kill()
    wait_until(lambda: not runner.command_runs(), "the command is gone")


def test_without_a_watchman_it_goes_on(start: Callable[..., Runner], tmp_path: Path) -> None:
    runner = start(GOES_ON, watched=False)
    runner.process.kill()
    runner.process.wait()
    (tmp_path / "fifo").write_text("still here")
    wait_until(lambda: (tmp_path / "said").read_text() == "still here", "the command went on")


def test_a_signal_to_the_whole_group_does_not_reach_the_watchman(start: Callable[..., Runner]) -> None:
    runner = start(GOES_ON)
    os.killpg(runner.process.pid, signal.SIGKILL)
    wait_until(lambda: not runner.command_runs(), "the command is gone")


def test_what_another_process_runs_is_not_touched(start: Callable[..., Runner], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Runner(tmp_path / "other", GOES_ON)
    try:
        runner = start(GOES_ON)
        runner.process.kill()
        wait_until(lambda: not runner.command_runs(), "the command is gone")
        (tmp_path / "other" / "fifo").write_text("untouched")
        assert other.process.wait(PLENTY) == 0
        assert (tmp_path / "other" / "said").read_text() == "untouched"
    finally:
        other.close()


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_it_is_gone_after_an_end_in_order() -> None:
    before = children()
    descriptors = sorted(os.listdir("/proc/self/fd"))
    with watchman():
        assert len(children() - before) == 1
    assert (children(), sorted(os.listdir("/proc/self/fd"))) == (before, descriptors)


def test_where_it_cannot_be_started_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/no/such/python")
    with pytest.raises(LaunchError) as caught, watchman():
        pytest.fail("it started")
    assert (caught.value.code, caught.value.effect) == ("process.no-watchman", "none")


def test_where_processes_cannot_be_found_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    monkeypatch.setattr(module.sys, "platform", "darwin")
    with watchman():
        assert children() == before


# ---- what is half written

DRAFTING = """
import contextlib, os, sys
sys.path.insert(0, sys.argv[1])
from astrid.adapters.workspace.watchman import disposed, watchman

folder = os.open(sys.argv[3], os.O_RDONLY | os.O_DIRECTORY)
with watchman() if sys.argv[2] == "watched" else contextlib.nullcontext():
    with disposed(folder, b"disposed of"):
        os.close(os.open("disposed of", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    with disposed(folder, b"draft"):
        os.close(os.open("draft", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        print("written", flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize(("watched", "left"), [("watched", {"disposed of"}), ("alone", {"disposed of", "draft"})])
def test_a_draft_goes_with_the_process_that_was_writing_it_and_nothing_else_does(
    tmp_path: Path, watched: str, left: set[str]
) -> None:
    source = str(Path(module.__file__).parents[3])
    before = children()
    writer = subprocess.Popen(
        [sys.executable, "-c", DRAFTING, source, watched, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"written\n"
    of_writer = Path(f"/proc/{writer.pid}/task/{writer.pid}/children").read_text().split()
    writer.kill()
    writer.communicate()
    wait_until(lambda: not any(map(is_running, of_writer)), "the watchman is gone")
    assert ({path.name for path in tmp_path.iterdir()}, children()) == (left, before)


def is_running(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "stuck"])
def test_a_watchman_that_hears_nothing_any_more_hinders_nobody(tmp_path: Path, number: signal.Signals) -> None:
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    before = children()

    def write() -> None:
        for _ in range(2000):  # far more than a pipe holds
            with disposed(folder, b"draft"):
                pass

    try:
        # In a thread: a writer that is held up fails this test, and goes on when the watchman is ended.
        with ThreadPoolExecutor(1) as threads, watchman():
            [pid] = children() - before
            os.kill(int(pid), number)
            if number is signal.SIGKILL:
                wait_until(lambda: not is_running(pid), "it is gone")
            threads.submit(write).result(PLENTY)
    finally:
        os.close(folder)
