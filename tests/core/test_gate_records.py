"""What the gate writes, how much of it, and what it keeps to itself."""

from __future__ import annotations

import msgspec
import pytest

from astrid.core.call import Need
from astrid.core.facts import DENIAL_BYTES_PER_SESSION, LOG_BYTES_PER_SESSION
from astrid.core.gate_denials import FORGED_BYTES, MAX_ON_WAY
from astrid.core.gate_messages import Record
from astrid.core.gate_records import told_of
from astrid.core.gate_state import Stage
from astrid.core.question import decode_question
from astrid.core.records import Kind
from astrid.errors import CanonError
from tests.fakes.authority import SESSION, SESSION_KEY
from tests.fakes.gate_bench import (
    CHILD,
    FILES,
    MODEL,
    PARENT,
    STANDING,
    Ask,
    Bench,
    Outcome,
    Prepare,
    body,
    preparation,
)

# --- what the records hold


def test_every_record_of_a_call_has_a_salt_of_its_own_and_no_question_tells_one() -> None:
    """Equal bytes under one salt would show that they are equal; a salt that is known hides nothing."""
    bench = Bench()
    bench.at(Stage.RUNNING)
    bench.executed()
    bench.propose("nonsense")
    bench.at(Stage.ASKING)
    bench.put(code="approval.too-many")
    salts = [payload.salt for made in bench.log for payload in made.payloads]
    assert len(salts) == len(set(salts)) == 4
    qid = decode_question(bench.sent(Ask)[0].question)[0].qid
    assert not [salt for salt in salts if salt.startswith(qid)]


def test_arguments_and_result_of_a_call_lie_beside_each_other() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    bench.executed(content=b"the result")
    assert [(one.slot, made.kind) for made in bench.log for one in made.payloads] == [
        (0, Kind.PERMIT),
        (1, Kind.OUTCOME_VOUCHED),
    ]
    assert bench.log[1].payloads[0].data == b"the result"


def test_a_permit_is_waited_for_and_an_outcome_may_ride_along() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    bench.executed()
    bench.propose("nonsense")
    assert [made.urgent for made in bench.log] == [True, False, True]


def test_the_record_of_a_denial_names_the_tool() -> None:
    bench = Bench()
    bench.propose("read_file")
    bench.unprepared()
    (denied,) = bench.records(Kind.DENIED)
    assert (denied.host_kind, denied.tool, denied.principal) == ("workspace", "read_file", SESSION_KEY.public)


def test_why_a_call_was_denied_can_be_read_beside_its_record() -> None:
    bench = Bench()
    bench.propose("nonsense")
    (told,) = [payload.data for made in bench.log for payload in made.payloads]
    assert told_of(told) == ("there is no such tool", "use a listed tool")
    with pytest.raises(CanonError):
        told_of(told + b"x")


def test_a_question_says_that_only_trusted_text_was_in_view() -> None:
    bench = Bench()
    bench.propose()
    bench.prepared(made=preparation(fresh=True, controls=(("path", "a"),)))
    (control,) = decode_question(bench.sent(Ask)[0].question)[0].controls
    assert (control.provenance, control.origin) == ("trusted context", 0)


def test_all_that_a_call_adds_to_the_disk_counts_to_its_session() -> None:
    bench = Bench()
    written = 0
    for _ in range(3):
        bench.at(Stage.RUNNING)
        bench.executed(content=b"x" * 1000)
    for made in bench.log:
        written += len(made.body) + sum(len(one.data) + len(one.salt) for one in made.payloads)
    assert bench.facts.quota._bytes == {SESSION: written}
    bench.propose("nonsense")
    made = bench.log[-1]
    assert bench.facts.quota._denial_bytes == {
        SESSION: len(made.body) + sum(len(one.data) + len(one.salt) for one in made.payloads)
    }


def test_what_ends_after_its_session_is_counted_to_nobody() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    bench.gone()
    bench.facts.quota.end(SESSION)
    bench.executed(1)
    assert bench.facts.quota._bytes == {}


def test_the_log_holds_neither_arguments_nor_results() -> None:
    """Threat 26: they lie beside it, under a salted commitment."""
    bench = Bench()
    bench.propose("read_file", args=b'{"path":"CANARY-1"}')
    bench.prepared()
    bench.sync()
    bench.executed(content=b"CANARY-2")
    bench.propose("nonsense", args=b"CANARY-3")
    assert not [made for made in bench.log if b"CANARY" in made.body]
    assert sum(b"CANARY" in payload.data for made in bench.log for payload in made.payloads) == 3
    assert body(bench.log[0]).bytes_.length == len(bench.log[0].payloads[0].data)


def test_a_model_s_conversation_is_not_written_twice() -> None:
    bench = Bench()
    bench.propose("model", args=b"CANARY")
    bench.prepared(made=preparation(needs=(Need("model://p/m", 16),)), sender=MODEL)
    assert bench.records(Kind.PERMIT)
    assert bench.log[0].payloads == ()


# --- floods (threat 24)


def test_a_flood_of_denials_is_counted_and_the_log_grows_no_further() -> None:
    bench = Bench()
    while not bench.facts.quota.spent(SESSION):
        bench.propose("nonsense", args=b"x" * 5000)
        bench.sync()
    size = len(bench.log)
    for _ in range(5000):
        bench.propose("nonsense", args=b"x" * 5000)
        bench.sync()
    assert len(bench.log) - size <= 20
    counted = bench.records(Kind.COALESCED)
    assert [one.count for one in counted] == [2**n for n in range(13)]
    assert {one.code for one in counted} == {"gate.paused"}
    assert bench.answers()[-1].code == "gate.paused"


def test_a_session_that_flooded_is_paused_and_another_one_works() -> None:
    bench = Bench()
    bench.facts.quota.wrote(SESSION, DENIAL_BYTES_PER_SESSION, denial=True)
    bench.propose()
    assert bench.answer.code == "gate.paused"
    assert not bench.sent(Prepare)
    bench.facts.principals[CHILD] = msgspec.structs.replace(bench.facts.principals[CHILD], session=b"T" * 16)
    bench.propose(sender=CHILD)
    assert bench.sent(Prepare)


def test_a_session_that_filled_its_share_with_what_was_permitted_is_paused_too() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    bench.executed(content=b"x" * LOG_BYTES_PER_SESSION)
    bench.propose()
    assert bench.answers()[-1].code == "gate.paused"


def test_what_is_on_its_way_when_a_session_is_paused_still_ends_and_is_recorded() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    bench.facts.quota.wrote(SESSION, DENIAL_BYTES_PER_SESSION, denial=True)
    bench.executed()
    assert bench.records(Kind.OUTCOME)
    assert isinstance(bench.answer, Outcome)


def test_a_flood_of_questions_that_nobody_is_there_for_pauses_the_session_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is joined each time; that the proposal ended is recorded each time."""
    monkeypatch.setattr("astrid.core.facts.LOG_BYTES_PER_SESSION", 5000)
    bench = Bench()
    for _ in range(1000):
        bench.propose("read_file")
        if bench.gate.pending:
            bench.prepared(made=preparation(fresh=True, why="a person has to see it"))
            bench.defer()
        bench.sync()
    assert len(bench.records(Kind.DEFERRED)) < 5000 // 20
    assert bench.answers()[-1].code == "gate.paused"


def test_a_flood_of_forged_tokens_is_counted_and_pauses_whoever_presents_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("astrid.core.facts.DENIAL_BYTES_PER_SESSION", 100 * FORGED_BYTES)
    bench = Bench()
    for _ in range(50):
        bench.propose("read_file", b"junk", STANDING, STANDING.raw[:-1])
        if bench.gate.pending:
            bench.prepared()
            bench.sync()
            bench.executed()
        bench.sync()
    counted = [one.count for one in bench.records(Kind.COALESCED) if one.code == "token.encoding"]
    assert counted == [2**n for n in range(7)]
    assert len(bench.records(Kind.PERMIT)) == 50
    bench.propose("read_file", STANDING)
    assert bench.answers()[-1].code == "gate.paused"


def test_denials_that_wait_for_a_slow_log_are_few_and_the_rest_is_answered_at_once() -> None:
    bench = Bench()
    for _ in range(3 * MAX_ON_WAY):
        bench.propose("nonsense")
    assert len(bench.records(Kind.DENIED)) == MAX_ON_WAY
    assert len(bench.answers()) == 2 * MAX_ON_WAY
    assert bench.records(Kind.COALESCED)[-1].count == 2 * MAX_ON_WAY
    bench.facts.principals[CHILD] = msgspec.structs.replace(bench.facts.principals[CHILD], session=b"T" * 16)
    bench.propose("nonsense", sender=CHILD)
    assert len(bench.records(Kind.DENIED)) == MAX_ON_WAY + 1
    bench.sync()
    assert len(bench.answers()) == 3 * MAX_ON_WAY
    bench.propose("nonsense")
    assert len(bench.records(Kind.DENIED)) == MAX_ON_WAY + 2


# --- what is not taken


@pytest.mark.parametrize(("sender", "session"), [(PARENT, SESSION), (FILES, b""), (0, b"")])
def test_what_strays_is_recorded_as_a_denial_of_whoever_said_it(sender: int, session: bytes) -> None:
    bench = Bench()
    assert all(isinstance(one, Record) for one in bench.do(bench.gate.strayed(sender, "a story")))
    [made] = bench.log
    denied = body(made)
    assert (made.kind, made.session, denied.layer, denied.code) == (Kind.DENIED, session, "gate", "gate.message")
    assert (denied.principal, denied.tool) == (SESSION_KEY.public if session else b"\0" * 32, "")
    assert b"a story" in made.payloads[0].data
    assert bench.sync() == []


def test_strangers_share_one_quota_and_cost_no_session_anything() -> None:
    bench = Bench()
    for number in range(30_000):
        bench.do(bench.gate.strayed(1000 + number, "x" * 4000))
        bench.sync()
    assert len(bench.log) < 1200
    assert not bench.facts.quota.spent(SESSION)
    bench.propose()
    assert bench.sent(Prepare)


@pytest.mark.parametrize("trouble", ["suspended", "clock_trouble"])
def test_while_nothing_can_be_recorded_what_strays_is_counted(trouble: str) -> None:
    bench = Bench()
    setattr(bench.gate, trouble, "a reason")
    for _ in range(100):
        bench.do(bench.gate.strayed(PARENT, "x"))
    assert [one.count for one in bench.records(Kind.COALESCED)] == [2**n for n in range(7)]
    assert bench.records(Kind.DENIED) == []


def test_a_flood_without_a_quota_would_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astrid.core.facts.DENIAL_BYTES_PER_SESSION", 1 << 60)
    bench = Bench()
    for _ in range(2000):
        bench.propose("nonsense", args=b"x" * 5000)
        bench.sync()
    assert sum(len(payload.data) for made in bench.log for payload in made.payloads) > DENIAL_BYTES_PER_SESSION
