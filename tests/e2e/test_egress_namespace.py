"""The egress proxy on a socket that was made inside an empty network: what is in there reaches the proxy, nothing else,
and through it only what is listed."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
import trio

from astrid.adapters.egress.network import SystemNetwork
from astrid.adapters.egress.proxy import Proxy
from astrid.core.egress import Reach
from tests.fakes.egress import Recorded

# Without privileges a namespace of users comes first.  The socket is handed out before anybody connects to it.
INSIDE = """
import ctypes, fcntl, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x40000000 | (0 if os.geteuid() == 0 else 0x10000000)) != 0:
    sys.exit(77)
listening = socket.socket()
fcntl.ioctl(listening, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
listening.bind(("127.0.0.1", 3128))
listening.listen(16)
with socket.socket(fileno=int(sys.argv[1])) as out:
    socket.send_fds(out, [b"l"], [listening.fileno()])
listening.close()

def ask(*words):
    with socket.create_connection(("127.0.0.1", 3128), 10) as proxy:
        proxy.sendall(" ".join(words).encode() + b"\\r\\n\\r\\n")
        return b"".join(iter(lambda: proxy.recv(4096), b"")).decode()

port = sys.argv[2]
print(ask("GET", f"http://127.0.0.1:{port}/x", "HTTP/1.1").splitlines()[-1])
print(ask("GET", "http://127.0.0.1:9/", "HTTP/1.1").splitlines()[-1])
for place in (("127.0.0.1", int(port)), ("192.0.2.1", 80)):
    try:
        socket.create_connection(place, 10)
        print("reached")
    except OSError:
        print("cut off")
"""


def start(out: socket.socket, port: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-I", "-c", INSIDE, str(out.fileno()), str(port)]
    return subprocess.Popen(words, pass_fds=[out.fileno()], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
async def test_a_process_in_an_empty_network_reaches_what_is_listed_through_the_proxy_and_nothing_else() -> None:
    ours, theirs = socket.socketpair()
    server = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = server.socket.getsockname()[1]
    with ours, theirs:
        inside = start(theirs, port)
        theirs.close()
        with inside:
            _, descriptors, _, _ = await trio.to_thread.run_sync(socket.recv_fds, ours, 1, 1)
            if not descriptors:
                assert inside.wait() == 77
                await server.aclose()
                pytest.skip("no network namespace can be made here")
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=descriptors[0])))
            log = Recorded()

            async def answer(stream: trio.SocketStream) -> None:
                async with stream:
                    await stream.receive_some()
                    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nfrom outside")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(Proxy(Reach([f"127.0.0.1:{port}"]), SystemNetwork(), log).serve, listener)
                nursery.start_soon(trio.serve_listeners, answer, [server])
                said = await trio.to_thread.run_sync(lambda: inside.communicate(timeout=60)[0])
                nursery.cancel_scope.cancel()
    assert said.splitlines() == ["from outside", "astrid: egress.not-listed", "cut off", "cut off"]
    assert [(one.host, one.port, one.refused) for one in log.attempts] == [
        ("127.0.0.1", port, ""),
        ("127.0.0.1", 9, "egress.not-listed"),
    ]
    assert log.ends[0][1].received_bytes == len(b"HTTP/1.1 200 OK\r\n\r\nfrom outside")
