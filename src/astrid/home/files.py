"""Guarded files: opened first, judged on the open descriptor, written whole or not at all.

Source: OpenSSH (a private key that others can read is refused); threats 41, 43.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from astrid.errors import ConfigError

MAX_GUARDED_BYTES = 1024 * 1024
_DRAFT_BYTES = 8  # of the random part of a draft's name


def read_guarded(
    path: Path,
    *,
    what: str,
    max_bytes: int = MAX_GUARDED_BYTES,
    private: bool = True,
    secret: bool = False,
    of_system: bool = False,
    made_by: str = "run `astrid init`",
) -> bytes:
    """The content of a file of our own.  ``private`` ones nobody else may even read; the others nobody else may change.
    Nor may others put another file in its place.  A ``secret`` one has no second name.  One ``of_system`` belongs to
    root, or to whoever this is where there is no other.  ``made_by`` is the advice where there is none.

    Raises:
        ConfigError: missing, a link, not a plain file, of another owner, open to others, in a folder that others may
        change, or too long.
    """
    owners = {os.geteuid(), 0} if of_system else {os.geteuid()}
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # SAFETY: the file is opened below the very folder that was judged, whatever its path leads to by then.
            _judge_folder(os.fstat(folder), path.parent, what)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(path.name, flags, dir_fd=folder)
            try:
                _judge(os.fstat(fd), path, what, owners=owners, forbidden=0o077 if private else 0o022)
                if secret and os.fstat(fd).st_nlink > 1:
                    _judge_names(fd, path, what, folder)
                with open(fd, "rb", closefd=False) as file:
                    data = file.read(max_bytes + 1)
            finally:
                os.close(fd)
        finally:
            os.close(folder)
    except FileNotFoundError as error:
        raise ConfigError("file.missing", f"{what} is missing", where=str(path), advice=made_by) from error
    except OSError as error:
        raise ConfigError(
            "file.unreadable",
            f"{what} cannot be opened: {error.strerror}",
            where=str(path),
            advice="check the file's owner and mode",
        ) from error
    if len(data) > max_bytes:
        raise ConfigError(
            "file.too-long",
            f"{what} is longer than {max_bytes} bytes",
            where=str(path),
            advice="it is not what it should be",
        )
    return data


def _judge(found: os.stat_result, path: Path, what: str, *, owners: set[int], forbidden: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(
            "file.not-plain", f"{what} is not a plain file", where=str(path), advice="put a plain file in its place"
        )
    if found.st_uid not in owners:
        raise ConfigError(
            "file.owner", f"{what} belongs to another user", where=str(path), advice="chown it to yourself"
        )
    if stat.S_IMODE(found.st_mode) & forbidden:
        mode = stat.S_IMODE(found.st_mode)
        wanted = 0o600 if forbidden & 0o044 else mode & ~0o022
        raise ConfigError(
            "file.open-to-others",
            f"{what} has mode {mode:04o}, so others can get at it",
            where=str(path),
            advice=f"chmod {wanted:04o} {path}",
        )


def _judge_folder(found: os.stat_result, folder: Path, what: str) -> None:
    # In a sticky one, whose it is not can neither rename nor remove a file; who made the file is judged by itself.
    loose = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    if loose or found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            "file.folder",
            f"{what} lies in a folder where others may put another file in its place",
            where=str(folder),
            advice=f"chmod go-w {folder}, or keep the file in a folder of your own",
        )


def _judge_names(fd: int, path: Path, what: str, folder: int) -> None:
    """A second name may lie where a tool may read.  Our own drafts are none: a writer may have been killed just now."""
    inode = os.fstat(fd).st_ino
    with os.scandir(folder) as entries:
        drafts = sum(entry.inode() == inode for entry in entries if _draft_of(path).fullmatch(entry.name))
    # Counted after they were listed: a writer that is at it removes its draft, and never makes one of this file.
    if os.fstat(fd).st_nlink > 1 + drafts:
        raise ConfigError(
            "file.linked",
            f"{what} has another name somewhere else, under which it may be read",
            where=str(path),
            advice=f"find it with `find / -xdev -inum {inode}`, and remove it",
        )


def _draft_of(path: Path) -> re.Pattern[str]:
    """The names of files that ``write_guarded`` makes on the way to ``path``."""
    return re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{{2 * _DRAFT_BYTES}}}")


def write_guarded(path: Path, data: bytes, *, what: str, replace: bool = False, mode: int = 0o600) -> None:
    """Write a file whole: beside its place, synced, then moved there.  Without ``replace`` an existing file is an
    error.

    Raises:
        ConfigError: it exists already, or cannot be written.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(_DRAFT_BYTES)}")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.rename(beside, path)
            else:
                os.link(beside, path)  # unlike a rename, a link never replaces
                os.unlink(beside)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except FileExistsError as error:
        raise ConfigError(
            "file.exists", f"{what} exists already", where=str(path), advice="nothing was changed"
        ) from error
    except OSError as error:
        raise ConfigError(
            "file.unwritable",
            f"{what} cannot be written: {error.strerror}",
            where=str(path),
            advice="check space and permissions",
        ) from error


def clear_drafts(path: Path) -> None:
    """Remove what ``write_guarded`` left beside ``path`` where it was killed.  For whoever alone writes ``path``.

    Raises:
        ConfigError: it cannot be removed.
    """
    try:
        for name in filter(_draft_of(path).fullmatch, os.listdir(path.parent)):
            (path.parent / name).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            "file.unwritable",
            f"a draft that was left behind cannot be removed: {error.strerror}",
            where=str(error.filename or path.parent),
            advice="check the owner and mode of the folder",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
