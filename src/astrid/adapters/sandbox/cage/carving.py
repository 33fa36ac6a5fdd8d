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
from collections.abc import Iterable
from contextlib import suppress
from errno import EEXIST, ENOENT, ENOTDIR, ENOTEMPTY

from astrid.adapters.sandbox.cage import kernel
from astrid.adapters.sandbox.cage.requests import within

READ_ONLY = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
_WRITABLE = kernel.MS_NOSUID | kernel.MS_NODEV
STUB_MODE = 0o555


def make_stubs(workspace: int, paths: Iterable[str], stubs: Iterable[str]) -> list[str]:
    """Occupy the first missing part of each of ``paths`` by an empty folder, unless it lies in one of the ``stubs``
    that are there; the names that were missing, or are stubs that somebody left.

    Raises:
        OSError: a name could neither be made nor is there.
    """
    made: list[str] = []
    there = set(stubs)
    try:
        for path in paths:
            if there.isdisjoint(_ways(path)):
                new = _occupy(workspace, path)
                made += new
                there.update(new)
    except OSError:
        remove_stubs(workspace, made)
        raise
    return made


def _ways(path: str) -> list[str]:
    """``path`` and what leads to it: ``a``, ``a/b``, ``a/b/c``."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _occupy(workspace: int, path: str) -> list[str]:
    """Make the first part of ``path`` that is missing, unless a link or a file ends it before.

    An empty folder of our mode was left by a zygote that was killed: it is ours again, and goes with this child.
    """
    for part in _ways(path):
        try:
            # What is there, or what somebody else makes meanwhile, stays; where we may make nothing, the child, with
            # no more rights, cannot.
            os.mkdir(part, STUB_MODE, dir_fd=workspace)
        except FileExistsError:
            mode = _mode_of(workspace, part)
            # SAFETY: the next part would be made behind a link, wherever that leads.
            if not stat.S_ISDIR(mode):
                break
            if stat.S_IMODE(mode) == STUB_MODE and _is_empty(workspace, part):
                return [part]
        except PermissionError:
            break
        else:
            return [part]
    return []


def _mode_of(workspace: int, name: str) -> int:
    """0 if it is gone by now."""
    try:
        return os.lstat(name, dir_fd=workspace).st_mode
    except FileNotFoundError:
        return 0


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
    """Show ``source`` at ``at``, which may be a link: what it is called there is what it is to the child."""
    tree = kernel.copy_mount_at(source, flags)
    try:
        kernel.place_mount(tree, at)
    finally:
        os.close(tree)
