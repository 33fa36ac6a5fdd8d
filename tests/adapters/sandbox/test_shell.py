"""The shells that commands of a session run in, with a launcher for real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrid.adapters.sandbox.launcher import ZygoteLauncher
from astrid.adapters.sandbox.line import Tiers
from astrid.adapters.sandbox.profile import Caps
from astrid.adapters.sandbox.shell import BoxedShell, NoShell
from astrid.box_ports import Finished, Shell, Tier
from astrid.errors import LaunchError
from tests.adapters.sandbox.conftest import ENV

pytestmark = pytest.mark.e2e

PLENTY = 30.0


@pytest.fixture
def folder(workspace: Path) -> Iterator[int]:
    opened = os.open(workspace, os.O_PATH | os.O_DIRECTORY)
    yield opened
    os.close(opened)


async def run(shell: Shell, workspace: Path, folder: int, line: str) -> Finished:
    argv = ["/bin/bash", "-c", line]
    return await shell.run(argv, workspace=str(workspace), folder=folder, env=ENV, seconds=PLENTY, max_bytes=100_000)


async def test_a_line_works_in_the_workspace_and_reaches_nothing_outside(
    launcher: ZygoteLauncher, tier: Tier, workspace: Path, folder: int, secret: Path
) -> None:
    outside = workspace.parent / "outside"
    outside.write_text("canary")
    line = f"pwd; echo made > file; cat {outside} {secret}/key; echo x > {workspace.parent}/new; echo end"
    done = await run(BoxedShell(launcher, tier), workspace, folder, line)
    assert done.stdout.decode().splitlines() == [str(workspace), "end"]
    assert (workspace / "file").read_text() == "made\n"
    assert not (workspace.parent / "new").exists()


async def test_what_became_a_protected_name_since_the_last_line_is_protected_in_the_next(
    launcher: ZygoteLauncher, tier: Tier, workspace: Path, folder: int
) -> None:
    if tier == "l0":
        pytest.skip("tier l0 protects no names")
    shell = BoxedShell(launcher, tier)
    assert (await run(shell, workspace, folder, "true")).returncode == 0
    (workspace / "AGENTS.md").write_text("a person's words")
    assert (await run(shell, workspace, folder, "echo obey > AGENTS.md")).returncode != 0
    assert (workspace / "AGENTS.md").read_text() == "a person's words"


async def test_another_tier_is_another_profile_and_is_told_to_who_is_asked(launcher: ZygoteLauncher) -> None:
    one, other = BoxedShell(launcher, "l1"), BoxedShell(launcher, "l0")
    assert len({one.profile, other.profile, NoShell("").profile}) == 3
    assert ("of tier l1" in one.why, "of tier l0" in other.why) == (True, True)
    assert "hooks" in other.why  # what that tier does not keep


async def test_a_model_is_told_whether_hosts_can_be_named(launcher: ZygoteLauncher) -> None:
    one, other = BoxedShell(launcher, "l1"), BoxedShell(launcher, "l0")
    assert (one.lets_out, other.lets_out, NoShell("").lets_out) == (True, False, False)
    assert "say in hosts which ones, and a person is asked" in one.about
    assert "hosts cannot be given" in other.about


async def test_a_tier_that_works_no_more_is_not_replaced_by_another(
    launcher: ZygoteLauncher, workspace: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = BoxedShell(launcher, "l1")
    monkeypatch.setattr(launcher, "_tiers", Tiers(works=("l0",), why={"l1": "gone"}, landlock=7))
    with pytest.raises(LaunchError, match="gone") as caught:
        await run(shell, workspace, folder, "touch made")
    assert (caught.value.code, caught.value.effect, os.listdir(workspace)) == ("sandbox.tier", "none", [])


async def test_without_a_box_nothing_runs_and_the_reason_is_told(workspace: Path, folder: int) -> None:
    shell = NoShell("the kernel has no Landlock")
    with pytest.raises(LaunchError, match="the kernel has no Landlock") as refused:
        shell.check()
    with pytest.raises(LaunchError) as caught:
        await run(shell, workspace, folder, "touch made")
    assert (refused.value.code, caught.value.code, caught.value.effect) == (
        "sandbox.no-tier",
        "sandbox.no-tier",
        "none",
    )
    assert os.listdir(workspace) == []


@pytest.mark.parametrize(
    ("line", "caps", "limit"),
    [
        ("head -c 20M /dev/zero > big; sleep 60", Caps(growth_bytes=1 << 20), "disk"),
        ("for i in $(seq 20); do sleep 60 & done; wait", Caps(processes=8), "processes"),
        (
            "for i in 1 2 3; do python3 -c 'import time; x = bytearray(60 << 20); time.sleep(60)' & done; wait",
            Caps(memory_bytes=100 << 20),
            "memory",
        ),
    ],
)
async def test_a_line_that_takes_more_than_it_may_is_ended_and_the_limit_is_named(
    launcher: ZygoteLauncher, tier: Tier, workspace: Path, folder: int, line: str, caps: Caps, limit: str
) -> None:
    done = await run(BoxedShell(launcher, tier, caps), workspace, folder, line)
    if limit == "processes" and not done.stopped:
        assert b"Resource temporarily unavailable" in done.stderr  # the kernel was quicker than the watch
    else:
        assert done.stopped == limit
