"""What a program cannot change or see although it lies in its workspace; needs mounts, so ``l1``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from astrid.adapters.sandbox.launcher import ZygoteLauncher, open_launcher
from astrid.adapters.sandbox.profile import build_box
from astrid.box_ports import Box
from astrid.errors import LaunchError
from tests.adapters.sandbox.conftest import ENV, tiers

pytestmark = pytest.mark.e2e
PLENTY = 30.0


@pytest.fixture
def project(workspace: Path) -> Path:
    (workspace / ".git" / "hooks").mkdir(parents=True)
    (workspace / ".git" / "config").write_text("kept")
    (workspace / "AGENTS.md").symlink_to("CLAUDE.md")
    (workspace / "CLAUDE.md").write_text("kept")
    (workspace / ".cursor").symlink_to("/nowhere")
    return workspace


@pytest.fixture
def box(project: Path) -> Iterator[Box]:
    if why := tiers()["l1"]:
        pytest.skip(f"no tier l1 here: {why}")
    folder = os.open(project, os.O_PATH | os.O_DIRECTORY)
    yield build_box("l1", str(project), folder)
    os.close(folder)


def tree(folder: Path) -> dict[str, str]:
    """Everything below, with what it holds or where it leads."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        what = os.readlink(path) if path.is_symlink() else "" if path.is_dir() else path.read_text()
        found[str(path.relative_to(folder))] = what
    return found


async def run(launcher: ZygoteLauncher, box: Box, script: str) -> str:
    argv = ["/bin/bash", "-c", script]
    done = await launcher.run(box, argv, cwd="", env=ENV, seconds=PLENTY, max_bytes=10_000)
    return (done.stdout + done.stderr).decode()


ATTEMPTS = {
    "the parent is renamed away": "mv .git x; mkdir -p .git/hooks; echo x > .git/hooks/pre-commit",
    "the parent is exchanged": "mkdir other; mv -T --exchange other .git; rmdir other; rm -rf .git",
    "a hook is written": "echo x > .git/hooks/pre-commit; ln -s /bin/sh .git/hooks/post-commit",
    "the configuration is written": "echo x > .git/config; rm .git/config; mv .git/config .git/c; : > .git/config",
    "a missing name is made": "echo x > .mcp.json; mkdir -p .vscode; echo x > .vscode/tasks.json; rm -rf .mcp.json",
    "a missing name comes by a link": "ln -s CLAUDE.md .envrc; ln CLAUDE.md .env; mv CLAUDE.md .npmrc",
    "a link in the table is replaced": "rm AGENTS.md; ln -sf x AGENTS.md; echo x > AGENTS.md; mv AGENTS.md y",
    "a link to nowhere is replaced": "rm .cursor; mkdir .cursor; echo x > .cursor/mcp.json",
    "a mount is lifted": "umount .git/hooks; umount -l .git; mount -o remount,rw .git/config; unshare -Urm umount .git",
}


@pytest.mark.parametrize("what", ATTEMPTS)
async def test_nothing_protected_is_changed_moved_or_made(
    launcher: ZygoteLauncher, box: Box, project: Path, what: str
) -> None:
    before = tree(project)
    await run(launcher, box, ATTEMPTS[what])
    assert tree(project) == before


async def test_what_is_protected_can_still_be_read(launcher: ZygoteLauncher, box: Box) -> None:
    assert await run(launcher, box, "cat .git/config AGENTS.md CLAUDE.md") == "keptkeptkept"


async def test_a_name_stays_occupied_while_another_program_of_the_workspace_runs(
    launcher: ZygoteLauncher, box: Box, project: Path
) -> None:
    script = "echo up; read line; echo x > .mcp.json; rm -rf .mcp.json; mkdir .vscode/x"
    child = await launcher.start(box, ["/bin/sh", "-c", script], cwd="", env=ENV)
    try:
        with trio.fail_after(PLENTY):
            assert await child.stdout.receive_some() == b"up\n"
            await run(launcher, box, "true")  # it shares the names, and must not take them along
            assert (project / ".mcp.json").is_dir()
            await child.stdin.send_all(b"go\n")
            await child.wait()
    finally:
        await child.aclose()
    assert ".mcp.json" not in tree(project)


async def test_what_is_never_exposed_is_hidden_in_a_workspace_that_holds_it(
    box: Box, project: Path, tmp_path: Path
) -> None:
    keep(project)
    never = [str(project / name) for name in ("deep/keys", "token", "missing")]
    async with open_launcher(least="l0", never=never, temporary=tmp_path) as launcher:
        said = await run(
            launcher, box, "cat deep/keys/key token; ls deep/keys; mv deep k; rm -rf deep token; cat k/keys/key"
        )
        low = msgspec.structs.replace(box, tier="l0", protect=())
        with pytest.raises(LaunchError, match="cannot hide"):
            await run(launcher, low, "cat deep/keys/key")
    assert "canary" not in said
    assert {"deep/keys/key": "canary", "token": "canary"}.items() <= tree(project).items()


def keep(project: Path) -> None:
    (project / "deep" / "keys").mkdir(parents=True)
    (project / "deep" / "keys" / "key").write_text("canary")
    (project / "token").write_text("canary")
