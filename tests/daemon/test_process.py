"""Who is at the other end of a socket."""

from __future__ import annotations

import os
import socket

from astrid.daemon.process import peer_user


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
