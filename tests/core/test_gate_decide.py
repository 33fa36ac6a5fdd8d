"""From a prepared proposal to a verdict: whatever goes wrong there is a denial of that one call."""

from __future__ import annotations

from typing import Any

import pytest

from astrid.core import gate_decide
from astrid.core.call import Need
from astrid.core.canon import MAX_U64
from astrid.core.gate_state import Stage
from astrid.core.question import decode_question
from astrid.core.records import Kind
from tests.fakes.authority import SESSION_KEY
from tests.fakes.gate_bench import (
    READ,
    Ask,
    Bench,
    Refused,
    preparation,
)

# --- who is asked


def test_nobody_is_asked_for_a_session_whose_key_was_revoked() -> None:
    bench = Bench()
    bench.facts.revoked.add(SESSION_KEY.public)
    bench.propose()
    bench.prepared()
    bench.sync()
    assert (bench.answer.layer, bench.answer.code) == ("capability", "token.revoked")


# --- poison (threat 25)


def test_a_bug_in_the_decision_is_a_recorded_denial_and_the_next_call_works(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(gate_decide, "decide", broken)
        bench.propose()
        bench.prepared()
        bench.sync()
    assert (bench.answer.layer, bench.answer.code) == ("gate", "gate.bug")
    assert "ZeroDivisionError" in bench.answer.reason
    assert bench.facts.ledger.purses == {}
    bench.at(Stage.RUNNING)


@pytest.mark.parametrize("broken", ["permitted", "question_for", "decode_question"])
def test_a_bug_in_what_is_written_down_is_a_denial_too(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def fails(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(gate_decide, broken, fails)
    bench.propose()
    bench.prepared(made=preparation(fresh=broken != "permitted"))
    bench.sync()
    assert bench.answer.code == "gate.bug"
    assert bench.facts.ledger.purses == {}


POISON: dict[str, Any] = {
    "no needs": preparation(needs=()),
    "a need that is a pattern": preparation(needs=(Need("file://w/*", READ),)),
    "a need that is no resource": preparation(needs=(Need("nonsense", READ),)),
    "needs out of order": preparation(needs=(Need("file://w/b", READ), Need("file://w/a", READ))),
    "a need beyond ASCII": preparation(needs=(Need("file://w/\u00e9", READ),)),
    "a lone surrogate": preparation(cwd_rel="\ud800"),
    "a number beyond 64 bits": preparation(max_micros=MAX_U64 + 1),
    "a negative price": preparation(max_micros=-1),
    "a level that does not exist": preparation(risk=7),
    "no preparation at all": preparation(needs=None),
    "a control value that is no text": preparation(fresh=True, controls=(("path", None),)),
    "a control value with half a character": preparation(fresh=True, controls=(("path", "\ud800"),)),
    "a control name with half a character": preparation(fresh=True, controls=(("\ud800", "x"),)),
}


@pytest.mark.parametrize("what", POISON)
def test_what_cannot_be_written_down_is_a_denial_of_that_call(what: str) -> None:
    bench = Bench()
    bench.propose()
    bench.prepared(made=POISON[what])
    bench.sync()
    assert isinstance(bench.answer, Refused)
    assert bench.records(Kind.DENIED)
    assert (bench.gate.pending, bench.facts.ledger.purses) == ({}, {})


@pytest.mark.parametrize("text", ["\ud800", "x" * 10**6, "\0\x1b[2J"], ids=["surrogate", "long", "escape"])
def test_whatever_a_host_says_in_refusing_can_be_recorded(text: str) -> None:
    bench = Bench()
    bench.propose(args=b"\xff" * 10**6)
    bench.unprepared(layer=text, code=text, reason=text, advice=text)
    bench.sync()
    assert isinstance(bench.answer, Refused)
    (made,) = bench.log
    assert len(made.body) < 1000
    assert sum(len(payload.data) for payload in made.payloads) < 20_000


def test_a_file_name_that_is_no_text_can_be_asked_about() -> None:
    bench = Bench()
    bench.propose()
    bench.prepared(made=preparation(fresh=True, controls=(("path", "\udcff"),)))
    (asked,) = bench.sent(Ask)
    question, _ = decode_question(asked.question)
    assert question.controls[0].value == b"\xff"


def test_a_call_longer_than_any_host_would_read_is_a_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_decide, "MAX_CALL_BYTES", 1000)
    bench = Bench()
    bench.propose(args=b"x" * 1000)
    bench.prepared()
    bench.sync()
    assert (bench.answer.layer, bench.answer.code) == ("input", "call.too-long")


def test_a_call_as_long_as_a_host_reads_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    longest = len(bench.at(Stage.PERMITTING).call_bytes)
    monkeypatch.setattr(gate_decide, "MAX_CALL_BYTES", longest)
    assert bench.at(Stage.PERMITTING).call_bytes
    monkeypatch.setattr(gate_decide, "MAX_CALL_BYTES", longest - 1)
    with pytest.raises(ValueError, match="not enough values"):  # it did not come to that stage
        bench.at(Stage.PERMITTING)


@pytest.mark.parametrize("what", POISON)
def test_whoever_reads_a_denial_learns_what_to_do(what: str) -> None:
    bench = Bench()
    bench.propose()
    bench.prepared(made=POISON[what])
    bench.sync()
    assert bench.answer.advice


def test_the_advice_of_whatever_refused_is_handed_on() -> None:
    bench = Bench()
    bench.propose()
    bench.prepared(made=preparation(needs=(Need("nonsense", READ),)))
    bench.sync()
    assert "file://" in bench.answer.advice


def test_what_needs_a_yes_of_its_own_is_not_told_to_be_granted_beforehand() -> None:
    bench = Bench(asks=False)
    bench.propose()
    bench.prepared(made=preparation(fresh=True))
    bench.sync()
    assert (bench.answer.code, "cannot be granted beforehand" in bench.answer.advice) == ("token.not-fresh", True)
