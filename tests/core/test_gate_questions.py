"""Where a person decides: what they are asked, and what becomes of their answer."""

from __future__ import annotations

import msgspec
import pytest

from astrid.core.budget import Purse
from astrid.core.call import Need
from astrid.core.gate_messages import Send, SendApprovals
from astrid.core.gate_state import Stage
from astrid.core.question import decode_question
from astrid.core.records import Kind
from astrid.core.tokens import Scope
from tests.fakes.authority import NOW, SESSION, SESSION_KEY
from tests.fakes.gate_bench import (
    BANK,
    CHILD,
    FILES,
    PARENT,
    STANDING,
    Approved,
    Ask,
    Bench,
    Deferred,
    Execute,
    Leave,
    Minted,
    preparation,
)

# --- questions


def test_a_question_holds_the_call_and_what_a_yes_would_cover() -> None:
    bench = Bench()
    bench.propose("bash", args=b'{"command":"make"}', tainted=True)
    bench.prepared(made=preparation(fresh=True, why="it runs a program", controls=(("command", "make"),)))
    (asked,) = bench.sent(Ask)
    question, call = decode_question(asked.question)
    assert (question.asked, question.expires) == (NOW, NOW + bench.facts.question_seconds)
    assert (question.why, question.once_only, question.strong) == (b"it runs a program", True, False)
    assert [(one.argument, one.value, one.provenance) for one in question.controls] == [
        ("command", b"make", "untrusted text in view")
    ]
    assert (call.tool, call.args, call.principal_key) == ("bash", b'{"command":"make"}', SESSION_KEY.public)


@pytest.mark.parametrize(
    ("tool", "host", "fresh", "why", "reason"),
    [
        ("bash", FILES, False, "", b"this tool asks each time"),
        ("bash", FILES, True, "", b"this tool asks each time"),
        ("read_file", FILES, True, "", b"this tool asks each time"),
        ("read_file", FILES, True, "it is special", b"it is special"),
    ],
)
def test_a_host_that_wants_a_fresh_yes_gets_one_even_if_it_does_not_say_why(
    tool: str, host: int, fresh: bool, why: str, reason: bytes
) -> None:
    bench = Bench()
    bench.propose(tool, args=b'{"command":"make"}')
    bench.prepared(made=preparation(fresh=fresh, why=why), sender=host)
    (asked,) = bench.sent(Ask)
    assert decode_question(asked.question)[0].why == reason


def test_a_yes_runs_the_very_call_after_a_second_decision() -> None:
    bench = Bench()
    bench.at(Stage.ASKING)
    question = bench.sent(Ask)[0].question
    raw = bench.say_yes(question, bench.ref)
    assert bench.answer == Approved(proposal=1, token=raw)
    assert not bench.sent(Execute)
    bench.propose("read_file", raw, STANDING)
    bench.prepared(made=preparation(fresh=True, why="a person has to see it"))
    bench.sync()
    assert bench.sent(Execute)[0].call == decode_question(question)[0].call


def test_a_yes_that_came_while_something_changed_is_not_enough() -> None:
    bench = Bench()
    bench.at(Stage.ASKING)
    raw = bench.say_yes(bench.sent(Ask)[0].question, bench.ref)
    bench.facts.ledger.purses[b"session" + SESSION] = Purse(10**10, 0)
    bench.propose("read_file", raw)
    bench.prepared(made=preparation(fresh=True, why="a person has to see it"))
    bench.sync()
    assert bench.answers()[-1].code == "budget.frozen"


def test_a_token_is_live_only_if_the_log_names_it_as_the_answer() -> None:
    """Threat 17: two people answer; the one whose answer was recorded counts."""
    bench = Bench()
    bench.at(Stage.ASKING)
    raw = bench.say_yes(bench.sent(Ask)[0].question, bench.ref)
    bench.facts.settled = {b"another block".ljust(32, b".")}
    bench.propose("read_file", raw)
    bench.prepared(made=preparation(fresh=True, why="a person has to see it"))
    assert not bench.records(Kind.PERMIT)


def test_everybody_who_waits_with_a_question_hears_its_answer() -> None:
    bench = Bench()
    for _ in range(2):
        bench.at(Stage.ASKING)
    bench.answered(1, 2)
    assert [answer.proposal for answer in bench.answers()] == [1, 2]
    assert not bench.sent(Minted)


def test_an_answer_that_nobody_waits_for_goes_to_the_session_it_was_asked_for() -> None:
    bench = Bench()
    bench.facts.principals[CHILD] = msgspec.structs.replace(bench.facts.principals[CHILD], session=b"T" * 16)
    bench.answered(99)
    (sent,) = bench.effects
    assert sent == Send(PARENT, Minted(qid=b"q" * 16, token=b"token"))


def test_a_no_that_nobody_waits_for_makes_nothing_live() -> None:
    bench = Bench()
    assert bench.answered(99, token=b"", said_no=True) == []
    assert bench.facts.settled == set()


@pytest.mark.parametrize(("said_no", "code"), [(True, "approval.denied"), (False, "approval.expired")])
def test_no_answer_is_no_permit(said_no: bool, code: str) -> None:
    bench = Bench()
    bench.at(Stage.ASKING)
    bench.answered(token=b"", said_no=said_no)
    bench.sync()
    assert (bench.answer.layer, bench.answer.code) == ("approval", code)


def test_a_question_that_is_not_put_ends_the_proposal_with_the_reason() -> None:
    bench = Bench()
    bench.at(Stage.ASKING)
    bench.put(code="approval.too-many", reason="three are open")
    bench.sync()
    assert (bench.answer.layer, bench.answer.code, bench.answer.reason) == (
        "approval",
        "approval.too-many",
        "three are open",
    )


def test_where_nobody_is_there_the_proposal_ends_when_that_is_durable_and_the_question_stays() -> None:
    bench = Bench()
    bench.at(Stage.ASKING)
    left, _ = bench.put(attended=False, qid=b"z" * 16)
    assert left == SendApprovals(Leave(ref=1))
    assert not bench.answers()
    bench.sync()
    assert bench.answer == Deferred(proposal=1, qid=b"z" * 16)
    assert [(one.ref, one.qid) for one in bench.records(Kind.DEFERRED)] == [(1, b"z" * 16)]


def test_two_questions_have_two_ids() -> None:
    bench = Bench()
    for _ in range(2):
        bench.at(Stage.ASKING)
    qids = [decode_question(asked.question)[0].qid for asked in bench.sent(Ask)]
    assert len(set(qids)) == 2


# --- a payment, end to end


def test_money_is_spent_only_on_a_person_s_yes_to_that_payment() -> None:
    bench = Bench()
    payment = preparation(needs=(Need("tool://bank/pay", 16),), risk=3, max_micros=5, fresh=True, why="it spends money")
    bench.propose("pay", args=b'{"to":"Ann"}')
    bench.prepared(made=payment, sender=BANK)
    question = bench.sent(Ask)[0].question
    asked, _ = decode_question(question)
    assert (asked.once_only, asked.strong) == (True, True)
    assert [choice.scope for choice in asked.choices] == [Scope.ONCE]
    raw = bench.say_yes(question, bench.ref)
    bench.propose("pay", raw, args=b'{"to":"Bob"}')
    bench.prepared(made=payment, sender=BANK)
    assert not bench.records(Kind.PERMIT)
    bench.propose("pay", raw, args=b'{"to":"Ann"}')
    bench.prepared(made=payment, sender=BANK)
    assert len(bench.records(Kind.PERMIT)) == 1
