"""Reading one file through its handle, and showing lines of it.

Never: follows a link, waits for a fifo, reads a device, or takes more than ``MAX_FILE_BYTES`` into memory.

Source: the first Astrid (texts, limits).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from types import TracebackType
from typing import Self

from astrid.adapters.workspace.observe import MAX_FILE_BYTES
from astrid.adapters.workspace.paths import Target
from astrid.adapters.workspace.text import CEILING_BYTES, cut
from astrid.core.call import Pre
from astrid.core.images import MAX_IMAGE_BYTES, MAX_SIDE, image_of
from astrid.core.visible import visible
from astrid.errors import Effect, WorkspaceError

DEFAULT_LINES = 2000
MAX_LINE_BYTES = 2000
BINARY_PROBE_BYTES = 8192
_CHUNK_BYTES = 1024 * 1024
_FOOTER_ROOM_BYTES = 128


class Telling:
    """A block in which the system's refusals become ones that a model can be told.  ``effect`` says what has
    happened so far."""

    def __init__(self, target: Target) -> None:
        self.effect: Effect = "none"
        self._shown = target.shown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise WorkspaceError("workspace.not-found", f"Path not found: {self._shown}", effect=self.effect) from error
        if error.errno == errno.ELOOP:
            raise WorkspaceError(
                "workspace.link",
                f"{self._shown} goes through a symbolic link",
                effect=self.effect,
                advice="name the real path of the file",
            ) from error
        reason = error.strerror or "the system refused"
        raise WorkspaceError("workspace.io", f"I/O error: {reason}", effect=self.effect) from error


def read_bytes(target: Target) -> tuple[bytes, Pre]:
    """The content of a regular file of at most ``MAX_FILE_BYTES``, and what it was read from.

    Raises:
        WorkspaceError: it is missing, no regular file, too long, or cannot be read.
    """
    with Telling(target), target.root.file(target.parts) as descriptor:
        status = os.fstat(descriptor)
        check_regular(target, status)
        data = bytearray()
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            data += chunk
            if len(data) > MAX_FILE_BYTES:
                raise WorkspaceError(
                    "workspace.too-large",
                    f"{target.shown} is larger than 10 MiB",
                    effect="none",
                    advice="use grep, or a command such as head, to see a part of it",
                )
        return bytes(data), Pre(target.path_name, status.st_dev, status.st_ino, hashlib.sha256(data).digest())


def check_image(target: Target, data: bytes) -> None:
    """Return if ``data``, which begins as an image does, is one that a model can be shown.

    Raises:
        WorkspaceError: it is not.
    """
    if image_of(data, 0) is None:
        raise WorkspaceError(
            "workspace.image",
            f"{target.shown} is an image that cannot be shown: broken, of more than {MAX_IMAGE_BYTES} bytes, or with a "
            f"side of more than {MAX_SIDE} pixels",
            effect="none",
            advice="make a smaller copy of it, or ask about it without looking",
        )


def read_text(target: Target) -> tuple[str, Pre]:
    """The text of a file, and what it was read from.

    Raises:
        WorkspaceError: as ``read_bytes``, or it is no UTF-8 text.
    """
    data, found = read_bytes(target)
    return text_of(target, data), found


def text_of(target: Target, data: bytes) -> str:
    """The text that a file holds.

    Raises:
        WorkspaceError: it is no UTF-8 text.
    """
    if b"\0" in data[:BINARY_PROBE_BYTES]:
        raise WorkspaceError("workspace.binary", f"{target.shown} appears to be a binary file", effect="none")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise WorkspaceError("workspace.not-utf8", f"{target.shown} is not valid UTF-8", effect="none") from error


def number_lines(text: str, offset: int, limit: int) -> str:
    """Lines ``offset`` to ``offset + limit - 1`` of ``text``, numbered from 1, as many as the ceiling of results
    takes."""
    lines = split_lines(text)
    if offset > len(lines):
        return f"(file has {len(lines)} lines, offset {offset} is past end)"
    shown: list[str] = []
    room = CEILING_BYTES - _FOOTER_ROOM_BYTES
    for number, line in enumerate(lines[offset - 1 : offset - 1 + limit], start=offset):
        row = f"{number:>6}\t{visible(cut(line, MAX_LINE_BYTES))}"
        room -= len(row.encode()) + 1
        if room < 0:
            break
        shown.append(row)
    last = offset + len(shown) - 1
    if offset > 1 or last < len(lines):
        shown.append(f"(showing lines {offset}-{last} of {len(lines)}; use offset/limit for more)")
    return "\n".join(shown)


def split_lines(text: str) -> list[str]:
    """Lines as editors count them: a final line feed ends the last line, and a carriage return before one belongs
    to it."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def check_regular(target: Target, status: os.stat_result) -> None:
    """Return if ``status`` is that of a plain file.

    Raises:
        WorkspaceError: a folder, a fifo, a device, a socket, or a file through which the kernel speaks.
    """
    if stat.S_ISDIR(status.st_mode):
        raise WorkspaceError(
            "workspace.is-folder",
            f"{target.shown} is a directory",
            effect="none",
            advice="use list_directory to see what is in it",
        )
    if not is_plain(status):
        raise WorkspaceError("workspace.not-regular", f"{target.shown} is not a regular file", effect="none")


def is_plain(status: os.stat_result) -> bool:
    """Whether ``status`` is that of a file with content of its own, on a disk."""
    # The kernel's files take no blocks; what does need not be asked about any further.
    return stat.S_ISREG(status.st_mode) and (status.st_blocks > 0 or status.st_dev not in _kernel_devices())


def _kernel_devices() -> set[int]:
    """The file systems of /proc and /sys, which may be mounted elsewhere too."""
    found: set[int] = set()
    for folder in ("/proc", "/sys"):
        with suppress(FileNotFoundError):  # macOS has neither
            found.add(os.stat(folder).st_dev)
    return found - {os.stat("/").st_dev}  # where they are not mounted they are plain folders
