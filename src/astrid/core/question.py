"""What a person is asked, and what each answer would authorise.  Pure.

The daemon makes ``Q``; whoever signs gets only its bytes, recomputes from them what each choice covers
(``choices_for``) and builds the token block itself (``answer_block``).  Nothing that the daemon says beside ``Q`` is
signed.

Invariants:
  A choice covers exactly the needs of the call that is asked about, never more resources.
  once within session within workspace within always.

Source: protocol N5, N6; threats 6, 16, 51.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from astrid.core.blocks import (
    MAX_PAYLOAD_BYTES,
    NO_PARENT,
    STRONG_ASSURANCES,
    UNLIMITED_MICROS,
    UNLIMITED_USES,
    Assurance,
    Block,
    Grant,
    Scope,
)
from astrid.core.call import MAX_CALL_BYTES, Call, call_digest, decode_call
from astrid.core.canon import (
    MAX_U64,
    U8,
    U32,
    U64,
    Ascii,
    Bytes16,
    Bytes32,
    Digest,
    Domain,
    Signed,
    decode,
    digest,
    encode,
)
from astrid.core.grants import MAX_GRANT_SECONDS, SESSION_DEPTH
from astrid.core.risk import Risk
from astrid.errors import TokenError

MAX_QUESTION_BYTES = MAX_CALL_BYTES + 64 * 1024
SESSION_SECONDS = 24 * 3600
QUESTION_SECONDS = 300
DEFERRED_SECONDS = 7 * 24 * 3600
CLOCK_SECONDS = 300  # how far the clocks of who asks and who signs may lie apart
_BLOCK_BYTES = 512  # what a block takes beside its grants, generously


class Control(Signed, frozen=True, array_like=True):
    """A control argument of the call: its value, the class of text it came from, and the record that brought that text
    in (0: none)."""

    argument: str
    value: bytes
    provenance: Ascii
    origin: U64


class Choice(Signed, frozen=True, array_like=True):
    """One way to say yes, and everything it would authorise."""

    scope: U8
    grants: tuple[Grant, ...]
    expires: U64
    uses: U32
    purse: U64


class Question(Signed, frozen=True, array_like=True):
    """The array ``Q`` of protocol N5.  ``why`` is a constant text of the runtime as UTF-8 bytes; ``risk`` is what the
    decision raised it to; ``once_only``: no answer may outlive the call; ``strong``: a plain or relayed key cannot say
    yes.
    """

    version: U8
    aud: Bytes32
    qid: Bytes16
    asked: U64
    expires: U64
    call: bytes
    why: bytes
    risk: Annotated[int, msgspec.Meta(ge=0, le=3)]
    once_only: bool
    strong: bool
    controls: tuple[Control, ...]
    choices: tuple[Choice, ...]


def question_digest(raw: bytes) -> Digest:
    """H(question, Q)."""
    return digest(Domain.QUESTION, raw)


def decode_question(raw: bytes) -> tuple[Question, Call]:
    """A question and the call inside it, both canonical, with choices that the call itself gives rise to.

    Raises:
        TokenError: the question does not fit its call, or offers other choices than the call gives rise to.
        CanonError: not a question.
    """
    question = decode(raw, Question, max_bytes=MAX_QUESTION_BYTES, what="a question")
    call = decode_call(question.call)
    if question.version != 1 or question.aud != call.aud or question.risk < call.risk:
        raise TokenError("question.mismatch", "the question does not fit the call inside it")
    if question.strong and not question.once_only:
        raise TokenError("question.mismatch", "what needs a strong key is never granted beforehand")
    if not question.asked <= question.expires <= question.asked + DEFERRED_SECONDS:
        raise TokenError("question.time", "the question stays open for less than no time, or for too long")
    # SAFETY: a choice that the call does not give rise to would let whoever asks widen the answer.
    if question.choices != choices_for(
        call, question.risk, question.asked, question.expires, once_only=question.once_only
    ):
        raise TokenError("question.choices", "the question offers other choices than its call gives rise to")
    return question, call


def choices_for(call: Call, risk: int, asked_s: int, expires_s: int, *, once_only: bool) -> tuple[Choice, ...]:
    """The ways to say yes to ``call``, narrowest first."""
    grants = tuple(sorted({Grant(need.resource, need.permission, 0, risk, call.tooldef) for need in call.needs}))
    choices = [Choice(Scope.ONCE, grants, expires_s, 1, call.max_micros)]
    if not once_only:
        purse = UNLIMITED_MICROS if call.max_micros else 0
        choices.append(Choice(Scope.SESSION, grants, asked_s + SESSION_SECONDS, UNLIMITED_USES, purse))
        choices.append(Choice(Scope.WORKSPACE, grants, asked_s + MAX_GRANT_SECONDS, UNLIMITED_USES, purse))
        if not call.tainted:
            choices.append(Choice(Scope.ALWAYS, grants, MAX_U64, UNLIMITED_USES, purse))
    return tuple(choices)


def fits_a_block(question: Question) -> bool:
    """Whether a block can hold what the call needs; if not, no yes to it can be written down."""
    return len(encode(question.choices[0].grants)) <= MAX_PAYLOAD_BYTES - _BLOCK_BYTES


def check_asked(question: Question, now_s: int) -> None:
    """For whoever signs, by a clock of its own: the question was put about now.

    Raises:
        TokenError: it is from another time; whoever moves the time of asking moves the end of what is granted.
    """
    if not question.asked - CLOCK_SECONDS <= now_s < question.expires:
        raise TokenError("question.time", "the question is not of this time", advice="compare the clocks, and ask anew")


def answer_block(
    raw: bytes, scope: Scope, *, issuer: bytes, assurance: Assurance, keeper: bytes, nonce: bytes
) -> Block:
    """The block that says yes to question ``raw`` with ``scope``, to be signed by ``issuer``, a user key.

    ``keeper`` is the daemon's holder key: it keeps what outlives a session and hands it on to sessions, narrowed.  A
    ``once`` or ``session`` answer goes to the asking principal itself.  A device narrows the block to its own
    (``under``).

    Raises:
        TokenError: the scope is not offered, or the key is too weak for it.
        CanonError: not a question.
    """
    question, call = decode_question(raw)
    offered = next((choice for choice in question.choices if choice.scope == scope), None)
    if offered is None:
        raise TokenError(
            "approval.scope", f"`{scope.name.lower()}` is not offered for this call", advice="answer once or deny"
        )
    _check_strength(question, scope, assurance)
    narrow = scope in (Scope.ONCE, Scope.SESSION)
    return Block(
        version=1,
        algorithm=1,
        parent=NO_PARENT,
        nonce=nonce,
        issuer=issuer,
        holder=call.principal_key if narrow else keeper,
        aud=question.aud,
        session=call.session if narrow else b"",
        workspace=b"" if scope == Scope.ALWAYS else call.workspace,
        scope=scope,
        grants=offered.grants,
        not_before=question.asked,
        expires=offered.expires,
        uses=offered.uses,
        purse=offered.purse,
        depth={Scope.ONCE: 0, Scope.SESSION: SESSION_DEPTH}.get(scope, SESSION_DEPTH + 1),
        tainted_ok=call.tainted,  # under untrusted text, `always` is not offered
        call=call_digest(question.call) if scope == Scope.ONCE else b"",
        question=question_digest(raw),
        assurance=assurance,
    )


def under(parent: Block, parent_id: bytes, block: Block) -> Block:
    """``block`` of an answer as a device signs it: below ``parent``, the block by which the user lets it issue."""
    return msgspec.structs.replace(
        block,
        parent=parent_id,
        not_before=max(block.not_before, parent.not_before),
        expires=min(block.expires, parent.expires),
        uses=min(block.uses, parent.uses),
        purse=min(block.purse, parent.purse),
        depth=min(block.depth, max(parent.depth - 1, 0)),
    )


def _check_strength(question: Question, scope: Scope, assurance: Assurance) -> None:
    standing = scope != Scope.ONCE
    if assurance == Assurance.RELAYED and (standing or question.risk > Risk.MEDIUM):
        raise TokenError(
            "approval.relayed",
            "a relayed yes is good for one call of at most medium risk",
            advice="answer at a terminal or on an enrolled device",
        )
    if assurance not in STRONG_ASSURANCES and (question.strong or (standing and question.risk > Risk.MEDIUM)):
        raise TokenError(
            "approval.weak-key",
            "a plain key cannot approve this",
            advice="answer once where that is offered, or make a home whose key is sealed from the start",
        )


def question_bytes(question: Question) -> bytes:
    """The bytes of ``Q``.

    Raises:
        CanonError: a field has no canonical form.
    """
    return encode(question)
