"""Sub-agents: whose task is in hand, who works, who waits for a place.  The gateway's own.

    Delegate ──► queued ──a slot is free──► starting ──the gate has it──► working ──its turn is over──► Delegated

A working sub-agent holds a slot.  While it waits for sub-agents of its own it gives the slot back, and the last of them
hands it a slot again when it ends: so whoever waits keeps nobody from working, and nesting cannot deadlock.

Never: lets a sub-agent outlive the session that waits for it, or the call that asked for it.

Invariants:
  No task begins without a free slot; no more wait than the queue takes.  Whoever goes on after its own sub-agents goes
  on at once, so for a while there may be more at work than there are slots, by as many as waited.
  Each task that was taken is answered once, or nobody waits for its answer any more.

Source: architecture 6 ("Sub-agents"); threats 3, 10, 28.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec

from astrid.core.labels import Integrity
from astrid.core.output_schema import MAX_ENDORSED_VALUES, count_values, read_output
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


class Job(msgspec.Struct):
    """One task, as its host numbers it.  ``parent`` is the session that waits for it, ``child`` the one at work on it,
    once there is one; ``waits`` how many tasks that one waits for itself.
    """

    id: int
    host: Sender
    parent: bytes
    top: bytes  # whose listeners are told
    task: Task
    agent: Subagent
    tainted: bool
    child: bytes = b""
    slot: bool = False
    waits: int = 0
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
        self._queue: deque[int] = deque()
        self._slots = 0  # that are held

    # --- begin

    def take(self, message: Delegate, host: Sender, ctx: Context) -> None:
        """A session wants something done: it waits for a slot from now on, or gets to know why it need not."""
        task = read_task(message.args)  # as it was read when the call was decided
        parent = self._roster.of_key(message.principal)
        if parent is None or parent.ending is not None:
            _settle(message.id, host, _failed("agent.no-caller", "the session that asked is over", effect="none"), ctx)
            return
        mine = self._at_work.get(parent.session)
        free = self._limits.concurrent - self._slots + (mine is not None and mine.slot)
        if len(self._queue) >= self._limits.queue + max(free, 0):
            full = "too many tasks wait already; do it yourself, or try again later"
            _settle(message.id, host, _failed("agent.queue-full", full, effect="none"), ctx)
            return
        agent = self._subagents[task.agent]
        self._jobs[message.id] = Job(message.id, host, parent.session, parent.stem.top, task, agent, message.tainted)
        self._queue.append(message.id)
        self._herald.task(parent.stem.top, agent.name, "queued", b"")
        if mine is not None:
            mine.waits += 1
            self._give_back(mine)

    async def fill(self, ctx: Context) -> None:
        """Start those for whom there is a slot."""
        while self._queue and self._slots < self._limits.concurrent:
            job = self._jobs[self._queue.popleft()]
            self._take_slot(job)
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
        if job.id in self._queue:
            self._queue.remove(job.id)
        if job.timer is not None:
            job.timer.cancel()
        live = self._roster.get(job.child)
        if live is not None and live.ending is None:
            self._close(live, "done", ctx)  # and by that whatever is done for it
        self._herald.task(job.top, job.agent.name, "over", job.child)
        self._give_back(job)
        above = self._at_work.get(job.parent)
        if above is not None:
            above.waits -= 1
            if not above.waits:
                self._take_slot(above)
        if answer is not None:
            _settle(job.id, job.host, answer, ctx)

    # --- slots

    def _take_slot(self, job: Job) -> None:
        if not job.slot:
            job.slot = True
            self._slots += 1

    def _give_back(self, job: Job) -> None:
        if job.slot:
            job.slot = False
            self._slots -= 1


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
