"""An HTTP proxy for the commands of one sandbox: tunnels and plain requests to the hosts on a list.

    head ──► on the list? ──► resolve once ──► every address public? ──► record ──► dial that address
         ──► tunnel: 200, client hello, names that host? ──► carry │ plain: the request anew ──► carry its answer

Each client connection carries one request, so a redirect is a new one and judged like the first.  It serves on a
listener that somebody made inside the sandbox's network, and everything that connects there is of that command.

Never: dials before the attempt is durably recorded, looks a name up twice, passes on a byte before the hello was read,
or lets a client that says nothing keep its place.

Invariants:
  Of each attempt that was recorded the end is told once.
  What is carried counts against the allowance of the command, not of the connection.

Source: architecture 6 and 7; threats 24 and 32.
"""

from __future__ import annotations

import msgspec
import trio
from trio.abc import HalfCloseableStream, Listener

from astrid.adapters.egress.carrying import CHUNK_BYTES, Allowance, Carrying, Cut
from astrid.adapters.egress.network import Network
from astrid.core.client_hello import MAX_HELLO_BYTES, read_hello
from astrid.core.egress import Reach, judge_addresses, judge_hello
from astrid.core.egress_connection import Attempt, Traffic
from astrid.core.hosts import Address, Authority
from astrid.core.proxy_request import END, MAX_HEAD_BYTES, ProxyRequest, parse_head
from astrid.errors import EdgeError, InputError
from astrid.ports import EgressLog

_MAX_ADDRESSES = 8
_LINGER_SECONDS = 2.0
_ESTABLISHED = b"HTTP/1.1 200 OK\r\n\r\n"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one command may use up.  ``attempts`` over its whole life, those among them that were more than may be open
    ``at_once``.
    """

    at_once: int = 64
    attempts: int = 1000
    head_seconds: float = 10.0
    hello_seconds: float = 10.0
    connect_seconds: float = 20.0
    idle_seconds: float = 120.0
    sent_bytes: int = 64 * 1024 * 1024
    received_bytes: int = 2 * 1024 * 1024 * 1024


class Proxy:
    """Serves one command.  Its allowance is that of the command, so each has a proxy of its own."""

    def __init__(self, reach: Reach, network: Network, log: EgressLog, limits: Limits | None = None) -> None:
        self._reach = reach
        self._network = network
        self._log = log
        self._limits = limits or Limits()
        self._allowance = Allowance(sent_bytes=self._limits.sent_bytes, received_bytes=self._limits.received_bytes)
        self._attempts_left = self._limits.attempts
        self._at_once = 0
        self._taking = trio.CancelScope()

    async def serve(self, listener: Listener[HalfCloseableStream]) -> None:
        """Take connections until the command has used up how many it may make, then close the listener: to refuse
        each one more would be work without end.  Cancelled, all of them are closed.
        """
        async with trio.open_nursery() as connections:
            with self._taking:
                await trio.serve_listeners(self.handle, [listener], handler_nursery=connections)

    async def handle(self, client: HalfCloseableStream) -> None:
        """One connection of the command, up to its end."""
        async with client:
            if not self._attempts_left:
                return
            self._attempts_left -= 1
            if not self._attempts_left:
                self._taking.cancel()
            if self._at_once >= self._limits.at_once:
                return
            self._at_once += 1
            try:
                await self._one_request(client)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the client went away, and what it did is told
            finally:
                self._at_once -= 1

    async def _one_request(self, client: HalfCloseableStream) -> None:
        try:
            request, rest = await self._read_request(client)
            addresses = await self._find(request.authority)
            number = await self._begin(request.authority, addresses, "")
        except Cut as cut:
            await _answer(client, cut)
            return
        carrying = Carrying(client, self._allowance, self._limits.idle_seconds)
        ended = "egress.stopped"  # unless it ends by itself
        try:
            await self._carry(carrying, request, addresses, rest)
            ended = ""
        except Cut as cut:
            ended = cut.code
            if not carrying.answered:
                await _answer(client, cut)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            ended = "egress.broken"
        finally:
            self._log.end(number, carrying.traffic(ended))

    # --- before anything leaves

    async def _read_request(self, client: HalfCloseableStream) -> tuple[ProxyRequest, bytes]:
        data = b""
        with trio.move_on_after(self._limits.head_seconds) as waiting:
            while END not in data and len(data) < MAX_HEAD_BYTES:
                piece = await client.receive_some(MAX_HEAD_BYTES - len(data))
                if not piece:
                    raise trio.BrokenResourceError("the client left before it had asked")
                data += piece
        head, end, rest = data.partition(END)
        if waiting.cancelled_caught:
            raise await self._refused(None, "egress.slow", "408 Request Timeout")
        if not end:
            raise await self._refused(None, "egress.request", "431 Request Header Fields Too Large")
        try:
            request = parse_head(head + end)
        except InputError as error:
            raise await self._refused(None, error.code, "400 Bad Request") from error
        return request, rest

    async def _find(self, authority: Authority) -> tuple[Address, ...]:
        """Every address of the host, all of which may be dialled."""
        barred = self._reach.judge(authority)
        if barred is not None:
            raise await self._refused(authority, barred.code)
        addresses: tuple[Address, ...] = ()
        if authority.address is not None:
            addresses = (authority.address,)
        else:
            with trio.move_on_after(self._limits.connect_seconds):
                addresses = await self._network.resolve(authority.host)
        barred = judge_addresses(authority, addresses)
        if barred is not None:
            raise await self._refused(authority, barred.code)
        return addresses[:_MAX_ADDRESSES]

    async def _refused(self, authority: Authority | None, code: str, status: str = "403 Forbidden") -> Cut:
        """The refusal, recorded."""
        number = await self._begin(authority, (), code)
        self._log.end(number, Traffic(address="", sent_bytes=0, received_bytes=0, cut=code))
        return Cut(code, status)

    async def _begin(self, authority: Authority | None, addresses: tuple[Address, ...], refused: str) -> int:
        attempt = Attempt(
            host="" if authority is None else authority.host,
            port=0 if authority is None else authority.port or 0,
            addresses=tuple(map(str, addresses)),
            refused=refused,
        )
        try:
            return await self._log.begin(attempt)
        except EdgeError as error:
            # SAFETY: what cannot be recorded does not happen.
            raise Cut(error.code, "503 Service Unavailable") from error

    # --- carrying

    async def _carry(
        self, carrying: Carrying, request: ProxyRequest, addresses: tuple[Address, ...], rest: bytes
    ) -> None:
        server = await self._dial(carrying, addresses, request.authority.port or 0)
        async with server:
            with carrying.quiet:
                if request.tunnel:
                    await carrying.tell(_ESTABLISHED)
                    await carrying.up(server, await self._hello(carrying.client, request.authority, rest))
                    await carrying.both_ways(server)
                else:
                    await carrying.up(server, request.head)
                    await carrying.body_and_answer(server, rest, request.body_bytes)
            if carrying.quiet.cancelled_caught:
                raise Cut("egress.idle", "504 Gateway Timeout")

    async def _dial(self, carrying: Carrying, addresses: tuple[Address, ...], port: int) -> HalfCloseableStream:
        with trio.move_on_after(self._limits.connect_seconds):
            for address in addresses:
                try:
                    server = await self._network.dial(address, port)
                except EdgeError:
                    continue  # the next one; that none could be reached is told below
                carrying.address = str(address)
                return server
        raise Cut("egress.unreachable", "502 Bad Gateway")

    async def _hello(self, client: HalfCloseableStream, authority: Authority, data: bytes) -> bytes:
        """The first bytes of the tunnel: a client hello that names the host of the tunnel."""
        try:
            with trio.move_on_after(self._limits.hello_seconds):
                while (hello := read_hello(data)) is None:
                    piece = await client.receive_some(MAX_HELLO_BYTES)
                    if not piece:
                        raise Cut("egress.hello")
                    data += piece
                barred = judge_hello(authority, hello)
                if barred is not None:
                    raise Cut(barred.code)
                return data
        except InputError as error:
            raise Cut(error.code) from error
        raise Cut("egress.slow")


async def _answer(client: HalfCloseableStream, cut: Cut) -> None:
    """Tell the client why not, by the code alone: where a name leads is not for it to find out."""
    body = f"astrid: {cut.code}\n".encode()
    head = f"HTTP/1.1 {cut.status}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\nconnection: close"
    with trio.move_on_after(_LINGER_SECONDS):
        await client.send_all(head.encode() + END + body)
        await client.send_eof()
        # Closed with something unread, the connection would take the answer with it.
        left = CHUNK_BYTES
        while left > 0 and (piece := await client.receive_some(left)):
            left -= len(piece)
