"""The catalogue of planted bugs: what is in ``bugs/``, how one is put into a checkout, and the page that lists them.

One file a bug, so that one can be read, added or argued about without the others; ``KEYS`` says what it holds.

Never: changes a file of the checkout that it is imported from.

Invariants:
  The old text of a bug stands in its file exactly once, so that it needs no line numbers and is never half applied.
  What is planted compiles, and is another program than before.
"""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUGS = Path(__file__).parent / "bugs"
PAGE = ROOT / "docs" / "planted-bugs.md"
AT_LEAST = 30

KEYS = {
    "title": "what is wrong with the planted line",
    "file": "where it is planted",
    "old": "the text as it stands there, exactly once",
    "new": "the text that takes its place",
    "because": "why somebody could write it",
    "breaks": "which claim of the project is false with it: an invariant of architecture 10, a rule of the protocol",
    "finders": "what has to find it, each by itself: files, folders or single tests for pytest, or a simulation",
    "raises": "optional: exceptions that show the bug, where no assertion fails",
}


class CatalogueError(Exception):
    """A bug is not written as it has to be, or does not fit the source any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One plausible mistake."""

    number: int
    name: str  # of its file
    title: str
    file: str
    old: str
    new: str
    because: str
    breaks: str
    finders: tuple[str, ...]
    raises: tuple[str, ...] = ()

    def plant(self, text: str) -> str:
        """``text``, the content of the file, with the bug in it.

        Raises:
            CatalogueError: the old text is not there exactly once, or nothing that runs would change.
        """
        count = text.count(self.old)
        if count != 1:
            raise CatalogueError(f"{self.name}: its old text stands {count} times in {self.file}, not once")
        planted = text.replace(self.old, self.new)
        try:
            tree = ast.parse(planted)
        except SyntaxError as error:
            raise CatalogueError(f"{self.name}: {self.file} does not compile with it: {error}") from error
        if ast.dump(tree) == ast.dump(ast.parse(text)):
            raise CatalogueError(f"{self.name}: it changes nothing that runs")
        return planted


def read_bug(path: Path) -> Bug:
    """The bug in the file ``path``, whose name begins with its number.

    Raises:
        CatalogueError: a key is missing, unknown or empty.
    """
    found: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    wrong = (KEYS.keys() - {"raises"} - found.keys()) | (found.keys() - KEYS.keys())
    wrong |= {key for key, value in found.items() if not value and key != "new"}
    if wrong:
        raise CatalogueError(f"{path.name}: missing, unknown or empty: {', '.join(sorted(wrong))}")
    for key in ("title", "because", "breaks"):
        found[key] = " ".join(found[key].split())
    for key in ("finders", "raises"):
        found[key] = tuple(found.get(key, ()))
    return Bug(number=int(path.name.partition("-")[0]), name=path.stem, **found)


@cache
def catalogue() -> tuple[Bug, ...]:
    """Every bug, by number."""
    return tuple(sorted((read_bug(path) for path in BUGS.glob("*.toml")), key=lambda bug: bug.number))


def page() -> str:
    """``docs/planted-bugs.md``."""
    bugs = catalogue()
    single = [bug for bug in bugs if all("::" in finder for finder in bug.finders)]
    alone = f"; {_and(single)} found by a single test only" if single else ""
    rows = "\n".join(
        f"| [{bug.number}](../tests/planted/bugs/{bug.name}.toml) | {_cell(bug.title)} | `{_place(bug.file)}` "
        f"| {_cell(bug.because)} | {_cell(bug.breaks)} | {'<br>'.join(f'`{finder}`' for finder in bug.finders)} |"
        for bug in bugs
    )
    return _PAGE.format(count=len(bugs), alone=alone, rows=rows)


def _and(bugs: list[Bug]) -> str:
    """Their numbers, and the verb."""
    numbers = [f"number {bug.number}" for bug in bugs]
    return f"{' and '.join(numbers)} {'is' if len(bugs) == 1 else 'are'}"


def _place(file: str) -> str:
    return file.removeprefix("src/astrid/")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_PAGE = """# Planted bugs

A test suite is worth what it would notice. So mistakes are planted on purpose, one at a time, into a copy of the
source, and the tests, state machines and fuzz targets have to find each of them:

```
python -m tests.planted           # all of them; a number after it: only that one
```

Each row is a mistake that somebody could really make: a check that is skipped, a reservation that is not given back, a
`<=` for a `<`. Its number leads to the file that holds the exact text before and after. *Found by* lists what has to
find it; each entry is run by itself, on a copy with this one bug, and counts only if a test in it fails for a reason
of the bug: an assertion (or an exception that the file names), never an import that fails or a run that takes too
long. Before that, all of them are run on a copy without any bug, and have to pass.

{count} bugs{alone}.

Nothing here is left to the crash sweep (`python -m tests.crash`) or to `python -m fuzz.million_chains`: whether these
two would notice a bug is not judged, since a whole run of either takes too long to be made for each one.

| | the bug | in | plausible, because | breaks | found by |
|---|---|---|---|---|---|
{rows}

To add one, write a file into `tests/planted/bugs/` with the next number; `tests/planted/catalogue.py` says what its
keys mean. Name as finders what looks for the whole class (a state machine, a fuzz target, a folder), not the one test
that was written with the bug in mind. If nothing finds it, the missing test is the first thing to write. Then
`python -m tests.planted --write-table` writes this page, and a test compares it with the catalogue.
"""
