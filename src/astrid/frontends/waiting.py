"""Ctrl-C at moments when nobody can tell what it means: while a program begins, changes into another, or cleans up.

It is held back, not lost: it comes when it is asked for.

Source: pthread_sigmask(3), signal(7) (a mask outlives execve).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_INTERRUPT = frozenset({signal.SIGINT})


def hold_interrupts() -> None:
    """From here on Ctrl-C waits, also in the program that this process becomes.  For a process with one thread only:
    another thread would take it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPT)


def take_interrupts() -> None:
    """From here on Ctrl-C comes again, at once if there was one."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPT)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Inside, Ctrl-C waits, whatever threads there are; it comes on the way out.

    Raises:
        KeyboardInterrupt: there was one, and nobody else handles it.
    """
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
