"""The gate, call by call: what leads where, who is listened to, and what each control stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from astrid.core import decide as decide_module
from astrid.core import gate as gate_module
from astrid.core.budget import Purse
from astrid.core.call import Need, decode_call
from astrid.core.canon import MAX_U64
from astrid.core.decide import Limits
from astrid.core.gate import MAX_PENDING_PER_PRINCIPAL, MAX_RESULT_BYTES, MAX_TOKENS_PER_PROPOSAL
from astrid.core.gate_messages import Booked, Executed, Prepared, PurseLine, Record, Send
from astrid.core.gate_state import Stage
from astrid.core.question import decode_question
from astrid.core.records import Kind, is_sealed
from astrid.core.tokens import Grant, Scope
from astrid.core.tools import ToolSpec
from tests.fakes.authority import CHILD_KEY, DAY, NOW, SESSION, SESSION_KEY, USER, WORKSPACE, pass_on, token
from tests.fakes.gate_bench import (
    CHILD,
    FILES,
    MODEL,
    PARENT,
    READ,
    RICH,
    SECOND,
    STANDING,
    STRANGER,
    TOOLS,
    WRITE,
    Approved,
    Ask,
    Bench,
    Deferred,
    Execute,
    Leave,
    Outcome,
    Prepare,
    Refused,
    Withdraw,
    preparation,
)
from tests.fakes.rules import config, policy

# --- a call, from the first word to the last


def test_a_call_is_looked_at_permitted_recorded_run_settled_and_answered_in_this_order() -> None:
    bench = Bench()
    assert bench.propose("write_file", args=b'{"path":"a"}') == [
        Send(FILES, Prepare(ref=1, tool="write_file", args=b'{"path":"a"}'))
    ]
    (record,) = bench.prepared(made=preparation("a", WRITE, max_micros=5))
    permit = bench.records(Kind.PERMIT)[0]
    assert bench.facts.ledger.purses[b"session" + SESSION] == Purse(0, 5)
    assert not bench.sent(Execute)
    (sent,) = bench.sync()
    assert isinstance(sent, Send)
    execute = sent.message
    assert isinstance(execute, Execute)
    assert (sent.to, execute.permit_seq, execute.incarnation) == (FILES, 1, 1)
    assert is_sealed(permit.bytes_, bench.log[0].payloads[0].salt, execute.call)
    assert decode_call(execute.call).args == b'{"path":"a"}'
    bench.executed(spent_micros=5)
    outcome = bench.records(Kind.OUTCOME)[0]
    assert (outcome.ref, outcome.permit_seq, outcome.spent, outcome.effect) == (1, 1, 5, "done")
    assert bench.facts.ledger.purses[b"session" + SESSION] == Purse(5, 0)
    assert bench.answer == Outcome(
        proposal=1,
        content=b"ok",
        is_error=False,
        effect="done",
        unknown=False,
        first_party=False,
        permit_seq=1,
        booked=Booked(session=PurseLine("session", b"", 5, 0, RICH.session_micros), filled=()),
    )
    assert not bench.gate.pending
    assert record is not None


def test_the_permit_says_what_a_replay_needs() -> None:
    bench = Bench()
    bench.propose("read_file", tainted=True)
    bench.prepared()
    permit = bench.records(Kind.PERMIT)[0]
    tool = bench.facts.tools["box", "read_file"]
    assert (permit.host_kind, permit.host_id, permit.tool, permit.tooldef) == (
        "workspace",
        "main",
        "read_file",
        tool.tooldef,
    )
    assert (permit.principal, permit.workspace, permit.token) == (SESSION_KEY.public, WORKSPACE, STANDING.id)
    assert (permit.now_s, permit.policy, permit.epoch, permit.tainted) == (NOW, bench.facts.policy.digest, 1, True)
    assert [(row.block, row.micros) for row in permit.charges] == [(STANDING.id, 0)]


def test_the_answer_of_a_tool_is_first_party_only_if_its_installer_said_so() -> None:
    for name, first_party in (("read_file", True), ("write_file", False)):
        bench = Bench()
        bench.propose(name)
        bench.prepared()
        bench.sync()
        bench.executed()
        assert bench.answer.first_party is first_party


def test_a_tool_that_does_not_vouch_for_what_it_gives_is_not_believed() -> None:
    bench = Bench()
    bench.propose("read_file")
    bench.prepared()
    bench.sync()
    bench.executed(untrusted=True)
    assert not bench.answer.first_party


@pytest.mark.parametrize(
    ("name", "said", "kind", "chosen"),
    [
        ("read_file", {}, Kind.OUTCOME_VOUCHED, False),
        ("read_file", {"chosen": True}, Kind.OUTCOME_VOUCHED, True),
        ("read_file", {"untrusted": True}, Kind.OUTCOME, None),
        ("write_file", {"chosen": True}, Kind.OUTCOME, None),
    ],
)
def test_what_a_result_is_worth_is_recorded_with_its_outcome(
    name: str, said: dict[str, bool], kind: Kind, chosen: bool | None
) -> None:
    bench = Bench()
    bench.propose(name)
    bench.prepared()
    bench.sync()
    bench.executed(**said)
    assert bench.log[-1].kind is kind
    (outcome,) = bench.records(Kind.OUTCOME)
    assert getattr(outcome, "chosen", None) is chosen


def test_provisional_output_goes_to_who_asked() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    (sent,) = bench.progress()
    assert isinstance(sent, Send)
    assert (sent.to, sent.answers) == (PARENT, False)


def test_two_calls_have_different_salts_so_that_equal_results_do_not_look_equal() -> None:
    bench = Bench()
    for _ in range(2):
        bench.at(Stage.RUNNING)
        bench.executed()
    one, other = bench.records(Kind.OUTCOME)
    assert one.result.commitment != other.result.commitment


# --- the table: every stage, every event

REFUSED, DEFERRED, APPROVED, OUTCOME, SILENT, STAYS = "refused", "deferred", "approved", "outcome", "silent", "stays"
EVENTS: dict[str, Callable[[Bench, int], object]] = {
    "prepared, covered": lambda bench, ref: bench.prepared(ref),
    "prepared, not covered": lambda bench, ref: bench.prepared(ref, preparation("b", fresh=True)),
    "prepared, malformed": lambda bench, ref: bench.prepared(ref, preparation(needs=())),
    "prepared by another host": lambda bench, ref: bench.prepared(ref, sender=MODEL),
    "unprepared": lambda bench, ref: bench.unprepared(ref),
    "unprepared by another host": lambda bench, ref: bench.unprepared(ref, sender=MODEL),
    "durable": lambda bench, _: bench.sync(),
    "executed": lambda bench, ref: bench.executed(ref),
    "executed by another host": lambda bench, ref: bench.executed(ref, sender=MODEL),
    "executed under another permit": lambda bench, ref: bench.executed(ref, permit_seq=77),
    "progress": lambda bench, ref: bench.progress(ref),
    "progress of another host": lambda bench, ref: bench.progress(ref, sender=MODEL),
    "put, attended": lambda bench, ref: bench.put(ref),
    "put, nobody there": lambda bench, ref: bench.put(ref, attended=False),
    "not put": lambda bench, ref: bench.put(ref, code="approval.too-many"),
    "nobody came": lambda bench, ref: bench.defer(ref),
    "answered, yes": lambda bench, ref: bench.answered(ref),
    "answered, no": lambda bench, ref: bench.answered(ref, token=b"", said_no=True),
    "answered, too late": lambda bench, ref: bench.answered(ref, token=b""),
    "cancelled": lambda bench, _: bench.cancel(),
    "cancelled by another": lambda bench, _: bench.cancel(sender=CHILD),
    "principal gone": lambda bench, _: bench.gone(),
    "another principal gone": lambda bench, _: bench.gone(CHILD),
    "host gone": lambda bench, _: bench.do(bench.gate.host_gone(FILES)),
    "another host gone": lambda bench, _: bench.do(bench.gate.host_gone(MODEL)),
}
MOVES: dict[tuple[Stage, str], Stage | str] = {
    (Stage.PREPARING, "prepared, covered"): Stage.PERMITTING,
    (Stage.PREPARING, "prepared, not covered"): Stage.ASKING,
    (Stage.PREPARING, "prepared, malformed"): REFUSED,
    (Stage.PREPARING, "unprepared"): REFUSED,
    (Stage.PREPARING, "host gone"): REFUSED,
    (Stage.PERMITTING, "durable"): Stage.RUNNING,
    (Stage.RUNNING, "executed"): OUTCOME,
    (Stage.RUNNING, "host gone"): OUTCOME,
    (Stage.ASKING, "put, nobody there"): DEFERRED,
    (Stage.ASKING, "not put"): REFUSED,
    (Stage.ASKING, "nobody came"): DEFERRED,
    (Stage.ASKING, "answered, yes"): APPROVED,
    (Stage.ASKING, "answered, no"): REFUSED,
    (Stage.ASKING, "answered, too late"): REFUSED,
    (Stage.ASKING, "cancelled"): SILENT,
    (Stage.ASKING, "principal gone"): SILENT,
}
ENDS = {Refused: REFUSED, Deferred: DEFERRED, Approved: APPROVED, Outcome: OUTCOME}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("stage", list(Stage), ids=lambda stage: stage.value)
def test_every_event_moves_every_stage_as_the_table_says(stage: Stage, event: str) -> None:
    bench = Bench()
    ref = bench.at(stage).ref
    EVENTS[event](bench, ref)
    pending = bench.gate.pending.get(ref)
    if pending is None:
        bench.sync()  # its last words wait for their record
    ended = [ENDS[type(answer)] for answer in bench.answers()]
    expected = MOVES.get((stage, event), STAYS)
    if isinstance(expected, Stage) or expected == STAYS:
        assert ended == []
        assert pending is not None
        assert pending.stage is (stage if expected == STAYS else expected)
    else:
        assert pending is None
        assert ended == ([] if expected == SILENT else [expected])


# --- what is given up ends, and what it took is settled


@pytest.mark.parametrize("end", ["cancelled", "principal gone"])
def test_a_call_given_up_while_it_was_looked_at_ends_when_its_host_answers(end: str) -> None:
    for answer in (Bench.prepared, Bench.unprepared, lambda bench: bench.do(bench.gate.host_gone(FILES))):
        bench = Bench()
        bench.at(Stage.PREPARING)
        EVENTS[end](bench, bench.ref)
        answer(bench)
        bench.sync()
        assert not bench.gate.pending
        assert not bench.log
        assert not bench.answers()


@pytest.mark.parametrize("end", ["cancelled", "principal gone"])
def test_a_call_given_up_while_its_permit_was_written_does_not_run_and_gives_its_money_back(end: str) -> None:
    bench = Bench()
    bench.propose()
    bench.prepared(made=preparation(max_micros=9))
    EVENTS[end](bench, bench.ref)
    bench.sync()
    assert not bench.sent(Execute)
    assert not bench.answers()
    (outcome,) = bench.records(Kind.OUTCOME)
    assert (outcome.effect, outcome.spent) == ("none", 0)
    assert bench.facts.ledger.purses[b"session" + SESSION] == Purse(0, 0)


@pytest.mark.parametrize("end", ["cancelled", "principal gone"])
def test_a_call_given_up_while_it_ran_is_withdrawn_and_still_settled(end: str) -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    ref = bench.ref
    EVENTS[end](bench, ref)
    assert bench.sent(Withdraw) == [Withdraw(ref=ref)]
    assert not bench.progress(ref)
    bench.executed(ref, effect="maybe", spent_micros=3)
    assert [one.spent for one in bench.records(Kind.OUTCOME)] == [3]
    assert not bench.answers()
    assert not bench.gate.pending


def test_what_a_call_cost_that_was_given_up_is_told_when_that_is_durable() -> None:
    bench = Bench()
    bench.propose()
    bench.prepared(made=preparation(max_micros=3))
    bench.sync()
    ref = bench.ref
    bench.cancel(bench.proposals)
    bench.executed(ref, effect="maybe", spent_micros=4)
    assert not bench.sent(Booked)
    bench.sync()
    assert [told.session.spent for told in bench.sent(Booked)] == [4]


def test_a_call_that_is_free_tells_nothing_of_money() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    bench.executed(bench.ref)
    assert bench.answer.booked is None


def test_the_call_that_fills_a_purse_up_to_the_mark_says_so_and_none_after_it() -> None:
    bench = Bench(limits=Limits(100, 100, 1000, warn_at_percent=50))
    told: list[list[str]] = []
    for _ in range(3):
        bench.propose()
        bench.prepared(made=preparation(max_micros=30))
        bench.sync()
        bench.executed(spent_micros=30)
        told.append([purse.what for purse in bench.answers()[-1].booked.filled])
    assert told == [[], ["session"], []]


@pytest.mark.parametrize("end", ["cancelled", "principal gone"])
def test_a_question_that_nobody_waits_for_any_more_is_left(end: str) -> None:
    bench = Bench()
    bench.at(Stage.ASKING)
    ref = bench.ref
    EVENTS[end](bench, ref)
    assert bench.sent(Leave) == [Leave(ref=ref)]
    assert not bench.answers()


def test_only_the_named_proposal_is_given_up() -> None:
    bench = Bench()
    bench.propose()
    bench.propose()
    bench.cancel(1)
    assert [pending.cancelled for pending in bench.gate.pending.values()] == [True, False]


def test_a_principal_that_is_gone_proposes_no_more() -> None:
    bench = Bench()
    bench.gone()
    bench.propose()
    assert bench.answer.code == "gate.unknown-principal"


def test_a_dead_host_leaves_an_unknown_outcome_that_is_paid_in_full() -> None:
    bench = Bench()
    bench.propose()
    bench.prepared(made=preparation(max_micros=9))
    bench.sync()
    bench.do(bench.gate.host_gone(FILES))
    (outcome,) = bench.records(Kind.OUTCOME)
    assert (outcome.effect, outcome.unknown, outcome.spent) == ("maybe", True, 9)
    assert (bench.answer.unknown, bench.answer.is_error) == (True, True)
    assert not bench.executed(1)


def test_a_host_that_does_not_run_a_call_is_not_told_to_stop_it() -> None:
    for stage in (Stage.PREPARING, Stage.PERMITTING, Stage.ASKING):
        bench = Bench()
        bench.at(stage)
        bench.cancel()
        assert not bench.sent(Withdraw)


# --- whose word counts


def test_who_is_not_registered_is_refused_and_leaves_no_trace() -> None:
    bench = Bench()
    bench.propose(sender=STRANGER)
    (refused,) = bench.answers(STRANGER)
    assert (refused.layer, refused.code) == ("capability", "gate.unknown-principal")
    assert not bench.log
    assert not bench.gate.pending


@pytest.mark.parametrize("whose", ["the parent's token", "its own cut back to the parent's part"])
def test_a_child_cannot_present_what_is_the_parents(whose: str) -> None:
    """Threat 1.  Who someone is, is the stamp of who sent the message; no field of it says so."""
    bench = Bench(asks=False)
    narrow = pass_on(
        STANDING_DEEP, SESSION_KEY, holder=CHILD_KEY.public, grants=(Grant("file://w/open", READ, 0, 0, b""),)
    )
    presented = (STANDING_DEEP,) if whose == "the parent's token" else (narrow, STANDING_DEEP)
    bench.propose("read_file", *presented, sender=CHILD)
    bench.prepared(made=preparation("secret"))
    bench.sync()
    (refused,) = bench.answers(CHILD)
    assert refused.code == "token.possession"
    assert not bench.sent(Execute)


def test_a_principal_named_in_the_message_would_be_believed_by_a_gate_without_stamps() -> None:
    """The control removed: let the message say who sends it, and the child is the parent."""
    bench = Bench(asks=False)
    said_to_be = PARENT
    bench.propose("read_file", STANDING_DEEP, sender=said_to_be)
    bench.prepared(made=preparation("secret"))
    bench.sync()
    assert bench.sent(Execute)
    assert "sender" not in Prepared.__struct_fields__ + Executed.__struct_fields__
    assert "principal" not in gate_module.Propose.__struct_fields__


STANDING_DEEP = token(
    holder=SESSION_KEY.public, grants=(Grant("file://w/**", 0xFF, 0, 3, b""),), session=SESSION, scope=Scope.SESSION
)


def test_without_the_check_of_possession_the_child_reads_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    original = decide_module._refuse

    def lenient(one: Any, wanted: Any, around: Any) -> Any:
        mine = msgspec.structs.replace(one.leaf, holder=wanted.call.principal_key)
        return original(msgspec.structs.replace(one, blocks=(*one.blocks[:-1], mine)), wanted, around)

    monkeypatch.setattr(decide_module, "_refuse", lenient)
    bench = Bench(asks=False)
    bench.propose("read_file", STANDING_DEEP, sender=CHILD)
    bench.prepared(made=preparation("secret"))
    bench.sync()
    assert bench.sent(Execute)


def test_a_host_is_listened_to_about_its_own_calls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign host could otherwise say what a call needs, or that it ended and what it said."""
    for forge in (Bench.prepared, Bench.unprepared):
        bench = Bench()
        bench.at(Stage.PREPARING)
        assert forge(bench, sender=MODEL) == []
    bench = Bench()
    bench.at(Stage.RUNNING)
    assert bench.executed(sender=MODEL, content=b"lies") == []
    assert bench.progress(sender=MODEL) == []
    # The control removed: the check of who the host is.
    lenient = gate_module.Gate._at
    monkeypatch.setattr(gate_module.Gate, "_at", lambda self, ref, stage, **_: lenient(self, ref, stage))
    bench.executed(sender=MODEL, content=b"lies")
    assert bench.answer.content == b"lies"


def test_an_outcome_of_another_permit_is_not_this_call_s() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    assert bench.executed(permit_seq=2) == []
    assert bench.executed(permit_seq=1)


@pytest.mark.parametrize("ref", [0, 99])
def test_a_message_about_nothing_is_ignored(ref: int) -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    for late in (bench.prepared, bench.unprepared, bench.executed, bench.progress, bench.put, bench.defer):
        assert late(ref) == []
    assert bench.answered(ref, token=b"") == []
    assert bench.gate.pending[bench.ref].stage is Stage.RUNNING


# --- between permit and effect (threats 8, 15)


def revoke(bench: Bench, target: bytes) -> list[Any]:
    bench.facts.revoked.add(target)
    return bench.do(bench.gate.withdraw_revoked())


@pytest.mark.parametrize("target", [STANDING.id, USER.public, SESSION_KEY.public], ids=["token", "issuer", "holder"])
@pytest.mark.parametrize("stage", list(Stage), ids=lambda stage: stage.value)
def test_what_is_revoked_does_not_start_and_what_runs_is_withdrawn(stage: Stage, target: bytes) -> None:
    bench = Bench(asks=False) if stage is not Stage.ASKING else Bench()
    bench.at(stage)
    ref = bench.ref
    revoke(bench, target)
    match stage:
        case Stage.PREPARING:
            bench.prepared()
            bench.sync()
            assert bench.answer.code == "token.revoked"
        case Stage.PERMITTING:
            bench.sync()
            assert (bench.answer.code, bench.answer.layer) == ("token.revoked", "capability")
            assert [one.spent for one in bench.records(Kind.OUTCOME)] == [0]
        case Stage.RUNNING:
            assert bench.sent(Withdraw) == [Withdraw(ref=ref)]
        case Stage.ASKING:
            bench.answered(ref)
            bench.propose("read_file")
            bench.prepared()
            assert not bench.records(Kind.PERMIT)
    assert len(bench.sent(Execute)) == (stage is Stage.RUNNING)


def test_what_is_revoked_below_another_token_does_not_stop_the_others() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    assert revoke(bench, b"x" * 32) == []


HELD = (Stage.PERMITTING, Stage.RUNNING)
CHANGES: dict[str, tuple[Callable[[Bench], object], str]] = {
    "the token expires": (lambda bench: setattr(bench, "now_ns", (NOW + DAY) * SECOND), "token.expired"),
    "the log's time passes its end": (
        lambda bench: setattr(bench.facts, "durable_ns", (NOW + DAY) * SECOND),
        "token.expired",
    ),
    "the keys change": (
        lambda bench: setattr(bench.facts, "roots", msgspec.structs.replace(bench.facts.roots, keys={}, epoch=2)),
        "token.epoch",
    ),
    "the clock goes back": (lambda bench: setattr(bench.facts, "standing", False), "token.clock"),
    "the host restarts": (lambda bench: bench.restart(), "tool.changed"),
    "the definition changes": (
        lambda bench: bench.install(msgspec.structs.replace(TOOLS["read_file"][0], description=b"other"), FILES),
        "tool.changed",
    ),
    "the tool is taken away": (lambda bench: bench.facts.tools.clear(), "tool.changed"),
    "another host offers it": (lambda bench: bench.install(TOOLS["read_file"][0], MODEL), "tool.changed"),
    "the log cannot be written": (lambda bench: setattr(bench.gate, "suspended", "disk full"), "audit.suspended"),
    "the clock jumps": (lambda bench: setattr(bench.gate, "clock_trouble", "a day ahead"), "audit.suspended"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_while_the_permit_was_written_stops_the_call_and_returns_the_money(change: str) -> None:
    bench = Bench()
    bench.propose()
    bench.prepared(made=preparation(max_micros=9))
    happens, code = CHANGES[change]
    happens(bench)
    bench.sync()
    assert not bench.sent(Execute)
    assert bench.answer.code == code
    assert bench.facts.ledger.purses[b"session" + SESSION] == Purse(0, 0)
    (outcome,) = bench.records(Kind.OUTCOME)
    assert (outcome.effect, outcome.spent, outcome.is_error) == ("none", 0, True)


@pytest.mark.parametrize("change", [one for one in CHANGES if CHANGES[one][1].startswith("token.")])
@pytest.mark.parametrize("stage", list(Stage), ids=lambda stage: stage.value)
def test_at_whatever_stage_a_token_ends_nothing_new_starts_on_it(stage: Stage, change: str) -> None:
    bench = Bench()
    bench.at(stage)
    running = len(bench.sent(Execute))
    CHANGES[change][0](bench)
    match stage:
        case Stage.PREPARING:
            bench.prepared()
        case Stage.PERMITTING:
            bench.sync()
        case Stage.RUNNING:
            bench.executed()  # what runs is not cut off by time; only a person's revocation does that
        case Stage.ASKING:
            bench.answered()
            bench.propose()
            bench.prepared()
    bench.sync()
    assert len(bench.sent(Execute)) == running
    assert len(bench.records(Kind.PERMIT)) == len(bench.records(Kind.OUTCOME)) == (stage in HELD)


@pytest.mark.parametrize("change", [one for one in CHANGES if CHANGES[one][1] != "audit.suspended"])
def test_without_the_second_look_it_would_have_run(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "stale", lambda *_: None)
    bench = Bench()
    bench.propose()
    bench.prepared()
    CHANGES[change][0](bench)
    bench.sync()
    assert bench.sent(Execute)


def test_execute_names_the_start_of_the_host_that_was_decided_on() -> None:
    bench = Bench()
    bench.restart()
    bench.at(Stage.RUNNING)
    (execute,) = bench.sent(Execute)
    assert execute.incarnation == 2


# --- a gate that cannot record


@pytest.mark.parametrize("trouble", ["suspended", "clock_trouble"])
def test_nothing_is_proposed_decided_or_recorded_while_the_gate_is_in_trouble(trouble: str) -> None:
    bench = Bench()
    bench.at(Stage.PREPARING)
    setattr(bench.gate, trouble, "the disk is full")
    bench.prepared()
    bench.propose()
    assert not bench.log
    assert [(one.layer, one.code, one.reason) for one in bench.answers()] == [
        ("audit", "audit.suspended", "the disk is full")
    ] * 2
    assert not bench.gate.pending
    setattr(bench.gate, trouble, "")
    bench.at(Stage.RUNNING)


def test_what_runs_while_the_log_fails_is_still_settled() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    bench.gate.suspended = "the disk is full"
    bench.executed()
    assert bench.records(Kind.OUTCOME)
    assert isinstance(bench.answer, Outcome)


# --- time


def test_the_gate_s_time_never_falls_behind_the_log() -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    bench.now_ns -= 3600 * SECOND
    assert bench.facts.time_s(bench.now_ns) == NOW
    bench.executed()
    bench.sync()
    assert bench.facts.durable_ns == NOW * SECOND


def test_while_the_clock_is_back_a_person_is_asked_and_only_their_yes_runs_a_call() -> None:
    """Threat 31."""
    bench = Bench()
    bench.facts.standing = False
    bench.propose()
    bench.prepared()
    (asked,) = bench.sent(Ask)
    raw = bench.say_yes(asked.question, bench.ref)
    bench.propose("read_file", STANDING, raw)
    bench.prepared()
    bench.sync()
    assert bench.sent(Execute)


# --- denials


def test_a_denial_is_recorded_before_it_is_answered_and_nothing_runs_after_it() -> None:
    bench = Bench(rules=policy(config(denied_paths=("/w",))))
    bench.propose()
    bench.prepared()
    assert not bench.answers()
    bench.sync()
    (denied,) = bench.records(Kind.DENIED)
    assert (denied.layer, denied.code, denied.ref) == ("policy", "policy.path", 1)
    assert (bench.answer.layer, bench.answer.code) == ("policy", "policy.path")
    for late in (bench.prepared(1), bench.executed(1), bench.progress(1), bench.sync()):
        assert late == []


def test_a_denial_of_what_never_became_a_call_says_so() -> None:
    bench = Bench()
    bench.propose("nonsense")
    bench.sync()
    (denied,) = bench.records(Kind.DENIED)
    assert (denied.tool, denied.host_kind, denied.code) == ("", "", "tool.unknown")
    assert bench.answer.layer == "tool"


def test_what_a_host_refuses_to_prepare_is_told_as_it_said() -> None:
    bench = Bench()
    bench.propose()
    bench.unprepared(layer="input", code="tool.arguments", reason="why", advice="how")
    bench.sync()
    refused = bench.answer
    assert (refused.layer, refused.code, refused.reason, refused.advice) == ("input", "tool.arguments", "why", "how")


def test_too_many_calls_of_one_principal_leave_room_for_another() -> None:
    bench = Bench()
    for _ in range(MAX_PENDING_PER_PRINCIPAL):
        bench.propose()
    bench.propose()
    bench.sync()
    assert bench.answer.code == "gate.too-many"
    bench.propose(sender=CHILD)
    assert not bench.answers(CHILD)
    bench.cancel(1)
    bench.propose()
    assert len(bench.records(Kind.DENIED)) == 2  # giving up frees no place before the host has answered
    bench.prepared(1)
    bench.propose()
    assert len(bench.records(Kind.DENIED)) == 2


def test_too_many_tokens_are_refused_before_they_are_looked_at() -> None:
    bench = Bench()
    bench.propose("read_file", *([b"junk"] * (MAX_TOKENS_PER_PROPOSAL + 1)))
    bench.sync()
    assert bench.answer.code == "gate.too-many"


BAD = {"malformed": b"junk", "cut": STANDING.raw[:-1], "altered": STANDING.raw[:-1] + b"\0", "too long": b"x" * 20_000}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_token_that_does_not_verify_covers_nothing_and_is_told(bad: bytes) -> None:
    bench = Bench(asks=False)
    bench.propose("read_file", bad)
    bench.prepared()
    bench.sync()
    assert (bench.answer.layer, bench.answer.code.partition(".")[0]) == ("capability", "token")
    assert [one.count for one in bench.records(Kind.COALESCED)] == [1]
    assert bench.records(Kind.COALESCED)[0].code == bench.answer.code


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("first", [False, True])
def test_a_token_that_does_not_verify_spoils_nothing_that_is_presented_beside_it(bad: bytes, first: bool) -> None:
    """If it did, leaving it away would permit."""
    bench = Bench()
    bench.propose("read_file", *((bad, STANDING) if first else (STANDING, bad)))
    bench.prepared()
    bench.sync()
    assert len(bench.sent(Execute)) == 1
    assert [(made.kind, made.session) for made in bench.log] == [(Kind.COALESCED, SESSION), (Kind.PERMIT, SESSION)]


def test_a_person_who_is_asked_learns_that_a_token_did_not_verify() -> None:
    bench = Bench()
    bench.propose("read_file", b"junk", token(holder=SESSION_KEY.public, grants=(Grant("file://v/**", 1, 0, 3, b""),)))
    bench.prepared()
    question, _ = decode_question(bench.sent(Ask)[0].question)
    assert question.why == b"a token that was presented does not verify"


def test_an_overlong_call_is_an_input_error_whatever_its_tokens_are() -> None:
    bench = Bench()
    bench.propose("read_file", b"junk")
    bench.prepared(made=preparation(cwd_rel="\u00e9"))
    bench.sync()
    assert bench.answer.layer == "input"


def test_a_call_that_is_given_up_again_and_again_is_withdrawn_once() -> None:
    """Else one session could fill the mailbox of a host that serves others."""
    bench = Bench()
    bench.at(Stage.RUNNING)
    for _ in range(50):
        bench.cancel()
    bench.gone()
    assert len(bench.sent(Withdraw)) == 1


def test_where_nobody_may_be_asked_what_is_not_covered_is_denied() -> None:
    bench = Bench(asks=False)
    bench.propose("read_file")
    bench.prepared(made=preparation("a", 0x80, risk=3, needs=(Need("file://v/a", READ),)))
    bench.sync()
    assert (bench.answer.layer, bench.answer.code) == ("capability", "token.resource")
    assert not bench.sent(Ask)


def test_as_many_tokens_as_are_allowed_are_looked_at() -> None:
    bench = Bench()
    bench.propose("read_file", *[STANDING] * MAX_TOKENS_PER_PROPOSAL)
    assert bench.sent(Prepare)


def test_a_tool_of_another_toolbox_does_not_exist() -> None:
    bench = Bench()
    made: ToolSpec = TOOLS["read_file"][0]
    other = msgspec.structs.replace(bench.facts.tools["box", "read_file"], toolbox="other")
    bench.facts.tools = {("other", made.name): other}
    bench.propose("read_file")
    bench.sync()
    assert bench.answer.code == "tool.unknown"


# --- money (threat 23)

PAID: list[tuple[str, int, str, int, int, bool]] = [
    # tool, host, effect, what the host says it cost, what is booked of 100 reserved, whether every purse holds
    ("model", MODEL, "done", 30, 30, True),
    ("model", MODEL, "done", 100, 100, True),
    ("model", MODEL, "done", 1000, 1000, False),
    ("model", MODEL, "maybe", 0, 100, True),
    ("model", MODEL, "none", 0, 0, True),
    ("read_file", FILES, "done", 0, 100, True),
    ("read_file", FILES, "maybe", 30, 100, True),
    ("read_file", FILES, "done", 1000, 1000, False),
    ("read_file", FILES, "none", 0, 0, True),
    ("read_file", FILES, "none", 7, 7, True),
    ("read_file", FILES, "done", -5, 100, True),
    ("model", MODEL, "done", -5, 0, True),
    ("model", MODEL, "done", 10**30, MAX_U64, False),
]


@pytest.mark.parametrize(("tool", "host", "effect", "said", "booked", "sound"), PAID)
def test_what_is_booked_is_the_true_figure_and_a_callee_never_lowers_it(
    tool: str, host: int, effect: str, said: int, booked: int, sound: bool
) -> None:
    bench = Bench(limits=Limits(500, 500, 500))
    needs = (Need("model://p/m", 16),) if tool == "model" else (Need("file://w/a", READ),)
    bench.propose(tool)
    bench.prepared(made=preparation(needs=needs, max_micros=100), sender=host)
    bench.sync()
    bench.executed(sender=host, effect=effect, spent_micros=said)
    (outcome,) = bench.records(Kind.OUTCOME)
    assert (outcome.spent, outcome.sound) == (booked, sound)
    assert bench.facts.ledger.purses[b"session" + SESSION] == Purse(booked, 0)


def test_a_result_that_is_too_long_to_be_kept_is_an_error_and_paid_for() -> None:
    """The log's writer would end with it."""
    bench = Bench()
    bench.propose()
    bench.prepared(made=preparation(max_micros=9))
    bench.sync()
    bench.executed(content=b"x" * (MAX_RESULT_BYTES + 1), spent_micros=9)
    assert (bench.answer.is_error, bench.answer.effect, bench.answer.content[:13]) == (True, "done", b"tool.too-long")
    assert max(len(one.data) for made in bench.log for one in made.payloads) < 1000
    assert bench.facts.ledger.purses[b"session" + SESSION] == Purse(9, 0)


def test_two_proposals_under_one_number_are_two_calls_with_a_permit_and_an_end_each() -> None:
    """The number is the principal's own affair; it names nothing in the gate."""
    bench = Bench()
    bench.propose(proposal=7)
    bench.propose(proposal=7)
    bench.prepared(1)
    bench.prepared(2)
    bench.sync()
    bench.executed(1, permit_seq=2)
    assert bench.answers() == []
    bench.executed(1)
    bench.executed(1)
    bench.cancel(7)
    assert bench.progress(2) == []
    bench.executed(2)
    assert [one.permit_seq for one in bench.answers()] == [1]
    assert len(bench.records(Kind.PERMIT)) == len(bench.records(Kind.OUTCOME)) == len(bench.sent(Execute)) == 2


def test_a_once_token_under_one_number_is_used_once() -> None:
    bench = Bench()
    bench.at(Stage.ASKING)
    raw = bench.say_yes(bench.sent(Ask)[0].question, bench.ref)
    for _ in range(3):
        bench.propose("read_file", raw, proposal=1)
        bench.prepared(made=preparation(fresh=True, why="a person has to see it"))
    bench.sync()
    assert len(bench.sent(Execute)) == 1


@pytest.mark.parametrize("end", [Bench.cancel, Bench.gone], ids=["cancelled", "gone"])
def test_whoever_gave_up_hears_nothing_of_what_still_runs(end: Callable[[Bench], object]) -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    end(bench)
    before = len(bench.effects)
    bench.progress()
    bench.executed()
    assert [type(one) for one in bench.effects[before:]] == [Record]


def test_an_overrun_freezes_the_session() -> None:
    bench = Bench(limits=Limits(500, 500, 500))
    bench.propose()
    bench.prepared(made=preparation(max_micros=100))
    bench.sync()
    bench.executed(spent_micros=501)
    bench.propose()
    bench.prepared()
    bench.sync()
    assert bench.answers()[-1].code == "budget.frozen"


def test_a_once_token_is_consumed_with_the_permit_and_not_given_back() -> None:
    bench = Bench()
    bench.at(Stage.ASKING)
    ref = bench.ref
    once = bench.say_yes(bench.sent(Ask)[0].question, ref)
    for _ in range(2):
        bench.propose("read_file", once)
        bench.prepared(made=preparation(fresh=True, why="a person has to see it"))
    permits = bench.records(Kind.PERMIT)
    assert len(permits) == 1
    assert len(bench.sent(Ask)) == 2  # the second time a person is asked again
    bench.sync()
    bench.executed(effect="none")
    bench.propose("read_file", once)
    bench.prepared(made=preparation(fresh=True, why="a person has to see it"))
    assert len(bench.records(Kind.PERMIT)) == 1


def siblings_with_one_use_between_them(bench: Bench) -> int:
    """The parent uses its token, then hands it on to the child, which uses it; how many permits there are."""
    parent = token(uses=1, holder=SESSION_KEY.public, session=SESSION, scope=Scope.SESSION)
    child = pass_on(parent, SESSION_KEY, holder=CHILD_KEY.public)
    bench.propose("read_file", parent)
    bench.prepared()
    bench.propose("read_file", child, sender=CHILD)
    bench.prepared()
    return len(bench.records(Kind.PERMIT))


def test_a_use_is_a_use_of_every_block_so_that_handing_a_token_on_multiplies_nothing() -> None:
    assert siblings_with_one_use_between_them(Bench()) == 1


def test_uses_counted_by_chain_would_be_multiplied_by_handing_the_token_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threats 2 and 3.  The control removed: a chain is charged as a whole, under the id of its end."""
    original = decide_module.charge_of

    def by_chain(*arguments: Any) -> Any:
        charge = original(*arguments)
        return msgspec.structs.replace(charge, uses=charge.uses[-1:])

    monkeypatch.setattr(decide_module, "charge_of", by_chain)
    assert siblings_with_one_use_between_them(Bench()) == 2
