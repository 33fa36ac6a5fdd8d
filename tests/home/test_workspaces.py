"""A workspace is a folder and where it is: a grant follows neither a name nor a folder alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astrid.errors import ConfigError, WorkspaceError
from astrid.home import Home, identify_workspace, open_home, workspace_id

FRESH, OTHER = b"f" * 32, b"o" * 32


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home", make=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


def refused(folder: Path, home: Home) -> str:
    with pytest.raises(WorkspaceError) as caught:
        identify_workspace(folder, home)
    assert caught.value.effect == "none"
    return caught.value.code


def known(folder: Path, home: Home, fresh: bytes | None = FRESH) -> bytes:
    return workspace_id(identify_workspace(folder, home), home, fresh=fresh)


# ---- which folder it is


def test_a_workspace_is_known_by_its_real_path(folder: Path, home: Home) -> None:
    (folder.parent / "link").symlink_to(folder)
    found = folder.stat()
    for path in (folder, folder.parent / "link", folder / ".." / "project"):
        identity = identify_workspace(path, home)
        assert (identity.path, identity.dev, identity.ino) == (str(folder), found.st_dev, found.st_ino)


@pytest.mark.parametrize("name", ["nowhere", "nul\0byte", "lone \ud800 surrogate", "x" * 5000])
def test_what_is_not_there_is_no_workspace(folder: Path, home: Home, name: str) -> None:
    assert refused(folder / name, home) == "workspace.missing"


def test_a_loop_of_links_is_no_workspace(folder: Path, home: Home) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    assert refused(folder / "a", home) == "workspace.missing"


def test_a_file_is_no_workspace(folder: Path, home: Home) -> None:
    (folder / "file").touch()
    assert refused(folder / "file", home) == "workspace.not-folder"


@pytest.mark.parametrize("where", [".", "..", "keys", "log", "/"])
def test_home_and_workspace_never_lie_in_each_other(home: Home, where: str) -> None:
    assert refused(home.root / where, home) == "workspace.home-inside"


def test_a_link_does_not_hide_that_the_home_lies_inside(tmp_path: Path, folder: Path) -> None:
    inner = open_home(folder / "home", make=True)
    (tmp_path / "alias").symlink_to(folder)
    assert refused(tmp_path / "alias", inner) == "workspace.home-inside"
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to("real")
    outer = open_home(tmp_path / "way" / "home", make=True)
    assert refused(tmp_path / "real", outer) == "workspace.home-inside"


# ---- its id


def test_the_same_folder_at_the_same_place_is_the_same_workspace(folder: Path, home: Home) -> None:
    first = known(folder, home)
    assert len(first) == 32
    assert known(folder, home, OTHER) == first
    assert known(folder, home, None) == first


def test_another_folder_at_the_same_place_is_another_workspace(folder: Path, home: Home) -> None:
    first = known(folder, home)
    folder.rename(folder.parent / "moved")
    folder.mkdir()
    assert known(folder, home) != first


def test_the_same_folder_at_another_place_is_another_workspace(folder: Path, home: Home) -> None:
    first = known(folder, home)
    moved = folder.rename(folder.parent / "moved")
    assert known(moved, home) != first


def test_the_same_folder_is_another_workspace_in_another_home(folder: Path, home: Home, tmp_path: Path) -> None:
    other = open_home(tmp_path / "other", make=True)
    assert known(folder, home, FRESH) != known(folder, other, OTHER)


def test_an_id_cannot_be_guessed_from_the_folder(folder: Path, home: Home) -> None:
    first = known(folder, home, FRESH)
    next(home.workspaces.iterdir()).unlink()
    assert known(folder, home, OTHER) != first


def test_a_workspace_that_is_not_known_has_no_id(folder: Path, home: Home) -> None:
    with pytest.raises(ConfigError) as caught:
        known(folder, home, None)
    assert caught.value.code == "file.missing"
    assert list(home.workspaces.iterdir()) == []


def test_names_of_folders_are_not_told_by_the_files_of_the_home(folder: Path, home: Home) -> None:
    known(folder, home)
    [path] = home.workspaces.iterdir()
    assert "project" not in path.name


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 33])
def test_a_damaged_id_is_refused_and_not_made_anew(folder: Path, home: Home, damage: bytes) -> None:
    known(folder, home)
    [path] = home.workspaces.iterdir()
    path.write_bytes(damage)
    with pytest.raises(ConfigError) as caught:
        known(folder, home, OTHER)
    assert caught.value.code in ("file.damaged", "file.too-long")


def test_of_two_that_name_it_at_once_both_get_the_same_id(
    folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = identify_workspace(folder, home)
    real = os.link

    def overtaken(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", real)
        assert workspace_id(identity, home, fresh=OTHER)  # another process is faster
        real(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    assert workspace_id(identity, home, fresh=FRESH) == workspace_id(identity, home)
    [path] = home.workspaces.iterdir()
    assert path.read_bytes() == OTHER
