"""A stream that tells when it has ended, in either direction, to whoever waits for something else meanwhile.

What is said over a stream may wait for an answer that cannot come any more, and not look whether it can.

Source: trio's ``Stream``.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class Noticing(trio.abc.Stream):
    """``stream``; ``over`` is called, and ``is_over`` true, once nothing more can come from it or go through it."""

    def __init__(self, stream: trio.abc.Stream, over: Callable[[], None]) -> None:
        self._stream = stream
        self._over = over
        self.is_over = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes; none at the end."""
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._tell()
            raise
        if not data:
            self._tell()
        return bytes(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._tell()
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a write may go through."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close what lies under it."""
        await self._stream.aclose()

    def _tell(self) -> None:
        self.is_over = True
        self._over()
