"""Room on the disk that is kept for last words: a file beside the log, given up when the disk is full.

With it gone, what is under way can still be recorded as ended, a token revoked and a stop written down; nothing new
begins until the room is kept again.

Source: architecture 7 ("room is kept for outcomes, revocations and stop"); threats 24.
"""

from __future__ import annotations

import os
from pathlib import Path

BALLAST_BYTES = 8 * 1024 * 1024


class Ballast:
    """One file of ``size_bytes``."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._kept = False

    def keep(self) -> bool:
        """Whether the room is kept, now or since before."""
        if not self._kept:
            self._kept = self._is_there() or (self._fits() and self._write())
        return self._kept

    def give_up(self) -> bool:
        """Whether there was room to give up."""
        self._kept = False
        there = os.path.lexists(self._path)
        self._path.unlink(missing_ok=True)
        return there

    def _is_there(self) -> bool:
        return os.path.lexists(self._path) and os.lstat(self._path).st_size >= self._size_bytes

    def _fits(self) -> bool:
        # With as much again to spare: what takes the last byte of a disk is soon given up once more.
        space = os.statvfs(self._path.parent)
        return space.f_bavail * space.f_frsize >= 2 * self._size_bytes

    def _write(self) -> bool:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(self._path, flags, 0o600), "wb") as file:
                file.write(os.urandom(self._size_bytes))  # zeros take no room on a disk that compresses
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        return True
