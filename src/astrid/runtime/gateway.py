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
from astrid.core.subagents import HOST_ID, Subagent
from astrid.errors import InternalError
from astrid.guard.door import APPROVALS, ARCHIVE, AUDIT, INTERCEPTOR, is_ours, strayed
from astrid.kernel import Actor, Down, Lane, Message, Posted, Ref, Sender
from astrid.messages.approvals import Attend, OpenQuestion, QuestionEnded, Respond
from astrid.messages.archive import Recalled
from astrid.messages.gate import Attach, Cosign, Done, Erase, Failed, Register, Revoke, Rewind, TakeIn
from astrid.messages.gateway import (
    AddToken,
    AskCheckpoint,
    AttachImage,
    Attended,
    CancelTurn,
    Delegate,
    EndSession,
    EraseSession,
    GiveAnswer,
    Input,
    ListSessions,
    OpenSession,
    Revive,
    RevokeToken,
    RewindFiles,
    SessionOpened,
    TakeBack,
    TakeCosignature,
    TurnConversation,
)
from astrid.messages.log import Checkpointed, TakeCheckpoint
from astrid.messages.session import Concluded, NotTaken, Report, ReportText
from astrid.runtime.agents import Agents, Overdue
from astrid.runtime.config import AgentsTable
from astrid.runtime.desk import Desk
from astrid.runtime.dormant import Dormitory
from astrid.runtime.herald import Herald
from astrid.runtime.hub import Hub
from astrid.runtime.opening import Opener
from astrid.runtime.roster import Roster
from astrid.runtime.sessions import Sessions
from astrid.runtime.shelf import Shelf
from astrid.runtime.sleeping import Asked, Sleeping
from astrid.runtime.sleeping import Request as OfSleep

RANK = 50
LOOKS = 4  # at who is idle, in the time after which one that is goes to sleep
GUARD = (AUDIT, APPROVALS, INTERCEPTOR)
SESSIONS = "root/sessions/"
SUBAGENTS = f"root/tools/{HOST_ID}/front"
BELOW = (*GUARD, ARCHIVE, SESSIONS, "root/tools/")  # no client sits there
Answer = Done | Failed | SessionOpened | Checkpointed
Request = Respond | TakeIn | Attach | Erase | Rewind | Cosign | Revoke | TakeCheckpoint | Register | OfSleep


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
        roster: Roster,
        dormitory: Dormitory,
        idle_seconds: float,
        subagents: Mapping[str, Subagent],
        limits: AgentsTable,
        refs: Mapping[str, Ref],
        made: Callable[[Ref], None],
    ) -> None:
        self._shelf = shelf
        self._desk = desk
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
        self._sessions = Sessions(
            facts=facts,
            opener=opener,
            herald=self._herald,
            sleeping=self._sleeping,
            roster=roster,
            dormitory=dormitory,
            refs=refs,
            ended=lambda session, ctx: self._agents.ended(session, ctx),
        )
        self._agents = Agents(
            opener=opener,
            roster=roster,
            subagents=subagents,
            limits=limits,
            close=self._sessions.close,
            admit=self._admit,
            herald=self._herald,
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
        self._sessions.come_back(self.ctx)
        self._look_later()

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        answer = await self._hear(message, sender)
        await self._agents.fill(self.ctx)
        return answer

    async def _hear(self, message: object, sender: Sender) -> object:
        if sender.path.startswith(BELOW):
            await self._hear_below(message, sender)
            return None
        match message:
            case Look() if sender.id == self.ctx.ref.id:
                self._look_later()
                self._sessions.look(self.ctx)
            case Overdue() if sender.id == self.ctx.ref.id:
                self._agents.overdue(message, self.ctx)
            case OpenSession():
                await self._open(message)
            case Input():
                return self._sessions.hear(message, self.ctx)
            case TurnConversation():
                return self._sessions.turn_back(message, self.ctx)
            case Revive():
                return self._sessions.revive(message, self.ctx)
            case CancelTurn():
                return self._sessions.cancel(message.session, self.ctx)
            case EndSession():
                return self._sessions.end(message, self.ctx)
            case ListSessions():
                return self._sessions.lines(message.session)
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
            case AttachImage():
                self._request(
                    message.ticket,
                    INTERCEPTOR,
                    lambda number: Attach(id=number, session=message.session, image=message.image),
                )
            case EraseSession():
                self._erase(message)
            case RewindFiles():
                self._request(message.ticket, INTERCEPTOR, partial(_rewind, message))
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
                live = self._sessions.speaks(sender.id, self.ctx.now())
                # One that is over has had its last event.
                if live is not None and not self._herald.of_session(live, message):
                    self._stray(message, sender)
            case Delegate() if sender.path == SUBAGENTS:
                self.ctx.monitor(self._refs[SUBAGENTS])
                self._agents.take(message, sender, self.ctx)
            case TakeBack() if sender.path == SUBAGENTS:
                self._agents.take_back(message.id, self.ctx)
            case Concluded() if sender.path.startswith(SESSIONS):
                live = self._sessions.speaks(sender.id, self.ctx.now())
                if live is not None and not self._agents.concluded(live, message, self.ctx):
                    self._stray(message, sender)
            case Down():
                self._agents.host_gone(message.ref.id, self.ctx)
                self._sessions.down(message, self.ctx)
            case _:
                self._stray(message, sender)

    def _stray(self, message: object, sender: Sender) -> None:
        if is_ours(message, sender):
            raise InternalError("gateway.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
        self.ctx.post(self._refs[INTERCEPTOR], strayed(message, sender))

    def _look_later(self) -> None:
        self.ctx.start_timer(self._idle_seconds / LOOKS, Look())

    async def _open(self, message: OpenSession) -> None:
        begun = await self._sessions.open(message, self._number(), self.ctx)
        if isinstance(begun, Failed):
            self._desk.settle(message.ticket, begun)
        else:
            self._post(INTERCEPTOR, begun, Waiting(message.ticket, session=begun.session))

    def _erase(self, message: EraseSession) -> None:
        """Of one that is neither awake nor asleep."""
        if self._sessions.lines(message.erasure.session):
            open_ = Failed(id=message.ticket, code="session.open", reason="the session is open", advice="end it first")
            self._desk.settle(message.ticket, open_)
            return
        self._request(
            message.ticket, INTERCEPTOR, lambda number: Erase(id=number, erasure=message.erasure, rows=message.rows)
        )

    def _admit(self, register: Register) -> None:
        register = msgspec.structs.replace(register, id=self._number())
        self._post(INTERCEPTOR, register, Waiting(0, session=register.child))

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
            self._sessions.admitted(waiting.session, message.seq)
            self._agents.admitted(waiting.session, self.ctx)
        else:
            self._sessions.turned_away(waiting.session)
        self._desk.settle(waiting.ticket, answer)


def _take_in(message: AddToken, number: int) -> TakeIn:
    return TakeIn(id=number, token=message.token, source=message.source)


def _rewind(message: RewindFiles, number: int) -> Rewind:
    return Rewind(id=number, session=message.session, turn=message.turn, undos=message.undos, rewound=message.rewound)


def _cosign(message: TakeCosignature, number: int) -> Cosign:
    return Cosign(id=number, key=message.key, note=message.note, chain=message.chain)
