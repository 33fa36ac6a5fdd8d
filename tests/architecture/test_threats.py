"""Every attack that the design lists has a row in ``docs/security/threats.md`` that says what keeps the rule and which
tests show it, and everything that a row names is there.

Each check has a page that breaks it: one that finds nothing guards nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGE, ROOT

DESIGN = ROOT / "docs/design/threats.md"
PAGE = ROOT / "docs/security/threats.md"
NUMBERED = re.compile(r"^(\d+)\. \*\*([CHM])\. ", re.MULTILINE)
ROW = re.compile(r"^\| (\d+) ([CHM]) \|([^|\n]+)\|([^|\n]*)\|([^|\n]*)\|$", re.MULTILINE)
NAMED = re.compile(r"`([^`]+)`")
WAITS = re.compile(r"waits for: ([^<|]+?) *(?:<br>|$)")
# What there is not yet.  A row may wait for nothing else, so that none waits for what is there.
TO_COME = {
    "sub-agents",
    "the OS sandbox",
    "plugins and MCP",
    "device enrolment",
    "web and phone approvals",
    "egress proxy",
    "resume and fork",
    "hooks",
    "plan grants",
    "key rotation",
    "workspace definitions",
    "ledger snapshots",
    "capability labels",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One attack: the modules and names that keep its rule, the tests that show it, and what is still to come."""

    number: int
    severity: str
    kept_by: tuple[str, ...]
    shown_by: tuple[str, ...]
    waits_for: tuple[str, ...]


def read(page: str) -> list[Row]:
    return [
        Row(int(number), severity, _named(kept), _named(shown), _waits(shown))
        for number, severity, _, kept, shown in ROW.findall(page)
    ]


def _named(cell: str) -> tuple[str, ...]:
    return tuple(NAMED.findall(cell))


def _waits(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for found in WAITS.findall(cell) for part in found.split(","))


@cache
def names_in(path: Path) -> frozenset[str]:
    """``f``, ``C``, ``C.m``, ``CONSTANT``: what a file defines, at its top and in its classes."""
    return frozenset(_names(ast.parse(path.read_text(encoding="utf-8")).body, ""))


def _names(body: list[ast.stmt], inside: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield inside + node.name
            case ast.ClassDef():
                yield inside + node.name
                yield from _names(node.body, f"{inside}{node.name}.")
            case ast.Assign():
                yield from (inside + one.id for one in node.targets if isinstance(one, ast.Name))
            case ast.AnnAssign(target=ast.Name() as one):
                yield inside + one.id
            case _:
                pass


def faults(page: str) -> list[str]:
    """Everything that is wrong with a page, a line each."""
    rows = read(page)
    found = sorted((row.number, row.severity) for row in rows)
    listed = sorted((int(number), severity) for number, severity in NUMBERED.findall(DESIGN.read_text("utf-8")))
    wrong = [f"{number} {severity}: no row" for number, severity in listed if (number, severity) not in found]
    wrong += [f"{number} {severity}: not in the design, or twice" for number, severity in _surplus(found, listed)]
    return wrong + [f"{row.number}: {fault}" for row in rows for fault in _of_row(row)]


def _surplus(found: list[tuple[int, str]], listed: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [one for one in found if one not in listed or found.count(one) > 1]


def _of_row(row: Row) -> Iterator[str]:
    if not row.shown_by and not row.waits_for:
        yield "neither a test nor what it waits for"
    if row.shown_by and not row.kept_by:
        yield "tests, and nothing that keeps the rule"
    for one in row.waits_for:
        if one not in TO_COME:
            yield f"waits for `{one}`"
    for one in row.kept_by:
        module, _, name = one.partition(": ")
        if not _defines(PACKAGE / module, name):
            yield f"kept by `{one}`, which is not there"
    for one in row.shown_by:
        path, *inside = one.split("::")
        is_test = inside and inside[-1].startswith(("test_", "Test"))
        if not path.startswith("tests/") or not is_test or not _defines(ROOT / path, ".".join(inside)):
            yield f"shown by `{one}`, which is not there"


def _defines(path: Path, name: str) -> bool:
    return path.is_file() and name in names_in(path)


def test_every_threat_has_its_row_and_everything_a_row_names_is_there() -> None:
    assert faults(PAGE.read_text("utf-8")) == []


def test_the_design_lists_fifty_two_threats() -> None:
    assert [int(number) for number, _ in NUMBERED.findall(DESIGN.read_text("utf-8"))] == list(range(1, 53))


GOOD = "| 99 C | an attack | `core/gate.py: Gate.propose` | `tests/core/test_gate.py::test_a_message_about_nothing` |"
BROKEN = {
    "a test that does not exist": GOOD,
    "a test that is none": GOOD.replace("test_a_message_about_nothing", "revoke"),
    "a test of another file": GOOD.replace(
        "test_gate.py::test_a_message_about_nothing", "test_x.py::test_a_message_about_nothing_is_ignored"
    ),
    "a module that does not exist": GOOD.replace("core/gate.py", "core/gates.py"),
    "a function that does not exist": GOOD.replace("Gate.propose", "Gate.suppose"),
    "a function without its class": GOOD.replace("Gate.propose", "propose"),
    "a module and no name": GOOD.replace(": Gate.propose", ""),
    "nothing at all": "| 99 C | an attack | | |",
    "a test and nothing that keeps the rule": GOOD.replace("`core/gate.py: Gate.propose`", ""),
    "a wait for what is there": "| 99 C | an attack | | waits for: the gate |",
    "a number that the design does not list": "| 99 C | an attack | | waits for: sub-agents |",
    "a second row": "| 1 C | an attack | | waits for: sub-agents |",
    "another severity than the design's": "| 1 M | an attack | | waits for: sub-agents |",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_row_that_is_wrong_would_be_found(what: str) -> None:
    page = PAGE.read_text("utf-8")
    assert set(faults(f"{page}\n{BROKEN[what]}\n")) > set(faults(page))
    if what != "a number that the design does not list" and "| 99 C |" in BROKEN[what]:
        # Not for its number alone: without the fault there is one complaint less.
        assert len(faults(f"{page}\n{BROKEN[what]}\n")) - len(faults(page)) > 1


def test_a_missing_row_would_be_found() -> None:
    page = PAGE.read_text("utf-8")
    assert [fault for fault in faults(page.replace("\n| 7 C |", "\n| seven |")) if fault.endswith("no row")] == [
        "7 C: no row"
    ]
