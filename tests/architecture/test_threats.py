"""Every attack that the design lists has a row in ``docs/security/threats.md`` that says what keeps the rule and which
tests show it, and everything that a row names is there.

Each check has a page that breaks it: one that finds nothing guards nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.architecture import tables
from tests.architecture.source import ROOT

DESIGN = ROOT / "docs/design/threats.md"
PAGE = ROOT / "docs/security/threats.md"
NUMBERED = re.compile(r"^(\d+)\. \*\*([CHM])\. ", re.MULTILINE)
ROW = re.compile(r"^\| (\d+) ([CHM]) \|([^|\n]+)\|([^|\n]*)\|([^|\n]*)\|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One attack, and what its row names."""

    number: int
    severity: str
    cells: tables.Row


def read(page: str) -> list[Row]:
    return [
        Row(int(number), severity, tables.read_row(kept, shown))
        for number, severity, _, kept, shown in ROW.findall(page)
    ]


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
    if row.cells.shown_by and not row.cells.kept_by:
        yield "tests, and nothing that keeps the rule"
    yield from tables.faults_of(row.cells)


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
