"""The chunks of an OpenAI-compatible chat completion as our events.  Pure.

Many servers speak this protocol, and each a little differently.  What is taken from all of them: calls that come in
pieces under an index, or whole without one; calls without an id; reasoning in a field of its own; usage in a chunk of
its own, in the last one, in each one, or not at all; an end with ``[DONE]`` or with the connection; and a whole answer
in place of a stream.

Never: guesses what a field means.  Unknown ones are passed over, a known one of another type is an error.

Invariants:
  The pieces of one call are gathered under its own index; calls are handed on complete, in the order of their index,
  and only once the vendor says how the answer ended.
  A later usage never counts less than an earlier one, and output never less than what the total says.  It is handed on
  once, and only if nothing was said after it.
  ``Done`` comes once, last, and only after a reason to stop.

Source: the vendor's documentation (chat completions, streaming); recorded answers (tests/vectors/llm).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from astrid.adapters.llm.faults import broken, vendor_fault
from astrid.adapters.llm.vendor import Reader
from astrid.core.conversation import (
    AnyStreamEvent,
    Done,
    ReasoningDelta,
    ReasoningReady,
    StopReason,
    TextDelta,
    ToolCallReady,
    Usage,
)
from astrid.errors import ModelError

END = b"[DONE]"
MAX_CALLS = 1024
_STOP_REASONS: dict[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
    "sensitive": "refusal",
}

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _InputDetails(msgspec.Struct, frozen=True):
    cached_tokens: Count | None = None


class _Tokens(msgspec.Struct, frozen=True):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    prompt_tokens_details: _InputDetails | None = None


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, frozen=True):
    index: Count | None = None
    id: str | None = None
    function: _Function = _Function()


class _Said(msgspec.Struct, frozen=True):
    """What a choice says: a piece of it, or all of it."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: tuple[_Call, ...] | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: Count = 0
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Fault(msgspec.Struct, frozen=True):
    message: str = ""
    type: str | None = None
    code: str | int | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...] | None = None
    usage: _Tokens | None = None
    error: _Fault | str | None = None


class _Complaint(msgspec.Struct, frozen=True):
    error: _Fault | str | None = None
    message: str = ""


_chunks = msgspec.json.Decoder(_Chunk)


class _OpenCall:
    """A call whose pieces are still coming."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []


class ChunkReader(Reader):
    """Turns the chunks of one answer into our events."""

    def __init__(self, model: str, names: dict[str, str], redact: Callable[[str], str] = str) -> None:
        """See ``Reader``."""
        super().__init__(model, names, redact)
        self._calls: dict[int, _OpenCall] = {}
        self._thoughts: list[str] = []
        self._stop_reason: StopReason | None = None
        self._refused = False
        self._counted = False  # whether all that was said is

    def read(self, data: bytes) -> list[AnyStreamEvent]:
        """The events that the chunk ``data`` brings.

        Raises:
            ModelError: the vendor reports a fault, or breaks its own protocol.
        """
        if self.done:
            raise self._broken("something after the end")
        if data.strip() == END:
            return self.end()
        try:
            chunk = _chunks.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._broken("a chunk that cannot be read") from error
        if chunk.error is not None:
            raise self._fault(chunk.error)
        events: list[AnyStreamEvent] = []
        for choice in chunk.choices or ():
            if choice.index == 0:  # one answer is asked for; what else there is, is nobody's
                events += self._choice(choice)
        if chunk.usage is not None:
            self._count(chunk.usage)
        return events

    def end(self) -> list[AnyStreamEvent]:
        """The events that the end of the stream brings.

        Raises:
            ModelError: it is no end: the vendor never said why it stopped.
        """
        if self._stop_reason is None:
            raise broken("the answer stopped before its end", self.effect)
        self.done = True
        events = self._thought()
        for _, call in sorted(self._calls.items()):
            name = self._names.get(call.name, call.name)
            events.append(ToolCallReady(id=call.id, name=name, arguments="".join(call.pieces)))
        if self._counted and self.usage is not None:
            events.append(self.usage)
        return [*events, Done(stop_reason=self._stop_reason)]

    def _choice(self, choice: _Choice) -> list[AnyStreamEvent]:
        events: list[AnyStreamEvent] = []
        for said in (choice.delta, choice.message):
            if said is not None:
                events += self._said(said)
        if choice.finish_reason:
            reason = _STOP_REASONS.get(choice.finish_reason)
            if reason is None:
                raise self._broken("a reason to stop that is not known")
            self._stop_reason = "refusal" if self._refused else reason
        return events

    def _said(self, said: _Said) -> list[AnyStreamEvent]:
        events: list[AnyStreamEvent] = []
        thought = said.reasoning_content or said.reasoning
        if thought or said.content or said.refusal or said.tool_calls:
            # SAFETY: some count with each chunk; a stream that ends before the last of them would be paid too low.
            self._counted = False
        if thought:
            self._thoughts.append(thought)
            events.append(ReasoningDelta(text=thought))
        if said.content:
            events += (*self._thought(), TextDelta(text=said.content))
        if said.refusal:
            self._refused = True
            events.append(TextDelta(text=said.refusal))
        for call in said.tool_calls or ():
            self._piece(call)
        return events

    def _thought(self) -> list[AnyStreamEvent]:
        """What was thought up to here, whole.  Nobody signs it: the text itself is what a vendor wants back."""
        if not self._thoughts:
            return []
        text = "".join(self._thoughts)
        self._thoughts.clear()
        return [ReasoningReady(model=self._model, text=text, proof="", withheld=False)]

    def _piece(self, call: _Call) -> None:
        """Take in a piece of a call, or a whole one."""
        if self._stop_reason is not None:
            raise self._broken("a piece of a call after the end")
        # A server that leaves the index out sends each call whole.
        index = call.index if call.index is not None else max(self._calls, default=-1) + 1
        if index not in self._calls and len(self._calls) >= MAX_CALLS:
            raise self._broken("more calls than any answer can hold")
        mine = self._calls.setdefault(index, _OpenCall())
        # Some repeat id and name with each piece; none of them changes one that it gave.
        mine.id = mine.id or call.id or ""
        mine.name = mine.name or call.function.name or ""
        mine.pieces.append(call.function.arguments or "")

    def _count(self, tokens: _Tokens) -> None:
        """What the vendor has counted so far."""
        before = self.usage or Usage(input_tokens=0, output_tokens=0)
        prompt, total = tokens.prompt_tokens or 0, tokens.total_tokens or 0
        cached = min(tokens.prompt_tokens_details.cached_tokens or 0, prompt) if tokens.prompt_tokens_details else 0
        # SAFETY: the figures are running totals, and a later one must not be able to lower the bill.  Some vendors
        # leave what the model thought out of the answer's tokens, and count it in the total.
        read = max(before.cache_read_tokens, cached)
        self.usage = Usage(
            input_tokens=max(before.context_tokens, prompt) - read,
            output_tokens=max(before.output_tokens, tokens.completion_tokens or 0, total - prompt),
            cache_read_tokens=read,
        )
        # SAFETY: no request is empty; who counts no input has not counted, and what is not counted is paid in full.
        self._counted = self.usage.context_tokens > 0 and (tokens.completion_tokens is not None or total > prompt)

    def _fault(self, fault: _Fault | str) -> ModelError:
        if isinstance(fault, str):
            fault = _Fault(message=fault)
        kind = f"{fault.type or ''} {fault.code or ''}"
        return vendor_fault(_kind_of(kind), self._redact(fault.message), self.effect)


def complaint_in(data: bytes) -> str:
    """What the body of a refusal says, in whichever of the usual forms; all of it, if in none."""
    try:
        found = msgspec.json.decode(data, type=_Complaint)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return data.decode(errors="replace")
    error = found.error.message if isinstance(found.error, _Fault) else found.error
    return error or found.message or data.decode(errors="replace")


def _kind_of(said: str) -> str:
    """The kind of a fault by what the vendor calls it; servers agree on the status only, and there is none here."""
    for word, kind in (
        ("rate", "rate_limit_error"),
        ("429", "rate_limit_error"),
        ("overload", "overloaded_error"),
        ("auth", "authentication_error"),
        ("api_key", "authentication_error"),
        ("invalid", "invalid_request_error"),
    ):
        if word in said.lower():
            return kind
    return "api_error"
