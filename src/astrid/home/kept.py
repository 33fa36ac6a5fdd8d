"""What files held before a tool changed them, by the digest of the content, so that it can be put back.

Content that was kept once is kept once.  When there is too much of it, what was kept longest ago goes first.

Never: gives back what is not the content that was asked for.

Source: users want changes by tools to be reversible; FIPS 180-4 (SHA-256, as in a call's preconditions).
"""

from __future__ import annotations

import hashlib
import os
import threading  # noqa: TID251 - no thread is started; those of tools call this side by side
from pathlib import Path

from astrid.errors import ConfigError
from astrid.home.files import clear_drafts, read_guarded, write_guarded

ROOM_PERCENT = 90  # of the bound, after room was made
_WHAT = "what a file held"


class KeptFiles:
    """See the module.  For threads: one instance for each folder, of the one process that writes there.

    ``max_bytes`` bounds all that is kept; 0 keeps nothing.  What a killed process left half written goes at once.
    The folder is made if it is missing, as in a home that was made before anything was kept.

    Raises:
        ConfigError: the folder cannot be used.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._bytes = self._look()
        except OSError as error:
            raise ConfigError(
                "home.unusable",
                f"what files held cannot be kept: {error.strerror}",
                where=str(folder),
                advice="check its permissions",
            ) from error

    def keep(self, content: bytes) -> None:
        """Keep ``content``; when this returns it is durable.

        Raises:
            ConfigError: it cannot be written; whoever is about to change the file should not.
        """
        if len(content) > self._max_bytes:
            return
        path = self._path(hashlib.sha256(content).digest())
        with self._lock:
            try:
                os.utime(path)  # wanted again: it goes last
            except FileNotFoundError:
                self._make_room(len(content))
                write_guarded(path, content, what=_WHAT)
                self._bytes += len(content)

    def get(self, digest: bytes) -> bytes | None:
        """The content with this SHA-256; ``None`` if it is not kept, or no longer what it was."""
        try:
            content = read_guarded(self._path(digest), what=_WHAT, max_bytes=self._max_bytes)
        except ConfigError:
            return None
        return content if hashlib.sha256(content).digest() == digest else None

    def _path(self, digest: bytes) -> Path:
        return self._folder / digest.hex()

    def _look(self) -> int:
        """How much is there, once the drafts are gone."""
        drafts = {Path(name).name[1:].rpartition(".")[0] for name in os.listdir(self._folder) if name.startswith(".")}
        for name in drafts:
            clear_drafts(self._folder / name)
        return sum(entry.stat().st_size for entry in os.scandir(self._folder))

    def _make_room(self, size: int) -> None:
        there = self._bytes
        if there + size <= self._max_bytes:
            return
        found = sorted(os.scandir(self._folder), key=lambda entry: entry.stat().st_mtime_ns)
        for entry in found:
            if there + size <= self._max_bytes * ROOM_PERCENT // 100:
                break
            there -= entry.stat().st_size
            os.unlink(entry.path)
        self._bytes = max(there, 0)
