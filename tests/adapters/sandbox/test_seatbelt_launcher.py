"""The launcher for macOS, with a stand-in for ``sandbox-exec`` that starts programs and holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from astrid.adapters.sandbox import seatbelt_launcher, starting
from astrid.adapters.sandbox.profile import build_box
from astrid.adapters.sandbox.seatbelt import PROGRAM
from astrid.adapters.sandbox.seatbelt_launcher import SeatbeltLauncher, open_seatbelt
from astrid.box_ports import Box, Finished
from astrid.errors import LaunchError
from astrid.runtime.boxes import boxes
from tests.adapters.sandbox.conftest import ENV
from tests.adapters.sandbox.test_launcher import no_new_descriptors, nothing_left, until

pytestmark = pytest.mark.e2e
PLENTY = 30.0
THERE = os.path.exists(PROGRAM)

HOLDS_NOTHING = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'
# Answers the self-test as what holds would: the last argument is the file outside.
SEEMS_TO_HOLD = '#!/bin/sh\nfor last; do :; done\ncase "$last" in */outside) exit 0;; esac\n'


def stand_in(folder: Path, script: str) -> str:
    program = folder / "sandbox-exec"
    program.write_text(script)
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
async def mac(tmp_path: Path, temporary: Path, secret: Path) -> AsyncIterator[SeatbeltLauncher]:
    program = stand_in(tmp_path, SEEMS_TO_HOLD + HOLDS_NOTHING.removeprefix("#!/bin/sh\n"))
    async with open_seatbelt(least="l0", never=[str(secret)], temporary=temporary, program=program) as launcher:
        assert launcher.tiers.works == ("l0",)
        yield launcher


@pytest.fixture
def mac_box(workspace: Path) -> Iterator[Box]:
    folder = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY)
    yield build_box("l0", str(workspace), folder)
    os.close(folder)


async def shell(launcher: SeatbeltLauncher, box: Box, script: str, seconds: float = PLENTY) -> Finished:
    argv = ["/bin/sh", "-c", script]
    return await launcher.run(box, argv, cwd="", env=ENV, seconds=seconds, max_bytes=10_000)


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def link_to(folder: Path) -> str:
    link = folder.resolve() / "link"
    link.symlink_to(folder)
    return str(link)


def replace(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.mkdir()


async def test_what_holds_nothing_is_not_believed(tmp_path: Path, temporary: Path, mac_box: Box) -> None:
    program = stand_in(tmp_path, HOLDS_NOTHING)
    async with open_seatbelt(least="l0", never=(), temporary=temporary, program=program) as launcher:
        assert launcher.tiers.works == ()
        assert "could do what it must not" in launcher.tiers.why["l0"]
        with pytest.raises(LaunchError) as caught:
            await shell(launcher, mac_box, "true")
    assert caught.value.code == "sandbox.tier"
    assert left_in(temporary) == []


async def test_where_there_is_no_such_program_nothing_is_started(temporary: Path, mac_box: Box) -> None:
    async with open_seatbelt(least="l0", never=(), temporary=temporary, program="/none/sandbox-exec") as launcher:
        assert "No such file" in launcher.tiers.why["l0"]
        with pytest.raises(LaunchError):
            await launcher.start(mac_box, ["/bin/true"], cwd="", env=ENV)
    assert left_in(temporary) == []


async def test_this_system_has_it_chosen_and_finds_out_that_it_is_missing() -> None:
    async with boxes("l0", (), platform="darwin") as launcher:
        assert isinstance(launcher, SeatbeltLauncher)
        assert launcher.tiers.works == (("l0",) if THERE else ())


async def test_below_the_least_tier_nothing_is_started(tmp_path: Path, temporary: Path, mac_box: Box) -> None:
    program = stand_in(tmp_path, SEEMS_TO_HOLD)
    async with open_seatbelt(least="l1", never=(), temporary=temporary, program=program) as launcher:
        with pytest.raises(LaunchError, match="nothing is started in a box of tier `l0`"):
            await shell(launcher, mac_box, "true")


async def test_output_code_folder_and_environment_are_the_programs(
    mac: SeatbeltLauncher, mac_box: Box, workspace: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    (workspace / "sub").mkdir()
    argv = ["/bin/sh", "-c", "pwd; echo err >&2; echo $HOME $TMPDIR; env | grep -c KEY; ulimit -n; exit 3"]
    with no_new_descriptors(), nothing_left():
        done = await mac.run(mac_box, argv, cwd="sub", env=ENV, seconds=PLENTY, max_bytes=1000)
    place, home, keys, limit = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr, place, keys, limit) == (3, b"err\n", f"{workspace}/sub", "0", "1024")
    assert [Path(path).parent for path in home.split()] == [temporary] * 2
    assert left_in(temporary) == []


async def test_a_program_reads_and_answers(mac: SeatbeltLauncher, mac_box: Box) -> None:
    child = await mac.start(mac_box, ["/bin/cat"], cwd="", env=ENV)
    with trio.fail_after(PLENTY):
        await child.stdin.send_all(b"hello\n")
        assert await child.stdout.receive_some() == b"hello\n"
        await child.stdin.aclose()
        assert (await child.wait()).returncode == 0
    await child.aclose()


async def test_what_left_the_group_dies_with_the_program(mac: SeatbeltLauncher, mac_box: Box) -> None:
    with nothing_left():
        done = await shell(mac, mac_box, "setsid sleep 1000 & sleep 0.5; echo done")
    assert (done.returncode, done.stdout) == (0, b"done\n")


async def test_at_the_deadline_the_family_is_killed(mac: SeatbeltLauncher, mac_box: Box) -> None:
    with nothing_left():
        done = await shell(mac, mac_box, "trap '' TERM; setsid sleep 1000 & while :; do sleep 0.01; done", seconds=0.4)
    assert (done.stopped, done.returncode) == ("time", -signal.SIGKILL)


async def test_a_cancelled_run_leaves_nothing(mac: SeatbeltLauncher, mac_box: Box, workspace: Path) -> None:
    with no_new_descriptors(), nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shell, mac, mac_box, "sleep 1000 & echo up > up; sleep 1000")
            await until((workspace / "up").exists)
            nursery.cancel_scope.cancel()


async def test_nothing_is_left_when_the_launcher_ends(tmp_path: Path, temporary: Path, mac_box: Box) -> None:
    program = stand_in(tmp_path, SEEMS_TO_HOLD + HOLDS_NOTHING.removeprefix("#!/bin/sh\n"))
    with nothing_left():
        async with open_seatbelt(least="l0", never=(), temporary=temporary, program=program) as launcher:
            child = await launcher.start(mac_box, ["/bin/sh", "-c", "sleep 1000 & sleep 1000"], cwd="", env=ENV)
        assert (await child.wait()).returncode == -signal.SIGKILL
    await child.aclose()


async def test_who_cannot_be_watched_is_ended(
    mac: SeatbeltLauncher, mac_box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "_LIST", ("/bin/false",))
    with nothing_left():
        assert (await shell(mac, mac_box, "sleep 1000")).returncode == -signal.SIGKILL


async def test_what_is_never_exposed_is_refused(mac: SeatbeltLauncher, mac_box: Box, secret: Path) -> None:
    for changed in ({"write": (str(secret),)}, {"lent": (str(secret.parent),)}, {"read": (f"{secret}/key",)}):
        with pytest.raises(LaunchError, match="never exposed") as caught:
            await shell(mac, msgspec.structs.replace(mac_box, **changed), "true")
        assert (caught.value.code, caught.value.effect) == ("sandbox.not-started", "none")


async def test_a_link_or_another_folder_is_not_what_was_decided_about(
    mac: SeatbeltLauncher, mac_box: Box, tmp_path: Path, workspace: Path
) -> None:
    with pytest.raises(LaunchError, match="link"):
        await shell(mac, msgspec.structs.replace(mac_box, write=(link_to(tmp_path),)), "true")
    replace(workspace)
    with pytest.raises(LaunchError, match="another folder"):
        await shell(mac, mac_box, "true")


async def test_there_is_no_way_out(mac: SeatbeltLauncher, mac_box: Box) -> None:
    with pytest.raises(LaunchError) as caught:
        await mac.start(msgspec.structs.replace(mac_box, network=True), ["/bin/true"], cwd="", env=ENV)
    assert caught.value.code == "sandbox.no-way-out"


def test_a_process_that_goes_on_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "_REAP_SECONDS", 0.0)
    process = subprocess.Popen(["/bin/sleep", "1000"])
    assert starting.reap(process) is None
    process.kill()
    process.wait()


def seems_undead(process: starting.Process) -> None:
    process.wait()


async def test_what_does_not_end_when_it_is_killed_is_told(
    mac: SeatbeltLauncher, mac_box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seatbelt_launcher, "reap", seems_undead)
    with pytest.raises(LaunchError) as caught:
        await shell(mac, mac_box, "true")
    assert (caught.value.code, caught.value.effect) == ("process.undead", "done")
