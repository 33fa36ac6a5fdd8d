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
# Looked up once, in the zygote: a child would look each of them up again, and copy every page that takes.
_prctl, _mount, _umount2 = _libc.prctl, _libc.mount, _libc.umount2
_ioctl, _sethostname = _libc.ioctl, _libc.sethostname
_int, _long = ctypes.c_int, ctypes.c_long
_prctl.argtypes = (_int, _long, _long, _long, _long)
_mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_umount2.argtypes = (ctypes.c_char_p, _int)
_sethostname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REC, MS_SLAVE, _MS_BIND = 1 << 14, 1 << 19, 1 << 12
MNT_DETACH = 2
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x100, 0x1000, 0x8000
_COPY = 1 | _AT_RECURSIVE | os.O_CLOEXEC  # OPEN_TREE_CLONE
_MOVE_FROM_EMPTY = 0x4
TIOCSCTTY = 0x540E
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ_BYTES = 40


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
    whole = [_long(one) if isinstance(one, int) else one for one in arguments]
    return _check(_syscall(_long(machine().calls[name]), *whole), what or name)


def prctl(option: int, *arguments: int) -> int:
    """The result of ``prctl``."""
    result = _prctl(option, *(*arguments, 0, 0, 0, 0)[:4])
    return result if result >= 0 else _check(result, f"prctl {option}")


class _Program(ctypes.Structure):
    _fields_ = (("count", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def install_filter(program: bytes) -> None:
    """From here on this thread, and whatever it starts, makes the calls only that ``program`` allows."""
    whole = _Program(len(program) // 8, program)
    _check(_prctl(PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(whole), 0, 0), "seccomp")


def drop_capabilities() -> None:
    """Have none, and no way to get any by starting a program."""
    for capability in range(64):
        if _prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            if capability < 32 and ctypes.get_errno() != 1:
                _check(-1, "drop capabilities")
            break  # past the last of this kernel; or there is none to drop with, and so none to lose
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    call("capset", _CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4), bytes(24))


def mount(kind: str | None, target: str, flags: int, options: str = "") -> None:
    """Mount a new file system of ``kind`` at ``target``, or with ``None`` change what is there."""
    name = None if kind is None else kind.encode()
    if _mount(name, os.fsencode(target), name, flags, options.encode() or None) < 0:
        _check(-1, f"mount {target}")


def unmount(target: str, flags: int) -> None:
    """Take the uppermost mount at ``target`` away."""
    _check(_umount2(os.fsencode(target), flags), f"unmount {target}")


def bind(source: str, target: str, *, below: bool = False) -> None:
    """Show at ``target`` what is at ``source`` as well, with what is mounted ``below`` that.  Links are followed."""
    flags = _MS_BIND | (MS_REC if below else 0)
    if _mount(os.fsencode(source), os.fsencode(target), None, flags, None) < 0:
        _check(-1, f"bind {target}")


def copy_mount(descriptor: int, flags: int = 0) -> int:
    """What lies at ``descriptor``, with everything mounted below, as a mount of its own that is nowhere yet and has
    the ``MS_`` ``flags``.
    """
    return _flagged(call("open_tree", descriptor, b"", _COPY | _AT_EMPTY_PATH), flags)


def copy_mount_at(path: str, flags: int = 0) -> int:
    """The same of what lies at ``path``, which may be a link and is not followed then."""
    return _flagged(call("open_tree", _AT_FDCWD, os.fsencode(path), _COPY | _AT_SYMLINK_NOFOLLOW, what=path), flags)


def _flagged(tree: int, flags: int) -> int:
    if flags:
        attributes = _attributes(flags)
        call("mount_setattr", tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, attributes, len(attributes))
    return tree


def set_flags_at(path: str, flags: int, *, cleared: int = 0, below: bool = False) -> None:
    """Give the mount at ``path``, and what is mounted ``below``, the ``MS_`` ``flags``, and take ``cleared`` away."""
    attributes = _attributes(flags, cleared)
    how = _AT_RECURSIVE if below else 0
    call("mount_setattr", _AT_FDCWD, os.fsencode(path), how, attributes, len(attributes), what=f"flags of {path}")


def _attributes(flags: int, cleared: int = 0) -> bytes:
    return flags.to_bytes(8, "little") + cleared.to_bytes(8, "little") + bytes(16)


def place_mount(tree: int, target: str) -> None:
    """Put the mount ``tree`` at ``target``, on which no link is followed: it is put on the link."""
    call("move_mount", tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_FROM_EMPTY, what=f"mount at {target}")


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
    _check(_ioctl(_int(descriptor), ctypes.c_ulong(TIOCSCTTY), 0), "terminal")


def name_host(name: bytes) -> None:
    """Call the machine ``name``, in our own namespace."""
    _check(_sethostname(name, len(name)), "host name")


def raise_loopback(descriptor: int) -> None:
    """Have the loopback device of our own network work; ``descriptor`` is any socket in it."""
    request = b"lo".ljust(16, b"\0") + _IFF_UP.to_bytes(2, "little")
    done = _ioctl(_int(descriptor), ctypes.c_ulong(_SIOCSIFFLAGS), request.ljust(_IFREQ_BYTES, b"\0"))
    _check(done, "loopback")
