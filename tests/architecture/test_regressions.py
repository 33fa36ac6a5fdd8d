"""No hole of the past is forgotten: every row of ``docs/security/regressions.md`` is there, and everything that a row
names is there too.

Each check has a page that breaks it: one that finds nothing guards nothing.
"""

from __future__ import annotations

import re

import pytest

from tests.architecture import tables
from tests.architecture.source import ROOT

PAGE = ROOT / "docs/security/regressions.md"
ROW = re.compile(r"^\| ([A-Z]\d+) \|([^|\n]+)\|([^|\n]+)\|([^|\n]*)\|([^|\n]*)\|$", re.MULTILINE)
# How many holes of each kind are known.  A row is not taken away because it is closed; that is when it is needed.
KNOWN = {"H": 59, "F": 67, "R": 18, "P": 29, "C": 10}
LISTED = [f"{kind}{number}" for kind, count in KNOWN.items() for number in range(1, count + 1)]


def faults(page: str) -> list[str]:
    """Everything that is wrong with a page, a line each."""
    rows = ROW.findall(page)
    found = [name for name, *_ in rows]
    wrong = [f"{name}: no row" for name in LISTED if name not in found]
    wrong += [f"{name}: not known, or twice" for name in found if name not in LISTED or found.count(name) > 1]
    if not wrong and found != LISTED:
        wrong.append("the rows are not in order")
    for name, attack, rule, kept, shown in rows:
        wrong += [f"{name}: {fault}" for fault in tables.faults_of(tables.read_row(kept, shown))]
        if not attack.strip() or not rule.strip():
            wrong.append(f"{name}: no attack, or no rule")
    return wrong


def test_every_hole_of_the_past_has_its_row_and_everything_a_row_names_is_there() -> None:
    assert faults(PAGE.read_text("utf-8")) == []


def test_most_rows_are_shown_by_a_test_and_not_only_waited_for() -> None:
    rows = [tables.read_row(kept, shown) for *_, kept, shown in ROW.findall(PAGE.read_text("utf-8"))]
    waiting = [row for row in rows if not row.shown_by]
    assert len(waiting) <= 15


TEST = "`tests/core/test_gate.py::test_a_message_about_nothing_is_ignored`"
GOOD = f"| H99 | an attack | a rule | `core/gate.py: Gate.propose` | {TEST} |"
BROKEN = {
    "a row that is not known": GOOD,
    "a second row": GOOD.replace("H99", "H1"),
    "a test that does not exist": GOOD.replace("_is_ignored", "_is_obeyed"),
    "a test that is none": GOOD.replace("test_a_message_about_nothing_is_ignored", "revoke"),
    "a function that does not exist": GOOD.replace("Gate.propose", "Gate.suppose"),
    "a wait for what is there": "| H99 | an attack | a rule | | waits for: the gate |",
    "nothing at all": "| H99 | an attack | a rule | | |",
    "no rule": GOOD.replace("a rule", "  "),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_row_that_is_wrong_would_be_found(what: str) -> None:
    page = PAGE.read_text("utf-8")
    found = set(faults(f"{page}\n{BROKEN[what]}\n")) - set(faults(page))
    only_unknown = what in ("a row that is not known", "a second row")
    assert len(found) == (1 if only_unknown else 2), found


@pytest.mark.parametrize("name", ["H1", "F67", "C10"])
def test_a_missing_row_would_be_found(name: str) -> None:
    page = PAGE.read_text("utf-8")
    assert faults(page.replace(f"\n| {name} |", "\n| none |")) == [f"{name}: no row"]
