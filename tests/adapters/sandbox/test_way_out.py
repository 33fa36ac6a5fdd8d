"""The way out of a box, with a launcher for real: what goes through it, what goes past it, and what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
import trio

from astrid.adapters.egress.proxy import Limits, Proxy
from astrid.adapters.sandbox.launcher import ZygoteLauncher
from astrid.adapters.sandbox.profile import build_box
from astrid.box_ports import Box, Finished
from astrid.core.egress import Reach
from astrid.errors import LaunchError
from tests.adapters.sandbox.conftest import ENV, tiers
from tests.adapters.sandbox.test_launcher import no_new_descriptors, nothing_left, until
from tests.architecture.source import SRC
from tests.fakes.egress import PUBLIC, Recorded, Rerouted, hello_for

pytestmark = pytest.mark.e2e

PLENTY = 30.0
HATCH = Path(__file__).parent / "cage" / "hatch.py"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n"
TUNNEL = """\
import os, socket, sys
hello = bytes.fromhex(sys.argv[2])
one = socket.create_connection(("127.0.0.1", 3128))
one.sendall(b"CONNECT " + sys.argv[1].encode() + b":443 HTTP/1.1\\r\\n\\r\\n")
print(one.recv(1000).split(b"\\r\\n")[0].decode(), flush=True)
one.sendall(hello)
print(one.recv(1000).decode(), flush=True)
"""


class Server:
    """A server on this machine that answers everything with ``answer``, or holds on to it."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[bytes] = []
        self.ended = 0
        self.answer: bytes | None = ANSWER

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        self.port = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(self._one, [listener], handler_nursery=nursery)

    async def _one(self, stream: trio.SocketStream) -> None:
        self.asked.append(bytes(await stream.receive_some()))
        if self.answer is not None:
            await stream.send_all(self.answer)
            await stream.send_eof()
        while await stream.receive_some():
            pass
        self.ended += 1


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    async with trio.open_nursery() as nursery:
        await nursery.start(one.serve)
        yield one
        nursery.cancel_scope.cancel()


@pytest.fixture
def box(workspace: Path) -> Iterator[Box]:
    if why := tiers()["l1"]:
        pytest.skip(f"no tier l1 here: {why}")
    folder = os.open(workspace, os.O_PATH | os.O_DIRECTORY)
    yield build_box("l1", str(workspace), folder)
    os.close(folder)


class Bench:
    """Programs that may reach ``a.example``, whose server is ours; each has a proxy of its own."""

    def __init__(self, launcher: ZygoteLauncher, box: Box, server: Server, limits: Limits | None = None) -> None:
        self.launcher, self.box = launcher, box
        self.log = Recorded()
        self.network = Rerouted({"a.example": [PUBLIC], "b.example": [PUBLIC]}, server.port)
        self._limits = limits

    async def run(self, argv: Sequence[str], *, seconds: float = PLENTY) -> Finished:
        proxy = Proxy(Reach(("a.example",)), self.network, self.log, self._limits)
        return await self.launcher.run(
            self.box, argv, cwd="", env=ENV, seconds=seconds, max_bytes=100_000, serve=proxy.serve
        )

    async def python(self, script: str, *arguments: str) -> Finished:
        return await self.run(["/usr/bin/python3", "-c", script, *arguments])

    async def curl(self, url: str) -> str:
        done = await self.run(["/usr/bin/curl", "-sS", "-w", "%{http_code}", url])
        return (done.stdout + done.stderr).decode()


@pytest.fixture
def bench(launcher: ZygoteLauncher, box: Box, server: Server) -> Bench:
    return Bench(launcher, box, server)


async def test_a_listed_host_is_reached_and_recorded_and_another_is_refused(bench: Bench, server: Server) -> None:
    assert await bench.curl("http://a.example/x") == "hello\n200"
    assert server.asked[0].startswith(b"GET /x HTTP/1.1\r\nhost: a.example\r\n")
    assert [(attempt.host, attempt.port) for attempt in bench.log.attempts] == [("a.example", 80)]
    assert bench.log.ends[0][1].received_bytes == len(ANSWER)
    assert "egress.not-listed" in await bench.curl("http://b.example/")
    assert (len(server.asked), bench.log.attempts[-1].refused) == (1, "egress.not-listed")


async def test_a_tunnel_is_carried(bench: Bench, server: Server) -> None:
    hello = hello_for("a.example")
    done = await bench.python(TUNNEL, "a.example", hello.hex())
    assert done.stdout.startswith(b"HTTP/1.1 200 OK\nHTTP/1.1 200 OK\r\n")
    assert server.asked == [hello]
    assert "403 Forbidden" in (await bench.python(TUNNEL, "b.example", hello.hex())).stdout.decode()
    assert len(server.asked) == 1


async def test_past_the_way_out_nothing_is_reached(bench: Bench, server: Server) -> None:
    script = """\
import socket, sys
for place in (("127.0.0.1", int(sys.argv[1])), ("127.0.0.1", 80), ("93.184.216.34", 80), ("169.254.169.254", 80)):
    try:
        socket.create_connection(place, 3)
        print("reached", place)
    except OSError as error:
        print(type(error).__name__)
"""
    done = await bench.python(script, str(server.port))
    assert done.stdout.split() == [b"PermissionError"] * 4
    assert server.asked == []
    # The same place, without a box: the server is there.
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(b"x")
        assert await stream.receive_some() == ANSWER


async def test_without_leave_there_is_no_way_out_and_no_word_of_one(launcher: ZygoteLauncher, box: Box) -> None:
    script = "env; exec 3<>/dev/tcp/127.0.0.1/3128 && echo reached"
    done = await launcher.run(box, ["/bin/bash", "-c", script], cwd="", env=ENV, seconds=PLENTY, max_bytes=10_000)
    assert b"reached" not in done.stdout
    assert b"proxy" not in done.stdout.lower()
    assert b"Operation not permitted" in done.stderr


async def test_where_there_is_no_network_of_its_own_none_is_opened(launcher: ZygoteLauncher, box: Box) -> None:
    async def serve(_: object) -> None:
        raise AssertionError("there is nothing to serve")

    low = build_box("l0", box.workspace, box.folder)
    with pytest.raises(LaunchError, match="no network of its own") as caught:
        await launcher.run(low, ["/bin/true"], cwd="", env=ENV, seconds=PLENTY, max_bytes=1000, serve=serve)
    assert (caught.value.code, caught.value.effect) == ("sandbox.no-way-out", "none")


async def test_many_connections_at_once_are_carried_and_nothing_is_left(bench: Bench, server: Server) -> None:
    fetch = "for i in $(seq 20); do curl -sS http://a.example/$i & done; wait"
    await bench.curl("http://b.example/")  # what is loaded once is loaded
    tasks = trio.lowlevel.current_statistics().tasks_living
    with no_new_descriptors(), nothing_left():
        done = await bench.run(["/bin/bash", "-c", fetch])
        await until(lambda: server.ended == 20)
    assert done.stdout == b"hello\n" * 20
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert all(traffic.cut == "" for _, traffic in bench.log.ends[1:])


async def test_a_program_that_connects_without_end_meets_an_end(
    launcher: ZygoteLauncher, box: Box, server: Server
) -> None:
    bench = Bench(launcher, box, server, Limits(attempts=100))
    script = """\
import socket
made = 0
for _ in range(10_000):
    try:
        with socket.create_connection(("127.0.0.1", 3128)):
            made += 1
    except ConnectionRefusedError:
        break
print(made)
"""
    with no_new_descriptors():
        done = await bench.python(script)
    # Those that the kernel had taken before it was told are closed unheard.
    assert 100 <= int(done.stdout) <= 1000, done
    assert server.asked == []


HOLD = """\
import os, socket, sys, time
one = socket.create_connection(("127.0.0.1", 3128))
one.sendall(b"CONNECT a.example:443 HTTP/1.1\\r\\n\\r\\n")
one.recv(1000)
one.sendall(bytes.fromhex(sys.argv[1]))
if sys.argv[2] == "leave" and os.fork():
    sys.exit(0)
time.sleep(1000)
"""


async def test_what_a_program_leaves_open_ends_with_it_and_is_told(bench: Bench, server: Server) -> None:
    server.answer = None
    with no_new_descriptors(), nothing_left():
        done = await bench.python(HOLD, hello_for("a.example").hex(), "leave")
        await until(lambda: server.ended == 1)
    assert done.returncode == 0
    assert [number for number, _ in bench.log.ends] == [1]


async def test_a_run_that_is_cancelled_ends_its_connections(bench: Bench, server: Server) -> None:
    server.answer = None
    with no_new_descriptors(), nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.python, HOLD, hello_for("a.example").hex(), "stay")
            await until(lambda: bool(server.asked))
            nursery.cancel_scope.cancel()
        await until(lambda: server.ended == 1)
    assert [traffic.cut for _, traffic in bench.log.ends] == ["egress.stopped"]


async def test_when_the_zygote_is_killed_its_programs_connections_end(bench: Bench, server: Server) -> None:
    server.answer = None
    caught: list[LaunchError] = []

    async def run() -> None:
        try:
            await bench.python(HOLD, hello_for("a.example").hex(), "stay")
        except* LaunchError as group:
            caught.extend(error for error in group.exceptions if isinstance(error, LaunchError))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await until(lambda: bool(server.asked))
        os.kill(bench.launcher.zygote_pid, signal.SIGKILL)
    await until(lambda: server.ended == 1)
    assert [error.code for error in caught] == ["sandbox.lost"]
    server.answer = ANSWER
    assert await bench.curl("http://a.example/") == "hello\n200"  # in a box of the next one


# --- the controls, one at a time

ONLY_THE_FILTER_STOPS = {
    *("another port by MPTCP", "another port by a fast open", "a datagram", "to listen", "a protocol on top"),
    *(f"a socket of family {family}" for family in (1, 16, 40, 10)),
}
ONLY_LANDLOCK_STOPS = {"another port"}
BOTH_STOP = {"another port by IPv6", "to bind"}


@cache
def works(*controls: str) -> frozenset[str]:
    """The attacks on an open way out that work where only these controls are."""
    done = subprocess.run(
        [sys.executable, str(HATCH), *controls],
        env={"PYTHONPATH": os.pathsep.join((str(SRC), *filter(None, sys.path)))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return frozenset(done.stdout.splitlines())


def test_each_control_stops_what_the_other_does_not(box: Box) -> None:
    del box  # this machine has namespaces
    everything = {"the way out"} | ONLY_THE_FILTER_STOPS | ONLY_LANDLOCK_STOPS | BOTH_STOP
    assert works() == everything
    assert works("landlock") == {"the way out"} | ONLY_THE_FILTER_STOPS
    assert works("filter") == {"the way out"} | ONLY_LANDLOCK_STOPS
    assert works("landlock", "filter") == {"the way out"}
