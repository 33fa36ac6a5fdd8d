"""What all actors of one running system share: names, timers, the codec of strict mode, and the list of dead letters.

Knows no tree and starts nothing by itself.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Protocol

import msgspec
from trio.lowlevel import enable_ki_protection

from astrid.kernel.errors import Misuse
from astrid.kernel.message import Lane
from astrid.kernel.ref import Down
from astrid.kernel.statistics import DeadLetter
from astrid.kernel.timers import Timers

if TYPE_CHECKING:
    from astrid.kernel.cell import Cell
    from astrid.kernel.life import Life
    from astrid.kernel.message import Reason
    from astrid.kernel.ref import Ref, Sender
    from astrid.kernel.supervisor import Supervisor

DEAD_LETTERS_KEPT = 64

INSIDE: contextvars.ContextVar[Run | None] = contextvars.ContextVar("astrid.kernel.inside", default=None)
"""The system to whose actors the running task belongs, itself or by the task that started it."""


class Codec(Protocol):
    """How a message would travel to another process."""

    def encode(self, message: object, /) -> bytes:
        """The bytes of a message."""
        ...

    def decode(self, data: bytes, /) -> object:
        """The message of these bytes."""
        ...


OnFailure = Callable[["Ref", "Reason", BaseException], None]
"""Told of each actor that ended by an error, before its supervisor acts.  Must not raise."""


class Run:
    """The shared part of one system."""

    __slots__ = (
        "_ids",
        "abandon",
        "actors",
        "codec",
        "dead_letters",
        "dead_letters_total",
        "on_failure",
        "paths",
        "plain",
        "spawn",
        "timers",
    )

    def __init__(self, codec: Codec | None, on_failure: OnFailure | None) -> None:
        self.timers = Timers()
        self.codec = codec
        self.on_failure = on_failure
        self.actors: dict[int, Cell] = {}
        self.paths: dict[str, Cell | Supervisor] = {}
        self.plain: set[type] = set()  # messages that need no ``carry`` and are work; learnt, and few: they are code
        self.dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_KEPT)
        self.dead_letters_total = 0
        self.spawn: Callable[[Life], None] = not_running
        self.abandon: Callable[[], None] = _nothing  # cancels every task at once
        self._ids = count(1)

    def next_id(self) -> int:
        """A number that no actor of this system had before."""
        return next(self._ids)

    def claim(self, path: str, node: Cell | Supervisor) -> None:
        """Give a path to a node.

        Raises:
            Misuse: somebody who lives has it.
        """
        if path in self.paths:
            raise Misuse("kernel.id_taken", f"`{path}` is taken")
        self.paths[path] = node

    @enable_ki_protection
    def carry(self, message: object) -> object:
        """In strict mode the message as it would arrive in another process, otherwise the message itself.

        Raises:
            Misuse: it cannot travel, or does not arrive as it was; or it is a ``Down``, which only the kernel sends.
        """
        # SAFETY: whoever could send a ``Down`` could have an actor believe that another has ended.
        if isinstance(message, Down):
            raise Misuse("kernel.forged_down", "only the kernel says that an actor is down")
        if self.codec is None or message is None:
            if getattr(type(message), "lane", None) is not Lane.CONTROL:
                self.plain.add(type(message))
            return message
        name = type(message).__qualname__
        try:
            arrived = self.codec.decode(self.codec.encode(message))
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise Misuse("kernel.unserialisable", f"a `{name}` cannot travel") from error
        if type(arrived) is not type(message) or arrived != message:
            raise Misuse("kernel.unserialisable", f"a `{name}` does not arrive as it was sent")
        return arrived

    def bury(self, to: Cell, sender: Sender, message: object) -> None:
        """Keep the record of a message that nobody handled."""
        self.dead_letters_total += 1
        self.dead_letters.append(
            DeadLetter(to=to.path, incarnation=to.incarnation, sender=sender.path, message=type(message).__qualname__)
        )


def not_running(life: Life) -> None:
    """What starts actors in a system that is not open."""
    raise Misuse("kernel.not_running", f"`{life.cell.path}` cannot start: the system is not open")


def _nothing() -> None:
    """There is no task yet."""
