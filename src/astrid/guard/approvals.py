"""Approvals: the shell of ``core.approval``.  Questions are durable before anybody sees them, and an answer before
it counts.

Never: decides, signs, or makes the text that a person signs.

Source: architecture 5; protocol N5, N6; threats 17, 39.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from astrid.core.approval import Approvals as Machine
from astrid.core.approval import Effect, Joined, Notify, Record, Refuse, Resolve
from astrid.core.approval_messages import answered, puts
from astrid.core.clock import ClockWatch
from astrid.core.gate_messages import Ask, Leave
from astrid.errors import InputError, InternalError
from astrid.guard.door import AUDIT, GATEWAY, INTERCEPTOR, is_ours, strayed
from astrid.kernel import Actor, Posted, Ref, Sender
from astrid.messages.approvals import Attend, ListOpen, OpenQuestion, QuestionEnded, Respond, SessionOver
from astrid.messages.gate import Done, Failed
from astrid.messages.log import Append, Recorded, Tick
from astrid.ports import Clock, Entropy

TICK_SECONDS = 5.0
_NS = 10**9


class Approvals(Actor):
    """See the module.  ``open_questions`` rebuilds the machine from the log; ``log_ns`` is the time of the last
    record that the gate knows to be durable; ``interceptor`` and ``gateway`` start later than this and are ``None``
    until then.
    """

    def __init__(
        self,
        open_questions: Callable[[], Machine],
        *,
        log_ns: Callable[[], int],
        audit: Ref,
        interceptor: Callable[[], Ref | None],
        gateway: Callable[[], Ref | None],
        clock: Clock,
        entropy: Entropy,
        made: Callable[[Ref], None],
    ) -> None:
        self._made = made
        self._open_questions = open_questions
        self._log_ns = log_ns
        self._audit = audit
        self._interceptor = interceptor
        self._gateway = gateway
        self._clock = clock
        self._entropy = entropy
        self._attended: set[bytes] = set()
        self._next_append = 1
        self._recording: dict[int, bytes] = {}
        self._responding: dict[bytes, tuple[Sender, int]] = {}
        self._for_gate: deque[object] = deque()
        self._for_gateway: deque[object] = deque()

    async def started(self) -> None:
        """Rebuild the open questions from the log."""
        self._made(self.ctx.ref)
        # SAFETY: as in the interceptor: what is on its way to the log when this breaks would be missing from what is
        # read there now, so the log's writer begins again too.
        self.ctx.link(self._audit)
        self._machine = self._open_questions()
        self._last_ns = self._log_ns()
        self._watch = ClockWatch(self._clock.now_ns(), self._clock.running_ns(), last_ns=self._last_ns)
        self.ctx.start_timer(TICK_SECONDS, Tick())

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        match message:
            case Ask() if sender.path == INTERCEPTOR:
                self._ask(message)
            case Leave() if sender.path == INTERCEPTOR:
                self._machine.leave(message.ref)
            case Recorded() if sender.path == AUDIT:
                qid = self._recording.pop(message.id)
                self._last_ns = max(self._last_ns, message.records[-1].time_ns)
                self._perform(self._machine.recorded(qid), seq=message.records[-1].seq)
            case Respond() if sender.path == GATEWAY:
                self._respond(message, sender)
            case Attend() if sender.path == GATEWAY:
                (self._attended.add if message.present else self._attended.discard)(message.session)
            case SessionOver() if sender.path == GATEWAY:
                self._attended.discard(message.session)
                self._machine.forget(message.session)
            case ListOpen():
                # Not those that are being put or settled: nobody may see one whose record is not durable.
                waiting = self._machine.waiting()
                return tuple(OpenQuestion(qid=qid, session=one.session, question=one.raw) for qid, one in waiting)
            case Tick() if sender.id == self.ctx.ref.id:
                self.ctx.start_timer(TICK_SECONDS, Tick())
                self._expire()
                self._resend()
            case _ if is_ours(message, sender):
                raise InternalError(
                    "approvals.message", f"`{type(message).__name__}` is not taken from `{sender.path}`"
                )
            case _:  # of somebody who is not trusted: the gate has it recorded
                gate = self._interceptor()
                if gate is not None:
                    self.ctx.post(gate, strayed(message, sender))
        return None

    def _ask(self, message: Ask) -> None:
        effects: list[Effect]
        try:
            effects = self._machine.put(message.ref, message.question, self._salt())
        except InputError as error:
            # A question that does not hold together is a bug of whoever made it; it costs this call, and only this.
            effects = [Refuse(message.ref, error.code, error.message)]
        self._perform(effects)

    def _respond(self, message: Respond, sender: Sender) -> None:
        try:
            effects = self._machine.answer(message.answer, now_s=self._now_s(), salt=self._salt())
        except InputError as error:
            told = Failed(id=message.id, code=error.code, reason=error.message, advice=error.advice)
            self.ctx.answer(sender, message.id, told)
            return
        self._responding.update((effect.qid, (sender, message.id)) for effect in effects if isinstance(effect, Record))
        self._perform(effects)

    def _expire(self) -> None:
        now_s = self._now_s()
        if not self._watch.jumped_ahead:  # a clock that is wrong ends no question
            self._perform(self._machine.expire(now_s=now_s, salt=self._salt()))

    def _now_s(self) -> int:
        now_ns = self._clock.now_ns()
        self._watch.observe(now_ns, self._clock.running_ns())
        # SAFETY: as in the gate: a clock that is set back must not let live again what is over.
        self._last_ns = max(self._last_ns, self._log_ns())
        return max(now_ns, self._last_ns) // _NS

    def _perform(self, effects: list[Effect], *, seq: int = 0) -> None:
        for effect in effects:
            match effect:
                case Record():
                    self._record(effect)
                case Refuse() | Joined():
                    self._put(effect)
                case Notify():
                    self._put(effect)
                    session = self._machine.open[effect.qid].session
                    self._for_gateway.append(OpenQuestion(qid=effect.qid, session=session, question=effect.raw))
                    self._resend()
                case Resolve():
                    self._resolve(effect, seq)

    def _record(self, effect: Record) -> None:
        number = self._next_append
        self._next_append += 1
        self._recording[number] = effect.qid
        append = Append(id=number, entries=(effect.entry,))
        if self.ctx.post(self._audit, append, number) is not Posted.ACCEPTED:
            raise InternalError("approvals.log-full", "the log did not take a question")

    def _resolve(self, effect: Resolve, seq: int) -> None:
        verdict = "expired" if effect.verdict is None else effect.verdict.name.lower()
        ended = QuestionEnded(qid=effect.qid, session=effect.session, verdict=verdict, token=effect.token, seq=seq)
        self._for_gate.append(answered(effect))
        self._for_gateway.append(ended)
        self._resend()
        responder = self._responding.pop(effect.qid, None)
        if responder is not None:
            self.ctx.answer(responder[0], responder[1], Done(id=responder[1], seq=seq))

    def _resend(self) -> None:
        """Tell gate and gateway, in order; what one has no room for now it is told at the next tick."""
        for find, unsent in ((self._interceptor, self._for_gate), (self._gateway, self._for_gateway)):
            to = find()
            while to is not None and unsent and self.ctx.post(to, unsent[0]) is Posted.ACCEPTED:
                unsent.popleft()

    def _put(self, effect: Refuse | Joined | Notify) -> None:
        attended = not isinstance(effect, Refuse) and self._machine.open[effect.qid].session in self._attended
        gate = self._interceptor()
        if gate is not None:
            for told in puts(effect, attended=attended):
                self.ctx.answer(gate, ("put", told.ref), told)

    def _salt(self) -> bytes:
        return self._entropy.random_bytes(32)
