"""Runs tools: the actor in front of a ``ToolServer``, and a worker for each call in hand.

The front never waits, so that a slow call cannot hold up another.  It runs a call once per permit, only if the call
bytes, the start of this host and the tool's definition are those that the permit names; otherwise nothing happens
(``effect: none``).

What a call would touch it says itself where that takes no waiting; for everything else it has workers.  Some that are
done wait for the next call: to start and to end an actor costs more than all the rest of a call.

Never: guesses how a call ended.  One whose worker ended without a word may have acted; it is paid in full and told as
unknown.

Source: architecture 4, 5 (step 5); protocol N4; threats 8, 21, 23.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import trio

from astrid.core.call import Call, Preparation, decode_call
from astrid.core.gate_connections import Connect, Disconnected
from astrid.core.gate_messages import Connecting, Execute, Executed, Prepare, Prepared, Progress, Unprepared, Withdraw
from astrid.errors import CanonError, InternalError
from astrid.hosts.tool_worker import Leash, Look, Looked, Piece, Ran, Refused, Run, Worker
from astrid.kernel import Actor, ChildSpec, Down, Message, Posted, Reason, Ref, Sender, SupervisorSpec
from astrid.messages.gate import Offer, Strayed
from astrid.ports import ToolServer

RANK = 25
MAX_JOBS = 256
MAX_SPARE = 64  # workers that wait for the next call
JOB_SECONDS = 20.0  # that a call may take to clean up after itself
BROKE = b"tool.broke: the tool broke during the call; what it did is unknown"


class Ping(Message, frozen=True, kw_only=True):
    """Asked: are your tools on offer?"""


class Hired(msgspec.Struct, frozen=True):
    """A worker, as the front knows it."""

    name: str
    actor: Ref
    leash: Leash


class Job(msgspec.Struct, frozen=True):
    """A call in hand: which it is, and who is at it."""

    ref: int
    worker: Hired
    permit_seq: int = 0  # 0 while it only looks
    max_micros: int = 0


def tool_host(
    name: str,
    toolbox: str,
    server: Callable[[], ToolServer],
    interceptor: Ref,
    made: Callable[[Ref], None],
    kind: Callable[[ToolServer, str, Ref, Callable[[Ref], None]], ToolHost] | None = None,
) -> SupervisorSpec:
    """The subtree of one tool host.  ``made`` is told the front's ref when it starts, so that the interceptor can
    reach it; ``kind`` makes a front of another kind.

    A front that breaks takes its workers with it: nobody would hear how they end.  A host that keeps breaking is given
    up, and the runtime goes on without its tools.
    """
    front = ChildSpec(
        id="front",
        factory=lambda: (kind or ToolHost)(server(), toolbox, interceptor, made),
        restart="permanent",
        shutdown=5.0,
        rank=RANK,
        capacity=4096,
    )
    return SupervisorSpec(
        id=name,
        strategy="rest_for_one",
        children=(front,),
        restart="temporary",
        rank=RANK,
        intensity=5,
        period=60.0,
        delay=(0.1, 10.0),
        stop="together",
    )


class ToolHost(Actor):
    """The front: checks what the permit names, hands each call to a worker, and answers for it."""

    def __init__(self, server: ToolServer, toolbox: str, interceptor: Ref, made: Callable[[Ref], None]) -> None:
        self._server = server
        self._toolbox = toolbox
        self._interceptor = interceptor
        self._gate = interceptor.id
        self._made = made
        self._jobs: dict[int, Job] = {}  # by the ref id of the worker that is at it
        self._spare: dict[int, Hired] = {}  # those that wait, by ref id
        self._hired = 0
        self._running: dict[int, int] = {}  # ref of a running call -> its worker
        self._last_permit = 0

    async def started(self) -> None:
        """Say which tools are here."""
        self._made(self.ctx.ref)
        specs = self._server.specs()
        self._tooldefs = {spec.name: spec.tooldef() for spec in specs}
        if self.ctx.post(self._interceptor, Offer(toolbox=self._toolbox, specs=specs)) is not Posted.ACCEPTED:
            raise InternalError("tool.not-offered", "the gate did not take the tools of a host")

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        gate = sender.id == self._gate
        match message:
            case Prepare() if gate:
                self._prepare(message)
            case Execute() if gate:
                self._execute(message)
            case Withdraw() if gate:
                self._withdraw(message.ref)
            case Connecting() if gate:
                self._connecting(message)
            case Looked() | Refused() | Ran() | Piece() | Connect() | Disconnected():
                self._from_worker(message, sender)
            case Down():
                self._down(message)
            case Ping():
                return True
            case _ if gate:
                raise InternalError("tool.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
            case _:  # of whoever it is, the gate has it recorded; the calls that run here are not to suffer for it
                what = f"`{type(message).__name__}` is not taken from `{sender.path}`"
                self.ctx.post(self._interceptor, Strayed(ref=sender.id, what=what))
        return None

    async def stopping(self, reason: Reason) -> None:
        """Have every call in hand end now; whoever outlives this says that what they did is unknown."""
        self.ctx.parent.hurry()

    # --- looking

    def _prepare(self, message: Prepare) -> None:
        if self._full():
            self._refuse(message.ref, "tool", "tool.busy", "the tool has too much to do", "try again later")
            return
        preparation = self._glance(message)
        if preparation is not None:
            self._answer_prepared(message.ref, preparation)
            return
        worker = self._give(Look(ref=message.ref, tool=message.tool, args=message.args))
        self._jobs[worker.actor.id] = Job(message.ref, worker)

    def _glance(self, message: Prepare) -> Preparation | None:
        """What the call would touch, where that can be said at once: to have a worker say it costs as much as deciding
        it.
        """
        try:
            return self._server.glance(message.tool, message.args)
        except Exception:  # noqa: BLE001
            # SAFETY: whatever a call meets here, a refusal or a bug, its worker meets again and alone answers for: a
            # front that ended by it would take everybody's calls with it, each time that somebody sent it again.
            return None

    def _answer_prepared(self, ref: int, preparation: Preparation) -> None:
        prepared = Prepared(ref=ref, preparation=preparation)
        self.ctx.answer(self._interceptor, ("Prepare", ref), prepared)

    def _refuse(self, ref: int, layer: str, code: str, reason: str, advice: str) -> None:
        refusal = Unprepared(ref=ref, layer=layer, code=code, reason=reason, advice=advice)
        self.ctx.answer(self._interceptor, ("Prepare", ref), refusal)

    # --- running

    def _execute(self, message: Execute) -> None:
        try:
            call = decode_call(message.call)
        except CanonError as error:
            self._answer_none(message, f"tool.not-run: {error.message}; nothing was done")
            return
        refusal = self._unfit(message, call)
        # A permit that came is a permit that was used, whatever becomes of the call.
        self._last_permit = max(self._last_permit, message.permit_seq)
        if refusal:
            self._answer_none(message, refusal)
            return
        self._begin(message, call)

    def _begin(self, message: Execute, call: Call) -> None:
        """Have a call run that is permitted and fits."""
        worker = self._give(Run(ref=message.ref, permit_seq=message.permit_seq, call=call))
        worker.leash.scope, worker.leash.report = trio.CancelScope(), None
        self._jobs[worker.actor.id] = Job(message.ref, worker, message.permit_seq, call.max_micros)
        self._running[message.ref] = worker.actor.id

    def _withdraw(self, ref: int) -> None:
        """Nobody waits for a call any more."""
        if ref in self._running:
            self._jobs[self._running[ref]].worker.leash.scope.cancel()

    def _connecting(self, message: Connecting) -> None:
        """The gate says whether a call may connect."""
        worker = self._running.get(message.ref)
        report = None if worker is None else self._jobs[worker].worker.leash.report
        if report is not None:
            report.recorded(message)

    def _unfit(self, message: Execute, call: Call) -> str:
        if message.incarnation != self.ctx.ref.incarnation or self._tooldefs.get(call.tool) != call.tooldef:
            return "tool.changed: the tool changed or restarted since the decision; nothing was done"
        # SAFETY: permits come in the order of the log; a number that does not rise is a permit that was used.
        if message.permit_seq <= self._last_permit:
            return "tool.permit-used: the permit was used already; nothing was done"
        return "tool.busy: the tool has too much to do; nothing was done" if self._full() else ""

    def _full(self) -> bool:
        # Nobody is hired any more while everything stops.
        return len(self._jobs) >= MAX_JOBS or not (self._spare or self.ctx.parent.alive)

    def _answer_none(self, execute: Execute, why: str) -> None:
        ran = Ran(ref=execute.ref, content=why.encode(), is_error=True, effect="none", spent_micros=0)
        self._answer(execute.permit_seq, ran)

    def _answer(self, permit_seq: int, ran: Ran) -> None:
        told = Executed(
            ref=ran.ref,
            permit_seq=permit_seq,
            content=ran.content,
            is_error=ran.is_error,
            effect=ran.effect,
            spent_micros=ran.spent_micros,
            untrusted=ran.untrusted,
            chosen=ran.chosen,
        )
        self.ctx.answer(self._interceptor, ("Execute", ran.ref), told)

    # --- workers

    def _give(self, order: Look | Run) -> Hired:
        """Have a worker do it: one that waits, or a new one."""
        while self._spare:
            _, worker = self._spare.popitem()
            if self.ctx.post(worker.actor, order) is Posted.ACCEPTED:  # else it has ended, and news of that will come
                return worker
        worker = self._hire()
        self.ctx.post(worker.actor, order)
        return worker

    def _hire(self) -> Hired:
        self._hired += 1
        name, leash = f"worker-{self._hired}", Leash()
        spec = ChildSpec(
            id=name,
            factory=lambda: Worker(self._server, leash, self.ctx.ref),
            restart="temporary",
            shutdown=JOB_SECONDS,
            rank=RANK,
            capacity=4,
        )
        actor = self.ctx.parent.start_child(spec)
        self.ctx.monitor(actor)
        return Hired(name, actor, leash)

    def _from_worker(self, message: Looked | Refused | Ran | Piece | Connect | Disconnected, sender: Sender) -> None:
        job = self._jobs.get(sender.id)
        if job is None:
            return  # of an earlier start of this host, or nobody who works for it
        match message:
            case Piece():
                self.ctx.post(self._interceptor, Progress(ref=message.ref, chunk=message.chunk))
                return
            case Connect() | Disconnected():
                self._pass_on(message)
                return
            case Looked():
                self._answer_prepared(message.ref, message.preparation)
            case Refused():
                family = message.code.partition(".")[0]
                layer = family if family in ("workspace", "command") else "input"
                self._refuse(message.ref, layer, message.code, message.reason, message.advice)
            case Ran():
                if job.permit_seq:
                    self._answer(job.permit_seq, message)
        # A worker waits to be given something or sent home: news of an actor's end overtakes what it said, and an end
        # without a word means something.
        self._forget(sender.id)
        if len(self._spare) < MAX_SPARE:
            self._spare[sender.id] = job.worker
        else:
            self.ctx.parent.stop_child(job.worker.name)

    def _pass_on(self, message: Connect | Disconnected) -> None:
        posted = self.ctx.post(self._interceptor, message)
        if posted is not Posted.ACCEPTED and isinstance(message, Connect):
            self._connecting(Connecting(ref=message.ref, number=message.number, code="gate.busy"))

    def _forget(self, actor: int) -> Job | None:
        job = self._jobs.pop(actor, None)
        if job is not None and job.permit_seq:
            del self._running[job.ref]
        return job

    def _down(self, message: Down) -> None:
        self._spare.pop(message.ref.id, None)
        job = self._forget(message.ref.id)
        if job is None:
            return
        if not job.permit_seq:
            self._refuse(job.ref, "tool", "tool.failed", "the tool failed while it looked at the call", "report this")
        else:
            # SAFETY: a worker that ended without a word may have acted.
            ran = Ran(ref=job.ref, content=BROKE, is_error=True, effect="maybe", spent_micros=job.max_micros)
            self._answer(job.permit_seq, ran)
