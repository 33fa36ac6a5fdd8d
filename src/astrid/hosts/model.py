"""A language model as a tool: its call is an effect with a price, permitted, recorded and settled like any other.

The arguments are the bytes of a ``ModelRequest``; the result is the answer's stream events, one JSON object a line.
The worst case (request bytes as tokens, what its images take in, plus ``max_tokens``, dearest rate) is reserved before
the call and the true figure settled after it.  A request names its images by digest; their bytes are added on the way.

Source: architecture 5, 6 (step 3); threats 23.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from astrid.core import images
from astrid.core.call import Call, Need, Preparation
from astrid.core.conversation import (
    AnyPart,
    AnyStreamEvent,
    Done,
    Image,
    ModelRequest,
    Picture,
    ReasoningDelta,
    Text,
    TextDelta,
    ToolResult,
    Usage,
    decode_request,
    encode_answer,
    encode_event,
)
from astrid.core.money import cost, worst_case
from astrid.core.resources import model_resource
from astrid.core.risk import EffectClass
from astrid.core.tokens import Permission
from astrid.core.tools import OutputTrust, ToolSpec
from astrid.core.turn_retry import model_tool
from astrid.errors import CanonError, InputError, ModelError
from astrid.ports import Model, ToolOutcome

_ZEROS = b"\0" * 32


class Sight(msgspec.Struct, frozen=True):
    """How a model is shown images: what one of so many pixels takes in tokens at most, and how the result of a call is
    found again by its session and by the record that permitted it.
    """

    tokens: Callable[[int, int], int]
    find: Callable[[bytes, int], Awaitable[bytes]]


class ModelServer:
    """The ``ToolServer`` port over a ``Model``.  One session's requests may only name this model."""

    def __init__(self, model: Model, *, place: int = 0, sight: Sight | None = None) -> None:
        """``place`` is 0 for a session's own model, else that of one that stands in for it.  A model without ``sight``
        is told that there is an image, and not shown it.
        """
        self._model = model
        self._sight = sight
        self._tool = model_tool(place)

    @property
    def sees(self) -> bool:
        """Whether the model is shown images."""
        return self._sight is not None

    def specs(self) -> tuple[ToolSpec, ...]:
        """One tool, which no model sees."""
        return (model_spec(self._model.name, self._tool),)

    def glance(self, tool: str, args: bytes) -> Preparation:
        """What the call may cost, and which model it needs."""
        request = decode_request(args)
        if request.model != self._model.name:
            raise InputError("model.other", f"the request names `{request.model}`, and this is `{self._model.name}`")
        provider, _, name = self._model.name.partition("/")
        need = Need(model_resource(provider, name).text, Permission.INVOKE)
        most = worst_case(self._model.price, len(args) + self._seen_tokens(request), request.max_tokens)
        return Preparation(needs=(need,), max_micros=most)

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """The same: there is nothing to look for."""
        return self.glance(tool, args)

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        """Call the model; every event is reported as it comes, the whole answer is the result."""
        request = await self._with_images(decode_request(call.args), call.session)
        try:
            events, usage = await self._ask(request, report)
            content = encode_answer(events)
        except CanonError as error:
            # SAFETY: not "nothing happened": the model was asked, and there will be a bill.
            raise ModelError("model.answer-unusable", error.message, effect="maybe") from error
        return ToolOutcome(content=content, is_error=False, effect="done", spent_micros=self._bill(call, usage))

    def _seen_tokens(self, request: ModelRequest) -> int:
        if self._sight is None:
            return 0
        shown = images.shown(request.messages)
        seen = [image for image in images.images_in(request.messages) if image.record in shown]
        return sum(self._sight.tokens(image.width, image.height) for image in seen)

    async def _with_images(self, request: ModelRequest, session: bytes) -> ModelRequest:
        """``request`` with the bytes of each image in it, or with words where it is not shown."""
        if not images.images_in(request.messages):
            return request
        shown = images.shown(request.messages)
        messages = [
            msgspec.structs.replace(
                message, parts=tuple([await self._with_image(part, session, shown) for part in message.parts])
            )
            for message in request.messages
        ]
        return msgspec.structs.replace(request, messages=tuple(messages))

    async def _with_image(self, part: AnyPart, session: bytes, shown: frozenset[int]) -> AnyPart:
        match part:
            case Picture(image=image) | ToolResult(image=Image() as image):
                seen = await self._look(image, session, shown)
            case _:
                return part
        if isinstance(seen, Image):
            return msgspec.structs.replace(part, image=seen)
        if isinstance(part, Picture):
            return Text(text=f"{images.told(image)}\n{seen}")
        return msgspec.structs.replace(part, content=f"{part.content}\n{seen}", image=None)

    async def _look(self, image: Image, session: bytes, shown: frozenset[int]) -> Image | str:
        """``image`` with its bytes, or in words why it is not shown."""
        if self._sight is None:
            return images.NOT_TAKEN
        if image.record not in shown:
            return images.LEFT_OUT
        try:
            # SAFETY: the session is that of the call, which the gate made, and not what anybody wrote.
            data = await self._sight.find(session, image.record)
        except InputError:
            return images.GONE
        # SAFETY: what was authorised is the image of this digest; no other bytes leave.
        if images.fingerprint(data) != image.digest:
            return images.GONE
        return msgspec.structs.replace(image, data=data)

    async def _ask(
        self, request: ModelRequest, report: Callable[[bytes], None]
    ) -> tuple[list[AnyStreamEvent], Usage | None]:
        events: list[AnyStreamEvent] = []
        usage: Usage | None = None
        async with self._model.stream(request) as stream:
            async for event in stream:
                report(encode_event(event))
                if isinstance(event, Usage):
                    # A count below zero is none: it is neither believed as a bill nor told to anybody.
                    usage = event if min(_counts(event)) >= 0 else None
                elif not isinstance(event, ReasoningDelta):
                    _collect(events, event)
        if not events or not isinstance(events[-1], Done):
            raise ModelError("model.stream-broken", "the answer ended before its end", effect="maybe")
        if usage is not None:
            events.insert(len(events) - 1, usage)
        return events, usage

    def _bill(self, call: Call, usage: Usage | None) -> int:
        """What the answer cost: as counted by the vendor, or in full where that figure is none."""
        if usage is None:
            return call.max_micros
        return cost(
            self._model.price,
            usage.input_tokens,
            usage.output_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            cache_read_tokens=usage.cache_read_tokens,
        )


def model_spec(name: str, tool: str) -> ToolSpec:
    """The definition of ``tool``, by which the model ``name`` is called."""
    return ToolSpec(
        name=tool,
        host_kind="model",
        host_id=name,
        description=b"one call of a language model",
        schema=b"{}",
        effect=EffectClass.MODEL.value,
        control=(),
        verbs=(),
        nouns=(),
        output_trust=OutputTrust.THIRD_PARTY,
        endorsed_fields=(),
        creates_id="",
        code=_ZEROS,
        profile=_ZEROS,
        fresh=False,
    )


def _counts(usage: Usage) -> tuple[int, ...]:
    return usage.input_tokens, usage.output_tokens, usage.cache_write_tokens, usage.cache_read_tokens


def _collect(events: list[AnyStreamEvent], event: AnyStreamEvent) -> None:
    """Text deltas of one part become one event: how the answer was cut on the wire is nobody's business later."""
    if isinstance(event, TextDelta) and events and isinstance(events[-1], TextDelta):
        events[-1] = TextDelta(text=events[-1].text + event.text)
    else:
        events.append(event)
