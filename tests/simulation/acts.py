"""What happens to a running daemon from outside: sessions are opened and talked to, people answer, principals go rogue,
clocks are set, actors killed, tokens revoked, lies told.

Never: waits for what may never come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import trio

from astrid.core.decide import Limits
from astrid.core.ids import session_id
from astrid.core.prompt import PromptStatement, sign_prompt
from astrid.errors import AstridError
from astrid.kernel import ChildSpec, KernelError, Message, Posted, Ref
from astrid.messages.approvals import OpenQuestion
from astrid.messages.gate import Register
from astrid.messages.gateway import (
    AddToken,
    AskCheckpoint,
    Attended,
    CancelTurn,
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
from tests.fakes.home import HOLDER, USER
from tests.fakes.replays import NO_MODEL
from tests.simulation.people import AUD, ROOT_PATH, WORKSPACE
from tests.simulation.plan import GRANTS, JUMPS_S, KILLED, TOOLS, Act
from tests.simulation.rogues import Rogue, family, lies

if TYPE_CHECKING:
    from tests.simulation.start import Start

GATE, GATEWAY = "root/interceptor", "root/gateway"
REGISTERED = 10**9  # the numbers of the registrations that are made here begin above those of the gateway
TOOLBOXES = (f"workspace:{WORKSPACE.hex()}", f"model:{'0' * 32}")
Then = Callable[[Any], Awaitable[None]]


class Acts:
    """See the module.  ``tickets`` is how many requests are not answered."""

    def __init__(self, start: Start) -> None:
        self.tickets = 0
        self.rogues: list[Rogue] = []
        self._start = start
        self._life = start.life
        self._sessions: dict[int, bytes] = {}
        self._turns: dict[bytes, int] = {}
        self._paths: dict[str, Rogue] = {}
        self._refs: dict[str, Ref] = {}  # of rogues, by name
        self._registered = REGISTERED
        self.trusted = self._life.clock.now_ns() >= self._life.records.time_ns - 60 * 10**9

    # --- sending

    def _path(self, path: str) -> Ref | None:
        ref = self._start.directory.by_path.get(path)
        return ref if ref is not None and ref.alive else None

    async def _ask(self, message: Message) -> object:
        ref, system = self._path(GATEWAY), self._start.system
        if ref is None or system is None:
            return None
        try:
            return await system.ask(ref, message, within=60)
        except KernelError:
            return None

    def request(self, make: Callable[[int], Message], then: Then | None = None) -> None:
        """Ask for something that is answered later."""
        assert self._start.outside is not None
        self.tickets += 1
        self._start.outside.start_soon(self._request, make, then)

    async def wait_request(self, make: Callable[[int], Message]) -> None:
        """Ask, and wait for the answer."""
        self.tickets += 1
        await self._request(make, None)

    async def _request(self, make: Callable[[int], Message], then: Then | None) -> None:
        ref, system = self._path(GATEWAY), self._start.system
        try:
            if ref is None or system is None:
                return
            ticket = self._start.world.desk.take()
            if system.post(ref, make(ticket.number)) is not Posted.ACCEPTED:
                return
            answer = await ticket.wait_answer()
            self._life.say(f"answered: {answer}")
            if then is not None:
                await then(answer)
        finally:
            self.tickets -= 1

    @property
    def _now_s(self) -> int:
        return self._life.clock.now_ns() // 10**9

    # --- sessions

    async def begin(self) -> None:
        """The user lets Astrid work in the folder, unless that was so before."""
        if not self._life.authority.signed:
            await self.grant(self._life.plan.grant)

    async def do(self, act: Act) -> None:
        """One act."""
        match act.what:
            case "open":
                self._open(act.a % len(self._life.plan.talks))
            case "rogue":
                await self._misbehave(act)
            case "say":
                await self._say(act.a)
            case "rouse":
                await self._rouse(act.a)
            case "wait":
                await trio.sleep(30)
            case "cancel":
                if session := self._session(act.a):
                    await self._ask(CancelTurn(session=session))
            case "attend":
                if session := self._session(act.a):
                    self._post(GATEWAY, Attended(session=session, present=bool(act.b % 2)))
            case "end":
                if session := self._session(act.a):
                    await self._ask(EndSession(session=session, reason="asked"))
            case "family":
                await self._family(act.b)
            case "grant":
                await self.grant(GRANTS[act.a % len(GRANTS)])
            case "revoke":
                self._revoke(act)
            case "checkpoint":
                self.request(lambda number: AskCheckpoint(ticket=number))
            case "clock":
                self._life.note("clock")
                self._life.clock.set_by(JUMPS_S[act.a % len(JUMPS_S)])
            case "kill":
                self._kill(KILLED[act.a % len(KILLED)], act.b)
            case "forge":
                self._forge(act)
            case _:
                self._again(act.a)

    def _session(self, number: int) -> bytes:
        sessions = list(self._sessions.values())
        return sessions[number % len(sessions)] if sessions else b""

    def _open(self, number: int) -> None:
        talk = self._life.plan.talks[number]

        async def opened(answer: Any) -> None:
            if not isinstance(answer, SessionOpened):
                return
            self._sessions[number] = answer.session
            self._turns[answer.session] = 0
            if talk.attended:
                self._post(GATEWAY, Attended(session=answer.session, present=True))
            await self._say(list(self._sessions).index(number))

        self.request(
            lambda ticket: OpenSession(
                ticket=ticket,
                workspace=ROOT_PATH,
                mode=talk.mode,
                model="scripted" if talk.scripted else "",
                budget_micros=talk.budget_micros,
                max_turns=0,
                interactive=talk.interactive,
            ),
            opened,
        )

    async def _say(self, place: int) -> None:
        session = self._session(place)
        if not session:
            return
        number = next(number for number, one in self._sessions.items() if one == session)
        talk, turn = self._life.plan.talks[number], self._turns[session] + 1
        text = f"talk {number} {'signed' if talk.signed else ' unsigned'} {turn}"
        signature = sign_prompt(PromptStatement(AUD, session, turn, text.encode()), USER) if talk.signed else b""
        signer = USER.public if talk.signed else b""
        said = await self._ask(Input(session=session, turn=turn, text=text, signer=signer, signature=signature))
        if isinstance(said, Taken):
            self._turns[session] = turn

    async def _rouse(self, which: int) -> None:
        """Say something to one that sleeps."""
        lines = cast("tuple[SessionLine, ...]", await self._ask(ListSessions()) or ())
        ours = list(self._sessions.values())
        asleep = [line for line in lines if line.state == "asleep" and line.session in ours]
        if asleep:
            line = asleep[which % len(asleep)]
            self._turns[line.session] = line.turns  # a turn that did not begin is not counted
            self._life.note("rouse")
            await self._say(ours.index(line.session))

    async def stop_turns(self) -> None:
        """People have had enough."""
        lines = cast("tuple[SessionLine, ...]", await self._ask(ListSessions()) or ())
        for line in lines:
            await self._ask(CancelTurn(session=line.session))

    # --- people

    async def listen(self, questions: trio.MemoryReceiveChannel[OpenQuestion]) -> None:
        """Questions reach people."""
        async for question in questions:
            self.asked(question)

    def asked(self, message: OpenQuestion) -> None:
        """A question has reached somebody."""
        people = self._life.people
        people.asked[message.qid] = message.question
        manner = people.manner()
        self._life.say(f"asked; the person will {manner}")
        if self._start.outside is not None:
            self._start.outside.start_soon(self._answer, message.question, manner)

    async def _answer(self, question: bytes, manner: str) -> None:
        for pause, answer in self._life.people.replies(question, manner, self._now_s):
            await trio.sleep(pause)
            self.request(lambda number, answer=answer: GiveAnswer(ticket=number, answer=answer))

    def _again(self, number: int) -> None:
        given = self._life.people.given
        if given:
            old = given[number % len(given)]
            self.request(lambda ticket: GiveAnswer(ticket=ticket, answer=old))

    async def grant(self, kind: str) -> None:
        if kind == "none":
            return
        token = self._life.people.grant(kind, self._now_s)
        with trio.move_on_after(40):
            await self.wait_request(lambda number: AddToken(ticket=number, token=token, source="user"))

    def _revoke(self, act: Act) -> None:
        blocks = list(self._life.authority.blocks.items())
        if blocks:
            identity, block = blocks[act.a % len(blocks)]
            by_key = bool(act.b % 2) and block.holder != HOLDER.public
            target, kind = (block.holder, "key") if by_key else (identity, "token")
            statement = self._life.people.revocation(target, kind, self._now_s)
            self._life.note("revoke")
            self.request(lambda number: RevokeToken(ticket=number, statement=statement))

    # --- rogues

    def rogue_at(self, path: str) -> Rogue | None:
        """The rogue who lives there."""
        return self._paths.get(path)

    def lives(self, rogue: Rogue) -> bool:
        """Whether it is still there."""
        return self._refs[rogue.name].alive

    def rogue(self, name: str, tokens: tuple[bytes, ...]) -> Rogue:
        start = self._start
        rogue = Rogue(name, tokens, lambda: start.directory.by_path[GATE], self._life.watch.wrong)
        assert start.system is not None
        sessions = start.system.supervisor("root/sessions")
        ref = sessions.start_child(ChildSpec(id=name, factory=lambda: rogue, restart="temporary", rank=40))
        self._refs[name] = ref
        self._paths[ref.path] = rogue
        start.directory.add(ref)
        self.rogues.append(rogue)
        return rogue

    def register(self, rogue: Rogue, key: bytes, session: bytes, limits: Limits, *, asks: bool) -> bool:
        gateway = self._start.gateway
        interceptor = self._path(GATE)
        if gateway is None or interceptor is None:
            return False
        self._registered += 1
        message = Register(
            id=self._registered,
            ref=self._refs[rogue.name].id,
            key=key,
            session=session,
            workspace=WORKSPACE,
            toolboxes=TOOLBOXES,
            mode="safe",
            model=NO_MODEL,
            scripted=False,
            asks=asks,
            limits=limits,
        )
        return gateway.ctx.post(interceptor, message) is Posted.ACCEPTED

    def base(self) -> bytes:
        """A grant that the daemon holds and may hand on."""
        world = self._start.world
        live = world.shelf.live(world.holder, WORKSPACE, world.facts.time_s(self._life.clock.now_ns()))
        return live[-1].raw if live else b""

    async def _family(self, kind: int) -> None:
        life, world, base = self._life, self._start.world, self.base()
        if not base or len(self.rogues) > 6:
            return
        session = session_id(life.entropy.random_bytes(16), scripted=False)
        try:
            made = family(base, world.identity.roots, world.wallet.narrow, session, life.entropy, kind)
            name = f"rogue-{len(self.rogues)}"
            parent = self.rogue(f"{name}-parent", (made.parent_token,))
            child = self.rogue(f"{name}-child", (made.child_token,))
            self.rogue(f"{name}-stranger", (made.parent_token, made.child_token))
            limits = Limits(life.plan.action_micros, life.plan.session_micros, life.plan.workspace_micros)
            self.register(parent, made.parent.public, session, limits, asks=bool(kind & 4))
            self.register(child, made.child.public, session, limits, asks=bool(kind & 8))
            await trio.sleep(0.001)
        except (AstridError, KernelError) as error:
            life.say(f"no family: {error!r}")

    async def _misbehave(self, act: Act) -> None:
        if not self.rogues:
            await self._family(act.b)
        living = [rogue for rogue in self.rogues if self.lives(rogue)]
        if not living:
            return
        rogue = living[(act.b // len(TOOLS) + act.a // 20) % len(living)]
        others = [token for other in self.rogues for token in other.tokens if other is not rogue]
        known = self._start.directory.by_path.items()
        foreign = [ref for path, ref in known if ref.alive and not path.startswith("root/sessions/")]
        try:
            did = rogue.do(act.a, act.b, others, self._life.watch.stolen, foreign)
        except KernelError as error:  # it is over
            did = repr(error)
        self._life.say(f"{rogue.name}: {did}")

    # --- violence

    def _post(self, path: str, message: Any) -> None:
        ref = self._path(path)
        if ref is not None and self._start.system is not None:
            self._start.system.post(ref, message)

    def _kill(self, what: str, which: int) -> None:
        directory = self._start.directory.by_path
        match what:
            case "host":
                paths = [path for path in directory if path.startswith("root/tools/workspace")]
            case "model":
                paths = [path for path in directory if path.startswith("root/tools/model")]
            case "session":
                paths = [path for path in directory if path.startswith("root/sessions/")]
            case _:
                paths = [f"root/{what}"]
        paths = [path for path in paths if self._path(path) is not None]
        if paths:
            self._life.note(f"kill:{what}")
            self._life.note("kill")
            directory[paths[which % len(paths)]].cell.kill("as planned")

    def _forge(self, act: Act) -> None:
        """Whoever is outside says what only the guard may say."""
        self._life.note("forge")
        targets = sorted(path for path in self._start.directory.by_path if not path.startswith("root/sessions/"))
        self._life.watch.forging = True
        for message in (*lies(1 + act.b % 9, b"t" * 40), *self._life.watch.executed[-2:]):
            for path in targets:
                if path != GATEWAY:
                    self._post(path, message)
        self._life.watch.forging = False
