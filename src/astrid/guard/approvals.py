"""Approvals: the shell of ``core.approval``.  Questions are durable before anybody sees them, and an answer before
it counts.

Never: decides, signs, or makes the text that a person signs.

Source: architecture 5; protocol N5, N6; threats 17, 39.
"""

from __future__ import annotations

from collections.abc import Callable

from astrid.core.approval import Approvals as Machine
from astrid.core.approval import Effect, Joined, Notify, Record, Refuse, Resolve, Verdict
from astrid.core.gate_messages import Answered, Ask, Leave, Put
from astrid.errors import AstridError, InternalError
from astrid.kernel import Actor, Posted, Ref, Sender
from astrid.messages.approvals import Attend, ListOpen, OpenQuestion, QuestionEnded, Respond
from astrid.messages.gate import Done, Failed
from astrid.messages.log import Append, Recorded, Tick
from astrid.ports import Clock, Entropy

TICK_SECONDS = 5.0
AUDIT = "root/audit"
INTERCEPTOR = "root/interceptor"
GATEWAY = "root/gateway"
_NS = 10**9


class Approvals(Actor):
    """See the module.  ``open_questions`` rebuilds the machine from the log."""

    def __init__(
        self,
        open_questions: Callable[[], Machine],
        *,
        audit: Ref,
        interceptor: Callable[[], Ref],
        gateway: Callable[[], Ref],
        clock: Clock,
        entropy: Entropy,
        made: Callable[[Ref], None],
    ) -> None:
        self._made = made
        self._open_questions = open_questions
        self._audit = audit
        self._interceptor = interceptor
        self._gateway = gateway
        self._clock = clock
        self._entropy = entropy
        self._attended: set[bytes] = set()
        self._next_append = 1
        self._recording: dict[int, bytes] = {}
        self._responding: dict[bytes, tuple[Sender, int]] = {}
        self._unsent: list[Answered] = []

    async def started(self) -> None:
        """Rebuild the open questions from the log."""
        self._made(self.ctx.ref)
        self._machine = self._open_questions()
        self.ctx.start_timer(TICK_SECONDS, Tick())

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        now_s = self._clock.now_ns() // _NS
        match message:
            case Ask() if sender.path == INTERCEPTOR:
                self._perform(self._machine.put(message.ref, message.question, self._salt()), sender)
            case Leave() if sender.path == INTERCEPTOR:
                self._machine.leave(message.ref)
            case Recorded() if sender.path == AUDIT:
                qid = self._recording.pop(message.id)
                self._perform(self._machine.recorded(qid), None, seq=message.records[-1].seq)
            case Respond() if sender.path == GATEWAY:
                self._respond(message, sender, now_s)
            case Attend() if sender.path == GATEWAY:
                (self._attended.add if message.present else self._attended.discard)(message.session)
            case ListOpen():
                # Not those that are being put or settled: nobody may see one whose record is not durable.
                waiting = self._machine.waiting()
                return tuple(OpenQuestion(qid=qid, session=one.session, question=one.raw) for qid, one in waiting)
            case Tick():
                self.ctx.start_timer(TICK_SECONDS, Tick())
                self._perform(self._machine.expire(now_s=now_s, salt=self._salt()), None)
                self._resend()
            case _:
                raise InternalError(
                    "approvals.message", f"`{type(message).__name__}` is not taken from `{sender.path}`"
                )
        return None

    def _respond(self, message: Respond, sender: Sender, now_s: int) -> None:
        try:
            effects = self._machine.answer(message.answer, now_s=now_s, salt=self._salt())
        except AstridError as error:
            told = Failed(id=message.id, code=error.code, reason=error.message, advice=error.advice)
            self.ctx.answer(sender, message.id, told)
            return
        self._responding.update((effect.qid, (sender, message.id)) for effect in effects if isinstance(effect, Record))
        self._perform(effects, None)

    def _perform(self, effects: list[Effect], asker: Sender | None, *, seq: int = 0) -> None:
        for effect in effects:
            match effect:
                case Record():
                    number = self._next_append
                    self._next_append += 1
                    self._recording[number] = effect.qid
                    if (
                        self.ctx.post(self._audit, Append(id=number, entries=(effect.entry,)), number)
                        is not Posted.ACCEPTED
                    ):
                        raise InternalError("approvals.log-full", "the log did not take a question")
                case Refuse():
                    self._put(Put(ref=effect.ref, qid=b"", code=effect.code, reason=effect.reason, attended=False))
                case Joined():
                    self._put(
                        Put(ref=effect.ref, qid=effect.qid, code="", reason="", attended=self._attends(effect.qid))
                    )
                case Notify():
                    attended = self._attends(effect.qid)
                    for ref in effect.refs:
                        self._put(Put(ref=ref, qid=effect.qid, code="", reason="", attended=attended))
                    session = self._machine.open[effect.qid].session
                    self.ctx.post(self._gateway(), OpenQuestion(qid=effect.qid, session=session, question=effect.raw))
                case Resolve():
                    self._resolve(effect, seq)

    def _resolve(self, effect: Resolve, seq: int) -> None:
        self._unsent.append(
            Answered(
                qid=effect.qid,
                question=effect.question,
                block=effect.block,
                session=effect.session,
                refs=effect.refs,
                said_no=effect.verdict is Verdict.DENY,
                token=effect.token,
            )
        )
        self._resend()
        verdict = "expired" if effect.verdict is None else effect.verdict.name.lower()
        self.ctx.post(
            self._gateway(),
            QuestionEnded(qid=effect.qid, session=effect.session, verdict=verdict, token=effect.token, seq=seq),
        )
        responder = self._responding.pop(effect.qid, None)
        if responder is not None:
            self.ctx.answer(responder[0], responder[1], Done(id=responder[1], seq=seq))

    def _resend(self) -> None:
        """Tell the gate, in order; what it has no room for now is told at the next tick."""
        while self._unsent and self.ctx.post(self._interceptor(), self._unsent[0]) is Posted.ACCEPTED:
            self._unsent.pop(0)

    def _put(self, message: Put) -> None:
        self.ctx.answer(self._interceptor(), ("put", message.ref), message)

    def _attends(self, qid: bytes) -> bool:
        waiting = self._machine.open.get(qid)
        return waiting is not None and waiting.session in self._attended

    def _salt(self) -> bytes:
        return self._entropy.random_bytes(32)
