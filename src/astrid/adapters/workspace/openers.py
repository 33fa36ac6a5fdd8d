"""Opening a path below a folder without following any link.

Two ways, one contract: the kernel's ``openat2`` (beneath the folder, no links of any kind), and a walk that opens one
component at a time from the one before (macOS, old kernels, where a filter forbids the other).

Never: creates anything, follows a link, or waits for a fifo.

Source: openat2(2), path_resolution(7); threat 21.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable

Parts = tuple[bytes, ...]
"""A path below a folder by its components; empty for the folder itself.  None of them is empty, ``.`` or ``..``."""

Opener = Callable[[int, Parts, int], int]
"""Opens parts below a descriptor with some flags; it never creates."""

MAX_RACES = 64
_O_PATH = getattr(os, "O_PATH", 0)  # macOS has none; a folder is then opened for reading
FOLDER = _O_PATH | os.O_DIRECTORY
# SAFETY: without O_NONBLOCK the open of a fifo waits for a writer, for ever.
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
NO_LINK = os.O_CLOEXEC | os.O_NOFOLLOW

_SYS_OPENAT2 = 437  # the same number on every architecture
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08


def open_in_kernel(folder: int, parts: Parts, flags: int) -> int:
    """Open ``parts`` below the descriptor ``folder`` with ``openat2``; links of any kind are refused with ``ELOOP``."""
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    path = b"/".join(parts) or b"."
    for _ in range(MAX_RACES):
        descriptor = _syscall(_SYS_OPENAT2, folder, path, how, ctypes.sizeof(how))
        if descriptor >= 0:
            return descriptor
        code = ctypes.get_errno()
        if code != errno.EAGAIN:  # a rename met the lookup; the kernel asks to try again
            raise OSError(code, os.strerror(code))
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def open_by_walking(folder: int, parts: Parts, flags: int) -> int:
    """Open ``parts`` below the descriptor ``folder``, one component from the one before; links are refused with
    ``ELOOP``."""
    here = os.dup(folder)
    try:
        for name in parts[:-1]:
            below = _open_one(here, name, FOLDER)
            os.close(here)
            here = below
        return _open_one(here, parts[-1] if parts else b".", flags)
    finally:
        os.close(here)


def _open_one(folder: int, name: bytes, flags: int) -> int:
    try:
        return os.open(name, flags | NO_LINK, dir_fd=folder)
    except NotADirectoryError as error:
        # A link where a folder is wanted is reported like this; both ways of opening must say the same.
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error
        raise


def _load_syscall() -> Callable[..., int]:
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
    return syscall


_syscall = _load_syscall()


def kernel_opens(folder: int) -> bool:
    """Whether ``openat2`` works here: not on macOS, not before Linux 5.6, not where a filter forbids it."""
    if sys.platform != "linux":
        return False
    try:
        os.close(open_in_kernel(folder, (), FOLDER))
    except OSError:
        return False
    return True
