"""Attacks on the egress proxy: each succeeds where its check is taken away, and with the check alone it does not.

An attack has reached its goal when a byte of the client's arrives at a place that the list does not open.  The other
checks are off as well while one is shown, since most attacks would meet several.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
import trio
import trio.testing

from astrid.adapters.egress import proxy as module
from astrid.adapters.egress.proxy import Limits, Proxy
from astrid.core.egress import Barred, Reach
from astrid.core.hosts import Address, Authority
from astrid.core.proxy_request import END, ProxyRequest, parse_head
from tests.fakes.egress import PUBLIC, Recorded, Wire, hello_for

METADATA, LOOPBACK, EVIL = "169.254.169.254", "127.0.0.1", "203.0.114.66"


def lenient(head: bytes) -> ProxyRequest:
    """What a hurried parser makes of a head: the first of everything, and the client's own bytes go on."""
    method, target = head.split(b" ")[:2]
    place = target.decode("latin-1").removeprefix("http://").partition("/")[0].rpartition("@")[2]
    host, _, port = place.partition(":")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    authority = Authority(host.lower(), int(port or 80), None)
    return ProxyRequest(method.decode(), authority, b"" if method == b"CONNECT" else head, length)


class Libc(Wire):
    """A resolver like the C library's: a name ends at its NUL, and a number in any form is an address."""

    async def resolve(self, name: str) -> tuple[Address, ...]:
        name = name.partition("\0")[0]
        try:
            return (ip_address(socket.inet_ntoa(socket.inet_aton(name))),)
        except OSError:
            return await super().resolve(name)


async def looks_up_twice(self: Proxy, authority: Authority) -> tuple[Address, ...]:
    """Judges one answer of the resolver and dials another."""
    barred = module.judge_addresses(authority, await self._network.resolve(authority.host))
    assert barred is None
    return await self._network.resolve(authority.host)


def prefix(self: Reach, authority: Authority) -> Barred | None:
    """``startsWith`` in place of labels."""
    return None if authority.host.startswith("a.example") else Barred("egress.not-listed", "")


def suffix(self: Reach, authority: Authority) -> Barred | None:
    """``endswith`` in place of labels."""
    return None if authority.host.endswith("a.example") else Barred("egress.not-listed", "")


def nothing(*_: object) -> None:
    """A check that finds nothing."""


@dataclass(frozen=True)
class Attack:
    """What is sent, and what has to be taken away for it to arrive: the check it is about first."""

    sent: bytes
    without: dict[str, Callable]
    names: dict[str, list[str]]
    hello: bytes = b""


def connect(host: str, port: int = 443) -> bytes:
    return f"CONNECT {host}:{port} HTTP/1.1\r\n\r\n".encode("latin-1")


ANY_LIST = {"Reach.judge": nothing}
ANY_ADDRESS = {"judge_addresses": nothing}
GRAMMAR = {"parse_head": lenient}
ANY_NAME = {"judge_hello": nothing}
EVIL_HELLO, HELLO = hello_for("evil.test"), hello_for("a.example")

ATTACKS = {
    "a NUL in the host, before which the resolver stops": Attack(
        connect("evil.test\0a.example"),
        {**GRAMMAR, "Reach.judge": suffix, **ANY_NAME},
        {"evil.test": [EVIL]},
        EVIL_HELLO,
    ),
    "a host that begins like the listed one": Attack(
        connect("a.example.evil.test"),
        {"Reach.judge": prefix},
        {"a.example.evil.test": [EVIL]},
        hello_for("a.example.evil.test"),
    ),
    "a host that ends like the listed one": Attack(
        connect("evila.example"), {"Reach.judge": suffix}, {"evila.example": [EVIL]}, hello_for("evila.example")
    ),
    "a user that looks like the host": Attack(
        connect("a.example@evil.test"), {**GRAMMAR, **ANY_LIST}, {"evil.test": [EVIL]}, EVIL_HELLO
    ),
    "a name that leads to this machine": Attack(connect("a.example"), ANY_ADDRESS, {"a.example": [LOOPBACK]}, HELLO),
    "a name that leads to the metadata of the machine": Attack(
        b"GET http://a.example/latest HTTP/1.1\r\n\r\n", ANY_ADDRESS, {"a.example": [METADATA]}
    ),
    "a name that leads outside and inside": Attack(
        b"GET http://a.example/ HTTP/1.1\r\n\r\n", ANY_ADDRESS, {"a.example": [f"{LOOPBACK} {PUBLIC}"]}
    ),
    "a name that leads to a mapped address": Attack(
        b"GET http://a.example/ HTTP/1.1\r\n\r\n", ANY_ADDRESS, {"a.example": ["64:ff9b::a9fe:a9fe"]}
    ),
    "a name that leads elsewhere when it is looked up again": Attack(
        connect("a.example"), {"Proxy._find": looks_up_twice}, {"a.example": [PUBLIC, LOOPBACK]}, HELLO
    ),
    "an octal address": Attack(
        connect("0177.0.0.1", 80), {**GRAMMAR, **ANY_LIST, **ANY_ADDRESS, **ANY_NAME}, {}, HELLO
    ),
    "a hexadecimal address": Attack(
        connect("0x7f.1", 80), {**GRAMMAR, **ANY_LIST, **ANY_ADDRESS, **ANY_NAME}, {}, HELLO
    ),
    "a short address": Attack(connect("127.1", 80), {**GRAMMAR, **ANY_LIST, **ANY_ADDRESS, **ANY_NAME}, {}, HELLO),
    "a decimal address": Attack(
        connect("2130706433", 80), {**GRAMMAR, **ANY_LIST, **ANY_ADDRESS, **ANY_NAME}, {}, HELLO
    ),
    "an address that nobody listed": Attack(f"GET http://{EVIL}/ HTTP/1.1\r\n\r\n".encode(), ANY_LIST, {}),
    "a dot behind a host that nobody listed": Attack(
        connect("evil.test."), ANY_LIST, {"evil.test": [EVIL]}, EVIL_HELLO
    ),
    "a look-alike of the listed host": Attack(
        connect("xn--a-example-9jg.test"),
        ANY_LIST,
        {"xn--a-example-9jg.test": [EVIL]},
        hello_for("xn--a-example-9jg.test"),
    ),
    "another port of the listed host": Attack(connect("a.example", 25), ANY_LIST, {"a.example": [EVIL]}, HELLO),
    "another host inside the tunnel": Attack(connect("a.example"), ANY_NAME, {"a.example": [EVIL]}, EVIL_HELLO),
    "no host inside the tunnel": Attack(connect("a.example"), ANY_NAME, {"a.example": [EVIL]}, hello_for(None)),
    "no TLS inside the tunnel": Attack(
        connect("a.example"),
        {"read_hello": lambda data: data or None, **ANY_NAME},
        {"a.example": [EVIL]},
        b"SSH-2.0\r\n",
    ),
    "another host in the fields": Attack(
        b"GET http://a.example/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", GRAMMAR, {"a.example": [EVIL]}
    ),
    "two lengths": Attack(
        b"POST http://a.example/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 0\r\n\r\nG",
        GRAMMAR,
        {"a.example": [EVIL]},
    ),
    "a length and pieces": Attack(
        b"POST http://a.example/ HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        GRAMMAR,
        {"a.example": [EVIL]},
    ),
    "a second request behind a bare line feed": Attack(
        b"GET http://a.example/ HTTP/1.1\r\nX: 1\n\nGET /admin HTTP/1.1\r\n\r\n", GRAMMAR, {"a.example": [EVIL]}
    ),
}


async def arrives(attack: Attack) -> bytes:
    """What of the client's comes out of the proxy's other end."""
    wire, log = Libc(attack.names), Recorded()
    client, ours = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Proxy(Reach(["a.example"]), wire, log).handle, ours)
        await client.send_all(attack.sent)
        await trio.testing.wait_all_tasks_blocked()
        if wire.ends:
            await client.send_all(attack.hello)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return b"".join([bytes(await end.receive_some()) for end in wire.ends])


def take_away(monkeypatch: pytest.MonkeyPatch, checks: dict[str, Callable]) -> None:
    for name, instead in checks.items():
        owner, _, attribute = name.rpartition(".")
        monkeypatch.setattr({"": module, "Reach": Reach, "Proxy": Proxy}[owner], attribute, instead)


@pytest.mark.parametrize("what", ATTACKS)
async def test_an_attack_does_not_arrive(what: str, autojump_clock: trio.testing.MockClock) -> None:
    attack = ATTACKS[what]
    got = await arrives(attack)
    if what == "a name that leads elsewhere when it is looked up again":
        assert got == HELLO  # at the address that was judged: see below
    else:
        assert got == b""


@pytest.mark.parametrize("what", ATTACKS)
async def test_without_its_checks_an_attack_arrives(
    what: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    attack = ATTACKS[what]
    take_away(monkeypatch, attack.without)
    assert await arrives(attack)


@pytest.mark.parametrize("what", [what for what, attack in ATTACKS.items() if len(attack.without) > 1])
async def test_the_check_it_is_about_stops_an_attack_alone(
    what: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    attack = ATTACKS[what]
    _, *others = attack.without
    take_away(monkeypatch, {name: attack.without[name] for name in others})
    assert await arrives(attack) == b""


@pytest.mark.parametrize(("twice", "address"), [(False, PUBLIC), (True, LOOPBACK)])
async def test_the_address_that_was_judged_is_the_one_that_is_dialled(
    twice: bool, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if twice:
        monkeypatch.setattr(Proxy, "_find", looks_up_twice)
    wire = Wire({"a.example": [PUBLIC, LOOPBACK]})
    client, ours = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Proxy(Reach(["a.example"]), wire, Recorded()).handle, ours)
        await client.send_all(connect("a.example"))
        await client.receive_some()
        nursery.cancel_scope.cancel()
    assert wire.dialled == [(address, 443)]
    assert len(wire.looked_up) == 1 + twice


@pytest.mark.parametrize("listed", [True, False])
async def test_a_redirect_is_a_new_request_and_judged_like_one(
    listed: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """The server that is listed sends its client to the metadata of the machine; the client goes there."""
    if listed:
        take_away(monkeypatch, {**ANY_LIST, **ANY_ADDRESS})
    wire, log = Wire({"a.example": [PUBLIC]}), Recorded()
    proxy = Proxy(Reach(["a.example"]), wire, log)
    target = "http://a.example/"
    for _ in range(2):
        client, ours = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.handle, ours)
            await client.send_all(f"GET {target} HTTP/1.1\r\n\r\n".encode())
            await trio.testing.wait_all_tasks_blocked()
            if wire.dialled == [(PUBLIC, 80)] and not log.ends:
                await wire.ends[0].send_all(f"HTTP/1.1 302 Found\r\nLocation: http://{METADATA}/\r\n\r\n".encode())
                await wire.ends[0].send_eof()
                answer = bytes(await client.receive_some())
                target = answer.partition(b"Location: ")[2].split()[0].decode()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert target == f"http://{METADATA}/"
    assert ((METADATA, 80) in wire.dialled) is listed
    assert (log.why[1] == "egress.not-listed") is not listed


@pytest.mark.parametrize(("sent", "limits"), [(b"X: 1\r\n" * 10_000, {}), (b"", {"head_seconds": 1e9})])
async def test_a_flood_of_fields_or_a_client_without_haste_has_an_end(
    sent: bytes, limits: dict, autojump_clock: trio.testing.MockClock
) -> None:
    """A head that grows for ever ends at its bound, and one that never ends at its deadline: without one, never."""
    log = Recorded()
    client, ours = trio.testing.memory_stream_pair()
    with trio.move_on_after(3600) as hour:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Proxy(Reach(["a.example"]), Wire(), log, Limits(**limits)).handle, ours)
            await client.send_all(b"GET http://a.example/ HTTP/1.1\r\n" + sent)
            while await client.receive_some():
                pass
            await client.aclose()
    assert hour.cancelled_caught is bool(limits)
    assert log.why == ([] if limits else ["egress.request"])


def test_what_the_lenient_parser_reads_the_strict_one_does_not_and_otherwise_they_agree() -> None:
    plain = b"GET http://a.example/ HTTP/1.1" + END
    assert lenient(plain).authority == parse_head(plain).authority
