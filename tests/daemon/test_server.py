"""Who gets a place at the socket, and who has to give theirs up; in virtual time, over pairs of sockets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import wrap_client_stream

from astrid.adapters.system import SystemClock, SystemEntropy
from astrid.daemon import connection as c
from astrid.daemon import server as s
from astrid.daemon.report import Report
from astrid.daemon.shared import Shared
from astrid.kernel import ChildSpec, SupervisorSpec, open_system
from astrid.runtime.boot import World
from astrid.wire import params as p
from tests.fakes.connection_bench import FakeActor, FakeBooks, client_on, one_session
from tests.fakes.daemon_home import make_client_home


class Bench:
    """A server, and a door through which whoever comes gets to it.  Passes for a bench of one connection."""

    def __init__(self, world: World, server: s.Server) -> None:
        self.world = world
        self.server = server
        self._to_server, self._arrivals = trio.open_memory_channel[trio.SocketStream](1000)

    async def accept(self) -> trio.SocketStream:
        return await self._arrivals.receive()

    async def come(self) -> Any:
        """A new connection's other end."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        await self._to_server.send(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)))
        await wait_all_tasks_blocked()
        return trio.SocketStream(trio.socket.from_stdlib_socket(mine))


@asynccontextmanager
async def serving(root: Path) -> AsyncIterator[Bench]:
    home, _ = make_client_home(root / "home")
    world = World(home, clock=SystemClock(), entropy=SystemEntropy())
    refs, report = {}, Report(home.daemon_log, verbose=True)
    shared = Shared(
        world=world,
        books=FakeBooks(),  # type: ignore[arg-type]
        ephemeral=False,
        began=trio.current_time(),
        stop=lambda: None,
        connections=lambda: 1,
    )
    spec = SupervisorSpec(
        id="root",
        children=(
            ChildSpec(id="gateway", factory=lambda: FakeActor(one_session), rank=50),
            ChildSpec(id="approvals", factory=lambda: FakeActor(one_session), rank=20),
            s.CONNECTIONS,
        ),
    )
    try:
        async with open_system(spec) as system:
            refs.update({path: system.ref(path) for path in ("root/gateway", "root/approvals")})
            server = s.Server(shared, refs, lambda: system.supervisor("root/connections"), report)
            bench = Bench(world, server)
            door: Any = bench
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.serve, door)
                yield bench
                nursery.cancel_scope.cancel()
    finally:
        report.close()


@asynccontextmanager
async def strangers(bench: Bench, number: int, *, speak: bool) -> AsyncIterator[list[Any]]:
    """So many who are silent, or who ``speak`` so far as to hear what there is to be proved."""
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        ends: list[Any] = []
        for _ in range(number):
            stream = await stack.enter_async_context(await bench.come())
            ends.append(stream)
            if speak:
                with trio.fail_after(1):
                    web = await wrap_client_stream(nursery, stream, "localhost", "/")
                    assert "nonce" in str(await web.get_message())
        yield ends
        nursery.cancel_scope.cancel()


async def ask(bench: Any) -> None:
    """Somebody with a key gets in, and an answer."""
    async with await bench.come() as stream, client_on(bench, stream) as client:
        await client.call("listSessions", p.ListSessions())


@pytest.mark.parametrize("speak", [False, True], ids=["silent", "spoken to"])
async def test_strangers_who_stay_keep_nobody_with_a_key_waiting(
    autojump_clock: MockClock, tmp_path: Path, speak: bool
) -> None:
    async with serving(tmp_path) as bench, strangers(bench, 2 * s.MAX_CONNECTIONS, speak=speak):
        with trio.fail_after(c.HANDSHAKE_SECONDS - 1):  # before any of them has used up its own time
            await ask(bench)


async def test_whoever_has_shown_a_key_stays_however_many_strangers_come(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with serving(tmp_path) as bench:
        made: Any = bench
        async with (
            await bench.come() as stream,
            client_on(made, stream) as client,
            strangers(bench, 2 * s.MAX_STRANGERS, speak=False),
        ):
            await client.call("listSessions", p.ListSessions())


async def test_there_are_never_more_strangers_than_places_for_them_and_the_oldest_go(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with serving(tmp_path) as bench, strangers(bench, s.MAX_STRANGERS + 3, speak=False) as ends:
        assert bench.server.connections() == s.MAX_STRANGERS
        for end in ends[:3]:
            assert await end.receive_some() == b""
        with trio.move_on_after(1) as waited:
            await ends[3].receive_some()
        assert waited.cancelled_caught


async def test_strangers_who_came_before_do_not_count_among_those_with_a_key(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with serving(tmp_path) as bench, AsyncExitStack() as stack:
        made: Any = bench
        for _ in range(s.MAX_CONNECTIONS):
            await stack.enter_async_context(strangers(bench, 1, speak=False))
            stream = await stack.enter_async_context(await bench.come())
            await stack.enter_async_context(client_on(made, stream))
        async with await bench.come() as stream:  # and now there are as many as there may be
            assert await stream.receive_some() == b""
