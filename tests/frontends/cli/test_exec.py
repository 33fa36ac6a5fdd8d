"""What ``astrid exec`` makes of its words and files before anything is started."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

import pytest

from astrid.errors import ConfigError, InputError
from astrid.frontends.cli import exec as command
from astrid.frontends.cli.given import read_tokens
from tests.fakes.daemon_home import Mode, grant_workspace, make_client_home


@pytest.fixture
def token(tmp_path: Path) -> bytes:
    home, aud = make_client_home(tmp_path / "home")
    (tmp_path / "ws").mkdir()
    return grant_workspace(home, aud, tmp_path / "ws", Mode.SAFE)


def file(tmp_path: Path, data: bytes, *, mode: int = 0o600, name: str = "tokens") -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_a_token_is_read_as_it_was_written_or_in_base64_a_line(tmp_path: Path, token: bytes) -> None:
    workspace = str(tmp_path / "ws")
    assert read_tokens(file(tmp_path, token), workspace) == (token,)
    lines = base64.b64encode(token) + b"\n\n" + base64.b64encode(token) + b"\n"
    assert read_tokens(file(tmp_path, lines), workspace) == (token, token)


@pytest.mark.parametrize("data", [b"", b"\n", b"hello world!", b"====", b"AAAA\x00"])
def test_what_holds_no_token_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tokens(file(tmp_path, data), "/elsewhere")
    assert caught.value.code == "exec.approve-file"


def test_a_file_in_the_workspace_is_refused_however_it_is_reached(tmp_path: Path, token: bytes) -> None:
    inside = file(tmp_path, token, name="ws/tokens")
    link = tmp_path / "link"
    link.symlink_to(inside)
    for path in (inside, link):
        with pytest.raises(ConfigError) as caught:
            read_tokens(path, str(tmp_path / "ws"))
        assert caught.value.code == "exec.approve-inside"


def test_a_file_that_others_can_read_or_that_is_a_link_is_refused(tmp_path: Path, token: bytes) -> None:
    with pytest.raises(ConfigError):
        read_tokens(file(tmp_path, token, mode=0o644), "/elsewhere")
    link = tmp_path / "link"
    link.symlink_to(file(tmp_path, token))
    with pytest.raises(ConfigError):
        read_tokens(link, "/elsewhere")


def job(tmp_path: Path, *words: str) -> command.Job:
    home, _ = make_client_home(tmp_path / "home")
    (tmp_path / "ws").mkdir()
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command._job(parser.parse_args(["--workspace", str(tmp_path / "ws"), *words]), home)


def test_without_a_terminal_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_terminal", lambda: False)
    made = job(tmp_path, "go")
    assert (made.asks, made.present, made.tokens, made.mode, made.model) == (False, False, (), None, None)


def test_at_a_terminal_the_person_is_asked_unless_they_say_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_terminal", lambda: True)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert job(tmp_path / "one", "go").asks
    assert not job(tmp_path / "two", "go", "--approve", "never").asks


def test_the_name_of_a_script_is_made_absolute_since_the_daemon_works_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert job(tmp_path, "go", "--model", "scripted:a b.jsonl").model == f"scripted:{tmp_path / 'a b.jsonl'}"


def test_limits_are_taken_as_written(tmp_path: Path) -> None:
    made = job(tmp_path, "go", "--budget", "0.25", "--max-turns", "7", "--mode", "safe", "--approve", "never")
    assert (made.budget_micros, made.max_turns, made.mode) == (250_000, 7, Mode.SAFE)


@pytest.mark.parametrize("task", ["", " \n", "x" * 200_000])
def test_a_task_of_no_or_too_many_words_is_refused(tmp_path: Path, task: str) -> None:
    with pytest.raises(InputError) as caught:
        job(tmp_path, task, "--approve", "never")
    assert caught.value.code == "exec.task"


def test_a_missing_file_of_tokens_is_told_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tokens(tmp_path / "none", str(tmp_path / "workspace"))
    assert (caught.value.code, "astrid tokens grant --out" in caught.value.advice) == ("file.missing", True)
