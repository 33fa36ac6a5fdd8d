"""A model that several sessions share and that follows no script of theirs: it says what a test lets it say next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from astrid.core.conversation import AnyStreamEvent, Done, ModelRequest, TextDelta, ToolCallReady, Usage
from astrid.core.money import Micros, Price
from astrid.hosts.model import ModelServer
from astrid.runtime.parts import Brain

NAME = "fake/shared"


class SharedModel:
    """The ``Model`` port.  ``says`` are the answers to come, ``asked`` the requests that came."""

    name: str = NAME
    price = Price(input_micros_per_million=Micros(1_000_000), output_micros_per_million=Micros(1_000_000))
    scripted = False

    def __init__(self) -> None:
        self.says: list[tuple[str, str, str] | str] = []
        self.asked: list[ModelRequest] = []

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[AnyStreamEvent]]:
        self.asked.append(request)
        yield self._events(self.says.pop(0) if self.says else "all right")

    async def _events(self, said: tuple[str, str, str] | str) -> AsyncIterator[AnyStreamEvent]:
        if isinstance(said, str):
            yield TextDelta(text=said)
        else:
            call_id, tool, arguments = said
            yield ToolCallReady(id=call_id, name=tool, arguments=arguments)
        yield Usage(input_tokens=3, output_tokens=4)
        yield Done(stop_reason="end_turn" if isinstance(said, str) else "tool_use")


def shared_brain(model: SharedModel) -> Brain:
    """What sessions use it as."""
    return Brain(NAME, f"model:{'5' * 32}", ModelServer(model), scripted=False, context_tokens=10_000)
