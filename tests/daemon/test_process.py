"""One daemon a home, and who is at the other end of a socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from astrid.daemon.process import HomeLock, peer_user
from astrid.errors import LaunchError
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


def test_the_other_end_of_a_unix_socket_is_whom_the_kernel_says() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peer_user(one) == os.geteuid()


def test_what_the_kernel_says_nothing_about_is_nobody() -> None:
    with socket.socket(socket.AF_INET) as unconnected:
        assert peer_user(unconnected) != os.geteuid() or os.geteuid() == 0
    closed = socket.socket(socket.AF_UNIX)
    closed.close()
    assert peer_user(closed) is None
