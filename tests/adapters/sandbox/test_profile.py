from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrid.adapters.sandbox.cage.requests import MAX_PATHS
from astrid.adapters.sandbox.profile import build_box, protected_in
from astrid.core.protected import OCCUPIED


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def fill(root: Path, names: str) -> None:
    for name in names.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def test_in_an_empty_workspace_the_names_that_are_not_there_yet_are_protected(folder: int) -> None:
    assert set(protected_in(folder)) == set(OCCUPIED)


def test_what_is_there_and_in_the_table_is_protected_in_every_spelling(folder: int, tmp_path: Path) -> None:
    fill(tmp_path, "AGENTS.md Claude.MD .GitLab-CI.yml .bashrc src/main.py README.md Makefile")
    there = set(protected_in(folder)) - set(OCCUPIED)
    assert there == {"AGENTS.md", "Claude.MD", ".GitLab-CI.yml", ".bashrc"}


def test_git_can_still_commit_but_not_be_told_what_to_run(folder: int, tmp_path: Path) -> None:
    fill(tmp_path, ".git/HEAD .git/index .git/objects/aa/b .git/refs/heads/main .git/hooks/x .git/config .git/unknown")
    inside = {name for name in protected_in(folder) if name.startswith(".git/")}
    assert {".git/hooks", ".git/config", ".git/unknown"} <= inside
    assert inside.isdisjoint({".git/HEAD", ".git/index", ".git/objects", ".git/refs"})
    assert ".git" not in protected_in(folder)


def test_a_git_folder_that_is_a_link_is_not_followed(folder: int, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "strange").write_text("x")
    (tmp_path / ".git").symlink_to("other")
    assert ".git/strange" not in protected_in(folder)


def test_without_mounts_nothing_can_be_protected_and_nothing_is_asked_for(folder: int, tmp_path: Path) -> None:
    assert build_box("l0", str(tmp_path), folder).protect == ()
    assert build_box("l1", str(tmp_path), folder).protect != ()


def test_the_names_that_are_always_occupied_leave_room_for_others() -> None:
    assert len(OCCUPIED) < MAX_PATHS // 4
