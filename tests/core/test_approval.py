"""Questions to people: put when durable, joined when equal, answered once, and never a flood (threats 17, 25, 39)."""

from __future__ import annotations

from typing import Any

import pytest

from astrid.core.approval import (
    MAX_ASKED_BYTES,
    MAX_DENIALS,
    MAX_OPEN,
    MAX_OPEN_PER_SESSION,
    NOBODY,
    Approvals,
    Effect,
    Joined,
    Notify,
    Record,
    Refuse,
    Resolve,
    Stage,
    Verdict,
)
from astrid.core.blocks import Scope
from astrid.core.call import Need
from astrid.core.canon import decode
from astrid.core.grants import session_block
from astrid.core.records import MAX_BODY_BYTES, AskedRecord, Kind, SettledRecord, is_sealed
from astrid.core.tokens import Roots, attenuate, check_live, verify_chain
from astrid.errors import AstridError, TokenError
from tests.fakes.authority import (
    HOLDER,
    NOW,
    ROOTS,
    SALT,
    SESSION,
    SESSION_KEY,
    STRANGER,
    USER,
    ask,
    call,
    moment,
    no,
    yes,
)

OTHER_SESSION = b"X" * 16


def approvals() -> Approvals:
    return Approvals(roots=ROOTS, keeper=HOLDER.public)


def asked(number: int, **fields: Any) -> bytes:
    """A question like no other, about file ``number``."""
    fields = {"needs": (Need(f"file://w/{number}", 2),)} | fields
    return ask(call(**fields), qid=number.to_bytes(16, "big"))


def opened(machine: Approvals, raw: bytes, ref: int = 1) -> bytes:
    """Put a question and let its record become durable; its id."""
    (record,) = machine.put(ref, raw, SALT)
    assert isinstance(record, Record)
    machine.recorded(record.qid)
    return record.qid


def settled(machine: Approvals, effects: list[Effect]) -> Resolve:
    """Let the record of an end become durable; what follows."""
    (record,) = effects
    assert isinstance(record, Record)
    (end,) = machine.recorded(record.qid)
    assert isinstance(end, Resolve)
    return end


def answered(machine: Approvals, raw: bytes) -> Resolve:
    return settled(machine, machine.answer(raw, now_s=NOW, salt=SALT))


def code_of(machine: Approvals, raw: bytes, now_s: int = NOW) -> str:
    with pytest.raises(TokenError) as refused:
        machine.answer(raw, now_s=now_s, salt=SALT)
    return refused.value.code


# --- put


def test_a_question_is_recorded_before_anybody_is_told() -> None:
    machine = approvals()
    raw = ask()
    (record,) = machine.put(7, raw, SALT)
    assert isinstance(record, Record)
    assert (record.entry.kind, record.entry.session, record.entry.checkpoint) == (Kind.ASKED, SESSION, False)
    assert [payload.data for payload in record.entry.payloads] == [raw]
    body = decode(record.entry.body, AskedRecord, max_bytes=MAX_BODY_BYTES, what="a body")
    assert (body.ref, body.qid) == (7, record.qid)
    assert is_sealed(body.body, SALT, raw)
    assert machine.waiting() == []
    assert machine.recorded(record.qid) == [Notify(record.qid, raw, (7,))]
    assert [qid for qid, _ in machine.waiting()] == [record.qid]


def test_a_question_whose_record_is_not_durable_cannot_be_answered_and_does_not_expire() -> None:
    machine = approvals()
    machine.put(1, ask(), SALT)
    assert code_of(machine, yes(ask())) == "approval.settled"
    assert machine.expire(now_s=NOW + 10**6, salt=SALT) == []


def test_an_equal_question_joins_the_open_one() -> None:
    machine = approvals()
    qid = opened(machine, ask())
    assert machine.put(2, ask(qid=b"r" * 16), SALT) == [Joined(2, qid)]
    assert answered(machine, yes(ask())).refs == (1, 2)


def test_an_equal_question_that_is_still_being_put_is_announced_with_it() -> None:
    machine = approvals()
    (record,) = machine.put(1, ask(), SALT)
    assert isinstance(record, Record)
    assert machine.put(2, ask(qid=b"r" * 16), SALT) == []
    assert machine.recorded(record.qid) == [Notify(record.qid, ask(), (1, 2))]


def test_an_equal_question_is_asked_anew_while_the_first_is_being_settled() -> None:
    machine = approvals()
    opened(machine, ask())
    machine.answer(yes(ask()), now_s=NOW, salt=SALT)
    (record,) = machine.put(2, ask(qid=b"r" * 16), SALT)
    assert isinstance(record, Record)


def test_the_same_wish_of_another_session_is_another_question() -> None:
    machine = approvals()
    opened(machine, ask())
    (record,) = machine.put(2, ask(call(session=OTHER_SESSION), qid=b"r" * 16), SALT)
    assert isinstance(record, Record)


def test_a_question_that_does_not_hold_together_is_an_error_and_changes_nothing() -> None:
    machine = approvals()
    for raw in (b"", b"\xc0", ask() + b"\0", ask(strong=True)):
        with pytest.raises(AstridError):
            machine.put(1, raw, SALT)
    assert machine.open == {}


def test_a_question_that_nobody_can_read_is_not_put() -> None:
    machine = approvals()
    room = MAX_ASKED_BYTES - len(ask(call(args=b"x" * 70_000))) + 70_000
    (refusal,) = machine.put(1, ask(call(args=b"x" * (room + 1))), SALT)
    assert isinstance(refusal, Refuse)
    assert refusal.code == "approval.unreadable"
    assert machine.open == {}
    opened(machine, ask(call(args=b"x" * room)))


def test_a_question_that_nobody_can_say_yes_to_is_not_put() -> None:
    machine = approvals()
    (refusal,) = machine.put(1, ask(call(needs=(Need(f"file://w/{'x' * 4000}", 2),))), SALT)
    assert isinstance(refusal, Refuse)
    assert refusal.code == "approval.too-wide"


def test_an_id_is_not_given_to_two_questions() -> None:
    machine = approvals()
    opened(machine, ask())
    (refusal,) = machine.put(2, ask(call(args=b"{}")), SALT)
    assert isinstance(refusal, Refuse)
    assert refusal.code == "approval.same-id"
    assert answered(machine, yes(ask())).refs == (1,)


# --- floods (threat 39)


def test_the_limits_are_those_of_the_design() -> None:
    assert (MAX_OPEN_PER_SESSION, MAX_DENIALS) == (3, 2)


def test_a_session_has_at_most_three_open_questions_and_none_is_evicted() -> None:
    machine = approvals()
    for number in range(MAX_OPEN_PER_SESSION):
        opened(machine, asked(number), number)
    before = dict(machine.open)
    for number in range(100, 200):
        (refusal,) = machine.put(number, asked(number), SALT)
        assert isinstance(refusal, Refuse)
        assert (refusal.ref, refusal.code) == (number, "approval.too-many")
    assert machine.open == before


def test_a_full_session_does_not_stop_another_nor_a_question_that_is_open_already() -> None:
    machine = approvals()
    for number in range(MAX_OPEN_PER_SESSION):
        opened(machine, asked(number), number)
    (joined,) = machine.put(9, asked(0), SALT)
    assert isinstance(joined, Joined)
    (record,) = machine.put(10, asked(10, session=OTHER_SESSION), SALT)
    assert isinstance(record, Record)


def test_all_sessions_together_have_a_bounded_number_of_open_questions() -> None:
    machine = approvals()
    for number in range(MAX_OPEN):
        opened(machine, asked(number, session=(number // 3).to_bytes(16, "big")), number)
    (refusal,) = machine.put(MAX_OPEN, asked(MAX_OPEN, session=b"Y" * 16), SALT)
    assert isinstance(refusal, Refuse)
    assert refusal.code == "approval.too-many"


def deny(machine: Approvals, number: int, **fields: Any) -> None:
    raw = asked(number, **fields)
    opened(machine, raw, number)
    assert answered(machine, no(raw, qid=number.to_bytes(16, "big"))).verdict is Verdict.DENY


def test_after_two_denials_of_a_tool_a_session_no_longer_asks_for_it() -> None:
    machine = approvals()
    for number in range(MAX_DENIALS):
        deny(machine, number)
    (refusal,) = machine.put(5, asked(5), SALT)
    assert isinstance(refusal, Refuse)
    assert refusal.code == "approval.said-no"
    for other in ({"tool": "another"}, {"session": OTHER_SESSION}):
        number = 6 + len(machine.open)
        (record,) = machine.put(number, asked(number, **other), SALT)
        assert isinstance(record, Record)


def test_what_runs_out_or_is_granted_is_no_denial() -> None:
    machine = approvals()
    for number in range(4):
        raw = asked(number)
        opened(machine, raw, number)
        if number % 2:
            settled(machine, machine.expire(now_s=NOW + 300, salt=SALT))
        else:
            answered(machine, yes(raw, qid=number.to_bytes(16, "big")))
    opened(machine, asked(9), 9)


def test_denials_outlive_a_restart_and_are_forgotten_with_their_session() -> None:
    machine = approvals()
    for session in (SESSION, OTHER_SESSION):
        for _ in range(MAX_DENIALS):
            machine.denied(session, "write_file")
    machine.forget(SESSION)
    opened(machine, asked(1))
    (refusal,) = machine.put(2, asked(2, session=OTHER_SESSION), SALT)
    assert isinstance(refusal, Refuse)


# --- answers


@pytest.mark.parametrize("scope", Scope)
def test_a_yes_is_recorded_and_then_makes_its_token(scope: Scope) -> None:
    machine = approvals()
    qid = opened(machine, ask(), 7)
    raw = yes(ask(), scope)
    effects = machine.answer(raw, now_s=NOW, salt=SALT)
    (record,) = effects
    assert isinstance(record, Record)
    assert (record.entry.kind, record.entry.session, record.entry.checkpoint) == (Kind.SETTLED, SESSION, True)
    assert [payload.data for payload in record.entry.payloads] == [raw]
    body = decode(record.entry.body, SettledRecord, max_bytes=MAX_BODY_BYTES, what="a body")
    end = settled(machine, effects)
    token = verify_chain(end.token, ROOTS)
    assert (body.block, body.signer, body.decision, body.reason) == (
        token.id,
        USER.public,
        scope + 1,
        scope.name.lower(),
    )
    assert end == Resolve(qid, SESSION, (7,), Verdict(scope + 1), end.token, token.id)
    assert machine.open == {}


@pytest.mark.parametrize("scope", [Scope.WORKSPACE, Scope.ALWAYS])
def test_a_standing_yes_reaches_the_session_through_the_daemon_and_lives_by_the_log(scope: Scope) -> None:
    machine = approvals()
    opened(machine, ask())
    end = answered(machine, yes(ask(), scope))
    kept = verify_chain(end.token, ROOTS)
    share = session_block(
        kept.leaf, kept.id, holder=SESSION_KEY.public, session=SESSION, purse_micros=0, nonce=b"m" * 16
    )
    handed_on = verify_chain(attenuate(kept, share, HOLDER), ROOTS)
    assert check_live(handed_on, moment(settled={end.block})) is None
    unsettled = check_live(handed_on, moment())
    assert unsettled is not None
    assert unsettled.code == "token.unsettled"
    revoked = check_live(handed_on, moment(settled={end.block}, revoked={end.block}))
    assert revoked is not None
    assert revoked.code == "token.revoked"


def test_a_no_is_recorded_and_makes_nothing() -> None:
    machine = approvals()
    qid = opened(machine, ask())
    end = answered(machine, no(ask()))
    assert end == Resolve(qid, SESSION, (1,), Verdict.DENY, b"", NOBODY)


def test_of_two_answers_one_counts() -> None:  # threat 17
    machine = approvals()
    opened(machine, ask())
    effects = machine.answer(yes(ask(), Scope.ONCE), now_s=NOW, salt=SALT)
    for late in (yes(ask(), Scope.SESSION), no(ask()), yes(ask(), Scope.ONCE)):
        assert code_of(machine, late) == "approval.settled"
    assert settled(machine, effects).verdict is Verdict.ONCE
    assert code_of(machine, no(ask())) == "approval.settled"


def test_an_answer_that_is_refused_changes_nothing() -> None:
    machine = approvals()
    opened(machine, ask())
    before = dict(machine.open)
    for raw in (b"", yes(ask(), shown=b"x" * 32), no(ask(), signer=STRANGER.public), no(ask(), qid=b"x" * 16)):
        code_of(machine, raw)
    assert machine.open == before
    assert answered(machine, no(ask())).verdict is Verdict.DENY


def test_refused_denials_do_not_silence_a_tool() -> None:
    machine = approvals()
    opened(machine, ask())
    for _ in range(5):
        code_of(machine, no(ask(), shown=b"x" * 32))
    answered(machine, yes(ask()))
    opened(machine, asked(2), 2)


def test_an_answer_comes_too_late_when_the_time_is_over() -> None:
    machine = approvals()
    opened(machine, ask())
    assert code_of(machine, yes(ask()), now_s=NOW + 300) == "approval.expired"
    machine.answer(yes(ask()), now_s=NOW + 299, salt=SALT)


def test_a_key_that_is_no_longer_of_this_install_answers_nothing() -> None:
    machine = approvals()
    opened(machine, ask())
    machine.roots = Roots({}, 2)
    assert code_of(machine, yes(ask())) == "approval.signer"


# --- ends without an answer


def test_a_question_ends_when_its_time_is_over() -> None:
    machine = approvals()
    qid = opened(machine, ask())
    assert machine.expire(now_s=NOW + 299, salt=SALT) == []
    (record,) = machine.expire(now_s=NOW + 300, salt=SALT)
    assert isinstance(record, Record)
    body = decode(record.entry.body, SettledRecord, max_bytes=MAX_BODY_BYTES, what="a body")
    assert (body.decision, body.signer, body.assurance) == (0, NOBODY, 0)
    assert (body.reason, body.block) == ("expired", NOBODY)
    assert machine.expire(now_s=NOW + 300, salt=SALT) == []
    assert machine.recorded(qid) == [Resolve(qid, SESSION, (1,), None, b"", NOBODY)]


def test_a_proposal_that_leaves_is_not_told_and_the_question_stays() -> None:
    machine = approvals()
    opened(machine, ask(), 1)
    opened(machine, asked(2), 5)
    machine.put(2, ask(qid=b"r" * 16), SALT)
    machine.leave(1)
    machine.leave(99)
    assert answered(machine, yes(ask())).refs == (2,)


def test_a_proposal_that_leaves_while_the_answer_is_recorded_is_not_told() -> None:
    machine = approvals()
    opened(machine, ask(), 1)
    effects = machine.answer(yes(ask()), now_s=NOW, salt=SALT)
    machine.leave(1)
    assert settled(machine, effects).refs == ()


# --- after a restart


def test_an_open_question_can_be_answered_after_a_restart() -> None:
    machine = approvals()
    assert machine.restore(ask(), now_s=NOW)
    assert [(one.stage, one.refs) for _, one in machine.waiting()] == [(Stage.OPEN, ())]
    assert answered(machine, yes(ask())).refs == ()


def test_an_equal_question_joins_a_restored_one() -> None:
    machine = approvals()
    machine.restore(ask(), now_s=NOW)
    assert machine.put(3, ask(qid=b"r" * 16), SALT) == [Joined(3, b"q" * 16)]


def test_a_question_whose_time_ran_out_meanwhile_ends_in_the_log_too() -> None:
    machine = approvals()
    assert not machine.restore(ask(), now_s=NOW + 300)
    assert code_of(machine, yes(ask()), now_s=NOW + 300) == "approval.expired"
    assert settled(machine, machine.expire(now_s=NOW + 300, salt=SALT)).verdict is None


def test_restored_questions_count_for_their_session() -> None:
    machine = approvals()
    for number in range(MAX_OPEN_PER_SESSION):
        machine.restore(asked(number), now_s=NOW)
    (refusal,) = machine.put(9, asked(9), SALT)
    assert isinstance(refusal, Refuse)
