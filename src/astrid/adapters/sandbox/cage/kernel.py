"""System calls that Python has no function for, each with its error.

Never: knows what a call is made for.

The library is called with the interpreter's lock held (``PyDLL``): there is one thread only, and a raw ``clone`` then
needs nothing of what Python does around a fork.

Source: syscall(2), prctl(2), mount(2), open_tree(2), move_mount(2), mount_setattr(2).
"""

from __future__ import annotations

import ctypes
import os
import sys
from errno import ENOSYS
from functools import cache

from astrid.adapters.sandbox.cage.numbers import MACHINES, Machine

_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REC, MS_SLAVE = 1 << 14, 1 << 19
MNT_DETACH = 2
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_EMPTY, _MOVE_TO_EMPTY = 0x4, 0x40
TIOCSCTTY = 0x540E


@cache
def machine() -> Machine:
    """What this machine calls its system calls.

    Raises:
        OSError: nobody wrote that down.
    """
    name = os.uname().machine
    if name not in MACHINES or sys.byteorder != "little":
        raise OSError(ENOSYS, "the system calls of this machine are not known", name)
    return MACHINES[name]


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def call(name: str, *arguments: int | bytes | None, what: str = "") -> int:
    """The result of the system call ``name``.

    Raises:
        OSError: it failed; ``what`` stands for the file.
    """
    whole = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _check(_syscall(ctypes.c_long(machine().calls[name]), *whole), what or name)


def prctl(option: int, *arguments: int) -> int:
    """The result of ``prctl``."""
    whole = [ctypes.c_long(one) for one in (*arguments, 0, 0, 0, 0)[:4]]
    return _check(_libc.prctl(ctypes.c_int(option), *whole), f"prctl {option}")


class _Program(ctypes.Structure):
    _fields_ = (("count", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def install_filter(program: bytes) -> None:
    """From here on this thread, and whatever it starts, makes the calls only that ``program`` allows."""
    whole = _Program(len(program) // 8, program)
    _check(_libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(whole), 0, 0), "seccomp")


def drop_capabilities() -> None:
    """Have none, and no way to get any by starting a program."""
    for capability in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, ctypes.c_long(capability), 0, 0, 0) < 0:
            if capability < 32 and ctypes.get_errno() != 1:
                _check(-1, "drop capabilities")
            break  # past the last of this kernel; or there is none to drop with, and so none to lose
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    call("capset", _CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4), bytes(24))


def mount(kind: str | None, target: str, flags: int, options: str = "") -> None:
    """Mount a new file system of ``kind`` at ``target``, or with ``None`` change what is there."""
    name = None if kind is None else kind.encode()
    done = _libc.mount(name, os.fsencode(target), name, ctypes.c_ulong(flags), options.encode() or None)
    _check(done, f"mount {target}")


def unmount(target: str, flags: int) -> None:
    """Take the uppermost mount at ``target`` away."""
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), f"unmount {target}")


def copy_mount(descriptor: int, flags: int) -> int:
    """What lies at ``descriptor``, with everything mounted below, as a mount of its own that is nowhere yet and has
    the ``MS_`` ``flags``.
    """
    tree = call("open_tree", descriptor, b"", _OPEN_TREE_CLONE | _AT_RECURSIVE | _AT_EMPTY_PATH | os.O_CLOEXEC)
    set_mount_flags(tree, flags)
    return tree


def set_mount_flags(tree: int, flags: int, *, below: bool = True) -> None:
    """Give the mount at ``tree``, and what is mounted ``below``, the ``flags``."""
    attributes = flags.to_bytes(8, "little") + bytes(24)
    how = _AT_EMPTY_PATH | (_AT_RECURSIVE if below else 0)
    call("mount_setattr", tree, b"", how, attributes, len(attributes))


def place_mount(tree: int, target: str) -> None:
    """Put the mount ``tree`` at ``target``, on which no link is followed."""
    call("move_mount", tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_FROM_EMPTY, what=f"mount at {target}")


def place_mount_on(tree: int, place: int) -> None:
    """Put the mount ``tree`` on what is open as ``place``, even if that is a link."""
    call("move_mount", tree, b"", place, b"", _MOVE_FROM_EMPTY | _MOVE_TO_EMPTY)


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor from 3 on that is not in ``keep``."""
    first = 3
    for one in (*sorted(keep), 0x7FFFFFFF):
        if one > first:
            call("close_range", first, one - 1, 0)
        first = max(first, one + 1)


def pivot_here() -> None:
    """Make the current folder the root, and let go of the old one with all its mounts."""
    call("pivot_root", b".", b".")
    unmount(".", MNT_DETACH)
    os.chdir("/")


def own_terminal(descriptor: int) -> None:
    """Make the terminal ``descriptor`` that of our session."""
    _check(_libc.ioctl(ctypes.c_int(descriptor), ctypes.c_ulong(TIOCSCTTY), 0), "terminal")


def name_host(name: bytes) -> None:
    """Call the machine ``name``, in our own namespace."""
    _check(_libc.sethostname(name, ctypes.c_size_t(len(name))), "host name")
