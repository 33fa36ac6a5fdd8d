"""The gateway: opens and closes sessions, and passes on what people say and what sessions answer.

It is the only actor whose word makes another a principal (``opening``).  What sessions and others who are not trusted
say to it and should not, the gate records at their cost, and it changes nothing.

Never: takes a session's word for which session it is, or a client's for what only the guard may say.

Source: architecture 4, 6; threats 1, 30, 52.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import msgspec

from astrid.core.facts import Facts
from astrid.core.ids import show_id
from astrid.core.labels import Integrity
from astrid.core.prompt import PromptStatement, integrity_of
from astrid.core.question import decode_question
from astrid.core.shape import is_whole
from astrid.errors import AstridError, InputError, InternalError, WireError
from astrid.guard.door import APPROVALS, AUDIT, INTERCEPTOR, is_ours, strayed
from astrid.kernel import Actor, Down, KernelError, Message, Posted, Ref, Sender
from astrid.messages.approvals import Attend, OpenQuestion, QuestionEnded, Respond, SessionOver
from astrid.messages.gate import Cosign, Done, Failed, Register, Revoke, TakeIn
from astrid.messages.gateway import (
    AddToken,
    AskCheckpoint,
    Attended,
    CancelTurn,
    Declined,
    EndSession,
    GiveAnswer,
    Input,
    ListSessions,
    OpenSession,
    RevokeToken,
    SessionLine,
    SessionOpened,
    TakeCosignature,
    Taken,
)
from astrid.messages.log import Checkpointed, TakeCheckpoint
from astrid.messages.session import Hear, NotTaken, Report, ReportText, StopTurn
from astrid.runtime.desk import Desk
from astrid.runtime.hub import Hub
from astrid.runtime.opening import Opener
from astrid.runtime.parts import Live
from astrid.runtime.shelf import Shelf
from astrid.wire.events import (
    AnyEvent,
    ApprovalNeeded,
    ApprovalSettled,
    Deferred,
    SessionEnded,
    TextDelta,
    TurnComplete,
    decode_event,
    encode_event,
)

RANK = 50
MAX_SESSIONS = 100
GUARD = (AUDIT, APPROVALS, INTERCEPTOR)
SESSIONS = "root/sessions/"
BELOW = (*GUARD, SESSIONS, "root/tools/")  # no client sits there
Answer = Done | Failed | SessionOpened | Checkpointed
Ending = Literal["granted", "denied", "expired", "withdrawn"]
OF_GUARD = (ApprovalNeeded, ApprovalSettled, SessionEnded)  # events that no session reports
Request = Respond | TakeIn | Cosign | Revoke | TakeCheckpoint | Register


class Waiting(msgspec.Struct, frozen=True):
    """A request of ours to somebody below: whose ticket it is, and what it was about."""

    ticket: int
    session: bytes = b""
    token: bytes = b""


class Gateway(Actor):
    """See the module.  ``roster`` outlives this actor's own restarts."""

    def __init__(
        self,
        *,
        facts: Callable[[], Facts],
        opener: Opener,
        shelf: Callable[[], Shelf],
        hub: Hub,
        desk: Desk[Answer],
        roster: dict[bytes, Live],
        refs: Mapping[str, Ref],
        made: Callable[[Ref], None],
    ) -> None:
        self._facts = facts
        self._opener = opener
        self._shelf = shelf
        self._hub = hub
        self._desk = desk
        self._roster = roster
        self._refs = refs
        self._made = made
        self._next = 1
        self._waiting: dict[int, Waiting] = {}

    async def started(self) -> None:
        """Give up what the last incarnation of this was asked; watch the sessions that outlived it."""
        self._made(self.ctx.ref)
        self._desk.settle_all(
            lambda number: Failed(
                id=number,
                code="daemon.restarted",
                reason="a part of the daemon broke; what was asked may have been done",
                advice="look before you ask again",
            )
        )
        for live in list(self._roster.values()):
            if live.ref.alive:
                self.ctx.monitor(live.ref)
            else:
                self._over(live, "failed")

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        if sender.path.startswith(BELOW):
            self._hear_below(message, sender)
            return None
        match message:
            case OpenSession():
                await self._open(message)
            case Input():
                return self._input(message)
            case CancelTurn():
                return self._to_session(message.session, StopTurn())
            case EndSession():
                return self._end(message)
            case ListSessions():
                return tuple(self._line(live) for live in self._roster.values())
            case Attended():
                self.ctx.post(self._refs[APPROVALS], Attend(session=message.session, present=message.present))
            case GiveAnswer():
                self._request(message.ticket, APPROVALS, lambda number: Respond(id=number, answer=message.answer))
            case AddToken():
                self._request(message.ticket, INTERCEPTOR, partial(_take_in, message), token=message.token)
            case RevokeToken():
                self._request(
                    message.ticket, INTERCEPTOR, lambda number: Revoke(id=number, statement=message.statement)
                )
            case TakeCosignature():
                self._request(message.ticket, INTERCEPTOR, partial(_cosign, message))
            case AskCheckpoint():
                self._request(message.ticket, AUDIT, lambda number: TakeCheckpoint(id=number))
            case _:
                self._stray(message, sender)
        return None

    def _hear_below(self, message: object, sender: Sender) -> None:
        """From the guard and the sessions; and the end of one of these."""
        match message:
            case Done() | Failed() | Checkpointed() if sender.path in GUARD:
                self._answered(message)
            case OpenQuestion() if sender.path == APPROVALS:
                self._question(message)
            case QuestionEnded() if sender.path == APPROVALS:
                self._question_ended(message)
            case Report() | ReportText() | NotTaken() if sender.path.startswith(SESSIONS):
                live = next((live for live in self._roster.values() if live.ref.id == sender.id), None)
                if live is None:
                    return  # it is over, and has had its last event
                if not self._of_session(live, message):
                    self._stray(message, sender)
            case Down():
                self._down(message)
            case _:
                self._stray(message, sender)

    def _stray(self, message: object, sender: Sender) -> None:
        if is_ours(message, sender):
            raise InternalError("gateway.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
        self.ctx.post(self._refs[INTERCEPTOR], strayed(message, sender))

    # --- sessions

    async def _open(self, message: OpenSession) -> None:
        try:
            if len(self._roster) >= MAX_SESSIONS:
                raise InputError("session.too-many", f"{MAX_SESSIONS} sessions are open", advice="end one first")
            live, register = await self._opener.open(message, self._number(), self.ctx)
        except AstridError as error:
            refused = Failed(
                id=message.ticket,
                code=error.code,
                reason=f"{error.message} ({error.where})" if error.where else error.message,
                advice=error.advice,
            )
            self._desk.settle(message.ticket, refused)
        except KernelError as error:
            refused = Failed(id=message.ticket, code="session.host", reason=str(error), advice="see the daemon's log")
            self._desk.settle(message.ticket, refused)
        else:
            self._roster[live.session] = live
            self.ctx.monitor(live.ref)
            self._post(INTERCEPTOR, register, Waiting(message.ticket, session=live.session))

    def _input(self, message: Input) -> Taken | Declined:
        live = self._roster.get(message.session)
        if live is None:
            return _unknown_session()
        if live.running:
            return Declined(code="session.busy", reason="a turn is running", advice="wait for it or cancel it")
        if message.turn != live.turns + 1:
            return Declined(
                code="session.turn", reason=f"the next turn is number {live.turns + 1}", advice="send the input again"
            )
        facts = self._facts()
        integrity = Integrity.UNTRUSTED
        if message.signature:
            integrity = self._integrity(message, facts)
            if integrity is Integrity.UNTRUSTED:
                return Declined(
                    code="prompt.signature", reason="the prompt's signature does not verify", advice="send it unsigned"
                )
        if self.ctx.post(live.ref, Hear(text=message.text, integrity=integrity)) is not Posted.ACCEPTED:
            return Declined(code="session.busy", reason="the session takes no input now", advice="try again")
        live.running, live.turns = True, message.turn
        return Taken(number=message.turn)

    def _integrity(self, message: Input, facts: Facts) -> Integrity:
        try:
            text = message.text.encode()
        except UnicodeEncodeError:  # nobody can have signed that
            return Integrity.UNTRUSTED
        statement = PromptStatement(facts.aud, message.session, message.turn, text)
        return integrity_of(statement, message.signer, message.signature, facts.roots)

    def _to_session(self, session: bytes, message: Message) -> Taken | Declined:
        live = self._roster.get(session)
        if live is None:
            return _unknown_session()
        self.ctx.post(live.ref, message)
        return Taken(number=live.turns)

    def _end(self, message: EndSession) -> Taken | Declined:
        live = self._roster.get(message.session)
        if live is None:
            return _unknown_session()
        self._opener.close(live)
        return Taken(number=live.turns)

    def _down(self, message: Down) -> None:
        for live in list(self._roster.values()):
            if live.ref == message.ref:
                self._over(live, "failed" if message.reason.abnormal else "asked")

    def _over(self, live: Live, reason: Literal["asked", "failed"]) -> None:
        """A session has ended: forget it, tell its listeners, and let go of what was there for it."""
        del self._roster[live.session]
        self._opener.close(live)
        self.ctx.post(self._refs[APPROVALS], SessionOver(session=live.session))
        self._publish(live.session, SessionEnded(session_id=show_id("session", live.session), seq=0, reason=reason))
        self._hub.forget(live.session)

    def _line(self, live: Live) -> SessionLine:
        state = "running" if live.running else "idle"
        return msgspec.structs.replace(live.line, state=state, turns=live.turns, deferred=live.deferred)

    # --- events

    def _of_session(self, live: Live, message: Report | ReportText | NotTaken) -> bool:
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

    def _publish(self, session: bytes, event: AnyEvent) -> None:
        numbered = msgspec.structs.replace(event, seq=self._hub.number(session) + 1)
        self._hub.publish(session, encode_event(numbered))

    def _question(self, message: OpenQuestion) -> None:
        if message.session in self._roster:
            question, _ = decode_question(message.question)
            event = ApprovalNeeded(
                session_id=show_id("session", message.session),
                seq=0,
                question_id=show_id("question", message.qid),
                expires_s=question.expires,
            )
            self._publish(message.session, event)

    def _question_ended(self, message: QuestionEnded) -> None:
        if message.token:
            self._shelf().put(message.token, message.seq)
        if message.session in self._roster:
            ends: dict[str, Ending] = {"deny": "denied", "expired": "expired"}
            event = ApprovalSettled(
                session_id=show_id("session", message.session),
                seq=0,
                question_id=show_id("question", message.qid),
                outcome=ends.get(message.verdict, "granted"),
            )
            self._publish(message.session, event)

    # --- requests

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _request(self, ticket: int, path: str, make: Callable[[int], Request], *, token: bytes = b"") -> None:
        self._post(path, make(self._number()), Waiting(ticket, token=token))

    def _post(self, path: str, message: Request, waiting: Waiting) -> None:
        self._waiting[message.id] = waiting
        if self.ctx.post(self._refs[path], message, message.id) is not Posted.ACCEPTED:
            busy = Failed(id=message.id, code="daemon.busy", reason="the daemon has too much to do", advice="try again")
            self._answered(busy)

    def _answered(self, message: Done | Failed | Checkpointed) -> None:
        waiting = self._waiting.pop(message.id, None)
        if waiting is None:
            return
        answer: Answer = message
        if isinstance(message, Done) and waiting.token:
            self._shelf().put(waiting.token, message.seq)
        elif isinstance(message, Done) and waiting.session:
            answer = SessionOpened(session=waiting.session)
        elif waiting.session in self._roster:  # nobody made a principal of it
            self._opener.close(self._roster[waiting.session])
        self._desk.settle(waiting.ticket, answer)


def _take_in(message: AddToken, number: int) -> TakeIn:
    return TakeIn(id=number, token=message.token, source=message.source)


def _cosign(message: TakeCosignature, number: int) -> Cosign:
    return Cosign(id=number, key=message.key, note=message.note, chain=message.chain)


def _unknown_session() -> Declined:
    return Declined(code="session.unknown", reason="there is no such session", advice="see `astrid sessions list`")
