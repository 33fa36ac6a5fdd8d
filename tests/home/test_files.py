"""Guarded files: whose they must be, and that they are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from astrid.errors import ConfigError
from astrid.home import clear_drafts, files, read_guarded, write_guarded
from tests.fakes.power import Power

ROOT = os.geteuid() == 0


def refused(path: Path, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        read_guarded(path, what="the key", **options)  # type: ignore[arg-type]
    assert caught.value.where == str(path)
    assert caught.value.advice
    return caught.value.code


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_our_own_is_read(key: Path, mode: int) -> None:
    key.chmod(mode)
    assert read_guarded(key, what="the key") == b"secret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o620, 0o602, 0o777])
def test_a_private_file_that_others_can_get_at_is_refused(key: Path, mode: int) -> None:
    key.chmod(mode)
    assert refused(key) == "file.open-to-others"


@pytest.mark.parametrize(("mode", "readable"), [(0o644, True), (0o640, True), (0o664, False), (0o646, False)])
def test_another_file_may_be_read_by_others_and_not_written(key: Path, mode: int, readable: bool) -> None:
    key.chmod(mode)
    if readable:
        assert read_guarded(key, what="the key", private=False) == b"secret"
    else:
        assert refused(key, private=False) == "file.open-to-others"


def test_the_way_out_of_a_loose_mode_is_said(key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        read_guarded(key, what="the key")
    assert caught.value.advice == f"chmod 0600 {key}"


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    assert refused(tmp_path / "key") == "file.missing"


@pytest.mark.parametrize("target", ["key", "nowhere"])
def test_a_link_is_not_followed(key: Path, target: str) -> None:
    link = key.with_name("link")
    link.symlink_to(target)
    assert refused(link) == "file.unreadable"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)
    assert refused(tmp_path / "key") == "file.not-plain"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir(0o700)
    assert refused(tmp_path / "key") == "file.not-plain"


@pytest.mark.skipif(not ROOT, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(key: Path) -> None:
    os.chown(key, 65534, 65534)
    assert refused(key) == "file.owner"
    assert refused(key, of_system=True) == "file.owner"


def test_a_file_of_root_counts_as_one_of_the_system_and_not_as_ours(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = key.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)  # as somebody else sees it
    assert refused(key) == "file.owner"
    if owner == 0:
        assert read_guarded(key, what="the key", of_system=True) == b"secret"
    else:
        assert refused(key, of_system=True) == "file.owner"


def test_a_file_that_is_too_long_is_refused_and_one_that_just_fits_is_not(key: Path) -> None:
    assert read_guarded(key, what="the key", max_bytes=6) == b"secret"
    assert refused(key, max_bytes=5) == "file.too-long"


@pytest.mark.parametrize(
    ("mode", "accepted"),
    [(0o700, True), (0o755, True), (0o711, True), (0o775, False), (0o757, False), (0o777, False), (0o1777, True)],
)
@pytest.mark.parametrize("private", [True, False])
def test_a_folder_in_which_others_may_swap_the_file_is_refused(
    key: Path, mode: int, accepted: bool, private: bool
) -> None:
    key.parent.chmod(mode)
    try:
        if accepted:
            assert read_guarded(key, what="the key", private=private) == b"secret"
        else:
            with pytest.raises(ConfigError) as caught:
                read_guarded(key, what="the key", private=private)
            assert (caught.value.code, caught.value.where) == ("file.folder", str(key.parent))
    finally:
        key.parent.chmod(0o700)


@pytest.mark.skipif(not ROOT, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(key: Path) -> None:
    folder = key.parent / "folder"
    folder.mkdir(0o700)
    inside = key.rename(folder / "key")
    os.chown(folder, 65534, 65534)
    with pytest.raises(ConfigError) as caught:
        read_guarded(inside, what="the key")
    assert caught.value.code == "file.folder"


def test_a_folder_that_is_swapped_after_it_was_judged_is_not_read_from(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = key.parent / "folder"
    folder.mkdir(0o700)
    inside = key.rename(folder / "key")
    judged = files._judge_folder

    def swap(found: os.stat_result, where: Path, what: str) -> None:
        judged(found, where, what)
        folder.rename(folder.with_name("moved"))
        folder.mkdir(0o777)
        inside.write_bytes(b"another")

    monkeypatch.setattr(files, "_judge_folder", swap)
    assert read_guarded(inside, what="the key") == b"secret"


def test_a_secret_with_a_second_name_is_refused_and_another_file_is_not(key: Path) -> None:
    os.link(key, key.with_name("workspace-file"))
    assert refused(key, secret=True) == "file.linked"
    assert read_guarded(key, what="the key") == b"secret"


@pytest.mark.parametrize(
    ("name", "accepted"),
    [(".key.0123456789abcdef", True), (".key.0123456789abcdeX", False), (".other.0123456789abcdef", False)],
)
def test_the_draft_of_a_writer_that_was_killed_is_no_second_name(key: Path, name: str, accepted: bool) -> None:
    os.link(key, key.with_name(name))
    if accepted:
        assert read_guarded(key, what="the key", secret=True) == b"secret"
    else:
        assert refused(key, secret=True) == "file.linked"


def test_a_draft_of_another_file_does_not_hide_a_second_name(key: Path) -> None:
    key.with_name(".key.0123456789abcdef").write_bytes(b"")
    os.link(key, key.with_name("workspace-file"))
    assert refused(key, secret=True) == "file.linked"


# ---- writing


def test_what_is_written_is_read_and_is_nobody_elses(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_guarded(tmp_path / "key", b"secret", what="the key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert read_guarded(tmp_path / "key", what="the key") == b"secret"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_what_is_there_is_not_replaced_unless_that_is_wanted(key: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        write_guarded(key, b"other", what="the key")
    assert (caught.value.code, key.read_bytes()) == ("file.exists", b"secret")
    write_guarded(key, b"other", what="the key", replace=True)
    assert key.read_bytes() == b"other"
    assert [path.name for path in key.parent.iterdir()] == ["key"]


def test_a_link_is_replaced_and_not_written_through(key: Path) -> None:
    link = key.with_name("link")
    link.symlink_to("key")
    write_guarded(link, b"other", what="the key", replace=True)
    assert (key.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"secret", b"other", False)


@pytest.mark.parametrize("step", ["write", "fsync", "rename", "link"])
def test_a_write_that_fails_half_way_changes_nothing(key: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    replace = step != "link"
    path = key if replace else key.with_name("new")
    if step == "write":
        monkeypatch.setattr("builtins.open", full)
    else:
        monkeypatch.setattr(os, step, full)
    with pytest.raises(ConfigError) as caught:
        write_guarded(path, b"other", what="the key", replace=replace)
    monkeypatch.undo()
    assert caught.value.code == "file.unwritable"
    assert "No space left" in caught.value.message
    assert [one.name for one in key.parent.iterdir()] == ["key"]
    assert key.read_bytes() == b"secret"


@pytest.mark.parametrize("replace", [False, True])
def test_when_it_is_written_a_power_failure_takes_nothing_of_it(
    key: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    power = Power(monkeypatch)
    write_guarded(key if replace else key.with_name("new"), b"x" * 100_000, what="the key", replace=replace)
    assert (power.placed, power.torn, power.open_folders) == (1, [], set())


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        write_guarded(tmp_path / "no" / "key", b"x", what="the key")
    assert caught.value.code == "file.unwritable"


# ---- what a killed writer left


class Killed(BaseException):
    """The process ends here, and tidies up nothing."""


@pytest.mark.parametrize(("step", "replace"), [("fsync", True), ("rename", True), ("link", False), ("unlink", False)])
def test_what_a_write_left_that_was_killed_half_way_is_cleared_away(
    key: Path, monkeypatch: pytest.MonkeyPatch, step: str, replace: bool
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Killed

    path = key if replace else key.with_name("new")
    with monkeypatch.context() as patched:
        patched.setattr(os, step, killed)
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(Killed):
            write_guarded(path, b"other", what="the key", replace=replace)
    assert [one.name for one in key.parent.iterdir() if one.name.startswith(f".{path.name}.")] != []
    clear_drafts(path)
    assert [one.name for one in key.parent.iterdir() if one.name.startswith(".")] == []
    assert key.read_bytes() == b"secret"


def test_nothing_but_drafts_of_that_very_file_is_cleared_away(key: Path) -> None:
    others = (".key.00112233445566778", ".key.0011223344556677.x", ".kez.0011223344556677", ".other.0011223344556677")
    for name in others:
        key.with_name(name).touch()
    key.with_name(".key.0011223344556677").touch()
    clear_drafts(key)
    assert {path.name for path in key.parent.iterdir()} == {"key", *others}


def test_a_draft_that_cannot_be_removed_is_said(key: Path) -> None:
    (key.parent / ".key.0011223344556677").mkdir()
    with pytest.raises(ConfigError) as caught:
        clear_drafts(key)
    assert caught.value.code == "file.unwritable"
