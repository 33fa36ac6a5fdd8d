"""Control groups: what the kernel holds all processes of one program to together, and kills them by, at once.

They can be had where a part of the tree was given to us alone: our own group may be divided, hands on memory and
number of processes, and nobody but the daemon and us is in it.  A group that is divided holds no processes itself, so
the two of us move into one below it first.

Never: moves anybody else, or touches what is not below our own group.

Invariants:
  One group for each program, made before it and removed when nothing of it is left.
  A limit that cannot be laid is an error, not left away.

Source: cgroups(7); the kernel's page on control groups (delegation, no internal processes); ``CLONE_INTO_CGROUP`` in
clone(2).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from astrid.adapters.sandbox.cage.requests import within

NEEDED = ("memory", "pids")
OURS = "astrid-self"  # where the daemon and the zygote are
PROGRAM = "astrid-box-"
_READ_BYTES = 64 * 1024


class NoGroupsError(Exception):
    """Why programs have no control groups here."""


def find_own(process: str = "/proc/self") -> str:
    """The folder of our own group, as ``process`` tells.

    Raises:
        NoGroupsError: there is none that we can see.
    """
    try:
        groups, mounts = (_read(f"{process}/{name}").splitlines() for name in ("cgroup", "mountinfo"))
    except OSError as error:
        raise NoGroupsError(f"our own control group cannot be told: {error}") from None
    own = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), "")
    for line in mounts:
        place, _, kind = line.partition(" - ")
        root, at = place.split()[3:5]
        # One that lies outside of what we may see begins with `/..`.
        if kind.startswith("cgroup2 ") and ".." not in (root + own).split("/") and within(own, root):
            return os.path.normpath(f"{at}/{own.removeprefix(root)}")
    raise NoGroupsError("no control groups of the second version are mounted here")


def settle(own: str, daemon: int) -> str:
    """The folder in which groups can be made, with the ``daemon`` and us out of their way.

    Raises:
        NoGroupsError: our ``own`` group is not ours to divide.
    """
    try:
        if os.path.basename(own) == OURS:  # a zygote before us did it
            place = os.path.dirname(own)
            if missing := set(NEEDED).difference(_read(f"{place}/cgroup.subtree_control").split()):
                raise NoGroupsError(f"the control group `{place}` does not hand on {_named(missing)}")
        else:
            place = own
            _divide(own, {daemon, os.getpid()})
        _remove_left(place)
    except OSError as error:
        raise NoGroupsError(f"the control group `{own}` is not ours to divide: {error}") from None
    return place


def _divide(own: str, ours: set[int]) -> None:
    if missing := set(NEEDED).difference(_read(f"{own}/cgroup.controllers").split()):
        raise NoGroupsError(f"the control group `{own}` has no {_named(missing)}")
    for part in (own, f"{own}/cgroup.procs", f"{own}/cgroup.subtree_control"):
        if not os.access(part, os.W_OK):
            raise NoGroupsError(f"the control group `{own}` belongs to somebody else")
    # SAFETY: whoever else is in it was put there for a reason that we do not know; and 0 is one whom we cannot see.
    if set(map(int, _read(f"{own}/cgroup.procs").split())) - ours:
        raise NoGroupsError(f"others run in the control group `{own}` as well: it was not given to the daemon alone")
    with suppress(FileExistsError):
        make_folder(f"{own}/{OURS}")
    for process in sorted(ours):
        _write(f"{own}/{OURS}/cgroup.procs", str(process))
    _write(f"{own}/cgroup.subtree_control", " ".join(f"+{name}" for name in NEEDED))


def _remove_left(place: str) -> None:
    """Remove what a zygote left that was killed; one in which something runs cannot be."""
    for name in os.listdir(place):
        if name.startswith(PROGRAM):
            with suppress(OSError):
                remove_folder(f"{place}/{name}")


class Groups:
    """The groups below ``place``, one for each program, which ``number`` names."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._left: set[int] = set()

    def _path(self, number: int) -> str:
        return f"{self._place}/{PROGRAM}{os.getpid()}-{number}"

    def make(self, number: int, *, memory_bytes: int, tasks: int) -> int:
        """A new group, open; what is in it may together hold so many bytes and threads, where that is not 0.

        Raises:
            OSError: it cannot be made, or not be limited.
        """
        path = self._path(number)
        make_folder(path)
        try:
            if memory_bytes:
                _write(f"{path}/memory.max", str(memory_bytes))
                _write(f"{path}/memory.oom.group", "1")  # half of a program is of no use to anybody
                with suppress(FileNotFoundError):  # no swap, so none to keep it from
                    _write(f"{path}/memory.swap.max", "0")
            if tasks:
                _write(f"{path}/pids.max", str(tasks))
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            remove_folder(path)
            raise

    def kill(self, number: int) -> str:
        """Kill whatever is left in the group; the limit at which the kernel had done so before, if it had."""
        path = self._path(number)
        with suppress(FileNotFoundError):  # older than this way to kill; the sweep does it
            _write(f"{path}/cgroup.kill", "1")
        self._left.add(number)
        return "memory" if _killed(path) else ""

    def remove(self) -> None:
        """Remove the groups that were killed, as far as nothing is in them any more."""
        for number in tuple(self._left):
            with suppress(OSError):  # still on its way out: next time
                remove_folder(self._path(number))
                self._left.discard(number)


def _killed(path: str) -> bool:
    with suppress(FileNotFoundError):  # memory is not what it is held to
        events = dict(line.split() for line in _read(f"{path}/memory.events").splitlines())
        return int(events.get("oom_kill", 0)) > 0
    return False


def make_folder(path: str) -> None:
    """Make a group: the kernel fills it."""
    os.mkdir(path, 0o755)


def remove_folder(path: str) -> None:
    """Remove a group in which nothing is."""
    os.rmdir(path)


def _named(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(_READ_BYTES)


def _write(path: str, text: str) -> None:
    # Never made: outside of a tree of control groups this would lay no limit.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
