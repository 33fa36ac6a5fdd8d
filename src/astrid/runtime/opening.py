"""How a session comes to be, or is there again: its tool hosts, its tokens, its actor.

Never: grants anything.  A session gets what the user signed for the workspace, narrowed to it; one that wakes, what is
left of that when it wakes.

Source: architecture 4, 6; threats 30, 42, 52.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from astrid.core.delegation import child_grants
from astrid.core.facts import Facts
from astrid.core.grants import Mode, mode_grants
from astrid.core.ids import SessionId, session_id
from astrid.core.redact import Redactor
from astrid.core.subagents import Subagent
from astrid.core.tokens import Grant, Token
from astrid.core.turn_fork import forked
from astrid.core.turn_messages import Setting, decode_row, encode_row
from astrid.core.turn_state import Idle, restore
from astrid.errors import InputError, TokenError
from astrid.hosts.redacting import Redacting
from astrid.hosts.session import RANK as SESSION_RANK
from astrid.hosts.session import Past, Session
from astrid.hosts.subagent import SubagentHost, SubagentServer
from astrid.hosts.tool_host import Ping, tool_host
from astrid.kernel import ChildSpec, Context, Ref, SupervisorHandle
from astrid.messages.archive import Recalled
from astrid.messages.gate import Register
from astrid.messages.gateway import Forked, OpenSession
from astrid.ports import Clock, Entropy, ToolServer
from astrid.runtime.dormant import Dormant
from astrid.runtime.parts import Brain, Catalogue, Live, Options, Place, Stem
from astrid.runtime.shelf import Shelf
from astrid.runtime.wallet import HolderWallet

HOST_SECONDS = 30.0
SPARE_SECONDS = 60  # that a sub-agent's tokens live longer than it may take, since the clock may be corrected meanwhile
MAX_ROWS = 2**16 - 1  # of a record
MAX_GRANTS = 32  # that a session presents; the newest, as what it lacks it can ask for
SESSIONS, TOOLS = "root/sessions", "root/tools"


class Opener:
    """See the module.  ``made`` is told of each session's ref, ``gone`` when that is nobody's any more; ``find`` gives
    the ref at a path.
    """

    def __init__(
        self,
        *,
        facts: Callable[[], Facts],
        catalogue: Catalogue,
        wallet: HolderWallet,
        holder: bytes,
        shelf: Callable[[], Shelf],
        refs: Mapping[str, Ref],
        supervisor: Callable[[str], SupervisorHandle],
        find: Callable[[str], Ref],
        made: Callable[[Ref], None],
        gone: Callable[[Ref], None],
        clock: Clock,
        entropy: Entropy,
        subagents: Mapping[str, Subagent],
        redactor: Callable[[], Redactor],
    ) -> None:
        self._redactor = redactor
        self._facts = facts
        self._catalogue = catalogue
        self._wallet = wallet
        self._holder = holder
        self._shelf = shelf
        self._refs = refs
        self._supervisor = supervisor
        self._find = find
        self._made = made
        self.gone = gone
        self._clock = clock
        self._entropy = entropy
        self._fronts: dict[str, Ref] = {}
        self._subagents = subagents
        self._options: dict[bytes, Options] = {}  # of each workspace, the last that a session got

    async def open(self, message: OpenSession, number: int, ctx: Context) -> tuple[Live, Register]:
        """A session that has started, and what makes it a principal once the gate has it; both under ``number``.

        Raises:
            AstridError: what a person should read: no such workspace, model or mode, or nothing granted.
            KernelError: a tool host does not come up.
        """
        place = self._catalogue.place(message.workspace)
        brain = self._catalogue.brain(message.model)
        options = Options(
            place.root,
            self._catalogue.mode(message.mode).value,
            message.model,
            brain.name,
            message.budget_micros,
            message.max_turns,
            # SAFETY: what a person answers is a token of its own, whose chain has no block of the fleet: its purse
            # would be passed by.
            message.interactive and not message.fleet,
            message.fleet,
            message.agent,
        )
        session = session_id(self._entropy.random_bytes(16), scripted=brain.scripted)
        setting = self._setting(place, brain, options)
        past, batches = None, ()
        if message.forks is not None:
            past, batches = self._gone_on_from(message.forks, place, setting)
        stem = self._stem(place, brain, options, session, self._wallet.key_of(session))
        live, register = await self._start(place, self._shared(place, options), session, stem, setting, ctx, past)
        live.turns = 0 if past is None else past.turn.number
        return live, msgspec.structs.replace(register, id=number, inherits=batches)

    def _gone_on_from(
        self, forks: Forked, place: Place, setting: Setting
    ) -> tuple[Past, tuple[tuple[bytes, ...], ...]]:
        """Where a session begins that goes on from another one, and the rows that say so; what leads has a record of
        its own, which is short to read.
        """
        # SAFETY: what was said may be of files that were there, and would be taken for these.
        if place.identity != forks.workspace:
            raise InputError(
                "session.elsewhere",
                "the session's workspace or model is not the one that it had",
                where=place.root,
                advice="put it back, or start another session",
            )
        lead, said = forked(setting, forks.rows, forks.origin, self._clock.now_ns())
        turn = restore(setting, (*lead, *said))
        rows = [encode_row(row) for row in said]
        batches = [rows[at : at + MAX_ROWS] for at in range(0, len(rows), MAX_ROWS)]
        return Past(turn, len(lead) + len(rows), ()), tuple(map(tuple, [map(encode_row, lead), *batches]))

    async def wake(
        self, session: SessionId, record: Dormant, recalled: Recalled, ctx: Context
    ) -> tuple[Live, Register]:
        """As ``open``, for a session that slept: by its own name, with what the user's grants allow it now.  What
        makes it a principal has no number yet.

        Raises:
            AstridError: as ``open``; or it is not what it was: another folder is where its workspace was, or its
                journal shows a turn that did not end, and it is not to go on with that.
            KernelError: a tool host does not come up.
        """
        options, numbers = record.options, record.numbers
        place = self._catalogue.place(options.workspace)
        brain = self._catalogue.brain(options.model)
        # SAFETY: what the log says of the session, not the path, is what its calls, grants and questions name.
        if (place.identity, options.mode, brain.name) != (recalled.workspace, recalled.mode, recalled.model):
            raise InputError(
                "session.elsewhere",
                "the session's workspace or model is not the one that it had",
                where=options.workspace,
                advice="put it back, or start another session",
            )
        setting = self._setting(place, brain, options)
        turn = restore(setting, map(decode_row, recalled.rows))
        if not isinstance(turn.phase, Idle) and recalled.verdicts is None:
            raise InputError(
                "session.unfinished",
                "the session's journal shows a turn that did not end",
                advice="have it go on: `astrid exec --resume ID`",
            )
        past = Past(turn, len(recalled.rows), recalled.answers, recalled.verdicts or ())
        stem = self._stem(place, brain, options, session, recalled.key)
        live, register = await self._start(place, options, session, stem, setting, ctx, past)
        live.created_ns, live.first = numbers.created_ns, numbers.first
        live.turns, live.deferred = numbers.turns, numbers.deferred
        return live, msgspec.structs.replace(register, wakes=True)

    async def delegate(
        self, parent: Live, agent: Subagent, *, purse_micros: int, seconds: int, ctx: Context
    ) -> tuple[Live, Register]:
        """A sub-agent of ``parent`` that has started, and what makes it a principal, which has no number yet.

        It gets of each token that its parent opened with what ``agent`` asks for.  Its money is all under the first,
        which is its mode's: what another allows, it allows as long as it costs nothing.

        Raises:
            AstridError: the parent may hand nothing on, or nothing that is asked for.
            KernelError: a tool host does not come up.
        """
        stem, options = parent.stem, parent.options
        place = self._catalogue.place(options.workspace)
        tooldefs = self._tooldefs(place)
        session = session_id(self._entropy.random_bytes(16), scripted=stem.brain.scripted)
        expires_s = self._now_s() + seconds + SPARE_SECONDS

        def hand_on(raw: bytes, purse: int) -> bytes:
            return self._wallet.delegate(
                raw,
                parent=parent.session,
                child=session,
                agent=agent,
                tooldefs=tooldefs,
                purse_micros=purse,
                expires_s=expires_s,
            )

        tokens = [hand_on(stem.tokens[0], purse_micros)]
        for raw in stem.tokens[1:]:
            try:
                tokens.append(hand_on(raw, 0))
            except TokenError:
                continue  # it cannot be handed on, or holds nothing that is asked for; the child goes without
        child = Stem(
            key=self._wallet.key_of(session),
            tokens=tuple(tokens),
            brain=stem.brain,
            limits=stem.limits,
            top=stem.top,
            parent=parent.session,
            agent=agent.name,
            purse=self._wallet.verified(tokens[0]).id,
        )
        alone = msgspec.structs.replace(options, interactive=False)
        setting = self._catalogue.setting(place, stem.brain, alone, self._clock.now_ns(), agent)
        return await self._start(place, options, session, child, setting, ctx)

    def _tooldefs(self, place: Place) -> dict[str, bytes]:
        servers = (place.server, *(extra.server for extra in self._catalogue.extras(place)))
        return {spec.name: bytes(spec.tooldef()) for server in servers for spec in server.specs()}

    def _agent(self, name: str) -> Subagent:
        """Raises:
        InputError: there is none of that name.
        """
        agent = self._subagents.get(name)
        if agent is None:
            raise InputError(
                "agent.unknown",
                f"there is no agent `{name[:40]}`",
                advice=f"name one of these: {', '.join(self._subagents)}",
            )
        return agent

    def _setting(self, place: Place, brain: Brain, options: Options) -> Setting:
        """That of a session, which may follow the definition of a sub-agent."""
        agent = self._agent(options.agent) if options.agent else None
        return self._catalogue.setting(place, brain, options, self._clock.now_ns(), agent)

    def _stem(self, place: Place, brain: Brain, options: Options, session: bytes, key: bytes) -> Stem:
        mode, limits = self._catalogue.mode(options.mode), self._catalogue.limits(options.budget_micros)
        base, grants = self._base(place, mode, options.fleet)
        if options.agent:
            grants = child_grants(grants, self._agent(options.agent), self._tooldefs(place))
        first = self._wallet.pass_on(base, grants, holder=key, session=session, purse_micros=limits.session_micros)
        # SAFETY: of a fleet's session every chain has the fleet's block, or the purse of all would hold none.
        alone = options.fleet or options.agent  # one that follows a definition has what that asks for, and nothing else
        others = [] if alone else self._others(place, key, session, limits.session_micros)
        tokens = (first, *others)
        return Stem(key=key, tokens=tokens, brain=brain, limits=limits, top=session, agent=options.agent)

    async def _start(
        self,
        place: Place,
        options: Options,
        session: SessionId,
        stem: Stem,
        setting: Setting,
        ctx: Context,
        past: Past | None = None,
    ) -> tuple[Live, Register]:
        key, brain, limits = stem.key, stem.brain, stem.limits
        await self._up(f"workspace-{place.identity.hex()}", place.toolbox, place.server, ctx)
        extras = self._catalogue.extras(place)
        for extra in extras:
            await self._up(extra.name, extra.toolbox, extra.server, ctx)
        model_host = f"model-{brain.toolbox.partition(':')[2]}"
        await self._up(model_host, brain.toolbox, brain.server, ctx)
        for other in brain.fallbacks:
            await self._up(other.toolbox.replace(":", "-"), other.toolbox, other.server, ctx)
        actor = Session(
            session=session,
            key=key,
            setting=setting,
            tokens=stem.tokens,
            purse_micros=limits.session_micros,
            interceptor=self._refs["root/interceptor"],
            gateway=lambda: self._refs["root/gateway"],
            wallet=self._wallet,
            clock=self._clock,
            entropy=self._entropy,
            context_tokens=brain.context_tokens,
            past=past,
            concludes=bool(stem.parent),
        )
        spec = ChildSpec(id=session.hex(), factory=lambda: actor, restart="temporary", rank=SESSION_RANK, shutdown=5.0)
        ref = self._supervisor(SESSIONS).start_child(spec)
        self._made(ref)
        register = Register(
            id=0,
            ref=ref.id,
            key=key,
            session=stem.top,
            workspace=place.identity,
            toolboxes=(
                place.toolbox,
                *(one.toolbox for one in (brain, *brain.fallbacks)),
                *(extra.toolbox for extra in extras),
            ),
            mode=options.mode,
            model=brain.name,
            scripted=brain.scripted,
            asks=options.interactive and not stem.parent,
            limits=limits,
            child=session if stem.parent else b"",
            parent=stem.parent,
        )
        own_host = model_host if brain.scripted and not stem.parent else ""
        return Live(session, ref, options, self._clock.now_ns(), stem, own_host, active=ctx.now()), register

    def _shared(self, place: Place, options: Options) -> Options:
        """``options``, or the same that another session of the workspace has: of many that sleep they are a part."""
        if self._options.get(place.identity) != options:
            self._options[place.identity] = options
        return self._options[place.identity]

    def close(self, live: Live) -> None:
        """Have a session end, and what runs for it alone."""
        self._supervisor(SESSIONS).stop_child(live.session.hex())
        if live.own_host:
            self._supervisor(TOOLS).stop_child(live.own_host)
            self._fronts.pop(live.own_host, None)

    def _now_s(self) -> int:
        return self._facts().time_s(self._clock.now_ns())

    def _live(self, place: Place) -> list[Token]:
        return self._shelf().live(self._holder, place.identity, self._now_s())

    def _base(self, place: Place, mode: Mode, fleet: bytes) -> tuple[Token, tuple[Grant, ...]]:
        """What a session is handed its first token from."""
        if fleet:
            return self._shelf().of_fleet(fleet, place.identity, self._now_s()), mode_grants(mode, place.root)
        return self._shelf().for_mode(self._live(place), mode, place.root)

    def _others(self, place: Place, key: bytes, session: bytes, purse_micros: int) -> list[bytes]:
        """What else the user signed for this workspace, beside modes: grants of single things, and answers."""
        single = [token for token in self._live(place) if not self._shelf().is_mode(token, place.root)]
        handed_on: list[bytes] = []
        for token in single[1 - MAX_GRANTS :]:
            try:
                handed_on.append(self._wallet.narrow(token.raw, holder=key, session=session, purse_micros=purse_micros))
            except TokenError:
                continue  # it was signed not to be handed on; the session goes without
        return handed_on

    def _host_of_tasks(
        self, server: ToolServer, toolbox: str, interceptor: Ref, made: Callable[[Ref], None]
    ) -> SubagentHost:
        return SubagentHost(server, toolbox, interceptor, made, lambda: self._refs["root/gateway"])

    async def _up(self, name: str, toolbox: str, server: ToolServer, ctx: Context) -> None:
        """Have a tool host running, with its tools on offer."""
        # One that an earlier start of the gateway had started is there already.
        front = self._fronts.get(name) or self._refs.get(f"{TOOLS}/{name}/front")
        if front is None or not front.alive:
            kind = self._host_of_tasks if isinstance(server, SubagentServer) else None
            quiet = Redacting(server, self._redactor)
            spec = tool_host(name, toolbox, lambda: quiet, self._refs["root/interceptor"], self._made, kind)
            self._supervisor(TOOLS).start_child(spec)
            front = self._fronts[name] = self._find(f"{TOOLS}/{name}/front")
        await ctx.ask(front, Ping(), within=HOST_SECONDS)
