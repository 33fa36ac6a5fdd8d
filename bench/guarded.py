"""The guard as a daemon runs it, on a real disk, with callers in the place of sessions.  No question of its own.

Everything a call passes on its way is the real thing: the kernel, the interceptor with the default policy, approvals,
the audit actor with its SQLite journal, a tool host with a job for each look and each run.  Only the two ends are not:
a caller proposes one call after the other and does nothing else, and the tool answers at once.

Each caller is a session of its own with a key, and a token of three blocks: the user's grant, handed on by the holder
and by it to the session.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from astrid.adapters.store.journal import SqliteStore
from astrid.adapters.system import SystemClock, SystemEntropy
from astrid.core.approval import Approvals as Questions
from astrid.core.chain import ChainState
from astrid.core.facts import Facts
from astrid.core.gate import Gate
from astrid.core.gate_admin import begin
from astrid.core.keys import SigningKey
from astrid.core.policy import Policy
from astrid.core.records import Boot, Entry
from astrid.guard.approvals import Approvals
from astrid.guard.audit import Audit
from astrid.guard.interceptor import Interceptor
from astrid.hosts.tool_host import Ping, tool_host
from astrid.kernel import ChildSpec, Ref, SupervisorSpec, System, open_system
from astrid.messages.gate import Register
from astrid.ports import Journal
from astrid.runtime import collector
from astrid.runtime.log import read_log
from astrid.runtime.tree import CAPACITY, RANKS
from bench.callers import (
    AUD,
    CALLERS_PER_HOST,
    HOLDER,
    KEYS,
    LIMITS,
    LOG_ID,
    ROOTS,
    RUNTIME,
    WORKSPACE,
    ZEROS,
    Caller,
    Gateway,
    Go,
    Quick,
    token_for,
)


class Guarded:
    """See the module.  ``latencies`` are in seconds, from a proposal to its outcome."""

    def __init__(self, folder: Path, callers: int) -> None:
        self.latencies: list[float] = []
        self.failures: list[BaseException] = []
        self._store = SqliteStore(folder / "log.db")
        self._clock, self._entropy = SystemClock(), SystemEntropy()
        self._facts = Facts(aud=AUD, roots=ROOTS, policy=Policy(home="/home/u"))
        self._refs: dict[int, Ref] = {}
        self._gateway = Gateway()
        self._callers: list[Caller] = []
        self._count = callers
        self._hosts = [f"workspace-{number}" for number in range(-(-callers // CALLERS_PER_HOST))]

    @property
    def size(self) -> int:
        """The number of records that are durable."""
        reader = self._store.reader()
        try:
            return reader.size()
        finally:
            reader.close()

    def rows(self, count: int) -> list[bytes]:
        """The last so many records, each with everything that was written beside it."""
        reader = self._store.reader()
        try:
            first = reader.size() - count + 1
            frames = reader.frames(first, count)
            beside = [[reader.payload(seq, slot) for slot in (0, 1)] for seq in range(first, first + count)]
            return [
                frame + b"".join(salt + data for salt, data in filter(None, payloads))
                for frame, payloads in zip(frames, beside, strict=True)
            ]
        finally:
            reader.close()

    def _open_log(self) -> tuple[ChainState, Journal]:
        past = read_log(self._store, KEYS, (), self._facts)
        return ChainState(past.tip, past.tree), self._store.writer(lambda note: None)

    def _open_gate(self) -> tuple[Gate, list[Entry]]:
        first = begin(self._facts, KEYS, Boot("1", ZEROS, ZEROS, ZEROS), size=0, salt=ZEROS)
        return Gate(self._facts, secret=self._entropy.random_bytes(32), first_ref=1), first

    def tree(self, system: System) -> SupervisorSpec:
        """The tree of ``runtime.tree``, with callers among the sessions and what registers them as the gateway."""
        self._system = system

        def ref(path: str) -> Ref:
            return system.ref(f"root/{path}")

        def made(one: Ref) -> None:
            self._refs[one.id] = one

        def audit() -> Audit:
            return Audit(
                self._open_log,
                clock=self._clock,
                key=RUNTIME,
                log_id=LOG_ID,
                gate=lambda: ref("interceptor"),
                made=made,
            )

        def approvals() -> Approvals:
            return Approvals(
                lambda: Questions(roots=ROOTS, keeper=HOLDER.public),
                log_ns=lambda: self._facts.durable_ns,
                audit=ref("audit"),
                interceptor=lambda: ref("interceptor"),
                gateway=lambda: ref("gateway"),
                clock=self._clock,
                entropy=self._entropy,
                made=made,
            )

        def interceptor() -> Interceptor:
            return Interceptor(
                self._open_gate,
                audit=ref("audit"),
                approvals=ref("approvals"),
                refs=self._refs,
                clock=self._clock,
                entropy=self._entropy,
                approval_seconds=300.0,
                made=made,
            )

        guard = {"audit": audit, "approvals": approvals, "interceptor": interceptor}
        return SupervisorSpec(
            "root",
            strategy="rest_for_one",
            children=(
                *(ChildSpec(name, made, rank=RANKS[name], capacity=CAPACITY) for name, made in guard.items()),
                SupervisorSpec("tools", rank=RANKS["tools"], stop="together"),
                SupervisorSpec("sessions", rank=RANKS["sessions"], stop="together"),
                ChildSpec("gateway", lambda: self._gateway, rank=RANKS["gateway"], capacity=CAPACITY),
            ),
        )

    async def furnish(self) -> None:
        """Start the tool hosts and the callers, and register these."""

        def made(one: Ref) -> None:
            self._refs[one.id] = one

        interceptor = self._system.ref("root/interceptor")
        for name in self._hosts:
            self._system.supervisor("root/tools").start_child(tool_host(name, name, Quick, interceptor, made))
            await self._system.ask(self._system.ref(f"root/tools/{name}/front"), Ping(), within=10)
        now_s = self._clock.now_ns() // 10**9
        for number in range(self._count):
            session, key = number.to_bytes(16, "big"), SigningKey.from_seed(number.to_bytes(32, "big")).public
            caller = Caller(interceptor, (token_for(session, key, now_s),), self.latencies)
            self._callers.append(caller)
            spec = ChildSpec(f"s{number}", lambda caller=caller: caller, rank=RANKS["sessions"], restart="temporary")
            ref = self._system.supervisor("root/sessions").start_child(spec)
            made(ref)
            register = Register(
                id=number,
                ref=ref.id,
                key=key,
                session=session,
                workspace=WORKSPACE,
                toolboxes=(self._hosts[number % len(self._hosts)],),
                mode="guided",
                model="p/m",
                scripted=False,
                asks=False,
                limits=LIMITS,
            )
            self._gateway.ctx.post(interceptor, register, number)
        await self._gateway.wait_registered(self._count)

    async def calls(self, each: int) -> float:
        """Have every caller make ``each`` calls; gives the seconds that took, by the wall."""
        self.latencies.clear()
        left, finished = self._count, trio.Event()

        def one_finished() -> None:
            nonlocal left
            left -= 1
            if not left:
                finished.set()

        began = time.perf_counter()
        for caller in self._callers:
            caller.expect(one_finished)
            self._system.post(caller.ctx.ref, Go(calls=each))
        await finished.wait()
        return time.perf_counter() - began


@asynccontextmanager
async def guarded(callers: int, folder: Path | None = None) -> AsyncIterator[Guarded]:
    """The guard at work, with so many callers that wait to be told."""
    with tempfile.TemporaryDirectory(prefix="astrid-bench-", dir=folder) as place:
        made = Guarded(Path(place), callers)
        async with open_system(made.tree, on_failure=lambda ref, reason, error: made.failures.append(error)):
            await made.furnish()
            collector.settle()  # as a daemon does
            yield made
        assert not made.failures, made.failures
