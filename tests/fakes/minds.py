"""A model that every session shares and that plays another part in each: which, the first words it hears say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from astrid.core.conversation import AnyStreamEvent, Done, ModelRequest, Text, TextDelta, ToolCallReady, Usage
from astrid.core.money import Micros, Price
from tests.fakes.shared_model import NAME

Said = str | tuple[tuple[str, Mapping[str, object]], ...]
FOREVER = "(never answers)"


def calls(*wanted: tuple[str, Mapping[str, object]]) -> Said:
    """The model wants these calls."""
    return wanted


def task(prompt: str, agent: str = "worker", **fields: object) -> tuple[str, Mapping[str, object]]:
    """A call of the ``task`` tool."""
    return "task", {"description": prompt, "prompt": prompt, "agent": agent, **fields}


class Minds:
    """The ``Model`` port.  ``parts`` are what it says, answer by answer, to a conversation that begins with the key."""

    name = NAME
    price = Price(input_micros_per_million=Micros(1_000_000), output_micros_per_million=Micros(1_000_000))
    scripted = False

    def __init__(self, parts: Mapping[str, Sequence[Said]]) -> None:
        self.parts = parts
        self.asked: list[ModelRequest] = []
        self.thinking: list[str] = []  # who waits for an answer that never comes

    def heard(self, part: str) -> list[ModelRequest]:
        """The requests of one part."""
        return [request for request in self.asked if _first(request) == part]

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[AnyStreamEvent]]:
        self.asked.append(request)
        yield self._events(request)

    async def _events(self, request: ModelRequest) -> AsyncIterator[AnyStreamEvent]:
        turns = sum(message.role == "assistant" for message in request.messages)
        part = _first(request)
        said = self.parts[part][turns]
        if said == FOREVER:
            self.thinking.append(part)
            try:
                await trio.sleep_forever()
            finally:
                self.thinking.remove(part)
        if isinstance(said, str):
            yield TextDelta(text=said)
        else:
            for number, (tool, arguments) in enumerate(said):
                yield ToolCallReady(id=f"{turns}-{number}", name=tool, arguments=json.dumps(arguments))
        yield Usage(input_tokens=3, output_tokens=4)
        yield Done(stop_reason="end_turn" if isinstance(said, str) else "tool_use")


def _first(request: ModelRequest) -> str:
    return next(part.text for part in request.messages[0].parts if isinstance(part, Text))
