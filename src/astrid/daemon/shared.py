"""What all connections of a daemon share, and how each of them reaches the actors.  Data and one Protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from astrid.daemon.books import Books
from astrid.kernel import Message, Posted
from astrid.runtime.boot import World


class Actors(Protocol):
    """How a connection reaches the actors: as itself, stamped by the kernel."""

    def post(self, path: str, message: Message) -> Posted:
        """Send without waiting."""
        ...

    async def ask(self, path: str, message: Message, within: float) -> object:
        """Send and wait."""
        ...


class Shared(msgspec.Struct):
    """What all connections of a daemon share."""

    world: World
    books: Books
    ephemeral: bool
    began: float  # trio's time
    stop: Callable[[], None]
    connections: Callable[[], int]
