"""Opening what a request names, and checking on what was opened that it is what the floor permits.

Never: trusts a path: what it led to is asked for, and only that is shown to a child.

Source: threat 45; architecture 6.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Sequence
from errno import EACCES, ELOOP, ESTALE
from typing import NamedTuple

from astrid.adapters.sandbox.cage.requests import Floor, Request, RequestError, exposes, forbidden_workspace

_TERMINAL_MAJORS = (4, 5, *range(136, 144))
_NULL = os.makedev(1, 3)


class Opened(NamedTuple):
    """A path of a request, and what it led to.  A link is not followed but said: ``/bin`` is one to ``usr/bin``."""

    path: str
    descriptor: int
    rights: int
    is_folder: bool
    link: str = ""


def check_descriptors(descriptors: Sequence[int], *, tty: bool) -> None:
    """Standard input, output and error are pipes, nothing or a terminal, and the last is the workspace: a folder
    opened for its path alone.

    Raises:
        RequestError: one is something else.
    """
    if len(descriptors) != 4:
        raise RequestError("four descriptors are expected")
    for one in descriptors[:3]:
        status = os.fstat(one)
        terminal = stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in _TERMINAL_MAJORS
        nothing = stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL
        if not (terminal if tty else terminal or nothing or stat.S_ISFIFO(status.st_mode)):
            raise RequestError("a standard stream is no pipe, no terminal and not nothing")
    path_only = fcntl.fcntl(descriptors[3], fcntl.F_GETFL) & os.O_PATH
    if not path_only or not stat.S_ISDIR(os.fstat(descriptors[3]).st_mode):
        raise RequestError("the workspace is no folder opened for its path alone")


def open_listed(paths: Sequence[str], rights: int, floor: Floor) -> list[Opened]:
    """Each of ``paths`` that exists.

    Raises:
        OSError: one leads to what is never exposed.
    """
    found: list[Opened] = []
    for path in paths:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            continue
        link = ""
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISLNK(mode):
            link = os.readlink("", dir_fd=descriptor)
            os.close(descriptor)
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            mode = os.fstat(descriptor).st_mode
        if exposes(led_to(descriptor), floor):
            raise OSError(EACCES, "this is never exposed", path)
        found.append(Opened(path, descriptor, rights, stat.S_ISDIR(mode), link))
    return found


def open_exact(paths: Sequence[str], rights: int, floor: Floor) -> list[Opened]:
    """Each of ``paths``, under its real name: whoever named it meant this place, and none that a link leads to.

    Raises:
        OSError: one is not there, has a link on the way, or leads to what is never exposed.
    """
    found: list[Opened] = []
    for path in paths:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISLNK(mode) or led_to(descriptor) != path:
            raise OSError(ELOOP, "there is a link on the way to this path", path)
        if exposes(path, floor):
            raise OSError(EACCES, "this is never exposed", path)
        found.append(Opened(path, descriptor, rights, stat.S_ISDIR(mode)))
    return found


def open_workspace(request: Request, given: int, floor: Floor) -> int:
    """The workspace at its path as we see it now, if it still is the folder that was ``given``.

    Raises:
        OSError: it is another one, or never exposed.
    """
    descriptor = os.open(request.workspace, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
    ours, theirs = os.fstat(descriptor), os.fstat(given)
    if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino) or led_to(descriptor) != request.workspace:
        raise OSError(ESTALE, "the workspace is another folder by now", request.workspace)
    if forbidden_workspace(led_to(descriptor), floor, request.tier):
        raise OSError(EACCES, "this is never exposed", request.workspace)
    return descriptor


def led_to(descriptor: int) -> str:
    """The path of what is open, by its real name."""
    return os.readlink(f"/proc/self/fd/{descriptor}")
