"""How what a program sees is mounted; Landlock refuses much of it again, so the flags are looked at themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from astrid.adapters.sandbox.cage.newroot import DEVICES
from astrid.adapters.sandbox.launcher import ZygoteLauncher
from astrid.adapters.sandbox.profile import build_box
from astrid.box_ports import Box
from tests.adapters.sandbox.conftest import ENV, tiers

pytestmark = pytest.mark.e2e
PLENTY = 30.0


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """A folder that the box shows, with one in it that is shown as well."""
    folder = tmp_path.resolve() / "shown"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "file").write_text("to be read")
    return folder


@pytest.fixture
def box(workspace: Path, shown: Path, tmp_path: Path) -> Iterator[Box]:
    """Everything that can lie in something else does."""
    if why := tiers()["l1"]:
        pytest.skip(f"no tier l1 here: {why}")
    for name in ("kept", "given"):
        (workspace / name).mkdir()
    (tmp_path / "given" / "kept").mkdir(parents=True)
    folder = os.open(workspace, os.O_PATH | os.O_DIRECTORY)
    given = tmp_path.resolve() / "given"
    read = (str(shown), str(shown / "deep" / "er"), str(shown / "file"), f"{given}/kept", f"{workspace}/kept")
    one = build_box("l1", str(workspace), folder)
    run = (*one.run, "/usr/lib", "/usr/bin")
    yield msgspec.structs.replace(one, run=run, read=(*one.read, *read), write=(str(given),))
    os.close(folder)


async def told(launcher: ZygoteLauncher, box: Box, script: str) -> str:
    done = await launcher.run(box, ["/bin/sh", "-c", script], cwd="", env=ENV, seconds=PLENTY, max_bytes=1 << 20)
    assert done.returncode == 0, done
    return done.stdout.decode()


async def test_what_is_not_the_programs_own_is_read_only_and_nothing_is_set_uid(
    launcher: ZygoteLauncher, box: Box, workspace: Path
) -> None:
    lines = (await told(launcher, box, "cat /proc/self/mountinfo")).splitlines()
    mounts = {line.split()[4]: set(line.split()[5].split(",")) for line in lines}
    own = {str(workspace), *box.write, "/tmp", "/dev/shm", "/dev/pts", "/proc", *DEVICES}  # noqa: S108 - names
    assert {path for path, flags in mounts.items() if "ro" not in flags} == own
    assert {*box.read[-5:], "/usr/lib", "/usr", "/", "/proc/sys"} <= mounts.keys()
    assert [path for path, flags in mounts.items() if "nosuid" not in flags] == []
    assert {path for path, flags in mounts.items() if "nodev" not in flags} == {"/dev/pts", *DEVICES}
    no_run = {"/dev/shm", "/proc", *DEVICES}  # noqa: S108 - names
    assert {path for path, flags in mounts.items() if "noexec" in flags} >= no_run


async def test_nothing_of_the_disk_is_there_but_what_is_shown(launcher: ZygoteLauncher, box: Box, shown: Path) -> None:
    there = await told(launcher, box, f"cat {shown}/file; ls / {shown} {shown.parent}")
    assert there.startswith("to be read")
    assert set(there.split()[3:]) <= {
        *("/:", "bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "nix", "gnu", "proc", "sbin", "tmp", "usr"),
        *(f"{shown}:", f"{shown.parent}:", "deep", "file", "given", "shown", "workspace"),
        *shown.parts,
    }
