"""What is said between a session and a model: messages, parts, tool definitions, requests and streamed answers.  Pure
data.

Never: knows a vendor.  Adapters translate to and from these; the bytes of an encoded ``ModelRequest`` are the ``args``
of the model call that the gate authorises, so what was authorised is exactly what is sent.

Source: the first Astrid (names of stream events); architecture 6 (labels).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Literal

import msgspec

from astrid.core.json_scan import MAX_SAFE_INT, scan_json
from astrid.errors import CanonError

Role = Literal["user", "assistant"]
# ``pause``: the model is not done; asked again, it goes on after what it said.
StopReason = Literal["end_turn", "max_tokens", "tool_use", "stop_sequence", "refusal", "pause"]


class Part(msgspec.Struct, frozen=True, tag_field="type", kw_only=True, forbid_unknown_fields=True):
    """Base of what a message is made of."""


class Text(Part, frozen=True, tag="text"):
    """Plain text."""

    text: str


class ToolUse(Part, frozen=True, tag="tool_use"):
    """A tool call that the model proposes.  ``arguments`` is the JSON text exactly as the model wrote it, not yet
    checked."""

    id: str
    name: str
    arguments: str


class Image(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An image that a model is shown.  ``record`` is that of the permit by whose outcome the bytes are found again, or,
    of an image that a person gave, the one that has it; they are those of ``digest`` (SHA-256).  ``data`` is empty but
    on the way to a vendor.
    """

    media_type: Literal["image/png", "image/jpeg"]
    width: int
    height: int
    size_bytes: int
    digest: str
    record: int
    data: bytes = b""


class ToolResult(Part, frozen=True, tag="tool_result", omit_defaults=True):
    """The answer to the ``ToolUse`` with ``id``.  Beside an ``image``, ``content`` says in words what it is."""

    id: str
    content: str
    is_error: bool
    image: Image | None = None


class Picture(Part, frozen=True, tag="image"):
    """An image that somebody gave with the text before it, which names it."""

    image: Image


class Reasoning(Part, frozen=True, tag="reasoning"):
    """What a model thought before it went on, to be given back to it as it came.

    ``proof`` is the vendor's own: its signature on the text or, where the text is ``withheld``, what stands for it.
    Nobody but ``model`` has a use for it.
    """

    model: str  # provider/model
    text: str
    proof: str
    withheld: bool


AnyPart = Text | ToolUse | ToolResult | Picture | Reasoning


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message of the conversation."""

    role: Role
    parts: tuple[AnyPart, ...]


class ToolDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool as the model sees it.  ``schema`` is a JSON Schema object as canonical JSON text."""

    name: str
    description: str
    schema: str


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call of a model.  ``max_tokens`` bounds the answer, at least 1."""

    model: str  # provider/model
    system: str
    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...]
    max_tokens: Annotated[int, msgspec.Meta(le=MAX_SAFE_INT)]


class StreamEvent(msgspec.Struct, frozen=True, tag_field="type", kw_only=True, forbid_unknown_fields=True):
    """Base of what a model streams back."""


class TextDelta(StreamEvent, frozen=True, tag="text_delta"):
    """More visible text."""

    text: str


class ReasoningDelta(StreamEvent, frozen=True, tag="reasoning_delta"):
    """More of the model's visible reasoning; never part of the answer."""

    text: str


class ReasoningReady(StreamEvent, frozen=True, tag="reasoning"):
    """One complete piece of reasoning that the vendor wants back; fields as in ``Reasoning``."""

    model: str
    text: str
    proof: str
    withheld: bool


class ToolCallReady(StreamEvent, frozen=True, tag="tool_call"):
    """One complete tool call; ``arguments`` as in ``ToolUse``.  Calls come in the order the model made them."""

    id: str
    name: str
    arguments: str


class Usage(StreamEvent, frozen=True, tag="usage"):
    """What the vendor counted; a later one replaces an earlier one.

    Input is counted in three parts that share nothing: what the vendor read anew, what it put into its cache, and what
    it took from there.
    """

    input_tokens: int
    output_tokens: int
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0

    @property
    def context_tokens(self) -> int:
        """All input: what the model had in view."""
        return self.input_tokens + self.cache_write_tokens + self.cache_read_tokens


class Done(StreamEvent, frozen=True, tag="done"):
    """The end of the answer.  Exactly one, last."""

    stop_reason: StopReason


AnyStreamEvent = TextDelta | ReasoningDelta | ReasoningReady | ToolCallReady | Usage | Done

_encoder = msgspec.json.Encoder(order="deterministic")
_request_decoder = msgspec.json.Decoder(ModelRequest)
_event_decoder = msgspec.json.Decoder(AnyStreamEvent)
MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 8


def encode_request(request: ModelRequest) -> bytes:
    """The bytes of a request: what the gate digests, what the model host decodes.

    Raises:
        CanonError: a text holds a lone surrogate.
    """
    return _encode(request)


def decode_request(data: bytes) -> ModelRequest:
    """The request that ``data`` spells.

    Raises:
        CanonError: not a request, or JSON with duplicate keys.
    """
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        request = _request_decoder.decode(data)
        # What our own encoder wrote has one meaning.  It is nearly always that, and a scan takes six times as long.
        if len(data) <= MAX_REQUEST_BYTES and _encoder.encode(request) == data:
            return request
    scan_json(data, max_bytes=MAX_REQUEST_BYTES, max_depth=MAX_DEPTH)
    try:
        return _request_decoder.decode(data)
    except msgspec.ValidationError as error:  # whatever else can be wrong with JSON, the scan has refused
        raise CanonError("canon.model-request", f"not a model request: {error}") from error


def encode_event(event: AnyStreamEvent) -> bytes:
    """One stream event as a line of JSON, without the line break.

    Raises:
        CanonError: a text holds a lone surrogate.
    """
    return _encode(event)


def decode_event(data: bytes) -> AnyStreamEvent:
    """The stream event that ``data`` spells.

    Raises:
        CanonError: not a stream event, or JSON with duplicate keys.
    """
    scan_json(data, max_bytes=MAX_REQUEST_BYTES, max_depth=MAX_DEPTH)
    try:
        return _event_decoder.decode(data)
    except msgspec.ValidationError as error:
        raise CanonError("canon.stream-event", f"not a stream event: {error}") from error


def encode_answer(events: list[AnyStreamEvent]) -> bytes:
    """A whole answer as the result of a model call: its events, one a line.

    Raises:
        CanonError: a text holds a lone surrogate.
    """
    return b"\n".join(map(encode_event, events))


def decode_answer(content: bytes) -> list[AnyStreamEvent]:
    """The events of a whole answer.

    Raises:
        CanonError: not an answer.
    """
    return [decode_event(line) for line in content.split(b"\n")]


def _encode(value: ModelRequest | AnyStreamEvent) -> bytes:
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError as error:
        raise CanonError("canon.surrogate", "a text holds a lone surrogate") from error
