"""A tool that reaches a host through the proxy, in the whole runtime: what the log has of its connections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.abc import HalfCloseableStream

from astrid.adapters.egress.proxy import Proxy
from astrid.adapters.store.journal import SqliteReader
from astrid.core import gate_connections
from astrid.core.answers import Verdict
from astrid.core.blocks import Permission
from astrid.core.call import Call, Need, Preparation
from astrid.core.chain import Frame, decode_body, decode_frame
from astrid.core.egress import Reach
from astrid.core.gate_connections import place_of
from astrid.core.grants import Mode
from astrid.core.hosts import Address
from astrid.core.own_tools import own_tool
from astrid.core.records import Kind, OutcomeRecord, PermitRecord, is_sealed
from astrid.core.records_connections import ConnectionEndedRecord, ConnectionRecord
from astrid.core.resources import net_resource
from astrid.core.tools import EffectClass, OutputTrust, ToolSpec
from astrid.home import Home, open_home
from astrid.messages.gateway import EndSession, SessionOpened
from astrid.ports import Report, ToolOutcome
from astrid.runtime.parts import Extra
from tests.daemon.test_deleting import deleted
from tests.fakes.egress import PUBLIC, Wire
from tests.fakes.runtime import call, running, turn
from tests.fakes.sleepers import ask

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
SCHEMA = b'{"additionalProperties":false,"properties":{},"required":[],"type":"object"}'


class Answering(Wire):
    """A network whose every server gives the same answer.  ``durable`` is asked whenever somebody dials."""

    durable: Callable[[], list[Kind]] = list
    seen: list[list[Kind]]

    def __init__(self, names: dict[str, list[str]]) -> None:
        super().__init__(names)
        self.seen = []

    async def dial(self, address: Address, port: int) -> HalfCloseableStream:
        self.seen.append(self.durable())
        ours = await super().dial(address, port)
        await self.ends[-1].send_all(ANSWER)
        await self.ends[-1].send_eof()
        return ours


class Fetcher:
    """A ``ToolServer`` whose call names one host, and asks the proxy for each of ``urls``."""

    def __init__(self, *urls: str, listed: str = "a.example:80") -> None:
        self.urls = urls
        self.listed = listed
        self.wire = Answering({"a.example": [PUBLIC], "b.example": [PUBLIC]})
        self.told: list[bytes] = []

    def specs(self) -> tuple[ToolSpec, ...]:
        made = own_tool(
            "fetch",
            "fetcher",
            b"Fetch.",
            SCHEMA,
            effect=EffectClass.FETCH,
            trust=OutputTrust.THIRD_PARTY,
            verbs=("fetch",),
            nouns=("page",),
        )
        return (made,)

    def glance(self, tool: str, args: bytes) -> Preparation:
        return Preparation(needs=(Need(net_resource("a.example", 80).text, Permission.INVOKE),))

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        return self.glance(tool, args)

    async def execute(self, call: Call, report: Report) -> ToolOutcome:
        proxy = Proxy(Reach([self.listed]), self.wire, report)
        self.told = [await self._fetch(proxy, url) for url in self.urls]
        return ToolOutcome(content=b"fetched", is_error=False, effect="done")

    async def _fetch(self, proxy: Proxy, url: str) -> bytes:
        client, ours = trio.testing.memory_stream_pair()
        said = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.handle, ours)
            async with client:
                await client.send_all(f"GET {url} HTTP/1.1\r\n\r\n".encode())
                while piece := await client.receive_some():
                    said += piece
        return said


class Life:
    """What is left of a session that fetched: its log, and what lies beside it."""

    def __init__(self, home: Home) -> None:
        reader = SqliteReader(home.log)
        frames = [decode_frame(data) for data in reader.frames(1, 100_000)]
        self.records: list[tuple[Frame, Any]] = [(frame, decode_body(frame)) for frame in frames]
        self.beside = {frame.seq: reader.payload(frame.seq, 0) for frame in frames}
        reader.close()

    def of(self, shape: type[Any]) -> list[tuple[Frame, Any]]:
        return [(frame, body) for frame, body in self.records if isinstance(body, shape)]

    def places(self) -> list[tuple[str, tuple[str, ...]]]:
        """The hosts and addresses of all connections, as their records commit to them."""
        found: list[tuple[str, tuple[str, ...]]] = []
        for frame, body in self.of(ConnectionRecord):
            beside = self.beside[frame.seq]
            assert beside is not None
            assert is_sealed(body.place, *beside)
            found.append(place_of(beside[1]))
        return found


async def lived(folder: Path, fetcher: Fetcher, *, erased: bool = False) -> Life:
    """A session whose model fetches once; a person says yes, and may have it ``erased`` at its end."""
    async with running(folder) as runtime:
        runtime.world.catalogue._extras = (Extra("fetcher", "fetcher", fetcher),)
        await runtime.grant(Mode.GUIDED)
        opened = await runtime.open([turn(call("fetch")), turn()])
        assert isinstance(opened, SessionOpened), opened
        await runtime.attend()
        await runtime.say("fetch it")
        asked = (await runtime.until("approval_needed"))[-1]
        await runtime.respond(asked, Verdict.ONCE)
        await runtime.until("turn_complete")
        home = runtime.world.home
        if erased:
            await ask(runtime, EndSession(session=runtime.session, reason="asked"))
            await runtime.until("session_ended")
            await deleted(runtime, runtime.session)
    return Life(home)


async def test_a_connection_is_in_the_log_between_the_permit_of_its_call_and_the_outcome(tmp_path: Path) -> None:
    fetcher = Fetcher("http://a.example/")
    life = await lived(tmp_path, fetcher)
    assert fetcher.told == [ANSWER]
    ((permit, _),) = [one for one in life.of(PermitRecord) if one[1].tool == "fetch"]
    ((begun, connection),) = life.of(ConnectionRecord)
    ((over, end),) = life.of(ConnectionEndedRecord)
    ((settled, _),) = [one for one in life.of(OutcomeRecord) if one[1].permit_seq == permit.seq]
    assert permit.seq < begun.seq < over.seq < settled.seq
    assert (connection.permit_seq, connection.number, connection.port, connection.code) == (permit.seq, 1, 80, "")
    assert life.places() == [("a.example", (PUBLIC,))]
    assert (end.permit_seq, end.number, end.dialled, end.code) == (permit.seq, 1, 1, "")
    assert end.sent > 0
    assert end.received == len(ANSWER)


async def test_what_the_proxy_refuses_is_in_the_log_and_dialled_by_nobody(tmp_path: Path) -> None:
    fetcher = Fetcher("http://169.254.169.254/latest", "http://a.example/")
    life = await lived(tmp_path, fetcher)
    assert b"egress.not-listed" in fetcher.told[0]
    codes = [(body.number, body.code) for _, body in life.of(ConnectionRecord)]
    assert codes == [(1, "egress.not-listed"), (2, "")]
    assert life.places() == [("169.254.169.254", ()), ("a.example", (PUBLIC,))]
    assert [body.number for _, body in life.of(ConnectionEndedRecord)] == [2]
    assert fetcher.wire.dialled == [(PUBLIC, 80)]


async def beyond(folder: Path) -> tuple[Fetcher, Life]:
    """The list of the proxy is wider than what the call names, as if somebody had mixed up two calls."""
    fetcher = Fetcher("http://b.example/", listed="*.example:80")
    return fetcher, await lived(folder, fetcher)


async def test_a_proxy_whose_list_is_too_wide_dials_nothing_that_the_permit_does_not_name(tmp_path: Path) -> None:
    fetcher, life = await beyond(tmp_path)
    assert b"egress.refused" in fetcher.told[0]
    assert fetcher.wire.dialled == []
    assert [body.code for _, body in life.of(ConnectionRecord)] == ["egress.not-permitted"]
    assert life.places() == [("b.example", (PUBLIC,))]


async def test_without_the_gates_look_at_the_permit_it_dials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_connections, "_barred", lambda _pending, _message: "")
    fetcher, _ = await beyond(tmp_path)
    assert fetcher.wire.dialled == [(PUBLIC, 80)]


async def test_nothing_is_dialled_before_the_record_is_durable(tmp_path: Path) -> None:
    fetcher = Fetcher("http://a.example/")
    fetcher.wire.durable = lambda: [Kind(decode_frame(raw).kind) for raw in frames_of(tmp_path / "home")]
    await lived(tmp_path, fetcher)
    assert [Kind.CONNECTION in kinds for kinds in fetcher.wire.seen] == [True]


def frames_of(folder: Path) -> list[bytes]:
    reader = SqliteReader(open_home(folder).log)
    try:
        return reader.frames(1, 100_000)
    finally:
        reader.close()


async def test_what_hosts_a_session_reached_is_erased_with_it(tmp_path: Path) -> None:
    life = await lived(tmp_path, Fetcher("http://b.example/", "http://a.example/"), erased=True)
    assert [life.beside[frame.seq] for frame, _ in life.of(ConnectionRecord)] == [None, None]
    assert b"a.example" not in b"".join(frame.body for frame, _ in life.of(ConnectionRecord))
