"""What a path holds at this moment: the facts that bind a call to the files it was decided for.

Never: raises for what it cannot see.  What is missing, out of sight or forbidden to read looks the same, so that
preparing a call says nothing about it; performing the call will.

Source: protocol N4 (pre); threats 19, 21, 40.
"""

from __future__ import annotations

import hashlib
import os
import stat

from astrid.adapters.workspace.handles import Parts, Root
from astrid.adapters.workspace.paths import path_name
from astrid.core.call import Pre

MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_PROGRAM_BYTES = 512 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024


def observe(root: Root, parts: Parts, *, max_bytes: int = MAX_FILE_BYTES) -> Pre:
    """What ``parts`` holds.  The digest of the content is empty for what is no regular file, is longer than
    ``max_bytes`` or cannot be read."""
    identity = observe_identity(root, parts)
    if identity.ino == 0:
        return identity
    try:
        with root.file(parts) as descriptor:
            return observe_open(identity.path, descriptor, max_bytes=max_bytes)
    except OSError:  # not to be read, or replaced a moment ago: an identity without content, which permits no replacing
        return identity


def observe_identity(root: Root, parts: Parts) -> Pre:
    """Which file or folder ``parts`` is, whatever it holds."""
    status = root.status(parts)
    path = path_name(root, parts)
    return Pre(path, 0, 0, b"") if status is None else Pre(path, status.st_dev, status.st_ino, b"")


def observe_open(path: str, descriptor: int, *, max_bytes: int = MAX_FILE_BYTES) -> Pre:
    """What ``descriptor``, just opened under the name ``path``, holds."""
    status = os.fstat(descriptor)
    content = _digest(descriptor, max_bytes) if stat.S_ISREG(status.st_mode) else b""
    return Pre(path, status.st_dev, status.st_ino, content)


def observe_for_write(root: Root, parts: Parts) -> tuple[Pre, ...]:
    """What a write of ``parts`` depends on, sorted: the file, and the nearest folder that is there."""
    found = {observe(root, parts)}
    for depth in range(len(parts) - 1, -1, -1):
        folder = observe_identity(root, parts[:depth])
        if folder.ino:
            return tuple(sorted({*found, folder}))
    return tuple(found)


def _digest(descriptor: int, max_bytes: int) -> bytes:
    digest = hashlib.sha256()
    room = max_bytes
    while chunk := os.read(descriptor, _CHUNK_BYTES):
        room -= len(chunk)
        if room < 0:  # counted while reading: a file may be longer than it says
            return b""
        digest.update(chunk)
    return digest.digest()
