"""How a session comes to be: its tool hosts, its tokens, its actor.

Never: grants anything.  A session gets what the user signed for the workspace, narrowed to it.

Source: architecture 4, 6; threats 30, 42, 52.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from astrid.core.facts import Facts
from astrid.core.ids import session_id
from astrid.core.keys import SigningKey
from astrid.core.tokens import Token
from astrid.errors import TokenError
from astrid.hosts.session import RANK as SESSION_RANK
from astrid.hosts.session import Session
from astrid.hosts.tool_host import Ping, tool_host
from astrid.kernel import ChildSpec, Context, Ref, SupervisorHandle
from astrid.messages.gate import Register
from astrid.messages.gateway import OpenSession, SessionLine
from astrid.ports import Clock, Entropy, ToolServer
from astrid.runtime.parts import Catalogue, Live, Place
from astrid.runtime.shelf import Shelf
from astrid.runtime.wallet import HolderWallet

HOST_SECONDS = 30.0
MAX_GRANTS = 32  # that a session presents; the newest, as what it lacks it can ask for
SESSIONS, TOOLS = "root/sessions", "root/tools"


class Opener:
    """See the module.  ``made`` is told of each session's ref; ``find`` gives the ref at a path."""

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
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._facts = facts
        self._catalogue = catalogue
        self._wallet = wallet
        self._holder = holder
        self._shelf = shelf
        self._refs = refs
        self._supervisor = supervisor
        self._find = find
        self._made = made
        self._clock = clock
        self._entropy = entropy
        self._fronts: dict[str, Ref] = {}

    async def open(self, message: OpenSession, number: int, ctx: Context) -> tuple[Live, Register]:
        """A session that has started, and what makes it a principal once the gate has it; both under ``number``.

        Raises:
            AstridError: what a person should read: no such workspace, model or mode, or nothing granted.
            KernelError: a tool host does not come up.
        """
        place = self._catalogue.place(message.workspace)
        brain = self._catalogue.brain(message.model)
        mode = self._catalogue.mode(message.mode)
        limits = self._catalogue.limits(message.budget_micros)
        session = session_id(self._entropy.random_bytes(16), scripted=brain.scripted)
        key = SigningKey.from_seed(self._entropy.random_bytes(32)).public
        base, grants = self._shelf().for_mode(self._live(place), mode, place.root)
        first = self._wallet.pass_on(base, grants, holder=key, session=session, purse_micros=limits.session_micros)
        setting = self._catalogue.setting(place, brain, message.max_turns)
        await self._up(f"workspace-{place.identity.hex()}", place.toolbox, place.server, ctx)
        for extra in self._catalogue.extras():
            await self._up(extra.name, extra.toolbox, extra.server, ctx)
        model_host = f"model-{brain.toolbox.partition(':')[2]}"
        await self._up(model_host, brain.toolbox, brain.server, ctx)
        actor = Session(
            session=session,
            key=key,
            setting=setting,
            tokens=(first, *self._others(place, key, session, limits.session_micros)),
            purse_micros=limits.session_micros,
            interceptor=self._refs["root/interceptor"],
            gateway=lambda: self._refs["root/gateway"],
            wallet=self._wallet,
            clock=self._clock,
            context_tokens=brain.context_tokens,
        )
        spec = ChildSpec(id=session.hex(), factory=lambda: actor, restart="temporary", rank=SESSION_RANK, shutdown=5.0)
        ref = self._supervisor(SESSIONS).start_child(spec)
        self._made(ref)
        line = SessionLine(
            session=session,
            workspace=place.root,
            mode=mode.value,
            model=brain.name,
            state="idle",
            created_ns=self._clock.now_ns(),
            turns=0,
            deferred=0,
        )
        register = Register(
            id=number,
            ref=ref.id,
            key=key,
            session=session,
            workspace=place.identity,
            toolboxes=(place.toolbox, brain.toolbox, *(extra.toolbox for extra in self._catalogue.extras())),
            mode=mode.value,
            model=brain.name,
            scripted=brain.scripted,
            asks=message.interactive,
            limits=limits,
        )
        return Live(session, ref, line, own_host=model_host if brain.scripted else ""), register

    def close(self, live: Live) -> None:
        """Have a session end, and what runs for it alone."""
        self._supervisor(SESSIONS).stop_child(live.session.hex())
        if live.own_host:
            self._supervisor(TOOLS).stop_child(live.own_host)
            self._fronts.pop(live.own_host, None)

    def _live(self, place: Place) -> list[Token]:
        now_s = self._facts().time_s(self._clock.now_ns())
        return self._shelf().live(self._holder, place.identity, now_s)

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

    async def _up(self, name: str, toolbox: str, server: ToolServer, ctx: Context) -> None:
        """Have a tool host running, with its tools on offer."""
        front = self._fronts.get(name)
        if front is None or not front.alive:
            spec = tool_host(name, toolbox, lambda: server, self._refs["root/interceptor"], self._made)
            self._supervisor(TOOLS).start_child(spec)
            front = self._fronts[name] = self._find(f"{TOOLS}/{name}/front")
        await ctx.ask(front, Ping(), within=HOST_SECONDS)
