"""Where a home is, what makes it usable, and what its paths are."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from astrid.errors import ConfigError
from astrid.home import Home, home_folder, open_home
from astrid.home.layout import MAX_SOCKET_PATH_BYTES


def refused(root: Path, *, make: bool = False) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        open_home(root, make=make)
    assert caught.value.advice
    return caught.value


# ---- which folder


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "/home/u"}, "/home/u/.astrid"),
        ({"HOME": "/home/u", "ASTRID_HOME": "/srv/astrid"}, "/srv/astrid"),
        ({"ASTRID_HOME": "/srv/astrid"}, "/srv/astrid"),
    ],
)
def test_the_home_is_named_or_lies_in_the_users(environ: Mapping[str, str], folder: str) -> None:
    assert home_folder(environ) == Path(folder)


@pytest.mark.parametrize(
    ("environ", "code"),
    [
        ({}, "home.none"),
        ({"HOME": ""}, "home.none"),
        ({"HOME": "relative"}, "home.relative"),
        ({"HOME": "/home/u", "ASTRID_HOME": ""}, "home.relative"),
        ({"HOME": "/home/u", "ASTRID_HOME": "here"}, "home.relative"),
        ({"HOME": "/home/u", "ASTRID_HOME": "~/astrid"}, "home.relative"),
        ({"HOME": "/home/u", "ASTRID_HOME": "/srv/../etc"}, "home.relative"),
    ],
)
def test_a_home_that_depends_on_where_one_stands_is_refused(environ: Mapping[str, str], code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        home_folder(environ)
    assert caught.value.code == code


# ---- the folder itself


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_home_that_is_made_is_nobody_elses(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        home = open_home(tmp_path / "home", make=True)
    finally:
        os.umask(before)
    folders = [home.root, *(path for path in home.root.iterdir() if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    assert open_home(tmp_path / "home") == home


def test_making_a_home_again_changes_nothing(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home", make=True)
    home.config.write_text("kept")
    assert open_home(tmp_path / "home", make=True).config.read_text() == "kept"


def test_no_home_is_made_unless_that_is_wanted(tmp_path: Path) -> None:
    assert refused(tmp_path / "home").code == "home.missing"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("inside", ["", "keys", "log", "anchor", "run", "workspaces"])
@pytest.mark.parametrize("mode", [0o750, 0o705, 0o711, 0o777])
def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, inside: str, mode: int) -> None:
    home = open_home(tmp_path / "home", make=True)
    (home.root / inside).chmod(mode)
    error = refused(home.root, make=True)
    assert (error.code, error.where) == ("home.open-to-others", str(home.root / inside))


@pytest.mark.parametrize("inside", ["", "keys", "log"])
def test_a_link_is_no_folder_of_a_home(tmp_path: Path, inside: str) -> None:
    home = open_home(tmp_path / "home", make=True)
    place = home.root / inside if inside else home.root
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    assert refused(home.root, make=True).code == "home.not-folder"


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    assert refused(tmp_path / "home").code == "home.not-folder"
    assert refused(tmp_path / "home", make=True).code == "home.unusable"


def test_a_home_without_one_of_its_folders_is_not_whole(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home", make=True)
    (home.root / "anchor").rmdir()
    assert refused(home.root).code == "home.missing"


def test_a_home_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(tmp_path / "home", make=True)
    owner = home.root.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert refused(home.root).code == "home.owner"


def test_a_home_too_deep_for_a_socket_is_refused_before_anybody_listens(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * MAX_SOCKET_PATH_BYTES)
    assert refused(deep, make=True).code == "home.too-deep"


def test_no_two_files_of_a_home_share_a_path() -> None:
    home = Home(Path("/h"))
    names = [name for name in vars(Home) if isinstance(vars(Home)[name], property)]
    paths = [getattr(home, name) for name in names]
    assert len(set(paths)) == len(names) >= 15
    assert all(path.is_relative_to("/h") for path in paths)


def test_the_anchor_lies_outside_the_folder_of_the_log() -> None:
    home = Home(Path("/h"))
    assert not home.anchor.is_relative_to(home.log.parent)
    assert not home.witness.is_relative_to(home.log.parent)
