"""For each sentence of the README, ``docs/security/claims.md`` names a test that would fail if it were false.

Each sentence of the README and of the index of the pages is there: as a claim with its tests, or among those that claim
nothing.  Each claim still stands where it was taken from, so that none is kept for a sentence that is gone.
"""

from __future__ import annotations

import re

import pytest

from tests.architecture import tables
from tests.architecture.source import ROOT

PAGE = ROOT / "docs/security/claims.md"
SOURCES = (ROOT / "README.md", ROOT / "docs/README.md")
ROW = re.compile(r"^\| ([^|\n]+) \| ((?:`[^`|]+`(?:<br>)?)+) \|$", re.MULTILINE)
NAMED = re.compile(r"`([^`]+)`")
NOTHING = re.compile(r"^\* (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)


def plain(text: str) -> str:
    """The words of a page, without what shows how they are set."""
    return " ".join(re.sub(r"[*`]", "", _LINK.sub(r"\1", text)).split())


def sentences(page: str) -> list[str]:
    """The sentences of its paragraphs and lists, as plain words."""
    parts = re.split(r"\n\s*\n|\n(?=\* )", _FENCE.sub("", page))
    prose = [part.strip() for part in parts if part.strip() and not part.strip().startswith(("#", "|"))]
    return [one for part in prose for one in re.split(r"(?<=[.!?])\s+(?=[A-Z])", plain(part.removeprefix("* ")))]


def faults(page: str, sources: list[str]) -> list[str]:
    """Everything that is wrong with a page of claims about these texts."""
    claims = ROW.findall(page)
    silent = [plain(one) for one in NOTHING.findall(page)]
    said = [plain(source) for source in sources]
    known = [*(plain(claim) for claim, _ in claims), *silent]
    wrong = [
        f"no claim and not among those that claim nothing: {sentence}"
        for source in sources
        for sentence in sentences(source)
        if not any(one in sentence for one in known)
    ]
    wrong += [f"nobody says any more: {one}" for one in known if not any(one in text for text in said)]
    wrong += [f"twice: {one}" for one in known if known.count(one) > 1]
    for claim, shown in claims:
        wrong += [f"{claim}: `{one}` is not there" for one in NAMED.findall(shown) if not _is_there(one)]
    return wrong


def _is_there(name: str) -> bool:
    if name.startswith("make "):
        return name.removeprefix("make ") in _TARGET.findall((ROOT / "Makefile").read_text("utf-8"))
    return tables.is_test(name)


def read() -> list[str]:
    return [path.read_text("utf-8") for path in SOURCES]


def test_every_sentence_of_the_readme_is_a_claim_with_its_tests_or_claims_nothing() -> None:
    assert faults(PAGE.read_text("utf-8"), read()) == []


def test_most_of_what_the_readme_says_is_a_claim() -> None:
    page = PAGE.read_text("utf-8")
    assert len(ROW.findall(page)) > 3 * len(NOTHING.findall(page))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("| Astrid is quick | `tests/core/test_gate.py::test_a_message_about_nothing_is_ignored` |", "nobody says"),
        ("| The daemon cannot grant | `tests/core/test_gate.py::test_nothing` |", "is not there"),
        ("| The daemon cannot grant | `make nothing` |", "is not there"),
        ("* Astrid is quick", "nobody says"),
        ("* The daemon cannot grant", "twice"),
    ],
)
def test_a_line_that_is_wrong_would_be_found(line: str, fault: str) -> None:
    found = faults(f"{PAGE.read_text('utf-8')}\n{line}\n", read())
    assert found
    assert any(fault in one for one in found)


def test_a_sentence_that_nobody_mapped_would_be_found() -> None:
    sources = read()
    page = PAGE.read_text("utf-8")
    assert len(faults(page, [f"{sources[0]}\n\nAstrid never sleeps.  It is quick.\n", sources[1]])) == 2
    assert faults(page, [f"{sources[0]}\n\n* Astrid never sleeps.\n", sources[1]]) == [
        "no claim and not among those that claim nothing: Astrid never sleeps."
    ]
