"""Approvals around its machine: a question is durable before anybody sees it, an answer before it counts, and
nobody who
waits is forgotten.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from astrid.core.approval import MAX_OPEN_PER_SESSION
from astrid.core.call import Need
from astrid.core.gate_messages import Answered, Approved, Ask, Deferred, Leave, Minted, Refused
from astrid.core.question import DEFERRED_SECONDS, question_bytes
from astrid.core.records import Kind
from astrid.core.tokens import Scope
from astrid.kernel.testing import settle
from astrid.messages.approvals import Attend, ListOpen, OpenQuestion, QuestionEnded, Respond, SessionOver
from astrid.messages.gate import Done, Failed, Strayed
from astrid.messages.log import Recorded, Tick
from tests.fakes.authority import SESSION, SESSION_KEY, STRANGER, call, no, question, yes
from tests.fakes.clock import START_NS
from tests.fakes.guard_bench import Bench, Door, running
from tests.fakes.journal import FakeLog


async def ask(bench: Bench, path: str = "secret", tool: str = "write_file") -> None:
    """A proposal that no token covers."""
    await bench.propose(tool)
    await bench.prepare(needs=(Need(f"file://v/{path}", 2),))


def questions(bench: Bench) -> list[OpenQuestion]:
    return bench.got(bench.gateway, OpenQuestion)


async def listed(bench: Bench) -> list[bytes]:
    waiting = await bench.system.ask(bench.ref("approvals"), ListOpen(), within=5)
    assert isinstance(waiting, tuple)
    return [one.qid for one in waiting]


# ---- a question


async def test_a_question_is_durable_before_anybody_sees_it(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.hold()
        await ask(bench)
        assert (questions(bench), await listed(bench)) == ([], [])
        bench.thaw()
        await settle()
        [question] = questions(bench)
        assert await listed(bench) == [question.qid]
        [asked] = bench.bodies(Kind.ASKED)
        assert asked.qid == question.qid
        assert bench.log.payload(bench.log.size() - 1, 0) is not None


async def test_the_bytes_that_are_shown_are_the_bytes_that_are_kept(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await ask(bench)
        kept = [data for _, data in bench.log.kept.values()]
        assert questions(bench)[0].question in kept


async def test_equal_questions_are_put_once_and_answered_together(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.attend()
        await ask(bench)
        await ask(bench)
        [question] = questions(bench)
        await bench.respond(yes(question.question, Scope.SESSION, qid=question.qid))
        assert [one.proposal for one in bench.got(bench.session, Approved)] == [2, 3]


async def test_two_that_ask_the_same_while_it_is_being_put_are_put_once(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.attend()
        bench.hold()
        await ask(bench)
        await ask(bench)
        bench.thaw()
        await settle()
        [question] = questions(bench)
        await bench.respond(no(question.question, qid=question.qid))
        assert len(bench.got(bench.session, Refused)) == 2


async def test_a_session_cannot_drown_a_person_in_questions(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        for number in range(10):
            await ask(bench, f"{number}")
        assert len(questions(bench)) == MAX_OPEN_PER_SESSION
        assert [one.code for one in bench.got(bench.session, Refused)] == ["approval.too-many"] * 7


async def test_after_two_denials_a_session_asks_no_more_for_that_tool_and_the_next_one_may(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.attend()
        for number in range(2):
            await ask(bench, f"{number}")
            question = questions(bench)[-1]
            await bench.respond(no(question.question, qid=question.qid))
        await ask(bench, "2")
        assert [one.code for one in bench.got(bench.session, Refused)][-1] == "approval.said-no"
        bench.post(bench.gateway, "approvals", SessionOver(session=SESSION))
        await ask(bench, "3")
        assert len(questions(bench)) == 3


async def test_a_question_that_does_not_hold_together_costs_its_call_and_nothing_else(
    autojump_clock: MockClock,
) -> None:
    gate = Door()
    async with running(interceptor=gate) as bench:
        gate.ctx.post(bench.ref("approvals"), Ask(ref=1, question=b"nonsense"), ("put", 1))
        await settle()
        [put] = gate.messages
        assert (put.ref, put.code, put.attended) == (1, "canon.malformed", False)  # type: ignore[attr-defined]
        assert bench.bodies(Kind.ASKED) == []


# ---- an answer


async def test_an_answer_counts_when_it_is_durable_and_not_before(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.attend()
        await ask(bench)
        question = questions(bench)[0]
        bench.hold()
        number = await bench.respond(yes(question.question, qid=question.qid))
        assert bench.got(bench.session, Approved) == []
        assert bench.got(bench.gateway, QuestionEnded) == []
        assert await listed(bench) == []
        bench.thaw()
        await settle()
        assert len(bench.got(bench.session, Approved)) == 1
        [ended] = bench.got(bench.gateway, QuestionEnded)
        assert (ended.verdict, bool(ended.token)) == ("once", True)
        done = bench.got(bench.gateway, Done)[-1]
        assert (done.id, bench.records()[done.seq - 1][0]) == (number, Kind.SETTLED)
        assert ended.seq == done.seq


async def test_of_two_answers_the_first_counts(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.attend()
        await ask(bench)
        question = questions(bench)[0]
        bench.hold()
        await bench.respond(no(question.question, qid=question.qid))
        await bench.respond(yes(question.question, Scope.SESSION, qid=question.qid))
        bench.thaw()
        await settle()
        await bench.respond(yes(question.question, qid=question.qid))
        assert [one.code for one in bench.got(bench.gateway, Failed)] == ["approval.settled"] * 2
        assert [one.decision for one in bench.bodies(Kind.SETTLED)] == [0]
        assert bench.got(bench.session, Approved) == []


async def test_an_answer_of_a_stranger_changes_nothing(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await ask(bench)
        question = questions(bench)[0]
        await bench.respond(yes(question.question, qid=question.qid, by=STRANGER))
        await bench.respond(b"nonsense")
        assert len(bench.got(bench.gateway, Failed)) == 2
        assert bench.bodies(Kind.SETTLED) == []
        assert await listed(bench) == [question.qid]


async def test_an_answer_after_the_session_went_on_mints_a_token_for_it(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await ask(bench)
        question = questions(bench)[0]
        assert len(bench.got(bench.session, Deferred)) == 1
        await bench.respond(yes(question.question, Scope.SESSION, qid=question.qid))
        assert [one.qid for one in bench.got(bench.session, Minted)] == [question.qid]


async def test_a_proposal_that_left_is_not_answered(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await bench.attend()
        await ask(bench)
        await ask(bench)
        question = questions(bench)[0]
        bench.session.ctx.stop()
        await settle()
        await bench.respond(no(question.question, qid=question.qid))
        assert bench.got(bench.session, Refused) == []


# ---- time


async def test_a_question_whose_time_is_over_ends_and_the_log_says_so(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.facts.question_seconds = 60
        await bench.attend()
        await ask(bench)
        await trio.sleep(59)
        assert bench.bodies(Kind.SETTLED) == []
        await trio.sleep(10)
        assert [(one.decision, one.reason) for one in bench.bodies(Kind.SETTLED)] == [(0, "expired")]
        assert [one.verdict for one in bench.got(bench.gateway, QuestionEnded)] == ["expired"]
        assert [one.code for one in bench.got(bench.session, Refused)] == ["approval.expired"]


async def test_a_clock_that_jumped_ahead_ends_no_question(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await ask(bench)
        bench.clock.set_by(30 * 86400)
        await trio.sleep(20)
        assert bench.bodies(Kind.SETTLED) == []
        bench.clock.set_by(-30 * 86400)
        assert len(await listed(bench)) == 1


async def test_what_is_over_by_the_time_of_anybody_s_record_is_not_answered_when_the_clock_is_set_back(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.facts.question_seconds = 60
        await bench.attend()
        await ask(bench)
        question = questions(bench)[0]
        bench.clock.set_by(3600)
        await bench.propose("no such tool")  # its denial is recorded
        bench.clock.set_by(-3600)
        assert bench.facts.durable_ns > bench.clock.now_ns() + 60 * 10**9
        await bench.respond(yes(question.question, qid=question.qid))
        assert [one.code for one in bench.got(bench.gateway, Failed)] == ["approval.expired"]


# ---- restarts and others that are full


async def test_an_open_question_outlives_a_restart_of_the_guard(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        await bench.furnish()
        await ask(bench)
        await ask(bench, "other")
        first, second = questions(bench)
        await bench.respond(no(first.question, qid=first.qid))
        bench.post(bench.gateway, "approvals", "nonsense")
        await trio.sleep(1)
        assert bench.codes() == ["approvals.message"]
        assert [bench.ref(name).incarnation for name in ("audit", "approvals", "interceptor")] == [2, 2, 2]
        assert await listed(bench) == [second.qid]
        await bench.furnish(key=b"\x09" * 32)
        await bench.respond(yes(second.question, Scope.WORKSPACE, qid=second.qid))
        assert [one.decision for one in bench.bodies(Kind.SETTLED)] == [0, 3]
        assert len(bench.facts.settled) == 1


async def _told_no(bench: Bench, path: str) -> None:
    await ask(bench, path)
    one = questions(bench)[-1]
    await bench.respond(no(one.question, qid=one.qid))


async def test_two_denials_are_remembered_by_the_session_s_id_when_the_guard_starts_again(
    autojump_clock: MockClock,
) -> None:
    """Sessions end with the guard; one that is opened again under its id has not been given two more questions."""
    async with running(broken=True) as bench:
        await bench.furnish()
        await _told_no(bench, "one")
        await _told_no(bench, "two")
        bench.post(bench.gateway, "approvals", "nonsense")
        await trio.sleep(1)
        await bench.furnish()
        await ask(bench, "three")
        assert [one.code for one in bench.got(bench.session, Refused)][-1] == "approval.said-no"
        assert len(questions(bench)) == 2


async def test_what_ran_out_is_no_denial_after_a_restart_either(autojump_clock: MockClock) -> None:
    log = FakeLog()
    async with running(log, broken=True) as bench:
        await bench.furnish()
        for path in ("one", "two", "three"):
            await ask(bench, path)
        bench.clock.set_by(3600)
        await trio.sleep(7 * 86400)
        assert [one.reason for one in bench.bodies(Kind.SETTLED)] == ["expired"] * 3
        bench.post(bench.gateway, "approvals", "nonsense")
        await trio.sleep(1)
        await bench.furnish()
        await ask(bench, "four")
        assert len(questions(bench)) == 4


async def test_a_session_that_ended_is_not_remembered(autojump_clock: MockClock) -> None:
    log = FakeLog()
    async with running(log) as bench:
        await bench.furnish()
        await _told_no(bench, "one")
        await _told_no(bench, "two")
        bench.session.ctx.stop()
        await settle()
        assert len(bench.bodies(Kind.SESSION_ENDED)) == 1
    async with running(log) as bench:
        assert bench.past.denials == ()


async def test_a_clock_that_is_set_back_lets_no_question_live_again(autojump_clock: MockClock) -> None:
    log = FakeLog()
    async with running(log) as bench:
        await bench.furnish()
        await ask(bench)
        one = questions(bench)[0]
    async with running(log, wall_ns=START_NS + 8 * 86400 * 10**9) as bench:
        assert await listed(bench) == [one.qid]  # its time is over; the log does not say so yet, but what time it is
    async with running(log, wall_ns=START_NS + 60 * 10**9) as bench:
        await bench.respond(yes(one.question, qid=one.qid))
        assert [one.code for one in bench.got(bench.gateway, Failed)] == ["approval.expired"]
        await trio.sleep(10)
        assert [one.reason for one in bench.bodies(Kind.SETTLED)] == ["expired"]


async def test_a_clock_set_back_while_it_runs_lets_no_question_live_again(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        await ask(bench)
        one = questions(bench)[0]
        await trio.sleep(DEFERRED_SECONDS - 3)
        bench.clock.set_by(10)
        await ask(bench, "later")  # recorded when the first one's time is over, and before anybody looked
        bench.clock.set_by(-10)
        await bench.respond(yes(one.question, qid=one.qid))
        assert [one.code for one in bench.got(bench.gateway, Failed)] == ["approval.expired"]


async def test_a_question_outlives_the_daemon(autojump_clock: MockClock) -> None:
    log = FakeLog()
    async with running(log) as bench:
        await bench.furnish()
        await ask(bench)
        question = questions(bench)[0]
    async with running(log) as bench:
        assert await listed(bench) == [question.qid]
        await bench.furnish(key=b"\x09" * 32)
        await bench.respond(yes(question.question, Scope.WORKSPACE, qid=question.qid))
        assert [one.verdict for one in bench.got(bench.gateway, QuestionEnded)] == ["workspace"]


async def test_a_question_whose_time_ran_out_while_nobody_ran_is_ended_after_the_start(
    autojump_clock: MockClock,
) -> None:
    log = FakeLog()
    async with running(log) as bench:
        await bench.furnish()
        await ask(bench)
    async with running(log, wall_ns=START_NS + 8 * 86400 * 10**9) as bench:
        assert bench.bodies(Kind.SETTLED) == []
        await trio.sleep(10)
        assert [one.reason for one in bench.bodies(Kind.SETTLED)] == ["expired"]


async def test_what_the_gate_has_no_room_for_it_is_told_later_and_in_order(autojump_clock: MockClock) -> None:
    gate = Door()
    async with running(interceptor=gate) as bench:
        asked = [await put(bench, gate, number) for number in range(3)]
        gate.open = trio.Event()
        bench.post(bench.gateway, "interceptor", "filling")  # taken, and now it waits
        await settle()
        bench.post(bench.gateway, "interceptor", "the room there is")
        for raw, qid in asked:
            await bench.respond(no(raw, qid=qid))
        assert len(bench.got(bench.gateway, Done)) == 3
        gate.open.set()
        await trio.sleep(20)
        assert [one.qid for one in bench.got(gate, Answered)] == [qid for _, qid in asked]


async def put(bench: Bench, gate: Door, number: int) -> tuple[bytes, bytes]:
    """A question put by a gate that the test plays; its bytes and its id."""
    qid = bytes([number]) * 16
    raw = question_bytes(question(call(args=b"%d" % number), qid=qid))
    gate.ctx.post(bench.ref("approvals"), Ask(ref=number + 1, question=raw), ("put", number + 1))
    await settle()
    return raw, qid


# ---- who may say what


PRIVATE: list[tuple[object, str]] = [
    (Ask(ref=1, question=b"q"), "interceptor"),
    (Leave(ref=1), "interceptor"),
    (Recorded(id=1, records=(), watermark=1), "audit"),
    (Respond(id=1, answer=b""), "gateway"),
    (Attend(session=SESSION, present=True), "gateway"),
    (SessionOver(session=SESSION), "gateway"),
    (Tick(), "itself"),
    ("nonsense", "nobody"),
]


@pytest.mark.parametrize(
    ("message", "forger"),
    [
        (message, forger)
        for message, owner in PRIVATE
        for forger in ("session", "files", "gateway", "interceptor", "outside")
        if forger != owner
    ],
)
async def test_what_only_another_may_say_changes_nothing_and_is_a_bug_if_the_guard_says_it(
    autojump_clock: MockClock, message: object, forger: str
) -> None:
    gate = Door()
    trusted = forger in ("gateway", "interceptor")
    async with running(interceptor=gate, broken=trusted) as bench:
        await put(bench, gate, 1)
        probes: dict[str, Any] = {"session": bench.session, "files": bench.files, "gateway": bench.gateway}
        probes["interceptor"] = gate
        if forger == "outside":
            bench.system.post(bench.ref("approvals"), message)
        else:
            bench.post(probes[forger], "approvals", message)
        await settle()
        assert bench.codes() == (["approvals.message"] if trusted else [])
        assert bench.bodies(Kind.SETTLED) == []
        told = bench.got(gate, Strayed)
        assert len(told) == (not trusted)
        if told:
            assert told[0].ref == (0 if forger == "outside" else probes[forger].ctx.ref.id)
            assert len(await listed(bench)) == 1


async def test_what_strays_to_approvals_is_recorded_at_the_cost_of_whoever_sent_it(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.furnish()
        bench.post(bench.session, "approvals", "nonsense")
        await settle()
        [denied] = bench.bodies(Kind.DENIED)
        assert (denied.code, denied.principal) == ("gate.message", SESSION_KEY.public)


async def test_what_strays_while_there_is_no_gate_ends_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as bench:
        actor: Any = bench.ref("approvals").cell.life._actor  # type: ignore[union-attr]
        monkeypatch.setattr(actor, "_interceptor", lambda: None)
        bench.post(bench.session, "approvals", "nonsense")
        assert await listed(bench) == []
