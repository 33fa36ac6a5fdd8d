"""Power that may fail at any moment: which file would then be found in its place without its content, and which folder
without a name that was put into it.

Only what is synced counts, in the order in which it is.  Nothing is really lost: what the code under test does to names
and when it syncs is written down on the way.

Source: fsync(2), rename(2): a rename is atomic, but neither it nor what was written before it need be on the disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

import pytest

Stamp = tuple[int, int]


class Power:
    """``torn`` are names that would lead to content that is not there; ``open_folders`` are folders that were changed
    and not synced since.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.torn: list[str] = []
        self.open_folders: set[int] = set()
        self.placed = 0
        self._synced: dict[int, Stamp] = {}
        real_sync = os.fsync

        def fsync(descriptor: int) -> None:
            real_sync(descriptor)
            status = os.fstat(descriptor)
            self._synced[status.st_ino] = _stamp(status)
            self.open_folders.discard(status.st_ino)

        monkeypatch.setattr(os, "fsync", fsync)
        for name in ("rename", "replace", "link"):
            monkeypatch.setattr(os, name, self._placing(getattr(os, name)))
        monkeypatch.setattr(os, "mkdir", self._making(os.mkdir))

    def _placing(self, real: Callable[..., None]) -> Callable[..., None]:
        def place(
            old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, **more: Any
        ) -> None:
            status = os.stat(old, dir_fd=src_dir_fd, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and self._synced.get(status.st_ino) != _stamp(status):
                self.torn.append(os.fsdecode(new))
            real(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **more)
            self.placed += 1
            self.open_folders.add(_folder_of(new, dst_dir_fd))

        return place

    def _making(self, real: Callable[..., None]) -> Callable[..., None]:
        def make(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            real(path, mode, dir_fd=dir_fd)
            self.open_folders.add(_folder_of(path, dir_fd))

        return make


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns


def _folder_of(path: Any, folder: int | None) -> int:
    above = os.path.dirname(os.fspath(path))
    return (os.stat(above) if above else os.fstat(folder) if folder is not None else os.stat(".")).st_ino
