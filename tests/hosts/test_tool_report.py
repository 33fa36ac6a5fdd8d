"""What a running call says of its connections, between a stand-in for the front of its host and a list."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from astrid.core.egress_connection import Attempt, Traffic
from astrid.core.gate_connections import Connect, Disconnected
from astrid.core.gate_messages import Connecting
from astrid.errors import EdgeError
from astrid.hosts.tool_report import CallReport

ALLOWED = Attempt(host="a.example", port=443, addresses=("1.1.1.1", "2.2.2.2"), refused="")
REFUSED = Attempt(host="b.example", port=443, addresses=(), refused="egress.not-listed")
TRAFFIC = Traffic(address="2.2.2.2", sent_bytes=3, received_bytes=4, cut="")


class Gate:
    """Hears what a report says, and answers with ``code``; with ``None`` it is silent."""

    def __init__(self, code: str | None = "") -> None:
        self.code = code
        self.heard: list[Connect | Disconnected] = []
        self.pieces: list[bytes] = []
        self.report = CallReport(7, 70, self.pieces.append, self.say)

    def say(self, message: Connect | Disconnected) -> None:
        self.heard.append(message)
        if isinstance(message, Connect) and self.code is not None:
            self.report.recorded(Connecting(ref=7, number=message.number, code=message.code or self.code))

    @property
    def ends(self) -> list[Disconnected]:
        return [one for one in self.heard if isinstance(one, Disconnected)]


async def test_a_connection_is_told_with_its_permit_and_its_number_is_its_own() -> None:
    gate = Gate()
    assert [await gate.report.begin(ALLOWED), await gate.report.begin(ALLOWED)] == [1, 2]
    said = Connect(
        ref=7, permit_seq=70, number=1, host="a.example", port=443, addresses=("1.1.1.1", "2.2.2.2"), code=""
    )
    assert gate.heard[0] == said


async def test_it_does_not_begin_before_the_gate_has_answered(autojump_clock: MockClock) -> None:
    gate = Gate(None)
    begun: list[int] = []

    async def begin() -> None:
        begun.append(await gate.report.begin(ALLOWED))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(begin)
        await wait_all_tasks_blocked()
        assert begun == []
        gate.report.recorded(Connecting(ref=7, number=1, code=""))
    assert begun == [1]


async def test_how_it_ended_is_told_once_with_the_address_by_its_place() -> None:
    gate = Gate()
    number = await gate.report.begin(ALLOWED)
    gate.report.end(number, TRAFFIC)
    gate.report.end(number, TRAFFIC)
    expected = Disconnected(ref=7, permit_seq=70, number=1, dialled=2, sent_bytes=3, received_bytes=4, code="")
    assert gate.ends == [expected]


async def test_an_address_that_was_none_of_its_own_is_told_as_none() -> None:
    gate = Gate()
    gate.report.end(await gate.report.begin(ALLOWED), Traffic(address="", sent_bytes=0, received_bytes=0, cut="x"))
    assert [(one.dialled, one.code) for one in gate.ends] == [(0, "x")]


async def test_what_the_gate_refuses_does_not_begin_and_has_no_end() -> None:
    gate = Gate("gate.paused")
    with pytest.raises(EdgeError, match=r"gate\.paused"):
        await gate.report.begin(ALLOWED)
    gate.report.end(1, TRAFFIC)
    assert gate.ends == []


async def test_a_refusal_that_is_recorded_is_no_error_and_has_no_end() -> None:
    gate = Gate()
    number = await gate.report.begin(REFUSED)
    gate.report.end(number, TRAFFIC)
    assert gate.ends == []


async def test_a_refusal_that_is_not_recorded_is_an_error() -> None:
    gate = Gate(None)
    async with trio.open_nursery() as nursery:

        async def begin() -> None:
            with pytest.raises(EdgeError, match=r"gate\.busy"):
                await gate.report.begin(REFUSED)

        nursery.start_soon(begin)
        await wait_all_tasks_blocked()
        gate.report.recorded(Connecting(ref=7, number=1, code="gate.busy"))


async def test_a_gate_that_never_answers_lets_nothing_begin(autojump_clock: MockClock) -> None:
    gate = Gate(None)
    with pytest.raises(EdgeError, match=r"egress\.unrecorded"):
        await gate.report.begin(ALLOWED)


@pytest.mark.parametrize(("code", "ends"), [("", ["egress.stopped"]), ("gate.paused", [])])
async def test_an_answer_that_nobody_waits_for_any_more_ends_the_connection(code: str, ends: list[str]) -> None:
    gate = Gate(None)
    with trio.move_on_after(0):
        await gate.report.begin(ALLOWED)
    gate.report.recorded(Connecting(ref=7, number=1, code=code))
    assert [(one.dialled, one.code) for one in gate.ends] == [(0, code) for code in ends]


async def test_pieces_are_passed_on() -> None:
    gate = Gate()
    gate.report(b"piece")
    assert gate.pieces == [b"piece"]
