"""The interceptor: the shell of ``core.gate``.  Every effect in the system passes through this mailbox.

It stamps each message with who sent it (the kernel says so, the message never does) and with the time, feeds the
machine, and performs what comes out: records to the audit actor, calls to tool hosts, questions to approvals, answers
to whoever proposed.

Never waits: not for the log, not for a tool, not for a person.

Sessions and tool hosts are not trusted to say what they may: what is not taken from them is recorded at their cost, and
changes nothing.  The guard and the gateway are: what is not taken from those is a bug, and ends this actor.

Source: architecture 5; threats 1, 8, 15, 24, 25.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from astrid.core import gate_admin
from astrid.core.clock import ClockWatch
from astrid.core.facts import Facts, Principal
from astrid.core.gate import Gate
from astrid.core.gate_connections import Connect, Disconnected
from astrid.core.gate_messages import (
    Answered,
    Booked,
    Cancel,
    Connecting,
    Effect,
    Execute,
    Executed,
    Leave,
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
from astrid.core.records import ClockRecord, Entry, entry
from astrid.errors import AstridError, CanonError, InternalError, TokenError
from astrid.guard import door
from astrid.guard.administration import Change, change
from astrid.guard.door import APPROVALS, AUDIT, GATEWAY, is_host, is_ours, strayed
from astrid.guard.interceptor_outbox import Flush, Outbox
from astrid.kernel import Actor, Down, Exit, Message, Posted, Reason, Ref, Sender, Timer
from astrid.messages.gate import (
    Done,
    Ending,
    Failed,
    Finish,
    Offer,
    Prompted,
    Register,
    Release,
    Revoke,
    Save,
    Strayed,
    StreamedText,
)
from astrid.messages.log import LogTrouble, Recorded
from astrid.ports import Clock, Entropy

MAX_NOTES = 128  # of one session on their way to the log
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
        self._outbox = Outbox()
        self._flushes = False  # whether ``Flush`` is on its way
        self._timers: dict[int, Timer] = {}  # of proposals that wait for a person
        self._owed: Counter[int] = Counter()  # how many promises to whom

    async def started(self) -> None:
        """Rebuild from the log; settle as unknown what the last run left open."""
        self._made(self.ctx.ref)
        # SAFETY: the log knows what this actor knows only once it is durable.  If this actor breaks, records of it may
        # still be on their way; so the log's writer goes down with it, and both begin again from what is there.
        self.ctx.link(self._audit)
        self._gate, unsettled = self._open_gate()
        self._watch = ClockWatch(self._clock.now_ns(), self._clock.running_ns(), last_ns=self._facts.durable_ns)
        self._append(unsettled)

    async def stopping(self, reason: Reason) -> None:
        """Nobody reads the mailbox any more: what has collected for the log goes there now."""
        if reason.exit is Exit.SHUTDOWN:
            self._flush()

    @property
    def _facts(self) -> Facts:
        return self._gate.facts

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        now_ns = self._look_at_clock()
        ours = is_ours(message, sender)
        if (ours or door.is_sound(message)) and self._take(message, sender, now_ns):
            return None
        if ours:
            raise InternalError("gate.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
        self._stray(message, sender)
        return None

    def _take(self, message: object, sender: Sender, now_ns: int) -> bool:
        """Act on a message; whether it is one that is taken from its sender."""
        gate = self._gate
        match message:  # the commonest first
            case Prepared() if is_host(sender):
                self._perform(gate.prepared(sender.id, message, now_ns))
            case Executed() if is_host(sender):
                self._perform(gate.executed(sender.id, message))
            case Propose():
                self._propose(message, sender)
            case Cancel():
                self._perform(gate.cancel(sender.id, message))
            case Save() | Prompted():
                self._note(message, sender)
            case Unprepared() if is_host(sender):
                self._perform(gate.unprepared(sender.id, message))
            case Progress() if is_host(sender):
                self._perform(gate.progress(sender.id, message))
            case Connect() | Disconnected() if is_host(sender):
                self._perform(gate.connection(sender.id, message))
            case Offer() if is_host(sender):
                self._offer(message, sender)
            case Recorded() if sender.path == AUDIT:
                self._recorded(message, now_ns)
            case LogTrouble() if sender.path == AUDIT:
                gate.suspended = message.problem
            case Put() if sender.path == APPROVALS:
                self._put(message)
            case Answered() if sender.path == APPROVALS:
                for ref in message.refs:
                    self._wait_no_longer(ref)
                self._perform(gate.answered(message))
            case NobodyCame() if sender.id == self.ctx.ref.id:
                self._perform(gate.defer(message.ref, message.qid))
            case Flush() if sender.id == self.ctx.ref.id:
                self._flushes = False
                self._flush()
            case _ if isinstance(message, Change) and sender.path == GATEWAY:
                self._administer(message, sender)
            case Finish() if sender.path == GATEWAY:
                self._append(gate_admin.finish(self._facts, message.session, message.reason))
            case Ending() if sender.path == GATEWAY:
                gate_admin.ending(self._facts, message.session, message.reason)
            case Down():
                self._down(message)
            case Strayed() if is_ours(message, sender) or is_host(sender):
                self._perform(gate.strayed(message.ref, message.what))
            case _:
                return False
        return True

    def _stray(self, message: object, sender: Sender) -> None:
        """Record what is not taken.  A host whose word about its own calls is broken is as good as gone: how those end
        will not be told.
        """
        self._perform(self._gate.strayed(sender.id, strayed(message, sender).what))
        if is_host(sender) and isinstance(message, door.OF_HOSTS):
            self._perform(self._gate.host_gone(sender.id))

    def _propose(self, message: Propose, sender: Sender) -> None:
        self._senders[sender.id] = sender
        self._perform(self._gate.propose(sender.id, message))
        if sender.id not in self._facts.principals:
            del self._senders[sender.id]  # it has its refusal, and nothing else will be said to it

    def _look_at_clock(self) -> int:
        """The time; a clock that was set is recorded, and narrows what may happen until it is right again or the
        daemon restarted.
        """
        now_ns, watch, gate = self._clock.now_ns(), self._watch, self._gate
        step = watch.observe(now_ns, self._clock.running_ns())
        gate.facts.standing = not watch.went_back
        gate.clock_trouble = CLOCK_AHEAD if watch.jumped_ahead else ""
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
                    self._send_approvals(effect.message)
                case Send():
                    self._send(effect)
        if entries:
            self._append(entries)

    def _send_approvals(self, message: PutQuestion | Leave) -> None:
        if isinstance(message, Leave):
            self.ctx.post(self._approvals, message)
            self._wait_no_longer(message.ref)
        elif self.ctx.post(self._approvals, message, ("put", message.ref)) is not Posted.ACCEPTED:
            self._perform(self._gate.put(door.not_put(message.ref)))

    def _send(self, effect: Send) -> None:
        message = effect.message
        match message:
            case Prepare() | Execute() | Withdraw():
                self._send_host(effect.to, message)
            case Streamed():
                self._post(effect.to, StreamedText(proposal=message.proposal, chunk=message.chunk))
            case Minted() | Booked() | Connecting():
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
                self._perform(self._gate.unprepared(host, door.not_prepared(message)))
            case Execute():
                self._perform(self._gate.executed(host, door.not_run(message)))
            case Withdraw():
                pass  # its host is gone or full; its end settles the call

    def _post(self, to: int, message: object) -> None:
        ref = self._refs.get(to)
        if ref is not None:
            self.ctx.post(ref, message)

    def _append(self, entries: list[Entry], promise: tuple[Sender, int] | None = None) -> None:
        """Have records written, in the order of these calls, once what is queued now has been handled."""
        if not entries:
            return
        full = self._outbox.put(entries, promise)
        if promise is not None:
            self._owed[promise[0].id] += 1
        if not self._flushes:
            self._flushes = self.ctx.post(self.ctx.ref, Flush()) is Posted.ACCEPTED
        if full or not self._flushes:
            self._flush()

    def _flush(self) -> None:
        append = self._outbox.take()
        posted = Posted.ACCEPTED if append is None else self.ctx.post(self._audit, append, append.id)
        if posted is not Posted.ACCEPTED:
            # SAFETY: a record that did not get there may be a permit that is already reserved; going on would run
            # what is not logged.
            raise InternalError("gate.log-full", f"the log did not take a record: {posted.value}")

    def _recorded(self, message: Recorded, now_ns: int) -> None:
        effects: list[Effect] = []
        for record in message.records:
            effects += self._gate.durable(record, now_ns)
        for sender, done in self._outbox.recorded(message):
            if sender.id in self._owed:
                self._owed[sender.id] -= 1
            self.ctx.answer(sender, done.id, done)
        self._perform(effects)

    def _put(self, message: Put) -> None:
        self._perform(self._gate.put(message))
        if message.attended and message.ref in self._gate.pending:
            nobody = NobodyCame(ref=message.ref, qid=message.qid)
            self._timers[message.ref] = self.ctx.start_timer(self._approval_seconds, nobody)

    def _wait_no_longer(self, ref: int) -> None:
        # Whoever asks and gives up in turns would otherwise leave a timer behind each time.
        timer = self._timers.pop(ref, None)
        if timer is not None:
            timer.cancel()

    # --- who is there

    def _offer(self, message: Offer, sender: Sender) -> None:
        ref = self._refs.get(sender.id)
        if ref is None:
            self._stray(message, sender)
            return
        try:
            gate_admin.offer(
                self._facts, message.toolbox, message.specs, host=sender.id, incarnation=sender.incarnation
            )
        except AstridError as error:
            self._perform(self._gate.strayed(sender.id, error.message))
        self.ctx.monitor(ref)

    def _down(self, message: Down) -> None:
        ref = message.ref.id
        principal = self._facts.principals.get(ref)
        if principal is not None:
            self._perform(self._gate.principal_gone(ref))
            how = message.reason.exit  # what obeyed when it was stopped may have been stopped by somebody
            why = principal.ending if principal.ending and how is Exit.SHUTDOWN else how.value
            self._append(gate_admin.ended(self._facts, principal.own, why))
            self._senders.pop(ref, None)
            self._owed.pop(ref, None)
        else:
            self._perform(self._gate.host_gone(ref))

    def _administer(self, message: Change, sender: Sender) -> None:
        whose = message.ref if isinstance(message, Register | Release) else 0
        actor, owed = self._refs.get(whose), self._owed.get(whose, 0)
        now_s, salt = self._facts.time_s(self._clock.now_ns()), self._entropy.random_bytes(32)
        try:
            made = change(self._gate, message, there=actor is not None, owed=owed, now_s=now_s, salt=salt)
        except AstridError as error:
            self._fail(message.id, error, sender)
            return
        if isinstance(message, Register) and actor is not None:
            self.ctx.monitor(actor)
        elif isinstance(message, Release):
            self._senders.pop(whose, None)
            self._owed.pop(whose, None)
        if not made:
            self.ctx.answer(sender, message.id, Done(id=message.id, seq=0))
        else:
            self._append(made, (sender, message.id))
        if isinstance(message, Revoke):
            self._perform(self._gate.withdraw_revoked())

    def _fail(self, number: int, error: AstridError, sender: Sender) -> None:
        told = Failed(id=number, code=error.code, reason=error.message, advice=error.advice)
        self.ctx.answer(sender, number, told)

    def _note(self, message: Save | Prompted, sender: Sender) -> None:
        principal = self._facts.principals.get(sender.id)
        try:
            if principal is None:
                raise TokenError("gate.unknown-principal", "the sender is not registered", advice="start a session")
            if self._owed[sender.id] >= MAX_NOTES:
                raise CanonError(
                    "record.too-many", "too much of the session is on its way to the log", advice="start another one"
                )
            made = self._noted(message, principal)
        except (CanonError, TokenError) as error:
            self._fail(message.id, error, sender)
            return
        self._append([made], (sender, message.id))

    def _noted(self, message: Save | Prompted, principal: Principal) -> Entry:
        facts, salt = self._facts, self._entropy.random_bytes(32)
        match message:
            case Save():
                return gate_admin.save(facts, principal, message.rows, salt=salt, urgent=message.urgent)
            case Prompted():
                return gate_admin.prompted(facts, principal, message.turn, message.integrity, message.text, salt=salt)
