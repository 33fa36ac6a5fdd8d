"""A stream that tells when either end has closed it, to whoever waits for something else meanwhile.

Source: trio's ``Stream``.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class Watched(trio.abc.Stream):
    """``stream``, and a call of ``ended`` when nothing more will come from it."""

    def __init__(self, stream: trio.abc.Stream, ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes; none at the end."""
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._ended()
            raise
        if not data:
            self._ended()
        return bytes(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a write may go through."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close what lies under it."""
        self._ended()  # a library that closes what it cannot read, tells nobody who waits for what it would have read
        await self._stream.aclose()
