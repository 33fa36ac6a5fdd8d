"""Launchers on machines that lack something, and workspaces in odd places: a clear outcome, and nothing left behind.

Each runs in a process of its own, in a namespace where the machine is made so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrid.adapters.sandbox.launcher import ZygoteLauncher
from astrid.adapters.workspace.shell import OWN_RIGHTS
from astrid.adapters.workspace.tools import WorkspaceTools
from astrid.box_ports import Box, Tier
from astrid.core.protected import OCCUPIED
from astrid.runtime.boxes import BoxedShell
from tests.adapters.sandbox.conftest import ENV, tiers
from tests.adapters.sandbox.test_launcher import nothing_left, shell
from tests.architecture.source import ROOT, SRC
from tests.fakes.workspace_bench import Bench

pytestmark = pytest.mark.e2e

SCENE = """
import json, os, sys, trio
from astrid.adapters.sandbox.profile import build_box
from astrid.errors import AstridError
from astrid.runtime.boxes import boxes

async def main(workspace, line):
    said = {}
    folder = os.open(workspace, os.O_PATH)
    async with boxes("l0", []) as launcher:
        for tier in ("l1", "l0"):
            box = build_box(tier, workspace, folder)
            argv = ["/bin/sh", "-c", line]
            try:
                done = await launcher.run(box, argv, cwd="", env={"PATH": "/bin"}, seconds=30, max_bytes=1000)
                said[tier] = {"out": done.stdout.decode(), "err": done.stderr.decode()}
            except AstridError as error:
                said[tier] = {"code": error.code, "message": error.message, "advice": error.advice}
    print(json.dumps({**said, "left": sorted(os.listdir(workspace))}))

trio.run(main, *sys.argv[1:])
"""


@cache
def can_change_the_machine() -> bool:
    """Whether there may be a namespace in which mounts are changed."""
    unshare = shutil.which("unshare")
    return unshare is not None and not subprocess.run([unshare, "-Urm", "true"], check=False).returncode


def on_a_machine(change: str, workspace: Path, line: str = "echo made > made; echo yes") -> dict[str, Any]:
    """What each tier says of ``line`` where ``change`` was made, and what is in the workspace afterwards."""
    if not can_change_the_machine():
        pytest.skip("no namespace can be made here")
    script = f'{change} && cd "$1" && exec "$0" -c "$2" "$1" "$3"'
    command = ["unshare", "-Urm", "sh", "-c", script, sys.executable, str(workspace), SCENE, line]
    path = os.pathsep.join((str(SRC), str(ROOT), *filter(None, sys.path)))
    env = {**ENV, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def works(tier: str) -> bool:
    return not tiers()[tier]


@pytest.mark.parametrize(
    ("change", "missing", "why"),
    [
        ("true", (), ""),
        ("echo 0 > /proc/sys/user/max_user_namespaces", ("l1",), "'clone'"),
        ("mount -t tmpfs none /proc", ("l1", "l0"), "/proc/self"),
    ],
)
def test_what_a_machine_forbids_is_named_and_what_it_allows_works(
    workspace: Path, change: str, missing: tuple[str, ...], why: str
) -> None:
    said = on_a_machine(change, workspace)
    for tier in filter(works, ("l1", "l0")):
        if tier not in missing:
            assert said[tier]["out"] == "yes\n"
            continue
        assert said[tier]["code"] == "sandbox.tier"
        assert why in said[tier]["message"]
        assert "astrid doctor" in said[tier]["advice"]
    assert said["left"] == (["made"] if set(filter(works, ("l1", "l0"))) - set(missing) else [])


@pytest.mark.parametrize("read_only", [("/tmp",), ("/tmp", "/var/tmp")])  # noqa: S108 - nothing is put there
def test_where_no_temporary_file_can_be_made_that_is_told_and_the_workspace_is_not_used_for_them(
    workspace: Path, read_only: tuple[str, ...]
) -> None:
    # The workspace, which may lie below, stays writable.
    mounts = [f"mount --rbind {one} {one} && mount -o remount,bind,ro {one}" for one in read_only]
    change = " && ".join((f"mount --bind {workspace} {workspace}", *mounts))
    said = on_a_machine(change, workspace, "mktemp")
    if works("l1"):  # has temporary files of its own
        assert said["l1"]["err"] == ""
    if works("l0") and len(read_only) > 1:
        assert said["l0"]["code"] == "sandbox.no-scratch"
        assert "Read-only" in said["l0"]["message"]
    elif works("l0"):
        assert said["l0"]["out"].startswith("/var/tmp/astrid-run-")  # noqa: S108 - the folder is the program's alone
    assert said["left"] == []


def test_a_workspace_on_another_mount_is_one_like_any_other(workspace: Path) -> None:
    said = on_a_machine(f"mount -t tmpfs none {workspace}", workspace, "echo made > made; cat made ../outside")
    for tier in filter(works, ("l1", "l0")):
        assert said[tier]["out"] == "made\n"
    assert said["left"] == ["made"]
    assert os.listdir(workspace) == []  # it was written there, and not below


def test_what_is_protected_in_a_workspace_is_so_on_a_mount_of_its_own(workspace: Path) -> None:
    (workspace / ".git").mkdir()
    change = f"mount -t tmpfs none {workspace}/.git && mkdir {workspace}/.git/hooks && : > {workspace}/.git/config"
    line = "echo x > .git/config; echo x > .git/hooks/pre-commit; mv .git other; echo x > .git/data; cat .git/config"
    said = on_a_machine(change, workspace, line)
    if works("l1"):
        assert said["l1"]["out"] == ""
        assert said["l1"]["err"].count("Read-only file system") == 2
    if works("l0"):
        assert said["l0"]["out"] == "x\n"  # that tier protects no names
    assert said["left"] == [".git"]


async def test_a_workspace_that_is_named_by_a_link_is_the_folder_behind_it(
    launcher: ZygoteLauncher, tier: Tier, workspace: Path, tmp_path: Path
) -> None:
    link, home = tmp_path / "link", tmp_path / "home"
    link.symlink_to(workspace)
    home.mkdir()
    shell = BoxedShell(launcher, tier)
    tools = WorkspaceTools(link, home=home, profile=bytes(OWN_RIGHTS), shell=shell, hidden=lambda _: False)
    try:
        bench = Bench(link, home, tools, set())
        assert await bench.text("bash", command="pwd; echo made > made") == str(workspace)
    finally:
        tools.close()
    assert os.listdir(workspace) == ["made"]


ENDLESS = {
    "forks a thousand times": ("i=0; while [ $i -lt 1000 ]; do sleep 1000 & i=$((i+1)); done; wait", "processes"),
    "writes without end": ("while :; do head -c 1000000 /dev/zero >> file; done", "disk"),
    "prints without end": ("yes", "output"),
    "ignores the polite signal": ("trap '' TERM INT HUP; while :; do sleep 0.01; done", "time"),
    "leaves many behind": ("i=0; while [ $i -lt 50 ]; do (setsid sleep 1000 &); i=$((i+1)); done", ""),
    "ends by a signal": ("kill -SEGV $$", ""),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_whatever_a_program_does_nothing_of_it_or_of_us_is_left(
    launcher: ZygoteLauncher, box: Box, workspace: Path, what: str
) -> None:
    script, limit = ENDLESS[what]
    seconds = 1.0 if limit == "time" else 30.0
    small = msgspec.structs.replace(box, processes=100, growth_bytes=20_000_000, limits={**box.limits, "nproc": 5000})
    stubs = "for name in .git/hooks .mcp.json; do [ -d $name ] && echo $name; done;"
    seen = await shell(launcher, small, stubs)
    assert bool(seen.stdout) is (box.tier == "l1")  # they are there while it runs
    with nothing_left():
        done = await shell(launcher, small, script, seconds=seconds, max_bytes=1000)
    if limit == "processes" and not done.stopped:
        assert b"fork" in done.stderr  # the kernel was quicker than the watch
    else:
        assert done.stopped == limit
    assert set(os.listdir(workspace)) <= {"file"}
    assert not [name for name in OCCUPIED if (workspace / name).exists()]
    if what == "ends by a signal":
        assert done.returncode == -11
