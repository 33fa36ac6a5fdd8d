"""Landlock: rules on files, ports and signals that a process lays on itself and can never lift.

Never: the only layer.  It knows nothing of ``stat``, modes, times, local sockets by path, UDP, or a folder that is
*less* open than the one above it: that is for the filter and the mounts.

Source: landlock(7); the escape corpus for what it does not cover.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from errno import EOPNOTSUPP
from functools import cache

from astrid.adapters.sandbox.cage import kernel

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))

READ = READ_FILE | READ_DIR
RUN = READ | EXECUTE
_MAKE = MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM
WRITE = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | _MAKE | REFER | TRUNCATE
ALL = RUN | WRITE  # never MAKE_CHAR or MAKE_BLOCK
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

NEWEST = 7  # the last version whose rights are all named here
SCOPES_SIGNALS = 6  # from this version on, a domain signals only itself
_HANDLED = (0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF, 0xFFFF, 0xFFFF)  # by version
_ALL_TCP, _ALL_SCOPES = 3, 3
_VERSION_QUESTION = 1
_LOG_NEW_EXEC_ON = 2
_PATH_BENEATH, _PORT = 1, 2
_KNOWS_PORTS = 4
_CONNECT = 2

Rule = tuple[int, int]  # an open path, what may be done at and below it


@cache
def version() -> int:
    """The kernel's, 0 where there is none."""
    try:
        return kernel.call("landlock_create_ruleset", None, 0, _VERSION_QUESTION)
    except OSError:
        return 0


def attributes(known: int) -> bytes:
    """What the rules are about, as the kernel of version ``known`` takes it: everything it can refuse."""
    known = min(known, NEWEST)
    words = [_HANDLED[known], _ALL_TCP if known >= 4 else 0, _ALL_SCOPES if known >= SCOPES_SIGNALS else 0]
    count = 3 if known >= SCOPES_SIGNALS else 2 if known >= 4 else 1
    return b"".join(word.to_bytes(8, "little") for word in words[:count])


def restrict(rules: Iterable[Rule], *, port: int = 0) -> None:
    """Lay the rules on this thread and whatever it starts.  What no rule permits is refused; so is every port, to
    listen on or to connect to, but that it may connect to ``port``, if that is not 0.

    Raises:
        OSError: there is no Landlock, or a rule makes no sense.
    """
    known = version()
    if known < 1:
        raise OSError(EOPNOTSUPP, "the kernel has no Landlock, or it is switched off", "landlock")
    handled = _HANDLED[min(known, NEWEST)]
    shape = attributes(known)
    ruleset = kernel.call("landlock_create_ruleset", shape, len(shape), 0)
    try:
        for descriptor, rights in rules:
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            allowed = rights & handled if is_folder else rights & handled & _OF_FILES
            # The kernel's struct has no padding.
            packed = allowed.to_bytes(8, "little") + descriptor.to_bytes(4, "little")
            kernel.call("landlock_add_rule", ruleset, _PATH_BENEATH, packed, 0)
        if port and known >= _KNOWS_PORTS:
            packed = _CONNECT.to_bytes(8, "little") + port.to_bytes(8, "little")
            kernel.call("landlock_add_rule", ruleset, _PORT, packed, 0)
        kernel.call("landlock_restrict_self", ruleset, _LOG_NEW_EXEC_ON if known >= 7 else 0)
    finally:
        os.close(ruleset)
