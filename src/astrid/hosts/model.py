"""A language model as a tool: its call is an effect with a price, permitted, recorded and settled like any other.

The arguments are the bytes of a ``ModelRequest``; the result is the answer's stream events, one JSON object a line.
The worst case (request bytes as tokens plus ``max_tokens``, dearest rate) is reserved before the call and the true
figure settled after it.

Source: architecture 5, 6 (step 3); threats 23.
"""

from __future__ import annotations

from collections.abc import Callable

from astrid.core.call import Call, Need, Preparation
from astrid.core.conversation import (
    AnyStreamEvent,
    Done,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
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


class ModelServer:
    """The ``ToolServer`` port over a ``Model``.  One session's requests may only name this model."""

    def __init__(self, model: Model, *, place: int = 0) -> None:
        """``place`` is 0 for a session's own model, else that of one that stands in for it."""
        self._model = model
        self._tool = model_tool(place)

    def specs(self) -> tuple[ToolSpec, ...]:
        """One tool, which no model sees."""
        return (
            ToolSpec(
                name=self._tool,
                host_kind="model",
                host_id=self._model.name,
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
            ),
        )

    def glance(self, tool: str, args: bytes) -> Preparation:
        """What the call may cost, and which model it needs."""
        request = decode_request(args)
        if request.model != self._model.name:
            raise InputError("model.other", f"the request names `{request.model}`, and this is `{self._model.name}`")
        provider, _, name = self._model.name.partition("/")
        need = Need(model_resource(provider, name).text, Permission.INVOKE)
        return Preparation(needs=(need,), max_micros=worst_case(self._model.price, len(args), request.max_tokens))

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """The same: there is nothing to look for."""
        return self.glance(tool, args)

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        """Call the model; every event is reported as it comes, the whole answer is the result."""
        request = decode_request(call.args)
        try:
            events, usage = await self._ask(request, report)
            content = encode_answer(events)
        except CanonError as error:
            # SAFETY: not "nothing happened": the model was asked, and there will be a bill.
            raise ModelError("model.answer-unusable", error.message, effect="maybe") from error
        return ToolOutcome(content=content, is_error=False, effect="done", spent_micros=self._bill(call, usage))

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


def _counts(usage: Usage) -> tuple[int, ...]:
    return usage.input_tokens, usage.output_tokens, usage.cache_write_tokens, usage.cache_read_tokens


def _collect(events: list[AnyStreamEvent], event: AnyStreamEvent) -> None:
    """Text deltas of one part become one event: how the answer was cut on the wire is nobody's business later."""
    if isinstance(event, TextDelta) and events and isinstance(events[-1], TextDelta):
        events[-1] = TextDelta(text=events[-1].text + event.text)
    else:
        events.append(event)
