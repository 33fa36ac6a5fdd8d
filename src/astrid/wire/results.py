"""What each method answers: one struct per kind of answer.  ``methods`` says which belongs to which.

Texts in here may have come from a model, a tool or a file.  Whoever shows them escapes them; whoever signs takes bytes,
never these.

Source: the first Astrid (names); protocol N5, N9, N10; architecture section 7.
"""

from __future__ import annotations

from typing import Literal

from astrid.wire.errors import ErrorData
from astrid.wire.fields import (
    Bytes32,
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
    TokenText,
    U64Text,
    Wire,
)

DaemonMode = Literal["ephemeral", "persistent"]
SettledAs = Literal["settled", "already-settled", "expired", "refused"]
SessionState = Literal["idle", "running", "waiting", "asleep"]
ScopeText = Literal["once", "session", "workspace", "always"]
AssuranceText = Literal["plain", "sealed", "device", "relayed"]


class Answer(Wire, frozen=True, kw_only=True):
    """Base of what is answered."""


class Done(Answer, frozen=True, kw_only=True):
    """It happened; there is nothing else to say."""


class Cosigned(Wire, frozen=True, kw_only=True):
    """What the client with ``key`` cosigned last, and the proof that the log grew from there."""

    key: Bytes32
    note: NoteBytes
    consistency: tuple[Bytes32, ...]


class Welcome(Answer, frozen=True, kw_only=True):
    """Who the server is, and its log's signed note with the proof that it grew from what the client saw, and from what
    other clients did.
    """

    protocol: Safe
    version: Name
    aud: Bytes32
    home: PathText
    mode: DaemonMode
    session_mode: Mode  # of a session for which none is named
    checkpoint: bytes
    consistency: tuple[Bytes32, ...] = ()
    cosigned: tuple[Cosigned, ...] = ()


class SessionInfo(Answer, frozen=True, kw_only=True):
    """A session as a person lists it.  ``message_count`` are the rows of its journal, ``pending_deferred_count`` its
    questions that are open; ``parent_id`` and ``agent`` say whose sub-agent it is, and which.
    """

    session_id: SessionText
    workspace: PathText
    mode: Mode
    model: ModelText
    state: SessionState
    created_ns: U64Text
    turns: Safe
    message_count: Safe
    pending_deferred_count: Safe
    spent_micros: U64Text
    parent_id: SessionText | None = None
    agent: Name | None = None


class ModelCost(Wire, frozen=True, kw_only=True):
    """What a session's calls of one model took.  Of ``uncounted`` calls the log holds no number of tokens: they failed,
    their end is not known, or what they said was erased.
    """

    model: ModelText
    calls: Safe
    uncounted: Safe
    input_tokens: Safe
    cache_write_tokens: Safe
    cache_read_tokens: Safe
    output_tokens: Safe
    spent_micros: U64Text


class ToolCost(Wire, frozen=True, kw_only=True):
    """What a session's calls of a tool that costs took."""

    tool: ResourceText
    calls: Safe
    spent_micros: U64Text


class SessionCost(Answer, frozen=True, kw_only=True):
    """What the log says that a session cost, also of one that has ended.

    ``reserved_micros`` is what calls under way may cost yet, ``cap_micros`` what the session may spend, for as long as
    it is there.  Of ``unknown_calls`` nobody knows how they ended: they are booked at what was reserved for them.
    """

    session_id: SessionText
    models: tuple[ModelCost, ...]
    tools: tuple[ToolCost, ...]
    spent_micros: U64Text
    reserved_micros: U64Text
    cap_micros: U64Text | None
    unknown_calls: Safe
    unknown_micros: U64Text


class ModelInfo(Wire, frozen=True, kw_only=True):
    """A model as a person lists it.  Its prices are of a million tokens, both 0 where it is free; ``None``: none is
    known, or a script says it.  ``trouble`` is why no session could use it now; there is none where one could.
    """

    model: Line
    short_names: tuple[Line, ...]
    provider: Line  # empty: nobody's
    input_micros: U64Text | None
    output_micros: U64Text | None
    context_tokens: Safe | None
    images: bool  # whether it is shown images
    key: Literal["there", "missing", "not-needed", "unknown"]  # never more of it than that
    trouble: ErrorData | None


class Models(Answer, frozen=True, kw_only=True):
    """The models that are configured or have a built-in price; so many more did not fit."""

    models: tuple[ModelInfo, ...]
    left_out: Safe


class TurnStarted(Answer, frozen=True, kw_only=True):
    """The input was taken; its output comes as events."""

    turn: Safe


class Sessions(Answer, frozen=True, kw_only=True):
    """The sessions; ``left_out`` is how many of those that sleep, the ones that do so longest, did not fit."""

    sessions: tuple[SessionInfo, ...]
    left_out: Safe


class Status(Answer, frozen=True, kw_only=True):
    """How the daemon is."""

    version: Name
    mode: DaemonMode
    uptime_ns: U64Text
    active_connections: Safe
    active_sessions: Safe
    pending_approvals: Safe
    log_size: Safe
    mcp_servers_configured: Safe
    mcp_servers_running: Safe
    plugins_loaded: Safe


class Subscribed(Answer, frozen=True, kw_only=True):
    """Events after this number follow: what was asked for, or later where older ones are no longer kept."""

    after: Safe


class Settled(Answer, frozen=True, kw_only=True):
    """What became of an answer to a question; only ``settled`` made it count."""

    outcome: SettledAs
    reason: Line = ""


class OpenQuestion(Wire, frozen=True, kw_only=True):
    """An open question by name only: its text comes from its own bytes (``getApproval``), never from here."""

    question_id: QuestionText
    session_id: SessionText
    asked_s: Safe
    expires_s: Safe


class Approvals(Answer, frozen=True, kw_only=True):
    """The open questions."""

    questions: tuple[OpenQuestion, ...]


class QuestionBytes(Answer, frozen=True, kw_only=True):
    """The question's bytes Q: what the client renders, hashes and answers."""

    question: bytes


class GrantInfo(Wire, frozen=True, kw_only=True):
    """One line of what a token covers."""

    pattern: Line
    perms: Safe
    issuable: Safe
    max_risk: Safe


class TokenInfo(Wire, frozen=True, kw_only=True):
    """A token as a person lists it.  Figures at the field's maximum mean "no limit", as in the token itself."""

    token_id: TokenText
    scope: ScopeText
    issuer: Bytes32
    holder: Bytes32
    assurance: AssuranceText
    not_before_s: U64Text
    expires_s: U64Text
    uses: Safe
    used: Safe
    purse_micros: U64Text
    spent_micros: U64Text
    revoked: bool
    grants: tuple[GrantInfo, ...]


class Tokens(Answer, frozen=True, kw_only=True):
    """The tokens this install knows."""

    tokens: tuple[TokenInfo, ...]


class TokenShown(Answer, frozen=True, kw_only=True):
    """A token and its bytes, so that the client can check what it is told."""

    info: TokenInfo
    chain: bytes


class TokenAdded(Answer, frozen=True, kw_only=True):
    """The grant verified and is kept."""

    token_id: TokenText


class TokensRevoked(Answer, frozen=True, kw_only=True):
    """How many known tokens the revocation cut off, the subtree counted."""

    revoked: Safe


class AuditRecord(Wire, frozen=True, kw_only=True):
    """A record of the log as a person lists it.  ``scripted``: its session's model follows a script."""

    seq: Safe
    boot: Safe
    time_ns: U64Text
    kind: Name
    session_id: SessionText | None
    scripted: bool
    decision: DecisionText | None
    summary: Line


class AuditRecords(Answer, frozen=True, kw_only=True):
    """``after_seq`` is what to ask with for the next page; ``None`` when this was the last."""

    records: tuple[AuditRecord, ...]
    after_seq: Safe | None


class PayloadBytes(Wire, frozen=True, kw_only=True):
    """What lies beside a record, with the salt of the commitment in it.  ``data`` is its beginning where ``length`` is
    more.
    """

    slot: Safe
    salt: Bytes32
    length: Safe
    data: bytes


class AuditShown(Answer, frozen=True, kw_only=True):
    """One record: the stored frame, which says everything, and its payloads where they were not erased."""

    record: AuditRecord
    frame: bytes
    payloads: tuple[PayloadBytes, ...]


class AuditProof(Answer, frozen=True, kw_only=True):
    """That the record is in the log under the signed checkpoint: its frame, its audit path and the note."""

    seq: Safe
    size: Safe
    frame: bytes
    path: tuple[Bytes32, ...]
    checkpoint: bytes


class Checkpoint(Answer, frozen=True, kw_only=True):
    """A signed note (C2SP)."""

    checkpoint: bytes


class Consistency(Answer, frozen=True, kw_only=True):
    """That the log of ``size`` records begins with the one of ``from_size``."""

    from_size: Safe
    size: Safe
    path: tuple[Bytes32, ...]
    checkpoint: bytes


class Tally(Wire, frozen=True, kw_only=True):
    """How many of one kind."""

    name: Name
    count: Safe


class AuditStats(Answer, frozen=True, kw_only=True):
    """The log in numbers."""

    records: Safe
    log_bytes: Safe
    first_ns: U64Text
    last_ns: U64Text
    kinds: tuple[Tally, ...]
    decisions: tuple[Tally, ...]


class Explanation(Answer, frozen=True, kw_only=True):
    """Why something happened or did not: lines for a person, and the records they rest on."""

    lines: tuple[Line, ...]
    records: tuple[AuditRecord, ...]


class KeyInfo(Wire, frozen=True, kw_only=True):
    """A public key and what it is for."""

    role: Literal["user", "device", "runtime", "holder", "client"]
    public_key: Bytes32
    assurance: Literal["plain", "sealed", "device", "relayed", "none"]  # none: it is no key of a person


class Keys(Answer, frozen=True, kw_only=True):
    """The public keys of this install."""

    keys: tuple[KeyInfo, ...]


class Finding(Wire, frozen=True, kw_only=True):
    """What one check of the installation found."""

    name: Name
    state: Literal["ok", "warn", "fail"]
    detail: Line
    advice: Line = ""


class Findings(Answer, frozen=True, kw_only=True):
    """What all checks found."""

    findings: tuple[Finding, ...]
