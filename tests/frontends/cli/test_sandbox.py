"""What ``astrid sandbox`` and ``astrid doctor`` say of the box."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from astrid.errors import LaunchError
from astrid.frontends.cli import doctor, run, sandbox
from astrid.wire.boxes import BoxLimit, BoxReport, TierReport

HERE = BoxReport(
    tier="l0",
    least="l0",
    tiers=(TierReport(tier="l1", why="[Errno 1] no \x1b[2Jnamespaces"), TierReport(tier="l0", why="")),
    landlock=7,
    groups="no \x1b[2Jgroups",
    workspace="/w\nnetwork: all",
    run=("/usr",),
    read=("/etc/hosts",),
    protected=(".git/hooks",),
    limits=(BoxLimit(name="nofile", most=3),),
    never=("/h/.ssh",),
)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[BoxReport]:
    """What the process that looks says: the last of these."""
    reports = [HERE]
    monkeypatch.setenv("ASTRID_HOME", str(tmp_path / "none"))
    monkeypatch.setattr(sandbox, "explain_box", lambda *_: (0, msgspec.json.encode(reports[-1]).decode()))
    return reports


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["sandbox", "explain", *arguments]) == 0
    return capsys.readouterr().out


def test_everything_that_a_program_sees_is_told(told: list[BoxReport], capsys: pytest.CaptureFixture[str]) -> None:
    del told
    text = explained(capsys)
    for part in (
        "of tier l0",
        "tier l0: works",
        "a watch holds",
        "/usr",
        "/etc/hosts",
        ".git/hooks",
        "nofile 3",
        "/h/.ssh",
        "  none",
    ):
        assert part in text


def test_a_box_without_landlock_is_that_of_macos(told: list[BoxReport], capsys: pytest.CaptureFixture[str]) -> None:
    assert "sandbox-exec" not in explained(capsys)
    told.append(msgspec.structs.replace(HERE, landlock=0))
    assert "sandbox-exec" in explained(capsys)


def test_no_name_steers_the_terminal_or_adds_a_line(told: list[BoxReport], capsys: pytest.CaptureFixture[str]) -> None:
    del told
    text = explained(capsys)
    assert "\x1b" not in text
    assert "\nnetwork: all" not in text


def test_as_json_it_is_the_same(told: list[BoxReport], capsys: pytest.CaptureFixture[str]) -> None:
    assert msgspec.json.decode(explained(capsys, "--json"), type=BoxReport) == told[-1]


@pytest.mark.parametrize(
    ("tier", "says", "state"),
    [
        ("l1", "tier l1", "ok"),
        ("l0", "tier l0", "warn"),
        ("none", "own rights", "warn"),
        ("refused", "no command", "warn"),
    ],
)
def test_the_doctor_says_what_holds_commands_and_why_a_tier_does_not_work(
    told: list[BoxReport], capsys: pytest.CaptureFixture[str], tier: str, says: str, state: str
) -> None:
    told.append(msgspec.structs.replace(HERE, tier=tier))
    run(["doctor", "--json"])
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert says in found["sandbox"]["detail"]
    assert (found["sandbox"]["state"], found["tier l1"]["state"], found["tier l0"]["state"]) == (state, "warn", "ok")
    assert "namespaces" in found["tier l1"]["detail"]
    assert ("limits" in found) == (tier in ("l1", "l0"))


def test_it_is_said_what_holds_all_processes_of_a_program_together(
    told: list[BoxReport], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "a watch holds" in explained(capsys)
    assert "groups\n" in explained(capsys)
    told.append(msgspec.structs.replace(HERE, groups=""))
    assert "the kernel holds" in explained(capsys)


@pytest.mark.parametrize("said", ["", "{}", '{"tier": "best"}', "[]", "no JSON"])
def test_an_answer_that_is_none_is_a_failure_and_no_box(
    said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASTRID_HOME", str(tmp_path))
    monkeypatch.setattr(sandbox, "explain_box", lambda *_: (1, said))
    assert run(["sandbox", "explain"]) == 1
    assert "[sandbox.unexplained]" in capsys.readouterr().err
    run(["doctor", "--json"])
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found["sandbox"]["state"] == "fail"


class BecameError(Exception):
    """Instead of another process."""


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def replaced(*arguments: object) -> None:
        raise BecameError(*arguments)

    monkeypatch.setenv("ASTRID_HOME", str(tmp_path))
    monkeypatch.setattr(os, "execve", replaced)


@pytest.mark.usefixtures("become")
def test_a_program_is_run_by_a_process_that_this_one_becomes(tmp_path: Path) -> None:
    with pytest.raises(BecameError) as caught:
        run(["sandbox", "run", "--workspace", "/w", "--", "ls", "--", "-l"])
    _, command, environment = caught.value.args
    assert command[-8:] == ["astrid.daemon", "box", "--workspace", "/w", "--", "ls", "--", "-l"]
    assert environment["ASTRID_HOME"] == str(tmp_path)


@pytest.mark.usefixtures("become")
def test_the_hosts_that_are_allowed_are_handed_on_each_as_one_word() -> None:
    allowed = ["--allow-host", "a.example", "--allow-host=--b", "--show-connections"]
    with pytest.raises(BecameError) as caught:
        run(["sandbox", "run", *allowed, "--", "ls", "--allow-host", "c.example"])
    command = caught.value.args[1]
    given = command[command.index("box") + 3 : command.index("--")]
    assert given == ["--allow-host=a.example", "--allow-host=--b", "--show-connections"]
    assert command[command.index("--") :] == ["--", "ls", "--allow-host", "c.example"]


def test_a_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise OSError(12, "no memory")

    monkeypatch.setattr(os, "execve", fail)
    with pytest.raises(LaunchError, match="the box cannot be started: no memory"):
        sandbox.become_boxed(doctor.Home(tmp_path), tmp_path, ["ls"])
