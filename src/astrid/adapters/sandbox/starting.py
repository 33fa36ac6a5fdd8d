"""Starting the zygote: a small process of Python's own, before anything else of it.

Never: hands it an environment, a descriptor but one end of a pair of sockets, or any path but that of our package.

Source: architecture 4.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
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
