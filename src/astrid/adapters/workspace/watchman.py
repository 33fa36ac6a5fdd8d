"""The process that outlives the daemon by a moment: it ends what commands a daemon that was killed left running, and
removes what it left half written.

A daemon that ends in order has no command running; one that dies by ``kill -9``, or for want of memory, can tidy up
nothing.  So a small process of its own waits at the other end of a pipe.  The pipe ends with the daemon, however that
ends, and then everything is hunted that carries the mark of the daemon's runs.  It has no secret and reads nothing but
the end.

Never: watches where single processes cannot be found by their environment (macOS): there, a command that was running
goes on until it ends by itself.

What wipes its environment and leaves its group is not found, and a command that kills the watchman first is not
either: both are contained by the sandbox only.  A parent-death signal was rejected: it comes when the *thread* that
started the child ends, and reaches only the child, not what the child started.

Source: architecture 3 ("No orphan, ever"), 5; prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from astrid.adapters.workspace import sweep
from astrid.adapters.workspace.process import OURS
from astrid.errors import LaunchError

_lines: list[int] = []  # the pipe to the watchman, while there is one


@contextmanager
def watchman() -> Iterator[None]:
    """Should this process die inside, what ``run_process`` started dies with it, and no draft stays (Linux).

    Raises:
        LaunchError: the watchman cannot be started.
    """
    if sys.platform != "linux":
        yield
        return
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program, by its full path
            [sys.executable, "-I", "-S", sweep.__file__, OURS],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,  # what is typed at our terminal, or sent to our group, does not reach it
        )
    except OSError as error:
        raise LaunchError(
            "process.no-watchman",
            f"the process that tidies up after a crash cannot be started: {error.strerror}",
            effect="none",
            where=sys.executable,
            advice="check the installation, and how many processes you may have",
        ) from error
    assert process.stdin is not None  # noqa: S101 - it was asked for
    line = process.stdin.fileno()
    os.set_blocking(line, False)
    _lines.append(line)
    try:
        yield
    finally:
        _lines.remove(line)
        process.kill()  # whatever ran has been waited for
        process.communicate()


@contextmanager
def disposed(folder: int, name: bytes) -> Iterator[None]:
    """Should this process die inside, the file ``name`` in ``folder`` is removed.  By its path, since a descriptor dies
    with us; so ``name`` is one that nobody else would give to a file.
    """
    if not _lines:
        yield
        return
    path = os.path.join(os.readlink(b"/proc/self/fd/%d" % folder), name)
    _tell(b"+%s\0" % path)
    try:
        yield
    finally:
        _tell(b"-%s\0" % path)


def _tell(entry: bytes) -> None:
    # What is longer could come apart between those of other threads.
    if len(entry) <= select.PIPE_BUF:
        # A watchman that was killed or stopped is no reason not to write: after a crash the draft stays, no more.
        with suppress(BrokenPipeError, BlockingIOError):
            os.write(_lines[0], entry)
