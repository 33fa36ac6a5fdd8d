"""Ctrl-C, once and twice: the first stops what is being waited for, the second leaves.

Source: the first Astrid (keys); trio's documentation (``TrioToken.run_sync_soon`` may be called by a signal handler).
"""

from __future__ import annotations

import signal
from types import FrameType

import trio


class Interrupts:
    """SIGINT, for as long as the context lasts.  To be entered inside the event loop."""

    def __init__(self) -> None:
        self.count = 0
        self.leaving = trio.CancelScope()  # cancelled by the second
        self._waiting: trio.CancelScope | None = None
        self._seen = 0

    def __enter__(self) -> Interrupts:
        self._token = trio.lowlevel.current_trio_token()
        self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def next(self) -> trio.CancelScope:
        """A scope that the first interrupt cancels, once."""
        self._waiting = trio.CancelScope()
        if self._seen < self.count:
            self._cancel()
        return self._waiting

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self._token.run_sync_soon(self._interrupt)

    def _interrupt(self) -> None:
        self.count += 1
        if self.count > 1:
            self.leaving.cancel()
        self._cancel()

    def _cancel(self) -> None:
        if self._waiting is not None and self._seen == 0:
            self._seen = self.count
            self._waiting.cancel()
