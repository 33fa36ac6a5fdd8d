"""The egress proxy at work: what is carried, counted and recorded, and that nothing can keep it busy for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from astrid.adapters.egress.proxy import Limits, Proxy
from astrid.core.egress import Reach
from astrid.core.egress_connection import Attempt, Traffic
from astrid.core.proxy_request import MAX_HEAD_BYTES
from tests.fakes.egress import PUBLIC, Recorded, Wire, hello_for

TUNNEL = b"CONNECT a.example:443 HTTP/1.1\r\n\r\n"
GET = b"GET http://a.example/x HTTP/1.1\r\n\r\n"
HELLO = hello_for("a.example")
ESTABLISHED = b"HTTP/1.1 200 OK\r\n\r\n"


class Bench:
    """A proxy, its network and its log; one client connection at a time."""

    def __init__(self, hosts: tuple[str, ...] = ("a.example",), limits: Limits | None = None) -> None:
        self.wire = Wire({"a.example": [PUBLIC]})
        self.log = Recorded()
        self.proxy = Proxy(Reach(hosts), self.wire, self.log, limits)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[trio.StapledStream]:
        """A client, and the proxy that serves it up to its end."""
        client, ours = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.proxy.handle, ours)
            yield client
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def tunnelled(self) -> AsyncIterator[tuple[trio.StapledStream, trio.StapledStream]]:
        """A client and the server it talks to."""
        async with self.connected() as client:
            await client.send_all(TUNNEL)
            assert await client.receive_some() == ESTABLISHED
            await client.send_all(HELLO)
            await trio.testing.wait_all_tasks_blocked()
            server = self.wire.ends[0]
            assert await server.receive_some() == HELLO
            yield client, server

    async def answer(self, sent: bytes) -> bytes:
        """What a client that sends this and then only reads is told."""
        async with self.connected() as client:
            await client.send_all(sent)
            return await everything(client)


async def everything(stream: trio.StapledStream) -> bytes:
    data = b""
    while piece := await stream.receive_some():
        data += piece
    return data


def code_of(answer: bytes) -> str:
    return answer.rpartition(b"astrid: ")[2].decode().strip()


# --- what is carried


async def test_a_tunnel_carries_both_ways_and_is_recorded_with_what_it_carried() -> None:
    bench = Bench()
    async with bench.tunnelled() as (client, server):
        await server.send_all(b"four")
        assert await client.receive_some() == b"four"
        await client.send_all(b"sixsix")
        assert await server.receive_some() == b"sixsix"
        await client.send_eof()
        assert await server.receive_some() == b""
        await server.send_eof()
        assert await client.receive_some() == b""
        await trio.testing.wait_all_tasks_blocked()
    assert bench.wire.dialled == [(PUBLIC, 443)]
    assert bench.log.attempts == [Attempt(host="a.example", port=443, addresses=(PUBLIC,), refused="")]
    traffic = Traffic(address=PUBLIC, sent_bytes=len(HELLO) + 6, received_bytes=4, cut="")
    assert bench.log.ends == [(1, traffic)]


async def test_a_hello_may_come_with_the_request_and_in_pieces() -> None:
    bench = Bench()
    async with bench.connected() as client:
        await client.send_all(TUNNEL + HELLO[:7])
        assert await client.receive_some() == ESTABLISHED
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(HELLO[7:])
        await trio.testing.wait_all_tasks_blocked()
        assert await bench.wire.ends[0].receive_some() == HELLO


async def test_a_plain_request_goes_out_anew_with_its_body_and_nothing_behind_it() -> None:
    bench = Bench()
    async with bench.connected() as client:
        await client.send_all(b"PUT http://a.example/x HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"defGET http://a.example/secret HTTP/1.1\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        server = bench.wire.ends[0]
        got = await server.receive_some()
        await server.send_all(b"HTTP/1.1 200 OK\r\n\r\nfine")
        await server.send_eof()
        assert await everything(client) == b"HTTP/1.1 200 OK\r\n\r\nfine"
    assert got.startswith(b"PUT /x HTTP/1.1\r\nhost: a.example\r\n")
    assert got.endswith(b"\r\n\r\nabcdef")
    assert bench.log.why == [""]
    assert bench.log.ends[0][1].received_bytes == len(b"HTTP/1.1 200 OK\r\n\r\nfine")


async def test_an_answer_that_comes_before_the_whole_body_ends_the_connection() -> None:
    bench = Bench()
    async with bench.connected() as client:
        await client.send_all(b"PUT http://a.example/x HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
        await trio.testing.wait_all_tasks_blocked()
        await bench.wire.ends[0].send_all(b"HTTP/1.1 413 No\r\n\r\n")
        await bench.wire.ends[0].send_eof()
        assert await everything(client) == b"HTTP/1.1 413 No\r\n\r\n"
    assert bench.log.why == [""]


async def test_a_listed_address_needs_no_lookup() -> None:
    bench = Bench(("127.0.0.1:8080",))
    async with bench.connected() as client:
        await client.send_all(b"GET http://127.0.0.1:8080/ HTTP/1.1\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
    assert (bench.wire.looked_up, bench.wire.dialled) == ([], [("127.0.0.1", 8080)])


async def test_of_several_addresses_the_next_is_dialled_where_one_is_down() -> None:
    bench = Bench()
    bench.wire = Wire({"a.example": ["2606:2800:220:1::1 93.184.216.34"]})
    bench.wire.down.add("2606:2800:220:1::1")
    bench.proxy = Proxy(Reach(["a.example"]), bench.wire, bench.log)
    async with bench.connected() as client:
        await client.send_all(TUNNEL)
        assert await client.receive_some() == ESTABLISHED
    assert [address for address, _ in bench.wire.dialled] == ["2606:2800:220:1::1", PUBLIC]
    assert bench.log.attempts[0].addresses == ("2606:2800:220:1::1", PUBLIC)
    assert bench.log.ends[0][1].address == PUBLIC


# --- what is refused is recorded, and told by its code alone


@pytest.mark.parametrize(
    ("sent", "code", "status"),
    [
        (b"CONNECT b.example:443 HTTP/1.1\r\n\r\n", "egress.not-listed", b"403"),
        (b"CONNECT a.example:22 HTTP/1.1\r\n\r\n", "egress.not-listed", b"403"),
        (b"GET / HTTP/1.1\r\n\r\n", "egress.request", b"400"),
        (b"CONNECT a.example@b:443 HTTP/1.1\r\n\r\n", "pattern.host", b"400"),
        (b"A" * MAX_HEAD_BYTES, "egress.request", b"431"),
    ],
)
async def test_what_is_refused_is_recorded_and_nothing_is_looked_up(
    sent: bytes, code: str, status: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    bench = Bench()
    answer = await bench.answer(sent)
    assert (code_of(answer), answer.split()[1]) == (code, status)
    assert [attempt.refused for attempt in bench.log.attempts] == bench.log.why == [code]
    assert (bench.wire.looked_up, bench.wire.dialled) == ([], [])


async def test_a_host_that_leads_inside_is_refused_and_the_client_is_not_told_where(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench(("inside.example",))
    bench.wire = Wire({"inside.example": ["10.1.2.3"]})
    bench.proxy = Proxy(Reach(["inside.example"]), bench.wire, bench.log)
    answer = await bench.answer(b"CONNECT inside.example:443 HTTP/1.1\r\n\r\n")
    assert (code_of(answer), bench.wire.dialled, bench.log.why) == ("egress.address", [], ["egress.address"])
    assert b"10.1.2.3" not in answer
    assert b"private" not in answer


async def test_a_host_that_is_down_is_said_to_be(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.wire.down.add(PUBLIC)
    assert code_of(await bench.answer(TUNNEL)) == "egress.unreachable"
    assert bench.log.why == ["egress.unreachable"]


async def test_what_cannot_be_recorded_is_not_dialled(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.log.full = True
    answer = await bench.answer(TUNNEL)
    assert (answer.split()[1], code_of(answer), bench.wire.dialled) == (b"503", "journal.full", [])


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (hello_for("b.example"), "egress.other-name"),
        (hello_for(None), "egress.other-name"),
        (b"SSH-2.0-x\r\n", "egress.hello"),
        (b"GET / HTTP/1.1\r\n\r\n", "egress.hello"),
    ],
)
async def test_a_tunnel_in_which_something_else_begins_carries_not_one_byte(first: bytes, code: str) -> None:
    bench = Bench()
    async with bench.connected() as client:
        await client.send_all(TUNNEL)
        assert await client.receive_some() == ESTABLISHED
        await client.send_all(first)
        assert await everything(client) == b""
        assert await everything(bench.wire.ends[0]) == b""
    assert bench.log.why == [code]
    assert bench.log.ends[0][1].sent_bytes == 0


async def test_a_tunnel_whose_client_leaves_at_once_carries_nothing() -> None:
    bench = Bench()
    async with bench.connected() as client:
        await client.send_all(TUNNEL)
        assert await client.receive_some() == ESTABLISHED
        await client.send_eof()
        assert await everything(client) == b""
    assert bench.log.why == ["egress.hello"]


# --- nothing keeps it busy


async def test_a_client_that_asks_slowly_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()

    async def drip(client: trio.StapledStream) -> None:
        for _ in range(1000):
            await client.send_all(b"X")
            await trio.sleep(1)

    async with bench.connected() as client, trio.open_nursery() as dripping:
        dripping.start_soon(drip, client)
        began = trio.current_time()
        answer = await everything(client)
        assert trio.current_time() - began == pytest.approx(Limits().head_seconds)
        dripping.cancel_scope.cancel()
    assert (answer.split()[1], bench.log.why) == (b"408", ["egress.slow"])


@pytest.mark.parametrize("sent", [TUNNEL, TUNNEL + HELLO[:20]])
async def test_a_client_that_begins_its_tunnel_slowly_is_not_waited_for(
    sent: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    bench = Bench()
    assert await bench.answer(sent) == ESTABLISHED
    assert bench.log.why == ["egress.slow"]


async def test_a_tunnel_in_which_nothing_moves_is_ended(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    async with bench.tunnelled() as (client, server):
        for _ in range(3):  # as long as something moves, it lasts
            await trio.sleep(Limits().idle_seconds - 1)
            await server.send_all(b"x")
            assert await client.receive_some() == b"x"
        began = trio.current_time()
        assert await client.receive_some() == b""
        assert trio.current_time() - began == pytest.approx(Limits().idle_seconds)
    assert bench.log.why == ["egress.idle"]


async def test_a_server_that_never_answers_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    answer = await bench.answer(GET)
    assert (answer.split()[1], bench.log.why) == (b"504", ["egress.idle"])


async def test_a_name_that_never_resolves_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()

    async def never(name: str) -> tuple:
        await trio.sleep_forever()
        return ()

    bench.wire.resolve = never  # type: ignore[method-assign]
    assert code_of(await bench.answer(TUNNEL)) == "egress.no-address"


@pytest.mark.parametrize(
    ("limits", "act"),
    [
        (Limits(sent_bytes=len(HELLO) + 10), lambda client, server: client.send_all(b"x" * 11)),
        (Limits(received_bytes=10), lambda client, server: server.send_all(b"x" * 11)),
    ],
)
async def test_a_command_that_has_carried_its_share_carries_nothing_more(limits: Limits, act: Callable) -> None:
    bench = Bench(limits=limits)
    async with bench.tunnelled() as (client, server):
        await act(client, server)
        await trio.testing.wait_all_tasks_blocked()
        assert await client.receive_some() == b""
    assert bench.log.why == ["egress.bytes"]
    traffic = bench.log.ends[0][1]
    assert (traffic.sent_bytes, traffic.received_bytes) == (len(HELLO), 0)
    # A second connection has no share of its own.
    async with bench.connected() as client:
        await client.send_all(TUNNEL + HELLO)
        await trio.testing.wait_all_tasks_blocked()
        if limits.sent_bytes < 1000:
            assert await everything(bench.wire.ends[1]) == b""


async def test_a_command_has_so_many_connections_at_once_and_so_many_in_all() -> None:
    bench = Bench(limits=Limits(at_once=1, attempts=3))
    async with bench.connected() as first:
        await trio.testing.wait_all_tasks_blocked()
        async with bench.connected() as second:
            assert await second.receive_some() == b""
        await first.send_eof()
        assert await first.receive_some() == b""
    async with bench.connected() as third:
        await third.send_all(TUNNEL)
        assert await third.receive_some() == ESTABLISHED
    async with bench.connected() as fourth:
        assert await fourth.receive_some() == b""


async def is_heard(port: int) -> bool:
    try:
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True


async def test_a_command_that_has_used_up_its_connections_is_not_listened_to() -> None:
    bench = Bench(("b.example",), Limits(attempts=2))
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.proxy.serve, listener)
        async with await trio.open_tcp_stream("127.0.0.1", port) as first:
            async with await trio.open_tcp_stream("127.0.0.1", port):
                with trio.fail_after(10):
                    while await is_heard(port):
                        pass  # the kernel had taken it before it was told
            await first.send_all(TUNNEL)  # what is open goes on to its end
            await first.send_eof()
            assert code_of(b"".join([bytes(piece) async for piece in first])) == "egress.not-listed"


async def test_a_connection_that_is_stopped_is_told_as_that() -> None:
    bench = Bench()
    async with bench.tunnelled():
        pass
    assert bench.log.why == ["egress.stopped"]


async def test_a_server_that_breaks_off_is_told_as_that() -> None:
    bench = Bench()
    async with bench.tunnelled() as (client, server):
        await server.aclose()
        await client.send_all(b"x")
        await trio.testing.wait_all_tasks_blocked()
    assert bench.log.why == ["egress.broken"]


async def test_it_serves_a_real_listener_until_it_is_cancelled() -> None:
    bench = Bench(("b.example",))
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.proxy.serve, listener)
        for _ in range(2):
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                await client.send_all(TUNNEL)
                await client.send_eof()
                assert code_of(b"".join([bytes(piece) async for piece in client])) == "egress.not-listed"
        nursery.cancel_scope.cancel()
    assert bench.log.why == ["egress.not-listed"] * 2
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream("127.0.0.1", port)
