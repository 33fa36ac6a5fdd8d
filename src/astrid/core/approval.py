"""Questions to people, as a machine: put, joined, answered once, expired.  Pure.

    put ──► PUTTING ──recorded──► OPEN ──answer, expire──► SETTLING ──recorded──► gone

A question is durable before anybody is asked, and its end before it has an effect: a token exists only once the
settling record is durable, and a later answer finds the question gone, whatever it says.

Invariants:
  At most 3 open questions a session; none is evicted; an equal open question is joined.
  After 2 denials of one tool in one session, that session no longer asks for it.
  An answer is accepted only over the question's own bytes, by a key of this install, for the choice it was offered.
  Every proposal that was put or joined ends with its question, unless it left before.

Source: protocol N5, N6; architecture 5, 6; threats 6, 16, 17, 25, 39.
"""

from __future__ import annotations

import enum

import msgspec

from astrid.core.answers import MAX_ANSWER_BYTES, Answer, SignedAnswer, Verdict, decode_answer, verify_answer
from astrid.core.approval_messages import Effect, Joined, Notify, Record, Refuse, Resolve
from astrid.core.call import call_digest
from astrid.core.question import Question, decode_question, fits_a_block
from astrid.core.records import AskedRecord, Entry, SettledRecord, entry, seal
from astrid.core.tokens import Roots
from astrid.errors import TokenError

__all__ = [
    "MAX_ANSWER_BYTES",
    "MAX_ASKED_BYTES",
    "MAX_DENIALS",
    "MAX_OPEN",
    "MAX_OPEN_PER_SESSION",
    "NOBODY",
    "Answer",
    "Approvals",
    "Effect",
    "Joined",
    "Notify",
    "Open",
    "Record",
    "Refuse",
    "Resolve",
    "SignedAnswer",
    "Stage",
    "Verdict",
    "verify_answer",
]

MAX_OPEN_PER_SESSION = 3
MAX_OPEN = 1000
MAX_DENIALS = 2
MAX_ASKED_BYTES = 256 * 1024  # nobody reads more before saying yes
NOBODY = b"\0" * 32


class Stage(enum.Enum):
    """Where a question stands."""

    PUTTING = "putting"  # its record is on the way; nobody knows of it
    OPEN = "open"
    SETTLING = "settling"  # the record of its end is on the way


class Open(msgspec.Struct, frozen=True):
    """A question that waits.  ``refs`` are the proposals that wait with it."""

    raw: bytes
    call: bytes
    session: bytes
    tool: str
    expires_s: int
    refs: tuple[int, ...]
    stage: Stage


class Approvals:
    """The machine.  Owned by one shell, which performs the effects in order.

    ``open`` holds every question by id, also those that nobody may see yet or any more (``waiting`` has the others).
    ``roots`` is replaced by the owner when a key of the install is enrolled or revoked.
    """

    __slots__ = ("_denials", "_ends", "keeper", "open", "roots")

    def __init__(self, *, roots: Roots, keeper: bytes) -> None:
        self.roots = roots
        self.keeper = keeper
        self.open: dict[bytes, Open] = {}
        self._denials: dict[tuple[bytes, str], int] = {}
        self._ends: dict[bytes, Resolve] = {}

    def waiting(self) -> list[tuple[bytes, Open]]:
        """The questions that may be shown and answered, with their ids, oldest first."""
        return [(qid, one) for qid, one in self.open.items() if one.stage is Stage.OPEN]

    def put(self, ref: int, raw: bytes, salt: bytes) -> list[Effect]:
        """A proposal needs a person: put its question, or say why not.

        Raises:
            CanonError, TokenError: the question does not hold together; a bug of whoever made it.
        """
        if len(raw) > MAX_ASKED_BYTES:
            return [Refuse(ref, "approval.unreadable", "the call is too long for a person to read")]
        question, call = decode_question(raw)
        wanted = call_digest(question.call)
        for qid, one in self.open.items():
            if one.call == wanted and one.stage is not Stage.SETTLING:  # the session is part of the call
                self.open[qid] = msgspec.structs.replace(one, refs=(*one.refs, ref))
                # While the question is being put, the notice that follows its record names this proposal too.
                return [Joined(ref, qid)] if one.stage is Stage.OPEN else []
        refusal = self._refusal(question, call.session, call.tool)
        if refusal is not None:
            return [Refuse(ref, *refusal)]
        self.open[question.qid] = _open(raw, (ref,), Stage.PUTTING)
        sealed, payload = seal(raw, salt)
        body = AskedRecord(ref, question.qid, call.tool, question.risk, question.expires, sealed)
        return [Record(question.qid, entry(body, session=call.session, payloads=(payload,)))]

    def restore(self, raw: bytes, *, now_s: int) -> bool:
        """A question that the log shows as open, after a restart.  Whether it may still be answered; if its time is
        over, ``expire`` ends it, so that the log says how it ended.

        Raises:
            CanonError, TokenError: not a question.
        """
        question, _ = decode_question(raw)
        self.open[question.qid] = _open(raw, (), Stage.OPEN)
        return now_s < question.expires

    def denied(self, session: bytes, tool: str) -> None:
        """A person said no to ``tool`` in ``session``; also called for each denial in the log, after a restart."""
        key = (session, tool)
        self._denials[key] = self._denials.get(key, 0) + 1

    def forget(self, session: bytes) -> None:
        """The session is over: it asks no more.  What it asked stays open, for whoever may answer it."""
        for key in [key for key in self._denials if key[0] == session]:
            del self._denials[key]

    def answer(self, raw: bytes, *, now_s: int, salt: bytes) -> list[Effect]:
        """Somebody answered.

        Raises:
            TokenError: the answer is not accepted; nothing changed.
        """
        signed, answer = decode_answer(raw)
        one = self.open.get(answer.qid)
        if one is None or one.stage is not Stage.OPEN:
            raise TokenError(
                "approval.settled", "the question is not open (any more)", advice="see `astrid approvals list`"
            )
        if not now_s < one.expires_s:
            raise TokenError(
                "approval.expired", "the question has expired", advice="run the task again to be asked anew"
            )
        token = verify_answer(signed, answer, one.raw, self.roots, self.keeper, now_s=now_s)
        verdict = Verdict(answer.decision)
        block = token.id if token is not None else NOBODY
        sealed, payload = seal(raw, salt)
        body = SettledRecord(answer.qid, verdict, block, answer.signer, answer.assurance, verdict.name.lower(), sealed)
        made = entry(body, session=one.session, payloads=(payload,), checkpoint=True)
        if verdict is Verdict.DENY:
            self.denied(one.session, one.tool)
        return self._settle(answer.qid, one, made, verdict, signed.token, block)

    def expire(self, *, now_s: int, salt: bytes) -> list[Effect]:
        """End every open question whose time is over."""
        effects: list[Effect] = []
        for qid, one in self.waiting():
            if one.expires_s <= now_s:
                sealed, payload = seal(b"", salt)
                body = SettledRecord(qid, Verdict.DENY, NOBODY, NOBODY, 0, "expired", sealed)
                made = entry(body, session=one.session, payloads=(payload,), checkpoint=True)
                effects += self._settle(qid, one, made, None, b"", NOBODY)
        return effects

    def leave(self, ref: int) -> None:
        """The proposal ``ref`` waits no longer (it was cancelled or deferred); the question stays open."""
        for qid, one in self.open.items():
            if ref in one.refs:
                kept = tuple(other for other in one.refs if other != ref)
                self.open[qid] = msgspec.structs.replace(one, refs=kept)

    def recorded(self, qid: bytes) -> list[Effect]:
        """The record of question ``qid`` (put or settled) is durable."""
        one = self.open[qid]
        if one.stage is Stage.PUTTING:
            self.open[qid] = msgspec.structs.replace(one, stage=Stage.OPEN)
            return [Notify(qid, one.raw, one.refs)]
        end = self._ends.pop(qid)
        del self.open[qid]
        return [msgspec.structs.replace(end, refs=one.refs)]  # without those that left meanwhile

    def _settle(
        self, qid: bytes, one: Open, made: Entry, verdict: Verdict | None, token: bytes, block: bytes
    ) -> list[Effect]:
        self.open[qid] = msgspec.structs.replace(one, stage=Stage.SETTLING)
        self._ends[qid] = Resolve(qid, one.session, one.refs, verdict, token, block)
        return [Record(qid, made)]

    def _refusal(self, question: Question, session: bytes, tool: str) -> tuple[str, str] | None:
        if self._denials.get((session, tool), 0) >= MAX_DENIALS:
            return "approval.said-no", "a person said no to this tool twice in this session"
        if sum(one.session == session for one in self.open.values()) >= MAX_OPEN_PER_SESSION:
            return "approval.too-many", "too many questions of this session are open already"
        if len(self.open) >= MAX_OPEN:
            return "approval.too-many", "too many questions are open already"
        if not fits_a_block(question):
            return "approval.too-wide", "the call touches more than one approval can name"
        if question.qid in self.open:
            return "approval.same-id", "another question has this id"
        return None


def _open(raw: bytes, refs: tuple[int, ...], stage: Stage) -> Open:
    question, call = decode_question(raw)
    return Open(
        raw,
        call_digest(question.call),
        call.session,
        call.tool,
        question.expires,
        refs,
        stage,
    )
