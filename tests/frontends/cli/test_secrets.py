"""``astrid secrets``: a value comes from a prompt or a pipe, and never comes out again."""

from __future__ import annotations

import argparse
import getpass
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrid.errors import AstridError
from astrid.frontends.cli import secrets
from astrid.home import Home, Secrets, open_home

VALUE = b"correct horse battery"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("ASTRID_HOME", str(tmp_path / "home"))
    return open_home(tmp_path / "home", make=True)


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    secrets.add_arguments(parser)
    return secrets.run(parser.parse_args(words))


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    answers: Iterator[str] = iter(lines)

    def ask(_prompt: str, **_options: object) -> str:
        for line in answers:
            return line
        raise EOFError

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", ask)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_value_is_read_from_a_pipe(home: Home, monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    piped(monkeypatch, VALUE + end)
    assert run("set", "token") == 0
    assert Secrets(home).value("token") == VALUE


def test_a_value_is_typed_twice(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, VALUE.decode(), VALUE.decode())
    assert run("set", "token") == 0
    assert Secrets(home).value("token") == VALUE


@pytest.mark.parametrize(("lines", "code"), [(("a", "b"), "secrets.typed"), ((), "secrets.no-value")])
def test_what_is_not_typed_the_same_twice_is_not_kept(
    home: Home, monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...], code: str
) -> None:
    typed(monkeypatch, *lines)
    with pytest.raises(AstridError) as caught:
        run("set", "token")
    assert caught.value.code == code
    assert Secrets(home).names() == []


def test_no_value_is_taken_from_the_command_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("set", "token", VALUE.decode())
    capsys.readouterr()
    assert Secrets(home).names() == []


@pytest.mark.parametrize("as_json", [True, False])
def test_names_are_all_that_is_said(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    flags = ["--json"] if as_json else []
    said: list[str] = []
    for words in (["set", "token"], ["set", "token"], ["list"], ["remove", "token"], ["list"]):
        piped(monkeypatch, VALUE)
        assert run(*words, *flags) == 0
        said.append(capsys.readouterr().out)
    if as_json:
        assert [json.loads(one) for one in said] == [
            {"name": "token", "replaced": False},
            {"name": "token", "replaced": True},
            {"secrets": ["token"]},
            {"name": "token", "removed": True},
            {"secrets": []},
        ]
    else:
        assert said == ["kept\n", "replaced\n", "token\n", "removed\n", ""]
