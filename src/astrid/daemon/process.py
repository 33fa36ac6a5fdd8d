"""The process around the daemon: closed to debuggers, and without core dumps.

Source: threats 30, 43, 46.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import socket
import struct
import sys
import threading  # noqa: TID251 - for its hook only: a thread that breaks shows no text either
from typing import Protocol

from astrid.daemon.report import say_code_only
from astrid.errors import ConfigError

_PR_SET_DUMPABLE = 4
_DARWIN_SOL_LOCAL, _DARWIN_PEERCRED, _DARWIN_XUCRED_BYTES = 0, 1, 76


def harden() -> None:
    """Nothing of this process may be read by another of the same user, or be left on disk.

    The umask stays the user's: what tools make in a workspace is theirs to share.  Everything of our own is made with
    an explicit mode.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.excepthook = say_code_only
    sys.unraisablehook = _say_of_nobodys
    threading.excepthook = _say_of_thread
    # SAFETY: where nobody handles them, records of libraries go to the standard error output, tracebacks with the text
    # of the exception included: Trio's, of a generator that fails while it is cleared away.
    logging.disable()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def check_environment() -> None:
    """Refuse what would choose our code for us.

    Raises:
        ConfigError: a variable names other places to load Python from, and the interpreter heeds it.
    """
    named = [name for name in ("PYTHONPATH", "PYTHONHOME") if name in os.environ]
    if named and not sys.flags.ignore_environment:
        raise ConfigError(
            "environment.python",
            f"`{named[0]}` chooses what code runs here",
            advice=f"unset it, or start `{sys.executable} -I -m astrid.daemon`",
        )


class Connected(Protocol):
    """A connected socket, Trio's or a plain one."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """What the kernel says about it."""
        ...


def peer_user(connected: Connected) -> int | None:
    """The user id of whoever is at the other end of a Unix socket, as the kernel says; ``None`` if it does not."""
    try:
        if sys.platform == "linux":
            data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return struct.unpack("3i", data)[1]
        data = connected.getsockopt(_DARWIN_SOL_LOCAL, _DARWIN_PEERCRED, _DARWIN_XUCRED_BYTES)
        return struct.unpack_from("II", data)[1]
    except (OSError, struct.error):
        return None


def _say_of_nobodys(broken: sys.UnraisableHookArgs) -> None:
    """An error that nobody can catch, as one of an object that is cleared away."""
    if broken.exc_value is not None:
        say_code_only(broken.exc_type, broken.exc_value, broken.exc_traceback)


def _say_of_thread(broken: threading.ExceptHookArgs) -> None:
    if broken.exc_value is not None:
        say_code_only(broken.exc_type, broken.exc_value, broken.exc_traceback)
