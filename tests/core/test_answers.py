"""An answer counts for the question it was given to, by a key that may give it, and for no more than was offered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from astrid.core.answers import MAX_ANSWER_BYTES, SignedAnswer, Verdict, decode_answer, verify_answer
from astrid.core.blocks import UNLIMITED_USES, Assurance, Grant, Scope
from astrid.core.canon import Domain, decode, encode
from astrid.core.keys import SigningKey
from astrid.core.question import question_digest
from astrid.core.tokens import MAX_CHAIN_BYTES, Enrolled, Roots, Token, attenuate, issue
from astrid.errors import AstridError, TokenError
from tests.fakes.authority import (
    AUD,
    CHILD_KEY,
    DAY,
    DEVICE_KEY,
    HOLDER,
    NOW,
    PLAIN_USER,
    READ,
    RELAY_KEY,
    ROOTS,
    STRANGER,
    USER,
    WRITE,
    answer,
    ask,
    block,
    call,
    device_token,
    key,
    no,
    yes,
)

QUESTION = ask()
BOTH = Grant("file://w/a.txt", WRITE, 0, 1, b"T" * 32)


def judged(raw: bytes, question: bytes = QUESTION, *, roots: Roots = ROOTS, now_s: int = NOW) -> Token | None:
    signed, said = decode_answer(raw)
    return verify_answer(signed, said, question, roots, HOLDER.public, now_s=now_s)


def refused(raw: bytes, question: bytes = QUESTION, **around: Any) -> str:
    with pytest.raises(AstridError) as error:
        judged(raw, question, **around)
    return error.value.code


def test_the_numbers_that_are_signed_never_change() -> None:
    numbers = {"DENY": 0, "ONCE": 1, "SESSION": 2, "WORKSPACE": 3, "ALWAYS": 4}
    assert {one.name: one.value for one in Verdict} == numbers


# --- who may say what


@pytest.mark.parametrize("scope", Scope)
def test_a_sealed_user_key_says_yes_to_anything_that_is_offered(scope: Scope) -> None:
    token = judged(yes(QUESTION, scope))
    assert token is not None
    assert (token.leaf.scope, token.leaf.question) == (scope, question_digest(QUESTION))


def test_a_no_makes_no_token() -> None:
    assert judged(no(QUESTION)) is None


@pytest.mark.parametrize(
    ("signer", "assurance"),
    [
        (PLAIN_USER, Assurance.PLAIN),
        (DEVICE_KEY, Assurance.DEVICE),
        (RELAY_KEY, Assurance.RELAYED),
    ],
)
def test_every_key_of_the_install_may_say_no(signer: SigningKey, assurance: Assurance) -> None:
    assert judged(no(QUESTION, by=signer, assurance=assurance)) is None


@pytest.mark.parametrize(
    ("signer", "assurance", "scope"),
    [
        (DEVICE_KEY, Assurance.DEVICE, Scope.ONCE),
        (DEVICE_KEY, Assurance.DEVICE, Scope.SESSION),
        (RELAY_KEY, Assurance.RELAYED, Scope.ONCE),
    ],
)
def test_a_device_says_yes_below_what_it_may_issue(signer: SigningKey, assurance: Assurance, scope: Scope) -> None:
    token = judged(yes(QUESTION, scope, by=signer, assurance=assurance, parent=device_token(signer)))
    assert token is not None
    assert len(token.blocks) == 2


def test_a_narrower_yes_is_accepted() -> None:
    two = ask(call(needs=(call().needs[0], msgspec.structs.replace(call().needs[0], resource="file://w/b.txt"))))
    less = {"grants": (BOTH,), "expires": NOW + 10, "not_before": NOW + 1, "tainted_ok": False, "depth": 0}
    token = judged(yes(two, Scope.SESSION, changes={**less, "uses": 3}), two)
    assert token is not None
    assert token.leaf.grants == (BOTH,)


# --- what is refused


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("approval.audience", {"aud": b"B" * 32}),
        ("approval.question", {"question": b"x" * 32}),
        ("approval.question", {"qid": b"x" * 16}),
        ("approval.display", {"shown": b"x" * 32}),
        ("approval.assurance", {"assurance": Assurance.DEVICE}),
        ("approval.assurance", {"assurance": Assurance.PLAIN}),
        ("approval.signer", {"signer": STRANGER.public}),
        ("approval.signature", {"signer": PLAIN_USER.public, "assurance": Assurance.PLAIN}),
        ("approval.version", {"version": 0}),
        ("approval.version", {"version": 2}),
        ("approval.version", {"decision": 5}),
    ],
    ids=str,
)
@pytest.mark.parametrize("said", [yes, no])
def test_an_answer_that_is_wrong_in_one_field_is_refused(code: str, fields: dict[str, Any], said: Any) -> None:
    assert refused(said(QUESTION, **fields)) == code


def test_an_answer_to_the_same_call_asked_again_is_refused() -> None:
    again = ask(asked=NOW + 1, expires=NOW + 301)
    assert refused(yes(QUESTION), again) == "approval.question"


@pytest.mark.parametrize("field", ["payload", "token"])
def test_a_no_that_carries_anything_is_refused(field: str) -> None:
    raw = no(QUESTION, payload=b"x") if field == "payload" else answer(QUESTION, b"x")
    assert refused(raw) == "approval.token"


def test_a_yes_without_a_token_is_refused() -> None:
    assert refused(answer(QUESTION, b"", decision=Verdict.ONCE)) == "token.encoding"


def test_a_yes_whose_token_is_not_the_one_it_signs_is_refused() -> None:
    other = issue(block(nonce=b"o" * 16), USER)
    signed = decode(yes(QUESTION), SignedAnswer, max_bytes=MAX_ANSWER_BYTES, what="an answer")
    assert refused(encode(msgspec.structs.replace(signed, token=other))) == "approval.token"


def test_a_yes_over_the_token_of_another_user_key_is_refused() -> None:
    signed = decode(yes(QUESTION), SignedAnswer, max_bytes=MAX_ANSWER_BYTES, what="an answer")
    _, said = decode_answer(yes(QUESTION))
    by_other = answer(
        QUESTION,
        signed.token,
        by=PLAIN_USER,
        decision=said.decision,
        payload=said.payload,
        assurance=Assurance.PLAIN,
    )
    assert refused(by_other) == "approval.token"


WIDER: list[tuple[Scope, dict[str, Any]]] = [
    (Scope.ONCE, {"holder": STRANGER.public}),
    (Scope.ONCE, {"holder": HOLDER.public}),
    (Scope.ONCE, {"session": b""}),
    (Scope.ONCE, {"session": b"X" * 16}),
    (Scope.ONCE, {"workspace": b""}),
    (Scope.ONCE, {"workspace": b"X" * 32}),
    (Scope.ONCE, {"call": b"X" * 32}),
    (Scope.ONCE, {"question": b""}),
    (Scope.ONCE, {"question": b"X" * 32}),
    (Scope.ONCE, {"aud": b"X" * 32}),
    (Scope.ONCE, {"expires": NOW + 301}),
    (Scope.ONCE, {"not_before": NOW - 1}),
    (Scope.ONCE, {"purse": 1}),
    (Scope.ONCE, {"tainted_ok": True}),
    (Scope.ONCE, {"grants": (Grant("file://w/**", WRITE, 0, 1, b"T" * 32),)}),
    (Scope.ONCE, {"grants": (Grant("file://w/a.txt", READ | WRITE, 0, 1, b"T" * 32),)}),
    (Scope.ONCE, {"grants": (Grant("file://w/a.txt", WRITE, 0, 2, b"T" * 32),)}),
    (Scope.ONCE, {"grants": (Grant("file://w/a.txt", WRITE, 0, 1, b""),)}),
    (Scope.ONCE, {"grants": (Grant("file://w/a.txt", WRITE, 0, 1, b"X" * 32),)}),
    (Scope.ONCE, {"grants": (Grant("file://w/a.txt", WRITE, WRITE, 1, b"T" * 32),)}),
    (Scope.ONCE, {"grants": (BOTH, Grant("file://w/b.txt", WRITE, 0, 1, b"T" * 32))}),
    (Scope.SESSION, {"scope": Scope.WORKSPACE}),
    (Scope.SESSION, {"scope": Scope.ALWAYS}),
    (Scope.SESSION, {"depth": 5}),
    (Scope.SESSION, {"call": b"X" * 32}),
    (Scope.WORKSPACE, {"expires": 2**64 - 1}),
    (Scope.WORKSPACE, {"holder": STRANGER.public}),
]


@pytest.mark.parametrize(("scope", "changes"), WIDER, ids=str)
def test_a_token_that_says_more_than_was_offered_is_refused(scope: Scope, changes: dict[str, Any]) -> None:
    assert refused(yes(QUESTION, scope, changes=changes)) == "approval.wider"


def test_a_yes_that_counts_oftener_than_offered_is_no_token_at_all() -> None:
    # More uses than one, or depth, are refused of any once block; of the other scopes nothing is beyond the offer.
    assert judged(yes(QUESTION, Scope.SESSION, changes={"uses": UNLIMITED_USES})) is not None
    with pytest.raises(TokenError) as error:
        yes(QUESTION, changes={"uses": 2})
    assert error.value.code == "token.once"


def test_a_yes_to_one_scope_does_not_pass_for_a_yes_to_another() -> None:
    assert refused(yes(QUESTION, Scope.ONCE, decision=Verdict.SESSION)) == "approval.wider"
    assert refused(yes(QUESTION, Scope.SESSION, decision=Verdict.ONCE)) == "approval.wider"


def test_a_yes_that_is_not_offered_is_refused() -> None:
    raw = ask(once_only=True)
    forged = answer(raw, issue(block(scope=Scope.WORKSPACE), USER), decision=Verdict.WORKSPACE, payload=encode(block()))
    assert refused(forged, raw) == "approval.scope"


@pytest.mark.parametrize(
    ("fields", "scope"),
    [({"strong": True, "once_only": True}, Scope.ONCE), ({"risk": 2}, Scope.SESSION)],
    ids=("one of the four kinds", "standing and high"),
)
def test_a_plain_key_says_no_yes_that_needs_a_strong_one(fields: dict[str, Any], scope: Scope) -> None:
    raw = ask(**fields)
    strong = decode_answer(yes(raw, scope))[1]
    # As a client would that does not check: the block is right but for who signs it.
    plain = msgspec.structs.replace(
        decode(strong.payload, type(block()), max_bytes=4096, what="a block"),
        issuer=PLAIN_USER.public,
        assurance=Assurance.PLAIN,
    )
    payload = encode(plain)
    chain = encode(((payload, PLAIN_USER.sign(Domain.BLOCK, payload)),))
    raw_answer = answer(raw, chain, by=PLAIN_USER, decision=scope + 1, payload=payload, assurance=Assurance.PLAIN)
    assert refused(raw_answer, raw) in ("approval.weak-key", "token.weak-key")


def test_a_question_of_more_than_a_page_is_answered_once_at_most() -> None:
    long = ask(call(args=b"x" * 5000))
    assert judged(yes(long, Scope.ONCE), long) is not None
    assert refused(yes(long, Scope.SESSION), long) == "approval.too-long"


# --- devices (threat 16)


def test_an_answer_of_a_device_that_is_not_enrolled_any_more_is_refused() -> None:
    raw = yes(QUESTION, by=DEVICE_KEY, assurance=Assurance.DEVICE, parent=device_token())
    assert refused(raw, now_s=NOW + DAY) == "approval.signer"
    assert refused(raw, roots=Roots(ROOTS.keys, 2)) == "approval.signer"
    relayed = Roots(ROOTS.keys, 2, {DEVICE_KEY.public: Enrolled(Assurance.RELAYED, NOW + DAY)})
    assert refused(raw, roots=relayed) == "approval.assurance"


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("approval.wider", {"holder": STRANGER.public}),
        ("approval.wider", {"question": b"X" * 32}),
        ("approval.wider", {"grants": (Grant("file://w/**", WRITE, 0, 1, b"T" * 32),)}),
        ("approval.wider", {"grants": (Grant("file://w/a.txt", WRITE, WRITE, 1, b"T" * 32),)}),
    ],
    ids=("for another principal", "to another question", "a wider pattern", "to issue further"),
)
def test_a_device_mints_nothing_but_the_answer(code: str, changes: dict[str, Any]) -> None:
    raw = yes(QUESTION, by=DEVICE_KEY, assurance=Assurance.DEVICE, parent=device_token(), changes=changes)
    assert refused(raw) == code


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("token.holder", {"holder": DEVICE_KEY.public}),
        ("token.wider", {"question": b"", "assurance": Assurance.SEALED}),
        ("token.wider", {"grants": (Grant("file://v/a", WRITE, 0, 1, b"T" * 32),)}),
    ],
    ids=("for itself", "without a question", "beyond what it may issue"),
)
def test_a_device_cannot_even_sign(code: str, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenError) as error:
        yes(QUESTION, by=DEVICE_KEY, assurance=Assurance.DEVICE, parent=device_token(), changes=changes)
    assert error.value.code == code


def test_a_device_without_a_right_to_issue_says_no_yes() -> None:
    raw = yes(QUESTION)
    signed = decode(raw, SignedAnswer, max_bytes=MAX_ANSWER_BYTES, what="an answer")
    _, said = decode_answer(raw)
    forged = answer(
        QUESTION,
        signed.token,
        by=DEVICE_KEY,
        decision=said.decision,
        payload=said.payload,
        assurance=Assurance.DEVICE,
    )
    assert refused(forged) == "approval.token"


@pytest.mark.parametrize("by_device", [False, True])
def test_what_is_handed_on_from_an_answer_is_not_an_answer(by_device: bool) -> None:
    # Somebody answered before, for the session; the session's holder presents that, one block longer, as an answer.
    kept: dict[str, Any] = (
        {"by": DEVICE_KEY, "assurance": Assurance.DEVICE, "parent": device_token()} if by_device else {}
    )
    answered = judged(yes(QUESTION, Scope.SESSION, **kept))
    assert answered is not None
    roots = msgspec.structs.replace(
        ROOTS, devices={**ROOTS.devices, answered.holder: Enrolled(Assurance(answered.leaf.assurance), NOW + DAY)}
    )
    session = key(4)
    assert session.public == answered.holder
    more = msgspec.structs.replace(
        answered.leaf, parent=answered.id, issuer=session.public, holder=CHILD_KEY.public, depth=0
    )
    chain = attenuate(answered, more, session)
    again = answer(
        QUESTION,
        chain,
        by=session,
        decision=Verdict.SESSION,
        payload=encode(more),
        assurance=Assurance(answered.leaf.assurance),
    )
    assert refused(again, roots=roots) == "approval.token"


# --- bytes


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc0",
        yes(QUESTION) + b"\0",
        yes(QUESTION)[:-1],
        b"\xdc\x00\x03" + yes(QUESTION)[1:],
        encode(SignedAnswer(b"\xc0", bytes(64), b"")),
        b"\x93" * (MAX_ANSWER_BYTES + 1),
    ],
    ids=("nothing", "nil", "trailing", "cut", "long header", "no answer inside", "too long"),
)
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    with pytest.raises(TokenError) as error:
        decode_answer(raw)
    assert error.value.code == "approval.encoding"


def test_the_longest_chain_there_can_be_still_fits_an_answer() -> None:
    signed, said = decode_answer(yes(QUESTION))
    longest = msgspec.structs.replace(said, payload=b"x" * 4096)
    raw = encode(SignedAnswer(encode(longest), signed.signature, b"x" * MAX_CHAIN_BYTES))
    assert len(raw) <= MAX_ANSWER_BYTES
    assert decode_answer(raw)[1].aud == AUD
