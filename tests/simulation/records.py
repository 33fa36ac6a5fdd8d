"""What must hold of a log, computed from its records alone, one by one as they become durable.

A naive model of its own: it knows what was permitted, spent, asked, answered, revoked, and nothing of the gate.

Source: architecture 5 (the table of crashes), 10 (I1 to I7); protocol N3, N4, N9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from blake3 import blake3

from astrid.core.call import Call, decode_call
from astrid.core.chain import decode_body, decode_frame
from astrid.core.records import Kind
from tests.simulation.authority import Authority, Moment

_NOBODY = bytes(32)
Wrong = Callable[[str, str], None]


class Permitted(msgspec.Struct):
    """A permit, and what became of it.  ``raw`` are the bytes of its call, but for a model call."""

    seq: int
    session: bytes
    body: Any
    raw: bytes
    sent: bool = False
    ran: bool = False
    ended: bool = False


class Records:
    """The log as it was read so far.  ``wrong`` is told of whatever should not be."""

    def __init__(self, install: bytes, authority: Authority, workspace_cap: int, wrong: Wrong) -> None:
        self.authority = authority
        self.workspace_cap = workspace_cap
        self.caps: dict[bytes, tuple[int, int]] = {}  # of each session: for one action, and for all together
        self.keys: dict[bytes, bytes] = {}  # of principals, to their session
        self.proposed: set[tuple[bytes, str, bytes]] = set()  # principal, tool and arguments
        self.answers: dict[bytes, bool] = {}  # what people gave, and whether it may count
        self.permits: dict[int, Permitted] = {}  # by seq
        self.by_ref: dict[int, Permitted] = {}
        self.ends: dict[int, str] = {}  # of every proposal that ended
        self.questions: dict[bytes, Any] = {}  # the open ones
        self.closed: set[bytes] = set()
        self.lived: set[bytes] = set()  # sessions of which a proposal was decided
        self.started: set[bytes] = set()
        self.moment = Moment(install, set(), set())
        self.rows: Counter[bytes] = Counter()  # of each session's journal
        self.spent: Counter[bytes] = Counter()
        self.reserved: Counter[bytes] = Counter()
        self.used: Counter[bytes] = Counter()
        self.overdrawn: set[bytes] = set()
        self.size = self.boot = self.time_ns = 0
        self._wrong = wrong
        self._tip = _digest("genesis", install)
        self._unsettled: set[int] = set()  # permits of an earlier start

    def read(self, data: bytes, beside: Callable[[int], tuple[bytes, bytes] | None]) -> Kind:
        """The next record.  ``beside`` gives salt and bytes of a slot beside it."""
        frame = decode_frame(data)
        self.size += 1
        if (frame.prev, frame.seq) != (self._tip, self.size):
            self._wrong("I4", f"record {self.size} does not follow the one before it")
        if frame.time_ns < self.time_ns:
            self._wrong("I4", f"record {self.size} is older than the one before it")
        self._tip, self.time_ns, self.boot = _digest("audit", data), frame.time_ns, frame.boot
        body: Any = decode_body(frame)
        match Kind(frame.kind):
            case Kind.BOOT:
                self._unsettled = {one.seq for one in self.permits.values() if not one.ended}
            case Kind.SESSION_STARTED | Kind.SUBAGENT_STARTED:
                self.started.add(frame.session)
            case Kind.PERMIT:
                self._permit(frame.seq, frame.session, body, beside(0))
            case Kind.OUTCOME | Kind.OUTCOME_VOUCHED:
                self._outcome(frame.session, body)
            case Kind.DENIED:
                self._ended(body.ref, "denied")
                self.lived.add(frame.session)
            case Kind.DEFERRED:
                self._ended(body.ref, "deferred")
            case Kind.ASKED:
                self.lived.add(frame.session)
                if body.qid in self.questions or body.qid in self.closed:
                    self._wrong("I5", "a question was put twice")
                self.questions[body.qid] = body
            case Kind.SETTLED:
                self._settled(frame.time_ns, body, beside(0))
            case Kind.JOURNAL:
                self._rows(frame.session, body)
            case Kind.REVOKED:
                self.moment.revoked.add(body.target)
            case Kind.GRANTED:
                token = beside(0)
                if token is None or self.authority.learn(token[1]) != body.block:
                    self._wrong("I6", "a token was granted that nobody signed")
            case _:
                pass
        return Kind(frame.kind)

    def open_permits(self) -> list[Permitted]:
        """Permits without an outcome."""
        return [one for one in self.permits.values() if not one.ended]

    # --- permits and outcomes

    def _permit(self, seq: int, session: bytes, body: Any, beside: tuple[bytes, bytes] | None) -> None:
        self.lived.add(session)
        if body.ref in self.ends or body.ref in self.by_ref:
            self._wrong("I5", f"call {body.ref} is permitted and has ended or was permitted before")
        if self._unsettled:
            self._wrong("I5", "a permit was given before what the last run left open was settled")
        call: Call | None = None
        raw = b""
        if body.host_kind != "model":
            if beside is None or not _holds(body.bytes_, *beside):
                self._wrong("I1", f"the permit {seq} does not name the bytes beside it")
                return
            raw = beside[1]
            call = decode_call(raw)
            said = (call.session, call.principal_key, call.workspace, call.tool, call.tooldef, call.max_micros)
            if said != (session, body.principal, body.workspace, body.tool, body.tooldef, body.micros):
                self._wrong("I1", f"the permit {seq} says something else than the call that it names")
            if (call.principal_key, call.tool, call.args) not in self.proposed:
                self._wrong("I1", f"the permit {seq} is for a call that its principal did not propose")
            if call.tainted != body.tainted:
                self._wrong("I6", f"the permit {seq} hides that untrusted text was in view")
        if self.keys.get(body.principal) != session:
            self._wrong("I7", f"the permit {seq} is for a principal that is none of its session")
        for objection in self.authority.objections(body, session, call, self.moment):
            self._wrong("I7", f"the permit {seq} for `{body.tool}`: {objection}")
        self._charge(seq, session, body)
        self.permits[seq] = self.by_ref[body.ref] = Permitted(seq, session, body, raw)

    def _purses(self, session: bytes, body: Any) -> dict[bytes, int]:
        """Every purse that a permit draws on, with its limit."""
        known = self.authority.blocks
        purses = {row.block: known[row.block].purse for row in body.charges if row.block in known}
        purses[b"session" + session] = self.caps.get(session, (0, 0))[1]
        purses[b"workspace" + body.workspace] = self.workspace_cap
        return purses

    def _charge(self, seq: int, session: bytes, body: Any) -> None:
        if body.micros > self.caps.get(session, (0, 0))[0]:
            self._wrong("I3", f"the permit {seq} is for more than one action may cost")
        for purse, limit in self._purses(session, body).items():
            if self.spent[purse] > limit or self.spent[purse] + self.reserved[purse] + body.micros > limit:
                self._wrong("I3", f"the permit {seq} breaks a cap of {limit} micro-dollars")
            self.reserved[purse] += body.micros
        for row in body.charges:
            block = self.authority.blocks.get(row.block)
            self.used[row.block] += 1
            if block is not None and self.used[row.block] > block.uses:
                self._wrong("I3", f"the permit {seq} uses a block once too often")

    def _outcome(self, session: bytes, body: Any) -> None:
        permitted = self.permits.get(body.permit_seq)
        if permitted is None or permitted.body.ref != body.ref or permitted.ended:
            self._wrong("I5", f"call {body.ref} ends without a permit, or twice")
            return
        permitted.ended = True
        self._ended(body.ref, "outcome")
        permit = permitted.body
        if body.permit_seq in self._unsettled:
            self._unsettled.discard(body.permit_seq)
            if (body.unknown, body.effect, body.spent) != (True, "maybe", permit.micros):
                self._wrong("I5", f"call {body.ref} of an earlier run is not settled as unknown, in full")
        if body.unknown and body.spent != permit.micros:
            self._wrong("I3", f"call {body.ref} is unknown and not settled in full")
        billed = permit.host_kind == "model" and body.effect == "done"
        if body.effect != "none" and not billed and body.spent < permit.micros:
            self._wrong("I3", f"call {body.ref} got money back although something may have happened")
        overdrawn = False
        for purse, limit in self._purses(session, permit).items():
            self.reserved[purse] -= permit.micros
            self.spent[purse] += body.spent
            overdrawn = overdrawn or self.spent[purse] > limit
        if not body.unknown and body.sound is overdrawn:
            self._wrong("I3", f"call {body.ref} does not say whether a purse was overdrawn")

    def _ended(self, ref: int, how: str) -> None:
        if ref in self.ends or (how != "outcome" and ref in self.by_ref):
            self._wrong("I5", f"call {ref} ends twice: {self.ends.get(ref, 'permitted')} and {how}")
        self.ends[ref] = how

    def _rows(self, session: bytes, body: Any) -> None:
        if body.first != self.rows[session] + 1:
            self._wrong("I4", f"a journal goes on at row {body.first} after {self.rows[session]}")
        self.rows[session] += body.count

    # --- questions

    def _settled(self, time_ns: int, body: Any, beside: tuple[bytes, bytes] | None) -> None:
        question = self.questions.pop(body.qid, None)
        if question is None:
            self._wrong("I5", "a question was settled that is not open")
            return
        self.closed.add(body.qid)
        answer = b"" if beside is None else beside[1]
        if body.signer == _NOBODY:
            if time_ns < question.expires_s * 10**9 or any(body.block) or answer:
                self._wrong("I5", "a question ended by itself before its time")
            return
        if not self.answers.get(answer, False):
            self._wrong("I6", "an answer was taken that no person gave for this question")
        if time_ns > (question.expires_s + 1) * 10**9:
            self._wrong("I6", "an answer was taken after its question had expired")
        if any(body.block):
            self.moment.settled.add(body.block)
        elif body.decision:
            self._wrong("I6", "a yes made no token")


def _holds(sealed: Any, salt: bytes, data: bytes) -> bool:
    return sealed.length == len(data) and sealed.commitment == blake3(data, key=salt).digest()


def _digest(domain: str, data: bytes) -> bytes:
    return blake3(data, derive_key_context=f"astrid {domain} v1").digest()
