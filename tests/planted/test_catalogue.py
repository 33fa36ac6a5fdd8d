"""Every planted bug still fits the source, names what is there, and stands on the page as the catalogue has it.

Whether the bugs are found, only running them says: ``python -m tests.planted``.
"""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from tests.planted.catalogue import AT_LEAST, PAGE, ROOT, Bug, CatalogueError, catalogue, page, read_bug
from tests.planted.hunt import SIMULATION

BUG = """
title = "nothing is compared"
file = "src/astrid/x.py"
because = "it was late"
breaks = "I2"
finders = ["tests/x"]
old = '''
    if a <= b:
'''
new = '''
    if a < b:
'''
"""
TEXT = "def f(a, b):\n    if a <= b:\n        return 1\n"


@cache
def names_in(path: Path) -> frozenset[str]:
    """What a node id may name in a file of tests."""
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ) | frozenset(re.findall(r"^(Test\w+) =", path.read_text("utf-8"), re.MULTILINE))


def absent(finder: str) -> list[str]:
    """What a finder names and the checkout does not have."""
    if finder.startswith(SIMULATION):
        return [] if (ROOT / "tests/simulation/__main__.py").exists() else [finder]
    found: list[str] = []
    for part in shlex.split(finder):
        place, *names = part.partition("[")[0].split("::")
        path = ROOT / place
        if not path.exists() or (names and not names_in(path).issuperset(names)):
            found.append(part)
    return found


def made(tmp_path: Path, text: str = BUG) -> Bug:
    path = tmp_path / "07-x.toml"
    path.write_text(text, "utf-8")
    return read_bug(path)


@pytest.mark.parametrize("bug", catalogue(), ids=lambda bug: bug.name)
def test_each_bug_stands_in_its_file_once_and_what_is_planted_compiles(bug: Bug) -> None:
    assert bug.plant((ROOT / bug.file).read_text("utf-8"))


@pytest.mark.parametrize("bug", catalogue(), ids=lambda bug: bug.name)
def test_each_bug_names_finders_that_are_there(bug: Bug) -> None:
    assert [part for finder in bug.finders for part in absent(finder)] == []
    assert len(set(bug.finders)) == len(bug.finders)


def test_the_bugs_are_enough_and_numbered_without_a_gap() -> None:
    numbers = [bug.number for bug in catalogue()]
    assert len(numbers) >= AT_LEAST
    assert numbers == list(range(1, len(numbers) + 1))


def test_no_two_bugs_are_one() -> None:
    assert len({(bug.file, bug.old, bug.new) for bug in catalogue()}) == len(catalogue())


def test_the_page_says_what_the_catalogue_says() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python -m tests.planted --write-table`"


# ---- what would be noticed


@pytest.mark.parametrize("finder", ["tests/no_such.py", "tests/conftest.py::test_nothing", "tests/core tests/none"])
def test_a_finder_that_is_not_there_would_be_noticed(finder: str) -> None:
    assert absent(finder) != []


def test_a_bug_is_planted_where_its_old_text_stands(tmp_path: Path) -> None:
    bug = made(tmp_path)
    assert (bug.number, bug.plant(TEXT)) == (7, TEXT.replace("<=", "<"))


@pytest.mark.parametrize("text", [TEXT.replace("<=", "<"), TEXT + TEXT])
def test_an_old_text_that_does_not_stand_there_once_would_be_noticed(tmp_path: Path, text: str) -> None:
    with pytest.raises(CatalogueError, match="not once"):
        made(tmp_path).plant(text)


@pytest.mark.parametrize(("new", "why"), [("if a <", "compile"), ("if a <= b:  # really", "changes nothing")])
def test_a_bug_that_does_not_compile_or_changes_nothing_would_be_noticed(tmp_path: Path, new: str, why: str) -> None:
    bug = made(tmp_path, BUG.replace("if a < b:", new))
    with pytest.raises(CatalogueError, match=why):
        bug.plant(TEXT)


@pytest.mark.parametrize(
    "text",
    [
        BUG.replace('breaks = "I2"\n', ""),
        BUG.replace('"it was late"', '""'),
        BUG.replace('["tests/x"]', "[]"),
        BUG + 'found = "yes"\n',
    ],
)
def test_a_key_that_is_missing_empty_or_unknown_would_be_noticed(tmp_path: Path, text: str) -> None:
    with pytest.raises(CatalogueError, match="missing, unknown or empty"):
        made(tmp_path, text)
