"""Ctrl-C, once and twice: the first stops what is being waited for, the second leaves.

Source: the first Astrid (keys); trio's documentation (``TrioToken.run_sync_soon`` may be called by a signal handler).
"""

from __future__ import annotations

import signal
from types import FrameType

import trio


class Interrupts:
    """SIGINT, for as long as the context lasts.  To be entered inside the event loop.

    None is lost: one that comes while nothing is being waited for cancels the next wait.
    """

    def __init__(self) -> None:
        self.count = 0
        self.leaving = trio.CancelScope()  # cancelled by the second
        self._taken = 0
        self._waiting = trio.CancelScope()

    def __enter__(self) -> Interrupts:
        self._token = trio.lowlevel.current_trio_token()
        self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def next(self) -> trio.CancelScope:
        """A scope that is cancelled by an interrupt that was not taken yet."""
        self._waiting = trio.CancelScope()
        if self.count > self._taken:
            self._waiting.cancel()
        return self._waiting

    def take(self) -> bool:
        """Whether there was an interrupt since the last time."""
        new, self._taken = self.count > self._taken, self.count
        return new

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self._token.run_sync_soon(self._interrupt)

    def _interrupt(self) -> None:
        self.count += 1
        self._waiting.cancel()
        if self.count > 1:
            self.leaving.cancel()
