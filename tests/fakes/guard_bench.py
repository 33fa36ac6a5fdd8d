"""The guard on a bench: audit, approvals and interceptor as they are, on a log in memory, between probes in the
places of
the gateway, a session and two tool hosts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from astrid.core.approval import Approvals as Questions
from astrid.core.chain import ChainState, decode_body, decode_frame
from astrid.core.decide import Limits
from astrid.core.facts import Facts
from astrid.core.gate import Gate
from astrid.core.gate_admin import begin
from astrid.core.gate_messages import Execute, Executed, Outcome, Prepare, Prepared, Propose
from astrid.core.keys import SigningKey
from astrid.core.past import Past, recall_questions
from astrid.core.records import BODIES, Boot, Entry, Genesis, Kind, entry
from astrid.core.tokens import Token
from astrid.core.verify import LogKeys
from astrid.guard.approvals import Approvals
from astrid.guard.audit import Audit
from astrid.guard.interceptor import Interceptor
from astrid.kernel import ChildSpec, Ref, Sender, SupervisorSpec, System, open_system
from astrid.kernel.testing import Probe, settle
from astrid.messages.approvals import Attend, Respond
from astrid.messages.gate import Offer, Register
from astrid.messages.log import Append
from astrid.ports import Journal
from astrid.runtime.log import read_log
from tests.fakes.authority import AUD, HOLDER, ROOTS, SESSION, SESSION_KEY, WORKSPACE
from tests.fakes.clock import START_NS, FakeClock, FakeEntropy
from tests.fakes.gate_bench import FILES, MODEL, RICH, STANDING, TOOLS, preparation
from tests.fakes.journal import FakeJournal, FakeLog, FakeStore
from tests.fakes.rules import policy

RUNTIME = SigningKey.from_seed(b"\x42" * 32)
KEYS = LogKeys(AUD, b"L" * 32, RUNTIME.public)
ZEROS = b"\0" * 32
_T = TypeVar("_T")


class Door(Probe):
    """A probe that can be kept from taking messages, so that its mailbox fills up."""

    def __init__(self) -> None:
        super().__init__()
        self.open = trio.Event()
        self.open.set()

    async def receive(self, message: object, sender: Sender) -> object:
        await self.open.wait()
        return await super().receive(message, sender)


class Bench:
    """See the module."""

    def __init__(
        self,
        log: FakeLog | None = None,
        *,
        approval_seconds: float = 300.0,
        capacity: int = 1000,
        approvals: Probe | None = None,
        interceptor: Probe | None = None,
        wall_ns: int = START_NS,
    ) -> None:
        """``capacity`` is that of a host's mailbox; ``approvals`` and ``interceptor`` stand in for the real ones,
        with room
        for one message.
        """
        self.store = FakeStore(log)
        self.clock, self.entropy = FakeClock(wall_ns), FakeEntropy()
        self.session, self.gateway = Probe(), Probe()
        self.files, self.model = Door(), Door()
        self.failures: list[BaseException] = []
        self.facts = Facts(aud=AUD, roots=ROOTS, policy=policy())
        self.gates: list[Gate] = []
        self.refs: dict[int, Ref] = {}
        self._approval_seconds = approval_seconds
        self._capacity = capacity
        self._approvals = approvals
        self._interceptor = interceptor
        self._past: Past | None = None
        self._number = 0

    # ---- what the guard is started with

    def open_log(self) -> tuple[ChainState, Journal]:
        self.facts = Facts(aud=AUD, roots=ROOTS, policy=policy())
        self._past = read_log(self.store, KEYS, (), self.facts)
        return ChainState(self._past.tip, self._past.tree), self.store.writer(lambda note: None)

    def open_questions(self) -> Questions:
        machine = Questions(roots=ROOTS, keeper=HOLDER.public)
        assert self._past is not None
        now_s = self.facts.time_s(self.clock.now_ns())
        assert recall_questions(self.store.log.payload, self._past, machine, now_s=now_s) == []
        return machine

    def open_gate(self) -> tuple[Gate, list[Entry]]:
        boot = Boot("1", ZEROS, ZEROS, ZEROS)
        first = begin(self.facts, KEYS, boot, size=self.log.size(), salt=ZEROS)
        self.gates.append(Gate(self.facts, secret=b"k" * 32, first_ref=self.facts.last_ref + 1))
        return self.gates[-1], first

    def tree(self, system: System) -> SupervisorSpec:
        self.system = system

        def audit() -> Audit:
            return Audit(
                self.open_log,
                clock=self.clock,
                key=RUNTIME,
                log_id=KEYS.log_id,
                gate=lambda: self.ref("interceptor"),
                made=lambda ref: None,
            )

        def approvals() -> Probe | Approvals:
            if self._approvals is not None:
                return self._approvals
            return Approvals(
                self.open_questions,
                log_ns=lambda: self.facts.durable_ns,
                audit=self.ref("audit"),
                interceptor=lambda: self.ref("interceptor"),
                gateway=lambda: self.ref("gateway"),
                clock=self.clock,
                entropy=self.entropy,
                made=lambda ref: None,
            )

        def interceptor() -> Probe | Interceptor:
            if self._interceptor is not None:
                return self._interceptor
            known = [self.ref(path) for path in ("tools/files/front", "tools/model/front", "sessions/s", "gateway")]
            self.refs.update((ref.id, ref) for ref in known)
            return Interceptor(
                self.open_gate,
                audit=self.ref("audit"),
                approvals=self.ref("approvals"),
                refs=self.refs,
                clock=self.clock,
                entropy=self.entropy,
                approval_seconds=self._approval_seconds,
                made=lambda ref: None,
            )

        def host(name: str, probe: Probe) -> SupervisorSpec:
            front = ChildSpec("front", lambda: probe, rank=25, capacity=self._capacity)
            return SupervisorSpec(name, children=(front,), rank=25)

        return SupervisorSpec(
            "root",
            strategy="rest_for_one",
            intensity=6,
            period=60.0,
            children=(
                ChildSpec("audit", audit, rank=10, capacity=5000),
                ChildSpec("approvals", approvals, rank=20, capacity=1 if self._approvals else 5000),
                ChildSpec(
                    "interceptor",
                    interceptor,
                    rank=30,
                    capacity=1 if self._interceptor else 5000,
                    control_capacity=1000,
                ),
                SupervisorSpec("tools", children=(host("files", self.files), host("model", self.model)), rank=25),
                SupervisorSpec("sessions", children=(ChildSpec("s", lambda: self.session, rank=40),), rank=40),
                ChildSpec("gateway", lambda: self.gateway, rank=50),
            ),
        )

    async def begin(self) -> None:
        """Wait for the start; where the gate is played by a test, the log is begun for it."""
        if self._interceptor is not None and not self.log.size():
            first = Append(id=0, entries=(entry(Genesis(1, AUD, ZEROS)), entry(Boot("1", ZEROS, ZEROS, ZEROS))))
            self.post(self._interceptor, "audit", first)
        await settle()
        if self._interceptor is not None:
            self._interceptor.received.clear()

    # ---- looking

    def ref(self, path: str) -> Ref:
        return self.system.ref(f"root/{path}")

    @property
    def log(self) -> FakeLog:
        return self.store.log

    @property
    def past(self) -> Past:
        """What the log said when it was read last."""
        assert self._past is not None
        return self._past

    @property
    def journal(self) -> FakeJournal:
        return self.store.journals[-1]

    def records(self) -> list[tuple[Kind, Any]]:
        frames = [decode_frame(frame) for frame in self.log.log]
        return [(Kind(frame.kind), decode_body(frame)) for frame in frames]

    def bodies(self, kind: Kind) -> list[Any]:
        return [body for _, body in self.records() if isinstance(body, BODIES[kind])]

    def got(self, probe: Probe, kind: type[_T]) -> list[_T]:
        return [message for message in probe.messages if isinstance(message, kind)]

    def codes(self) -> list[str]:
        """Why actors broke."""
        return [getattr(error, "code", repr(error)) for error in self.failures]

    def failed(self, _ref: object, _reason: object, error: BaseException) -> None:
        self.failures.append(error)

    def hold(self) -> None:
        """From now on nothing becomes durable."""
        self.journal.held = True

    def thaw(self) -> None:
        self.journal.held = False
        self.journal.release()

    # ---- acting

    def post(self, by: Probe, to: str, message: object, answer_id: object = None) -> None:
        by.ctx.post(self.ref(to), message, answer_id)

    def number(self) -> int:
        self._number += 1
        return self._number

    async def furnish(self, *, limits: Limits = RICH, asks: bool = True, key: bytes = SESSION_KEY.public) -> None:
        """Tools on offer, and the session registered."""
        self.offer()
        number = self.number()
        register = Register(
            id=number,
            ref=self.ref("sessions/s").id,
            key=key,
            session=SESSION,
            workspace=WORKSPACE,
            toolboxes=("box",),
            mode="guided",
            model="p/m",
            scripted=False,
            asks=asks,
            limits=limits,
        )
        self.post(self.gateway, "interceptor", register, number)
        await settle()

    def offer(self) -> None:
        for probe, at in ((self.files, FILES), (self.model, MODEL)):
            specs = tuple(spec for spec, host in TOOLS.values() if host == at)
            self.post(probe, "interceptor", Offer(toolbox="box", specs=specs))

    async def propose(self, tool: str = "read_file", *tokens: Token, tainted: bool = False) -> int:
        number = self.number()
        raws = tuple(token.raw for token in tokens or (STANDING,))
        propose = Propose(proposal=number, tool=tool, args=b"{}", tokens=raws, tainted=tainted)
        self.post(self.session, "interceptor", propose, number)
        await settle()
        return number

    async def prepare(self, host: Door | None = None, **fields: Any) -> None:
        """The host answers the last thing that it was to look at."""
        probe = host or self.files
        ref = self.got(probe, Prepare)[-1].ref
        probe.ctx.answer(
            self.ref("interceptor"), ("Prepare", ref), Prepared(ref=ref, preparation=preparation(**fields))
        )
        await settle()

    async def execute(self, host: Door | None = None, **fields: Any) -> None:
        """The host answers the last thing that it was to run."""
        probe = host or self.files
        asked = self.got(probe, Execute)[-1]
        told: dict[str, Any] = {"content": b"done", "is_error": False, "effect": "done", "spent_micros": 0}
        told |= fields
        executed = Executed(ref=asked.ref, permit_seq=asked.permit_seq, **told)
        probe.ctx.answer(self.ref("interceptor"), ("Execute", asked.ref), executed)
        await settle()

    async def call(self, tool: str = "read_file", **fields: Any) -> Outcome:
        """One call from proposal to outcome."""
        await self.propose(tool)
        await self.prepare(**fields)
        await self.execute()
        return self.got(self.session, Outcome)[-1]

    async def attend(self, *, present: bool = True) -> None:
        self.post(self.gateway, "approvals", Attend(session=SESSION, present=present))
        await settle()

    async def respond(self, answer: bytes) -> int:
        number = self.number()
        self.post(self.gateway, "approvals", Respond(id=number, answer=answer), number)
        await settle()
        return number


@asynccontextmanager
async def running(log: FakeLog | None = None, *, broken: bool = False, **options: Any) -> AsyncIterator[Bench]:
    """The guard at work.  Unless it is expected (``broken``), nothing may fail."""
    bench = Bench(log, **options)
    async with open_system(bench.tree, on_failure=bench.failed):
        await bench.begin()
        yield bench
        bench.thaw()
    assert broken or not bench.failures, bench.failures
