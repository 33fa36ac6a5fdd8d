"""No core dump and no debugger, before anything secret is in memory; and no traceback that could show it.

``PR_SET_DUMPABLE`` 0 takes a process out of the reach of ``ptrace`` and ``/proc/PID/mem`` of others of the same user.
Elsewhere than on Linux only the core dump is ruled out.

Source: threats 5, 46; prctl(2).
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import sys
from types import TracebackType

from astrid.errors import EdgeError

_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4


def harden() -> None:
    """Make this process one that nobody looks into.

    Raises:
        EdgeError: the system did not comply; then no key may be opened.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    sys.excepthook = _say_nothing
    sys.unraisablehook = _say_nothing_of_nobodys
    logging.disable()  # what libraries report, tracebacks with the text of exceptions included
    # An interrupt at the keyboard is for whoever started us; while a person is asked, the screen takes it itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    if sys.platform == "linux":
        _undumpable()


def _undumpable() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise EdgeError(
            "signer.dumpable",
            "the signer's memory cannot be closed to other processes",
            effect="none",
            advice="sign on a system that allows prctl(PR_SET_DUMPABLE)",
        )


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(1)  # the terminal is put back as it was on the way out


def _say_nothing(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    # SAFETY: the text of an exception may hold what it was handling; its kind does not.
    sys.stderr.write(f"astrid: the signer failed [internal.error] {type(error).__name__}\n")


def _say_nothing_of_nobodys(broken: sys.UnraisableHookArgs) -> None:
    """The same, of an error that nobody can catch: of an object that is cleared away."""
    if broken.exc_value is not None:
        _say_nothing(broken.exc_type, broken.exc_value, broken.exc_traceback)
