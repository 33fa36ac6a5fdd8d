"""Whatever dies or is missing, the outcome is clear and nothing is left running."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest
import trio
import trio.testing

from astrid.adapters.sandbox import launcher as launcher_module
from astrid.adapters.sandbox import starting
from astrid.adapters.sandbox.cage.trees import descendants_of
from astrid.adapters.sandbox.launcher import ZygoteLauncher, open_launcher
from astrid.box_ports import Box, Tier
from astrid.errors import LaunchError
from tests.adapters.sandbox.conftest import ENV, tiers
from tests.architecture.source import ROOT, SRC

pytestmark = pytest.mark.e2e
PLENTY = 30.0

DAEMON = """
import os, sys, trio
from pathlib import Path
from astrid.adapters.sandbox.launcher import open_launcher
from astrid.adapters.sandbox.profile import build_box

async def main(tier, workspace, temporary):
    folder = os.open(workspace, os.O_PATH)
    async with open_launcher(least="l0", never=(), temporary=Path(temporary)) as launcher:
        box = build_box(tier, workspace, folder)
        script = "(setsid sleep 1000 &); (setsid sh -c 'sleep 1000 & sleep 1000' &); echo up; sleep 1000"
        child = await launcher.start(box, ["/bin/sh", "-c", script], cwd="", env={"PATH": "/bin"})
        await child.stdout.receive_some()
        print("up", flush=True)
        await trio.sleep_forever()

trio.run(main, *sys.argv[1:])
"""


@pytest.fixture
def daemon(tier: Tier, workspace: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has a launcher and a tree of programs in a box."""
    process = subprocess.Popen(
        [sys.executable, "-c", DAEMON, tier, str(workspace), str(tmp_path)],
        env={"PYTHONPATH": os.pathsep.join((str(SRC), str(ROOT), *filter(None, sys.path)))},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    yield process
    process.kill()
    process.communicate()


def wait_until_dead(pids: list[int]) -> None:
    """Return when none of them runs."""
    for pid in pids:
        try:
            watched = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        poller = select.poll()
        poller.register(watched, select.POLLIN)
        ended = poller.poll(PLENTY * 1000)
        os.close(watched)
        assert ended, f"process {pid} still runs"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_daemon_dies_nothing_of_its_programs_is_left(
    daemon: subprocess.Popen[bytes], number: signal.Signals, workspace: Path
) -> None:
    below = descendants_of(daemon.pid)
    assert len(below) >= 4
    daemon.send_signal(number)
    daemon.wait(PLENTY)
    wait_until_dead(below)
    assert os.listdir(workspace) == []


async def test_a_zygote_that_was_stopped_for_a_while_loses_nothing(launcher: ZygoteLauncher, box: Box) -> None:
    ended: list[int] = []

    async def run() -> None:
        done = await launcher.run(box, ["/bin/sh", "-c", "exit 7"], cwd="", env=ENV, seconds=PLENTY, max_bytes=1000)
        ended.append(done.returncode)

    os.kill(launcher.zygote_pid, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert ended == []
        os.kill(launcher.zygote_pid, signal.SIGCONT)
    assert ended == [7, 7]


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """This process may open ``count`` more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(held.pop())
        yield
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_without_descriptors_a_start_is_refused_and_the_next_one_works(
    launcher: ZygoteLauncher, box: Box
) -> None:
    with few_descriptors(3), pytest.raises(LaunchError) as caught:
        await launcher.start(box, ["/bin/true"], cwd="", env=ENV)
    assert caught.value.code == "sandbox.no-pipe"
    done = await launcher.run(box, ["/bin/true"], cwd="", env=ENV, seconds=PLENTY, max_bytes=1000)
    assert done.returncode == 0


async def test_a_zygote_without_descriptors_says_so_and_goes_on(launcher: ZygoteLauncher, box: Box) -> None:
    pid = launcher.zygote_pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (12, limits[1]))
    try:
        with pytest.raises(LaunchError) as caught:
            await launcher.start(box, ["/bin/true"], cwd="", env=ENV)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert caught.value.code == "sandbox.not-started"
    done = await launcher.run(box, ["/bin/true"], cwd="", env=ENV, seconds=PLENTY, max_bytes=1000)
    assert done.returncode == 0
    assert launcher.zygote_pid == pid


async def test_a_folder_for_temporary_files_that_is_not_there_is_told(
    launcher: ZygoteLauncher, box: Box, tmp_path: Path, tier: Tier
) -> None:
    os.rmdir(tmp_path / "temporary")
    if tier == "l1":  # has temporary files of its own
        await launcher.run(box, ["/bin/true"], cwd="", env=ENV, seconds=PLENTY, max_bytes=1000)
        return
    with pytest.raises(LaunchError) as caught:
        await launcher.run(box, ["/bin/true"], cwd="", env=ENV, seconds=PLENTY, max_bytes=1000)
    assert caught.value.code == "sandbox.no-scratch"


# Run in a process of its own, which then says what a zygote in the same straits says.
STRAITS = """
import os, sys, json
sys.path.append(sys.argv[1])
from astrid.adapters.sandbox.cage import bpf, kernel, selftest
machine = kernel.machine()
denied = [machine.calls[name] for name in sys.argv[2:]]
program = [bpf.Instruction(bpf.LOAD, bpf.NUMBER_AT), *bpf.when_any(denied, bpf.fail_with(bpf.EPERM)), bpf.allow()]
kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.install_filter(bpf.assemble(program))
print(json.dumps(selftest.run()))
"""


@pytest.mark.parametrize(
    ("denied", "works"),
    [
        ((), {"l1", "l0"}),
        (("mount",), {"l0"}),
        (("pivot_root",), {"l0"}),
        (("mount_setattr",), {"l0"}),
        (("landlock_create_ruleset",), set[str]()),
        (("landlock_restrict_self",), set[str]()),
        (("capset",), set[str]()),
    ],
)
def test_a_tier_works_only_if_a_program_has_run_in_it(denied: tuple[str, ...], works: set[str]) -> None:
    """A machine that forbids a part, as containers do, has no tier that needs it, and says which part."""
    done = subprocess.run([sys.executable, "-c", STRAITS, str(SRC), *denied], capture_output=True, check=True)
    said = json.loads(done.stdout)
    here = {tier for tier, why in tiers().items() if not why}
    assert {tier for tier, why in said.items() if not why} == works & here
    for name in denied:
        assert any(name.split("_")[0] in why for why in said.values()), said


async def test_where_no_zygote_can_be_started_that_is_told_and_another_is_tried(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = starting.start_zygote

    def fail() -> NoReturn:
        raise starting.no_zygote("no room")

    monkeypatch.setattr(launcher_module, "start_zygote", fail)
    async with open_launcher(least="l0", never=(), temporary=tmp_path) as launcher:
        assert (launcher.tiers.works, [*launcher.tiers.why]) == ((), ["l1", "l0"])
        assert all("no room" in why for why in launcher.tiers.why.values())
        with pytest.raises(LaunchError) as caught:
            await launcher.start(box, ["/bin/true"], cwd="", env=ENV)
        assert caught.value.code == "sandbox.no-zygote"
        monkeypatch.setattr(launcher_module, "start_zygote", real)
        with trio.fail_after(PLENTY):
            while not launcher.tiers.works:  # noqa: ASYNC110 - another process makes it true
                await trio.sleep(0.01)
        done = await launcher.run(box, ["/bin/true"], cwd="", env=ENV, seconds=PLENTY, max_bytes=1000)
        assert done.returncode == 0


@pytest.mark.parametrize("said", [b"", b"{}", b"[]", b"no JSON", b'{"ev": "error"}'])
async def test_a_zygote_that_says_nothing_sensible_is_none(
    said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start() -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if said:
            theirs.send(said)
        theirs.close()
        return subprocess.Popen(["/bin/true"]), ours

    monkeypatch.setattr(launcher_module, "start_zygote", start)
    async with open_launcher(least="l0", never=(), temporary=tmp_path) as launcher:
        assert launcher.tiers.works == ()
        assert "before it said what works" in launcher.tiers.why["l0"]


async def test_what_fails_beside_a_launcher_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="of its own"):
        async with open_launcher(least="l0", never=(), temporary=tmp_path):
            raise starting.no_zygote("something of its own")
