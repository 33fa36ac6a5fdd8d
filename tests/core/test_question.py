"""What each answer would authorise follows from the call that is asked about, and from nothing else."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.blocks import UNLIMITED_MICROS, UNLIMITED_USES, Assurance, Block, Grant, Scope, check_block
from astrid.core.call import Call, Need, call_digest
from astrid.core.canon import Domain, digest
from astrid.core.grants import MAX_GRANT_SECONDS
from astrid.core.question import (
    CLOCK_SECONDS,
    DEFERRED_SECONDS,
    MAX_QUESTION_BYTES,
    SESSION_SECONDS,
    Choice,
    Control,
    answer_block,
    check_asked,
    choices_for,
    decode_question,
    fits_a_block,
    question_bytes,
    question_digest,
    under,
)
from astrid.core.risk import Risk
from astrid.core.tokens import attenuate, issue, verify_chain
from astrid.errors import AstridError, CanonError, TokenError
from tests.fakes.authority import (
    DEVICE_KEY,
    FOREVER,
    HOLDER,
    NOW,
    RELAY_KEY,
    ROOTS,
    SESSION,
    SESSION_KEY,
    USER,
    WORKSPACE,
    WRITE,
    ask,
    call,
    device_token,
    question,
)

MODEST = settings(max_examples=80, deadline=None)


def refused(raw: bytes) -> str:
    with pytest.raises(AstridError) as error:
        decode_question(raw)
    return error.value.code


def answer(raw: bytes, scope: Scope, assurance: Assurance = Assurance.SEALED) -> Block:
    return answer_block(raw, scope, issuer=USER.public, assurance=assurance, keeper=HOLDER.public, nonce=b"z" * 16)


# --- the question itself


def test_a_question_is_read_with_the_call_inside_it() -> None:
    assert decode_question(ask()) == (question(), call())
    assert question_digest(ask()) == digest(Domain.QUESTION, ask())


WIDER = Grant("file://w/**", WRITE, 0, 1, b"T" * 32)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("question.mismatch", {"version": 2}),
        ("question.mismatch", {"aud": b"B" * 32}),
        ("question.mismatch", {"strong": True}),
        ("question.time", {"asked": NOW + 301, "expires": NOW + 300}),
        ("question.time", {"expires": NOW + DEFERRED_SECONDS + 1}),
        ("question.choices", {"choices": ()}),
        ("question.choices", {"choices": (Choice(Scope.ONCE, (WIDER,), NOW + 300, 1, 0),)}),
        ("question.choices", {"choices": choices_for(call(), 1, NOW, NOW + 300, once_only=True)}),
        ("question.choices", {"choices": choices_for(call(), 2, NOW, NOW + 300, once_only=False)}),
        ("question.choices", {"choices": choices_for(call(), 1, NOW + 1, NOW + 300, once_only=False)}),
        ("question.choices", {"choices": choices_for(call(max_micros=1), 1, NOW, NOW + 300, once_only=False)}),
        ("canon.malformed", {"call": b"\xc0"}),
        ("call.version", {"call": ask()[:0] + bytes.fromhex("dc0012") + b"\x02" + question().call[4:]}),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
def test_a_question_that_does_not_follow_from_its_call_is_refused(code: str, changes: dict[str, Any]) -> None:
    assert refused(question_bytes(question(**changes))) == code


@pytest.mark.parametrize("seconds", [0, DEFERRED_SECONDS])
def test_a_question_is_open_for_no_time_or_for_up_to_a_week(seconds: int) -> None:
    assert decode_question(ask(expires=NOW + seconds))[0].expires == NOW + seconds


def test_a_question_never_states_a_lower_risk_than_its_call() -> None:
    assert refused(ask(call(risk=Risk.HIGH), risk=Risk.MEDIUM)) == "question.mismatch"


@pytest.mark.parametrize("raw", [b"", b"\xc0", ask() + b"\0", ask()[:-1], b"\xdc\x00\x0c" + ask()[1:]])
def test_what_is_no_question_is_refused(raw: bytes) -> None:
    assert refused(raw).startswith("canon.")


def test_a_question_that_is_too_long_is_refused() -> None:
    assert refused(b"\x9c" * (MAX_QUESTION_BYTES + 1)) == "canon.too-long"


def test_a_question_out_of_its_types_is_not_made() -> None:
    with pytest.raises(CanonError):
        question_bytes(question(risk=4, choices=()))
    with pytest.raises(CanonError):
        question_bytes(question(controls=(Control("to", b"x", "line\nbreak", 0),)))


@pytest.mark.parametrize(
    ("now_s", "good"),
    [
        (NOW, True),
        (NOW - CLOCK_SECONDS, True),
        (NOW + 299, True),
        (NOW - CLOCK_SECONDS - 1, False),
        (NOW + 300, False),
        (NOW + 10 * 365 * 86400, False),
    ],
)
def test_whoever_signs_notices_a_question_from_another_time(now_s: int, good: bool) -> None:
    if good:
        check_asked(question(), now_s)
    else:
        with pytest.raises(TokenError) as error:
            check_asked(question(), now_s)
        assert error.value.code == "question.time"


# --- choices


def scopes(made: Call, **changes: Any) -> list[int]:
    return [choice.scope for choice in question(made, **changes).choices]


@pytest.mark.parametrize(
    ("made", "changes", "offered"),
    [
        (call(), {}, [Scope.ONCE, Scope.SESSION, Scope.WORKSPACE, Scope.ALWAYS]),
        (call(tainted=True), {}, [Scope.ONCE, Scope.SESSION, Scope.WORKSPACE]),
        (call(), {"once_only": True}, [Scope.ONCE]),
        (call(tainted=True), {"once_only": True, "strong": True}, [Scope.ONCE]),
    ],
    ids=("plain", "tainted", "once only", "one of the four kinds"),
)
def test_only_these_scopes_are_offered(made: Call, changes: dict[str, Any], offered: list[int]) -> None:
    assert scopes(made, **changes) == offered


@MODEST
@given(st.sets(st.tuples(st.sampled_from("abcd"), st.integers(1, 255)), min_size=1), st.integers(0, 3), st.booleans())
def test_every_choice_covers_the_needs_and_nothing_else(needs: set[tuple[str, int]], risk: int, tainted: bool) -> None:
    made = call(needs=tuple(sorted(Need(f"file://w/{name}", bits) for name, bits in needs)), tainted=tainted)
    for choice in question(made, risk=risk).choices:
        assert {(grant.pattern, grant.perms) for grant in choice.grants} == {
            (n.resource, n.permission) for n in made.needs
        }
        assert all(
            (grant.issuable, grant.max_risk, grant.tooldef) == (0, risk, made.tooldef) for grant in choice.grants
        )
        assert list(choice.grants) == sorted(choice.grants)


def test_each_choice_lies_within_the_next() -> None:
    for narrow, wide in pairwise(question(call(max_micros=5)).choices):
        assert (narrow.scope, narrow.grants) < (wide.scope, wide.grants)
        assert narrow.expires <= wide.expires
        assert narrow.uses <= wide.uses
        assert narrow.purse <= wide.purse


def test_the_choices_end_when_they_should() -> None:
    ends = [choice.expires for choice in question().choices]
    assert ends == [NOW + 300, NOW + SESSION_SECONDS, NOW + MAX_GRANT_SECONDS, FOREVER]
    assert [choice.uses for choice in question().choices] == [1, *[UNLIMITED_USES] * 3]


def test_a_call_that_costs_nothing_never_leads_to_a_purse() -> None:
    assert {choice.purse for choice in question().choices} == {0}
    assert [choice.purse for choice in question(call(max_micros=7)).choices] == [7, *[UNLIMITED_MICROS] * 3]


def wide(length: int) -> Call:
    return call(needs=(Need(f"file://w/{'x' * length}", WRITE),))


def test_a_question_to_which_no_yes_can_be_written_is_noticed_and_every_other_can_be_answered() -> None:
    assert not fits_a_block(question(wide(3600)))
    assert not fits_a_block(question(wide(3600), once_only=True))
    made = ask(wide(3500))
    assert fits_a_block(question(wide(3500)))
    for scope in Scope:
        verify_chain(issue(answer(made, scope), USER), ROOTS)


# --- the block that says yes


@pytest.mark.parametrize("scope", Scope)
def test_a_yes_is_a_token_that_verifies(scope: Scope) -> None:
    token = verify_chain(issue(answer(ask(), scope), USER), ROOTS)
    assert token.leaf.question == question_digest(ask())
    assert token.leaf.scope == scope
    assert not token.leaf.tainted_ok


@pytest.mark.parametrize(
    ("scope", "holder", "session", "workspace", "depth"),
    [
        (Scope.ONCE, SESSION_KEY.public, SESSION, WORKSPACE, 0),
        (Scope.SESSION, SESSION_KEY.public, SESSION, WORKSPACE, 4),
        (Scope.WORKSPACE, HOLDER.public, b"", WORKSPACE, 5),
        (Scope.ALWAYS, HOLDER.public, b"", b"", 5),
    ],
)
def test_who_holds_a_yes_and_where_it_counts(
    scope: Scope, holder: bytes, session: bytes, workspace: bytes, depth: int
) -> None:
    made = answer(ask(), scope)
    assert (made.holder, made.session, made.workspace, made.depth) == (holder, session, workspace, depth)
    assert made.call == (call_digest(question().call) if scope is Scope.ONCE else b"")


@pytest.mark.parametrize("scope", [Scope.ONCE, Scope.SESSION, Scope.WORKSPACE])
def test_a_yes_under_untrusted_text_holds_under_it(scope: Scope) -> None:
    assert answer(ask(call(tainted=True)), scope).tainted_ok


def test_a_scope_that_is_not_offered_is_refused() -> None:
    for raw, scope in ((ask(once_only=True), Scope.SESSION), (ask(call(tainted=True)), Scope.ALWAYS)):
        with pytest.raises(TokenError) as error:
            answer(raw, scope)
        assert error.value.code == "approval.scope"


def test_a_question_that_offers_more_than_its_call_gives_rise_to_gets_no_block() -> None:
    lie = question_bytes(question(choices=(Choice(Scope.ONCE, (WIDER,), NOW + 300, 1, 0),)))
    with pytest.raises(TokenError) as error:
        answer(lie, Scope.ONCE)
    assert error.value.code == "question.choices"


@pytest.mark.parametrize("assurance", Assurance)
@pytest.mark.parametrize("strong", [False, True])
@pytest.mark.parametrize("risk", Risk)
@pytest.mark.parametrize("scope", [Scope.ONCE, Scope.SESSION])
def test_how_well_a_key_is_kept_bounds_what_it_may_say_yes_to(
    assurance: Assurance, strong: bool, risk: Risk, scope: Scope
) -> None:
    if strong and scope is Scope.SESSION:
        return  # never offered
    raw = ask(risk=risk, once_only=strong, strong=strong)
    expected = {
        Assurance.PLAIN: not strong and (scope is Scope.ONCE or risk <= Risk.MEDIUM),
        Assurance.SEALED: True,
        Assurance.DEVICE: True,
        Assurance.RELAYED: not strong and scope is Scope.ONCE and risk <= Risk.MEDIUM,
    }[assurance]
    if expected:
        check_block(answer(raw, scope, assurance))
    else:
        with pytest.raises(TokenError) as error:
            answer(raw, scope, assurance)
        assert error.value.code in ("approval.weak-key", "approval.relayed")


@pytest.mark.parametrize(
    ("device", "assurance", "scope"),
    [
        (DEVICE_KEY, Assurance.DEVICE, Scope.ONCE),
        (DEVICE_KEY, Assurance.DEVICE, Scope.SESSION),
        (DEVICE_KEY, Assurance.DEVICE, Scope.ALWAYS),
        (RELAY_KEY, Assurance.RELAYED, Scope.ONCE),
    ],
)
def test_a_device_says_yes_below_what_the_user_lets_it_issue(device: Any, assurance: Assurance, scope: Scope) -> None:
    parent = device_token(device, workspace=b"") if scope is Scope.ALWAYS else device_token(device)
    offered = answer_block(
        ask(), scope, issuer=device.public, assurance=assurance, keeper=HOLDER.public, nonce=b"z" * 16
    )
    token = verify_chain(attenuate(parent, under(parent.leaf, parent.id, offered), device), ROOTS)
    assert token.leaf.expires <= parent.leaf.expires
    assert token.leaf.grants == offered.grants


@pytest.mark.parametrize(("above", "depth"), [(0, 0), (1, 0), (3, 2), (5, 4), (200, 4)])
def test_a_device_lets_nothing_be_passed_on_further_than_it_may(above: int, depth: int) -> None:
    parent = device_token(depth=above)
    assert under(parent.leaf, parent.id, answer(ask(), Scope.SESSION, Assurance.DEVICE)).depth == depth
