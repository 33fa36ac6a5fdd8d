"""The project's own text, read once for the tests beside this file.  Imports nothing of what it reads."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
PACKAGE = SRC / "astrid"

_MADE = {"__pycache__", "build", "dist", "node_modules", "target"}

_HIDDEN = {".editorconfig", ".gitignore"}


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file of the product."""

    name: str
    path: str
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.endswith("/__init__.py")

    def within(self, places: tuple[str, ...]) -> bool:
        """Whether this is one of the ``places``: files, or folders when they end in a slash, below the package."""
        below = self.path.removeprefix("src/astrid/")
        return any(below.startswith(place) if place.endswith("/") else below == place for place in places)


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the product, by name."""
    return tuple(_read(path) for path in sorted(PACKAGE.rglob("*.py")))


def _read(path: Path) -> Module:
    parts = path.relative_to(SRC).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    text = path.read_text(encoding="utf-8")
    return Module(name, path.relative_to(ROOT).as_posix(), text, ast.parse(text))


def project_files() -> Iterator[Path]:
    """Every file that belongs to the project: what tools, runs and version control leave behind does not."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if name not in _MADE and (name == ".ci" or name[0] != "."))
        yield from (Path(folder, name) for name in sorted(files) if name[0] != "." or name in _HIDDEN)


def dotted(node: ast.AST) -> str:
    """``a.b.c`` for a plain name or attribute, and the empty string for everything else."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            below = dotted(node.value)
            return f"{below}.{node.attr}" if below else ""
        case _:
            return ""
