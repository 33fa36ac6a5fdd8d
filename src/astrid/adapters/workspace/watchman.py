"""The process that outlives the daemon by a moment, and kills the commands that a daemon which was killed left running.

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

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from astrid.adapters.workspace import sweep
from astrid.adapters.workspace.process import OURS
from astrid.errors import LaunchError


@contextmanager
def watchman() -> Iterator[None]:
    """Should this process die inside, what ``run_process`` started dies with it (Linux).

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
    try:
        yield
    finally:
        process.kill()  # whatever ran has been waited for
        process.communicate()
