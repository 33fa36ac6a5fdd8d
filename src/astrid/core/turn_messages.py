"""What goes into the turn machine, what comes out of it, and what it writes down.  Pure data.

Never: references to actors, callables or exceptions inside.  Every proposal carries a ``ref``, a number that a session
never uses twice; what answers it names that number.

Rows are facts, in the order they happened.  ``turn_state.restore`` needs nothing else, so that no decision is ever made
a second time.

Source: architecture 2 (core/turn), 5 and 6 (labels); the first Astrid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from astrid.core.conversation import (
    AnyStreamEvent,
    Image,
    ModelRequest,
    Reasoning,
    StopReason,
    Text,
    ToolDefinition,
    ToolUse,
    Usage,
)
from astrid.core.ids import QuestionId
from astrid.core.labels import RUNTIME, Label
from astrid.core.risk import EffectClass
from astrid.core.turn_limits import Limits
from astrid.core.turn_unreadable import unreadable

AnswerPart = Text | ToolUse | Reasoning
EndReason = Literal["end_turn", "max_tokens", "stop_sequence", "refusal", "cancelled", "limit", "failed"]


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stays the same for a session.

    ``frame_label`` is the label of the system prompt and of the tools' descriptions.  A tool that ``effects`` does not
    name counts as undeclared, which is not a read.
    """

    model: str  # provider/model
    fallbacks: tuple[str, ...] = ()  # asked in its place, one after the other, for the rest of a turn in which it fails
    system: str
    max_tokens: int  # of one answer
    tools: tuple[ToolDefinition, ...] = ()
    effects: Mapping[str, EffectClass] = {}
    frame_label: Label = RUNTIME
    limits: Limits = Limits()
    window_tokens: int = 0  # what the model takes in and gives out; 0 if the conversation is never compacted
    compact_at_percent: int = 85  # of the window
    keep_recent: int = 10  # messages that a compaction leaves as they are
    workspace: bytes = b""  # the path of the folder it works in, as the system spells it
    budget_micros: int = 0  # what it was given when it was opened; 0 if only what is configured
    fleet: bytes = b""  # the id of its fleet's token, if it is in one
    agent: str = ""  # the definition that it follows, if not that of every session


# ---- in ------------------------------------------------------------------------------------------


class TurnInput(msgspec.Struct, frozen=True, tag=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what the machine is told."""


class UserInput(TurnInput, frozen=True):
    """Somebody said something; ``label`` says how much it may be believed.  ``images`` are those that it names."""

    text: str
    label: Label
    images: tuple[Image, ...] = ()


class ModelProgressed(TurnInput, frozen=True):
    """A piece of an answer that is still coming."""

    ref: int
    event: AnyStreamEvent


class ModelAnswered(TurnInput, frozen=True):
    """The whole answer."""

    ref: int
    parts: tuple[AnswerPart, ...]
    stop_reason: StopReason
    usage: Usage | None = None


class ModelFailed(TurnInput, frozen=True):
    """The model call was allowed and failed; ``code`` is that of the error.  ``retry_after_ms`` is for how long the
    vendor wants to be left alone, ``die`` a random number of ``turn_retry.DIE_BYTES``.
    """

    ref: int
    code: str
    retry_after_ms: int = 0
    die: int = 0


class Waited(TurnInput, frozen=True):
    """The wait ``ref`` is over."""

    ref: int


class ToolAnswered(TurnInput, frozen=True):
    """How a tool call ended.  ``content`` is UTF-8 text, or an image."""

    ref: int
    content: bytes
    is_error: bool
    label: Label


class CallDenied(TurnInput, frozen=True):
    """The gate said no, to a tool call or to a model call.  ``model_text`` is one of the gate's constant texts."""

    ref: int
    code: str
    layer: str
    model_text: str


class CallDeferred(TurnInput, frozen=True):
    """A person must be asked, and nobody is there."""

    ref: int
    question_id: QuestionId


class CallUnknown(TurnInput, frozen=True):
    """The runtime died between the permit and the outcome."""

    ref: int


class Cancel(TurnInput, frozen=True):
    """The person wants it to stop."""


class Restore(TurnInput, frozen=True):
    """The person wants back what the last compaction took away."""


class Rewind(TurnInput, frozen=True):
    """The person wants the conversation to be what it was after turn number ``turn``; 0 is before the first."""

    turn: int


class LimitReached(TurnInput, frozen=True):
    """A limit that is kept elsewhere (time, money, log bytes) was reached; ``code`` says which."""

    code: str


Verdict = ModelAnswered | ModelFailed | ToolAnswered | CallDenied | CallDeferred | CallUnknown
"""How something that was proposed ended."""

AnyTurnInput = Verdict | UserInput | ModelProgressed | Waited | Cancel | Restore | Rewind | LimitReached


# ---- written down --------------------------------------------------------------------------------


class Row(msgspec.Struct, frozen=True, tag_field="row", kw_only=True, forbid_unknown_fields=True):
    """Base of what a session's journal holds."""

    at_ns: int


class FrameRow(Row, frozen=True, tag="frame"):
    """From here on everything is said under this setting."""

    setting: Setting


class InputRow(Row, frozen=True, tag="input", omit_defaults=True):
    """A turn began."""

    text: str
    label: Label
    images: tuple[Image, ...] = ()


class AskRow(Row, frozen=True, tag="ask"):
    """A model call was proposed; again, if none was answered since the last time."""

    ref: int


class SummaryRow(Row, frozen=True, tag="summary"):
    """A model call was proposed whose answer is to stand for what was said so far."""

    ref: int


class ForkRow(Row, frozen=True, tag="fork"):
    """What follows was said in another session, ``session``, up to and including its turn ``turn``, as the log had it
    when that had ``record`` records.  ``label`` is that of all that its model had seen by then; ``asks`` is how many
    model calls the rows tell of, which are none of this session's.
    """

    session: bytes
    turn: int
    record: int
    label: Label
    asks: int


class CompactRow(Row, frozen=True, tag="compact"):
    """The model's summary now stands for all but the last ``kept`` messages."""

    text: str
    label: Label
    kept: int
    usage: Usage | None


class RestoreRow(Row, frozen=True, tag="restore"):
    """What the last compaction took away is there again."""


class RewindRow(Row, frozen=True, tag="rewind"):
    """The conversation is what it was after turn ``turn``.  What was said since stays in the journal, and counts."""

    turn: int


class WaitRow(Row, frozen=True, tag="wait"):
    """The model call failed with ``code``; it is made again after a wait, of the next model if it ``switches``."""

    ref: int
    code: str
    wait_ms: int
    switches: bool = False


class AnswerRow(Row, frozen=True, tag="answer"):
    """The model answered; ids are already unique."""

    parts: tuple[AnswerPart, ...]
    label: Label
    usage: Usage | None


class CallRow(Row, frozen=True, tag="call"):
    """A tool call was proposed; again, if it has a ``ref`` already."""

    id: str
    ref: int


class ResultRow(Row, frozen=True, tag="result", omit_defaults=True):
    """A tool call got its one result."""

    id: str
    content: str
    is_error: bool
    label: Label
    image: Image | None = None


class EndRow(Row, frozen=True, tag="end"):
    """The turn ended."""

    reason: EndReason
    code: str


Undone = RestoreRow | RewindRow
"""What is written between two turns."""

_Said = InputRow | AnswerRow | CallRow | ResultRow
AnyRow = _Said | FrameRow | ForkRow | AskRow | WaitRow | SummaryRow | CompactRow | Undone | EndRow

_row_encoder = msgspec.json.Encoder(order="deterministic")
_row_decoder = msgspec.json.Decoder(AnyRow)


def encode_row(row: AnyRow) -> bytes:
    """The bytes of a row, as the journal keeps them."""
    return _row_encoder.encode(row)


def decode_row(data: bytes) -> AnyRow:
    """The row that ``data`` spells.

    Raises:
        CanonError: not a row, or that of a newer version.
    """
    try:
        return _row_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error) from error


# ---- out -----------------------------------------------------------------------------------------


class TurnEffect(msgspec.Struct, frozen=True, tag=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what the machine wants done."""


class Save(TurnEffect, frozen=True):
    """Write these rows, all or none.  Always the first effect of a step that changed anything."""

    rows: tuple[AnyRow, ...]


class ProposeModel(TurnEffect, frozen=True):
    """Ask the gate for a model call made in a context of ``label``; ``place`` is that of the model, 0 the session's."""

    ref: int
    place: int
    request: ModelRequest
    label: Label


class ProposeTool(TurnEffect, frozen=True):
    """Ask the gate for a tool call.  ``arguments`` is a JSON object, byte for byte as the model wrote it."""

    ref: int
    tool_use_id: str
    name: str
    arguments: bytes
    label: Label


class Wait(TurnEffect, frozen=True):
    """Say ``Waited`` in ``wait_ms``.  The model call failed with ``code`` and is made again then, as attempt number
    ``attempt`` with ``model``; what was streamed of its answer is void.
    """

    ref: int
    code: str
    wait_ms: int
    attempt: int
    model: str


class Withdraw(TurnEffect, frozen=True):
    """Nobody waits for the answer to ``ref`` any more."""

    ref: int


class StreamText(TurnEffect, frozen=True):
    """Provisional text: it may be dropped, and may turn out to be part of no answer."""

    text: str


class Say(TurnEffect, frozen=True):
    """Text of a complete answer; it leaves the runtime when the log is durable up to here."""

    text: str
    label: Label


class Compacted(TurnEffect, frozen=True):
    """A summary stands for ``messages`` messages, or (below 0) so many are there again; tokens are estimates."""

    messages: int
    tokens_before: int
    tokens_after: int


class Rewound(TurnEffect, frozen=True):
    """The model will see nothing any more of the last ``messages`` messages: it is after turn ``turn``."""

    turn: int
    messages: int


class Refused(TurnEffect, frozen=True):
    """The input was not taken; nothing changed."""

    code: str


class Finished(TurnEffect, frozen=True):
    """The turn is over.  Exactly one for each input taken; ``code`` says more after ``limit`` and ``failed``."""

    reason: EndReason
    code: str


AnyTurnEffect = (
    Save | ProposeModel | ProposeTool | Wait | Withdraw | StreamText | Say | Compacted | Rewound | Refused | Finished
)
