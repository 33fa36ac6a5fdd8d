"""``astrid instructions``: what instructs a session, and trusting exactly what was shown."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from astrid.errors import InputError
from astrid.frontends.cli import DENIED, DONE, instructions
from astrid.home import Home
from astrid.home.trust import TrustList
from tests.fakes.home import make_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made, _ = make_home(tmp_path / "home", now_s=1)
    monkeypatch.setenv("ASTRID_HOME", str(made.root))
    return made


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    (path / "AGENTS.md").write_text("Use tabs.\n")
    monkeypatch.chdir(path)
    return path


def astrid(*words: str) -> int:
    parser = argparse.ArgumentParser()
    instructions.add_arguments(parser)
    return instructions.run(parser.parse_args(words))


class Terminal(io.StringIO):
    """A person who types this."""

    def isatty(self) -> bool:
        return True


def types(patch: pytest.MonkeyPatch, text: str) -> None:
    patch.setattr("sys.stdin", Terminal(text))


def holds(home: Home, path: Path) -> bool:
    return TrustList(home).holds(os.fsencode(path), path.read_bytes())


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert astrid("list", "--json") == DONE
    return json.loads(capsys.readouterr().out)["instructions"]


def test_the_list_says_what_counts_what_is_trusted_and_what_is_left_out(
    home: Home, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "CLAUDE.md").symlink_to("AGENTS.md")
    home.instructions.write_text("mine")
    digest = hashlib.sha256(b"Use tabs.\n").hexdigest()
    assert [(os.path.basename(one["file"]), one["standing"]) for one in listed(capsys)] == [
        ("AGENTS.md", "untrusted"),
        ("CLAUDE.md", "left out"),
        ("ASTRID.md", "own"),
    ]
    assert astrid("list") == DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'untrusted "{workspace}/AGENTS.md", 10 bytes, sha256 {digest}'
    assert lines[1] == f'left out  "{workspace}/CLAUDE.md": it is a link'


def test_where_nothing_instructs_that_is_said(home: Home, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "AGENTS.md").unlink()
    astrid("list")
    assert capsys.readouterr().out == f'nothing instructs a session in "{workspace}"\n'


def test_a_person_trusts_what_they_were_shown(
    home: Home, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    types(monkeypatch, "y\n")
    assert astrid("trust") == DONE
    said = capsys.readouterr()
    assert "| Use tabs.\n" in said.err
    assert said.out == f'trusted "{workspace}/AGENTS.md"\n'
    assert holds(home, workspace / "AGENTS.md")


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yess\n"])
def test_anything_but_a_yes_trusts_nothing(
    home: Home, workspace: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    types(monkeypatch, answer)
    assert astrid("trust") == DENIED
    assert not holds(home, workspace / "AGENTS.md")


def test_what_changes_while_the_person_reads_is_not_trusted(
    home: Home, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Terminal):
        def readline(self, size: int | None = -1) -> str:
            (workspace / "AGENTS.md").write_text("Push everything.\n")
            return "y\n"

    monkeypatch.setattr("sys.stdin", Slow())
    assert astrid("trust") == DONE
    assert not holds(home, workspace / "AGENTS.md")
    assert TrustList(home).holds(os.fsencode(workspace / "AGENTS.md"), b"Use tabs.\n")


def test_what_is_shown_steers_no_terminal_and_hides_nothing(
    home: Home, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "AGENTS.md").write_text("\x1b[2J\r\u202e" + "\x01" * 30_000 + "THE END\n")
    types(monkeypatch, "n\n")
    astrid("trust")
    said = capsys.readouterr().err
    assert "\\u{1b}[2J\\u{d}\\u{202e}\\u{1}" in said
    assert "THE END\n" in said
    assert not set(said) & set("\x1b\r\x01\u202e")


def test_where_nobody_is_at_the_terminal_it_takes_a_word_of_its_own(
    home: Home, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(InputError) as caught:
        astrid("trust")
    assert caught.value.code == "instructions.no-terminal"
    assert not holds(home, workspace / "AGENTS.md")
    assert astrid("trust", "--yes", "--json") == DONE
    assert json.loads(capsys.readouterr().out) == {"trusted": [f"{workspace}/AGENTS.md"]}
    assert holds(home, workspace / "AGENTS.md")


def test_only_the_files_that_are_named_are_trusted(home: Home, workspace: Path) -> None:
    (workspace / "CLAUDE.md").write_text("c")
    assert astrid("trust", "CLAUDE.md", "--yes") == DONE
    assert (holds(home, workspace / "AGENTS.md"), holds(home, workspace / "CLAUDE.md")) == (False, True)


@pytest.mark.parametrize("name", ["README.md", "../work/src/AGENTS.md", "CLAUDE.md"])
def test_what_instructs_nobody_cannot_be_trusted(home: Home, workspace: Path, name: str) -> None:
    (workspace / "README.md").write_text("r")
    (workspace / "CLAUDE.md").symlink_to("README.md")
    with pytest.raises(InputError) as caught:
        astrid("trust", name, "--yes")
    assert caught.value.code == "instructions.unknown"
    assert not home.trusted.exists()


def test_when_all_is_trusted_there_is_nothing_to_ask(
    home: Home, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    astrid("trust", "--yes")
    capsys.readouterr()
    assert astrid("trust") == DONE
    assert capsys.readouterr().out.startswith("nothing to trust")


def test_trust_is_taken_back_also_of_a_file_that_is_gone(
    home: Home, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    astrid("trust", "--yes")
    (workspace / "AGENTS.md").unlink()
    assert astrid("untrust", "AGENTS.md") == DONE
    assert capsys.readouterr().out.splitlines()[-1] == f'untrusted "{workspace}/AGENTS.md"'
    with pytest.raises(InputError) as caught:
        astrid("untrust", "AGENTS.md")
    assert caught.value.code == "instructions.not-trusted"


def test_who_starts_a_session_is_told_what_is_not_trusted(home: Home, workspace: Path) -> None:
    said = instructions.advise_trust(home, str(workspace))
    assert said.startswith('not trusted here: "AGENTS.md"; ')
    astrid("trust", "--yes")
    assert instructions.advise_trust(home, str(workspace)) == ""
