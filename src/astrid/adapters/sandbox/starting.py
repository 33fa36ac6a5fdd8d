"""Starting the zygote: a small process of Python's own, before anything else of it.  Where there is none, on macOS,
starting what closes a box by itself, and looking at who runs.

Never: hands the zygote an environment, a descriptor but one end of a pair of sockets, or any path but that of our
package; or anything else more than it is given.

Source: architecture 4.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from errno import EIO
from pathlib import Path

import astrid
from astrid.errors import LaunchError

# SAFETY: `-I -S -E`: no variable, no current folder and no site package decides which code runs.
_FLAGS = ("-I", "-S", "-E")
_CODE = """\
import sys
sys.path.append(sys.argv[1])
from astrid.adapters.sandbox.cage.zygote import main
main(sys.argv[2:])
"""
SEND_BYTES = 1024 * 1024
_LIST = ("/bin/ps", "-A", "-o", "pid=,ppid=,pgid=,state=,lstart=")
_LIST_SECONDS = 5.0
_REAP_SECONDS = 5.0


Process = subprocess.Popen[bytes]


def no_zygote(why: str) -> LaunchError:
    """What is told where no zygote works."""
    return LaunchError(
        "sandbox.no-zygote",
        f"the process that starts contained programs cannot be started: {why}",
        effect="none",
        where=sys.executable,
        advice="check the installation, and how many processes you may have",
    )


def start_zygote() -> tuple[Process, socket.socket]:
    """The process, and our end of the line to it.  From the main thread: it dies with the thread that started it.

    Raises:
        LaunchError: it cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    root = Path(astrid.__file__).resolve().parent.parent
    try:
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
            process = subprocess.Popen(  # noqa: S603 - our own program, by its full path
                [sys.executable, *_FLAGS, "-c", _CODE, str(root), str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # what is typed at our terminal does not reach it
            )
    except OSError as error:
        ours.close()
        raise no_zygote(str(error.strerror)) from error
    return process, ours


def start_program(argv: Sequence[str], streams: Sequence[int], *, cwd: str, env: Mapping[str, str]) -> Process:
    """``argv`` in a session of its own, with its three standard ``streams`` and nothing else of ours.

    Raises:
        OSError: it cannot be started.
    """
    stdin, stdout, stderr = streams
    return subprocess.Popen(  # noqa: S603 - what closes the box, by its full path
        argv, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env, start_new_session=True
    )


def reap(process: Process) -> int | None:
    """What ``process``, which was killed, ended with; ``None`` if it does not end in a bounded time."""
    try:
        return process.wait(_REAP_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def list_processes() -> bytes:
    """Who runs on this machine: number, parent, group, state and birth of each process, a line each.

    Raises:
        OSError: that cannot be told.
    """
    try:
        return subprocess.run(  # noqa: S603 - a fixed command
            _LIST, stdin=subprocess.DEVNULL, capture_output=True, env={"LC_ALL": "C"}, timeout=_LIST_SECONDS, check=True
        ).stdout
    except subprocess.SubprocessError as error:
        raise OSError(EIO, "processes cannot be listed") from error
