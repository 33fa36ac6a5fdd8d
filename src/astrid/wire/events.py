"""What a session tells whoever subscribed, and what ``astrid exec --json`` prints, one event a line.

``flow`` says when an event may leave the runtime:
  PROVISIONAL  at once, and it may be dropped: streamed text, which a later ``message`` says again in full;
  IMMEDIATE    at once, never dropped: said also when the log cannot be written, so it holds only constant texts;
  DURABLE      when the audit actor's watermark has passed the record it rests on.

``seq`` counts the events of a session that are not provisional, from 1.  A provisional event repeats the number of the
last one that counted (0 before the first), so a hole in the numbers always means that something was lost: subscribe
again with ``after``.

Invariants:
  decode_event(encode_event(event)) == event, and an encoded event is one line.
  The arguments and results of tools are text here, byte for byte what was decided and run; nothing re-encodes them.

Source: the first Astrid (DaemonEvent); architecture section 5 (watermark); threats 36, 40.
"""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar, Literal, TypeAlias, cast

import msgspec
from msgspec import Meta

from astrid.core.json_scan import scan_json
from astrid.errors import CanonError, RemoteProtocolError
from astrid.wire import typed
from astrid.wire.fields import CodeText, Line, Name, QuestionText, Safe, SessionText, TokenText, U64Text, Wire

MAX_EVENT_BYTES = 1024 * 1024


class Flow(enum.Enum):
    """When an event may leave the runtime."""

    PROVISIONAL = "provisional"
    IMMEDIATE = "immediate"
    DURABLE = "durable"


class Event(Wire, frozen=True, kw_only=True, tag_field="event"):
    """Base of every event: whose, and its place in the order."""

    flow: ClassVar[Flow] = Flow.DURABLE

    session_id: SessionText
    seq: Safe


CallId = Annotated[str, Meta(min_length=1, max_length=128)]


class TextDelta(Event, frozen=True, kw_only=True, tag="text"):
    """A piece of the model's answer as it streams in."""

    flow: ClassVar[Flow] = Flow.PROVISIONAL

    text: str


class FinalMessage(Event, frozen=True, kw_only=True, tag="message"):
    """The model's whole message, once it is in the log."""

    text: str


class ToolCallStart(Event, frozen=True, kw_only=True, tag="tool_call_start"):
    """The model wants a call.  ``args`` is the JSON text that the tool would get; what becomes of it follows."""

    id: CallId
    name: Name
    args: str


class ToolCallResult(Event, frozen=True, kw_only=True, tag="tool_call_result"):
    """A call ended; ``result`` is what the model gets to see, which keeps it far shorter than a message may be."""

    id: CallId
    result: str
    is_error: bool


class ApprovalNeeded(Event, frozen=True, kw_only=True, tag="approval_needed"):
    """A person must decide.  What about, is in the question's bytes (``getApproval``) and nowhere else."""

    question_id: QuestionText
    expires_s: Safe


class ApprovalSettled(Event, frozen=True, kw_only=True, tag="approval_settled"):
    """A question is no longer open."""

    question_id: QuestionText
    outcome: Literal["granted", "denied", "expired", "withdrawn"]


class Denied(Event, frozen=True, kw_only=True, tag="denied"):
    """A call did not run, and which layer said so."""

    call_id: CallId
    tool: Name
    layer: Name
    code: CodeText
    reason: Line
    advice: Line = ""


class Deferred(Event, frozen=True, kw_only=True, tag="deferred"):
    """Nobody was there to ask; the question waits, and a later yes needs a fresh proposal."""

    call_id: CallId
    question_id: QuestionText


class Usage(Event, frozen=True, kw_only=True, tag="usage"):
    """What a model call took, and how full the context is.

    Input that the vendor put into its cache, or took from there, is counted apart from ``input_tokens``.
    """

    context_tokens: Safe
    max_context_tokens: Safe
    input_tokens: Safe
    output_tokens: Safe
    cache_write_tokens: Safe = 0
    cache_read_tokens: Safe = 0


class ContextCompacted(Event, frozen=True, kw_only=True, tag="context_compacted"):
    """A summary stands for the first ``messages`` messages of the conversation, or they are there again instead of
    it.  Tokens are what the next request is estimated to take in.
    """

    messages: Safe
    restored: bool
    tokens_before: Safe
    tokens_after: Safe


class ConversationRewound(Event, frozen=True, kw_only=True, tag="conversation_rewound"):
    """The conversation is what it was after turn ``turn``: the model sees nothing more of ``messages`` messages."""

    turn: Safe
    messages: Safe


class Budget(Event, frozen=True, kw_only=True, tag="budget"):
    """A call was settled: what the session has spent, what its running calls may cost yet, and its cap."""

    spent_micros: U64Text
    reserved_micros: U64Text
    cap_micros: U64Text


class BudgetWarning(Event, frozen=True, kw_only=True, tag="budget_warning"):
    """A purse that the session draws on has filled up to the configured mark.  It is said once of each."""

    purse: Literal["session", "workspace", "token"]
    token_id: TokenText | None = None
    spent_micros: U64Text
    cap_micros: U64Text


class TaskProgress(Event, frozen=True, kw_only=True, tag="task_progress"):
    """Where a sub-agent of the session stands, or one of theirs; ``child_id`` once it works.  Nothing that it says.  It
    is told when the permit of its task, or its start, is in the log.
    """

    agent: Name
    state: Literal["queued", "working", "over"]
    child_id: SessionText | None = None


class Retrying(Event, frozen=True, kw_only=True, tag="retrying"):
    """A model call failed with ``code`` and is made again in ``wait_ms``, as attempt number ``attempt`` with ``model``,
    which is another one where that is the first.  What was streamed of the answer is void: no ``message`` will say it.
    """

    code: CodeText
    attempt: Safe
    wait_ms: Safe
    model: Name


class SessionSaved(Event, frozen=True, kw_only=True, tag="session_saved"):
    """Everything up to here survives a restart."""


class TurnComplete(Event, frozen=True, kw_only=True, tag="turn_complete"):
    """The turn ended; the session takes input again."""

    turn: Safe
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "refusal", "cancelled", "limit", "failed"]
    code: CodeText | None = None


class ErrorRaised(Event, frozen=True, kw_only=True, tag="error"):
    """Something failed that is not a denial.  Constant texts only: this is said also when nothing can be recorded."""

    flow: ClassVar[Flow] = Flow.IMMEDIATE

    code: CodeText
    message: Line
    where: Line = ""
    advice: Line = ""


class SessionEnded(Event, frozen=True, kw_only=True, tag="session_ended"):
    """The last event of a session.  Its end needs no record to be true: no session outlives its daemon."""

    flow: ClassVar[Flow] = Flow.IMMEDIATE

    reason: Literal["asked", "idle", "shutdown", "failed", "done"]


AnyEvent: TypeAlias = (
    TextDelta
    | FinalMessage
    | ToolCallStart
    | ToolCallResult
    | ApprovalNeeded
    | ApprovalSettled
    | Denied
    | Deferred
    | Usage
    | ContextCompacted
    | ConversationRewound
    | Budget
    | BudgetWarning
    | TaskProgress
    | Retrying
    | SessionSaved
    | TurnComplete
    | ErrorRaised
    | SessionEnded
)

ANY_EVENT = cast("type[AnyEvent]", AnyEvent)  # a union decodes like a type


def encode_event(event: AnyEvent) -> bytes:
    """``event`` as one line of JSON, without the line's end.

    Raises:
        LocalProtocolError: ``wire.unsayable``: a field is out of range, or holds what JSON cannot carry.
    """
    return typed.write(ANY_EVENT, event)


def decode_event(line: bytes) -> AnyEvent:
    """The event that a line holds.

    Raises:
        RemoteProtocolError: ``wire.bad-notice``: it holds none.
    """
    try:
        scan_json(line, max_bytes=MAX_EVENT_BYTES, max_depth=2)
        return typed.read(ANY_EVENT, line)
    except CanonError as error:
        raise RemoteProtocolError("wire.bad-notice", f"the line is no event: {error.message}") from error
    except msgspec.ValidationError as error:
        raise RemoteProtocolError("wire.bad-notice", f"the line is no event: {error}") from error
