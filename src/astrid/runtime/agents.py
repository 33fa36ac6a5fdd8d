"""Sub-agents: whose task is in hand, who works, who waits for a place.  The gateway's own.

    Delegate ──► queued ──a slot is free──► starting ──the gate has it──► working ──its turn is over──► Delegated

A working sub-agent holds a slot (``core.slots``).  While it waits for sub-agents of its own it has none, and the last
of their answers reaches it when it has one again.  So whoever waits keeps nobody from working, and nesting cannot
deadlock.

Never: lets a sub-agent outlive the session that waits for it, or the call that asked for it.

Invariants:
  No task begins or goes on without a free slot; no more wait than the queue takes.
  Each task that was taken is answered once, or nobody waits for its answer any more.

Source: architecture 6 ("Sub-agents"); threats 3, 10, 28.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec

from astrid.core.labels import Integrity
from astrid.core.output_schema import MAX_ENDORSED_VALUES, count_values, read_output
from astrid.core.slots import Slots
from astrid.core.subagents import Subagent, Task, read_task
from astrid.errors import AstridError, Effect
from astrid.kernel import Context, KernelError, Lane, Message, Posted, Sender, Timer
from astrid.messages.gate import Register
from astrid.messages.gateway import Delegate, Delegated
from astrid.messages.session import Concluded, Hear
from astrid.runtime.config import AgentsTable
from astrid.runtime.herald import Herald
from astrid.runtime.opening import Opener
from astrid.runtime.parts import Live, Stage, Why
from astrid.runtime.roster import Roster


class Overdue(Message, frozen=True, kw_only=True):
    """To the gateway itself: the task ``id`` has had its time."""

    lane: ClassVar[Lane] = Lane.CONTROL

    id: int


class Held(msgspec.Struct, frozen=True):
    """The answer to the task ``id``, which is over, and who is to have it."""

    id: int
    host: Sender
    answer: Delegated


class Job(msgspec.Struct):
    """One task, as its host numbers it.  ``parent`` is the session that waits for it, ``child`` the one at work on it,
    once there is one; ``held`` the answer that this one gets as soon as it may go on.
    """

    id: int
    host: Sender
    parent: bytes
    top: bytes  # whose listeners are told
    task: Task
    agent: Subagent
    tainted: bool
    child: bytes = b""
    held: Held | None = None
    timer: Timer | None = None


class Agents:
    """See the module.  ``close`` ends a session; ``admit`` asks the gate to make one a principal."""

    def __init__(
        self,
        *,
        opener: Opener,
        roster: Roster,
        subagents: Mapping[str, Subagent],
        limits: AgentsTable,
        close: Callable[[Live, Why, Context], None],
        admit: Callable[[Register], None],
        herald: Herald,
    ) -> None:
        self._opener = opener
        self._roster = roster
        self._subagents = subagents
        self._limits = limits
        self._close = close
        self._admit = admit
        self._herald = herald
        self._jobs: dict[int, Job] = {}  # by number
        self._at_work: dict[bytes, Job] = {}  # by child
        self._slots = Slots(limits.concurrent)

    # --- begin

    def take(self, message: Delegate, host: Sender, ctx: Context) -> None:
        """A session wants something done: it waits for a slot from now on, or gets to know why it need not."""
        task = read_task(message.args)  # as it was read when the call was decided
        parent = self._roster.of_key(message.principal)
        if parent is None or parent.ending is not None:
            _settle(message.id, host, _failed("agent.no-caller", "the session that asked is over", effect="none"), ctx)
            return
        mine = self._at_work.get(parent.session)
        above = None if mine is None else mine.id
        if not self._slots.has_room(above, self._limits.queue):
            full = "too many tasks wait already; do it yourself, or try again later"
            _settle(message.id, host, _failed("agent.queue-full", full, effect="none"), ctx)
            return
        agent = self._subagents[task.agent]
        self._jobs[message.id] = Job(message.id, host, parent.session, parent.stem.top, task, agent, message.tainted)
        self._slots.ask(message.id, above)
        self._herald.task(parent.stem.top, agent.name, "queued", b"")
        if mine is not None:
            self._hand_over(mine, ctx)  # it has something to wait for again, and so does not go on

    async def fill(self, ctx: Context) -> None:
        """Have those begin or go on for whom there is a slot."""
        while (number := self._slots.turn()) is not None:
            job = self._jobs[number]
            if job.child:
                self._hand_over(job, ctx)
            else:
                await self._start(job, ctx)

    async def _start(self, job: Job, ctx: Context) -> None:
        seconds = job.task.timeout_secs or self._limits.timeout_secs
        try:
            parent = self._roster[job.parent]
            purse = job.task.max_micros or parent.stem.limits.session_micros
            live, register = await self._opener.delegate(
                parent, job.agent, purse_micros=purse, seconds=seconds, ctx=ctx
            )
        except AstridError as error:
            self._finish(job, _failed(error.code, error.message, effect="none"), ctx)
            return
        except KernelError:
            self._finish(job, _failed("agent.not-started", "the sub-agent could not be started", effect="none"), ctx)
            return
        job.child = live.session
        self._at_work[live.session] = job
        self._roster.add(live)
        ctx.monitor(live.ref)
        job.timer = ctx.start_timer(seconds, Overdue(id=job.id))
        self._admit(register)

    def admitted(self, session: bytes, ctx: Context) -> None:
        """The gate made a principal of ``session``.  If it is a sub-agent, it hears its task.

        SAFETY: its task was written by a model, so it is no user's word; and with the label of all that this model had
        in view, or a poisoned parent would have clean children.
        """
        job, live = self._at_work.get(session), self._roster.get(session)
        if job is None or live is None:
            return
        integrity = Integrity.UNTRUSTED if job.tainted else Integrity.TOOL
        if ctx.post(live.ref, Hear(text=job.task.prompt, integrity=integrity)) is Posted.ACCEPTED:
            live.running, live.turns, live.stage = True, 1, Stage.AWAKE
            self._herald.task(job.top, job.agent.name, "working", session)
        else:
            self._finish(job, _failed("agent.not-started", "the sub-agent takes no input", effect="none"), ctx)

    # --- end

    def concluded(self, live: Live, message: Concluded, ctx: Context) -> bool:
        """A sub-agent's turn is over; false if it is none."""
        job = self._at_work.get(live.session)
        if job is not None:
            self._finish(job, _answer(job.task, message), ctx)
        return bool(live.stem.parent)

    def overdue(self, message: Overdue, ctx: Context) -> None:
        """A task has had its time."""
        job = self._jobs.get(message.id)
        if job is not None:
            self._finish(job, _failed("agent.timeout", "the sub-agent did not get done in time"), ctx)

    def take_back(self, number: int, ctx: Context) -> None:
        """Nobody waits for a task any more."""
        for above in self._at_work.values():
            if above.held is not None and above.held.id == number:
                above.held = None
        job = self._jobs.get(number)
        if job is not None:
            self._finish(job, None, ctx)

    def host_gone(self, host: int, ctx: Context) -> None:
        """An actor is gone; if it was the host of tasks, nobody waits for these any more."""
        for job in [job for job in self._jobs.values() if job.host.id == host]:
            self._finish(job, None, ctx)

    def ended(self, session: bytes, ctx: Context) -> None:
        """``session`` is over or will be at once: with it what it had done for it, and the task that it was at."""
        for job in [job for job in self._jobs.values() if job.parent == session]:
            self._finish(job, None, ctx)
        job = self._at_work.get(session)
        if job is not None:
            self._finish(job, _failed("agent.failed", "the sub-agent ended before it was done"), ctx)

    def _finish(self, job: Job, answer: Delegated | None, ctx: Context) -> None:
        del self._jobs[job.id]
        self._at_work.pop(job.child, None)
        if job.timer is not None:
            job.timer.cancel()
        live = self._roster.get(job.child)
        if live is not None and live.ending is None:
            self._close(live, "done", ctx)  # and by that whatever is done for it
        self._herald.task(job.top, job.agent.name, "over", job.child)
        above = self._at_work.get(job.parent)
        self._slots.over(job.id, None if above is None else above.id)
        if answer is None:
            return
        if above is None or self._slots.is_waiting(above.id):
            _settle(job.id, job.host, answer, ctx)
        else:
            above.held = Held(job.id, job.host, answer)

    def _hand_over(self, job: Job, ctx: Context) -> None:
        """What was held back from the sub-agent at ``job``."""
        held, job.held = job.held, None
        if held is not None:
            _settle(held.id, held.host, held.answer, ctx)


def _settle(number: int, host: Sender, answer: Delegated, ctx: Context) -> None:
    ctx.answer(host, ("Delegate", number), msgspec.structs.replace(answer, id=number))


def _failed(code: str, reason: str, *, effect: Effect = "maybe") -> Delegated:
    # Constant texts: nothing of what the sub-agent said.
    return Delegated(id=0, content=f"{code}: {reason}".encode(), is_error=True, untrusted=False, effect=effect)


def _answer(task: Task, end: Concluded) -> Delegated:
    """What the parent gets, with the label that its child earned."""
    if end.reason != "end_turn":
        return msgspec.structs.replace(
            _failed("agent.failed", f"the sub-agent stopped: {end.reason}"), untrusted=end.tainted
        )
    if task.schema is None:
        return Delegated(id=0, content=end.text.encode(), is_error=False, untrusted=end.tainted, effect="done")
    output = read_output(task.schema, end.text)
    if output is None:
        misfit = _failed("agent.output", "the sub-agent's answer does not fit the schema")
        return msgspec.structs.replace(misfit, untrusted=end.tainted)
    # SAFETY: what a poisoned child can say by its choice is at most 16 bits, and a control argument is none of them.
    few = count_values(task.schema) <= MAX_ENDORSED_VALUES
    return Delegated(
        id=0,
        content=output,
        is_error=False,
        untrusted=end.tainted and not few,
        effect="done",
        chosen=end.tainted and few,
    )
