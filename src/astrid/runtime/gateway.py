"""The gateway: opens and closes sessions, and passes on what people say and what sessions answer.

It is the only actor whose word makes another a principal.  It grants nothing: a session gets what the user signed
for the workspace, narrowed.

Source: architecture 4, 6; threats 30, 52.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import msgspec

from astrid.core.facts import Facts
from astrid.core.grants import Mode
from astrid.core.ids import SessionId, show_id
from astrid.core.keys import SigningKey
from astrid.core.labels import Integrity
from astrid.core.prompt import PromptStatement, integrity_of
from astrid.core.question import decode_question
from astrid.core.tokens import Scope
from astrid.errors import AstridError, InputError, InternalError
from astrid.hosts.session import RANK as SESSION_RANK
from astrid.hosts.session import Session
from astrid.hosts.tool_host import Ping, tool_host
from astrid.kernel import Actor, ChildSpec, Down, KernelError, Message, Posted, Ref, Sender, SupervisorHandle
from astrid.messages.approvals import Attend, OpenQuestion, QuestionEnded, Respond
from astrid.messages.gate import Done, Failed, Register, Revoke, TakeIn
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
    Taken,
)
from astrid.messages.log import Checkpointed, TakeCheckpoint
from astrid.messages.session import Hear, Report, ReportText, StopTurn
from astrid.ports import Clock, Entropy, ToolServer
from astrid.runtime.desk import Desk
from astrid.runtime.hub import Hub
from astrid.runtime.parts import Catalogue, Live, Place
from astrid.runtime.shelf import Shelf
from astrid.runtime.wallet import HolderWallet
from astrid.wire.events import (
    ApprovalNeeded,
    ApprovalSettled,
    SessionEnded,
    TextDelta,
    TurnComplete,
    decode_event,
    encode_event,
)

RANK = 50
HOST_SECONDS = 30.0
MAX_SESSIONS = 100
Answer = Done | Failed | SessionOpened | Checkpointed


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
        catalogue: Catalogue,
        wallet: HolderWallet,
        holder: bytes,
        shelf: Callable[[], Shelf],
        hub: Hub,
        desk: Desk[Answer],
        roster: dict[bytes, Live],
        refs: Mapping[str, Ref],
        supervisor: Callable[[str], SupervisorHandle],
        find: Callable[[str], Ref],
        made: Callable[[Ref], None],
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._facts = facts
        self._catalogue = catalogue
        self._wallet = wallet
        self._holder = holder
        self._shelf = shelf
        self._hub = hub
        self._desk = desk
        self._roster = roster
        self._refs = refs
        self._supervisor = supervisor
        self._find = find
        self._made = made
        self._clock = clock
        self._entropy = entropy
        self._next = 1
        self._waiting: dict[int, Waiting] = {}
        self._fronts: dict[str, Ref] = {}

    async def started(self) -> None:
        """Forget sessions that did not outlive what restarted."""
        self._made(self.ctx.ref)
        for session, live in list(self._roster.items()):
            if live.ref.alive:
                self.ctx.monitor(live.ref)
            else:
                del self._roster[session]

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
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
                self.ctx.post(self._refs["root/approvals"], Attend(session=message.session, present=message.present))
            case GiveAnswer():
                self._request(
                    message.ticket, "root/approvals", lambda number: Respond(id=number, answer=message.answer)
                )
            case AddToken():
                self._request(message.ticket, "root/interceptor", partial(_take_in, message), token=message.token)
            case RevokeToken():
                self._request(
                    message.ticket, "root/interceptor", lambda number: Revoke(id=number, statement=message.statement)
                )
            case AskCheckpoint():
                self._request(message.ticket, "root/audit", lambda number: TakeCheckpoint(id=number))
            case Done() | Failed() | Checkpointed():
                self._answered(message)
            case Report():
                self._report(message)
            case ReportText():
                text = TextDelta(
                    session_id=_name(message.session), seq=self._hub.number(message.session), text=message.text
                )
                self._hub.publish(message.session, encode_event(text), provisional=True)
            case OpenQuestion():
                self._question(message)
            case QuestionEnded():
                self._publish_ended(message)
            case Down():
                self._down(message)
            case _:
                raise InternalError("gateway.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
        return None

    # --- sessions

    async def _open(self, message: OpenSession) -> None:
        try:
            await self._try_open(message)
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

    async def _try_open(self, message: OpenSession) -> None:
        if len(self._roster) >= MAX_SESSIONS:
            raise InputError("session.too-many", f"{MAX_SESSIONS} sessions are open", advice="end one first")
        place = self._catalogue.place(message.workspace)
        brain = self._catalogue.brain(message.model)
        limits = self._catalogue.limits(message.budget_micros)
        session = SessionId(self._entropy.random_bytes(16))
        key = SigningKey.from_seed(self._entropy.random_bytes(32)).public
        tokens = self._equip(place, Mode(message.mode), key, session, limits.session_micros)
        await self._up(f"workspace-{place.identity.hex()}", place.toolbox, place.server)
        await self._up(f"model-{brain.toolbox.partition(':')[2]}", brain.toolbox, brain.server)
        extras = self._catalogue.extras()
        for extra in extras:
            await self._up(extra.name, extra.toolbox, extra.server)
        actor = Session(
            session=session,
            key=key,
            setting=self._catalogue.setting(place, brain, message.max_turns),
            tokens=tokens,
            purse_micros=limits.session_micros,
            interceptor=self._refs["root/interceptor"],
            gateway=lambda: self._refs["root/gateway"],
            wallet=self._wallet,
            clock=self._clock,
            context_tokens=brain.context_tokens,
        )
        spec = ChildSpec(id=session.hex(), factory=lambda: actor, restart="temporary", rank=SESSION_RANK, shutdown=5.0)
        ref = self._supervisor("root/sessions").start_child(spec)
        self._made(ref)
        self.ctx.monitor(ref)
        line = SessionLine(
            session=session,
            workspace=place.root,
            mode=message.mode,
            model=brain.name,
            state="idle",
            created_ns=self._clock.now_ns(),
            turns=0,
            deferred=0,
        )
        self._roster[session] = Live(session, ref, line)
        register = Register(
            id=self._number(),
            ref=ref.id,
            key=key,
            session=session,
            workspace=place.identity,
            toolboxes=(place.toolbox, brain.toolbox, *(extra.toolbox for extra in extras)),
            mode=message.mode,
            model=brain.name,
            scripted=brain.scripted,
            asks=message.interactive,
            limits=limits,
        )
        self._post("root/interceptor", register, Waiting(message.ticket, session=session))

    def _equip(self, place: Place, mode: Mode, key: bytes, session: bytes, purse_micros: int) -> tuple[bytes, ...]:
        """The session's tokens: the mode that was asked for, and what a person approved for this workspace."""
        facts = self._facts()
        now_s = facts.time_s(self._clock.now_ns())
        live = self._shelf().live(self._holder, place.identity, now_s)
        base, grants = self._shelf().for_mode(live, mode, place.root)
        mine = [self._wallet.pass_on(base, grants, holder=key, session=session, purse_micros=purse_micros)]
        approved = [token for token in live if token.leaf.question or token.leaf.scope == Scope.ALWAYS]
        mine += [
            self._wallet.narrow(token.raw, holder=key, session=session, purse_micros=purse_micros) for token in approved
        ]
        return tuple(mine)

    async def _up(self, name: str, toolbox: str, server: ToolServer) -> None:
        """Have a tool host running, with its tools on offer."""
        front = self._fronts.get(name)
        if front is None or not front.alive:
            spec = tool_host(name, toolbox, lambda: server, self._refs["root/interceptor"], self._made)
            self._supervisor("root/tools").start_child(spec)
            front = self._fronts[name] = self._find(f"root/tools/{name}/front")
        await self.ctx.ask(front, Ping(), within=HOST_SECONDS)

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
            statement = PromptStatement(facts.aud, message.session, message.turn, message.text.encode())
            integrity = integrity_of(statement, message.signer, message.signature, facts.roots)
            if integrity is Integrity.UNTRUSTED:
                return Declined(
                    code="prompt.signature", reason="the prompt's signature does not verify", advice="send it unsigned"
                )
        if self.ctx.post(live.ref, Hear(text=message.text, integrity=integrity)) is not Posted.ACCEPTED:
            return Declined(code="session.busy", reason="the session takes no input now", advice="try again")
        live.running, live.turns = True, message.turn
        return Taken(number=message.turn)

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
        self._supervisor("root/sessions").stop_child(live.session.hex())
        return Taken(number=live.turns)

    def _down(self, message: Down) -> None:
        for session, live in list(self._roster.items()):
            if live.ref == message.ref:
                del self._roster[session]
                reason = "failed" if message.reason.abnormal else "asked"
                ended = SessionEnded(session_id=_name(session), seq=self._hub.number(session) + 1, reason=reason)
                self._hub.publish(session, encode_event(ended))
                self._hub.forget(session)

    def _line(self, live: Live) -> SessionLine:
        state = "running" if live.running else "idle"
        return msgspec.structs.replace(live.line, state=state, turns=live.turns, deferred=live.deferred)

    # --- events

    def _report(self, message: Report) -> None:
        event = decode_event(message.event)
        live = self._roster.get(message.session)
        if live is not None and isinstance(event, TurnComplete):
            live.running = False
        numbered = msgspec.structs.replace(event, seq=self._hub.number(message.session) + 1)
        self._hub.publish(message.session, encode_event(numbered))

    def _question(self, message: OpenQuestion) -> None:
        question, _ = decode_question(message.question)
        event = ApprovalNeeded(
            session_id=_name(message.session),
            seq=self._hub.number(message.session) + 1,
            question_id=show_id("question", message.qid),
            expires_s=question.expires,
        )
        self._hub.publish(message.session, encode_event(event))

    def _publish_ended(self, message: QuestionEnded) -> None:
        if message.token:
            self._shelf().put(message.token, message.seq)
        ends: dict[str, Ending] = {"deny": "denied", "expired": "expired"}
        event = ApprovalSettled(
            session_id=_name(message.session),
            seq=self._hub.number(message.session) + 1,
            question_id=show_id("question", message.qid),
            outcome=ends.get(message.verdict, "granted"),
        )
        self._hub.publish(message.session, encode_event(event))

    # --- requests

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _request(self, ticket: int, path: str, make: Callable[[int], Request], *, token: bytes = b"") -> None:
        self._post(path, make(self._number()), Waiting(ticket, token=token))

    def _post(self, path: str, message: Request, waiting: Waiting) -> None:
        if self.ctx.post(self._refs[path], message, message.id) is Posted.ACCEPTED:
            self._waiting[message.id] = waiting
        else:
            refused = Failed(
                id=message.id, code="daemon.busy", reason="the daemon has too much to do", advice="try again"
            )
            self._desk.settle(waiting.ticket, refused)

    def _answered(self, message: Done | Failed | Checkpointed) -> None:
        waiting = self._waiting.pop(message.id, None)
        if waiting is None:
            return
        answer: Answer = message
        if isinstance(message, Done) and waiting.token:
            self._shelf().put(waiting.token, message.seq)
        elif isinstance(message, Done) and waiting.session:
            answer = SessionOpened(session=waiting.session)
        self._desk.settle(waiting.ticket, answer)


Ending = Literal["granted", "denied", "expired", "withdrawn"]
Request = Respond | TakeIn | Revoke | TakeCheckpoint | Register


def _take_in(message: AddToken, number: int) -> TakeIn:
    return TakeIn(id=number, token=message.token, source=message.source)


def _name(session: bytes) -> str:
    return show_id("session", session)


def _unknown_session() -> Declined:
    return Declined(code="session.unknown", reason="there is no such session", advice="see `astrid sessions list`")
