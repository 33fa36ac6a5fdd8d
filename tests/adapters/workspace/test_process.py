from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from astrid.adapters.workspace import process, sweep
from astrid.adapters.workspace.process import MARK, run_process, tool_environment
from astrid.box_ports import Finished
from astrid.errors import InternalError, LaunchError, WorkspaceError

pytestmark = pytest.mark.e2e

PLENTY = 30.0  # far more than anything here takes: a test that waits this long has failed
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


async def shell(
    script: str, cwd: Path, *, seconds: float = PLENTY, max_bytes: int = 100_000, grace: float = 2.0
) -> Finished:
    argv = ["/bin/sh", "-c", script]
    return await run_process(argv, cwd=str(cwd), env=ENV, seconds=seconds, max_bytes=max_bytes, grace_seconds=grace)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PLENTY):
        while not condition():  # noqa: ASYNC110 - another process makes it true
            await trio.sleep(0.005)


def written(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.read_text().endswith("\n")


def runs(path: Path) -> bool:
    """Whether the process whose number is in ``path`` still runs; one that only waits to be reaped does not."""
    try:
        return Path("/proc", path.read_text().strip(), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def is_process(path: Path) -> bool:
    """Whether that process is there at all, even if only to be reaped."""
    return Path("/proc", path.read_text().strip()).exists()


@pytest.fixture(params=["pidfd", "no pidfd"])
def watching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a way to watch a process that is not reaped."""
    if request.param == "no pidfd":

        def forbid(pid: int) -> int:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(sweep.os, "pidfd_open", forbid)


@contextmanager
def no_new_descriptors() -> Iterator[None]:
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("watching")
async def test_output_errors_and_exit_code_are_told(tmp_path: Path) -> None:
    done = await shell("echo out; echo err >&2; exit 3", tmp_path)
    assert done == Finished(returncode=3, stdout=b"out\n", stderr=b"err\n", truncated=False, stopped="")


async def test_a_signal_is_told_as_a_negative_code(tmp_path: Path) -> None:
    assert (await shell("kill -9 $$", tmp_path)).returncode == -9


async def test_input_is_empty(tmp_path: Path) -> None:
    assert (await shell("cat; echo end", tmp_path)).stdout == b"end\n"


async def test_nothing_of_our_environment_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    env = tool_environment(tmp_path, {"EXTRA": "1"})
    done = await run_process(["/usr/bin/env"], cwd="/", env=env, seconds=PLENTY, max_bytes=10_000)
    names = {line.partition("=")[0] for line in done.stdout.decode().splitlines()}
    git = {"GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0"}
    assert names == {"PATH", "HOME", "LANG", "TERM", "TMPDIR", "EXTRA", MARK} | git
    assert b"canary" not in done.stdout


async def test_none_of_our_descriptors_is_handed_on(tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb") as ours:
        os.set_inheritable(ours.fileno(), True)
        done = await run_process(["/bin/ls", "/proc/self/fd"], cwd="/", env=ENV, seconds=PLENTY, max_bytes=1000)
    assert done.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3 is the folder it lists


async def test_too_much_output_is_dropped_but_read_to_its_end(tmp_path: Path) -> None:
    done = await shell("yes | head -c 20000000; echo fin >&2", tmp_path, max_bytes=1000)
    assert done.stdout == b"y\n" * 500
    assert done.stderr == b"fin\n"
    assert done.truncated
    assert done.returncode == 0


@pytest.mark.usefixtures("watching")
async def test_endless_output_ends_at_the_deadline(tmp_path: Path) -> None:
    done = await shell("echo $$ > pid; yes", tmp_path, seconds=0.3, max_bytes=1000)
    assert done.stopped == "time"
    assert len(done.stdout) == 1000
    assert not runs(tmp_path / "pid")


@pytest.mark.usefixtures("watching")
async def test_at_the_deadline_the_whole_group_is_killed(tmp_path: Path) -> None:
    done = await shell("echo $$ > pid; sleep 1000 & echo $! > child; wait", tmp_path, seconds=0.3)
    assert done.stopped == "time"
    assert not runs(tmp_path / "pid")
    assert not runs(tmp_path / "child")


async def test_a_program_may_tidy_up_when_its_time_is_over(tmp_path: Path) -> None:
    script = "trap 'echo bye > said; exit 0' TERM; echo > ready; while :; do sleep 0.01; done"
    done = await shell(script, tmp_path, seconds=0.3)
    assert done.stopped == "time"
    assert (tmp_path / "said").read_text() == "bye\n"


async def test_a_program_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done"
    done = await shell(script, tmp_path, seconds=0.3, grace=0.1)
    assert done.stopped == "time"
    assert done.returncode == -9
    assert not runs(tmp_path / "pid")


@pytest.mark.usefixtures("watching")
async def test_a_background_process_that_holds_the_pipe_does_not_hold_us(tmp_path: Path) -> None:
    with trio.fail_after(PLENTY / 2):
        done = await shell("sleep 1000 & echo $! > child; echo done", tmp_path)
    assert done.stdout == b"done\n"
    assert done.returncode == 0
    assert not done.stopped
    assert not runs(tmp_path / "child")


async def test_what_a_short_lived_background_process_says_is_heard(tmp_path: Path) -> None:
    assert (await shell("{ echo late; } & echo early", tmp_path)).stdout.split() in (
        [b"early", b"late"],
        [b"late", b"early"],
    )


ORPHAN = "setsid sh -c 'trap \"\" TERM HUP; echo $$ > pid; while :; do sleep 0.05; done'"
WAIT_FOR_PID = "while [ ! -s pid ]; do sleep 0.01; done"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    "script",
    [
        f"setsid sh -c 'echo $$ > pid; exec sleep 1000' & {WAIT_FOR_PID}",
        f"({ORPHAN} </dev/null >/dev/null 2>&1 &) ; {WAIT_FOR_PID}",
    ],
    ids=["setsid", "orphan that closed its pipes"],
)
async def test_what_left_the_group_is_found_by_its_mark(tmp_path: Path, script: str) -> None:
    await shell(script, tmp_path)
    assert not runs(tmp_path / "pid")


async def test_another_run_is_not_touched_by_the_search_for_what_escaped(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell, "echo $$ > pid; sleep 1000", tmp_path / "one")
        await until(written(tmp_path / "one" / "pid"))
        await shell("true", tmp_path / "two")
        assert runs(tmp_path / "one" / "pid")
        nursery.cancel_scope.cancel()
    assert not runs(tmp_path / "one" / "pid")


@pytest.mark.usefixtures("watching")
async def test_cancellation_passes_and_leaves_nothing_running(tmp_path: Path) -> None:
    with no_new_descriptors(), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shell, "sleep 1000 & echo $! > child; echo $$ > pid; wait", tmp_path)
            await until(written(tmp_path / "pid"))
            scope.cancel()
    assert scope.cancelled_caught
    assert not runs(tmp_path / "pid")
    assert not runs(tmp_path / "child")


async def test_cancellation_kills_also_what_ignores_the_polite_signal(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        run = "trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done"
        nursery.start_soon(lambda: shell(run, tmp_path, grace=0.1))
        await until(written(tmp_path / "pid"))
        nursery.cancel_scope.cancel()
    assert not runs(tmp_path / "pid")


async def test_no_zombie_and_no_descriptor_is_left(tmp_path: Path) -> None:
    await shell("true", tmp_path)  # the first run starts a thread that stays
    with no_new_descriptors():
        for _ in range(3):
            await shell("echo $$ > pid", tmp_path)
            assert not is_process(tmp_path / "pid")


@pytest.mark.parametrize("argv", [["/no/such/program"], ["/etc/passwd"], ["/bin/echo", "a\0b"]])
async def test_a_program_that_cannot_start_has_no_effect(argv: list[str], tmp_path: Path) -> None:
    with pytest.raises(LaunchError) as caught:
        await run_process(argv, cwd=str(tmp_path), env=ENV, seconds=PLENTY, max_bytes=100)
    assert caught.value.code == "process.not-started"
    assert caught.value.effect == "none"


async def test_a_folder_that_is_gone_cannot_be_run_in(tmp_path: Path) -> None:
    with pytest.raises(LaunchError):
        await shell("true", tmp_path / "gone")


async def test_a_process_that_cannot_be_killed_is_said_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        """Waits for a disk that never answers."""

        pid = 0
        returncode = None

        def __init__(self) -> None:
            self.stdout, self.stderr = (trio.testing.memory_stream_one_way_pair()[1] for _ in range(2))

        async def wait(self) -> None:
            await trio.sleep_forever()

    monkeypatch.setattr(process, "_has_exited", lambda stuck: True)
    monkeypatch.setattr(process, "_signal_group", lambda group, number: None)
    monkeypatch.setattr(process, "REAP_SECONDS", 0)
    with pytest.raises(LaunchError) as caught:
        await process._end(Stuck(), "", 0)  # type: ignore[arg-type]
    assert caught.value.code == "process.undead"
    assert caught.value.effect == "done"


def test_the_hunt_for_what_forks_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[bytes] = []

    def kill(mark: bytes, groups: set[bytes]) -> bool:
        passes.append(mark)
        return True

    monkeypatch.setattr(sweep, "_kill_marked", kill)
    sweep.hunt(b"mark", 1)
    sweep.hunt_orphans(b"mark")
    assert passes == [b"mark"] * 2 * sweep.SWEEP_PASSES


def test_a_process_that_ends_while_they_are_listed_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep.os, "listdir", lambda path: ["999999999", "self"])
    assert sweep._kill_marked(b"mark", {b"1"}) is False


def test_a_process_without_pipes_is_a_bug() -> None:
    class Bare:
        stdout = stderr = None

    with pytest.raises(InternalError):
        process._pipes(Bare())  # type: ignore[arg-type]


UNSAFE = [
    "PATH",
    "LD_PRELOAD",
    "BASH_ENV",
    "bash_env",
    "PYTHONPATH",
    "NODE_OPTIONS",
    "GIT_SSH",
    "npm_config_x",
    "IFS",
    "1X",
    "A=B",
    "",
]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_variable_that_decides_which_code_runs_cannot_be_added(name: str, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError) as caught:
        tool_environment(tmp_path, {name: "x"})
    assert caught.value.code == "workspace.environment"


def test_a_variable_cannot_hold_a_nul(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError):
        tool_environment(tmp_path, {"X": "a\0b"})


def test_home_and_path_cannot_be_replaced(tmp_path: Path) -> None:
    assert tool_environment(tmp_path, {"HOME": "/elsewhere"})["HOME"] == str(tmp_path)
