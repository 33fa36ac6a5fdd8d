"""Writing, editing and removing one file through handles.

Never: leaves a half-written file, follows a link, writes through a hard link, or replaces anything but what the call
was decided for.

The text goes into a new file in the same folder, which then takes the old one's name, so readers see all of the old
or all of the new. These functions run in a thread that is never abandoned: a write happens, or it does not.

Invariant: an error whose ``effect`` is none means that nothing changed.

Source: the first Astrid (texts; "not atomic"); threats 19, 21.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress

from astrid.adapters.workspace.handles import READ
from astrid.adapters.workspace.observe import MAX_FILE_BYTES, observe_open
from astrid.adapters.workspace.paths import Target, path_name
from astrid.adapters.workspace.reading import Telling, check_regular, read_text
from astrid.adapters.workspace.watchman import disposed
from astrid.core.call import Pre
from astrid.errors import ConfigError, Effect, WorkspaceError

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # for reading, since a folder is fsynced too
_DRAFT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS_HERE = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


Keep = Callable[[bytes], None]


def nothing(content: bytes) -> None:
    """Keeps nothing."""


def write(target: Target, data: bytes, expected: tuple[Pre, ...], keep: Keep = nothing) -> None:
    """Give ``target`` the content ``data``, making folders as needed, if everything ``expected`` names is still as it
    says.  ``keep`` is given what it held before.

    Raises:
        WorkspaceError: something changed, the target is nothing to be replaced, or the system refused; ``effect`` is
        exact.
    """
    if len(data) > MAX_FILE_BYTES:
        raise _too_much()
    before = {pre.path: pre for pre in expected}
    was = before.get(target.path_name)
    depth = _deepest_folder(target, before)
    if was is None or depth is None:
        raise changed()
    with Telling(target) as telling:
        folder = target.root.open_folder(target.parts[:depth], _OPEN_FOLDER)
        try:
            status = os.fstat(folder)
            there = before[path_name(target.root, target.parts[:depth])]
            if (status.st_dev, status.st_ino) != (there.dev, there.ino):
                raise changed()
            for name in target.parts[depth:-1]:
                folder = _make_folder(folder, name, telling)
            _replace(target, folder, data, was, keep, telling)
        finally:
            os.close(folder)


def edit(target: Target, old: str, new: str, *, every: bool, expected: tuple[Pre, ...], keep: Keep = nothing) -> int:
    """Replace ``old`` by ``new`` where it stands once, or ``every`` time.  How often it stood there.

    Raises:
        WorkspaceError: ``old`` is not there, or not once; otherwise as ``read_text`` and ``write``.
    """
    text, found = read_text(target)
    if found not in expected:
        raise changed()
    count = text.count(old)
    if count == 0:
        raise WorkspaceError("workspace.no-match", f"old_string not found in {target.shown}", effect="none")
    if count > 1 and not every:
        raise WorkspaceError(
            "workspace.many-matches",
            f"old_string found {count} times in {target.shown}"
            " — use replace_all or provide more context to make it unique",
            effect="none",
        )
    # SAFETY: judged before it is made: a million small places, each replaced by a megabyte, would be all our memory.
    if len(text.encode()) + count * (len(new.encode()) - len(old.encode())) > MAX_FILE_BYTES:
        raise _too_much()
    write(target, text.replace(old, new).encode(), expected, keep)
    return count


def remove(target: Target, was: Pre, keep: Keep = nothing) -> None:
    """Take ``target`` away, if it still is what ``was`` says.  ``keep`` is given what it held.

    Raises:
        WorkspaceError: as ``write``.
    """
    name = target.parts[-1]
    with Telling(target) as telling, target.root.folder(target.parts[:-1], _OPEN_FOLDER) as folder:
        if _check_replaceable(target, folder, was, keep, telling) is None:
            raise changed()
        _check_in_place(folder, name, was, telling)
        os.unlink(name, dir_fd=folder)
        telling.effect = "done"
        os.fsync(folder)


def _too_much() -> WorkspaceError:
    return WorkspaceError("workspace.too-large", "the text is larger than 10 MiB", effect="none", advice="write less")


def changed(effect: Effect = "none") -> WorkspaceError:
    """Something is no longer as it was when the call was prepared."""
    return WorkspaceError(
        "workspace.changed",
        "what the call works on changed since it was decided",
        effect=effect,
        advice="look at it again and repeat the call",
    )


def _deepest_folder(target: Target, before: dict[str, Pre]) -> int | None:
    """How many components of ``target`` are a folder that was there."""
    for depth in range(len(target.parts) - 1, -1, -1):
        pre = before.get(path_name(target.root, target.parts[:depth]))
        if pre is not None and pre.ino:
            return depth
    return None


def _make_folder(parent: int, name: bytes, telling: Telling) -> int:
    """A new folder in ``parent``, which is closed."""
    try:
        os.mkdir(name, 0o777, dir_fd=parent)  # narrowed by the user's umask
    except FileExistsError as error:
        raise changed(telling.effect) from error
    telling.effect = "maybe"
    os.fsync(parent)  # else a power failure could take the folder, and the file that is told to be in it
    below = os.open(name, _OPEN_FOLDER, dir_fd=parent)
    os.close(parent)
    return below


def _replace(target: Target, folder: int, data: bytes, was: Pre, keep: Keep, telling: Telling) -> None:
    """Put ``data`` in the place of ``was`` in ``folder``."""
    name = target.parts[-1]
    old = _check_replaceable(target, folder, was, keep, telling)
    draft = b".%s.%s.tmp" % (name[:200], secrets.token_hex(6).encode())
    with disposed(folder, draft):
        descriptor = os.open(draft, _DRAFT, 0o600 if old else 0o666, dir_fd=folder)
        try:
            try:
                _fill(descriptor, data, old)
            finally:
                os.close(descriptor)
            if old is None:
                _place_new(folder, draft, name, telling)
            else:
                _check_in_place(folder, name, was, telling)
                os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
            telling.effect = "done"
        finally:
            with suppress(FileNotFoundError):  # gone under its new name
                os.unlink(draft, dir_fd=folder)
    os.fsync(folder)


def _check_replaceable(target: Target, folder: int, was: Pre, keep: Keep, telling: Telling) -> os.stat_result | None:
    """The status of what is in the way, if it still is what ``was`` says and may be replaced, and its content is kept;
    ``None`` if nothing was and is there."""
    name = target.parts[-1]
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        status = None
    if status is None or not was.ino:
        if status is None and not was.ino:
            return None
        raise changed(telling.effect)
    check_regular(target, status)
    if status.st_nlink > 1:
        raise WorkspaceError(
            "workspace.hard-link",
            f"{target.shown} has several names (hard links)",
            effect="none",
            advice="its other names would keep the old text; remove it first if it is to be replaced",
        )
    if status.st_size > MAX_FILE_BYTES:
        raise WorkspaceError(
            "workspace.too-large",
            f"{target.shown} is larger than 10 MiB",
            effect="none",
            advice="remove it first if it is to be replaced",
        )
    descriptor = os.open(name, READ | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        # SAFETY: identity and content are those of the descriptor, not of a name that may mean something else by now.
        if observe_open(was.path, descriptor) != was:
            raise changed(telling.effect)
        content = os.pread(descriptor, status.st_size, 0)
        if hashlib.sha256(content).digest() != was.content:
            raise changed(telling.effect)
        keep(content)
    except ConfigError as error:
        raise WorkspaceError(
            "workspace.unkept",
            f"what {target.shown} holds cannot be kept, so it is not changed",
            effect=telling.effect,
            advice="it could not be put back; make room on the disk of Astrid's home",
        ) from error
    finally:
        os.close(descriptor)
    return status


def _check_in_place(folder: int, name: bytes, was: Pre, telling: Telling) -> None:
    """Return if ``name`` still is the file that ``was`` says, whose content was looked at a moment ago."""
    now = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if (now.st_dev, now.st_ino) != (was.dev, was.ino):
        raise changed(telling.effect)


def _fill(descriptor: int, data: bytes, old: os.stat_result | None) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    if old is not None:
        mine = os.fstat(descriptor)
        if (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid):
            os.fchown(descriptor, old.st_uid, old.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode) & 0o777)  # never a set-user-id bit on new content
    os.fsync(descriptor)


def _place_new(folder: int, draft: bytes, name: bytes, telling: Telling) -> None:
    """Give ``draft`` the name ``name``, which nothing else may have got in the meantime."""
    try:
        os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError as error:
        raise changed(telling.effect) from error
    except OSError as error:
        if error.errno not in _NO_LINKS_HERE:
            raise
        # A file system without hard links: the name was free a moment ago, and a rename is still all or nothing.
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
