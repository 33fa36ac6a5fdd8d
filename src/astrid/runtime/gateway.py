"""The gateway: opens and closes sessions, and passes on what people say and what sessions answer.

It is the only actor whose word makes another a principal (``opening``).  What sessions and others who are not trusted
say to it and should not, the gate records at their cost, and it changes nothing.

Never: takes a session's word for which session it is, or a client's for what only the guard may say.

Source: architecture 4, 6; threats 1, 30, 52.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import msgspec

from astrid.core.facts import Facts
from astrid.errors import AstridError, InputError, InternalError
from astrid.guard.door import APPROVALS, ARCHIVE, AUDIT, INTERCEPTOR, is_ours, strayed
from astrid.kernel import Actor, Down, KernelError, Lane, Message, Posted, Ref, Sender
from astrid.messages.approvals import Attend, OpenQuestion, QuestionEnded, Respond, SessionOver
from astrid.messages.archive import Recalled
from astrid.messages.gate import Cosign, Done, Ending, Failed, Finish, Register, Revoke, TakeIn
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
from astrid.runtime.dormant import Dormitory
from astrid.runtime.hearing import hear
from astrid.runtime.herald import Herald
from astrid.runtime.hub import Hub
from astrid.runtime.opening import Opener
from astrid.runtime.parts import Live, Stage, Why
from astrid.runtime.shelf import Shelf
from astrid.runtime.sleeping import Asked, Sleeping
from astrid.runtime.sleeping import Request as OfSleep

RANK = 50
MAX_SESSIONS = 100  # that are awake
LOOKS = 4  # at who is idle, in the time after which one that is goes to sleep
GUARD = (AUDIT, APPROVALS, INTERCEPTOR)
SESSIONS = "root/sessions/"
IN_LOG: Mapping[Why, str] = {"asked": "client", "idle": "idle", "failed": "failed"}  # what the log calls it
BELOW = (*GUARD, ARCHIVE, SESSIONS, "root/tools/")  # no client sits there
Answer = Done | Failed | SessionOpened | Checkpointed
Request = Respond | TakeIn | Cosign | Revoke | TakeCheckpoint | Register | OfSleep


class Look(Message, frozen=True, kw_only=True):
    """To itself: time to look who is idle."""

    lane: ClassVar[Lane] = Lane.CONTROL


class Waiting(msgspec.Struct, frozen=True):
    """A request of ours to somebody below: whose ticket it is, and what it was about."""

    ticket: int
    session: bytes = b""
    token: bytes = b""


class Gateway(Actor):
    """See the module.  ``roster`` and ``dormitory`` outlive this actor's own restarts."""

    def __init__(
        self,
        *,
        facts: Callable[[], Facts],
        opener: Opener,
        shelf: Callable[[], Shelf],
        hub: Hub,
        desk: Desk[Answer],
        roster: dict[bytes, Live],
        dormitory: Dormitory,
        idle_seconds: float,
        refs: Mapping[str, Ref],
        made: Callable[[Ref], None],
    ) -> None:
        self._facts = facts
        self._opener = opener
        self._shelf = shelf
        self._desk = desk
        self._roster = roster
        self._dormitory = dormitory
        self._idle_seconds = idle_seconds
        self._herald = Herald(hub, roster, dormitory, shelf)
        self._sleeping = Sleeping(
            facts=facts,
            opener=opener,
            herald=self._herald,
            hub=hub,
            dormitory=dormitory,
            roster=roster,
            idle_seconds=idle_seconds,
            send=self._send,
        )
        self._refs = refs
        self._made = made
        self._next = 0
        self._waiting: dict[int, Waiting | Asked] = {}

    async def started(self) -> None:
        """Give up what the last incarnation of this was asked; watch the sessions that outlived it."""
        self._made(self.ctx.ref)
        # What an earlier start of this asked may be answered yet, and must not pass for an answer to this one.
        self._next = self.ctx.ref.cell.incarnation << 32
        self._desk.settle_all(
            lambda number: Failed(
                id=number,
                code="daemon.restarted",
                reason="a part of the daemon broke; what was asked may have been done",
                advice="look before you ask again",
            )
        )
        for live in list(self._roster.values()):
            if not live.ref.alive:
                self._over(live, "failed")
                continue
            self.ctx.monitor(live.ref)
            if live.stage in (Stage.DROWSY, Stage.LEAVING):  # nobody knows whether the gate let it go
                self._close(live, "failed")
        for session in self._sleeping.give_up():
            self._end_asleep(session, "failed")
        self._look_later()

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        if sender.path.startswith(BELOW):
            await self._hear_below(message, sender)
            return None
        match message:
            case Look() if sender.id == self.ctx.ref.id:
                self._look_later()
                self._look()
            case OpenSession():
                await self._open(message)
            case Input():
                return self._input(message)
            case CancelTurn():
                return self._cancel(message.session)
            case EndSession():
                return self._end(message)
            case ListSessions():
                return self._lines(message.session)
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

    async def _hear_below(self, message: object, sender: Sender) -> None:
        """From the guard and the sessions; and the end of one of these."""
        match message:
            case Done() | Failed() | Checkpointed() if sender.path in GUARD:
                self._answered(message)
            case Failed() if sender.path == ARCHIVE:
                self._answered(message)
            case Recalled() if sender.path == ARCHIVE:
                asked = self._waiting.pop(message.id, None)
                if isinstance(asked, Asked):
                    await self._sleeping.recalled(asked, message, self.ctx)
            case OpenQuestion() if sender.path == APPROVALS:
                self._herald.question(message)
            case QuestionEnded() if sender.path == APPROVALS:
                self._herald.question_ended(message)
            case Report() | ReportText() | NotTaken() if sender.path.startswith(SESSIONS):
                live = next((live for live in self._roster.values() if live.ref.id == sender.id), None)
                if live is None:
                    return  # it is over, and has had its last event
                live.active = self.ctx.now()
                if not self._herald.of_session(live, message):
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
            if not self._has_room:
                raise InputError("session.too-many", f"{MAX_SESSIONS} sessions are awake", advice="end one first")
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

    @property
    def _has_room(self) -> bool:
        """Whether one session more may be awake."""
        return len(self._roster) + len(self._dormitory.waking) < MAX_SESSIONS

    def _input(self, message: Input) -> Taken | Declined:
        live, record = self._roster.get(message.session), self._dormitory.get(message.session)
        if live is not None:
            running, turns = live.running, live.turns
        elif record is not None:
            running, turns = self._dormitory.hears_something(message.session), record.numbers.turns
        else:
            return _unknown_session()
        if running:
            return Declined(code="session.busy", reason="a turn is running", advice="wait for it or cancel it")
        if message.turn != turns + 1:
            return Declined(
                code="session.turn", reason=f"the next turn is number {turns + 1}", advice="send the input again"
            )
        said = hear(message, self._facts())
        return said if isinstance(said, Declined) else self._say(message.session, live, said, message.turn)

    def _say(self, session: bytes, live: Live | None, said: Hear, turn: int) -> Taken | Declined:
        """Have a session hear something, now or as soon as it can."""
        if live is None:
            if session not in self._dormitory.waking and not self._has_room:
                return Declined(
                    code="session.too-many",
                    reason=f"{MAX_SESSIONS} sessions are awake",
                    advice="try again when one is idle",
                )
            self._sleeping.wake(session, said)
            return Taken(number=turn)
        if live.stage in (Stage.DROWSY, Stage.LEAVING):
            live.held = said
        elif self.ctx.post(live.ref, said) is not Posted.ACCEPTED:
            return Declined(code="session.busy", reason="the session takes no input now", advice="try again")
        live.running, live.turns, live.active = True, turn, self.ctx.now()
        return Taken(number=turn)

    def _cancel(self, session: bytes) -> Taken | Declined:
        live, record = self._roster.get(session), self._dormitory.get(session)
        if live is None and record is None:
            return _unknown_session()
        if not self._sleeping.cancel(session) and live is not None:
            self.ctx.post(live.ref, StopTurn())
        return Taken(number=live.turns if live is not None else record.numbers.turns if record is not None else 0)

    def _end(self, message: EndSession) -> Taken | Declined:
        live, record = self._roster.get(message.session), self._dormitory.get(message.session)
        if live is not None:
            self._close(live, message.reason)
            return Taken(number=live.turns)
        if record is None:
            return _unknown_session()
        self._end_asleep(message.session, message.reason)
        return Taken(number=record.numbers.turns)

    def _close(self, live: Live, why: Why) -> None:
        """Have a session end for good."""
        live.ending = why
        if live.stage is Stage.LEAVING:
            live.stage = Stage.DROWSY
        self.ctx.post(self._refs[INTERCEPTOR], Ending(session=live.session, reason=IN_LOG[why]))
        self._opener.close(live)

    def _down(self, message: Down) -> None:
        for live in list(self._roster.values()):
            if live.ref == message.ref:
                if live.stage is Stage.LEAVING:
                    self._sleeping.asleep(live, self.ctx.now())
                else:
                    self._over(live, "failed" if message.reason.abnormal else live.ending or "asked")
        lost = self._sleeping.gone(message.ref)
        if lost:
            self._end_asleep(lost, "failed")

    def _over(self, live: Live, reason: Why) -> None:
        """A session has ended: forget it, tell its listeners, and let go of what was there for it."""
        del self._roster[live.session]
        self._opener.close(live)
        if live.stage is Stage.DROWSY:  # the gate may have let it go, and then does not see its end
            self.ctx.post(self._refs[INTERCEPTOR], Finish(session=live.session, reason=IN_LOG[reason]))
        self.ctx.post(self._refs[APPROVALS], SessionOver(session=live.session))
        self._herald.over(live.session, reason)

    def _end_asleep(self, session: bytes, reason: Why) -> None:
        """As ``_over``, of one that sleeps or was about to wake."""
        if session in self._dormitory.waking:  # the gate may have it awake already
            self.ctx.post(self._refs[INTERCEPTOR], Ending(session=session, reason=IN_LOG[reason]))
        if self._sleeping.end(session):
            self.ctx.post(self._refs[INTERCEPTOR], Finish(session=session, reason=IN_LOG[reason]))
            self.ctx.post(self._refs[APPROVALS], SessionOver(session=session))
            self._herald.over(session, reason)

    def _lines(self, session: bytes) -> tuple[SessionLine, ...]:
        """The sessions, or the one."""
        if not session:
            return (*(live.line() for live in self._roster.values()), *self._dormitory.lines())
        live, record = self._roster.get(session), self._dormitory.get(session)
        if live is not None:
            return (live.line(),)
        return () if record is None else (self._dormitory.line(session, record),)

    def _look(self) -> None:
        self._sleeping.look(self.ctx.now())
        for session in self._dormitory.overslept(self.ctx.now()):
            self._end_asleep(session, "idle")

    def _look_later(self) -> None:
        self.ctx.start_timer(self._idle_seconds / LOOKS, Look())

    # --- requests

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _request(self, ticket: int, path: str, make: Callable[[int], Request], *, token: bytes = b"") -> None:
        self._post(path, make(self._number()), Waiting(ticket, token=token))

    def _send(self, path: str, make: Callable[[int], OfSleep], asked: Asked) -> None:
        self._post(path, make(self._number()), asked)

    def _post(self, path: str, message: Request, waiting: Waiting | Asked) -> None:
        self._waiting[message.id] = waiting
        if self.ctx.post(self._refs[path], message, message.id) is not Posted.ACCEPTED:
            busy = Failed(id=message.id, code="daemon.busy", reason="the daemon has too much to do", advice="try again")
            self._answered(busy)

    def _answered(self, message: Done | Failed | Checkpointed) -> None:
        waiting = self._waiting.pop(message.id, None)
        if waiting is None:
            return
        if isinstance(waiting, Asked):
            self._sleeping.answered(waiting, message, self.ctx)
            return
        answer: Answer = message
        if isinstance(message, Done) and waiting.token:
            self._shelf().put(waiting.token, message.seq)
        elif isinstance(message, Done) and waiting.session:
            answer = SessionOpened(session=waiting.session)
            if waiting.session in self._roster:
                live = self._roster[waiting.session]
                live.stage, live.first = Stage.AWAKE, message.seq
        elif waiting.session in self._roster:  # nobody made a principal of it
            self._opener.close(self._roster[waiting.session])
        self._desk.settle(waiting.ticket, answer)


def _take_in(message: AddToken, number: int) -> TakeIn:
    return TakeIn(id=number, token=message.token, source=message.source)


def _cosign(message: TakeCosignature, number: int) -> Cosign:
    return Cosign(id=number, key=message.key, note=message.note, chain=message.chain)


def _unknown_session() -> Declined:
    return Declined(code="session.unknown", reason="there is no such session", advice="see `astrid sessions list`")
