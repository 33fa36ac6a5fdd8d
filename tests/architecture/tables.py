"""Tables of the pages on security: a row names what keeps a rule and the tests that show it, or says what it waits for.

What a row names is looked up in the source.  Imports nothing of what it reads.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.architecture.source import PACKAGE, ROOT

_NAMED = re.compile(r"`([^`]+)`")
_WAITS = re.compile(r"waits for: ([^<|]+?) *(?:<br>|$)")
# What there is not yet.  A row may wait for nothing else, so that none waits for what is there.
TO_COME = {
    "sub-agents",
    "the OS sandbox",
    "plugins and MCP",
    "device enrolment",
    "web and phone approvals",
    "chat frontends",
    "other model vendors",
    "several users of one daemon",
    "secrets by handle",
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
    """The last cells of a row: the modules and names that keep its rule, the tests that show it, what is to come."""

    kept_by: tuple[str, ...]
    shown_by: tuple[str, ...]
    waits_for: tuple[str, ...]


def read_row(kept: str, shown: str) -> Row:
    """The row with these cells."""
    waits = tuple(part.strip() for found in _WAITS.findall(shown) for part in found.split(","))
    return Row(tuple(_NAMED.findall(kept)), tuple(_NAMED.findall(shown)), waits)


def faults_of(row: Row) -> Iterator[str]:
    """Everything that is wrong with a row."""
    if not row.shown_by and not row.waits_for:
        yield "neither a test nor what it waits for"
    for one in row.waits_for:
        if one not in TO_COME:
            yield f"waits for `{one}`"
    for one in row.kept_by:
        module, _, name = one.partition(": ")
        if not _defines(PACKAGE / module, name):
            yield f"kept by `{one}`, which is not there"
    for one in row.shown_by:
        if not is_test(one):
            yield f"shown by `{one}`, which is not there"


def is_test(name: str) -> bool:
    """Whether ``tests/folder/test_file.py::test_name`` (or ``::TestClass::test_name``) is there."""
    path, *inside = name.split("::")
    named = bool(inside) and inside[-1].startswith(("test_", "Test"))
    return path.startswith("tests/") and named and _defines(ROOT / path, ".".join(inside))


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


def _defines(path: Path, name: str) -> bool:
    return path.is_file() and name in names_in(path)
