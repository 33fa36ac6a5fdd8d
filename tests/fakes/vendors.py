"""Vendors whose models fail as real ones do: the same mishaps in each vendor's protocol, over ``AnthropicServer``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from astrid.adapters.llm.anthropic import AnthropicModel
from astrid.adapters.llm.catalogue import PROVIDERS
from astrid.adapters.llm.openai import OpenAIModel
from astrid.core.money import Price
from astrid.ports import Model
from tests.fakes.anthropic_server import Reply, block_events, fault, sse, vendor_complaint
from tests.fakes.openai_answers import END, answer_chunks, chunk_stream, openai_complaint

PRICE = Price(input_micros_per_million=1_000_000, output_micros_per_million=1_000_000)
Call = tuple[str, str, str]  # id, name, arguments as text
Count = tuple[int, int] | None


@dataclass(frozen=True)
class Vendor:
    """How a vendor says things.  ``stream`` gives the events of an answer, each as the bytes that are sent: its text,
    its calls, and what is counted: at the beginning, in between and at the end, or once at the end.
    """

    name: str
    model: Callable[[str], Model]  # that asks at this address
    stream: Callable[[str, Sequence[Call], Sequence[Count]], tuple[bytes, ...]]
    breaks: bytes  # the event by which it says in mid-stream that it is overloaded
    ping: bytes
    complain: Callable[[dict[str, Any]], str]

    def answer(self, text: str = "", *calls: Call, counts: Sequence[Count] = ((3, 4),)) -> Reply:
        """A whole answer, an event a piece."""
        return Reply(self.stream(text, calls, counts))

    def refusal(self, status: int, *headers: tuple[str, str]) -> Reply:
        """No answer; servers agree on the status alone."""
        return fault(status, "some_error", "no", *headers)


def _anthropic_stream(text: str, calls: Sequence[Call], counts: Sequence[Count]) -> tuple[bytes, ...]:
    usages = [{"input_tokens": count[0], "output_tokens": count[1]} if count else {} for count in counts] or [{}]
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"usage": usages[0]}}]
    if text:
        events += block_events(0, {"type": "text", "text": text})
    events += [{"type": "message_delta", "delta": {}, "usage": usage} for usage in usages[1:-1]]
    for index, (use_id, name, arguments) in enumerate(calls, start=1):
        block = {"type": "tool_use", "id": use_id, "name": name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": arguments}
        events += [
            {"type": "content_block_start", "index": index, "content_block": block},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    reason = {"stop_reason": "tool_use" if calls else "end_turn"}
    events.append({"type": "message_delta", "delta": reason, **({"usage": usages[-1]} if usages[-1] else {})})
    return tuple(sse([event]) for event in (*events, {"type": "message_stop"}))


def _openai_stream(text: str, calls: Sequence[Call], counts: Sequence[Count]) -> tuple[bytes, ...]:
    usages = [{"prompt_tokens": count[0], "completion_tokens": count[1]} if count else None for count in counts]
    chunks = list(answer_chunks(text, calls, (0, 0), "tool_calls" if calls else "stop"))[:-1]
    first, *others = chunks
    chunks = [{**first, "usage": usages[0]} if usages[1:] else first, *others]
    chunks += [{"choices": [], "usage": usage} for usage in usages[1:-1] + usages[-1:]]
    return (*(chunk_stream([chunk], end=b"") for chunk in chunks), END)


def _compatible(provider: str) -> Vendor:
    return Vendor(
        name=provider,
        model=lambda url: OpenAIModel(
            provider, "m", price=PRICE, base_url=url, api_key="sk-test", dialect=PROVIDERS[provider].dialect
        ),
        stream=_openai_stream,
        breaks=b'data: {"error": {"message": "too much", "code": "overloaded"}}\n\n',
        ping=b": still there\n\n",
        complain=openai_complaint,
    )


VENDORS = (
    Vendor(
        name="anthropic",
        model=lambda url: AnthropicModel("claude-m", price=PRICE, api_key="sk-test", base_url=url),
        stream=_anthropic_stream,
        breaks=sse([{"type": "error", "error": {"type": "overloaded_error", "message": "too much"}}]),
        ping=sse([{"type": "ping"}]),
        complain=vendor_complaint,
    ),
    _compatible("openai"),
    _compatible("zai"),
)
