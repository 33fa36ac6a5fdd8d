"""What others made says whose it is and under which licence, what we made says how, and nothing lies in ``vectors/``
that no test reads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source import ROOT

VECTORS = ROOT / "tests" / "vectors"
FILES = sorted(path for folder in (".", "corpora", "llm") for path in (VECTORS / folder).glob("*.json"))
COUNTED = ("vectors", "items", "paths", "interactions")


def complaints(path: Path, content: dict[str, Any]) -> list[str]:
    """What is missing in one file of data."""
    if "source" not in content:
        return [] if content.get("note") else ["neither a source nor a note that says what it is"]
    wrong = [] if content.get("licence") else ["a source, and no licence"]
    entries = next((content[name] for name in COUNTED if name in content), None)
    if entries is not None and "count" in content:
        many = sum(map(len, entries.values())) if isinstance(entries, dict) else len(entries)
        wrong += [] if many == content["count"] else [f"{many} entries, and {content['count']} are stated"]
    return wrong


def readers(name: str) -> list[Path]:
    """The tests and fuzzers that name a file."""
    texts = {path: path.read_text("utf-8") for folder in ("tests", "fuzz") for path in (ROOT / folder).rglob("*.py")}
    del texts[Path(__file__)]
    return [path for path, text in texts.items() if name.removesuffix(".json") in text]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_data_says_whose_it_is_and_is_read_by_a_test(path: Path) -> None:
    assert complaints(path, json.loads(path.read_text("utf-8"))) == []
    tests = [one for one in readers(path.name) if one.name.startswith("test_") or one.parent.name == "fuzz"]
    assert tests or path.parent.name == "llm"  # of those a test takes the whole folder


def test_the_recordings_of_models_are_read_as_a_folder() -> None:
    assert any("llm" in path.read_text("utf-8") and "glob" in path.read_text("utf-8") for path in readers("vectors"))


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ({}, "neither"),
        ({"source": "x"}, "no licence"),
        ({"source": "x", "licence": "y", "count": 2, "vectors": [1]}, "1 entries"),
    ],
)
def test_what_is_missing_would_be_found(content: dict[str, Any], wrong: str) -> None:
    assert wrong in complaints(VECTORS / "x.json", content)[0]
