"""What a contained program cannot change although it lies in its workspace, and what is not there for it at all.

A protected name becomes a mount of its own, read-only; the folders on the way to it become mounts as well, since a
mount cannot be renamed away.  A name that is not there yet is occupied by an empty folder, a *stub*, while a child
runs: otherwise the child would make it.

Never: follows a link: a link on the way is itself covered, by what it leads to in the workspace or by nothing.

Invariants:
  Stubs are made and removed by the zygote, which sees every child; one that another child of the same workspace still
  lives on is not removed, since that would uncover the name for it.

Source: attacks that rename the parent of a protected folder; CVE-2026-25725 (a missing settings file).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST, ENOENT, ENOTDIR, ENOTEMPTY

from astrid.adapters.sandbox.cage import kernel
from astrid.adapters.sandbox.cage.requests import within

_PATH = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
READ_ONLY = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
_WRITABLE = kernel.MS_NOSUID | kernel.MS_NODEV
STUB_MODE = 0o555


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, _PATH)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_stubs(workspace: int, paths: Iterable[str], stubs: Iterable[str]) -> list[str]:
    """Occupy the first missing part of each of ``paths`` by an empty folder, unless it lies in one of the ``stubs``
    that are there; the names that were missing, or are stubs that somebody left.

    Raises:
        OSError: a name could neither be made nor is there.
    """
    made: list[str] = []
    there = tuple(stubs)
    try:
        for path in paths:
            if not any(within(path, stub) for stub in (*there, *made)):
                made += _occupy(workspace, path)
    except OSError:
        remove_stubs(workspace, made)
        raise
    return made


def _occupy(workspace: int, path: str) -> list[str]:
    """Occupy the shortest part of ``path`` that is not there; none if all of it is, or a link or a file ends it before.

    An empty folder of our mode was left by a zygote that was killed: it is ours again, and goes with this child.
    """
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        whole = "/".join(parts[:count])
        try:
            status = os.stat(whole, dir_fd=workspace, follow_symlinks=False)
        except FileNotFoundError:
            # What somebody else made meanwhile is there; where we may make nothing, the child, with no more rights,
            # cannot.
            with suppress(FileExistsError, PermissionError):
                os.mkdir(whole, STUB_MODE, dir_fd=workspace)
                return [whole]
            return []
        if not stat.S_ISDIR(status.st_mode):
            return []
        if stat.S_IMODE(status.st_mode) == STUB_MODE and _is_empty(workspace, whole):
            return [whole]
    return []


def _is_empty(workspace: int, folder: str) -> bool:
    with suppress(OSError):  # it is gone, or another by now: then it is not ours either
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=workspace)
        try:
            return not os.listdir(at)
        finally:
            os.close(at)
    return False


def remove_stubs(workspace: int, stubs: Iterable[str]) -> None:
    """Remove what ``make_stubs`` made and nobody has used since."""
    for name in stubs:
        try:
            os.rmdir(name, dir_fd=workspace)
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR, ENOTEMPTY, EEXIST):
                raise


def protect(folder: str, paths: Iterable[str]) -> None:
    """Make each of ``paths`` below the mounted workspace ``folder`` read-only, and pin what leads there.

    Raises:
        OSError: a path is missing although it could be made, or cannot be covered.
    """
    pinned: set[str] = set()
    sealed: set[str] = set()
    for path in paths:
        at = folder
        parts = path.split("/")
        for part, below in zip(parts, (*parts[1:], ""), strict=True):
            at = f"{at}/{part}"
            if at in sealed:
                break
            try:
                mode = os.lstat(at).st_mode
            except FileNotFoundError:
                if os.access(folder, os.W_OK):
                    raise
                break  # nor can the child make it, which has no more rights than we
            if below and stat.S_ISDIR(mode) and os.path.lexists(f"{at}/{below}"):
                if at not in pinned:
                    _cover(at, at, _WRITABLE)
                    pinned.add(at)
                continue
            _cover(at, _target(at, folder) if stat.S_ISLNK(mode) else at, READ_ONLY)
            sealed.add(at)
            break


def hide(path: str) -> bool:
    """Let nothing be seen at ``path``; whether there was anything."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(mode):
        kernel.mount("tmpfs", path, READ_ONLY | kernel.MS_NOEXEC, "size=4k,mode=555")
    else:
        _cover(path, os.devnull, READ_ONLY)
    return True


def _target(link: str, folder: str) -> str:
    """The file to which ``link`` leads, or nothing if that is outside ``folder``.  No folder can cover a link."""
    where = os.path.realpath(link)
    return where if within(where, folder) and os.path.isfile(where) else os.devnull


def _cover(at: str, source: str, flags: int) -> None:
    with _opened(source) as shown, _opened(at) as covered:
        tree = kernel.copy_mount(shown, flags)
        try:
            kernel.place_mount_on(tree, covered)
        finally:
            os.close(tree)
