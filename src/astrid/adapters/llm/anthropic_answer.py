"""The events of Anthropic's Messages API as ours.  Pure.

Each is decoded into a type of our own that holds no more than is used.  Unknown events, blocks and fields are passed
over, as the vendor asks; a known one in the wrong place or shape is an error, never a guess.

Invariants:
  The pieces of one call, or of one thought, are gathered under its own index; both are handed on complete, in the order
  of their index.
  A later usage never counts less than an earlier one.  It is handed on once, and only if it counts the whole answer:
  what is said at the beginning would be a bill for one token.
  ``Done`` comes once, last, and only after every block and a stop reason.

Source: vendor's documentation (streaming, stop reasons, errors); the first Astrid (input not counted), 7.1 (one
buffer for all).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

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

# ``max_tokens`` stands for an answer that was cut off, by whatever limit.
_STOP_REASONS: dict[str, StopReason] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "tool_use": "tool_use",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
    "model_context_window_exceeded": "max_tokens",
    "pause_turn": "pause",
}

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Tokens(msgspec.Struct, frozen=True):
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None


class _Head(msgspec.Struct, frozen=True):
    type: str


class _Envelope(msgspec.Struct, frozen=True):
    usage: _Tokens


class _MessageStart(msgspec.Struct, frozen=True):
    message: _Envelope


class _Block(msgspec.Struct, frozen=True):
    type: str
    id: str = ""
    name: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""  # in place of thinking that is withheld
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _BlockStart(msgspec.Struct, frozen=True):
    index: Count
    content_block: msgspec.Raw


class _Delta(msgspec.Struct, frozen=True):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""


class _BlockDelta(msgspec.Struct, frozen=True):
    index: Count
    delta: msgspec.Raw


class _BlockStop(msgspec.Struct, frozen=True):
    index: Count


class _Stop(msgspec.Struct, frozen=True):
    stop_reason: str | None = None


class _MessageDelta(msgspec.Struct, frozen=True):
    delta: _Stop
    usage: _Tokens = _Tokens()


class _Fault(msgspec.Struct, frozen=True):
    type: str
    message: str = ""


class _Error(msgspec.Struct, frozen=True):
    error: _Fault


_T = TypeVar("_T")


class _OpenBlock:
    def __init__(self, block: _Block) -> None:
        self.block = block
        self.pieces: list[str] = []  # of the arguments
        self.thoughts: list[str] = [block.thinking]
        self.signature: list[str] = [block.signature]
        self.closed = False

    @property
    def arguments(self) -> str:
        # A call without arguments has no pieces, or empty ones; the object then stands in the block itself.
        return "".join(self.pieces) or bytes(self.block.input).decode()

    def reasoning(self, model: str) -> list[AnyStreamEvent]:
        """What of it the vendor wants back; without its proof it would not take it."""
        withheld = self.block.type == "redacted_thinking"
        proof = self.block.data if withheld else "".join(self.signature)
        text = "".join(self.thoughts)
        return [ReasoningReady(model=model, text=text, proof=proof, withheld=withheld)] if proof else []


_KINDS = frozenset(
    ("content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop")
)
_THOUGHT = frozenset(("thinking", "redacted_thinking"))
_BLOCKS = frozenset(("text", "tool_use", *_THOUGHT))
_DELTAS = frozenset(("text_delta", "thinking_delta", "signature_delta", "input_json_delta"))


class AnswerReader(Reader):
    """Turns the events of one answer into ours."""

    def __init__(self, model: str, names: dict[str, str], redact: Callable[[str], str] = str) -> None:
        """See ``Reader``."""
        super().__init__(model, names, redact)
        self._blocks: dict[int, _OpenBlock] = {}  # begun and not handed on, in the order of their index
        self._last_index = -1
        self._stop_reason: StopReason | None = None
        self._counted = False  # whether all of the answer is

    def read(self, data: bytes) -> list[AnyStreamEvent]:
        """The events that the vendor's event ``data`` brings.

        Raises:
            ModelError: the vendor reports a fault, or breaks its own protocol.
        """
        kind = self._decode(_Head, data).type
        if kind == "error":
            fault = self._decode(_Error, data).error
            raise vendor_fault(fault.type, self._redact(fault.message), self.effect)
        if kind == "message_start":
            if self.usage is not None:
                raise self._broken("a second beginning")
            self._count(self._decode(_MessageStart, data).message.usage)
            return []
        if kind not in _KINDS:
            return []
        if self.usage is None or self.done:
            raise self._broken(f"`{kind}` outside of a message")
        if kind == "content_block_start":
            return self._start(self._decode(_BlockStart, data))
        if kind == "content_block_delta":
            return self._delta(self._decode(_BlockDelta, data))
        if kind == "content_block_stop":
            return self._stop(self._decode(_BlockStop, data).index)
        if kind == "message_stop":
            return self._finish()
        self._end(self._decode(_MessageDelta, data))
        return []

    def end(self) -> list[AnyStreamEvent]:
        """None: an answer ends by a word of the vendor's.

        Raises:
            ModelError: always.
        """
        raise broken("the answer stopped before its end", self.effect)

    def _start(self, event: _BlockStart) -> list[AnyStreamEvent]:
        if event.index <= self._last_index:
            raise self._broken("a block that begins twice, or out of order")
        self._last_index = event.index
        kind = self._decode(_Head, event.content_block).type
        block = self._decode(_Block, event.content_block) if kind in _BLOCKS else _Block(type=kind)
        self._blocks[event.index] = _OpenBlock(block)
        return _visible(block)

    def _delta(self, event: _BlockDelta) -> list[AnyStreamEvent]:
        block = self._open(event.index)
        if block.block.type not in _BLOCKS or self._decode(_Head, event.delta).type not in _DELTAS:
            return []
        delta = self._decode(_Delta, event.delta)
        block.pieces.append(delta.partial_json)
        block.thoughts.append(delta.thinking)
        block.signature.append(delta.signature)
        return _visible(delta)

    def _stop(self, index: int) -> list[AnyStreamEvent]:
        self._open(index).closed = True
        ready: list[AnyStreamEvent] = []
        while self._blocks and (first := next(iter(self._blocks.values()))).closed:
            del self._blocks[next(iter(self._blocks))]
            if first.block.type == "tool_use":
                name = self._names.get(first.block.name, first.block.name)
                ready.append(ToolCallReady(id=first.block.id, name=name, arguments=first.arguments))
            elif first.block.type in _THOUGHT:
                ready += first.reasoning(self._model)
        return ready

    def _end(self, event: _MessageDelta) -> None:
        if event.delta.stop_reason is not None:
            self._stop_reason = _STOP_REASONS.get(event.delta.stop_reason)
            if self._stop_reason is None:
                raise self._broken("a stop reason that is not known")
        self._count(event.usage)
        self._counted = self._counted or event.usage.output_tokens is not None

    def _finish(self) -> list[AnyStreamEvent]:
        if self._stop_reason is None or self._blocks:
            raise self._broken("an end before the end")
        self.done = True
        counted: list[AnyStreamEvent] = []
        # SAFETY: no request is empty; who counts no input has not counted, and what is not counted is paid in full.
        if self._counted and self.usage is not None and self.usage.context_tokens:
            counted.append(self.usage)
        return [*counted, Done(stop_reason=self._stop_reason)]

    def _open(self, index: int) -> _OpenBlock:
        block = self._blocks.get(index)
        if block is None or block.closed:
            raise self._broken("a piece of a block that is not open")
        return block

    def _count(self, tokens: _Tokens) -> None:
        """What the vendor has counted so far."""
        before = self.usage or Usage(input_tokens=0, output_tokens=0)
        # SAFETY: the figures are running totals, and a later one must not be able to lower the bill.
        self.usage = Usage(
            input_tokens=max(before.input_tokens, tokens.input_tokens or 0),
            output_tokens=max(before.output_tokens, tokens.output_tokens or 0),
            cache_write_tokens=max(before.cache_write_tokens, tokens.cache_creation_input_tokens or 0),
            cache_read_tokens=max(before.cache_read_tokens, tokens.cache_read_input_tokens or 0),
        )

    def _decode(self, shape: type[_T], data: bytes | msgspec.Raw) -> _T:
        try:
            return msgspec.json.decode(data, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._broken("an event that cannot be read") from error


def _visible(piece: _Block | _Delta) -> list[AnyStreamEvent]:
    """The text and the reasoning in a block or a delta."""
    events: list[AnyStreamEvent] = []
    if piece.text:
        events.append(TextDelta(text=piece.text))
    if piece.thinking:
        events.append(ReasoningDelta(text=piece.thinking))
    return events
