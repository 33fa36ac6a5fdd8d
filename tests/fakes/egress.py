"""A network without a machine, a log of connections that is a list, and first bytes of TLS clients."""

from __future__ import annotations

import ssl
from ipaddress import ip_address

import trio
import trio.testing

from astrid.core.egress_connection import Attempt, Traffic
from astrid.core.hosts import Address
from astrid.errors import EdgeError

PUBLIC = "93.184.216.34"


class Wire:
    """A ``Network``: each lookup of a name gives its next answer, and the last one again and again."""

    def __init__(self, names: dict[str, list[str]] | None = None) -> None:
        self._answers = {name: [one.split() for one in answers] for name, answers in (names or {}).items()}
        self.looked_up: list[str] = []
        self.dialled: list[tuple[str, int]] = []
        self.down: set[str] = set()
        self.ends: list[trio.StapledStream] = []

    async def resolve(self, name: str) -> tuple[Address, ...]:
        self.looked_up.append(name)
        answers = self._answers.get(name.partition("\0")[0], [[]])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return tuple(map(ip_address, found))

    async def dial(self, address: Address, port: int) -> trio.abc.HalfCloseableStream:
        self.dialled.append((str(address), port))
        if str(address) in self.down:
            raise EdgeError("egress.unreachable", "the host cannot be reached", effect="none", advice="see")
        ours, theirs = trio.testing.memory_stream_pair()
        self.ends.append(theirs)
        return ours


class Rerouted(Wire):
    """A ``Network`` of names whose every address is a server on this machine, at ``port``."""

    def __init__(self, names: dict[str, list[str]], port: int) -> None:
        super().__init__(names)
        self._port = port

    async def dial(self, address: Address, port: int) -> trio.abc.HalfCloseableStream:
        self.dialled.append((str(address), port))
        return await trio.open_tcp_stream("127.0.0.1", self._port)


class Answering(Wire):
    """A ``Network`` in which every server has said ``answer`` before it is asked."""

    def __init__(self, names: dict[str, list[str]], answer: bytes) -> None:
        super().__init__(names)
        self._answer = answer

    async def dial(self, address: Address, port: int) -> trio.abc.HalfCloseableStream:
        ours = await super().dial(address, port)
        await self.ends[-1].send_all(self._answer)
        await self.ends[-1].send_eof()
        return ours


class Recorded:
    """The ``EgressLog`` port, and the ``Report`` of a call: output is dropped."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.ends: list[tuple[int, Traffic]] = []
        self.full = False

    def __call__(self, piece: bytes, /) -> None:
        del piece

    async def begin(self, attempt: Attempt) -> int:
        if self.full:
            raise EdgeError("journal.full", "the log cannot be written", effect="none", advice="make room")
        self.attempts.append(attempt)
        return len(self.attempts)

    def end(self, number: int, traffic: Traffic) -> None:
        self.ends.append((number, traffic))

    @property
    def why(self) -> list[str]:
        """Why each connection was refused or cut off."""
        return [traffic.cut for _, traffic in self.ends]


def hello_for(name: str | None) -> bytes:
    """What OpenSSL says first to a server that is called ``name``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = name is not None
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake with nobody ended")
