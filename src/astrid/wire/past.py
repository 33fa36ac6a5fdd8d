"""What is answered about sessions of the past: which there were, what one said, and that one goes on.

Texts in here may have come from a model, a tool or a file, as in ``results``.

Source: architecture 7; protocol N9.
"""

from __future__ import annotations

from typing import Literal

from astrid.wire.fields import Line, PathText, Safe, SessionText, U64Text, Wire
from astrid.wire.results import Answer

PastState = Literal["open", "ended", "interrupted"]


class PastSession(Wire, frozen=True, kw_only=True):
    """A session as the log tells of it.  ``ended`` is why it is over; ``trouble`` why its journal cannot be read, and
    then neither ``workspace`` nor ``prompt``, its first words, are known; ``parent`` whose sub-agent it is.
    """

    session_id: SessionText
    state: PastState
    ended: Line
    workspace: Line
    mode: Line
    model: Line
    started_ns: U64Text
    last_ns: U64Text
    turns: Safe
    rows: Safe
    prompt: Line
    trouble: Line
    parent: SessionText | None = None
    erased: bool = False


class PastSessions(Answer, frozen=True, kw_only=True):
    """The sessions that the log tells of; ``left_out`` is how many more there are."""

    sessions: tuple[PastSession, ...]
    left_out: Safe


class JournalPart(Answer, frozen=True, kw_only=True):
    """A piece of a session's journal, one row of JSON a line, and how many bytes all of it has."""

    session: PastSession
    data: bytes
    size: Safe


class Forked(Answer, frozen=True, kw_only=True):
    """The new session.  ``turn`` is the number of the last turn that it goes on from; ``left_out`` whether there was
    another one behind the last that ended, which did not end and is not part of it.
    """

    session_id: SessionText
    origin_id: SessionText
    workspace: PathText
    turn: Safe
    left_out: bool


class Deleted(Answer, frozen=True, kw_only=True):
    """What was erased: of how many sessions how many rows, and texts beside the log; all 0 if nothing was left."""

    session_id: SessionText
    sessions: Safe
    rows: Safe
    texts: Safe


class Resumed(Answer, frozen=True, kw_only=True):
    """The session is there.  ``turn`` is the number of its last turn, ``running`` whether that goes on now, ``seq`` the
    number of the last event before this was asked.
    """

    workspace: PathText
    turn: Safe
    running: bool
    seq: Safe
