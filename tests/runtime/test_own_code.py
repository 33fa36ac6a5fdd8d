"""Which folders are those of the code that runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import astrid
from astrid.runtime.own_code import code_folders


def test_whatever_is_imported_here_lies_in_them() -> None:
    folders = [folder.resolve() for folder in code_folders()]
    files = [Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
    assert Path(str(astrid.__file__)) in files
    assert [file for file in files if not any(file.parent.resolve().is_relative_to(folder) for folder in folders)] == []


def test_the_interpreter_and_what_tells_it_where_its_code_is_lie_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/home/u/project/.venv")
    monkeypatch.setattr(sys, "executable", "/opt/python/bin/python3")
    assert {Path("/home/u/project/.venv"), Path("/opt/python/bin")} <= set(code_folders())


def test_the_systems_own_prefixes_and_relative_places_are_not_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("prefix", "base_prefix", "exec_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, name, "/usr")
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(sys, "path", ["", "relative", "/usr/lib/python3"])
    found = code_folders()
    assert {Path("/usr/bin"), Path("/usr/lib/python3")} <= set(found)
    assert Path("/usr") not in found
    assert all(folder.is_absolute() for folder in found)
