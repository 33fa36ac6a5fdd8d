from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from astrid.adapters.sandbox.cage.trees import descendants_of
from astrid.adapters.sandbox.launcher import ZygoteLauncher, open_launcher
from astrid.box_ports import Box, Finished, Tier
from astrid.errors import LaunchError
from tests.adapters.sandbox.conftest import ENV, descriptors_of, tiers

pytestmark = pytest.mark.e2e

PLENTY = 30.0  # far more than anything here takes: a test that waits this long has failed


async def shell(
    launcher: ZygoteLauncher, box: Box, script: str, *, seconds: float = PLENTY, max_bytes: int = 100_000
) -> Finished:
    argv = ["/bin/sh", "-c", script]
    return await launcher.run(box, argv, cwd="", env=ENV, seconds=seconds, max_bytes=max_bytes)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PLENTY):
        while not condition():  # noqa: ASYNC110 - another process makes it true
            await trio.sleep(0.005)


@contextmanager
def no_new_descriptors() -> Iterator[None]:
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


@contextmanager
def nothing_left() -> Iterator[None]:
    """No process of ours that was not there before."""
    before = set(descendants_of(os.getpid()))
    yield
    assert set(descendants_of(os.getpid())) <= before


def test_a_machine_with_landlock_has_a_tier() -> None:
    """Without this, all tests of tiers could be skipped, and nothing would be shown."""
    if not Path("/proc/self").exists() or os.uname().sysname != "Linux":
        pytest.skip("this is no Linux")
    assert "" in tiers().values(), tiers()


async def test_output_errors_and_exit_code_are_told(launcher: ZygoteLauncher, box: Box) -> None:
    done = await shell(launcher, box, "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert (done.stopped, done.truncated) == ("", False)


@pytest.mark.parametrize("number", [6, 9, 11, 13, 15, 25])
async def test_a_signal_is_told_as_a_negative_code(launcher: ZygoteLauncher, box: Box, number: int) -> None:
    assert (await shell(launcher, box, f"kill -{number} $$")).returncode == -number


async def test_a_broken_pipe_ends_what_writes_into_it(launcher: ZygoteLauncher, box: Box) -> None:
    argv = ["/bin/bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}"]
    done = await launcher.run(box, argv, cwd="", env=ENV, seconds=PLENTY, max_bytes=1000)
    assert done.stdout == b"y\n141\n"


async def test_what_is_written_stays_in_the_workspace(launcher: ZygoteLauncher, box: Box, workspace: Path) -> None:
    await shell(launcher, box, "echo hello > made; mkdir -p a/b; mv made a/b")
    assert (workspace / "a" / "b" / "made").read_text() == "hello\n"


async def test_a_program_starts_in_the_folder_that_is_named(
    launcher: ZygoteLauncher, box: Box, workspace: Path
) -> None:
    (workspace / "sub").mkdir()
    done = await launcher.run(box, ["/bin/pwd"], cwd="sub", env=ENV, seconds=PLENTY, max_bytes=1000)
    assert done.stdout.decode() == f"{workspace}/sub\n"


async def test_nothing_of_our_environment_or_descriptors_is_handed_on(
    launcher: ZygoteLauncher, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    held = os.open("/", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        probe = "for f in $(seq 3 40); do (: <&$f) 2>/dev/null && echo open $f; done; env"
        done = await shell(launcher, box, probe)
    finally:
        os.close(held)
    assert b"open" not in done.stdout
    names = {line.partition("=")[0] for line in done.stdout.decode().splitlines()}
    assert names <= {"PATH", "LANG", "HOME", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"}


async def test_a_file_outside_is_neither_read_nor_written(launcher: ZygoteLauncher, box: Box, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("canary")
    done = await shell(launcher, box, f"cat {outside}; echo x > {outside}; echo x > {tmp_path}/new; ls {tmp_path}")
    assert b"canary" not in done.stdout
    assert outside.read_text() == "canary"
    assert not (tmp_path / "new").exists()


async def test_a_program_has_no_capabilities_whoever_starts_it(
    launcher: ZygoteLauncher, box: Box, tier: Tier, workspace: Path
) -> None:
    script = "touch f; chown 1234 f; chgrp 1234 f; grep -hE '^Cap(Eff|Prm|Bnd|Amb)' /proc/self/status"
    done = await shell(launcher, box, script)
    status = os.stat(workspace / "f")
    assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
    masks = [line.split()[1] for line in done.stdout.splitlines()]
    assert masks == ([b"0" * 16] * 4 if tier == "l1" else [])


async def test_a_program_that_is_not_there_is_told(launcher: ZygoteLauncher, box: Box) -> None:
    with pytest.raises(LaunchError, match="No such file") as caught:
        await launcher.run(box, ["/usr/bin/no-such"], cwd="", env=ENV, seconds=PLENTY, max_bytes=1000)
    assert (caught.value.code, caught.value.effect) == ("sandbox.not-started", "none")


async def test_a_command_that_is_too_long_is_told(launcher: ZygoteLauncher, box: Box) -> None:
    with pytest.raises(LaunchError) as caught:
        await shell(launcher, box, "x" * 200_000)
    assert caught.value.code == "sandbox.too-long"
    assert (await shell(launcher, box, "true")).returncode == 0


async def test_a_program_that_holds_the_pipe_does_not_hold_us(launcher: ZygoteLauncher, box: Box) -> None:
    with trio.fail_after(PLENTY / 2), nothing_left():
        done = await shell(launcher, box, "(trap '' TERM HUP; exec sleep 1000) & echo done")
    assert (done.stdout, done.returncode, done.stopped) == (b"done\n", 0, "")


async def test_what_ignores_the_polite_signal_is_killed_at_the_deadline(launcher: ZygoteLauncher, box: Box) -> None:
    with nothing_left():
        done = await shell(launcher, box, "trap '' TERM; while :; do sleep 0.01; done", seconds=0.3)
    assert (done.stopped, done.returncode) == ("time", -9)


async def test_a_program_may_tidy_up_when_its_time_is_over(launcher: ZygoteLauncher, box: Box, workspace: Path) -> None:
    script = "trap 'echo bye > said; exit 0' TERM; while :; do sleep 0.01; done"
    done = await shell(launcher, box, script, seconds=0.5)
    assert (done.stopped, (workspace / "said").read_text()) == ("time", "bye\n")


async def test_too_much_output_is_dropped_and_a_flood_is_stopped(launcher: ZygoteLauncher, box: Box) -> None:
    done = await shell(launcher, box, "yes | head -c 20000", max_bytes=1000)
    assert (done.stdout, done.truncated, done.stopped) == (b"y\n" * 500, True, "")
    with nothing_left():
        flood = await shell(launcher, box, "yes", max_bytes=1000)
    assert (flood.stopped, len(flood.stdout)) == ("output", 1000)


async def test_a_workspace_that_grows_too_much_stops_the_program(launcher: ZygoteLauncher, box: Box) -> None:
    small = msgspec.structs.replace(box, growth_bytes=1 << 20)
    done = await shell(launcher, small, "i=0; while :; do i=$((i+1)); head -c 300000 /dev/zero > f$i; done")
    assert done.stopped == "disk"


async def test_too_many_files_stop_the_program(launcher: ZygoteLauncher, box: Box) -> None:
    small = msgspec.structs.replace(box, growth_files=50)
    assert (await shell(launcher, small, "i=0; while :; do i=$((i+1)); : > f$i; done")).stopped == "files"


async def test_memory_over_many_processes_stops_the_program(launcher: ZygoteLauncher, box: Box) -> None:
    small = msgspec.structs.replace(box, memory_bytes=200 << 20)
    hold = "python3 -c 'import time; b = b\"x\" * (80 << 20); time.sleep(1000)' &"
    done = await shell(launcher, small, f"{hold} {hold} {hold} {hold} wait")
    assert done.stopped == "memory"


async def test_too_many_processes_stop_the_program(launcher: ZygoteLauncher, box: Box) -> None:
    small = msgspec.structs.replace(box, processes=10)
    done = await shell(launcher, small, "for i in $(seq 30); do sleep 1000 & done; wait")
    assert done.stopped == "processes"


async def test_one_file_does_not_grow_past_its_limit(launcher: ZygoteLauncher, box: Box, workspace: Path) -> None:
    small = msgspec.structs.replace(box, limits={**box.limits, "fsize": 100_000})
    done = await launcher.run(
        small, ["/usr/bin/head", "-c", "300000", "/dev/zero"], cwd="", env=ENV, seconds=PLENTY, max_bytes=1_000_000
    )
    assert done.stopped == ""  # a pipe is no file
    done = await shell(launcher, small, "exec dd if=/dev/zero of=big bs=1000 count=300")
    assert done.stopped == "file size"
    assert (workspace / "big").stat().st_size <= 100_000


async def test_a_running_program_reads_and_answers_line_by_line(launcher: ZygoteLauncher, box: Box) -> None:
    child = await launcher.start(box, ["/bin/cat"], cwd="", env=ENV)
    try:
        with trio.fail_after(PLENTY):
            await child.stdin.send_all(b"hello\n")
            assert await child.stdout.receive_some() == b"hello\n"
            await child.stdin.aclose()
            assert (await child.wait()).returncode == 0
    finally:
        await child.aclose()


async def test_nothing_is_left_after_many_at_once(
    launcher: ZygoteLauncher, box: Box, workspace: Path, tmp_path: Path
) -> None:
    await shell(launcher, box, "true")  # what is loaded once is loaded

    async def one(number: int) -> None:
        done = await shell(launcher, box, f"(sleep 1000 & ) ; exit {number % 200}")
        assert done.returncode == number % 200

    zygote = launcher.zygote_pid
    before = descriptors_of(zygote)
    with no_new_descriptors(), nothing_left():
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(one, number)
    assert descriptors_of(zygote) == before
    assert list((tmp_path / "temporary").iterdir()) == []
    assert os.listdir(workspace) == []


async def test_many_at_once_are_not_held_to_the_files_of_one(launcher: ZygoteLauncher, box: Box) -> None:
    few = msgspec.structs.replace(box, limits={**box.limits, "nofile": 200})
    async with trio.open_nursery() as nursery:
        for _ in range(150):  # four descriptors each are on their way to the zygote
            nursery.start_soon(shell, launcher, few, "true")


async def test_a_cancelled_run_leaves_nothing(launcher: ZygoteLauncher, box: Box, workspace: Path) -> None:
    with no_new_descriptors(), nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shell, launcher, box, "(setsid sleep 1000 &) ; echo up > up; sleep 1000")
            await until((workspace / "up").exists)
            nursery.cancel_scope.cancel()


async def test_when_the_zygote_is_killed_its_children_die_and_another_takes_its_place(
    launcher: ZygoteLauncher, box: Box, workspace: Path
) -> None:
    child = await launcher.start(
        box, ["/bin/sh", "-c", "(setsid sleep 1000 &); echo x > up; sleep 1000"], cwd="", env=ENV
    )
    await until((workspace / "up").exists)
    old = launcher.zygote_pid
    below = descendants_of(old)
    assert len(below) >= 3
    os.kill(old, signal.SIGKILL)
    with trio.fail_after(PLENTY):
        with pytest.raises(LaunchError) as caught:
            await child.wait()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() and not is_zombie(pid) for pid in below))
        assert caught.value.code == "sandbox.lost"
        assert (await shell(launcher, box, "echo again")).stdout == b"again\n"
    assert launcher.zygote_pid != old
    await child.aclose()


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_when_a_supervisor_is_killed_its_tree_dies(launcher: ZygoteLauncher, box: Box, workspace: Path) -> None:
    child = await launcher.start(
        box, ["/bin/sh", "-c", "(setsid sleep 1000 &); echo x > up; sleep 1000"], cwd="", env=ENV
    )
    await until((workspace / "up").exists)
    with trio.fail_after(PLENTY):
        os.kill(child.pid, signal.SIGKILL)
        assert (await child.wait()).returncode == -9
    assert descendants_of(launcher.zygote_pid) == []
    await child.aclose()


async def test_below_the_least_tier_nothing_is_started(tmp_path: Path, workspace: Path) -> None:
    if tiers()["l0"]:
        pytest.skip(f"no tier l0 here: {tiers()['l0']}")
    folder = os.open(workspace, os.O_PATH)
    try:
        async with open_launcher(least="l1", never=(), temporary=tmp_path) as launcher:
            box = Box(tier="l0", workspace=str(workspace), folder=folder, run=("/usr", "/bin", "/lib", "/lib64"))
            with pytest.raises(LaunchError) as caught:
                await shell(launcher, box, "true")
            assert caught.value.code == "sandbox.tier"
    finally:
        os.close(folder)


async def test_what_is_never_exposed_is_refused_by_its_path_and_behind_a_link(
    launcher: ZygoteLauncher, box: Box, secret: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(secret)
    for path in (secret, tmp_path / "link", tmp_path, Path("/")):
        wide = msgspec.structs.replace(box, write=(str(path.absolute()),))
        with pytest.raises(LaunchError) as caught:
            await shell(launcher, wide, f"cat {secret}/key {tmp_path}/link/key")
        assert caught.value.code == "sandbox.not-started"


def exchange(folder: Path, goes_to: Path) -> None:
    folder.rename(goes_to)
    folder.mkdir()


def make(below: Path, name: str) -> tuple[Path, int]:
    folder = below.resolve() / name
    folder.mkdir()
    return folder, os.open(folder, os.O_PATH)


async def test_a_workspace_that_was_exchanged_is_refused(
    launcher: ZygoteLauncher, box: Box, workspace: Path, tmp_path: Path
) -> None:
    exchange(workspace, tmp_path / "moved")
    with pytest.raises(LaunchError) as caught:
        await shell(launcher, box, "echo x > f")
    assert caught.value.code == "sandbox.not-started"
    assert os.listdir(workspace) == []


@pytest.mark.parametrize("name", ["a\nb", "a'b\"c", "ä ö", "-x", "a\\b"])
async def test_a_workspace_may_have_any_name(
    launcher: ZygoteLauncher, box: Box, tier: Tier, tmp_path: Path, name: str
) -> None:
    odd, folder = make(tmp_path, name)
    try:
        done = await shell(launcher, msgspec.structs.replace(box, workspace=str(odd), folder=folder), "echo x > f")
        assert done.returncode == 0, done
        assert (odd / "f").exists()
    finally:
        os.close(folder)
