"""A network of its own with a way out, closed by the controls that are named: which attacks on it work?

python hatch.py CONTROL...      landlock, filter; each attack that works is a line
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from signal import SIGCHLD

from astrid.adapters.sandbox.cage import filters, kernel, landlock, supervisor, wayout

MPTCP = 262
OTHER = 9


def connect(family: int, kind: int, protocol: int, place: tuple[str, int]) -> None:
    with socket.socket(family, kind, protocol) as one:
        one.connect(place)


def fast_open() -> None:
    with socket.socket() as one:
        one.sendto(b"x", socket.MSG_FASTOPEN, (wayout.HOST, OTHER))


def listen() -> None:
    with socket.socket() as one:
        one.listen()


def bind() -> None:
    with socket.socket() as one:
        one.bind((wayout.HOST, 4000))


def datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (wayout.HOST, OTHER))


def protocol_on_top() -> None:
    # That it is not there, the kernel says when it has looked for it, which is what an attacker wants.
    with socket.create_connection((wayout.HOST, wayout.PORT)) as one, suppress(FileNotFoundError):
        one.setsockopt(socket.IPPROTO_TCP, filters.TCP_ULP, b"none such")


ATTACKS: dict[str, Callable[[], object]] = {
    "the way out": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, 0, (wayout.HOST, wayout.PORT)),
    "another port": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, 0, (wayout.HOST, OTHER)),
    "another port by MPTCP": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, MPTCP, (wayout.HOST, OTHER)),
    "another port by IPv6": lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, 0, ("::1", OTHER)),
    "another port by a fast open": fast_open,
    "a datagram": datagram,
    "to bind": bind,
    "to listen": listen,
    "a protocol on top": protocol_on_top,
    **{
        f"a socket of family {family}": lambda family=family, kind=kind: socket.socket(family, kind).close()
        for family, kind in ((socket.AF_UNIX, 1), (socket.AF_NETLINK, 3), (socket.AF_VSOCK, 1), (socket.AF_INET6, 1))
    },
}


def main(controls: list[str]) -> None:
    pid = kernel.call("clone", supervisor.NAMESPACES | SIGCHLD, 0, 0, 0, 0)
    if pid:
        os.waitpid(pid, 0)
        return
    way = wayout.open_way_out()
    others = [socket.socket(), socket.socket(socket.AF_INET6)]
    for one, host in zip(others, (wayout.HOST, "::1"), strict=True):
        one.bind((host, OTHER))
        one.listen()
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if "landlock" in controls:
        landlock.restrict([(os.open("/", os.O_PATH), landlock.ALL)], port=wayout.PORT)
    if "filter" in controls:
        kernel.install_filter(filters.build(kernel.machine(), own_ipc=True, network=True))
    for name, attack in ATTACKS.items():
        try:
            attack()
            os.write(1, name.encode() + b"\n")
        except OSError as error:
            os.write(2, f"{name}: {error}\n".encode())
    way.close()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
