"""``astrid sandbox`` from its command line to its exit code, with real programs in a real box."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.adapters.sandbox.conftest import tiers
from tests.fakes.processes import ASTRID, Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]


@pytest.fixture
def boxed(place: Place) -> Place:
    if "" not in tiers().values():
        pytest.skip(f"no tier works here: {tiers()}")
    return place


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_the_exit_code_is_the_programs(boxed: Place, script: str, code: int) -> None:
    assert boxed.astrid("sandbox", "run", "--", "sh", "-c", script).returncode == code


def test_the_program_has_our_streams(boxed: Place) -> None:
    done = boxed.astrid("sandbox", "run", "--", "sh", "-c", "cat; echo err >&2", input="in\n" * 100_000)
    assert (done.stdout, done.stderr, done.returncode) == ("in\n" * 100_000, "err\n", 0)


def test_a_program_that_wants_no_input_does_not_wait_for_it(boxed: Place) -> None:
    reads, writes = os.pipe()
    try:
        assert boxed.astrid("sandbox", "run", "--", "echo", "over", stdin=reads).stdout == "over\n"
    finally:
        os.close(reads)
        os.close(writes)


def test_when_the_reader_has_left_the_program_hears_of_it(boxed: Place) -> None:
    options = boxed.options()
    for name in ("capture_output", "timeout"):
        del options[name]
    command = [*ASTRID, "sandbox", "run", "--", "yes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "y\n"
        process.stdout.close()
        assert (process.wait(30), process.stderr.read()) == (141, "")


def test_what_follows_the_dashes_is_the_programs(boxed: Place) -> None:
    done = boxed.astrid("sandbox", "run", "--", "printf", "%s.", "--json", "--", "-h")
    assert done.stdout == "--json.--.-h."


def test_the_program_reaches_its_workspace_and_neither_the_home_nor_other_files(boxed: Place) -> None:
    (boxed.root / "outside").write_text("canary")
    script = f"echo x > made; cat {boxed.root}/outside {boxed.home.root}/keys/* ; echo x > {boxed.root}/new; ls -a ~"
    done = boxed.astrid("sandbox", "run", "--", "sh", "-c", script)
    assert (boxed.workspace / "made").read_text() == "x\n"
    assert "canary" not in done.stdout
    assert not (boxed.root / "new").exists()
    assert done.stdout.split() == [".", ".."]


def test_a_host_that_is_allowed_is_asked_for_through_the_way_out_alone(boxed: Place) -> None:
    if tiers()["l1"]:
        pytest.skip(f"no tier l1 here: {tiers()['l1']}")
    allowed = ("--allow-host", "localhost:9", "--show-connections")
    fetch = "curl -sS http://localhost:9/; curl -sS http://other.example/; curl -sS --noproxy '*' http://127.0.0.1:9/"
    done = boxed.astrid("sandbox", "run", *allowed, "--", "sh", "-c", fetch)
    listed, other = done.stdout.splitlines()
    # A name that leads to this machine is not reached though it is listed; nor is it where it leads nowhere.
    assert listed in ("astrid: egress.address", "astrid: egress.no-address")
    assert other == "astrid: egress.not-listed"
    told = [line for line in done.stderr.splitlines() if line.startswith("connection to")]
    assert [line.split(":")[0] for line in told] == ["connection to localhost", "connection to other.example"]
    assert "curl: (7)" in done.stderr


def test_what_is_no_host_is_said_and_nothing_runs(boxed: Place) -> None:
    done = boxed.astrid("sandbox", "run", "--allow-host", "a_b", "--", "touch", "made")
    assert (done.returncode, "[pattern.host]" in done.stderr) == (1, True)
    assert not (boxed.workspace / "made").exists()


def test_that_commands_may_do_without_a_box_is_no_leave_for_this(boxed: Place) -> None:
    boxed.home.config.write_text('[sandbox]\nleast = "none"\n')
    (boxed.root / "outside").write_text("canary")
    done = boxed.astrid("sandbox", "run", "--", "cat", str(boxed.root / "outside"))
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--", "no-such-program"), "sandbox.not-started"),
        (("--workspace", "/no/such", "--", "ls"), "workspace.missing"),
    ],
)
def test_what_cannot_be_run_is_told_in_a_line(boxed: Place, arguments: tuple[str, ...], code: str) -> None:
    done = boxed.astrid("sandbox", "run", *arguments)
    assert (done.returncode, done.stdout, f"[{code}]" in done.stderr) == (1, "", True)
    assert done.stderr.count("\n") == 1


def test_the_folder_that_holds_the_home_is_no_workspace(boxed: Place) -> None:
    done = boxed.astrid("sandbox", "run", "--workspace", str(boxed.home.root.parent), "--", "ls")
    assert (done.returncode, "[workspace.home-inside]" in done.stderr) == (1, True)


def test_what_the_box_is_says_each_tier_and_each_name_that_is_protected(boxed: Place) -> None:
    (boxed.workspace / "AGENTS.md").write_text("be kind")
    found = json.loads(boxed.astrid("sandbox", "explain", "--json").stdout)
    assert {one["tier"]: one["why"] for one in found["tiers"]} == tiers()
    assert (found["least"], found["workspace"]) == ("l0", os.path.realpath(boxed.workspace))
    assert str(Path(os.path.realpath(boxed.home.root))) in found["never"]
    assert ("AGENTS.md" in found["protected"]) is (found["tier"] == "l1")
