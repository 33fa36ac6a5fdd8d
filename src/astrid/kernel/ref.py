"""Who is who: the identity stamped on a message, the handle it is sent to, and what became of it.

A ``Sender`` says who somebody is, and gives no right to send to them; a ``Ref`` is that right.  Nobody can choose
their own ``Sender``: the context of an actor stamps it, and no function takes one from outside.
"""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import msgspec

from astrid.kernel.message import Lane, Reason

if TYPE_CHECKING:
    from astrid.kernel.cell import Cell


class Posted(enum.Enum):
    """What became of a message that was posted."""

    ACCEPTED = "accepted"  # queued; it will be handled unless this incarnation ends first
    REFUSED = "refused"  # no room there, or none here for the answer
    DROPPED = "dropped"  # no room, and its type says that it is worth nothing then
    DEAD_LETTER = "dead_letter"  # no room; kept among the dead letters
    GONE = "gone"  # the recipient has ended for good
    LATE = "late"  # an answer that nobody waits for any more, or that was asked of somebody else


class Sender(msgspec.Struct, frozen=True):
    """Who sent a message: one incarnation of one actor.  A fact to look at and to compare, not a handle."""

    id: int
    path: str
    incarnation: int
    rank: int


OUTSIDE = Sender(id=0, path="", incarnation=0, rank=sys.maxsize)
"""The sender of what comes from outside any actor."""


class Ref:
    """A stable handle on an actor.  It outlives the actor's incarnations, but not its final end."""

    __slots__ = ("cell",)

    def __init__(self, cell: Cell) -> None:
        self.cell = cell  # the kernel's own; nobody else may touch it

    @property
    def id(self) -> int:
        """Unique in the system, never used again."""
        return self.cell.id

    @property
    def path(self) -> str:
        """Where the actor hangs in the tree, such as ``root/tools/workspace``.  Unique among those who live."""
        return self.cell.path

    @property
    def rank(self) -> int:
        """Only an actor of a higher rank may wait for this one."""
        return self.cell.rank

    @property
    def incarnation(self) -> int:
        """How often the actor was started: 0 before the first time."""
        return self.cell.incarnation

    @property
    def alive(self) -> bool:
        """Whether it is there or will be again.  While it is being restarted it is alive: messages queue up."""
        return not self.cell.gone

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other.cell.id == self.cell.id

    def __hash__(self) -> int:
        return hash(self.cell.id)

    def __repr__(self) -> str:
        return f"<Ref {self.cell.id} {self.cell.path}>"


@dataclass(frozen=True, slots=True)
class Down:
    """To whoever monitors ``ref``: that incarnation ended.  What it was sent and did not answer, it never will.

    The one message that carries a ref, because only the kernel makes it and it never leaves the system.  That nobody
    else sends one is asked of every message, and of a class without a metaclass it is asked in half the time.
    """

    lane: ClassVar[Lane] = Lane.CONTROL

    ref: Ref
    reason: Reason
    incarnation: int
