"""What files held is kept once, comes back as it was or not at all, and never takes more room than it may."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from astrid.errors import ConfigError
from astrid.home import KeptFiles


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, 100)
    for content in (b"one", b"", b"\0\xff"):
        kept.keep(content)
        assert kept.get(sha(content)) == content
    assert kept.get(sha(b"never kept")) is None


def test_the_same_content_is_kept_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, 100)
    kept.keep(b"one")
    kept.keep(b"one")
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_changed_on_the_disk_does_not_come_back(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, 100)
    kept.keep(b"one")
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"two")
    assert kept.get(sha(b"one")) is None


def test_what_was_kept_longest_ago_makes_room(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, 10)
    for age, content in enumerate((b"aaaa", b"bbbb")):
        kept.keep(content)
        os.utime(tmp_path / sha(content).hex(), (age, age))
    kept.keep(b"aaaa")  # wanted again
    kept.keep(b"cccc")
    assert kept.get(sha(b"bbbb")) is None
    assert kept.get(sha(b"aaaa")) == b"aaaa"
    assert kept.get(sha(b"cccc")) == b"cccc"


def test_there_is_never_more_than_may_be_also_after_a_restart(tmp_path: Path) -> None:
    for number in range(30):
        kept = KeptFiles(tmp_path, 50)
        for again in range(3):
            kept.keep(b"%05d%02d" % (number, again))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 50


@pytest.mark.parametrize("bound", [0, 2])
def test_what_is_more_than_all_room_is_not_kept(tmp_path: Path, bound: int) -> None:
    kept = KeptFiles(tmp_path, bound)
    kept.keep(b"one")
    assert names(tmp_path) == set()
    assert kept.get(sha(b"one")) is None


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    (tmp_path / f".{sha(b'one').hex()}.{'0' * 16}").write_bytes(b"on")
    (tmp_path / sha(b"two").hex()).write_bytes(b"two")
    KeptFiles(tmp_path, 100)
    assert names(tmp_path) == {sha(b"two").hex()}


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(ConfigError) as caught:
        KeptFiles(tmp_path / "kept", 100)
    assert caught.value.code == "home.unusable"


def test_what_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path / "kept", 100)  # makes the folder
    (tmp_path / "kept" / sha(b"two").hex()).symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError):
        kept.keep(b"two")
