"""The gate: every effect's one way from proposal to outcome, as a machine.  Pure.

    propose ──► PREPARING ──prepared──┬─► PERMITTING ──durable──► RUNNING ──executed──► outcome
                                      ├─► ASKING ──answered──► approved (propose again) │ refused │ deferred
                                      └─► refused

The gate never waits.  It reserves in memory, hands a record to the audit actor, and goes on; what follows a record
happens when it comes back durable (``durable``).  A permit is durable before its call is executed; a denial is durable
before it is answered.

Never: runs anything, verifies a question's answer (``approval`` does), or takes a principal's identity from a message.

Invariants:
  Each proposal ends exactly once: outcome, refusal, deferral or approval; or without a word, if its principal gave it
  up.
  Nothing is executed without an earlier durable permit over those very bytes; nothing after a denial.
  What was reserved is settled once: at the true amount, in full when unknown, not at all only if nothing happened.

Source: architecture 5 and 6; protocol N2 to N4; threats 1, 8, 15, 21, 23, 24, 25, 31.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from astrid.core import gate_records as records
from astrid.core.decide import Denied
from astrid.core.facts import LOG_BYTES_PER_SESSION, Facts, Tool
from astrid.core.gate_connections import Connect, Connections, Disconnected
from astrid.core.gate_decide import Granted, Question, Rejected, consider, stale
from astrid.core.gate_denials import (
    EXPIRED,
    MANY,
    NOBODY,
    PAUSED,
    SAID_NO,
    STRANGER,
    TOOL_GONE,
    UNKNOWN,
    Denials,
    refusal,
)
from astrid.core.gate_messages import (
    Answered,
    Approved,
    Ask,
    Cancel,
    Deferred,
    Durable,
    Effect,
    Execute,
    Executed,
    Leave,
    Minted,
    Outcome,
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
from astrid.core.gate_money import book, true_cost
from astrid.core.gate_state import Pending, Salts, Stage, TokenCache
from astrid.core.records import DeferredRecord, entry
from astrid.errors import Effect as WorldEffect

MAX_TOKENS_PER_PROPOSAL = 64
MAX_PENDING_PER_PRINCIPAL = 64
MAX_RESULT_BYTES = LOG_BYTES_PER_SESSION  # of one call
# Read for every call: on the class of an enumeration a look-up takes longer than most of what is done with it.
_PREPARING, _PERMITTING, _RUNNING, _ASKING = Stage
_TOO_LONG = b"tool.too-long: the result is longer than can be kept"


class Gate:
    """The machine.  Owned by one shell, which stamps senders, performs effects in order and feeds back what became
    durable.
    """

    def __init__(self, facts: Facts, *, secret: bytes, first_ref: int, known: TokenCache | None = None) -> None:
        """``secret`` is 32 random bytes, known to nobody else and never stored; salts and question ids derive from
        it.  ``first_ref`` is above every ref in the log.  ``known`` are chains that verified for somebody else of the
        runtime, and need not be verified again.
        """
        self.facts = facts
        self.pending: dict[int, Pending] = {}
        self.suspended = ""  # why the log cannot be written
        self.clock_trouble = ""  # why its time cannot be told
        self._of: dict[int, set[int]] = {}  # the refs of each principal's pending proposals
        self._next_ref = first_ref
        self._tokens = TokenCache() if known is None else known
        self._salts = Salts(secret)
        self._denials = Denials(facts, self._salts)  # and what is said when their records are durable
        self._connections = Connections(facts, self._salts, self._denials)

    # --- proposals

    def propose(self, sender: int, message: Propose) -> list[Effect]:
        """A principal proposes a call."""
        principal = self.facts.principals.get(sender)
        if principal is None:
            # SAFETY: who is not registered has no key, so no token can be theirs.
            return [refusal(sender, message, STRANGER)]
        trouble = self._trouble
        if trouble is not None:
            # Nothing can be recorded, so nothing runs and the refusal itself is not recorded either.
            return [refusal(sender, message, trouble)]
        ref = self._take_ref()
        if self.facts.quota.spent(principal.session):
            return self._deny(ref, sender, message, None, PAUSED)
        tool = self.facts.tool(principal, message.tool)
        if tool is None:
            return self._deny(ref, sender, message, None, UNKNOWN)
        if len(self._of.get(sender, ())) >= MAX_PENDING_PER_PRINCIPAL or len(message.tokens) > MAX_TOKENS_PER_PROPOSAL:
            return self._deny(ref, sender, message, tool, MANY)
        self._of.setdefault(sender, set()).add(ref)
        self.pending[ref] = Pending(ref, sender, message, _PREPARING, tool)
        return [Send(tool.host, Prepare(ref=ref, tool=message.tool, args=message.args))]

    def unprepared(self, sender: int, message: Unprepared) -> list[Effect]:
        """A host refuses to prepare the call."""
        pending = self._looked_at(sender, message.ref)
        if pending is None:
            return []
        return self._refuse(pending, Denied(message.layer, message.code, message.reason, message.advice))

    def prepared(self, sender: int, message: Prepared, now_ns: int) -> list[Effect]:
        """A host has looked; now the call exists and is decided."""
        pending = self._looked_at(sender, message.ref)
        if pending is None:
            return []
        trouble = self._trouble
        if trouble is not None:
            self._drop(pending)
            return [refusal(pending.sender, pending.proposal, trouble)]
        principal = self.facts.principals[pending.sender]
        verdict = consider(pending, principal, message.preparation, self.facts, self._tokens, self._salts, now_ns)
        forged = self._denials.forged(principal.session, verdict.forged)
        match verdict:
            case Granted():
                # Written after the last thing that can fail: from here on the reservation is owed a settlement.
                self.facts.ledger.reserve(verdict.permit.charge)
                self._move(pending, stage=_PERMITTING, permitted=verdict.permit, call_bytes=verdict.call_bytes)
                self.facts.quota.wrote(principal.session, records.size_of(verdict.record))
                return [*forged, Record(verdict.record)]
            case Question():
                self._move(pending, stage=_ASKING)
                return [*forged, SendApprovals(Ask(ref=pending.ref, question=verdict.raw))]
            case Rejected():
                return forged + self._refuse(pending, verdict.denied)
            case _:
                assert_never(verdict)

    # --- what follows a durable record

    def durable(self, message: Durable, now_ns: int) -> list[Effect]:
        """The record of a proposal is on disk."""
        self.facts.durable_ns = max(self.facts.durable_ns, message.time_ns)
        pending = self._at(message.ref, _PERMITTING)
        if pending is not None:
            running = self._move(pending, stage=_RUNNING, permit_seq=message.seq, call_bytes=b"")
            return self._execute(running, pending.call_bytes, now_ns)
        return self._denials.durable(message.ref)

    def _execute(self, pending: Pending, call_bytes: bytes, now_ns: int) -> list[Effect]:
        changed = self._trouble or stale(pending, self.facts, now_ns)
        if changed is not None:
            return self._settle(pending, b"", effect="none", spent_micros=0, refused=changed)
        tool = pending.tool
        execute = Execute(ref=pending.ref, permit_seq=pending.permit_seq, call=call_bytes, incarnation=tool.incarnation)
        return [Send(tool.host, execute)]

    def executed(self, sender: int, message: Executed) -> list[Effect]:
        """A host reports how the call ended."""
        pending = self._at(message.ref, _RUNNING, host=sender)
        if pending is None or pending.permit_seq != message.permit_seq:
            return []
        spent, content, failed = true_cost(pending.permit.call, message), message.content, message.is_error
        if len(content) > MAX_RESULT_BYTES:
            # SAFETY: the log's writer could not store any length, and would end with it.
            content, failed = _TOO_LONG, True
        return self._settle(pending, content, effect=message.effect, spent_micros=spent, is_error=failed, said=message)

    def progress(self, sender: int, message: Progress) -> list[Effect]:
        """A host streams provisional output."""
        pending = self._at(message.ref, _RUNNING, host=sender)
        if pending is None or pending.cancelled:
            return []
        return [Send(pending.sender, Streamed(proposal=pending.proposal.proposal, chunk=message.chunk))]

    def connection(self, sender: int, message: Connect | Disconnected) -> list[Effect]:
        """A host reports of a connection that a call which it runs wants to make, or had."""
        pending = self._at(message.ref, _RUNNING, host=sender)
        if pending is None or pending.permit_seq != message.permit_seq:
            return []
        return self._connections.take(pending, message, self._take_ref, self._trouble)

    def _settle(
        self,
        pending: Pending,
        content: bytes,
        *,
        effect: WorldEffect,
        spent_micros: int,
        is_error: bool = True,
        unknown: bool = False,
        said: Executed | None = None,
        refused: Denied | None = None,
    ) -> list[Effect]:
        """Book the true amount, record the outcome, answer at once: whatever that leads to needs a later permit."""
        permit = pending.permit
        session, principal = permit.call.session, self.facts.principals.get(pending.sender)
        warn_at = 0 if principal is None else principal.limits.warn_at_percent
        sound, booked = book(self.facts.ledger, permit.charge, spent_micros, warn_at_percent=warn_at)
        vouched, chosen = records.worth(pending.tool, said)
        end = records.End(effect, is_error, unknown, spent_micros, sound, pending.permit_seq, content, vouched, chosen)
        made = records.settled(pending.ref, session, end, self._salts.take())
        self._drop(pending)
        self._connections.forget(pending.ref)
        if principal is not None:
            self.facts.quota.wrote(session, records.size_of(made))
        if pending.cancelled:
            if booked is not None:  # nobody waits for how it ended; what it cost is told all the same
                self._denials.hold(pending.ref, session, Send(pending.sender, booked))
            return [Record(made)]
        if refused is not None:
            return [Record(made), refusal(pending.sender, pending.proposal, refused)]
        outcome = Outcome(
            proposal=pending.proposal.proposal,
            content=content,
            is_error=is_error,
            effect=effect,
            unknown=unknown,
            first_party=vouched,
            chosen=chosen,
            permit_seq=pending.permit_seq,
            booked=booked,
        )
        return [Record(made), Send(pending.sender, outcome, answers=True)]

    # --- questions

    def put(self, message: Put) -> list[Effect]:
        """Approvals has put the question, or will not."""
        pending = self._at(message.ref, _ASKING)
        if pending is None:
            return []
        if message.code:
            return self._refuse(pending, Denied("approval", message.code, message.reason, "do without this call"))
        return [] if message.attended else self.defer(message.ref, message.qid)

    def defer(self, ref: int, qid: bytes) -> list[Effect]:
        """Nobody answers: the question stays open, the proposal ends."""
        pending = self._at(ref, _ASKING)
        if pending is None:
            return []
        self._drop(pending)
        session = self.facts.principals[pending.sender].session
        made = entry(DeferredRecord(ref, qid), session=session, ref=ref)
        # Whoever proposes the same again and again while nobody is there fills the log as surely as by denials.
        self.facts.quota.wrote(session, records.size_of(made))
        words = Send(pending.sender, Deferred(proposal=pending.proposal.proposal, qid=qid), answers=True)
        self._denials.hold(ref, session, words)
        return [SendApprovals(Leave(ref=ref)), Record(made)]

    def answered(self, message: Answered) -> list[Effect]:
        """A question ended, durably.  From here on the token it made is live, and no other for that question."""
        waiting = [pending for ref in message.refs if (pending := self._at(ref, _ASKING)) is not None]
        if not message.token:
            denied = SAID_NO if message.said_no else EXPIRED
            return [effect for pending in waiting for effect in self._refuse(pending, denied)]
        self.facts.settled.add(message.block)
        effects: list[Effect] = []
        for pending in waiting:
            self._drop(pending)
            approved = Approved(proposal=pending.proposal.proposal, token=message.token)
            effects.append(Send(pending.sender, approved, answers=True))
        if not waiting:
            of_session = [ref for ref, one in self.facts.principals.items() if one.own == message.session]
            effects += [Send(ref, Minted(qid=message.qid, token=message.token)) for ref in of_session]
        return effects

    # --- ends

    def cancel(self, sender: int, message: Cancel) -> list[Effect]:
        """The principal gives up on a proposal.  What runs is withdrawn and still settles; what was not permitted
        ends here.
        """
        found = [pending for pending in self._mine(sender) if pending.proposal.proposal == message.proposal]
        return [effect for pending in found for effect in self._give_up(pending)]

    def principal_gone(self, sender: int) -> list[Effect]:
        """A principal died or ended: nobody is left to answer."""
        effects = [effect for pending in self._mine(sender) for effect in self._give_up(pending)]
        self.facts.dismiss(sender)
        return effects

    def _give_up(self, pending: Pending) -> list[Effect]:
        if pending.stage is _ASKING:
            self._drop(pending)
            return [SendApprovals(Leave(ref=pending.ref))]
        if pending.cancelled:
            return []  # its host knows; told again and again, it would have no room for the calls of others
        # It keeps its place until its host or the log answers: whoever proposes and gives up in turns would otherwise
        # keep a host busy beyond every limit.
        self._move(pending, cancelled=True)
        return [Send(pending.tool.host, Withdraw(ref=pending.ref))] if pending.stage is _RUNNING else []

    def host_gone(self, host: int) -> list[Effect]:
        """A tool host died.  What it ran has an unknown outcome and is settled in full; what it looked at is refused.
        A call whose permit is on its way finds its tool gone when that is durable.
        """
        # First the tools: what is refused or settled now must not find them again.
        for key in [key for key, tool in self.facts.tools.items() if tool.host == host]:
            del self.facts.tools[key]
        effects: list[Effect] = []
        for ref in list(self.pending):
            if (running := self._at(ref, _RUNNING, host=host)) is not None:
                spent = running.permit.charge.micros
                effects += self._settle(running, b"", effect="maybe", spent_micros=spent, unknown=True)
            elif (pending := self._looked_at(host, ref)) is not None:
                effects += self._refuse(pending, TOOL_GONE)
        return effects

    def withdraw_revoked(self) -> list[Effect]:
        """Stop what runs on the strength of a revoked token or key."""
        running = [pending for pending in self.pending.values() if pending.stage is _RUNNING]
        hit = [pending for pending in running if self.facts.is_revoked(pending.permit.token)]
        return [Send(pending.tool.host, Withdraw(ref=pending.ref)) for pending in hit]

    def strayed(self, sender: int, what: str) -> list[Effect]:
        """``sender`` said something that is not taken from it; ``what`` is for people.  It is not acted on, and it is
        seen: at the cost of its session's share of the log, or of the one that all have together who are in none.
        """
        principal = self.facts.principals.get(sender, NOBODY)
        stray = Denied("gate", "gate.message", what, "report this")
        if self._trouble is not None:
            return [*map(Record, self.facts.quota.count(principal.session, stray.code))]
        return self._denials.deny(self._take_ref(), principal, None, stray)

    # --- common

    @property
    def _trouble(self) -> Denied | None:
        """Why nothing may run just now."""
        trouble = self.suspended or self.clock_trouble
        return Denied("audit", "audit.suspended", trouble, "then try again") if trouble else None

    def _at(self, ref: int, stage: Stage, *, host: int | None = None) -> Pending | None:
        """The proposal ``ref`` if it is at ``stage``, and with ``host``; a late or foreign message finds nothing."""
        pending = self.pending.get(ref)
        if pending is None or pending.stage is not stage or host not in (None, pending.tool.host):
            return None
        return pending

    def _looked_at(self, host: int, ref: int) -> Pending | None:
        """The proposal ``ref`` if ``host`` was to look at it.  One that was given up ends here, without a word."""
        pending = self._at(ref, _PREPARING, host=host)
        if pending is not None and pending.cancelled:
            self._drop(pending)
            return None
        return pending

    def _mine(self, sender: int) -> list[Pending]:
        return [self.pending[ref] for ref in sorted(self._of.get(sender, ()))]

    def _move(self, pending: Pending, **changes: object) -> Pending:
        moved = self.pending[pending.ref] = msgspec.structs.replace(pending, **changes)
        return moved

    def _drop(self, pending: Pending) -> None:
        del self.pending[pending.ref]
        mine = self._of[pending.sender]
        mine.remove(pending.ref)
        if not mine:
            del self._of[pending.sender]

    def _refuse(self, pending: Pending, denied: Denied) -> list[Effect]:
        self._drop(pending)
        return self._deny(pending.ref, pending.sender, pending.proposal, pending.tool, denied)

    def _deny(self, ref: int, sender: int, proposal: Propose, tool: Tool | None, denied: Denied) -> list[Effect]:
        principal, words = self.facts.principals[sender], refusal(sender, proposal, denied)
        return self._denials.deny(ref, principal, tool, denied, words, args=proposal.args)

    def _take_ref(self) -> int:
        ref = self._next_ref
        self._next_ref += 1
        return ref
