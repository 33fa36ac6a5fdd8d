"""The interceptor: the shell of ``core.gate``.  Every effect in the system passes through this mailbox.

It stamps each message with who sent it (the kernel says so, the message never does) and with the time, feeds the
machine, and performs what
comes out: records to the audit actor, calls to tool hosts, questions to approvals, answers to whoever proposed.

Never waits: not for the log, not for a tool, not for a person.

Source: architecture 5; threats 1, 8, 15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from astrid.core import gate_admin
from astrid.core.clock import ClockWatch
from astrid.core.facts import Facts, Principal, Tool
from astrid.core.gate import Gate
from astrid.core.gate_messages import (
    Answered,
    Cancel,
    Effect,
    Execute,
    Executed,
    Minted,
    Prepare,
    Prepared,
    Progress,
    Propose,
    Put,
    Record,
    Send,
    SendApprovals,
    Streamed,
    Unprepared,
    Withdraw,
)
from astrid.core.gate_messages import Ask as PutQuestion
from astrid.core.gate_records import size_of
from astrid.core.records import ClockRecord, Entry, entry
from astrid.errors import AstridError, CanonError, InternalError
from astrid.kernel import Actor, Down, Message, Posted, Ref, Sender
from astrid.messages.gate import Done, Failed, Offer, Prompted, Register, Revoke, Save, StreamedText, TakeIn
from astrid.messages.log import Append, LogTrouble, Recorded
from astrid.ports import Clock, Entropy

TOOLS, FRONT = "root/tools/", "/front"
GATEWAY = "root/gateway"
AUDIT = "root/audit"
APPROVALS = "root/approvals"
CLOCK_AHEAD = "the clock was set more than a day ahead; set it right, or restart the daemon if it is right now"


class NobodyCame(Message, frozen=True, kw_only=True):
    """The time to wait for a person is over."""

    ref: int
    qid: bytes


class Interceptor(Actor):
    """See the module.  ``open_gate`` rebuilds the machine from the log and gives what is still to be recorded of
    the time before.
    """

    def __init__(
        self,
        open_gate: Callable[[], tuple[Gate, list[Entry]]],
        *,
        audit: Ref,
        approvals: Ref,
        refs: Mapping[int, Ref],
        clock: Clock,
        entropy: Entropy,
        approval_seconds: float,
        made: Callable[[Ref], None],
    ) -> None:
        self._made = made
        self._open_gate = open_gate
        self._audit = audit
        self._approvals = approvals
        self._refs = refs
        self._clock = clock
        self._entropy = entropy
        self._approval_seconds = approval_seconds
        self._senders: dict[int, Sender] = {}
        self._next_append = 1
        self._promised: dict[int, tuple[Sender, int]] = {}

    async def started(self) -> None:
        """Rebuild from the log; settle as unknown what the last run left open."""
        self._made(self.ctx.ref)
        # SAFETY: the log knows what this actor knows only once it is durable.  If this actor breaks, records of it may
        # still be on their way; so the log's writer goes down with it, and both begin again from what is there.
        self.ctx.link(self._audit)
        self._gate, unsettled = self._open_gate()
        self._watch = ClockWatch(self._clock.now_ns(), self._clock.running_ns())
        self._append(unsettled)

    @property
    def _facts(self) -> Facts:
        return self._gate.facts

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        now_ns = self._look_at_clock()
        gate = self._gate
        match message:
            case Propose():
                self._senders[sender.id] = sender
                self._perform(gate.propose(sender.id, message))
            case Cancel():
                self._perform(gate.cancel(sender.id, message))
            case Save() | Prompted():
                self._note(message, sender)
            case Prepared() if _is_host(sender):
                self._perform(gate.prepared(sender.id, message, now_ns))
            case Unprepared() if _is_host(sender):
                self._perform(gate.unprepared(sender.id, message))
            case Executed() if _is_host(sender):
                self._perform(gate.executed(sender.id, message))
            case Progress() if _is_host(sender):
                self._perform(gate.progress(sender.id, message))
            case Offer() if _is_host(sender):
                self._offer(message, sender)
            case Recorded() if sender.path == AUDIT:
                self._recorded(message, now_ns)
            case LogTrouble() if sender.path == AUDIT:
                gate.suspended = message.problem
            case Put() if sender.path == APPROVALS:
                self._put(message)
            case Answered() if sender.path == APPROVALS:
                self._perform(gate.answered(message))
            case NobodyCame() if sender.id == self.ctx.ref.id:
                self._perform(gate.defer(message.ref, message.qid))
            case Register() | TakeIn() | Revoke() if sender.path == GATEWAY:
                self._administer(message, sender)
            case Down():
                self._down(message)
            case _:
                # SAFETY: fail loudly; a message from the wrong place is a bug or an attack, and neither may go unseen.
                raise InternalError("gate.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
        return None

    def _look_at_clock(self) -> int:
        """The time; a clock that was set is recorded, and narrows what may happen until it is right again or the
        daemon restarted.
        """
        now_ns = self._clock.now_ns()
        step = self._watch.observe(now_ns, self._clock.running_ns())
        self._facts.standing = not self._watch.went_back
        self._gate.clock_trouble = CLOCK_AHEAD if self._watch.jumped_ahead else ""
        if step is not None and step.back:
            self._append([entry(ClockRecord(True, -step.by_ns // 10**9))])
        return now_ns

    # --- performing

    def _perform(self, effects: list[Effect]) -> None:
        entries: list[Entry] = []
        for effect in effects:
            match effect:
                case Record():
                    entries.append(effect.entry)
                case SendApprovals():
                    message = effect.message
                    answer_id = ("put", message.ref) if isinstance(message, PutQuestion) else None
                    if (
                        self.ctx.post(self._approvals, message, answer_id) is not Posted.ACCEPTED
                        and answer_id is not None
                    ):
                        self._perform(self._gate.put(_not_put(message.ref)))
                case Send():
                    self._send(effect)
        if entries:
            self._append(entries)

    def _send(self, effect: Send) -> None:
        message = effect.message
        match message:
            case Prepare() | Execute() | Withdraw():
                self._send_host(effect.to, message)
            case Streamed():
                self._post(effect.to, StreamedText(proposal=message.proposal, chunk=message.chunk))
            case Minted():
                self._post(effect.to, message)
            case _:
                to = self._senders.get(effect.to)
                if to is not None:
                    self.ctx.answer(to, message.proposal, message)

    def _send_host(self, host: int, message: Prepare | Execute | Withdraw) -> None:
        ref = self._refs.get(host)
        kind = type(message).__name__
        posted = Posted.GONE
        if ref is not None:
            posted = self.ctx.post(ref, message, None if isinstance(message, Withdraw) else (kind, message.ref))
        if posted is Posted.ACCEPTED:
            return
        match message:
            case Prepare():
                refusal = Unprepared(
                    ref=message.ref, layer="tool", code="tool.busy", reason="the tool is busy", advice="try again"
                )
                self._perform(self._gate.unprepared(host, refusal))
            case Execute():
                self._perform(self._gate.executed(host, _not_run(message)))
            case Withdraw():
                pass  # its host is gone or full; its end settles the call

    def _post(self, to: int, message: object) -> None:
        ref = self._refs.get(to)
        if ref is not None:
            self.ctx.post(ref, message)

    def _append(self, entries: list[Entry], promise: tuple[Sender, int] | None = None) -> None:
        """Hand records to the log.  Their order there is the order of these calls."""
        if not entries:
            return
        number = self._next_append
        self._next_append += 1
        if promise is not None:
            self._promised[number] = promise
        posted = self.ctx.post(self._audit, Append(id=number, entries=tuple(entries)), number)
        if posted is not Posted.ACCEPTED:
            # SAFETY: a record that did not get there may be a permit that is already reserved; going on would run
            # what is not logged.
            raise InternalError("gate.log-full", f"the log did not take a record: {posted.value}")

    def _recorded(self, message: Recorded, now_ns: int) -> None:
        effects: list[Effect] = []
        for record in message.records:
            effects += self._gate.durable(record, now_ns)
        promise = self._promised.pop(message.id, None)
        if promise is not None:
            sender, number = promise
            self.ctx.answer(sender, number, Done(id=number, seq=message.records[-1].seq))
        self._perform(effects)

    def _put(self, message: Put) -> None:
        self._perform(self._gate.put(message))
        if message.attended and not message.code:
            self.ctx.start_timer(self._approval_seconds, NobodyCame(ref=message.ref, qid=message.qid))

    # --- who is there

    def _offer(self, message: Offer, sender: Sender) -> None:
        ref = self._refs.get(sender.id)
        if ref is None:
            raise InternalError("tool.unknown-host", f"nobody said that there is a tool host `{sender.path}`")
        for spec in message.specs:
            present = self._facts.tools.get((message.toolbox, spec.name))
            if present is not None and present.host != sender.id:
                raise InternalError("tool.name-taken", f"two hosts offer the tool `{spec.name}`")
            tool = Tool(message.toolbox, spec, spec.tooldef(), sender.id, sender.incarnation)
            self._facts.tools[message.toolbox, spec.name] = tool
        self.ctx.monitor(ref)

    def _down(self, message: Down) -> None:
        ref = message.ref.id
        principal = self._facts.principals.get(ref)
        if principal is not None:
            self._perform(self._gate.principal_gone(ref))
            self._append(gate_admin.ended(self._facts, principal.session, message.reason.exit.value))
            self._senders.pop(ref, None)
        else:
            # First the tools: what is refused or settled now must not find them again.
            for key in [key for key, tool in self._facts.tools.items() if tool.host == ref]:
                del self._facts.tools[key]
            self._perform(self._gate.host_gone(ref))

    def _administer(self, message: Register | TakeIn | Revoke, sender: Sender) -> None:
        try:
            made = self._change(message)
        except AstridError as error:
            self._fail(message.id, error, sender)
            return
        self._append([made], (sender, message.id))
        if isinstance(message, Revoke):
            self._perform(self._gate.withdraw_revoked())

    def _fail(self, number: int, error: AstridError, sender: Sender) -> None:
        told = Failed(id=number, code=error.code, reason=error.message, advice=error.advice)
        self.ctx.answer(sender, number, told)

    def _change(self, message: Register | TakeIn | Revoke) -> Entry:
        salt = self._entropy.random_bytes(32)
        match message:
            case Revoke():
                return gate_admin.revoke(self._facts, message.statement, salt=salt)
            case TakeIn():
                now_s = self._facts.time_s(self._clock.now_ns())
                _, made = gate_admin.take_in(self._facts, message.token, message.source, now_s=now_s, salt=salt)
                return made
            case Register():
                return self._register(message)

    def _register(self, message: Register) -> Entry:
        ref = self._refs.get(message.ref)
        if ref is None:
            raise InternalError("gate.no-such-actor", "nobody said that there is an actor to be registered")
        principal = Principal(
            key=message.key,
            session=message.session,
            workspace=message.workspace,
            toolboxes=message.toolboxes,
            limits=message.limits,
            asks=message.asks,
        )
        opening = gate_admin.Opening(message.mode, message.model, message.scripted)
        made = gate_admin.register(self._facts, message.ref, principal, opening)
        self.ctx.monitor(ref)
        return made

    def _note(self, message: Save | Prompted, sender: Sender) -> None:
        principal = self._facts.principals.get(sender.id)
        if principal is None:
            told = Failed(
                id=message.id, code="gate.unknown-principal", reason="the sender is not registered", advice=""
            )
            self.ctx.answer(sender, message.id, told)
            return
        try:
            made = self._noted(message, principal)
        except CanonError as error:
            self._fail(message.id, error, sender)
            return
        self._facts.quota.wrote(principal.session, size_of(made) + sum(len(row.data) for row in made.rows))
        self._append([made], (sender, message.id))

    def _noted(self, message: Save | Prompted, principal: Principal) -> Entry:
        match message:
            case Save():
                return gate_admin.save(principal, message.rows)
            case Prompted():
                salt = self._entropy.random_bytes(32)
                return gate_admin.prompted(principal, message.turn, message.integrity, message.text, salt=salt)


def _is_host(sender: Sender) -> bool:
    return sender.path.startswith(TOOLS) and sender.path.endswith(FRONT)


def _not_put(ref: int) -> Put:
    return Put(ref=ref, qid=b"", code="approval.busy", reason="no more questions can be put just now", attended=False)


def _not_run(message: Execute) -> Executed:
    return Executed(
        ref=message.ref,
        permit_seq=message.permit_seq,
        content=b"tool.busy: the tool is busy",
        is_error=True,
        effect="none",
        spent_micros=0,
    )
