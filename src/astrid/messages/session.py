"""To and from sessions."""

from __future__ import annotations

from typing import ClassVar

from astrid.core.conversation import Image
from astrid.kernel import Lane, Message, Overflow


class Hear(Message, frozen=True, kw_only=True):
    """Somebody said ``text`` to the session; ``integrity`` is the label it has earned.  ``images`` are those that it
    names.
    """

    text: str
    integrity: int
    images: tuple[Image, ...] = ()


class TurnBack(Message, frozen=True, kw_only=True):
    """Somebody wants the conversation to be what it was after turn number ``to``, or, where that is nothing, before it
    was last summed up.  It is no input: ``NotTaken`` follows, and no turn begins.
    """

    to: int | None


class GoOn(Message, frozen=True, kw_only=True):
    """To a session that was cut off in a turn: finish that."""


class StopTurn(Message, frozen=True, kw_only=True):
    """A person wants the running turn to stop."""

    lane: ClassVar[Lane] = Lane.CONTROL


class NotTaken(Message, frozen=True, kw_only=True):
    """From a session to the gateway: what it heard last is no input; no turn began."""


class Report(Message, frozen=True, kw_only=True):
    """From a session to the gateway: an event (its JSON bytes, without a number).  Everything it rests on is
    durable.
    """

    event: bytes


class Concluded(Message, frozen=True, kw_only=True):
    """From a sub-agent to the gateway: its turn is over.  ``text`` is the last that its model said, ``tainted`` whether
    anything untrusted was in view by then; ``reason`` and ``code`` are those of the turn's end.
    """

    text: str
    tainted: bool
    reason: str
    code: str


class ReportText(Message, frozen=True, kw_only=True):
    """From a session to the gateway: a piece of text on its way; provisional, and dropped where there is no room."""

    overflow: ClassVar[Overflow] = Overflow.DROP

    text: str
