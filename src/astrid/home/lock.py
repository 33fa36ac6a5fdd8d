"""The right to be alone with a home: its daemon has it for as long as it runs, and whoever must know that none does.

Source: architecture 4 ("one per home, by flock"); threats 30, 43.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from astrid.errors import LaunchError
from astrid.home.layout import Home


class HomeLock:
    """The right to be the daemon of a home, or to keep one from starting, for as long as this object is open."""

    def __init__(self, home: Home) -> None:
        self._path = home.lock
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._descriptor = os.open(home.lock, flags, 0o600)
            _check_plain(self._descriptor)
        except OSError as error:
            raise LaunchError(
                "daemon.no-lock",
                f"the daemon's lock cannot be opened: {error.strerror}",
                effect="none",
                where=str(home.lock),
                advice="check the owner and mode of the home, and that its disk can be written",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise LaunchError(
                "daemon.running",
                f"another daemon (process {holder}) serves this home",
                effect="none",
                where=str(home.root),
                advice="use that one, or stop it with `astrid daemon stop`",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)  # for people: what counts is the lock

    def close(self) -> None:
        """Let go of the home."""
        os.close(self._descriptor)


def _check_plain(descriptor: int) -> None:
    """Return if it is a plain file; else it is closed.

    Raises:
        OSError: it is something that cannot be written like one.
    """
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file")
