"""What a disk still holds after a power cut: of each file exactly what was last synced, and nothing since.

A process that is killed leaves everything it wrote in the kernel's memory, so a kill alone never shows that a sync is
missing.  This keeps the worst disk that may be: at each sync the file's content is copied, when the sync has returned
it counts, and at the cut every file that was written since goes back to it.  A file that was never synced is empty.

Renames and unlinks count at once, and what tools wrote into the workspace stays: for what must hold afterwards that is
the worse of two worlds, since an effect is there and the record of its permit may not be.

Source: fsync(2); SQLite documentation (a shared-memory file is made anew after a crash).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tests.crash.trap import Kind, Stop

_REMADE = "-shm"
# Others write below the root as well, and a file of theirs may get the inode of one of the daemon's that is gone.
_OF_DAEMON = ("log/", "run/", "anchor/daemon", "anchor/.daemon.")


class Platter:
    """The disk below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._inside = f"{root}/"
        self._dirty: set[int] = set()  # by inode: a file keeps its own through a rename
        self._synced: dict[int, bytes] = {}
        self._syncing: dict[int, tuple[int, bytes]] = {}  # by thread

    def stopped(self, stop: Stop) -> None:
        """Take note of a call, which is not lost by being looked at."""
        done = self._syncing.pop(stop.tid, None)
        if done is not None:  # the thread goes on, so its sync has returned
            self._synced[done[0]] = done[1]
        if not stop.target.startswith(self._inside) or stop.target.endswith(_REMADE):
            return
        with suppress(OSError):  # gone with its process
            inode = os.stat(stop.file).st_ino
            if stop.kind is Kind.WRITE:
                self._dirty.add(inode)
            elif stop.kind is Kind.SYNC and not os.path.isdir(stop.file):
                self._syncing[stop.tid] = (inode, stop.file.read_bytes())

    def cut(self) -> list[str]:
        """The power is gone: the files that lost something."""
        lost: list[str] = []
        for path in sorted(self._root.rglob("*")):
            if not path.is_file() or not str(path.relative_to(self._root)).startswith(_OF_DAEMON):
                continue
            if path.name.endswith(_REMADE):
                path.unlink()
                continue
            inode = path.stat().st_ino
            kept = self._synced.get(inode, b"")
            if inode in self._dirty and path.read_bytes() != kept:
                path.write_bytes(kept)
                lost.append(path.name)
        return lost
