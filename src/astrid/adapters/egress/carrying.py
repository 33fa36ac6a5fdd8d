"""One connection through the proxy, from the moment it is recorded: what is carried, counted and cut off.

Never: carries more than the command has left, waits longer than its deadline for either end, or ends without its
traffic being known.

Source: threats 24 and 32.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.abc import HalfCloseableStream

from astrid.core.egress_connection import Traffic

CHUNK_BYTES = 64 * 1024


class Cut(Exception):  # noqa: N818 - no error: the end of one connection
    """A connection that is not carried on.  ``code`` says why; ``status`` is what a client is told that was told
    nothing yet.
    """

    def __init__(self, code: str, status: str = "403 Forbidden") -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class Allowance:
    """The bytes that a command may still send and receive, over all its connections."""

    __slots__ = ("_received", "_sent")

    def __init__(self, *, sent_bytes: int, received_bytes: int) -> None:
        self._sent = sent_bytes
        self._received = received_bytes

    def spend(self, *, sent: int = 0, received: int = 0) -> None:
        """Take what is about to be carried off it.

        Raises:
            Cut: there is not that much left; then there is nothing left.
        """
        self._sent -= sent
        self._received -= received
        if self._sent < 0 or self._received < 0:
            raise Cut("egress.bytes")


class Carrying:
    """A connection, its client's end of it.  ``quiet`` is the scope that ends it when nothing moves for too long."""

    def __init__(self, client: HalfCloseableStream, allowance: Allowance, idle_seconds: float) -> None:
        self.client = client
        self.address = ""
        self.answered = False  # whether the client was told anything
        self.quiet = trio.CancelScope(deadline=trio.current_time() + idle_seconds)
        self._allowance = allowance
        self._idle_seconds = idle_seconds
        self._sent = 0
        self._received = 0

    def traffic(self, cut: str) -> Traffic:
        """How it ended."""
        return Traffic(address=self.address, sent_bytes=self._sent, received_bytes=self._received, cut=cut)

    async def tell(self, data: bytes) -> None:
        """Something of our own to the client."""
        self.answered = True
        await self.client.send_all(data)

    async def up(self, server: HalfCloseableStream, data: bytes) -> None:
        """``data`` to the server."""
        self._allowance.spend(sent=len(data))
        self._sent += len(data)
        await server.send_all(data)
        self._moved()

    async def down(self, data: bytes) -> None:
        """``data`` to the client."""
        self._allowance.spend(received=len(data))
        self._received += len(data)
        await self.tell(data)
        self._moved()

    async def both_ways(self, server: HalfCloseableStream) -> None:
        """Until each has said all."""

        async def from_client(_enough: Callable[[], None]) -> None:
            while data := await self.client.receive_some(CHUNK_BYTES):
                await self.up(server, bytes(data))
            await server.send_eof()

        async def from_server(_enough: Callable[[], None]) -> None:
            while data := await server.receive_some(CHUNK_BYTES):
                await self.down(bytes(data))
            await self.client.send_eof()

        await _together(from_client, from_server)

    async def body_and_answer(self, server: HalfCloseableStream, body: bytes, body_bytes: int) -> None:
        """The body of a request, which begins with ``body``, and no byte more; the answer up to its connection's
        end.
        """

        async def send(_enough: Callable[[], None]) -> None:
            data, left = body[:body_bytes], body_bytes
            while left:
                data = data or bytes(await self.client.receive_some(min(left, CHUNK_BYTES)))
                if not data:
                    raise Cut("egress.broken")
                await self.up(server, data)
                left -= len(data)
                data = b""

        async def answer(enough: Callable[[], None]) -> None:
            while data := await server.receive_some(CHUNK_BYTES):
                await self.down(bytes(data))
            await self.client.send_eof()
            enough()  # a server that has answered need not hear the rest

        await _together(send, answer)

    def _moved(self) -> None:
        self.quiet.deadline = trio.current_time() + self._idle_seconds


async def _together(*ways: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
    """Run all of ``ways`` to their end, or until one has had enough or is cut off, which ends the others."""
    cuts: list[Cut] = []

    async def go(way: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        try:
            await way(nursery.cancel_scope.cancel)
        except Cut as cut:
            cuts.append(cut)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            cuts.append(Cut("egress.broken"))
        if cuts:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for way in ways:
            nursery.start_soon(go, way)
    if cuts:
        raise cuts[0]
