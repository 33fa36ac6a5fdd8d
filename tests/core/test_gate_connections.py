"""The connections of calls at the gate: recorded before they begin, only where the permit leads, and told of once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from astrid.core import gate_denials
from astrid.core.call import Need, Preparation
from astrid.core.canon import MAX_U64
from astrid.core.facts import LOG_BYTES_PER_SESSION
from astrid.core.gate_connections import (
    MAX_ADDRESSES,
    MAX_CHARS,
    MAX_NUMBER,
    Connect,
    Disconnected,
    place_of,
)
from astrid.core.gate_messages import Connecting, Effect, Record, Send
from astrid.core.records import Kind, is_sealed
from astrid.core.resources import net_resource
from astrid.core.tokens import Grant, Permission, Scope
from astrid.errors import CanonError
from tests.fakes.authority import SESSION, SESSION_KEY, token
from tests.fakes.driver_bench import SETUP
from tests.fakes.driver_bench import Bench as Hosted
from tests.fakes.gate_bench import FILES, MODEL, READ, Bench

HOST, PORT = "api.example.com", 443
ADDRESSES = ("93.184.216.34", "2606:2800:21f::1")
GRANTS = (Grant("file://w/**", 0xFF, 0, 3, b""), Grant("net://*/**", 0xFF, 0, 3, b""))
ONLINE = token(holder=SESSION_KEY.public, grants=GRANTS, session=SESSION, scope=Scope.SESSION)


def reaching(*places: tuple[str, int], permission: int = Permission.INVOKE) -> Preparation:
    needs = (Need(net_resource(host, port).text, int(permission)) for host, port in places)
    return Preparation(needs=tuple(sorted((Need("file://w/a.txt", READ), *needs))))


def running(*, made: Preparation | None = None) -> Bench:
    """A bench whose newest call runs, and may reach the host."""
    bench = Bench()
    bench.propose("read_file", ONLINE)
    bench.prepared(made=made or reaching((HOST, PORT)))
    bench.sync()
    assert bench.gate.pending[bench.ref].permit_seq
    return bench


def wants(bench: Bench, *, sender: int = FILES, **fields: Any) -> list[Effect]:
    pending = bench.gate.pending[bench.ref]
    said = Connect(
        ref=pending.ref,
        permit_seq=pending.permit_seq,
        number=1,
        host=HOST,
        port=PORT,
        addresses=ADDRESSES,
        code="",
    )
    return bench.do(bench.gate.connection(sender, msgspec.structs.replace(said, **fields)))


def ended(bench: Bench, **fields: Any) -> list[Effect]:
    pending = bench.gate.pending[bench.ref]
    said = Disconnected(
        ref=pending.ref, permit_seq=pending.permit_seq, number=1, dialled=2, sent_bytes=7, received_bytes=9, code=""
    )
    return bench.do(bench.gate.connection(FILES, msgspec.structs.replace(said, **fields)))


def codes(bench: Bench) -> list[str]:
    """What the host was told of its connections, in order."""
    return [told.code for told in bench.sent(Connecting)]


def test_a_connection_may_begin_when_its_record_is_durable_and_no_sooner() -> None:
    bench = running()
    (record,) = wants(bench)
    assert isinstance(record, Record)
    assert bench.sent(Connecting) == []
    assert bench.sync() == [Send(FILES, Connecting(ref=bench.ref, number=1, code=""))]


def test_the_record_names_its_permit_and_port_and_seals_the_host() -> None:
    bench = running()
    wants(bench)
    (record,) = bench.records(Kind.CONNECTION)
    permit_seq = bench.gate.pending[bench.ref].permit_seq
    assert (record.permit_seq, record.number, record.port, record.code) == (permit_seq, 1, PORT, "")
    made = bench.log[-1]
    assert made.session == SESSION
    (payload,) = made.payloads
    assert is_sealed(record.place, payload.salt, payload.data)
    assert place_of(payload.data) == (HOST, ADDRESSES)
    assert HOST.encode() not in made.body


def test_how_a_connection_ended_is_recorded_once() -> None:
    bench = running()
    wants(bench)
    bench.sync()
    (effect,) = ended(bench, code="egress.idle")
    assert isinstance(effect, Record)
    assert not effect.entry.urgent
    (record,) = bench.records(Kind.CONNECTION_ENDED)
    told = (record.number, record.dialled, record.sent, record.received, record.code)
    assert told == (1, 2, 7, 9, "egress.idle")
    assert record.permit_seq == bench.records(Kind.CONNECTION)[0].permit_seq
    assert ended(bench) == []


def test_the_end_of_a_connection_that_never_began_is_not_recorded() -> None:
    assert ended(running()) == []


@pytest.mark.parametrize(
    "fields", [{"dialled": 3}, {"dialled": -1}, {"sent_bytes": -1}, {"received_bytes": MAX_U64 + 1}]
)
def test_an_end_that_cannot_be_is_not_recorded(fields: dict[str, Any]) -> None:
    bench = running()
    wants(bench)
    assert ended(bench, **fields) == []


@pytest.mark.parametrize("code", ["x" * (MAX_CHARS + 1), "n\xf6"])
def test_an_end_whose_reason_is_no_code_is_recorded_as_cut_off(code: str) -> None:
    bench = running()
    wants(bench)
    ended(bench, code=code)
    assert bench.records(Kind.CONNECTION_ENDED)[0].code == "egress.stopped"


def test_what_was_refused_before_is_recorded_with_its_reason() -> None:
    bench = running()
    wants(bench, host="metadata.internal", addresses=(), code="egress.address")
    bench.sync()
    assert bench.records(Kind.CONNECTION)[0].code == "egress.address"
    assert codes(bench) == ["egress.address"]
    assert ended(bench) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "other.example.com"},
        {"host": "com"},
        {"host": "api.example.co"},
        {"port": 80},
        {"port": 0},
        {"host": "no host"},
        {"addresses": ()},
    ],
    ids=str,
)
def test_where_the_permit_does_not_lead_no_connection_begins_and_that_is_recorded(fields: dict[str, Any]) -> None:
    bench = running()
    wants(bench, **fields)
    bench.sync()
    assert codes(bench) == ["egress.not-permitted"]
    assert [record.code for record in bench.records(Kind.CONNECTION)] == ["egress.not-permitted"]


def test_a_need_that_does_not_say_use_opens_nothing() -> None:
    bench = running(made=reaching((HOST, PORT), permission=Permission.READ))
    wants(bench)
    bench.sync()
    assert codes(bench) == ["egress.not-permitted"]


def test_a_call_that_was_given_up_connects_no_more() -> None:
    bench = running()
    bench.cancel()
    wants(bench)
    bench.sync()
    assert codes(bench) == ["egress.not-permitted"]


@pytest.mark.parametrize(
    "fields",
    [
        {"number": 0},
        {"number": MAX_NUMBER + 1},
        {"port": -1},
        {"port": 1 << 16},
        {"host": "h" * (MAX_CHARS + 1)},
        {"host": "\xe4.example.com"},
        {"code": "c" * (MAX_CHARS + 1)},
        {"addresses": ("1.1.1.1",) * (MAX_ADDRESSES + 1)},
        {"addresses": ("1" * (MAX_CHARS + 1),)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_cannot_be_recorded_does_not_begin(fields: dict[str, Any]) -> None:
    bench = running()
    effects = wants(bench, **fields)
    number = fields.get("number", 1)
    assert effects == [Send(FILES, Connecting(ref=bench.ref, number=number, code="egress.request"))]


def test_a_number_is_good_for_one_connection() -> None:
    bench = running()
    wants(bench, number=2)
    wants(bench, number=2)
    wants(bench, number=1)
    wants(bench, number=3)
    bench.sync()
    assert [record.number for record in bench.records(Kind.CONNECTION)] == [2, 3]
    assert sorted(codes(bench)) == ["", "", "egress.request", "egress.request"]


@pytest.mark.parametrize("fields", [{"sender": MODEL}, {"permit_seq": 99}, {"ref": 99}], ids=str)
def test_nobody_connects_for_the_call_of_another(fields: dict[str, Any]) -> None:
    assert wants(running(), **fields) == []


def test_a_call_that_is_not_permitted_yet_does_not_connect() -> None:
    bench = Bench()
    bench.propose("read_file", ONLINE)
    bench.prepared(made=reaching((HOST, PORT)))
    assert wants(bench, permit_seq=0) == []


def test_a_call_that_has_ended_connects_no_more() -> None:
    bench = running()
    wants(bench)
    pending = bench.gate.pending[bench.ref]
    bench.executed()
    late = Disconnected(
        ref=pending.ref, permit_seq=pending.permit_seq, number=1, dialled=1, sent_bytes=0, received_bytes=0, code=""
    )
    assert bench.gate.connection(FILES, late) == []


def test_nothing_connects_while_the_log_cannot_be_written() -> None:
    bench = running()
    bench.gate.suspended = "the disk is full"
    assert wants(bench) == [Send(FILES, Connecting(ref=bench.ref, number=1, code="audit.suspended"))]


def test_a_session_that_has_filled_its_share_of_the_log_connects_no_more_and_that_is_counted() -> None:
    bench = running()
    bench.facts.quota.wrote(SESSION, LOG_BYTES_PER_SESSION)
    counted, told = wants(bench)
    assert isinstance(counted, Record)
    assert counted.entry.kind is Kind.COALESCED
    assert told == Send(FILES, Connecting(ref=bench.ref, number=1, code="gate.paused"))


def test_connections_fill_the_share_of_their_session() -> None:
    bench = running()
    before = len(bench.log)
    bench.facts.quota.wrote(SESSION, LOG_BYTES_PER_SESSION - 4096)
    for number in range(1, 100):
        wants(bench, number=number)
        bench.sync()
        ended(bench, number=number)
    assert len(bench.records(Kind.CONNECTION)) < 40
    assert len(bench.log) - before < 90
    assert codes(bench)[-1] == "gate.paused"


def test_only_so_many_connections_are_on_their_way_to_the_log() -> None:
    bench = running()
    for number in range(1, gate_denials.MAX_ON_WAY + 2):
        wants(bench, number=number)
    assert len(bench.records(Kind.CONNECTION)) == gate_denials.MAX_ON_WAY
    assert codes(bench) == ["gate.too-many"]


def test_the_next_start_counts_connections_as_they_were_counted() -> None:
    bench = Hosted()
    bench.tool.look = reaching((HOST, PORT))
    bench.tool.silent = True
    bench.call(ONLINE.raw)
    (ran,) = bench.tool.ran
    of_call = {"ref": ran.ref, "permit_seq": ran.permit_seq, "number": 1}
    said = Connect(**of_call, host=HOST, port=PORT, addresses=ADDRESSES, code="")
    bench.driver.post.append((bench.host, said))
    bench.driver.run()
    assert bench.tool.asked[-1] == Connecting(ref=ran.ref, number=1, code="")
    over = Disconnected(**of_call, dialled=1, sent_bytes=7, received_bytes=9, code="")
    bench.driver.post.append((bench.host, over))
    bench.driver.run()
    facts, _ = SETUP.read(bench.driver.disk)
    assert facts.quota._bytes == bench.driver.facts.quota._bytes
    assert bench.driver.disk.records[-1][1].kind is Kind.CONNECTION_ENDED


def test_what_is_no_place_is_not_read_as_one() -> None:
    with pytest.raises(CanonError):
        place_of(b"\x92\x01\x02")
