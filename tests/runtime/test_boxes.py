"""Which box commands run in, and that those of a session do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, cast

import msgspec
import pytest

from astrid.adapters.sandbox.line import Tiers
from astrid.adapters.sandbox.shell import BoxedShell, NoShell
from astrid.adapters.workspace.shell import OpenShell
from astrid.box_ports import Box, Finished, Launcher
from astrid.core.answers import Verdict
from astrid.core.grants import Mode
from astrid.runtime.boxes import boxes, choose_shell, never_shown
from astrid.runtime.config import SandboxTable
from tests.fakes.runtime import call, running, turn

BOTH, LESSER, NONE = ("l1", "l0"), ("l0",), ()


@pytest.mark.parametrize(
    ("works", "least", "chosen"),
    [
        *[(BOTH, least, "l1") for least in ("l1", "l0", "none")],
        (LESSER, "l1", "refused"),
        *[(LESSER, least, "l0") for least in ("l0", "none")],
        *[(NONE, least, "refused") for least in ("l1", "l0")],
        (NONE, "none", "open"),
    ],
)
def test_commands_run_in_the_best_box_that_works_or_not_at_all(
    works: tuple[str, ...], least: Literal["l1", "l0", "none"], chosen: str
) -> None:
    shell = choose_shell(
        cast("Launcher", None), Tiers(works=works, why={"l1": "no mounts"}, landlock=7), SandboxTable(least=least)
    )
    match chosen:
        case "open":
            assert isinstance(shell, OpenShell)
        case "refused":
            assert isinstance(shell, NoShell)
            with pytest.raises(Exception, match=f"the least tier of a box is {least}.*l1: no mounts"):
                shell.check()
        case tier:
            assert isinstance(shell, BoxedShell)
            assert f"of tier {tier}" in shell.why


class Looking:
    """A launcher that keeps the box it is given."""

    def __init__(self) -> None:
        self.boxes: list[Box] = []

    async def run(self, box: Box, *_: object, **__: object) -> Finished:
        self.boxes.append(box)
        return Finished(returncode=0, stdout=b"", stderr=b"", truncated=False, stopped="")


async def test_a_command_may_use_what_the_configuration_says(tmp_path: Path) -> None:
    looking = Looking()
    table = SandboxTable(memory_mb=64, processes=9, growth_mb=3)
    shell = choose_shell(cast("Launcher", looking), Tiers(works=LESSER, why={}, landlock=7), table)
    folder = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        await shell.run(["true"], workspace=str(tmp_path), folder=folder, env={}, seconds=1, max_bytes=1)
    finally:
        os.close(folder)
    [box] = looking.boxes
    assert (box.memory_bytes, box.processes, box.growth_bytes) == (64 << 20, 9, 3 << 20)
    assert (box.limits["data"], box.limits["nproc"]) == (64 << 20, 9)


def test_secrets_are_named_by_where_they_lie_and_by_where_that_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home" / ".ssh").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    real = os.path.realpath(tmp_path)
    found = never_shown([str(tmp_path / "keys")])
    assert {f"{real}/keys", f"{real}/home/.ssh", f"{real}/elsewhere", f"{real}/home/.aws"} <= set(found)


def only(tier: str, tiers: Tiers) -> Tiers:
    """As if no other tier worked here."""
    if tier not in tiers.works:
        pytest.skip(f"no {tier} here: {tiers.why}")
    return msgspec.structs.replace(tiers, works=(tier,))


@pytest.mark.e2e
@pytest.mark.parametrize("tier", ["l1", "l0"])
async def test_a_command_that_a_person_approved_runs_in_the_box(tmp_path: Path, tier: str) -> None:
    (tmp_path / "outside").write_text("canary")
    line = f"echo made > made.txt; cat {tmp_path}/outside; echo x > {tmp_path}/new"
    async with (
        boxes("l0", [str(tmp_path / "home")]) as launcher,
        running(tmp_path, shell=choose_shell(launcher, only(tier, launcher.tiers), SandboxTable())) as runtime,
    ):
        await runtime.grant(Mode.SAFE)
        await runtime.open([turn(call("bash", command=f"bash -c {line!r}")), turn()], mode="safe")
        await runtime.attend()
        await runtime.say("go")
        asked = (await runtime.until("approval_needed"))[-1]
        assert await runtime.question(asked)
        await runtime.respond(asked, Verdict.ONCE)
        [told] = [one["result"] for one in await runtime.until("turn_complete") if one["event"] == "tool_call_result"]
    assert (tmp_path / "workspace" / "made.txt").read_text() == "made\n"
    assert "canary" not in told
    assert not (tmp_path / "new").exists()
