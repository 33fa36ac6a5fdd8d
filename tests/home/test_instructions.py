"""The files that instruct a session: which are read, from where, and what is never followed, waited for or believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astrid.core.frame import MAX_PASSAGE_BYTES, Passage, Standing
from astrid.errors import ConfigError, WorkspaceError
from astrid.home import Home, open_home
from astrid.home.instructions import LeftOut, read_instructions
from astrid.home.trust import TrustList


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home", make=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "above" / "work"
    path.mkdir(parents=True)
    return path


def read(workspace: Path, home: Home) -> tuple[Passage | LeftOut, ...]:
    return read_instructions(str(workspace), home, TrustList(home))


def test_the_nearest_files_come_first_and_the_users_own_last(workspace: Path, home: Home) -> None:
    for name in ("AGENTS.md", "CLAUDE.md", "ASTRID.md", "README.md"):
        (workspace / name).write_text(name)
    home.instructions.write_text("mine")
    found = read(workspace, home)
    names = [(os.path.basename(one.path), one.standing) for one in found if isinstance(one, Passage)]
    assert names == [
        (b"ASTRID.md", Standing.UNTRUSTED),
        (b"AGENTS.md", Standing.UNTRUSTED),
        (b"CLAUDE.md", Standing.UNTRUSTED),
        (b"ASTRID.md", Standing.OWN),
    ]
    assert found[-1].path == os.fsencode(home.instructions)


def test_no_folder_above_or_below_the_workspace_has_a_say(workspace: Path, home: Home) -> None:
    (workspace.parent / "AGENTS.md").write_text("above")
    (workspace / "src").mkdir()
    (workspace / "src" / "AGENTS.md").write_text("below")
    assert read(workspace, home) == ()


def test_exactly_the_bytes_that_are_trusted_are_trusted(workspace: Path, home: Home) -> None:
    file = workspace / "AGENTS.md"
    file.write_text("Use tabs.\n")
    TrustList(home).add([(os.fsencode(file), b"Use tabs.\n")])
    assert [one.standing for one in read(workspace, home) if isinstance(one, Passage)] == [Standing.TRUSTED]
    file.write_text("Use tabs!\n")
    assert [one.standing for one in read(workspace, home) if isinstance(one, Passage)] == [Standing.UNTRUSTED]


def test_what_is_trusted_in_one_place_is_not_in_another(workspace: Path, home: Home) -> None:
    TrustList(home).add([(b"/elsewhere/AGENTS.md", b"x")])
    (workspace / "AGENTS.md").write_text("x")
    assert [one.standing for one in read(workspace, home) if isinstance(one, Passage)] == [Standing.UNTRUSTED]


def make_link_out(path: Path) -> None:
    outside = path.parent.parent / "secret.md"
    outside.write_text("secret")
    path.symlink_to(outside)


def make_link_in(path: Path) -> None:
    (path.parent / "other.md").write_text("x")
    path.symlink_to("other.md")


HOSTILE = {
    "a link out of the workspace": make_link_out,
    "a link inside": make_link_in,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a fifo": os.mkfifo,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_plain_file_is_left_out_and_that_is_said(workspace: Path, home: Home, what: str) -> None:
    HOSTILE[what](workspace / "AGENTS.md")
    [found] = read(workspace, home)
    assert isinstance(found, LeftOut)
    assert found.why == ("it is a link" if "link" in what else "it is no plain file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_left_out_and_that_is_said(workspace: Path, home: Home) -> None:
    (workspace / "AGENTS.md").write_text("x")
    (workspace / "AGENTS.md").chmod(0)
    assert read(workspace, home) == (LeftOut(os.fsencode(workspace / "AGENTS.md"), "permission denied"),)


def test_of_a_long_file_the_beginning_is_read_and_its_length_is_known(workspace: Path, home: Home) -> None:
    with (workspace / "AGENTS.md").open("wb") as file:
        file.truncate(10**9)
    [found] = read(workspace, home)
    assert isinstance(found, Passage)
    assert (len(found.data), found.total_bytes) == (MAX_PASSAGE_BYTES, 10**9)


def test_a_workspace_that_is_gone_or_is_a_link_by_now_is_not_read(workspace: Path, home: Home) -> None:
    workspace.rename(workspace.parent / "moved")
    with pytest.raises(WorkspaceError):
        read(workspace, home)
    workspace.symlink_to(workspace.parent / "moved")
    with pytest.raises(WorkspaceError):
        read(workspace, home)


def test_instructions_of_the_user_that_others_can_write_are_refused(workspace: Path, home: Home) -> None:
    home.instructions.write_text("mine")
    home.instructions.chmod(0o666)
    with pytest.raises(ConfigError) as caught:
        read(workspace, home)
    assert caught.value.code == "file.open-to-others"


def test_instructions_of_the_user_that_are_a_link_are_refused(workspace: Path, home: Home) -> None:
    (workspace / "mine.md").write_text("mine")
    home.instructions.symlink_to(workspace / "mine.md")
    with pytest.raises(ConfigError):
        read(workspace, home)
