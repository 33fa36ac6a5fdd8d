"""What travels: the base of all messages, their lane, what becomes of them without room, and how an actor ends.

Any object may be sent; what is no ``Message`` takes the work lane and is refused when there is no room.
Messages carry facts, never objects with behaviour.
"""

from __future__ import annotations

import enum
from typing import ClassVar

import msgspec


class Lane(enum.Enum):
    """Control goes before work, for the few messages that must pass a full mailbox: withdraw, cancel, shut down."""

    WORK = "work"
    CONTROL = "control"


class Overflow(enum.Enum):
    """What a message that is posted into a full mailbox becomes.  All three are answers to the sender; none waits."""

    REFUSE = "refuse"  # the sender is told, and decides
    DROP = "drop"  # worth nothing when late: a progress report, a streamed word
    DEAD_LETTER = "dead_letter"  # kept in the system's list of dead letters, for a person to find


class Message(msgspec.Struct, frozen=True, tag=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all messages.  A subclass may set ``lane`` and ``overflow``, and has to repeat ``kw_only``."""

    lane: ClassVar[Lane] = Lane.WORK
    overflow: ClassVar[Overflow] = Overflow.REFUSE


class Exit(enum.Enum):
    """How an incarnation of an actor ended."""

    NORMAL = "normal"  # it stopped itself
    SHUTDOWN = "shutdown"  # its supervisor stopped it, and it obeyed
    KILLED = "killed"  # it was cancelled: its deadline passed, or an actor that it was linked to broke
    FAILED = "failed"  # it raised
    GONE = "gone"  # it had ended before anybody looked


class Reason(msgspec.Struct, frozen=True):
    """Why an incarnation ended.  ``detail`` is the type of the error, never its text: texts may hold secrets."""

    exit: Exit
    detail: str = ""

    @property
    def abnormal(self) -> bool:
        """Whether this end is a failure: a transient child is restarted after it, and linked actors end too."""
        return self.exit is Exit.KILLED or self.exit is Exit.FAILED
