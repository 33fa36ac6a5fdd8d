"""What people are told of sessions: what these report of themselves, what becomes of their questions, and their end.

Never: takes a session's word for which session it is, or for what only the guard may say.

Source: architecture 5; threats 1, 36.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from astrid.core.ids import show_id
from astrid.core.question import decode_question
from astrid.core.shape import is_whole
from astrid.errors import WireError
from astrid.messages.approvals import OpenQuestion, QuestionEnded
from astrid.messages.session import NotTaken, Report, ReportText
from astrid.runtime.dormant import Dormitory
from astrid.runtime.hub import Hub
from astrid.runtime.parts import Live, Why
from astrid.runtime.roster import Roster
from astrid.runtime.shelf import Shelf
from astrid.wire.events import (
    AnyEvent,
    ApprovalNeeded,
    ApprovalSettled,
    Deferred,
    ErrorRaised,
    SessionEnded,
    TaskProgress,
    TextDelta,
    TurnComplete,
    decode_event,
    encode_event,
)
from astrid.wire.telling import line

Ending = Literal["granted", "denied", "expired", "withdrawn"]
TaskState = Literal["queued", "working", "over"]
OF_GUARD = (ApprovalNeeded, ApprovalSettled, SessionEnded, TaskProgress)  # events that no session reports


class Herald:
    """See the module."""

    def __init__(self, hub: Hub, roster: Roster, dormitory: Dormitory, shelf: Callable[[], Shelf]) -> None:
        self._hub = hub
        self._roster = roster
        self._dormitory = dormitory
        self._shelf = shelf

    def of_session(self, live: Live, message: Report | ReportText | NotTaken) -> bool:
        """Pass on what a session says of itself; false if it says something else."""
        name = show_id("session", live.session)
        match message:
            case Report() | ReportText() if not is_whole(message):
                return False
            case ReportText():
                text = TextDelta(session_id=name, seq=self._hub.number(live.session), text=message.text)
                try:
                    self._hub.publish(live.session, encode_event(text), provisional=True)
                except WireError:  # no text that can be sent
                    return False
            case NotTaken():
                live.running = False
                live.turns -= 1
            case Report():
                try:
                    event = decode_event(message.event)
                except WireError:
                    return False
                if event.session_id != name or isinstance(event, OF_GUARD):
                    return False
                live.running = live.running and not isinstance(event, TurnComplete)
                live.deferred += isinstance(event, Deferred)
                self._publish(live.session, event)
        return True

    def question(self, message: OpenQuestion) -> None:
        """A question of a session waits for somebody."""
        if self._is_there(message.session):
            question, _ = decode_question(message.question)
            event = ApprovalNeeded(
                session_id=show_id("session", message.session),
                seq=0,
                question_id=show_id("question", message.qid),
                expires_s=question.expires,
            )
            self._publish(message.session, event)

    def question_ended(self, message: QuestionEnded) -> None:
        """It waits no longer; what it granted can be handed on."""
        if message.token:
            self._shelf().put(message.token, message.seq)
        if self._is_there(message.session):
            ends: dict[str, Ending] = {"deny": "denied", "expired": "expired"}
            event = ApprovalSettled(
                session_id=show_id("session", message.session),
                seq=0,
                question_id=show_id("question", message.qid),
                outcome=ends.get(message.verdict, "granted"),
            )
            self._publish(message.session, event)

    def task(self, session: bytes, agent: str, state: TaskState, child: bytes) -> None:
        """Where a sub-agent stands that works for ``session``, told to whoever listens to that."""
        if self._is_there(session):
            child_id = show_id("session", child) if child else None
            name = show_id("session", session)
            self._publish(session, TaskProgress(session_id=name, seq=0, agent=agent, state=state, child_id=child_id))

    def turn_over(self, session: bytes, turn: int, *, code: str = "", reason: str = "", advice: str = "") -> None:
        """A turn that was taken has not begun, and will not: the session was not woken for it (``code`` says why), or
        was told to stop before it was.
        """
        name = show_id("session", session)
        if code:
            said = ErrorRaised(session_id=name, seq=0, code=code, message=line(reason), advice=line(advice))
            self._publish(session, said)
        how: Literal["failed", "cancelled"] = "failed" if code else "cancelled"
        self._publish(session, TurnComplete(session_id=name, seq=0, turn=turn, stop_reason=how, code=code or None))

    def over(self, session: bytes, reason: Why) -> None:
        """A session has ended; nothing more is said of it."""
        self._publish(session, SessionEnded(session_id=show_id("session", session), seq=0, reason=reason))
        self._hub.forget(session)

    def _is_there(self, session: bytes) -> bool:
        return session in self._roster or self._dormitory.get(session) is not None

    def _publish(self, session: bytes, event: AnyEvent) -> None:
        numbered = msgspec.structs.replace(event, seq=self._hub.number(session) + 1)
        self._hub.publish(session, encode_event(numbered))
