"""What a session tells people: events made so that they can be sent, and held back until they may leave.

``say`` keeps an event until everything that was being saved when it was said is durable; an ``IMMEDIATE`` one leaves at
once.  Texts that are too long for an event are cut, and say so; the log has all of them.

Never: waits, drops an event, or lets one overtake another of its kind.

Source: architecture 5 ("what leaves the runtime waits for the durable watermark"); threats 36.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

from astrid.core.canon import MAX_U64
from astrid.core.conversation import Usage as Counted
from astrid.core.gate_messages import Booked, PurseLine, Refused
from astrid.core.gate_messages import Deferred as Waiting
from astrid.core.ids import SessionId, show_id
from astrid.core.images import image_of, told
from astrid.core.turn_messages import Compacted, Finished, Rewound, Wait
from astrid.wire.events import (
    AnyEvent,
    Budget,
    BudgetWarning,
    ContextCompacted,
    ConversationRewound,
    Deferred,
    Denied,
    ErrorRaised,
    FinalMessage,
    Flow,
    Retrying,
    SessionSaved,
    ToolCallResult,
    ToolCallStart,
    TurnComplete,
    Usage,
)
from astrid.wire.fields import MAX_SAFE_INT

MAX_TEXT_BYTES = 128 * 1024  # escaped as JSON it may take six times that
MAX_LINE = 4096
MAX_NAME = 128


class Teller:
    """One session's events.  Their numbers are given where they leave; here all are 0."""

    def __init__(self, session: SessionId, context_tokens: int, report: Callable[[AnyEvent], None]) -> None:
        self._id = show_id("session", session)
        self._context_tokens = context_tokens
        self._report = report
        self._held: list[tuple[int, AnyEvent]] = []  # a session that waits holds nothing, and an empty deque is large
        self._saving = 0
        self._durable = 0

    def saving(self, number: int) -> None:
        """Save number ``number`` is on its way to the log; numbers rise."""
        self._saving = number

    def durable(self, number: int) -> None:
        """Everything up to save ``number`` is durable."""
        self._durable = max(self._durable, number)
        ready = [event for saving, event in self._held if saving <= self._durable]  # the first ones, for numbers rise
        del self._held[: len(ready)]
        for event in ready:
            self._report(event)

    def say(self, event: AnyEvent) -> None:
        """Tell people, once it may be told."""
        if event.flow is Flow.IMMEDIATE or self._saving <= self._durable:
            self._report(event)
        else:
            self._held.append((self._saving, event))

    # --- what there is to say

    def message(self, text: str) -> AnyEvent:
        """The model's whole message."""
        return FinalMessage(session_id=self._id, seq=0, text=fitting(text))

    def call(self, call_id: str, tool: str, args: str) -> AnyEvent:
        """The model wants a call."""
        return ToolCallStart(session_id=self._id, seq=0, id=call_id, name=name(tool), args=fitting(args))

    def result(self, call_id: str, content: bytes, *, is_error: bool) -> AnyEvent:
        """A call ended."""
        image = image_of(content, 0)
        text = fitting(content.decode("utf-8", "replace")) if image is None else told(image)
        return ToolCallResult(session_id=self._id, seq=0, id=call_id, result=text, is_error=is_error)

    def denied(self, call_id: str, tool: str, why: Refused) -> AnyEvent:
        """A call did not run."""
        return Denied(
            session_id=self._id,
            seq=0,
            call_id=call_id,
            tool=name(tool),
            layer=name(why.layer),
            code=why.code,
            reason=line(why.reason),
            advice=line(why.advice),
        )

    def deferred(self, call_id: str, why: Waiting) -> AnyEvent:
        """Nobody was there to ask."""
        question = show_id("question", why.qid)
        return Deferred(session_id=self._id, seq=0, call_id=call_id, question_id=question)

    def usage(self, counted: Counted) -> AnyEvent:
        """What a model call took."""
        return Usage(
            session_id=self._id,
            seq=0,
            context_tokens=min(counted.context_tokens, MAX_SAFE_INT),
            max_context_tokens=self._context_tokens,
            input_tokens=min(counted.input_tokens, MAX_SAFE_INT),
            output_tokens=min(counted.output_tokens, MAX_SAFE_INT),
            cache_write_tokens=min(counted.cache_write_tokens, MAX_SAFE_INT),
            cache_read_tokens=min(counted.cache_read_tokens, MAX_SAFE_INT),
        )

    def compacted(self, what: Compacted) -> AnyEvent:
        """The conversation takes less room now, or as much as before again."""
        return ContextCompacted(
            session_id=self._id,
            seq=0,
            messages=abs(what.messages),
            restored=what.messages < 0,
            tokens_before=min(what.tokens_before, MAX_SAFE_INT),
            tokens_after=min(what.tokens_after, MAX_SAFE_INT),
        )

    def rewound(self, what: Rewound) -> AnyEvent:
        """The conversation is what it was after an earlier turn."""
        return ConversationRewound(session_id=self._id, seq=0, turn=what.turn, messages=what.messages)

    def booked(self, told: Booked | None) -> list[AnyEvent]:
        """What a settled call did to the purses."""
        if told is None:
            return []
        return [
            Budget(
                session_id=self._id,
                seq=0,
                spent_micros=micros(told.session.spent),
                reserved_micros=micros(told.session.reserved),
                cap_micros=micros(told.session.limit),
            ),
            *map(self._filled, told.filled),
        ]

    def _filled(self, purse: PurseLine) -> AnyEvent:
        return BudgetWarning(
            session_id=self._id,
            seq=0,
            purse=cast('Literal["session", "workspace", "token"]', purse.what),
            token_id=show_id("token", purse.block) if purse.block else None,
            spent_micros=micros(purse.spent),
            cap_micros=micros(purse.limit),
        )

    def retrying(self, wait: Wait) -> AnyEvent:
        """The model is asked again in a while."""
        return Retrying(
            session_id=self._id,
            seq=0,
            code=wait.code,
            attempt=wait.attempt,
            wait_ms=wait.wait_ms,
            model=name(wait.model),
        )

    def error(self, code: str, message: str, advice: str = "") -> AnyEvent:
        """Something failed that is not a denial.  Constant texts only: it leaves at once."""
        return ErrorRaised(session_id=self._id, seq=0, code=code, message=line(message), advice=line(advice))

    def finished(self, end: Finished, turn: int) -> list[AnyEvent]:
        """The turn is over."""
        failed = [self.error(end.code or "turn.failed", "the turn failed")] if end.reason == "failed" else []
        over = TurnComplete(session_id=self._id, seq=0, turn=turn, stop_reason=end.reason, code=end.code or None)
        return [*failed, SessionSaved(session_id=self._id, seq=0), over]


def fitting(text: str) -> str:
    """``text``, cut where it is too long for an event."""
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_TEXT_BYTES:
        return data.decode()
    kept = data[:MAX_TEXT_BYTES].decode("utf-8", "ignore")
    return f"{kept}\n[cut here: {MAX_TEXT_BYTES} of {len(data)} bytes]"


def line(text: str) -> str:
    """``text`` as a field of one line takes it."""
    return text.encode("utf-8", "replace").decode()[:MAX_LINE]


def micros(amount: int) -> str:
    """An amount as a field for money takes it."""
    return str(min(amount, MAX_U64))


def name(text: str) -> str:
    """``text`` as a field for names takes it."""
    return "".join(char if "!" <= char <= "~" else "?" for char in text[:MAX_NAME]) or "?"
