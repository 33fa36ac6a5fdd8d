"""What each method asks: one struct per method.  ``methods`` says which belongs to which.

A struct that is ``Proven`` travels with a proof that its sender holds the key of the token it presented (``pop``).  The
proof covers ``params_bytes``: what the server acts on is exactly what was signed, because both ends compute those bytes
from the decoded fields.

Never: carries who the sender is.  The connection knows.

Source: the first Astrid (names); protocol N2.d (proof), N5 to N7 (statements); threats 9, 30.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from astrid.core.images import MAX_SHOWN
from astrid.wire.fields import (
    AnyIdText,
    Bytes32,
    Bytes64,
    ChainBytes,
    DecisionText,
    Line,
    Mode,
    ModelText,
    Name,
    NoteBytes,
    PathText,
    QuestionText,
    ResourceText,
    Safe,
    SessionText,
    StatementBytes,
    TokenText,
    U64Text,
    Wire,
)

PROTOCOL_VERSION = 1
MAX_INPUT_CHARS = 128 * 1024


class Params(Wire, frozen=True, kw_only=True):
    """Base of what is asked."""


class Pop(Wire, frozen=True, kw_only=True):
    """Proof of possession: the holder's signature over the request (``pop.pop_payload``) and its place in the order."""

    counter: Annotated[int, Meta(ge=1, le=2**53)]
    signature: Bytes64


class Proven(Params, frozen=True, kw_only=True):
    """Base of what needs a proof.  Built without one, then sealed by ``pop.PopSigner``; it does not leave without."""

    pop: Pop | None = None


class Hello(Params, frozen=True, kw_only=True):
    """Who is calling, and the last checkpoint it saw, so that the server must prove that it only grew from there."""

    client: Name
    protocol: Safe
    version: Name
    aud: Bytes32 | None = None  # the install this client belongs to; None before it has met one
    checkpoint_size: Safe = 0


class Authenticate(Proven, frozen=True, kw_only=True):
    """The token that this connection acts under; the proof shows that the client holds its last key."""

    chain: ChainBytes


class SessionOptions(Wire, frozen=True, kw_only=True):
    """What a session may be given less of.  Nothing here can widen what its token covers.

    Where it is not ``interactive`` nobody is to be asked: what needs a person's yes is denied.  Where it is, and nobody
    listens who can answer, the question is queued and the session goes on with ``deferred``.  A session of a ``fleet``
    (named by its token) spends from the fleet's purse, and asks nobody.  One that follows the definition of a
    sub-agent, ``agent``, has its prompt, and of tools and grants only what that asks for.
    """

    budget_micros: U64Text | None = None
    max_turns: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    interactive: bool = True
    fleet: TokenText | None = None
    agent: Name | None = None


class CreateSession(Proven, frozen=True, kw_only=True):
    """Where, under which granted mode, with which model (the configured one if none is named)."""

    workspace: PathText
    mode: Mode
    model: ModelText | None = None
    options: SessionOptions = SessionOptions()


class CreateFleet(Proven, frozen=True, kw_only=True):
    """A purse for many sessions in one workspace and mode, taken out of what is granted there."""

    workspace: PathText
    mode: Mode
    purse_micros: U64Text


class PromptSignature(Wire, frozen=True, kw_only=True):
    """Shows that a person typed an input: a signature over audience, session, turn and text.  Without it, untrusted."""

    signer: Bytes32
    signature: Bytes64


class SendInput(Proven, frozen=True, kw_only=True):
    """What the person says; ``turn`` is the number of the turn that this starts, so that nothing is sent twice.
    ``images`` are those that go with it, by the records that ``attachImage`` answered; ``input`` names the SHA-256 of
    each, in hex, so that whoever signs the one signs the others.
    """

    session_id: SessionText
    turn: Safe
    input: Annotated[str, Meta(max_length=MAX_INPUT_CHARS)]
    prompt: PromptSignature | None = None
    images: Annotated[tuple[Safe, ...], Meta(max_length=MAX_SHOWN)] = ()


class OfSession(Proven, frozen=True, kw_only=True):
    """Names a session and nothing else."""

    session_id: SessionText


class ListSessions(Proven, frozen=True, kw_only=True):
    """All sessions, or those of one workspace."""

    workspace: PathText | None = None


class ListPast(Proven, frozen=True, kw_only=True):
    """The sessions that the log tells of, the last active one first, without the first ``skip``."""

    skip: Safe = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class JournalOf(Proven, frozen=True, kw_only=True):
    """A session's journal from byte ``offset`` on; 0 begins anew."""

    session_id: SessionText
    offset: Safe = 0


class ResumeSession(Proven, frozen=True, kw_only=True):
    """A session that was cut off with its daemon, or is there.  ``model`` is needed where it follows a script: the log
    has its name only.  ``interactive`` as in ``SessionOptions``.
    """

    session_id: SessionText
    model: ModelText | None = None
    interactive: bool = True


class ForkSession(Proven, frozen=True, kw_only=True):
    """A new session that goes on from another one's turn ``at``: 0 for nothing that was said, nothing for the last that
    ended.  What is not named is as it was there; ``model`` is needed where that followed a script.
    """

    session_id: SessionText
    at: Safe | None = None
    mode: Mode | None = None
    model: ModelText | None = None
    budget_micros: U64Text | None = None
    max_turns: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    interactive: bool = True


class RewindSession(Proven, frozen=True, kw_only=True):
    """A session, and the turn whose end its conversation is to be at: 0 is before the first."""

    session_id: SessionText
    to: Safe


class PlanRewind(Proven, frozen=True, kw_only=True):
    """A session, and the turn after which its files held what they would be put back to: 0 is before the first."""

    session_id: SessionText
    to: Safe


class RewindFiles(Proven, frozen=True, kw_only=True):
    """The same, to be done; ``plan`` is the digest of what was shown, and nothing else is done."""

    session_id: SessionText
    to: Safe
    plan: Bytes32


class DeleteSession(Proven, frozen=True, kw_only=True):
    """A session that is not open, and all that worked for it, whose words are to be erased."""

    session_id: SessionText


class Nothing(Params, frozen=True, kw_only=True):
    """No parameters, no proof."""


class ProvenNothing(Proven, frozen=True, kw_only=True):
    """No parameters, but a proof."""


class SubscribeEvents(Proven, frozen=True, kw_only=True):
    """Events after number ``after``; 0 for all that are still kept.

    ``interactive``: somebody here can answer questions, so the session may wait for that.
    """

    session_id: SessionText
    after: Safe = 0
    interactive: bool = False


class ApprovalResponse(Proven, frozen=True, kw_only=True):
    """A person's answer: the signed approval A, and the token block it grants (both empty where the answer is no)."""

    question_id: QuestionText
    statement: StatementBytes
    signature: Bytes64
    payload: Annotated[bytes, Meta(max_length=4 * 1024)] = b""
    token_signature: Annotated[bytes, Meta(max_length=64)] = b""


class ListApprovals(Proven, frozen=True, kw_only=True):
    """All open questions, or those of one session."""

    session_id: SessionText | None = None


class GetApproval(Proven, frozen=True, kw_only=True):
    """Names a question."""

    question_id: QuestionText


class TokensShow(Proven, frozen=True, kw_only=True):
    """Names a token by the id of its last block."""

    token_id: TokenText


class TokensAdd(Proven, frozen=True, kw_only=True):
    """A grant that the user signed: a whole chain; ``source`` is what the log says about where it came from."""

    token: ChainBytes
    source: Literal["client", "file"] = "client"


class TokensRevoke(Proven, frozen=True, kw_only=True):
    """A revocation that the user signed: statement, signer and signature in one."""

    statement: StatementBytes


class AuditList(Proven, frozen=True, kw_only=True):
    """Records after ``after_seq`` that pass every filter given."""

    session_id: SessionText | None = None
    kind: Name | None = None
    tool: ResourceText | None = None
    decision: DecisionText | None = None
    since_ns: U64Text | None = None
    after_seq: Safe = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class AuditRecordOf(Proven, frozen=True, kw_only=True):
    """Names a record by its number; the first is 1."""

    seq: Annotated[int, Meta(ge=1, le=2**53)]


class AuditConsistency(Params, frozen=True, kw_only=True):
    """The size of an earlier log, of which the client holds a checkpoint."""

    from_size: Safe


class AuditCosign(Proven, frozen=True, kw_only=True):
    """The checkpoint that was stated at the beginning of this connection, with the client's cosignature on it."""

    note: NoteBytes


class AuditExplain(Proven, frozen=True, kw_only=True):
    """Any printed identifier: a session, a question, a token, a call."""

    id: AnyIdText


class NonceNotice(Params, frozen=True, kw_only=True):
    """The server's first word: fresh for this connection, and part of everything signed on it."""

    protocol: Safe
    nonce: Bytes32


class ByeNotice(Params, frozen=True, kw_only=True):
    """The sender starts nothing new; what is owed is still said."""

    reason: Line = ""


_encoder = msgspec.json.Encoder(order="sorted")


def params_bytes(params: Params) -> bytes:
    """The bytes that a proof covers: JSON of all fields but ``pop``: keys sorted, defaults written, no white space."""
    fields: dict[str, object] = {name: getattr(params, name) for name in params.__struct_fields__ if name != "pop"}
    return _encoder.encode(fields)
