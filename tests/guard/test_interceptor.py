"""The interceptor around its gate: who may say what, in which order, and what happens when others are full,
gone or silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from astrid.core.budget import EMPTY
from astrid.core.call import Need
from astrid.core.canon import Domain
from astrid.core.chain import decode_frame
from astrid.core.clock import ClockWatch
from astrid.core.decide import Limits
from astrid.core.gate_denials import MAX_ON_WAY
from astrid.core.gate_messages import (
    Answered,
    Approved,
    Cancel,
    Deferred,
    Durable,
    Effect,
    Execute,
    Executed,
    Outcome,
    Prepare,
    Prepared,
    Progress,
    Propose,
    Put,
    Record,
    Refused,
    Send,
    Unprepared,
    Withdraw,
)
from astrid.core.install import Revocation, sign_statement
from astrid.core.records import JournalRow, Kind
from astrid.core.tokens import Scope, issue
from astrid.errors import JournalError
from astrid.guard.interceptor import CLOCK_AHEAD, MAX_NOTES, Interceptor, NobodyCame
from astrid.kernel import ChildSpec, SupervisorSpec, System, TooManyRestarts, open_system
from astrid.kernel.testing import Probe, act_at_every_step, settle
from astrid.messages.approvals import OpenQuestion
from astrid.messages.gate import (
    Done,
    Ending,
    Failed,
    Finish,
    Offer,
    Prompted,
    Register,
    Release,
    Revoke,
    Save,
    Strayed,
    StreamedText,
    TakeIn,
)
from astrid.messages.log import LogTrouble, Recorded
from tests.fakes.authority import AUD, FOREVER, HOLDER, SESSION, SESSION_KEY, USER, WORKSPACE, block, no, token, yes
from tests.fakes.gate_bench import EVERYTHING, RICH, STANDING, TOOLS, preparation
from tests.fakes.guard_bench import Bench, Door, running
from tests.fakes.journal import FakeLog

LASTING = token(
    holder=SESSION_KEY.public, grants=EVERYTHING, session=SESSION, scope=Scope.SESSION, expires=FOREVER, nonce=b"l" * 16
)
UNCOVERED: dict[str, Any] = {"needs": (Need("file://v/secret", 2),)}


def revocation(target: bytes = STANDING.ids[0]) -> bytes:
    """A person revokes a block."""
    return sign_statement(Domain.REVOKE, Revocation(AUD, target, "token", 1, USER.public), USER)


# ---- a call


async def test_a_call_is_permitted_durably_before_it_runs(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.propose()
        bench.hold()
        await bench.prepare()
        await trio.sleep(1)
        assert bench.got(bench.files, Execute) == []
        bench.thaw()
        await settle()
        [execute] = bench.got(bench.files, Execute)
        assert bench.bodies(Kind.PERMIT)[0].ref == execute.ref
        assert bench.log.size() >= execute.permit_seq
        await bench.execute(content=b"the file")
        [outcome] = bench.got(bench.session, Outcome)
        assert (outcome.content, outcome.permit_seq) == (b"the file", execute.permit_seq)
        await trio.sleep(1)  # nobody waits for that record, so it waits for company
        assert bench.bodies(Kind.OUTCOME)[0].permit_seq == execute.permit_seq


async def test_an_answer_does_not_wait_for_the_record_of_the_outcome(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.propose()
        await bench.prepare()
        bench.hold()
        await bench.execute()
        assert len(bench.got(bench.session, Outcome)) == 1
        assert bench.bodies(Kind.OUTCOME) == []


async def test_a_denial_is_durable_before_it_is_answered(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.hold()
        await bench.propose("no_such_tool")
        assert bench.got(bench.session, Refused) == []
        bench.thaw()
        await settle()
        assert [one.code for one in bench.got(bench.session, Refused)] == ["tool.unknown"]
        assert [one.code for one in bench.bodies(Kind.DENIED)] == ["tool.unknown"]


async def test_what_streams_reaches_the_session_under_its_own_number(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        number = await bench.propose()
        await bench.prepare()
        ref = bench.got(bench.files, Execute)[0].ref
        bench.post(bench.files, "interceptor", Progress(ref=ref, chunk=b"piece"))
        await settle()
        assert bench.got(bench.session, StreamedText) == [StreamedText(proposal=number, chunk=b"piece")]


async def test_the_gate_goes_on_while_a_record_is_being_written(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.hold()
        for _ in range(3):
            await bench.propose()
            await bench.prepare()
        assert len(bench.got(bench.files, Prepare)) == 3
        bench.thaw()
        await settle()
        assert [one.ref for one in bench.got(bench.files, Execute)] == [1, 2, 3]


async def test_whoever_gives_up_has_the_call_withdrawn_and_hears_no_more_of_it(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        number = await bench.propose()
        await bench.prepare()
        bench.post(bench.session, "interceptor", Cancel(proposal=number))
        await settle()
        assert len(bench.got(bench.files, Withdraw)) == 1
        await bench.execute(effect="maybe")
        assert bench.got(bench.session, Outcome) == []
        await trio.sleep(1)  # nobody waits for that record, so it waits for company
        assert [one.effect for one in bench.bodies(Kind.OUTCOME)] == ["maybe"]


# ---- who may say what


PROPOSE = Propose(proposal=1, tool="read_file", args=b"{}", tokens=(STANDING.raw,), tainted=False)
SAVE = Save(id=-1, rows=(JournalRow(1, b"row"),))
PROMPTED = Prompted(id=-2, turn=1, integrity=3, text=b"do")
PUT = Put(ref=1, qid=b"q" * 16, code="", reason="", attended=False)
ANSWERED = Answered(qid=b"q" * 16, block=b"b" * 32, session=SESSION, refs=(1,), said_no=False, token=b"t")
REGISTER = Register(
    id=9,
    ref=1,
    key=b"k" * 32,
    session=SESSION,
    workspace=b"W" * 32,
    toolboxes=("box",),
    mode="guided",
    model="m",
    scripted=False,
    asks=True,
    limits=RICH,
)
OFFER = Offer(toolbox="box", specs=(TOOLS["read_file"][0],))
EXECUTED = Executed(ref=1, permit_seq=1, content=b"", is_error=False, effect="done", spent_micros=0)
UNPREPARED = Unprepared(ref=1, layer="input", code="a.b", reason="", advice="")
PERMIT_RECORDED = Recorded(id=1, records=(Durable(1, 1, 1),), watermark=1)
PRIVATE: dict[str, tuple[object, ...]] = {
    "gateway": (REGISTER, TakeIn(id=9, token=b"t", source="s"), Revoke(id=9, statement=b"s")),
    "files": (OFFER, Prepared(ref=1, preparation=preparation()), UNPREPARED, EXECUTED, Progress(ref=1, chunk=b"")),
    "audit": (PERMIT_RECORDED, LogTrouble(problem=""), LogTrouble(problem="none")),
    "approvals": (PUT, ANSWERED),
    "itself": (NobodyCame(ref=1, qid=b"q" * 16),),
    "nobody": ("nonsense", Done(id=1, seq=1), Execute(ref=1, permit_seq=1, call=b"", incarnation=1)),
}
FORGERIES = [
    *(
        pytest.param(message, forger, id=f"{type(message).__name__} by {forger}")
        for owner, messages in PRIVATE.items()
        for message in messages
        for forger in ("session", "files", "gateway", "outside")
        if forger != owner
    ),
    # Hosts and the guard pass on what others said to them; whoever else names somebody as a stray is one.
    *(pytest.param(Strayed(ref=1, what="x"), forger, id=f"Strayed by {forger}") for forger in ("session", "outside")),
]


@pytest.mark.parametrize(("message", "forger"), FORGERIES)
async def test_what_only_another_may_say_is_recorded_and_changes_nothing_and_is_a_bug_if_the_guard_says_it(
    autojump_clock: MockClock, message: object, forger: str
) -> None:
    async with running(broken=forger == "gateway") as bench:
        await bench.furnish()
        await bench.propose()
        gate, before = bench.gates[-1], bench.log.size()
        if forger == "outside":
            bench.system.post(bench.ref("interceptor"), message)
        else:
            bench.post(
                {"session": bench.session, "files": bench.files, "gateway": bench.gateway}[forger],
                "interceptor",
                message,
            )
        await settle()
        assert (len(gate.pending), gate.suspended) == (1, "")
        assert bench.got(bench.session, Outcome) == []
        after = bench.records()[before:]
        if forger == "gateway":
            assert bench.codes() == ["gate.message"]
            assert {kind for kind, _ in after} <= {Kind.BOOT, Kind.SESSION_ENDED}
        else:
            [(kind, denied)] = after
            assert (kind, denied.layer, denied.code) == (Kind.DENIED, "gate", "gate.message")
            assert denied.principal == (SESSION_KEY.public if forger == "session" else b"\0" * 32)
            assert type(message).__name__.encode() in b"".join(data for _, data in bench.log.kept.values())
            await bench.prepare()
            await bench.execute()
            assert len(bench.got(bench.session, Outcome)) == 1


STRANGE = [
    pytest.param(message, id=f"{type(message).__name__} with {field} {type(value).__name__}")
    for message, field, value in (
        (PROPOSE, "proposal", []),
        (PROPOSE, "tool", b"read_file"),
        (PROPOSE, "args", bytearray(b"{}")),
        (PROPOSE, "args", "{}"),
        (PROPOSE, "tokens", [STANDING.raw]),
        (PROPOSE, "tokens", (bytearray(STANDING.raw),)),
        (PROPOSE, "tokens", None),
        (PROPOSE, "tainted", 0),
        (Cancel(proposal=1), "proposal", {}),
        (SAVE, "id", []),
        (SAVE, "rows", [JournalRow(1, b"row")]),
        (SAVE, "rows", ("row",)),
        (SAVE, "rows", (JournalRow(1, "row"),)),  # type: ignore[arg-type]
        (PROMPTED, "text", "text"),
        (PROMPTED, "turn", None),
    )
    for message in (msgspec.structs.replace(message, **{field: value}),)
]


@pytest.mark.parametrize("message", STRANGE)
async def test_a_session_whose_message_is_not_as_declared_hurts_itself_alone(
    autojump_clock: MockClock, message: object
) -> None:
    async with running() as bench:
        await bench.furnish()
        before = bench.log.size()
        bench.post(bench.session, "interceptor", message)
        await settle()
        assert [(kind, one.code) for kind, one in bench.records()[before:]] == [(Kind.DENIED, "gate.message")]
        assert (await bench.call()).content == b"done"


class Chameleon(Propose, frozen=True):
    """Another answer each time that it is asked."""

    @property
    def size(self) -> int:
        return 0


async def test_what_only_looks_like_a_message_is_none(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.post(bench.session, "interceptor", Chameleon(**msgspec.structs.asdict(PROPOSE)))
        await settle()
        assert [one.code for one in bench.bodies(Kind.DENIED)] == ["gate.message"]


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [(EXECUTED, "content", "text"), (EXECUTED, "effect", "undone"), (EXECUTED, "spent_micros", 0.5)],
)
async def test_a_host_whose_word_is_broken_is_as_good_as_gone(
    autojump_clock: MockClock, message: Executed, field: str, value: object
) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.propose()
        await bench.prepare(max_micros=70)
        told = msgspec.structs.replace(message, ref=1, permit_seq=bench.log.size(), **{field: value})
        bench.post(bench.files, "interceptor", told)
        await settle()
        [outcome] = bench.got(bench.session, Outcome)
        assert (outcome.unknown, outcome.effect) == (True, "maybe")
        await trio.sleep(1)  # nobody waits for that record, so it waits for company
        assert [one.spent for one in bench.bodies(Kind.OUTCOME)] == [70]
        await bench.propose()
        assert [one.code for one in bench.got(bench.session, Refused)] == ["tool.unknown"]
        assert bench.gates[-1].facts.tools["box", "model"].host == bench.ref("tools/model/front").id


async def test_a_flood_of_nonsense_is_counted_and_pauses_whoever_sends_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astrid.core.facts.DENIAL_BYTES_PER_SESSION", 5000)
    async with running() as bench:
        await bench.furnish()
        for _ in range(40):
            for _ in range(20):
                bench.post(bench.session, "interceptor", "nonsense")
                bench.system.post(bench.ref("interceptor"), "nonsense")
            await settle()
        assert bench.log.size() < 100
        assert {one.code for one in bench.bodies(Kind.COALESCED)} == {"gate.message"}
        counted = sum(one.code == "gate.message" for one in bench.bodies(Kind.DENIED)) // 2
        assert max(one.count for one in bench.bodies(Kind.COALESCED)) > (800 - counted) // 2
        await bench.propose()
        assert [one.code for one in bench.got(bench.session, Refused)] == ["gate.paused"]


async def test_what_strays_while_the_log_cannot_be_written_is_counted_and_fills_nothing(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.gates[-1].suspended = "the disk is full"
        bench.hold()
        for _ in range(1000):
            bench.post(bench.session, "interceptor", "nonsense")
        await settle()
        bench.thaw()
        await settle()
        assert [one.count for one in bench.bodies(Kind.COALESCED)] == [2**n for n in range(10)]
        assert bench.bodies(Kind.DENIED) == []


async def test_a_gate_that_trusted_everybody_would_be_ended_by_one_message_of_a_session(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astrid.guard.interceptor.is_ours", lambda message, sender: True)
    async with running(broken=True) as bench:
        await bench.furnish()
        bench.post(bench.session, "interceptor", "nonsense")
        await settle()
        assert bench.codes() == ["gate.message"]


async def test_a_stranger_that_proposes_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    interceptors: list[Any] = []
    async with running() as bench:
        interceptors.append(bench.ref("interceptor").cell.life._actor)  # type: ignore[union-attr]
        bench.offer()
        await bench.propose()
        assert [one.code for one in bench.got(bench.session, Refused)] == ["gate.unknown-principal"]
        assert interceptors[0]._senders == {}


async def test_a_host_answers_only_for_its_own_tools(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.propose()
        ref = bench.got(bench.files, Prepare)[0].ref
        bench.post(bench.model, "interceptor", Prepared(ref=ref, preparation=preparation()))
        await settle()
        assert bench.bodies(Kind.PERMIT) == []
        await bench.prepare()
        seq = bench.got(bench.files, Execute)[0].permit_seq
        forged = Executed(ref=ref, permit_seq=seq, content=b"", is_error=False, effect="done", spent_micros=0)
        bench.post(bench.model, "interceptor", forged)
        await settle()
        assert bench.got(bench.session, Outcome) == []


async def test_whoever_is_not_registered_is_refused_everything(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.offer()
        await bench.propose()
        assert [one.code for one in bench.got(bench.session, Refused)] == ["gate.unknown-principal"]
        for message in (
            Save(id=-1, rows=(JournalRow(1, b"row"),)),
            Prompted(id=-2, turn=1, integrity=3, text=b"do"),
        ):
            bench.post(bench.session, "interceptor", message, message.id)
        await settle()
        assert [one.code for one in bench.got(bench.session, Failed)] == ["gate.unknown-principal"] * 2
        assert {kind for kind, _ in bench.records()} == {Kind.GENESIS, Kind.BOOT}


async def test_one_key_is_one_principal(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.furnish()
        assert [type(one) for one in bench.gateway.messages] == [Done, Failed]
        assert bench.got(bench.gateway, Failed)[0].code == "gate.principal-taken"


async def test_nobody_is_registered_whom_nobody_knows(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        bench.post(bench.gateway, "interceptor", REGISTER, 9)
        await settle()
        answered = bench.got(bench.gateway, Failed)
        assert [one.code for one in answered] == ["gate.no-such-actor"]


async def test_two_hosts_do_not_offer_one_tool(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        other = msgspec.structs.replace(
            OFFER, specs=(msgspec.structs.replace(OFFER.specs[0], name="new"), *OFFER.specs)
        )
        bench.post(bench.model, "interceptor", other)
        await settle()
        assert [one.code for one in bench.bodies(Kind.DENIED)] == ["gate.message"]
        assert bench.facts.tools["box", "read_file"].host == bench.ref("tools/files/front").id
        assert ("box", "new") not in bench.facts.tools
        assert (await bench.call()).content == b"done"


async def test_a_host_that_nobody_announced_offers_nothing(autojump_clock: MockClock) -> None:
    async with running() as bench:
        del bench.refs[bench.ref("tools/files/front").id]
        bench.offer()
        await settle()
        assert [one.code for one in bench.bodies(Kind.DENIED)] == ["gate.message"]
        assert {tool.host for tool in bench.facts.tools.values()} == {bench.ref("tools/model/front").id}


async def test_a_start_is_answered_when_it_is_durable(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.hold()
        await bench.furnish()
        assert bench.gateway.messages == []
        bench.thaw()
        await settle()
        [done] = bench.gateway.messages
        assert isinstance(done, Done)
        assert bench.records()[done.seq - 1][0] is Kind.SESSION_STARTED


async def test_a_journal_is_kept_in_the_order_it_was_said(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.post(bench.session, "interceptor", Prompted(id=-1, turn=1, integrity=3, text=b"do it"), -1)
        bench.post(bench.session, "interceptor", Save(id=-2, rows=(JournalRow(1, b"a"), JournalRow(2, b"b"))), -2)
        await settle()
        assert [one.id for one in bench.got(bench.session, Done)] == [-1, -2]
        assert [kind for kind, _ in bench.records()][-2:] == [Kind.PROMPT, Kind.JOURNAL]
        assert bench.log.rows(SESSION, 1, 10) == [b"a", b"b"]
        assert b"do it" in [data for _, data in bench.log.kept.values()]


async def test_rows_that_are_not_urgent_are_written_with_the_next_record_that_is(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        early = Save(id=-1, rows=(JournalRow(1, b"a"),), urgent=False)
        bench.post(bench.session, "interceptor", early, -1)
        await settle()
        assert bench.got(bench.session, Done) == []
        bench.post(bench.session, "interceptor", Save(id=-2, rows=(JournalRow(2, b"b"),)), -2)
        await settle()
        assert [one.id for one in bench.got(bench.session, Done)] == [-1, -2]
        assert bench.log.rows(SESSION, 1, 10) == [b"a", b"b"]


async def test_what_a_session_saves_counts_against_its_share_of_the_log(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astrid.core.facts.LOG_BYTES_PER_SESSION", 5000)
    async with running() as bench:
        await bench.furnish()
        bench.post(bench.session, "interceptor", Save(id=-1, rows=(JournalRow(1, b"x" * 6000),)), -1)
        await bench.propose()
        assert [one.code for one in bench.got(bench.session, Refused)] == ["gate.paused"]


async def test_rows_that_cannot_be_recorded_are_refused_and_break_nothing(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        rows = tuple(JournalRow(number, b"") for number in range(1, 70_001))
        bench.post(bench.session, "interceptor", Save(id=-1, rows=rows), -1)
        await settle()
        assert [one.code for one in bench.got(bench.session, Failed)] == ["canon.no-encoding"]
        assert bench.log.rows(SESSION, 1, 10) == []


@pytest.mark.parametrize("numbers", [(1,), (3,), (0,), (2, 2), (2, 4), (-1,), (2**64,)])
async def test_only_the_next_rows_of_a_journal_are_taken(autojump_clock: MockClock, numbers: tuple[int, ...]) -> None:
    """A row that is there already could not be stored, and the log's writer would end with it."""
    async with running() as bench:
        await bench.furnish()
        bench.post(bench.session, "interceptor", SAVE, SAVE.id)
        rows = tuple(JournalRow(number, b"again") for number in numbers)
        bench.post(bench.session, "interceptor", Save(id=-5, rows=rows), -5)
        bench.post(bench.session, "interceptor", Save(id=-6, rows=(JournalRow(2, b"next"),)), -6)
        await settle()
        assert [(one.id, one.code) for one in bench.got(bench.session, Failed)] == [(-5, "record.rows")]
        assert [one.id for one in bench.got(bench.session, Done)] == [-1, -6]
        assert bench.log.rows(SESSION, 1, 10) == [b"row", b"next"]


async def test_a_row_stored_twice_would_end_the_log(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(broken=True) as bench:
        await bench.furnish()
        bench.post(bench.session, "interceptor", SAVE, SAVE.id)
        await settle()
        bench.facts.rows.clear()  # as if nobody counted
        bench.post(bench.session, "interceptor", msgspec.structs.replace(SAVE, id=-5), -5)
        await settle()
        assert bench.codes() == ["journal.failed"]


async def test_a_journal_goes_on_after_a_restart_where_the_log_ends_it(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        await bench.furnish()
        bench.post(bench.session, "interceptor", SAVE, SAVE.id)
        await settle()
        await _break(bench)
        await bench.furnish()
        bench.post(bench.session, "interceptor", msgspec.structs.replace(SAVE, id=-5), -5)
        await settle()
        assert [one.code for one in bench.got(bench.session, Failed)] == ["record.rows"]


async def test_a_paused_session_may_say_how_its_turn_ends_and_no_more(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astrid.core.facts.LOG_BYTES_PER_SESSION", 5000)
    monkeypatch.setattr("astrid.core.facts.LAST_BYTES_PER_SESSION", 5000)
    async with running() as bench:
        await bench.furnish()
        for number in range(1, 6):
            bench.post(bench.session, "interceptor", Save(id=-number, rows=(JournalRow(number, b"x" * 3000),)), -number)
            await settle()
            if bench.got(bench.session, Failed):
                break
        bench.post(bench.session, "interceptor", Prompted(id=-9, turn=1, integrity=3, text=b"x" * 3000), -9)
        await settle()
        assert [one.id for one in bench.got(bench.session, Done)] == [-1, -2, -3]
        assert [(one.id, one.code) for one in bench.got(bench.session, Failed)] == [
            (-4, "record.share"),
            (-9, "record.share"),
        ]
        assert not bench.failures


async def test_what_is_queued_together_is_one_message_to_the_log(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        before = bench.system.snapshot().actor("root/audit").received
        for number in range(1, 11):
            bench.post(bench.session, "interceptor", Save(id=-number, rows=(JournalRow(number, b"row"),)), -number)
        await settle()
        assert [done.id for done in bench.got(bench.session, Done)] == [-number for number in range(1, 11)]
        assert [record.first for record in bench.bodies(Kind.JOURNAL)] == list(range(1, 11))
        assert bench.system.snapshot().actor("root/audit").received - before < 10


async def test_what_was_handled_last_is_recorded_before_the_interceptor_ends(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.post(bench.session, "interceptor", SAVE, -1)
        bench.system.supervisor("root").stop_child("interceptor")
        await settle()
        assert len(bench.bodies(Kind.JOURNAL)) == 1


async def test_a_session_that_saves_without_end_while_the_log_is_slow_does_not_fill_the_way_there(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.hold()
        for number in range(1, 501):
            bench.post(bench.session, "interceptor", Prompted(id=-number, turn=1, integrity=3, text=b""), -number)
        await settle()
        assert {one.code for one in bench.got(bench.session, Failed)} == {"record.too-many"}
        assert len(bench.got(bench.session, Failed)) == 500 - MAX_NOTES
        bench.thaw()
        await settle()
        assert len(bench.got(bench.session, Done)) == MAX_NOTES
        bench.post(bench.session, "interceptor", Prompted(id=-501, turn=1, integrity=3, text=b""), -501)
        await settle()
        assert bench.got(bench.session, Done)[-1].id == -501


async def test_denials_on_their_way_to_a_slow_log_are_few_and_the_rest_is_counted(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.hold()
        for _ in range(500):
            bench.number()
            propose = msgspec.structs.replace(PROPOSE, proposal=bench.number(), tool="nonsense")
            bench.post(bench.session, "interceptor", propose, propose.proposal)
        await settle()
        assert len(bench.got(bench.session, Refused)) == 500 - MAX_ON_WAY
        bench.thaw()
        await settle()
        assert len(bench.got(bench.session, Refused)) == 500
        assert len(bench.bodies(Kind.DENIED)) == MAX_ON_WAY
        assert [one.count for one in bench.bodies(Kind.COALESCED)] == [2**n for n in range(9)]
        await bench.propose("nonsense")
        assert len(bench.bodies(Kind.DENIED)) == MAX_ON_WAY + 1


# ---- hosts that are full, gone or new


async def test_what_a_host_will_not_prepare_is_a_refusal_with_its_reason(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.propose()
        ref = bench.got(bench.files, Prepare)[0].ref
        said = Unprepared(ref=ref, layer="workspace", code="workspace.outside", reason="no", advice="stay inside")
        bench.files.ctx.answer(bench.ref("interceptor"), ("Prepare", ref), said)
        await settle()
        [refused] = bench.got(bench.session, Refused)
        assert (refused.layer, refused.code, refused.reason) == ("workspace", "workspace.outside", "no")


async def test_a_host_without_room_to_look_is_a_busy_tool(autojump_clock: MockClock) -> None:
    async with running(capacity=1) as bench:
        await bench.furnish()
        bench.files.open = trio.Event()
        for _ in range(4):
            await bench.propose()
        assert [(one.layer, one.code) for one in bench.got(bench.session, Refused)] == [("tool", "tool.busy")] * 2
        assert [one.code for one in bench.bodies(Kind.DENIED)] == ["tool.busy"] * 2
        bench.files.open.set()


async def test_a_host_without_room_to_run_costs_nothing(autojump_clock: MockClock) -> None:
    async with running(capacity=2) as bench:
        await bench.furnish()
        bench.hold()
        await bench.propose()
        await bench.prepare(max_micros=70)
        bench.files.open = trio.Event()
        for _ in range(3):
            bench.post(bench.gateway, "tools/files/front", "filling")
        bench.thaw()
        await settle()
        [outcome] = bench.got(bench.session, Outcome)
        assert (outcome.effect, outcome.is_error, outcome.content.partition(b":")[0]) == ("none", True, b"tool.busy")
        purse = bench.facts.ledger.purses[b"session" + SESSION]
        assert (purse.spent, purse.reserved) == (0, 0)
        bench.files.open.set()


async def test_a_host_that_dies_while_it_looks_is_a_refusal(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        await bench.furnish()
        await bench.propose()
        bench.post(bench.gateway, "tools/files/front", "x")
        bench.files.ctx.stop()
        await settle()
        assert [one.code for one in bench.got(bench.session, Refused)] == ["tool.gone"]


async def test_a_host_that_dies_while_it_runs_leaves_an_unknown_outcome_paid_in_full(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.propose()
        await bench.prepare(max_micros=70)
        bench.files.ctx.stop()
        await settle()
        [outcome] = bench.got(bench.session, Outcome)
        assert (outcome.unknown, outcome.effect) == (True, "maybe")
        assert bench.facts.ledger.purses[b"session" + SESSION].spent == 70
        await trio.sleep(1)
        assert [(one.unknown, one.spent) for one in bench.bodies(Kind.OUTCOME)] == [(True, 70)]


async def test_a_host_that_is_gone_has_no_tools_until_it_offers_them_again(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.files.ctx.stop()
        await settle()
        await bench.propose()
        assert [one.code for one in bench.got(bench.session, Refused)] == ["tool.unknown"]
        bench.offer()
        await settle()
        assert (await bench.call()).content == b"done"


async def test_a_call_permitted_for_one_start_of_a_host_is_not_run_by_the_next(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.propose()
        bench.hold()
        await bench.prepare(max_micros=70)
        bench.files.ctx.stop()
        await settle()
        bench.offer()
        await settle()
        bench.thaw()
        await settle()
        assert bench.got(bench.files, Execute) == []
        assert [one.code for one in bench.got(bench.session, Refused)] == ["tool.changed"]
        assert bench.facts.ledger.purses[b"session" + SESSION].spent == 0


# ---- principals that end


@pytest.mark.parametrize(
    ("obeys", "said", "recorded"),
    [(True, "client", "client"), (True, "idle", "idle"), (True, "", "shutdown"), (False, "client", "killed")],
)
async def test_the_end_of_a_session_says_who_ended_it_unless_it_did_not_obey(
    autojump_clock: MockClock, obeys: bool, said: str, recorded: str
) -> None:
    async with running() as bench:
        await bench.furnish()
        if said:
            bench.post(bench.gateway, "interceptor", Ending(session=SESSION, reason=said))
        if obeys:
            bench.system.supervisor("root/sessions").stop_child("s")
        else:
            bench.ref("sessions/s").cell.kill("its deadline passed")
        await settle()
        assert [one.reason for one in bench.bodies(Kind.SESSION_ENDED)] == [recorded]


async def test_a_session_that_ends_has_its_calls_withdrawn_and_its_end_recorded(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.propose()
        await bench.prepare()
        bench.session.ctx.stop()
        await settle()
        assert len(bench.got(bench.files, Withdraw)) == 1
        assert [one.reason for one in bench.bodies(Kind.SESSION_ENDED)] == ["normal"]
        await bench.execute(effect="maybe")
        await trio.sleep(1)
        assert len(bench.bodies(Kind.OUTCOME)) == 1
        await bench.propose()  # whoever comes after it is somebody else
        assert [one.code for one in bench.got(bench.session, Refused)] == ["gate.unknown-principal"]


# ---- people


async def ask(bench: Bench, *, attended: bool) -> OpenQuestion:
    """A proposal that no token covers, and its question."""
    await bench.furnish()
    if attended:
        await bench.attend()
    await bench.propose("write_file")
    await bench.prepare(**UNCOVERED)
    [question] = bench.got(bench.gateway, OpenQuestion)
    return question


async def test_where_nobody_is_the_answer_is_deferred_at_once(autojump_clock: MockClock) -> None:
    async with running() as bench:
        question = await ask(bench, attended=False)
        [deferred] = bench.got(bench.session, Deferred)
        assert deferred.qid == question.qid
        assert [kind for kind, _ in bench.records()][-2:] == [Kind.ASKED, Kind.DEFERRED]


async def test_where_somebody_is_they_have_so_long_to_answer(autojump_clock: MockClock) -> None:
    async with running(approval_seconds=60.0) as bench:
        await ask(bench, attended=True)
        await trio.sleep(59)
        assert bench.got(bench.session, Deferred) == []
        await trio.sleep(2)
        assert len(bench.got(bench.session, Deferred)) == 1


async def test_an_answer_in_time_leads_back_to_the_session(autojump_clock: MockClock) -> None:
    async with running(approval_seconds=60.0) as bench:
        question = await ask(bench, attended=True)
        await bench.respond(yes(question.question, Scope.ONCE, qid=question.qid))
        [approved] = bench.got(bench.session, Approved)
        assert approved.token
        await trio.sleep(120)
        assert bench.got(bench.session, Deferred) == []


@pytest.mark.parametrize("end", ["given up", "answered", "nobody came"])
async def test_whoever_no_longer_waits_for_a_person_leaves_no_timer_behind(autojump_clock: MockClock, end: str) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.attend()
        kept: Any = bench.ref("interceptor").cell.life
        for _ in range(30):
            number = await bench.propose("write_file")
            await bench.prepare(**UNCOVERED)
            assert len(kept.timers) == 1
            match end:
                case "given up":
                    bench.post(bench.session, "interceptor", Cancel(proposal=number))
                    await settle()
                case "nobody came":
                    await trio.sleep(301)
                case _:
                    question = bench.got(bench.gateway, OpenQuestion)[-1]
                    await bench.respond(yes(question.question, qid=question.qid))
            assert len(kept.timers) == 0


async def test_a_no_is_a_recorded_denial(autojump_clock: MockClock) -> None:
    async with running() as bench:
        question = await ask(bench, attended=True)
        await bench.respond(no(question.question, qid=question.qid))
        assert [one.code for one in bench.got(bench.session, Refused)] == ["approval.denied"]
        assert [kind for kind, _ in bench.records()][-2:] == [Kind.SETTLED, Kind.DENIED]


async def test_approvals_without_room_are_a_refusal(autojump_clock: MockClock) -> None:
    full = Door()
    async with running(approvals=full) as bench:
        await bench.furnish()
        full.open = trio.Event()
        for _ in range(4):
            await bench.propose("write_file")
            await bench.prepare(**UNCOVERED)
        assert [(one.layer, one.code) for one in bench.got(bench.session, Refused)] == [
            ("approval", "approval.busy")
        ] * 2
        full.open.set()


# ---- a log that cannot be written


async def test_while_the_log_cannot_be_written_nothing_is_proposed_and_nothing_recorded(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.journal.failures.extend(JournalError("journal.full", "full", effect="none", retry=True) for _ in range(3))
        await bench.propose("no_such_tool")  # its record is what cannot be written
        await bench.propose()
        refused = bench.got(bench.session, Refused)
        assert [(one.layer, one.code) for one in refused] == [("audit", "audit.suspended")]
        assert "full" in refused[0].reason
        await trio.sleep(4)
        assert [one.code for one in bench.got(bench.session, Refused)][1:] == ["tool.unknown"]
        assert (await bench.call()).content == b"done"
        assert [one.code for one in bench.bodies(Kind.DENIED)] == ["tool.unknown"]


# ---- standing tokens and revocations


async def test_a_standing_token_is_taken_in_when_it_is_durable(autojump_clock: MockClock) -> None:
    async with running() as bench:
        token = issue(block(), USER)
        bench.post(bench.gateway, "interceptor", TakeIn(id=5, token=token, source="client"), 5)
        await settle()
        [done] = bench.got(bench.gateway, Done)
        assert bench.records()[done.seq - 1][0] is Kind.GRANTED
        bench.post(bench.gateway, "interceptor", TakeIn(id=6, token=token[:-1], source="client"), 6)
        await settle()
        assert [one.code for one in bench.got(bench.gateway, Failed)] == ["token.encoding"]


async def test_a_revocation_acts_at_once_and_is_answered_when_durable(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.propose()
        await bench.prepare()
        bench.hold()
        bench.post(bench.gateway, "interceptor", Revoke(id=5, statement=revocation()), 5)
        await settle()
        assert len(bench.got(bench.files, Withdraw)) == 1
        assert len(bench.got(bench.gateway, Done)) == 1  # the registration
        await bench.propose()
        await bench.prepare()
        bench.thaw()
        await settle()
        assert len(bench.got(bench.gateway, Done)) == 2
        assert len(bench.got(bench.files, Execute)) == 1
        assert len(bench.bodies(Kind.PERMIT)) == 1


async def test_a_revocation_that_nobody_of_this_install_signed_changes_nothing(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        forged = sign_statement(Domain.REVOKE, Revocation(AUD, STANDING.ids[0], "token", 1, HOLDER.public), HOLDER)
        bench.post(bench.gateway, "interceptor", Revoke(id=5, statement=forged), 5)
        await settle()
        assert [one.code for one in bench.got(bench.gateway, Failed)] == ["statement.signer"]
        assert (await bench.call()).content == b"done"


async def _revoked_during_a_call(arm: Callable[[Callable[[], object]], None]) -> None:
    bench: Any
    async with running() as bench:
        await bench.furnish()
        arm(lambda: bench.post(bench.gateway, "interceptor", Revoke(id=500, statement=revocation()), 500))
        await bench.propose()
        if bench.got(bench.files, Prepare):
            await bench.prepare()
        if bench.got(bench.files, Execute):
            await bench.execute()
        await settle()
    kinds = [kind for kind, _ in bench.records()]
    if Kind.REVOKED in kinds:
        assert Kind.PERMIT not in kinds[kinds.index(Kind.REVOKED) :]
        permits = [seq for seq, kind in enumerate(kinds, 1) if kind is Kind.PERMIT]
        executed = [one.permit_seq for one in bench.got(bench.files, Execute)]
        assert executed == permits[: len(executed)]
        assert len(bench.bodies(Kind.OUTCOME)) == len(permits)


def test_at_whatever_moment_a_token_is_revoked_nothing_is_permitted_after_it() -> None:
    assert act_at_every_step(_revoked_during_a_call) > 10


def _revoke(bench: Bench) -> None:
    bench.post(bench.gateway, "interceptor", Revoke(id=500, statement=revocation()), 500)


def _expire(bench: Bench) -> None:
    bench.clock.set_by(86_400)  # as long as the token lives, and not so far that the gate would stop for it


def _new_keys(bench: Bench) -> None:
    bench.facts.roots = msgspec.structs.replace(bench.facts.roots, keys={}, epoch=2)


def _revoke_and_expire(bench: Bench) -> None:
    _revoke(bench)
    _expire(bench)


ENDS: dict[str, tuple[Callable[[Bench], None], Callable[[Bench], bool]]] = {
    "revoked": (_revoke, lambda bench: bool(bench.facts.revoked)),
    "expired": (_expire, lambda bench: bench.clock.now_ns() >= STANDING.leaf.expires * 10**9),
    "of keys that changed": (_new_keys, lambda bench: bench.facts.roots.epoch == 2),
    "revoked, and expired before that is durable": (_revoke_and_expire, lambda bench: bool(bench.facts.revoked)),
}


@pytest.mark.parametrize("end", ENDS)
def test_at_whatever_step_of_a_call_a_token_ends_nothing_is_permitted_or_started_after_it(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    happens, is_over = ENDS[end]
    seen: list[bool] = []

    async def live(arm: Callable[[Callable[[], object]], None]) -> None:
        bench: Any
        async with running() as bench:
            await bench.furnish()
            perform = Interceptor._perform

            def watched(self: Interceptor, effects: list[Effect]) -> None:
                begins = [one for one in effects if isinstance(one, Send) and isinstance(one.message, Execute)]
                permits = [one for one in effects if isinstance(one, Record) and one.entry.kind is Kind.PERMIT]
                over = is_over(bench)
                seen.append(over)
                assert not (over and (begins or permits))
                perform(self, effects)

            with monkeypatch.context() as patch:
                patch.setattr(Interceptor, "_perform", watched)
                arm(lambda: happens(bench))
                for _ in range(2):
                    await bench.propose()
                    if len(bench.got(bench.files, Prepare)) > len(bench.bodies(Kind.PERMIT)):
                        await bench.prepare()
                    bench.thaw()
                    await settle()
                    if len(bench.got(bench.files, Execute)) > len(bench.bodies(Kind.OUTCOME)):
                        await bench.execute()
                bench.thaw()
                await settle()
        assert len(bench.bodies(Kind.OUTCOME)) == len(bench.bodies(Kind.PERMIT))
        assert bench.facts.ledger.purses.get(b"session" + SESSION, EMPTY).reserved == 0

    assert act_at_every_step(live) > 10
    assert {True, False} <= set(seen)


# ---- the clock


async def test_a_clock_that_is_set_back_is_recorded_and_standing_tokens_are_not_believed(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.clock.set_by(-3600)
        await bench.propose()
        await bench.prepare()
        assert [(one.back, one.seconds) for one in bench.bodies(Kind.CLOCK)] == [(True, 3600)]
        assert bench.bodies(Kind.PERMIT) == []
        bench.clock.set_by(3600)
        assert (await bench.call()).content == b"done"


async def test_while_the_clock_stands_far_ahead_nothing_runs_and_no_time_is_recorded(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.furnish()
        before = bench.log.size()
        bench.clock.set_by(30 * 86400)
        await bench.propose()
        assert [one.reason for one in bench.got(bench.session, Refused)] == [CLOCK_AHEAD]
        assert bench.log.size() == before
        bench.clock.set_by(-30 * 86400)
        assert (await bench.call()).content == b"done"


async def _past(log: FakeLog) -> int:
    """A daemon ran and was stopped; the time of its last record, in seconds."""
    async with running(log) as bench:
        await bench.furnish()
        assert (await bench.call()).content == b"done"
    return decode_frame(log.log[-1]).time_ns // 10**9


@pytest.mark.parametrize("back_s", [61, 3600, 400 * 86400])
async def test_a_clock_that_was_set_back_while_nobody_ran_is_recorded_and_standing_tokens_are_not_believed(
    autojump_clock: MockClock, back_s: int
) -> None:
    log = FakeLog()
    last_s = await _past(log)
    async with running(log, wall_ns=(last_s - back_s) * 10**9) as bench:
        await bench.furnish()
        await bench.propose()
        await bench.prepare()
        assert [(one.back, one.seconds) for one in bench.bodies(Kind.CLOCK)] == [(True, back_s)]
        assert len(bench.bodies(Kind.PERMIT)) == 1  # of the time before
        assert len(bench.bodies(Kind.ASKED)) == 1
        bench.clock.set_by(back_s + 5 * 86400)  # right again; that the daemon was off for days is no jump ahead
        await bench.propose("read_file", LASTING)
        await bench.prepare()
        await bench.execute()
        assert len(bench.got(bench.session, Outcome)) == 1
        assert decode_frame(log.log[-1]).time_ns // 10**9 >= last_s + 5 * 86400
        bench.clock.set_by(-3600)
        await bench.propose("read_file", LASTING)
        assert [one.seconds for one in bench.bodies(Kind.CLOCK)] == [back_s, 3600]


async def test_a_clock_that_stays_back_over_another_start_stays_unbelieved(autojump_clock: MockClock) -> None:
    log = FakeLog()
    last_s = await _past(log)
    for start in range(1, 4):
        async with running(log, wall_ns=(last_s - 3600) * 10**9) as bench:
            await bench.furnish()
            await bench.propose()
            await bench.prepare()
            assert [one.seconds for one in bench.bodies(Kind.CLOCK)] == [3600] * start
            assert len(bench.bodies(Kind.PERMIT)) == 1


@pytest.mark.parametrize("ahead_s", [-60, 0, 2 * 86400, 400 * 86400])
async def test_a_clock_that_stands_ahead_of_the_log_at_the_start_cannot_be_judged_and_is_believed(
    autojump_clock: MockClock, ahead_s: int
) -> None:
    log = FakeLog()
    last_s = await _past(log)
    async with running(log, wall_ns=(last_s + ahead_s) * 10**9) as bench:
        await bench.furnish(key=SESSION_KEY.public)
        await bench.propose()
        await bench.prepare()
        assert bench.bodies(Kind.CLOCK) == []
        expired = ahead_s > 86400  # the token of the examples lives for a day
        assert len(bench.bodies(Kind.PERMIT)) == (1 if expired else 2)


async def test_a_clock_that_was_set_back_would_go_unnoticed_without_the_log(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FakeLog()
    last_s = await _past(log)
    monkeypatch.setattr("astrid.guard.interceptor.ClockWatch", lambda wall, running, last_ns: ClockWatch(wall, running))
    async with running(log, wall_ns=(last_s - 3600) * 10**9) as bench:
        await bench.furnish()
        assert (await bench.call()).content == b"done"


# ---- when it breaks itself


async def _break(bench: Bench) -> None:
    bench.post(bench.gateway, "interceptor", "nonsense")
    await settle()
    await trio.sleep(1)


async def test_if_it_breaks_the_log_is_read_anew_and_everything_that_stands_on_it_starts_again(
    autojump_clock: MockClock,
) -> None:
    async with running(broken=True) as bench:
        await bench.furnish()
        await _break(bench)
        names = ("audit", "approvals", "interceptor", "tools/files/front", "sessions/s", "gateway")
        assert [bench.ref(name).incarnation for name in names] == [2] * 6
        assert len(bench.store.journals) == len(bench.gates) == 2
        await bench.furnish()
        assert (await bench.call()).content == b"done"


async def test_a_permit_that_was_durable_when_it_broke_is_settled_as_unknown_and_never_run_again(
    autojump_clock: MockClock,
) -> None:
    async with running(broken=True) as bench:
        await bench.furnish(limits=Limits(1000, 1000, 1000))
        await bench.propose()
        await bench.prepare(max_micros=70)
        await _break(bench)
        await trio.sleep(1)
        assert [(one.unknown, one.spent) for one in bench.bodies(Kind.OUTCOME)] == [(True, 70)]
        purse = bench.facts.ledger.purses[b"session" + SESSION]
        assert (purse.spent, purse.reserved) == (70, 0)
        assert bench.facts.ledger.used[STANDING.id] == 1
        assert len(bench.got(bench.files, Execute)) == 1


async def test_a_permit_that_was_not_durable_when_it_broke_never_was(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        await bench.furnish()
        await bench.propose()
        bench.journal.failures.extend(
            JournalError("journal.full", "full", effect="none", retry=True) for _ in range(99)
        )
        await bench.prepare(max_micros=70)
        await _break(bench)
        assert bench.got(bench.files, Execute) == []
        assert bench.bodies(Kind.PERMIT) == []
        assert bench.facts.ledger.purses.get(b"session" + SESSION, EMPTY) == EMPTY


async def test_what_the_old_hosts_say_after_it_broke_means_nothing_to_the_new_gate(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        await bench.furnish()
        await bench.propose()
        await bench.prepare()
        asked = bench.got(bench.files, Execute)[-1]
        await _break(bench)
        await bench.furnish()
        late = Executed(
            ref=asked.ref, permit_seq=asked.permit_seq, content=b"late", is_error=False, effect="done", spent_micros=0
        )
        bench.post(bench.files, "interceptor", late)
        await settle()
        assert len(bench.bodies(Kind.OUTCOME)) == 1
        assert bench.got(bench.session, Outcome) == []


async def test_a_gate_that_keeps_breaking_ends_the_daemon(autojump_clock: MockClock) -> None:
    bench = Bench()
    with pytest.raises(TooManyRestarts):  # noqa: PT012 - it is the context that raises
        async with open_system(bench.tree, on_failure=bench.failed):
            while True:
                await trio.sleep(0.5)
                bench.post(bench.gateway, "interceptor", "nonsense")
    assert len(bench.gates) >= 3


class NoRoom(Bench):
    """A log that takes as many messages as ``room``, and then no more."""

    def __init__(self, room: int) -> None:
        super().__init__(approvals=Probe())
        self._room = room
        self.writer = Door()

    def tree(self, system: System) -> SupervisorSpec:
        made = super().tree(system)
        audit = ChildSpec("audit", lambda: self.writer, rank=10, capacity=self._room)
        return msgspec.structs.replace(made, children=(audit, *made.children[1:]), intensity=0)


@pytest.mark.parametrize("room", range(1, 6))
def test_a_gate_whose_record_the_log_does_not_take_goes_no_further(room: int) -> None:
    async def scenario() -> None:
        bench = NoRoom(room)
        with pytest.raises(TooManyRestarts):  # noqa: PT012 - it is the context that raises
            async with open_system(bench.tree, on_failure=bench.failed):
                await settle()
                bench.writer.open = trio.Event()
                for _ in range(room + 2):  # whatever it is that has to be recorded
                    bench.post(bench.session, "interceptor", "nonsense")
                    await settle()
        assert bench.codes() == ["gate.log-full"]

    trio.run(scenario, clock=MockClock(autojump_threshold=0))


# ---- sleep


async def release(bench: Bench) -> Done | Failed:
    number = bench.number()
    bench.post(bench.gateway, "interceptor", Release(id=number, ref=bench.ref("sessions/s").id), number)
    await settle()
    [answer] = [one for one in bench.gateway.messages if isinstance(one, Done | Failed) and one.id == number]
    return answer


def rising(bench: Bench, number: int) -> Register:
    return Register(
        id=number,
        ref=bench.ref("sessions/s").id,
        key=SESSION_KEY.public,
        session=SESSION,
        workspace=WORKSPACE,
        toolboxes=("box",),
        mode="guided",
        model="p/m",
        scripted=False,
        asks=True,
        limits=RICH,
        wakes=True,
    )


async def test_whoever_was_let_go_proposes_nothing_until_it_is_readmitted(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        assert await release(bench) == Done(id=2, seq=0)
        await bench.propose()
        assert [one.code for one in bench.got(bench.session, Refused)] == ["gate.unknown-principal"]
        number = bench.number()
        bench.post(bench.gateway, "interceptor", rising(bench, number), number)
        await settle()
        assert bench.gateway.messages[-1] == Done(id=number, seq=0)
        await bench.propose()
        await bench.prepare()
        assert len(bench.got(bench.files, Execute)) == 1
        assert len(bench.bodies(Kind.SESSION_STARTED)) == 1


async def test_the_end_of_an_actor_that_sleeps_is_not_the_end_of_its_session(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await release(bench)
        bench.ref("sessions/s").cell.kill("asleep")
        await settle()
        assert bench.bodies(Kind.SESSION_ENDED) == []
        bench.post(bench.gateway, "interceptor", Finish(session=SESSION, reason="client"))
        bench.post(bench.gateway, "interceptor", Finish(session=SESSION, reason="idle"))
        await settle()
        assert [one.reason for one in bench.bodies(Kind.SESSION_ENDED)] == ["client"]


async def test_nobody_is_let_go_while_a_call_of_theirs_runs_or_was_given_up_and_runs(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        number = await bench.propose()
        await bench.prepare()
        first = await release(bench)
        bench.post(bench.session, "interceptor", Cancel(proposal=number))
        await settle()
        second = await release(bench)
        assert [getattr(one, "code", "") for one in (first, second)] == ["gate.under-way"] * 2
        await bench.execute()
        assert isinstance(await release(bench), Done)


async def test_nobody_is_let_go_while_what_they_said_is_not_durable(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.hold()
        bench.post(bench.session, "interceptor", Save(id=-1, rows=(JournalRow(1, b"row"),)), -1)
        await settle()
        refused = await release(bench)
        assert isinstance(refused, Failed)
        assert refused.code == "gate.under-way"
        bench.thaw()
        await settle()
        assert isinstance(await release(bench), Done)


async def test_only_the_gateway_lets_anybody_go(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        ending, finish = Ending(session=SESSION, reason="idle"), Finish(session=SESSION, reason="idle")
        for message in (Release(id=1, ref=bench.ref("sessions/s").id), ending, finish):
            bench.post(bench.session, "interceptor", message)
        await settle()
        assert [one.code for one in bench.bodies(Kind.DENIED)] == ["gate.message"] * 3
        assert bench.bodies(Kind.SESSION_ENDED) == []
        await bench.propose()
        assert len(bench.got(bench.files, Prepare)) == 1
