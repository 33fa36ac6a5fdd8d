"""A person's answer to a question: what is signed, and when it counts.  Pure.

Never: keeps state, or asks when the question was answered before (``approval`` does).

Invariant: an accepted yes carries a token whose last block is within the choice that the question's own bytes offer,
made by the key that answered, for the principal that asked.

Source: protocol N6; threats 6, 7, 16, 17.
"""

from __future__ import annotations

import enum

from astrid.core.blocks import Assurance, Block, Scope, asks_anew
from astrid.core.canon import U8, U64, Bytes16, Bytes32, Bytes64, Domain, Signed, decode, encode
from astrid.core.display import display_digest, render_question, too_long_for_standing
from astrid.core.keys import load_public_key, verify
from astrid.core.question import answer_block, decode_question, question_digest
from astrid.core.resources import covers, parse_pattern
from astrid.core.tokens import MAX_CHAIN_BYTES, Roots, Token, verify_chain
from astrid.errors import CanonError, TokenError

MAX_ANSWER_BYTES = MAX_CHAIN_BYTES + 8192


class Verdict(enum.IntEnum):
    """What a person said."""

    DENY = 0
    ONCE = 1
    SESSION = 2
    WORKSPACE = 3
    ALWAYS = 4


class Answer(Signed, frozen=True, array_like=True):
    """The array ``A`` of protocol N6.  ``payload`` is the last block's payload, empty for a denial."""

    version: U8
    aud: Bytes32
    question: Bytes32
    qid: Bytes16
    decision: U8
    payload: bytes
    shown: Bytes32
    assurance: U8
    answered: U64
    signer: Bytes32


class SignedAnswer(Signed, frozen=True, array_like=True):
    """``A``, its signature, and the token chain that ``payload`` ends (empty for a denial)."""

    answer: bytes
    signature: Bytes64
    token: bytes


def decode_answer(raw: bytes) -> tuple[SignedAnswer, Answer]:
    """An answer as it came, not yet verified.

    Raises:
        TokenError: not the canonical bytes of an answer.
    """
    try:
        signed = decode(raw, SignedAnswer, max_bytes=MAX_ANSWER_BYTES, what="an answer")
        answer = decode(signed.answer, Answer, max_bytes=MAX_ANSWER_BYTES, what="an answer")
    except CanonError as error:
        raise TokenError("approval.encoding", error.message) from error
    if answer.version != 1 or answer.decision > Verdict.ALWAYS:
        raise TokenError("approval.version", "only answers of version 1 are understood")
    return signed, answer


def verify_answer(
    signed: SignedAnswer, answer: Answer, question: bytes, roots: Roots, keeper: bytes, *, now_s: int
) -> Token | None:
    """N6: the token that an answer to ``question`` makes, ``None`` for a denial.

    Raises:
        TokenError: names the check that failed.
        CanonError: ``question`` is none.
    """
    asked, _ = decode_question(question)
    if answer.aud != asked.aud:
        raise TokenError("approval.audience", "the answer was made for another install")
    if answer.question != question_digest(question) or answer.qid != asked.qid:
        raise TokenError("approval.question", "the answer is to other question bytes")
    if answer.assurance != _assurance(answer.signer, roots, now_s):
        raise TokenError("approval.assurance", "the answer declares another assurance than its key has")
    if not verify(load_public_key(answer.signer), Domain.APPROVAL, signed.answer, signed.signature):
        raise TokenError("approval.signature", "the answer's signature does not verify")
    shown = render_question(question)
    if answer.shown != display_digest(shown):
        raise TokenError("approval.display", "the person was shown another text than the question gives")
    if answer.decision == Verdict.DENY:
        if signed.token or answer.payload:
            raise TokenError("approval.token", "a denial carries no token")
        return None
    scope = Scope(answer.decision - 1)
    if scope != Scope.ONCE and too_long_for_standing(shown):
        raise TokenError("approval.too-long", "a question this long can only be answered once")
    token = verify_chain(signed.token, roots)
    _check_token(token, answer, question, scope, keeper)
    return token


def _assurance(signer: bytes, roots: Roots, now_s: int) -> Assurance:
    """How well the signer's key is kept, as the user stated it."""
    root = roots.keys.get(signer)
    if root is not None:
        return root
    device = roots.devices.get(signer)
    if device is None or not now_s < device.expires_s:
        raise TokenError("approval.signer", "the answer is not signed by a key of this install, or no longer one")
    return device.assurance


def _check_token(token: Token, answer: Answer, question: bytes, scope: Scope, keeper: bytes) -> None:
    leaf = token.leaf
    if leaf.issuer != answer.signer or answer.payload != encode(leaf):
        raise TokenError("approval.token", "the token is not the one that the answer signs")
    if len(token.blocks) > 1 and not asks_anew(token.blocks[-2], leaf):
        raise TokenError("approval.token", "the token was made in answer to a question before")
    offered = answer_block(
        question, scope, issuer=leaf.issuer, assurance=Assurance(answer.assurance), keeper=keeper, nonce=leaf.nonce
    )
    if not _within(leaf, offered):
        raise TokenError("approval.wider", "the token is wider than the choice that was offered")


_SAME = ("holder", "aud", "session", "workspace", "scope", "call", "question", "assurance")
_AT_MOST = ("expires", "uses", "purse", "depth", "tainted_ok")


def _within(leaf: Block, offered: Block) -> bool:
    """Whether ``leaf`` is the ``offered`` block or a narrower one; where it hangs and its nonce are its own."""
    return (
        all(getattr(leaf, name) == getattr(offered, name) for name in _SAME)
        and all(getattr(leaf, name) <= getattr(offered, name) for name in _AT_MOST)
        and leaf.not_before >= offered.not_before
        and all(
            any(
                not grant.perms & ~outer.perms
                and not grant.issuable
                and grant.max_risk <= outer.max_risk
                and grant.tooldef == outer.tooldef
                and covers(parse_pattern(outer.pattern), parse_pattern(grant.pattern))
                for outer in offered.grants
            )
            for grant in leaf.grants
        )
    )
