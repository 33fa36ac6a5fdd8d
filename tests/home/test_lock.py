"""One daemon a home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astrid.errors import LaunchError
from astrid.home import HomeLock
from tests.fakes.home import make_home


def test_a_home_has_one_daemon_at_a_time(tmp_path: Path) -> None:
    home, _ = make_home(tmp_path / "home")
    first = HomeLock(home)
    with pytest.raises(LaunchError) as caught:
        HomeLock(home)
    assert (caught.value.code, f"process {os.getpid()}" in caught.value.message) == ("daemon.running", True)
    first.close()
    HomeLock(home).close()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    home, _ = make_home(tmp_path / "home")
    home.lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LaunchError) as caught:
        HomeLock(home)
    assert caught.value.code == "daemon.no-lock"
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_that_is_no_plain_file_is_refused_and_let_go(tmp_path: Path) -> None:
    home, _ = make_home(tmp_path / "home")
    os.mkfifo(home.lock)
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(LaunchError) as caught:
        HomeLock(home)
    assert caught.value.code == "daemon.no-lock"
    assert len(os.listdir("/dev/fd")) == before
