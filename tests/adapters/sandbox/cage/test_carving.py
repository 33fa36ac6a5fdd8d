from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrid.adapters.sandbox.cage.carving import STUB_MODE, make_stubs, remove_stubs


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_a_missing_name_is_occupied_by_an_empty_folder_that_goes_again(folder: int, tmp_path: Path) -> None:
    assert make_stubs(folder, [".mcp.json", ".git/hooks"], ()) == [".mcp.json", ".git"]
    assert sorted(os.listdir(tmp_path)) == [".git", ".mcp.json"]
    assert os.listdir(tmp_path / ".git") == []
    remove_stubs(folder, [".mcp.json", ".git"])
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_left_as_it_is(folder: int, tmp_path: Path) -> None:
    (tmp_path / ".mcp.json").write_text("{}")
    (tmp_path / ".vscode").write_text("a file, not a folder")
    (tmp_path / ".idea").symlink_to("elsewhere")
    assert make_stubs(folder, [".mcp.json", ".vscode/settings.json", ".idea/x"], ()) == []
    assert (tmp_path / ".mcp.json").read_text() == "{}"
    assert sorted(os.listdir(tmp_path)) == [".idea", ".mcp.json", ".vscode"]


def test_only_the_missing_part_of_a_path_is_made(folder: int, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert make_stubs(folder, [".git/hooks", ".git/config"], ()) == [".git/hooks", ".git/config"]


def test_nothing_is_made_inside_of_a_stub_of_another_child(folder: int, tmp_path: Path) -> None:
    stubs = make_stubs(folder, [".git/hooks"], ())
    assert make_stubs(folder, [".git/hooks", ".git/config"], stubs) == []
    assert os.listdir(tmp_path / ".git") == []


def test_a_stub_that_somebody_used_stays(folder: int, tmp_path: Path) -> None:
    stubs = make_stubs(folder, [".idea", ".vscode", ".envrc"], ())
    (tmp_path / ".idea").chmod(0o755)
    (tmp_path / ".idea" / "file").write_text("x")
    (tmp_path / ".vscode").rmdir()
    (tmp_path / ".envrc").rmdir()
    (tmp_path / ".envrc").write_text("x")
    remove_stubs(folder, stubs)
    assert sorted(os.listdir(tmp_path)) == [".envrc", ".idea"]


def test_no_link_is_followed_on_the_way(folder: int, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / ".git").symlink_to("outside")
    assert make_stubs(folder, [".git/hooks"], ()) == []
    assert os.listdir(tmp_path / "outside") == []


def test_a_stub_that_a_killed_zygote_left_is_ours_again_and_goes(folder: int, tmp_path: Path) -> None:
    left = make_stubs(folder, [".git/hooks", ".vscode"], ())
    assert make_stubs(folder, [".git/hooks", ".vscode"], ()) == left == [".git", ".vscode"]
    remove_stubs(folder, left)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_of_the_users_own_is_no_stub(folder: int, tmp_path: Path) -> None:
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".idea").mkdir()
    (tmp_path / ".idea" / "kept").touch()
    (tmp_path / ".idea").chmod(STUB_MODE)
    assert make_stubs(folder, [".vscode", ".idea"], ()) == []
