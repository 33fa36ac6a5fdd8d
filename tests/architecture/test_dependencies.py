"""What is imported is declared, what is declared is explained, what is installed is pinned, and without an address."""

from __future__ import annotations

import ast
import re
import sys
import tomllib

import pytest

from tests.architecture.source import ROOT, modules

HOST = re.compile(r"[a-z]+:/{2}|\b[a-z0-9-]+\.(?:org|com|io|net|dev)\b|^\s*-(?!-hash=)", re.MULTILINE)
PIN = re.compile(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+ .*--hash=sha256:", re.DOTALL)
LOCKS = ("requirements.lock", "requirements-fuzz.lock", "requirements-dev.lock")
DISTRIBUTIONS = {"nacl": "pynacl", "trio_websocket": "trio-websocket"}


def declared(*, extras: bool) -> set[str]:
    """The names of the packages that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = list(project["dependencies"])
    if extras:
        wanted += [line for extra in project["optional-dependencies"].values() for line in extra]
    return {re.split(r"[\[<>=]", line)[0] for line in wanted} - {"astrid"}


def imported() -> dict[str, list[str]]:
    """Package outside the standard library and ourselves -> the modules that import it."""
    found: dict[str, list[str]] = {}
    for module in modules():
        for node in ast.walk(module.tree):
            match node:
                case ast.Import():
                    names = [alias.name for alias in node.names]
                case ast.ImportFrom():
                    names = [node.module or ""]
                case _:
                    continue
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"astrid"}:
                found.setdefault(DISTRIBUTIONS.get(top, top), []).append(module.path)
    return found


def test_whatever_the_product_imports_is_declared() -> None:
    assert {name: places for name, places in imported().items() if name not in declared(extras=True)} == {}


def test_whatever_the_core_imports_is_there_without_an_extra() -> None:
    core = {name for name, places in imported().items() if any("/core/" in place for place in places)}
    assert core <= declared(extras=False)


def test_every_dependency_is_explained() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    assert [name for name in sorted(declared(extras=True)) if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_so_that_any_mirror_serves(lock: str) -> None:
    assert HOST.findall((ROOT / lock).read_text("utf-8")) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_in_a_lock_is_pinned_and_hashed(lock: str) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text("utf-8"))[1:]
    assert entries
    assert [entry for entry in entries if not PIN.match(entry)] == []


@pytest.mark.parametrize("line", ["-f wheels", "# as example.net has it", "a @ ssh://x", "-c more.txt"])
def test_a_host_in_a_lock_would_be_found(line: str) -> None:
    assert HOST.search(line)


def test_the_locks_pin_the_same_version_of_what_they_share() -> None:
    few, *more = (dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / lock).read_text("utf-8"), re.M)) for lock in LOCKS)
    assert all(few.items() <= pins.items() for pins in more)
