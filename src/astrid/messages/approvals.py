"""To and from approvals."""

from __future__ import annotations

from typing import ClassVar

from astrid.kernel import Lane, Message


class Attend(Message, frozen=True, kw_only=True):
    """Whether somebody who can answer questions of ``session`` is there now."""

    lane: ClassVar[Lane] = Lane.CONTROL

    session: bytes
    present: bool


class SessionOver(Message, frozen=True, kw_only=True):
    """``session`` has ended and asks no more.  What it asked stays open."""

    session: bytes


class Respond(Message, frozen=True, kw_only=True):
    """A signed answer (the bytes of a ``SignedAnswer``).  Answered by ``Done`` when its record is durable, or
    ``Failed``.
    """

    id: int
    answer: bytes


class OpenQuestion(Message, frozen=True, kw_only=True):
    """To the gateway: question ``qid`` of ``session`` waits; ``question`` is the bytes of ``Q``."""

    qid: bytes
    session: bytes
    question: bytes


class QuestionEnded(Message, frozen=True, kw_only=True):
    """To the gateway: question ``qid`` waits no longer; record ``seq`` says so.  ``token`` is empty unless somebody
    said yes.
    """

    qid: bytes
    session: bytes
    verdict: str
    token: bytes
    seq: int


class ListOpen(Message, frozen=True, kw_only=True):
    """Asked for: every open question, as a tuple of ``OpenQuestion``."""
