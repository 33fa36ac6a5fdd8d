"""Where the kernel stops a daemon: every write, sync, send, rename and unlink, before it happens, one at a time.

Each stop is a ``Stop``: which kind, which file, whose.  A ``Watch`` decides what becomes of it.  While a stop is being
looked at, the thread that made the call stands still in the kernel; the rest of the process goes on.

Never: changes the product or loads anything into it.

Invariant: when ``Trap.serve`` returns, no process that inherited the filter is left (or the sweep gave up on one, and
says so).

Source: seccomp_unotify(2); the filter is ``launch``.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LAUNCH = Path(__file__).with_name("launch.py")
_RECV, _SEND = 0xC0502100, 0xC0182101
_NOTICE, _ANSWER = struct.Struct("QIIiIQ6Q"), struct.Struct("QqiI")
_CONTINUE = 1
GONE_SECONDS = 30.0  # far more than the watchman takes


class Kind(enum.StrEnum):
    """What a stopped call would do."""

    WRITE = "write"  # to a file
    SYNC = "sync"
    SEND = "send"  # to a socket, a pipe or an event: what another process, thread or person is told
    NAME = "name"  # a rename, a link or an unlink
    CHILD = "child"  # any of these, by a process that the daemon started


# name: (kind, x86_64, aarch64); 0 where there is no such call
CALLS = {
    "write": (Kind.WRITE, 1, 64),
    "pwrite64": (Kind.WRITE, 18, 68),
    "writev": (Kind.WRITE, 20, 66),
    "pwritev": (Kind.WRITE, 296, 70),
    "pwritev2": (Kind.WRITE, 328, 287),
    "truncate": (Kind.NAME, 76, 45),
    "ftruncate": (Kind.WRITE, 77, 46),
    "fallocate": (Kind.WRITE, 285, 47),
    "fsync": (Kind.SYNC, 74, 82),
    "fdatasync": (Kind.SYNC, 75, 83),
    "sync_file_range": (Kind.SYNC, 277, 84),
    "sendto": (Kind.SEND, 44, 206),
    "sendmsg": (Kind.SEND, 46, 211),
    "sendmmsg": (Kind.SEND, 307, 269),
    "rename": (Kind.NAME, 82, 0),
    "renameat": (Kind.NAME, 264, 38),
    "renameat2": (Kind.NAME, 316, 276),
    "link": (Kind.NAME, 86, 0),
    "linkat": (Kind.NAME, 265, 37),
    "unlink": (Kind.NAME, 87, 0),
    "unlinkat": (Kind.NAME, 263, 35),
}
MACHINE = platform.machine()
_COLUMN = {"x86_64": 1, "aarch64": 2}.get(MACHINE)
NAMES = {} if _COLUMN is None else {row[_COLUMN]: name for name, row in CALLS.items() if row[_COLUMN]}
_SECOND_PATH = {"linkat": None, "unlinkat": 1, "unlink": 0}  # which argument names what goes away


@dataclass(frozen=True, slots=True)
class Stop:
    """A system call that has not happened yet."""

    tid: int
    number: int  # the how-manieth stop of its kind
    kind: Kind
    call: str
    target: str  # the file, the socket's or pipe's name in /proc, or empty
    arguments: tuple[int, ...]
    daemon: int  # the daemon's process id

    @property
    def name(self) -> str:
        """What is struck again by the same name."""
        return f"{self.kind}:{self.number}"

    @property
    def memory(self) -> Path:
        """The caller's memory."""
        return Path(f"/proc/{self.tid}/mem")

    @property
    def file(self) -> Path:
        """The file that the call is about, whatever its name is by now."""
        return Path(f"/proc/{self.tid}/fd/{self.arguments[0]}")

    def removed(self) -> str:
        """The path that an unlink names; empty for any other call."""
        which = _SECOND_PATH.get(self.call)
        if which is None:
            return ""
        with self.memory.open("rb", buffering=0) as memory:
            memory.seek(self.arguments[which])
            return os.fsdecode(memory.read(256).partition(b"\0")[0])


class Watch(Protocol):
    """Decides about stops; called by one thread."""

    def stopped(self, stop: Stop) -> int | None:
        """0 to let it happen, the error (of ``errno``) that it is to fail with, or ``None`` where the caller dies."""
        ...

    def over(self) -> None:
        """Every process is gone."""
        ...


def works() -> str:
    """Why nothing can be stopped here; empty if it can."""
    if sys.platform != "linux" or _COLUMN is None:
        return f"system calls can be stopped on Linux (x86_64, aarch64) only, and this is {sys.platform} {MACHINE}"
    try:
        with Trap([sys.executable, "-I", "-S", "-c", ""], {}, cwd="/", out=subprocess.DEVNULL) as trap:
            trap.serve(Pass())
    except OSError as error:
        return f"this kernel or container lets nobody stop system calls: {error.strerror}"
    return ""


class Pass:
    """Lets everything happen."""

    def stopped(self, stop: Stop) -> int | None:
        """Nothing is done."""
        return 0

    def over(self) -> None:
        """Nothing is done."""


class Trap:
    """One process under the filter, and all that it starts.  Leaving the context kills what is left of it."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], *, cwd: str, out: int, stops: bool = True
    ) -> None:
        """Start ``command``.  Without ``stops`` nothing is stopped, and only the end of every process is noticed."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                numbers = ",".join(str(number) for number in NAMES if stops or NAMES[number] == "sync_file_range")
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(LAUNCH), str(theirs.fileno()), numbers, *command],
                    env=dict(env),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            said, descriptors, _, _ = socket.recv_fds(ours, 16, 1)
            if not descriptors:
                self.process.kill()
                self.process.wait()
                raise OSError(int(said or b"38"), os.strerror(int(said or b"38")))
            self._listener = descriptors[0]
            ours.send(b".")
        self.counts: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self.gone = threading.Event()

    def __enter__(self) -> Trap:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        os.close(self._listener)

    def kill(self) -> None:
        """The process dies on the spot, if it lives."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def serve(self, watch: Watch) -> None:
        """Have ``watch`` decide about every stop, until every process under the filter is gone."""
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        try:
            while True:
                [(_, events)] = poller.poll()
                if events & select.POLLIN:
                    self._one(watch)
                elif events:
                    return
        finally:
            watch.over()
            self.gone.set()

    def _one(self, watch: Watch) -> None:
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._listener, _RECV, notice)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):  # it died meanwhile
                return
            raise
        number, tid, _, call, _, _, *arguments = _NOTICE.unpack(notice)
        stop = self._stop(tid, NAMES[call], tuple(arguments))
        failure = watch.stopped(stop)
        if failure is None:
            return
        answer = _ANSWER.pack(number, 0, -failure, 0) if failure else _ANSWER.pack(number, 0, 0, _CONTINUE)
        with suppress(FileNotFoundError):  # it died meanwhile
            fcntl.ioctl(self._listener, _SEND, answer)

    def _stop(self, tid: int, call: str, arguments: tuple[int, ...]) -> Stop:
        kind = CALLS[call][0]
        target = ""
        if kind in (Kind.WRITE, Kind.SYNC):
            with suppress(OSError):  # gone, or no descriptor at all
                target = os.readlink(f"/proc/{tid}/fd/{ctypes.c_int(arguments[0]).value}")
            if not target.startswith("/"):
                kind = Kind.SEND
        if not os.path.exists(f"/proc/{self.process.pid}/task/{tid}"):
            kind = Kind.CHILD
        self.counts[kind] += 1
        return Stop(tid, self.counts[kind], kind, call, target, arguments, self.process.pid)


def strike(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
