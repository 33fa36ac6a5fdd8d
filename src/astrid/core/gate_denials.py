"""What is denied: recorded before it is answered, or only counted where its session has had its share.  Pure.

A denial costs its author nothing, so two limits keep it from costing anybody else: the session's share of the log, and
how many records of denials it may have on their way there at once.  Beyond either, denials are counted, and a record is
made each time that the count has doubled.

Invariants:
  An answer that is held back is given once, when its record is durable.
  However much one session is denied, the log grows by its share, and the queue before the log by MAX_ON_WAY records.

Source: architecture 5 ("Denials are recorded, then answered"), 7; threats 24.
"""

from __future__ import annotations

from astrid.core import gate_records as records
from astrid.core.decide import Denied, Limits
from astrid.core.facts import Facts, Principal, Tool
from astrid.core.gate_messages import Effect, Propose, Record, Refused, Send
from astrid.core.gate_state import Salts
from astrid.core.records import NO_SESSION

MAX_ON_WAY = 128  # of one session; all sessions there can be together stay below what the log's mailbox takes
FORGED_BYTES = 1024  # what a token that does not verify takes of its session's share
STRANGER = Denied("capability", "gate.unknown-principal", "the sender is not registered", "")
UNKNOWN = Denied("tool", "tool.unknown", "there is no such tool", "use a listed tool")
MANY = Denied("gate", "gate.too-many", "too many calls or tokens at once", "wait")
PAUSED = Denied("gate", "gate.paused", "the session has filled its share of the log", "start another one")
SAID_NO = Denied("approval", "approval.denied", "a person said no", "do without this call, or ask the person why")
EXPIRED = Denied("approval", "approval.expired", "nobody answered in time", "do without this call, or try again")
TOOL_GONE = Denied("tool", "tool.gone", "the tool stopped while it looked at the call", "propose the call again")
NOBODY = Principal(key=b"\0" * 32, session=NO_SESSION, workspace=b"", toolboxes=(), limits=Limits(0, 0, 0), asks=False)
"""Whoever is no principal: together they have the share of one session."""


class Denials:
    """Denials on their way to the log, and what is said when they are there."""

    __slots__ = ("_facts", "_held", "_on_way", "_salts")

    def __init__(self, facts: Facts, salts: Salts) -> None:
        self._facts = facts
        self._salts = salts
        self._held: dict[int, tuple[bytes, Send | None]] = {}  # by ref: whose record it is, and what follows it
        self._on_way: dict[bytes, int] = {}

    def hold(self, ref: int, session: bytes, words: Send | None) -> None:
        """A record of ``session`` is on its way that ends ``ref``; ``words`` follow it."""
        self._held[ref] = (session, words)
        self._on_way[session] = self._on_way.get(session, 0) + 1

    def crowded(self, session: bytes) -> bool:
        """Whether as many records of ``session`` are on their way as may be."""
        return self._on_way.get(session, 0) >= MAX_ON_WAY

    def durable(self, ref: int) -> list[Effect]:
        """The record of ``ref`` is durable: what was held back until then."""
        session, words = self._held.pop(ref, (None, None))
        if session is not None:
            self._on_way[session] -= 1
            if not self._on_way[session]:
                del self._on_way[session]
        return [] if words is None else [words]

    def deny(
        self,
        ref: int,
        principal: Principal,
        tool: Tool | None,
        denied: Denied,
        words: Send | None = None,
        *,
        args: bytes = b"",
    ) -> list[Effect]:
        """Record the denial; ``words`` follow when that is durable.  A flood is counted and answered at once."""
        quota, session = self._facts.quota, principal.session
        if quota.spent(session) or self.crowded(session):
            return [*map(Record, quota.count(session, denied.code)), *([] if words is None else [words])]
        made = records.refused(principal, ref, tool, denied, args, self._salts.take())
        quota.wrote(session, records.size_of(made), denial=True)
        self.hold(ref, session, words)
        return [Record(made)]

    def forged(self, session: bytes, codes: tuple[str, ...]) -> list[Effect]:
        """Tokens were presented that do not verify: counted by code, and paid for as denials are, since each takes
        longer to look at than all that is right.
        """
        quota = self._facts.quota
        for _ in codes:
            quota.wrote(session, FORGED_BYTES, denial=True)
        return [Record(made) for code in codes for made in quota.count(session, code)]


def refusal(to: int, proposal: Propose, why: Denied) -> Send:
    """What ends ``proposal`` where it is denied."""
    refused = Refused(proposal=proposal.proposal, layer=why.layer, code=why.code, reason=why.reason, advice=why.advice)
    return Send(to, refused, answers=True)
