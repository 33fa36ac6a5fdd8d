"""The state of a session's turns, and how a saved row changes it.  Pure.

Never: decides.  Whether a row is written is the business of ``turn``; here it is only taken in.

Invariants:
  A row is applied in full or not at all; one that does not fit the phase is refused.
  A list of messages only grows: what makes a conversation shorter makes another list, so that ``End`` stays true.
  In ``conversation`` each assistant message with calls is followed by one user message with their results, in order.

Source: architecture 2 ("Machine and shell").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import msgspec

from astrid.core.conversation import AnyPart, Message, Picture, Role, Text, ToolResult, ToolUse, Usage
from astrid.core.labels import VOUCHED, Label, join
from astrid.core.turn_entries import Entry, compacted
from astrid.core.turn_messages import (
    AnswerRow,
    AnyRow,
    AskRow,
    CallRow,
    CompactRow,
    EndRow,
    ForkRow,
    FrameRow,
    InputRow,
    RestoreRow,
    ResultRow,
    RewindRow,
    Setting,
    SummaryRow,
    WaitRow,
)
from astrid.errors import InputError


class OpenCall(msgspec.Struct, frozen=True):
    """A call of the last answer: waiting (no ``ref``), proposed, or answered (``result``)."""

    use: ToolUse
    ref: int = 0
    result: ToolResult | None = None
    label: Label | None = None  # of the result

    @property
    def waiting(self) -> bool:
        """Not proposed and not answered."""
        return self.result is None and not self.ref

    @property
    def proposed(self) -> bool:
        """Proposed and not answered."""
        return self.result is None and self.ref > 0


class Idle(msgspec.Struct, frozen=True):
    """Nobody waits for anything."""


class Ready(msgspec.Struct, frozen=True):
    """Everything is answered; the model is to be asked, or the turn to be ended."""


class Asking(msgspec.Struct, frozen=True):
    """The model was asked: for its answer, or for a summary."""

    ref: int
    for_summary: bool = False


class Waiting(msgspec.Struct, frozen=True):
    """The model call failed in passing; it is made again when the wait ``ref`` is over."""

    ref: int


class Calling(msgspec.Struct, frozen=True):
    """The model's calls, in its order; at least one is not answered."""

    calls: tuple[OpenCall, ...]


AnyPhase = Idle | Ready | Asking | Waiting | Calling


class Rate(msgspec.Struct, frozen=True):
    """How many tokens a vendor counted for so many characters."""

    weight: int
    tokens: int


GUESSED = Rate(3, 1)  # until a vendor has counted
MAX_CHARACTERS_PER_TOKEN = 16  # where a vendor counted fewer tokens, it has not counted everything
LONG = 1_000_000


class End(msgspec.Struct, frozen=True):
    """The conversation as a turn left it: the first ``count`` of ``messages``, and what its first stands for."""

    messages: list[Entry] = []
    count: int = 0
    evicted: tuple[Entry, ...] = ()
    since_compaction: int = LONG


class Turn(msgspec.Struct, kw_only=True):
    """One session's conversation and where it stands.  Owned by the machine; everything inside is frozen."""

    setting: Setting
    label: Label  # of all that the model will see at its next call
    framed: bool = False  # the journal says what the setting is
    phase: AnyPhase = Idle()
    conversation: list[Entry] = []
    ids: set[str] = set()  # of every call so far
    number: int = 0  # of inputs taken
    asked: int = 0  # model calls since the last input
    asked_in_session: int = 0
    last_ref: int = 0
    frame_weight: int  # of what stands before the conversation in each request
    weight: int = 0  # of the conversation
    rate: Rate = GUESSED
    evicted: tuple[Entry, ...] = ()  # what the first entry stands for, since the last compaction
    since_compaction: int = LONG  # answers
    ends: dict[int, End]  # by the number of the turn, of those that can be gone back to; 0 is before the first
    attempts: int = 0  # model calls for the answer that is to come
    waited_ms: int = 0  # between them
    place: int = 0  # of the model that is asked in this turn: 0 is the session's own, the others stand in for it


def new_turn(setting: Setting) -> Turn:
    """The state of a session in which nothing was said yet."""
    return Turn(setting=setting, label=setting.frame_label, frame_weight=_frame_weight(setting), ends={0: End()})


def restore(setting: Setting, rows: Iterable[AnyRow]) -> Turn:
    """The state that wrote ``rows``.  What was under way stays under way: see ``outstanding``.

    The setting is that of ``rows``; ``setting`` where they name none.

    Raises:
        InputError: a row does not fit what came before it.
    """
    turn = new_turn(setting)
    for row in rows:
        apply(turn, row)
    return turn


def asked_model(turn: Turn) -> str:
    """The model that the next call is of."""
    return (turn.setting.model, *turn.setting.fallbacks)[turn.place]


def outstanding(turn: Turn) -> tuple[int, ...]:
    """The refs that are proposed and not answered.  After a restart each needs an answer, or a ``CallUnknown``, and a
    ``Waiting`` phase its ``Waited``.
    """
    match turn.phase:
        case Asking(ref):
            return (ref,)
        case Calling(calls):
            return tuple(call.ref for call in calls if call.proposed)
        case _:
            return ()


def restored(turn: Turn) -> list[Entry]:
    """The conversation with what the last compaction took away."""
    return [*turn.evicted, *turn.conversation[1:]]


def apply(turn: Turn, row: AnyRow) -> None:
    """Change ``turn`` as ``row`` says.

    Raises:
        InputError: the row does not fit; nothing changed.
    """
    phase = turn.phase
    match row:
        case FrameRow() if isinstance(phase, Idle):
            if row.setting != turn.setting:  # else it stays the one that other sessions have too
                turn.setting = row.setting
                turn.frame_weight = _frame_weight(row.setting)
            # Before anything was said, what the journal says is all that the model has seen, whatever a frame that is
            # made today would hold.
            # SAFETY: of a conversation that was rewound to its beginning nothing is there, but its label holds.
            seen = (turn.label,) if turn.number else ()
            turn.label = join(*seen, row.setting.frame_label)
            turn.framed = True
        case ForkRow() if isinstance(phase, Idle) and turn.framed and not turn.number:
            turn.label = join(turn.label, row.label)
            turn.asked_in_session -= row.asks
        case InputRow() if isinstance(phase, Idle):
            # SAFETY: who signs the name of an image vouches for it as for a file, and does not speak in it.
            seen = tuple((Picture(image=image), join(row.label, VOUCHED)) for image in row.images)
            parts, labels = zip((Text(text=row.text), row.label), *seen, strict=True)
            _append(turn, "user", parts, labels, inputs=1)
            turn.number += 1
            turn.asked = turn.attempts = turn.waited_ms = turn.place = 0
            turn.phase = Ready()
        case AskRow() | SummaryRow() if isinstance(phase, Ready | Waiting) and row.ref > turn.last_ref:
            turn.last_ref = row.ref
            turn.asked += 1
            turn.asked_in_session += 1
            turn.attempts += 1
            turn.phase = Asking(row.ref, for_summary=isinstance(row, SummaryRow))
        case WaitRow() if isinstance(phase, Asking) and row.ref > turn.last_ref and _may_switch(turn, row):
            turn.last_ref = row.ref
            turn.waited_ms += row.wait_ms
            if row.switches:
                turn.place += 1
                turn.attempts = turn.waited_ms = 0
            turn.phase = Waiting(row.ref)
        case AskRow() | SummaryRow() if isinstance(phase, Asking) and row.ref > turn.last_ref:
            # Nobody will answer the one before it.  It is the same call of the turn, and counts once.
            if phase.for_summary is not isinstance(row, SummaryRow):
                raise _misplaced(row)
            turn.last_ref = row.ref
            turn.phase = Asking(row.ref, for_summary=phase.for_summary)
        case CompactRow() if isinstance(phase, Asking) and phase.for_summary and row.kept < len(turn.conversation):
            _compact(turn, row)
        case RestoreRow() if isinstance(phase, Idle) and turn.evicted:
            _converse(turn, restored(turn))
            turn.evicted, turn.since_compaction = (), LONG
        case RewindRow() if isinstance(phase, Idle) and row.turn in turn.ends:
            end = turn.ends[row.turn]
            _converse(turn, end.messages[: end.count])
            turn.evicted, turn.since_compaction = end.evicted, end.since_compaction
            turn.ends = {number: end for number, end in turn.ends.items() if number <= row.turn}
        case AnswerRow() if isinstance(phase, Asking) and not phase.for_summary:
            turn.since_compaction += 1
            if row.usage is not None:
                turn.rate = _rate(turn.frame_weight + turn.weight, row.usage)
            uses = tuple(part for part in row.parts if isinstance(part, ToolUse))
            if row.parts:
                _append(turn, "assistant", row.parts, (row.label,) * len(row.parts))
            turn.ids.update(use.id for use in uses)
            turn.attempts = turn.waited_ms = 0
            turn.phase = Calling(tuple(OpenCall(use) for use in uses)) if uses else Ready()
        case CallRow() if isinstance(phase, Calling) and row.ref > turn.last_ref:
            at = _find(phase, row.id)
            if phase.calls[at].result is not None:
                raise _misplaced(row)
            turn.last_ref = row.ref
            turn.phase = _with(phase, at, OpenCall(phase.calls[at].use, row.ref))
        case ResultRow() if isinstance(phase, Calling):
            _answer(turn, phase, row)
        case EndRow() if isinstance(phase, Ready | Asking | Waiting):
            messages = turn.conversation
            turn.ends[turn.number] = End(messages, len(messages), turn.evicted, turn.since_compaction)
            turn.phase = Idle()
        case FrameRow() | ForkRow() | InputRow() | AskRow() | WaitRow() | SummaryRow() | CompactRow():
            raise _misplaced(row)
        case RestoreRow() | RewindRow():
            raise _misplaced(row)
        case AnswerRow() | CallRow() | ResultRow() | EndRow():
            raise _misplaced(row)
        case _:
            assert_never(row)


def _may_switch(turn: Turn, row: WaitRow) -> bool:
    return not row.switches or turn.place < len(turn.setting.fallbacks)


def _answer(turn: Turn, phase: Calling, row: ResultRow) -> None:
    at = _find(phase, row.id)
    call = phase.calls[at]
    if call.result is not None:
        raise _misplaced(row)
    result = ToolResult(id=row.id, content=row.content, is_error=row.is_error, image=row.image)
    after = _with(phase, at, OpenCall(call.use, call.ref, result, row.label))
    answered = [(call.result, call.label) for call in after.calls if call.result is not None and call.label is not None]
    if len(answered) == len(after.calls):
        _append(turn, "user", tuple(result for result, _ in answered), tuple(label for _, label in answered))
        turn.phase = Ready()
    else:
        turn.label = join(turn.label, row.label)
        turn.phase = after


def _append(turn: Turn, role: Role, parts: tuple[AnyPart, ...], labels: tuple[Label, ...], *, inputs: int = 0) -> None:
    entry = Entry(Message(role=role, parts=parts), labels, inputs)
    turn.conversation.append(entry)
    turn.weight += entry.weight
    turn.label = join(turn.label, *labels)


def _converse(turn: Turn, messages: list[Entry]) -> None:
    """Go on with ``messages``, a list of its own."""
    turn.conversation = messages
    turn.weight = sum(entry.weight for entry in messages)


def _compact(turn: Turn, row: CompactRow) -> None:
    at = len(turn.conversation) - row.kept
    turn.evicted = tuple(turn.conversation[:at])
    _converse(turn, [compacted(turn.evicted, row.text, row.label), *turn.conversation[at:]])
    turn.label = join(turn.label, row.label)
    turn.since_compaction = turn.attempts = turn.waited_ms = 0
    turn.phase = Ready()


def _frame_weight(setting: Setting) -> int:
    tools = sum(len(tool.name) + len(tool.description) + len(tool.schema) for tool in setting.tools)
    return len(setting.system) + tools


def _rate(weight: int, usage: Usage) -> Rate:
    """What the vendor counted, as far as it can be true: a token has at least one character, and not many."""
    weight = max(weight, 1)
    return Rate(weight, min(max(usage.context_tokens, weight // MAX_CHARACTERS_PER_TOKEN), weight))


def _find(phase: Calling, call_id: str) -> int:
    for at, call in enumerate(phase.calls):
        if call.use.id == call_id:
            return at
    raise InputError("turn.no-such-call", "a row of the session names a call that is not open")


def _with(phase: Calling, at: int, call: OpenCall) -> Calling:
    return Calling((*phase.calls[:at], call, *phase.calls[at + 1 :]))


def _misplaced(row: AnyRow) -> InputError:
    return InputError("turn.row-misplaced", f"a row of kind `{type(row).__name__}` does not fit what came before it")
