"""The design's drawings are those of the code: the tree of files, of actors, of errors, and who is whose shell."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from astrid.daemon import connection, health
from astrid.daemon.lifecycle import _with_daemon
from astrid.errors import AstridError
from astrid.kernel import ChildSpec, SupervisorSpec
from astrid.runtime.tree import RANKS, Directory, tree
from tests.architecture.source import PACKAGE, ROOT, modules
from tests.architecture.test_errors import defined, drawn

PAGE = (ROOT / "docs" / "design" / "architecture.md").read_text("utf-8")
LINE = re.compile(r"^( *)(\S+(?: \S+)*)(?:   *.*)?$")
CHILD = re.compile(r"^[├└]─ (\S+) +(\S.*)$", re.MULTILINE)
PAIR = re.compile(r"^\| ((?:core|kernel|wire)/\w+) \| ([a-z/, _]+) \|", re.MULTILINE)
RANK = re.compile(r"(connection|caretaker|gateway|session|interceptor|tools|approvals|archive|audit) (\d+)")
# Every module of these is in the drawing, by its name or by that of what it is a part of (`gate` has `gate_state`).
DRAWN_WHOLE = ("core", "kernel", "guard", "hosts", "runtime", "messages")


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}")[1].split("\n## ")[0]


def fence(heading: str) -> str:
    return section(heading).split("```\n")[1]


def drawn_paths(drawing: str) -> list[str]:
    """Every path in a drawing of folders: two spaces a level, several names on a line where they lie side by side."""
    found: list[str] = []
    above: list[str] = []
    for line in filter(None, drawing.splitlines()):
        match = LINE.match(line)
        assert match is not None, line
        depth = len(match[1]) // 2
        names = match[2].split(" ")
        del above[depth:]
        found += ["".join(above) + name for name in names]
        above.append(names[0])
    return found


def exists(path: str) -> bool:
    return (ROOT / path).exists() or (ROOT / f"{path}.py").is_file()


def test_whatever_the_tree_of_files_draws_is_there() -> None:
    assert [path for path in drawn_paths(fence("1. The tree")) if not exists(path)] == []


def test_a_drawn_file_that_is_not_there_would_be_seen() -> None:
    drawing = "src/astrid/   TRUSTED\n  core/        PURE\n    ids no_such_module   identifiers\n  bench/\n"
    assert [path for path in drawn_paths(drawing) if not exists(path)] == [
        "src/astrid/core/no_such_module",
        "src/astrid/bench/",
    ]


@pytest.mark.parametrize("package", DRAWN_WHOLE)
def test_every_module_of_a_package_is_in_the_tree_of_files(package: str) -> None:
    start = f"src/astrid/{package}/"
    named = [path.removeprefix(start) for path in drawn_paths(fence("1. The tree")) if path.startswith(start)]
    names = [
        module.path.removeprefix(start).removesuffix(".py") for module in modules() if module.path.startswith(start)
    ]
    missing = [name for name in names if not any(f"{name}_".startswith(f"{one}_") for one in named)]
    assert [name for name in missing if name != "__init__"] == []


def test_every_package_is_in_the_tree_of_files() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert [name for name in sorted(packages) if f"src/astrid/{name}/" not in drawn_paths(fence("1. The tree"))] == []


def test_the_layers_drawn_are_all_the_packages() -> None:
    tops = {module.name.split(".")[1] for module in modules() if "." in module.name}
    names = {name for line in fence("2. Layers").splitlines() for name in line.partition("  ")[0].split(" | ")}
    assert {name.strip() for name in names} == tops


def test_every_machine_and_every_shell_is_a_module() -> None:
    pairs = PAIR.findall(section("2. Layers"))
    assert len(pairs) == 6
    for machine, shells in pairs:
        assert [path for path in (machine, *shells.split(", ")) if not (PACKAGE / f"{path}.py").is_file()] == []


def _spec() -> SupervisorSpec:
    # Nothing of the world is looked at before an actor starts.
    return _with_daemon(tree(cast("Any", None), Directory()), cast("Any", None))


def test_the_tree_of_actors_is_the_daemons_in_order_with_its_strategies() -> None:
    drawing = fence("4. The supervision tree")
    spec = _spec()
    assert drawing.splitlines()[0].startswith(f"root                      {spec.strategy}:")
    children = CHILD.findall(drawing)
    assert [name for name, _ in children] == [child.id for child in spec.children]
    stated = [says.partition(".")[0] for _, says in children]
    assert (stated.count("permanent"), sum(says.startswith("one_for_one") for says in stated)) == (3, 2)
    for (_, says), child in zip(children, spec.children, strict=True):
        if says.startswith("permanent"):
            assert isinstance(child, ChildSpec)
            assert child.restart == "permanent"
        if says.startswith("one_for_one"):
            assert isinstance(child, SupervisorSpec)
            assert child.strategy == "one_for_one"


def test_the_ranks_on_the_page_are_those_of_the_actors() -> None:
    stated = {name: int(rank) for name, rank in RANK.findall(section("3. The kernel"))}
    coded = {"session" if name == "sessions" else name: rank for name, rank in RANKS.items()}
    assert stated == coded | {"connection": connection.RANK, "caretaker": health.RANK}


def test_the_errors_drawn_are_the_classes() -> None:
    assert drawn(fence("9. Errors")) == defined(AstridError)
