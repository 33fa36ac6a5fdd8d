"""The machine's own network: names looked up, checked addresses dialled.

Never: looks a name up while dialling, or takes a name for the beginning of another one.

Source: threat 32.
"""

from __future__ import annotations

import contextlib
import socket
from ipaddress import ip_address
from typing import Protocol

import trio
from trio.abc import HalfCloseableStream

from astrid.core.hosts import Address
from astrid.errors import EdgeError


class Network(Protocol):
    """Names and connections.  Whoever asks judges each address between the two, so neither does both."""

    async def resolve(self, name: str) -> tuple[Address, ...]:
        """Every address of ``name``, the one to try first at the front; none if it has none."""
        ...

    async def dial(self, address: Address, port: int) -> HalfCloseableStream:
        """A connection to this very address.

        Raises:
            EdgeError: there is none.
        """
        ...


class SystemNetwork:
    """The network over the system's resolver and TCP."""

    async def resolve(self, name: str) -> tuple[Address, ...]:
        """Every address of ``name``, in the order in which the system would try them; none if it has none."""
        try:
            # SAFETY: with its dot a name is whole, and no search list makes another one of it.
            found = await trio.socket.getaddrinfo(f"{name}.", None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return ()
        return tuple(dict.fromkeys(ip_address(place[4][0]) for place in found))

    async def dial(self, address: Address, port: int) -> HalfCloseableStream:
        """A connection to this very address.

        Raises:
            EdgeError: there is none.
        """
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with contextlib.ExitStack() as owned:
            dialling = owned.enter_context(trio.socket.socket(family, socket.SOCK_STREAM))
            try:
                await dialling.connect((str(address), port))
            except OSError as error:
                raise EdgeError(
                    "egress.unreachable",
                    f"the host cannot be reached: {error.strerror}",
                    effect="none",
                    advice="see whether it is up",
                ) from error
            owned.pop_all()
        return trio.SocketStream(dialling)
