"""One start of the daemon in a simulated life: the whole tree, and its end, in order or not.

Source: architecture 4, 5, 10 (I5, I8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import trio
from msgspec.structs import replace

from astrid.core.gate_messages import Propose
from astrid.errors import ChainError, JournalError
from astrid.kernel import Actor, ChildSpec, KernelError, Ref, Sender, SupervisorSpec, System, open_system
from astrid.kernel.message import Reason
from astrid.messages.approvals import ListOpen, OpenQuestion
from astrid.messages.gateway import ListSessions, SessionLine
from astrid.runtime.tree import Directory, tree
from tests.fakes.strict import StrictCodec
from tests.simulation.acts import Acts
from tests.simulation.edges import Planned
from tests.simulation.plan import Boot
from tests.simulation.probe import probe
from tests.simulation.watch import Spy
from tests.simulation.world import SimCatalogue, SimWorld

if TYPE_CHECKING:
    from tests.simulation.life import Life

PATIENCE_S = 2_000
GIVES_UP_S = 200  # then people stop the turns that still run
_HARMLESS = (Planned, JournalError, trio.TooSlowError)  # what the plan does to actors
_HARSH = {"disk:broken", "disk:kept", "disk:hang", "disk:late", "kill"}


class Start:
    """See the module.  ``ended_ns`` is the wall clock at its end."""

    def __init__(self, life: Life, boot: Boot, *, last: bool) -> None:
        self.life = life
        self.boot = boot
        self.last = last
        self.ended_ns = life.clock.now_ns()
        self.system: System | None = None
        self.outside: trio.Nursery | None = None
        self.gateway: Actor | None = None
        self.directory = Directory()
        catalogue = SimCatalogue(life.plan, life.entropy, life.tools, life.note)
        self.world = SimWorld(life.plan, life.disk, life.clock, life.entropy, catalogue)
        self.acts = Acts(self)
        self._scope = trio.CancelScope()
        self._gave_up = False

    def crash(self) -> None:
        """The machine stops, here and now."""
        watch = self.life.watch
        if not watch.dead and self.system is not None:
            self.life.note("crash")
            self.life.disk.crash(kept=self.boot.kept)
            watch.dead = True
            self._scope.cancel()

    async def run(self) -> None:
        """From the start to the end, whichever it is."""
        life = self.life
        heard, hear = trio.open_memory_channel[OpenQuestion](1_000)
        life.watch.asked = heard.send_nowait  # by an actor, in whose context nobody outside may act
        codec = Spy(life.watch.message, StrictCodec() if life.plan.strict else None)
        spec = tree(self.world, self.directory)
        spec = replace(spec, children=tuple(map(self._watched, spec.children)))
        async with trio.open_nursery() as disks:
            life.disk.nursery = disks
            try:
                with self._scope:
                    async with open_system(spec, strict=codec, on_failure=self._failed) as system:
                        self.system = self.directory.system = system
                        async with trio.open_nursery() as outside:
                            self.outside = outside
                            outside.start_soon(self.acts.listen, hear)
                            await self._live(system)
                            outside.cancel_scope.cancel()
            except KernelError as error:
                self._give_up(error)
            self.ended_ns = life.clock.now_ns()
            disks.cancel_scope.cancel()

    async def _live(self, system: System) -> None:
        await self._compare_questions(system)
        await self.acts.begin()
        for act in self.boot.acts:
            await trio.sleep(act.after_ms / 1000)
            self.life.say(f"act {act.what} {act.a} {act.b}")
            if act.what == "stop":
                return
            if act.what == "crash":
                await self._crash_here()
            await self.acts.do(act)
        if self.boot.end == "halt":
            return
        await self._wait_idle(system)
        if self.boot.end == "crash":
            await self._crash_here()
        await probe(self, self.acts)

    async def _crash_here(self) -> None:
        self.crash()
        await trio.sleep_forever()

    # --- what is looked at

    def _watched(self, spec: ChildSpec | SupervisorSpec) -> ChildSpec | SupervisorSpec:
        """The gate's proposals are looked at as they come; and a hand is kept on the gateway."""
        if not isinstance(spec, ChildSpec) or spec.id not in ("interceptor", "gateway"):
            return spec
        make = spec.factory

        def factory() -> Actor:
            actor = make()
            if spec.id == "gateway":
                self.gateway = actor
            else:
                receive = actor.receive

                async def watched(message: object, sender: Sender) -> object:
                    if isinstance(message, Propose) and not self.life.watch.dead:
                        honest = self.acts.rogue_at(sender.path) is None and sender.path.startswith("root/sessions/")
                        self.life.watch.proposed(message, sender, honest=honest)
                    return await receive(message, sender)

                cast(Any, actor).receive = watched
            return actor

        return replace(spec, factory=factory)

    async def _compare_questions(self, system: System) -> None:
        """No question is lost over a start."""
        expected = set(self.life.records.questions)
        try:
            waiting = await system.ask(self.directory.by_path["root/approvals"], ListOpen(), within=60)
        except KernelError:
            return  # the guard is starting again already
        found = {one.qid for one in cast("tuple[OpenQuestion, ...]", waiting)}
        if found != expected:
            self.life.watch.wrong("I5", f"{len(expected)} questions are open in the log, and {len(found)} here")
        for one in cast("tuple[OpenQuestion, ...]", waiting):
            self.acts.asked(one)

    async def _wait_idle(self, system: System) -> None:
        """Let everything come to its end by itself, and see that it does."""
        began, pause, stopped = trio.current_time(), 1.0, False
        while left := await self._unfinished(system):
            waited = trio.current_time() - began
            if waited > PATIENCE_S:
                self.life.watch.wrong("I5", f"this never ends: {left}")
                return
            if waited > GIVES_UP_S and not stopped:
                stopped = True
                await self.acts.stop_turns()
            await trio.sleep(pause)
            pause = min(pause * 2, 60)

    async def _unfinished(self, system: System) -> str:
        """What is still under way; empty if nothing is."""
        acts = self.acts
        if acts.tickets:
            return f"{acts.tickets} requests"
        for rogue in acts.rogues:
            if rogue.owed and acts.lives(rogue):
                return f"proposals {sorted(rogue.owed)} of {rogue.name}"
        try:
            answer = await system.ask(self.directory.by_path["root/gateway"], ListSessions(), within=60)
        except KernelError:
            return "the gateway"
        lines = cast("tuple[SessionLine, ...]", answer)
        if running := [line.session.hex()[:8] for line in lines if line.state == "running"]:
            return f"turns of {running}"
        if self.world.dormitory.waking:
            return f"the waking of {[session.hex()[:8] for session in self.world.dormitory.waking]}"
        return f"{len(self.life.records.open_permits())} calls" if self.life.records.open_permits() else ""

    # --- what breaks

    def _failed(self, ref: Ref, reason: Reason, error: BaseException) -> None:
        self.life.say(f"{ref.path} broke: {error!r}")
        if self.life.watch.dead or isinstance(error, _HARMLESS):
            return
        if self.life.plan.strict and isinstance(error, KernelError):
            return  # a tool said what cannot travel
        self.life.watch.wrong("L", f"`{ref.path}` broke by itself: {error!r}")

    def _give_up(self, error: KernelError) -> None:
        self.life.say(f"the tree gave up: {error!r} because of {error.__cause__!r}")
        self.life.note("gave-up")
        harsh = any(self.life.faults.get(fault) for fault in _HARSH)
        if self.life.watch.dead:
            return
        if self.last or not harsh or isinstance(error.__cause__, ChainError):
            self.life.watch.wrong("L", f"the tree gave up: {error!r} because of {error.__cause__!r}")
