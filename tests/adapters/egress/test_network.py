"""The machine's network: whole names are looked up, and exactly the given address is dialled."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
import trio

from astrid.adapters.egress.network import SystemNetwork
from astrid.errors import EdgeError


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[object]:
    """What the system says of every name; the names it was asked for."""
    asked: list[object] = []

    async def getaddrinfo(host: str, _port: None, **_options: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    return asked


async def test_a_name_is_looked_up_whole_and_each_address_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, "93.184.216.34", "93.184.216.34", "fe80::1%3")
    assert await SystemNetwork().resolve("a.example") == (ip_address("93.184.216.34"), ip_address("fe80::1%3"))
    # With the dot no search list of the machine's can make `a.example.corp` of it.
    assert asked == ["a.example."]


async def test_a_name_that_nobody_knows_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch)
    assert await SystemNetwork().resolve("a.example") == ()


async def test_a_connection_leads_to_the_address_that_was_given() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    async with listener:
        place = listener.socket.getsockname()
        stream = await SystemNetwork().dial(ip_address("127.0.0.1"), place[1])
        async with stream, await listener.accept() as accepted:
            assert accepted.socket.getsockname() == place
            await stream.send_eof()
            assert await accepted.receive_some() == b""


async def test_nobody_there_is_an_error_and_leaves_nothing_open() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(EdgeError) as caught:
        await SystemNetwork().dial(ip_address("127.0.0.1"), port)
    assert (caught.value.code, caught.value.effect) == ("egress.unreachable", "none")


async def test_a_dial_that_is_given_up_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[trio.socket.SocketType] = []
    real = trio.socket.socket

    def keeping(*args: int) -> trio.socket.SocketType:
        made.append(real(*args))
        return made[-1]

    monkeypatch.setattr(trio.socket, "socket", keeping)
    with trio.CancelScope() as scope:
        scope.cancel()
        await SystemNetwork().dial(ip_address("127.0.0.1"), 1)
    assert [one.fileno() for one in made] == [-1]
