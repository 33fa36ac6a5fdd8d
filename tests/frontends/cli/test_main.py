"""The command line's own part: help, usage, one line for every failure, and nothing loaded that is not needed."""

from __future__ import annotations

import argparse
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path

import pytest

from astrid.errors import ConfigError
from astrid.frontends import cli
from astrid.frontends.cli import COMMANDS, help_text, plain, run

SRC = Path(__file__).resolve().parents[3] / "src"


def command(monkeypatch: pytest.MonkeyPatch, act: object) -> None:
    """One command that does as a test wants."""
    module = types.ModuleType("astrid_command_of_a_test")
    module.add_arguments = lambda parser: parser.add_argument("words", nargs="*")  # type: ignore[attr-defined]
    module.run = act  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cli, "COMMANDS", {"try": (module.__name__, "see what happens")})


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there_and_describes_itself(name: str) -> None:
    module = import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert callable(module.run)
    assert parser.format_help()


def test_the_help_names_every_command_with_the_line_that_its_own_parser_shows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = help_text()
    for name, (_, says) in COMMANDS.items():
        assert f"  {name}" in text
        assert says in text
        with pytest.raises(SystemExit) as caught:
            run([name, "--help"])
        assert caught.value.code == 0
        own = " ".join(capsys.readouterr().out.split())
        assert f"{says[0].upper()}{says[1:]}." in own
        assert own.startswith(f"usage: astrid {name}")


def test_help_loads_no_event_loop_and_no_vendor_library() -> None:
    loaded = (
        "import sys; from astrid.frontends.cli import main; sys.argv = ['astrid', '--help']; main(); "
        "print([name for name in ('trio', 'msgspec', 'nacl', 'blake3', 'trio_websocket', 'argparse') "
        "if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", loaded],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [([], 2, "usage"), (["--help"], 0, "usage"), (["-h"], 0, "usage"), (["--version"], 0, "astrid ")],
)
def test_what_needs_no_command(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == code
    out, err = capsys.readouterr()
    assert said in (err if code else out)


def test_an_unknown_command_is_a_usage_error_and_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["\x1b[2Jfly"]) == 2
    assert capsys.readouterr().err == "astrid: there is no command `\\u{1b}[2Jfly`; see `astrid --help`\n"


def test_a_failure_is_one_line_and_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise ConfigError("home.missing", "nothing\nthere \u202e", advice="run `astrid init`")

    command(monkeypatch, fail)
    assert run(["try"]) == 1
    assert capsys.readouterr().err == "astrid: nothing\\u{a}there \\u{202e} [home.missing]; run `astrid init`\n"


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt()])], ids=["bare", "group"]
)
def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def interrupted(_: argparse.Namespace) -> int:
        raise error

    command(monkeypatch, interrupted)
    assert run(["try"]) == 130


def test_the_commands_own_code_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, lambda _: 3)
    assert run(["try", "a", "b"]) == 3


def test_a_bug_is_not_hidden_from_those_who_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: argparse.Namespace) -> int:
        raise LookupError("secret")

    command(monkeypatch, broken)
    with pytest.raises(LookupError):
        run(["try"])


def test_a_bug_is_shown_to_a_person_by_its_place_alone(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise LookupError("sk-secret")
    except LookupError as error:
        cli._say_where(type(error), error, error.__traceback__)
    told = capsys.readouterr().err
    assert told.startswith("astrid: a bug in astrid: LookupError at ")
    assert "sk-secret" not in told


def test_an_interrupt_while_python_begins_or_ends_is_told_as_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        cli._say_where(type(error), error, error.__traceback__)
    assert capsys.readouterr().err == ""


def test_plain_text_stays_and_everything_else_is_spelt_out() -> None:
    assert plain("héllo wörld 你好 `x`") == "héllo wörld 你好 `x`"
    assert plain("a\tb\nc\x00\x7f\u200b\u2028\ue000") == "a\\u{9}b\\u{a}c\\u{0}\\u{7f}\\u{200b}\\u{2028}\\u{e000}"
