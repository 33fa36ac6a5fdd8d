"""Become another program, under a filter that stops its system calls and asks whoever started it.

    python -I -S launch.py CHANNEL NUMBERS COMMAND...

``CHANNEL`` is the descriptor of a Unix socket over which the filter's listener is handed back; ``NUMBERS`` are the
system calls to stop, separated by commas.  Everything that ``COMMAND`` starts is under the filter too.

It is a program of its own, run without site packages, and imports nothing of Astrid.

SAFETY: a daemon makes itself unreadable for others of its user (``PR_SET_DUMPABLE``).  That one call is answered with
success and not made, since whoever asks what a stopped call is about reads it from outside.

Source: seccomp(2), seccomp_unotify(2), Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys

ALLOW, ASK, PRETEND = 0x7FFF0000, 0x7FC00000, 0x00050000  # the last one: an error of 0, which is success
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SECCOMP = {"x86_64": 317, "aarch64": 277}
PRCTL = {"x86_64": 157, "aarch64": 167}
SENDMSG = {"x86_64": 46, "aarch64": 211}
SET_DUMPABLE, SET_NO_NEW_PRIVS = 4, 38
NEW_LISTENER, WAIT_KILLABLE = 1 << 3, 1 << 5
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCH, _FIRST = 0, 4, 16  # where these lie in what a filter sees


def program(machine: str, channel: int, numbers: list[int]) -> bytes:
    """The filter, as the kernel reads it."""

    def returns_if(first: int, answer: int, otherwise: int) -> list[tuple[int, int, int, int]]:
        return [(_LOAD, 0, 0, _FIRST), (_EQUAL, 0, 1, first), (_RETURN, 0, 0, answer), (_RETURN, 0, 0, otherwise)]

    lines = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, AUDIT[machine]), (_RETURN, 0, 0, ALLOW), (_LOAD, 0, 0, _NUMBER)]
    lines += [(_EQUAL, 0, 4, PRCTL[machine]), *returns_if(SET_DUMPABLE, PRETEND, ALLOW)]
    # The listener itself leaves by a message on the channel, which nobody could answer for yet.
    lines += [(_EQUAL, 0, 4, SENDMSG[machine]), *returns_if(channel, ALLOW, ASK)]
    for number in numbers:
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, ASK)]
    lines += [(_RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def install(code: bytes) -> int:
    """The listener of the filter, which holds from now on.

    Raises:
        OSError: the kernel does not do this.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no new privileges")
    kept = ctypes.create_string_buffer(code, len(code))
    prog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(kept)))
    for flags in (NEW_LISTENER | WAIT_KILLABLE, NEW_LISTENER):  # the former is Linux 5.19
        listener = libc.syscall(SECCOMP[platform.machine()], 1, flags, ctypes.byref(prog))
        if listener >= 0:
            return listener
    raise OSError(ctypes.get_errno(), "no filter")


def main(arguments: list[str]) -> None:
    """Hand over the listener, then be the command."""
    channel, numbers, *command = arguments
    code = program(platform.machine(), int(channel), [int(number) for number in numbers.split(",")])
    with socket.socket(fileno=int(channel)) as back:
        try:
            listener = install(code)
        except OSError as error:
            back.sendmsg([str(error.errno).encode()])
            raise SystemExit(1) from error
        socket.send_fds(back, [b"0"], [listener])
        back.recv(1)  # nobody answers before that
    os.execv(command[0], command)  # noqa: S606 - the command is the caller's, and there is no shell


if __name__ == "__main__":
    main(sys.argv[1:])
