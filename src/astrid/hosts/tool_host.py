"""Runs tools: the actor in front of a ``ToolServer``, and one short-lived actor per call.

The front never waits, so that a slow call cannot hold up another.  It runs a call once per permit, only if the call
bytes, the start of this host and
the tool's definition are those that the permit names; otherwise nothing happens (``effect: none``).

Source: architecture 4, 5 (step 5); protocol N4; threats 8, 21, 23.
"""

from __future__ import annotations

from collections.abc import Callable

from astrid.core.call import Call, Preparation, decode_call
from astrid.core.gate_messages import Execute, Executed, Prepare, Prepared, Progress, Unprepared, Withdraw
from astrid.errors import AstridError, EdgeError, Effect, InternalError
from astrid.kernel import Actor, ChildSpec, Down, Message, Ref, Sender, SupervisorSpec
from astrid.messages.gate import Offer
from astrid.ports import ToolServer

RANK = 25
MAX_JOBS = 256


class Ping(Message, frozen=True, kw_only=True):
    """Asked: are your tools on offer?"""


class Go(Message, frozen=True, kw_only=True):
    """To a job: begin."""


class Looked(Message, frozen=True, kw_only=True):
    """From a job: what a call would touch."""

    ref: int
    preparation: Preparation


class Refused(Message, frozen=True, kw_only=True):
    """From a job: the call cannot be prepared."""

    ref: int
    code: str
    reason: str
    advice: str


class Ran(Message, frozen=True, kw_only=True):
    """From a job: how a call ended."""

    ref: int
    content: bytes
    is_error: bool
    effect: Effect
    spent_micros: int


class Piece(Message, frozen=True, kw_only=True):
    """From a job: provisional output."""

    ref: int
    chunk: bytes


def tool_host(
    name: str, toolbox: str, server: Callable[[], ToolServer], interceptor: Ref, made: Callable[[Ref], None]
) -> SupervisorSpec:
    """The subtree of one tool host.  ``made`` is told the front's ref when it starts, so that the interceptor can
    reach it.
    """
    front = ChildSpec(
        id="front",
        factory=lambda: ToolHost(server(), toolbox, interceptor, made),
        restart="permanent",
        shutdown=5.0,
        rank=RANK,
        capacity=4096,
    )
    return SupervisorSpec(id=name, strategy="one_for_one", children=(front,), rank=RANK, delay=(0.1, 10.0))


class ToolHost(Actor):
    """The front: checks what the permit names, hands each call to a job, and answers for it."""

    def __init__(self, server: ToolServer, toolbox: str, interceptor: Ref, made: Callable[[Ref], None]) -> None:
        self._server = server
        self._toolbox = toolbox
        self._interceptor = interceptor
        self._made = made
        self._running: dict[int, Execute] = {}  # by ref
        self._cost: dict[int, int] = {}
        self._preparing: dict[int, Prepare] = {}
        self._jobs: dict[int, tuple[str, int]] = {}  # job's ref id -> (what, ref of the call)
        self._last_permit = 0

    async def started(self) -> None:
        """Say which tools are here."""
        self._made(self.ctx.ref)
        self._tooldefs = {spec.name: spec.tooldef() for spec in self._server.specs()}
        self.ctx.post(self._interceptor, Offer(toolbox=self._toolbox, specs=self._server.specs()))

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        match message:
            case Prepare() if sender.id == self._interceptor.id:
                self._prepare(message)
            case Execute() if sender.id == self._interceptor.id:
                self._execute(message)
            case Withdraw() if sender.id == self._interceptor.id:
                if message.ref in self._running:
                    self.ctx.parent.stop_child(_job_id("run", message.ref))
            case Looked() | Refused() | Ran() | Piece():
                self._from_job(message, sender)
            case Down():
                self._down(message)
            case Ping():
                return True
            case _:
                raise InternalError("tool.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
        return None

    # --- looking

    def _prepare(self, message: Prepare) -> None:
        if len(self._jobs) >= MAX_JOBS:
            self._refuse(message.ref, "tool.busy", "the tool has too much to do", "try again later")
            return
        self._preparing[message.ref] = message
        self._start("look", message.ref, lambda: Looking(self._server, message, self.ctx.ref))

    def _looked(self, message: Looked | Refused) -> None:
        if self._preparing.pop(message.ref, None) is None:
            return
        match message:
            case Looked():
                answer = Prepared(ref=message.ref, preparation=message.preparation)
                self.ctx.answer(self._interceptor, ("Prepare", message.ref), answer)
            case Refused():
                self._refuse(message.ref, message.code, message.reason, message.advice)

    def _refuse(self, ref: int, code: str, reason: str, advice: str) -> None:
        family = code.partition(".")[0]
        layer = family if family in ("workspace", "command") else "input"
        refusal = Unprepared(ref=ref, layer=layer, code=code, reason=reason, advice=advice)
        self.ctx.answer(self._interceptor, ("Prepare", ref), refusal)

    # --- running

    def _execute(self, message: Execute) -> None:
        call = decode_call(message.call)
        refusal = self._unfit(message, call)
        if refusal:
            self._answer(message, refusal.encode(), is_error=True, effect="none", spent_micros=0)
            return
        self._last_permit = message.permit_seq
        self._running[message.ref] = message
        self._cost[message.ref] = call.max_micros
        self._start("run", message.ref, lambda: Running(self._server, message.ref, call, self.ctx.ref))

    def _unfit(self, message: Execute, call: Call) -> str:
        if message.incarnation != self.ctx.ref.incarnation or self._tooldefs.get(call.tool) != call.tooldef:
            return "the tool changed or restarted since the decision; nothing was done"
        # SAFETY: permits come in the order of the log; a number that does not rise is a permit that was used.
        if message.permit_seq <= self._last_permit:
            return "the permit was used already; nothing was done"
        if len(self._jobs) >= MAX_JOBS:
            return "the tool has too much to do; nothing was done"
        return ""

    def _ran(self, message: Ran) -> None:
        execute = self._running.pop(message.ref, None)
        self._cost.pop(message.ref, None)
        if execute is not None:
            self._answer(
                execute,
                message.content,
                is_error=message.is_error,
                effect=message.effect,
                spent_micros=message.spent_micros,
            )

    def _answer(self, execute: Execute, content: bytes, *, is_error: bool, effect: Effect, spent_micros: int) -> None:
        told = Executed(
            ref=execute.ref,
            permit_seq=execute.permit_seq,
            content=content,
            is_error=is_error,
            effect=effect,
            spent_micros=spent_micros,
        )
        self.ctx.answer(self._interceptor, ("Execute", execute.ref), told)

    # --- jobs

    def _start(self, what: str, ref: int, factory: Callable[[], Actor]) -> None:
        spec = ChildSpec(
            id=_job_id(what, ref), factory=factory, restart="temporary", shutdown=0.0, rank=RANK, capacity=4
        )
        job = self.ctx.parent.start_child(spec)
        self._jobs[job.id] = (what, ref)
        self.ctx.monitor(job)
        self.ctx.post(job, Go())

    def _from_job(self, message: Looked | Refused | Ran | Piece, sender: Sender) -> None:
        job = self._jobs.get(sender.id)
        if job is None or job[1] != message.ref:
            return  # it was given up before it could say this
        match message:
            case Piece():
                self.ctx.post(self._interceptor, Progress(ref=message.ref, chunk=message.chunk))
            case Looked() | Refused():
                self._looked(message)
                self._dismiss(sender.id)
            case Ran():
                self._ran(message)
                self._dismiss(sender.id)

    def _dismiss(self, job: int) -> None:
        # A job waits to be sent home: news of an actor's end overtakes what it said, and an end without a word
        # means something.
        what, ref = self._jobs.pop(job)
        self.ctx.parent.stop_child(_job_id(what, ref))

    def _down(self, message: Down) -> None:
        if message.ref.id not in self._jobs:
            return
        what, ref = self._jobs.pop(message.ref.id)
        if what == "look" and self._preparing.pop(ref, None) is not None:
            self._refuse(ref, "tool.failed", "the tool failed while it looked at the call", "report this")
        execute = self._running.pop(ref, None) if what == "run" else None
        if execute is not None:
            # SAFETY: a job that ended without a word may have acted: paid in full, and told as unknown, not as failed.
            cost = self._cost.pop(ref, 0)
            text = b"the call was stopped before it ended; what it did is unknown"
            self._answer(execute, text, is_error=True, effect="maybe", spent_micros=cost)


class Looking(Actor):
    """A job: prepares one call."""

    def __init__(self, server: ToolServer, message: Prepare, front: Ref) -> None:
        self._server = server
        self._message = message
        self._front = front

    async def receive(self, message: object, sender: Sender) -> object:
        """Begin."""
        ref = self._message.ref
        told: Looked | Refused
        try:
            preparation = await self._server.prepare(self._message.tool, self._message.args)
            told = Looked(ref=ref, preparation=preparation)
        except AstridError as error:
            told = Refused(ref=ref, code=error.code, reason=error.message, advice=error.advice)
        self.ctx.post(self._front, told)
        return None


class Running(Actor):
    """A job: runs one permitted call."""

    def __init__(self, server: ToolServer, ref: int, call: Call, front: Ref) -> None:
        self._server = server
        self._ref = ref
        self._call = call
        self._front = front

    async def receive(self, message: object, sender: Sender) -> object:
        """Begin."""

        def report(chunk: bytes) -> None:
            self.ctx.post(self._front, Piece(ref=self._ref, chunk=chunk))

        try:
            outcome = await self._server.execute(self._call, report)
            told = Ran(
                ref=self._ref,
                content=outcome.content,
                is_error=outcome.is_error,
                effect=outcome.effect,
                spent_micros=outcome.spent_micros,
            )
        except EdgeError as error:
            spent = 0 if error.effect == "none" else self._call.max_micros
            told = Ran(ref=self._ref, content=_text(error), is_error=True, effect=error.effect, spent_micros=spent)
        except AstridError as error:
            told = Ran(ref=self._ref, content=_text(error), is_error=True, effect="none", spent_micros=0)
        self.ctx.post(self._front, told)
        return None


def _job_id(what: str, ref: int) -> str:
    return f"{what}-{ref}"


def _text(error: AstridError) -> bytes:
    # The model gets the code and the plain message; ``where`` and ``fields`` are for people.
    return f"{error.code}: {error.message}".encode()
