"""What the pages for people say can be followed: links lead somewhere, commands exist, folders are named."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from astrid.adapters.llm.script import Condition, ResultCondition, ScriptedCall, ScriptedTurn, load_script
from astrid.frontends.cli import COMMANDS
from tests.architecture.source import ROOT, modules, project_files

PAGES = tuple(path for path in project_files() if path.suffix == ".md" and "workspace" not in path.parts)
LINK = re.compile(r"\[[^\]]+\]\((?!https?:)([^)#]+)[^)]*\)")
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^(?:\.venv/bin/)?astrid (?!COMMAND)(.+?)(?:  +#.*)?$", re.MULTILINE)
MAKE = re.compile(r"^make ([a-z]+)", re.MULTILINE)
# What a text tells somebody to type: `astrid tokens grant ...`.
TOLD = re.compile(r"`astrid ([a-z]+)(?: ([a-z][a-z-]+))?[^`]*`")
README = (ROOT / "README.md").read_text("utf-8")


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"astrid {command}", allow_abbrev=False)
    importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
    return parser


def actions_of(command: str) -> set[str]:
    groups = [one for one in parser_of(command)._actions if isinstance(one, argparse._SubParsersAction)]
    return {name for group in groups for name in group.choices}


def unknown_commands(text: str) -> list[str]:
    """Every command that ``text`` tells somebody to type and that does not exist."""
    found: list[str] = []
    for command, action in TOLD.findall(text):
        if command not in COMMANDS or (action and actions_of(command) and action not in actions_of(command)):
            found.append(f"astrid {command} {action}".strip())
    return found


def command_lines(page: str) -> Iterator[list[str]]:
    for block in FENCE.findall(page):
        yield from map(shlex.split, LINE.findall(block))


# ---- links and commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_something(page: Path) -> None:
    links = LINK.findall(page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_link_to_nothing_would_be_found() -> None:
    assert LINK.findall("see [this](no/such.md#part) and [that](https://example.com)") == ["no/such.md"]


def test_every_command_line_on_a_page_is_understood() -> None:
    assert len(list(command_lines(README))) >= 5
    for page in PAGES:
        for command, *arguments in command_lines(page.read_text("utf-8")):
            parser_of(command).parse_args(arguments)


def test_a_command_line_that_is_not_understood_would_be_found(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = command_lines("```\n.venv/bin/astrid tokens grant --workspce .   # sign\n```\n")
    with pytest.raises(SystemExit):
        parser_of(line[0]).parse_args(line[1:])
    assert "--workspce" in capsys.readouterr().err


def test_whatever_a_text_tells_somebody_to_type_exists() -> None:
    texts = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in PAGES}
    texts |= {module.path: module.text for module in modules()}
    found = {place: wrong for place, text in texts.items() if (wrong := unknown_commands(text))}
    assert found == {}


@pytest.mark.parametrize("text", ["`astrid nonsense`", "`astrid audit nonsense`", "run `astrid token list --json`"])
def test_a_command_that_does_not_exist_would_be_found(text: str) -> None:
    assert unknown_commands(text)


def test_every_target_of_make_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named: set[str] = set()
    for page in PAGES:
        code = re.findall(r"`([^`\n]+)`", page.read_text("utf-8")) + FENCE.findall(page.read_text("utf-8"))
        named |= {name for text in code for name in MAKE.findall(text)}
    assert {"demo", "test"} <= named <= targets


# ---- maps


def test_every_place_on_the_readmes_map_exists() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", README.split("\n## Map\n")[1], re.MULTILINE)
    places = [place for row in rows for place in re.findall(r"`([^`]+)`", row)]
    assert len(places) >= 10
    assert [place for place in places if not (ROOT / place).is_dir()] == []


def test_the_map_of_the_tests_names_every_folder_and_no_other() -> None:
    page = (ROOT / "tests" / "README.md").read_text("utf-8")
    rows = [line.split("|")[2] for line in page.splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`(\w+)/`", row)}
    there = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name[0] not in "_."}
    assert named == there - {"vectors", "fakes"}


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    links = {(ROOT / "docs" / link).resolve() for link in LINK.findall(index)}
    assert [
        page for page in (ROOT / "docs").rglob("*.md") if page.resolve() not in links and page.name != "README.md"
    ] == []


# ---- dependencies


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def _names(lines: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", line)[0] for line in lines} - {"astrid"}


def rows_below(page: str, heading: str) -> list[list[str]]:
    text = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")][1:]


def test_the_page_of_dependencies_names_what_is_declared_where_it_is_declared() -> None:
    page, project = (ROOT / "docs" / "dependencies.md").read_text("utf-8"), _project()
    extras = {name: _names(lines) for name, lines in project["optional-dependencies"].items()}
    assert {row[0].strip("`") for row in rows_below(page, "What runs")} == _names(project["dependencies"])
    stated: dict[str, set[str]] = {}
    extra = ""
    for row in rows_below(page, "What runs if you ask for it"):
        extra = row[0].strip("`").removeprefix("astrid[").removesuffix("]") or extra
        stated.setdefault(extra, set()).add(row[1].strip("`"))
    assert stated == {name: wanted for name, wanted in extras.items() if name not in ("test", "fuzz", "dev")}
    checks = {row[0].strip("`") for row in rows_below(page, "What tests and checks")}
    assert checks == extras["test"] | extras["fuzz"] | extras["dev"]


def test_every_dependency_says_what_it_does_here() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    for heading in ("What runs", "What runs if you ask for it", "What tests and checks"):
        for row in rows_below(page, heading):
            assert len(row[-2].split()) >= 3, row


def test_the_pythons_that_the_pages_name_are_those_that_are_declared() -> None:
    declared = [line.rpartition(" ")[2] for line in _project()["classifiers"] if re.search(r":: 3\.\d+$", line)]
    page = " ".join((ROOT / "docs" / "dependencies.md").read_text("utf-8").split())
    assert f"Python {declared[0]} to {declared[-1]}" in page
    assert _project()["requires-python"] == f">={declared[0]}"
    assert f"Python {declared[0]} or newer" in README


# ---- model scripts


def test_the_page_on_model_scripts_shows_a_script_and_names_every_key_of_a_turn() -> None:
    page = (ROOT / "docs" / "model-scripts.md").read_text("utf-8")
    (shown,) = FENCE.findall(page)
    load_script(shown, "the page")
    keys = {
        key for shape in (ScriptedTurn, ScriptedCall, Condition, ResultCondition) for key in shape.__struct_fields__
    }
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []
