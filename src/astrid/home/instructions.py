"""The files by which a project or its user instructs an agent: found, read, and whether they are trusted.

In the workspace these are ``ASTRID.md``, ``AGENTS.md`` and ``CLAUDE.md`` of its root, and of the user ``ASTRID.md`` in
the home.  Folders above the workspace are none of its business; what lies in folders below is for the tools to read.

Never: follows a link, waits for a fifo, reads a device, takes more than the limit into memory, or hands on other bytes
than those whose digest was looked up.

Source: threats 27, 44; the common names of such files.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

import msgspec

from astrid.core.frame import MAX_PASSAGE_BYTES, Passage, Standing
from astrid.errors import WorkspaceError
from astrid.home.files import read_guarded
from astrid.home.layout import Home
from astrid.home.trust import TrustList

NAMES = ("ASTRID.md", "AGENTS.md", "CLAUDE.md")
_NO_LINK = os.O_CLOEXEC | os.O_NOFOLLOW
# SAFETY: without O_NONBLOCK the open of a fifo waits for a writer, for ever.
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | _NO_LINK
FOLDER = os.O_RDONLY | os.O_DIRECTORY | _NO_LINK


class LeftOut(msgspec.Struct, frozen=True):
    """A file that is there and is not read, and why, for people."""

    path: bytes
    why: str


def read_instructions(root: str, home: Home, trusted: TrustList) -> tuple[Passage | LeftOut, ...]:
    """What instructs a session in the workspace at ``root``, a path without links; the nearest first.

    Raises:
        ConfigError: the user's own file is open to others, or no plain file.
        WorkspaceError: the workspace cannot be opened.
    """
    return (*_of_workspace(os.fsencode(root), trusted), *_of_user(home))


def _of_workspace(root: bytes, trusted: TrustList) -> Iterator[Passage | LeftOut]:
    try:
        folder = os.open(root, FOLDER)
    except OSError as error:
        raise WorkspaceError(
            "workspace.missing",
            f"the workspace cannot be opened: {error.strerror}",
            effect="none",
            where=ascii(os.fsdecode(root))[1:-1],
            advice="name a folder",
        ) from error
    try:
        for name in NAMES:
            found = read_beginning(folder, root, os.fsencode(name), MAX_PASSAGE_BYTES)
            if isinstance(found, LeftOut):
                yield found
            elif found is not None:
                yield as_passage(found, standing_of(found, trusted))
    finally:
        os.close(folder)


def _of_user(home: Home) -> Iterator[Passage]:
    if os.path.lexists(home.instructions):
        data = read_guarded(home.instructions, what="the file with your own instructions", private=False)
        yield as_passage(Beginning(os.fsencode(home.instructions), data[:MAX_PASSAGE_BYTES], len(data)), Standing.OWN)


class Beginning(msgspec.Struct, frozen=True):
    """What was read of a file: all of it, or as much as was asked for."""

    path: bytes
    data: bytes
    total_bytes: int


def as_passage(found: Beginning, standing: Standing) -> Passage:
    """What was read, as it may be quoted."""
    return Passage(path=found.path, data=found.data, total_bytes=found.total_bytes, standing=standing)


def standing_of(found: Beginning, trusted: TrustList) -> Standing:
    """What speaks for exactly these bytes at this place in a workspace."""
    return Standing.TRUSTED if trusted.holds(found.path, found.data) else Standing.UNTRUSTED


def why_not(error: OSError) -> str:
    """Why something is left out that could not be opened, for people."""
    match error.errno:
        case errno.ELOOP:
            return "it is a link"
        case errno.ENOTDIR:  # what the system says of a link where a folder is wanted
            return "it is a link, or no folder"
        case _:
            return (error.strerror or "it cannot be opened").lower()


def read_beginning(folder: int, above: bytes, name: bytes, max_bytes: int) -> Beginning | LeftOut | None:
    """At most ``max_bytes`` of the plain file ``name`` in ``folder``, whose path is ``above``; nothing if it is not
    there.
    """
    path = os.path.join(above, name)
    try:
        descriptor = os.open(name, READ, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        return LeftOut(path, why_not(error))
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return LeftOut(path, "it is no plain file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes)
    except OSError as error:
        return LeftOut(path, why_not(error))
    finally:
        os.close(descriptor)
    return Beginning(path, data, max(found.st_size, len(data)))
