"""A session: the shell of ``core.turn``.  It proposes, saves and says; it can do nothing else.

Its one way to effects is the interceptor; what it says to people goes to the gateway, and only when the log is
durable up to there.

Source: architecture 2, 5; threats 1, 9, 28, 36.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from astrid.core.conversation import Done as StreamDone
from astrid.core.conversation import Usage, decode_answer, decode_event, encode_request
from astrid.core.gate_messages import Approved, Cancel, Deferred, Minted, Outcome, Propose, Refused
from astrid.core.ids import QuestionId, SessionId, show_id
from astrid.core.labels import Integrity, Label
from astrid.core.records import JournalRow
from astrid.core.turn import step
from astrid.core.turn_answer import answer_parts
from astrid.core.turn_messages import (
    AnyTurnEffect,
    AnyTurnInput,
    CallDeferred,
    CallDenied,
    CallUnknown,
    Finished,
    ModelAnswered,
    ModelFailed,
    ModelProgressed,
    ProposeModel,
    ProposeTool,
    Save,
    Say,
    Setting,
    StreamText,
    ToolAnswered,
    UserInput,
    Withdraw,
    encode_row,
)
from astrid.core.turn_messages import Cancel as CancelTurn
from astrid.core.turn_messages import Refused as InputRefused
from astrid.core.turn_state import new_turn
from astrid.errors import AstridError, InternalError
from astrid.kernel import Actor, Message, Posted, Ref, Sender
from astrid.messages.gate import Done, Failed, Prompted, StreamedText
from astrid.messages.gate import Save as SaveRows
from astrid.messages.session import Equip, Hear, Report, ReportText, StopTurn
from astrid.ports import Clock, Wallet
from astrid.wire.events import (
    AnyEvent,
    Denied,
    ErrorRaised,
    FinalMessage,
    SessionSaved,
    ToolCallResult,
    ToolCallStart,
    TurnComplete,
    encode_event,
)
from astrid.wire.events import Deferred as DeferredEvent
from astrid.wire.events import Usage as UsageEvent

RANK = 40
MODEL_TOOL = "model"

# What a model is told of a refusal: constant, so that nothing can be asked out of it (threat 40).
_TO_MODEL = {
    "policy": "A rule of the administrator forbids it. Do not try to reach the same in another way.",
    "capability": "Nothing that the person signed covers it. Go on without it.",
    "budget": "It does not fit the budget. Go on with something cheaper, or stop.",
    "approval": "A person was asked and did not agree. Go on without it.",
    "workspace": "The file tools do not reach it. Work on files inside the workspace.",
    "command": "The command is not plain enough to be judged. Write it more simply, or put it into a script.",
    "input": "The arguments make no sense to the tool. Correct them, or go on without it.",
    "tool": "The tool is not available just now.",
    "audit": "Nothing can be recorded just now, so nothing runs.",
}
_TO_MODEL_OTHERWISE = "It was refused. Go on without it."


class Started(msgspec.Struct, frozen=True):
    """A proposal on its way: what to do when the answer is there."""

    message: Propose
    is_model: bool
    tool_use_id: str = ""


class Session(Actor):
    """See the module.  ``key`` is this incarnation's own; the gate knows it as this ref's."""

    def __init__(
        self,
        *,
        session: SessionId,
        key: bytes,
        setting: Setting,
        tokens: tuple[bytes, ...],
        purse_micros: int,
        interceptor: Ref,
        gateway: Callable[[], Ref],
        wallet: Wallet,
        clock: Clock,
        context_tokens: int,
    ) -> None:
        self._session = session
        self._key = key
        self._turn = new_turn(setting)
        self._tokens = list(tokens)
        self._purse_micros = purse_micros
        self._interceptor = interceptor
        self._gateway = gateway
        self._wallet = wallet
        self._clock = clock
        self._context_tokens = context_tokens
        self._started: dict[int, Started] = {}
        self._number = 0  # of saves and prompts; as ids they are negative, for proposals have the positive ones
        self._rows = 0
        self._turns = 0
        self._spent_micros = 0
        self._held: deque[tuple[int, AnyEvent]] = deque()  # events that wait for the save with this id
        self._last_save = 0
        self._durable_save = 0

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        match message:
            case Hear():
                self._hear(message)
            case StopTurn():
                self._step(CancelTurn())
            case Equip():
                self._tokens += message.tokens
            case Outcome():
                self._outcome(message)
            case Refused():
                self._refused(message)
            case Deferred():
                self._deferred(message)
            case Approved():
                self._approved(message)
            case Minted():
                self._keep(message.token)
            case StreamedText():
                if message.proposal in self._started:
                    self._step(ModelProgressed(ref=message.proposal, event=decode_event(message.chunk)))
            case Done():
                self._saved(-message.id)
            case Failed():
                raise InternalError(message.code, f"the session's journal cannot be kept: {message.reason}")
            case _:
                raise InternalError("session.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
        return None

    # --- people

    def _hear(self, message: Hear) -> None:
        self._turns += 1
        self._post(
            Prompted(id=-self._take_number(), turn=self._turns, integrity=message.integrity, text=message.text.encode())
        )
        self._step(UserInput(text=message.text, label=Label(Integrity(message.integrity))))

    def _say(self, event: AnyEvent) -> None:
        """Tell people, once everything up to here is durable."""
        if self._last_save <= self._durable_save:
            self._report(event)
        else:
            self._held.append((self._last_save, event))

    def _report(self, event: AnyEvent) -> None:
        self.ctx.post(self._gateway(), Report(session=self._session, event=encode_event(event)))

    def _saved(self, number: int) -> None:
        self._durable_save = max(self._durable_save, number)
        while self._held and self._held[0][0] <= self._durable_save:
            self._report(self._held.popleft()[1])

    # --- the machine

    def _step(self, message: AnyTurnInput) -> None:
        for effect in step(self._turn, message, self._clock.now_ns()):
            self._perform(effect)

    def _perform(self, effect: AnyTurnEffect) -> None:
        match effect:
            case Save():
                rows = tuple(
                    JournalRow(self._rows + place, encode_row(row)) for place, row in enumerate(effect.rows, 1)
                )
                self._rows += len(rows)
                self._last_save = self._take_number()
                self._post(SaveRows(id=-self._last_save, rows=rows))
            case ProposeModel():
                propose = self._proposal(
                    effect.ref, MODEL_TOOL, encode_request(effect.request), tainted=effect.label.tainted
                )
                self._propose(Started(propose, is_model=True))
            case ProposeTool():
                propose = self._proposal(effect.ref, effect.name, effect.arguments, tainted=effect.label.tainted)
                self._propose(Started(propose, is_model=False, tool_use_id=effect.tool_use_id))
                arguments = effect.arguments.decode()
                self._say(
                    ToolCallStart(session_id=self._id, seq=0, id=effect.tool_use_id, name=effect.name, args=arguments)
                )
            case Withdraw():
                self._started.pop(effect.ref, None)
                self.ctx.forget(effect.ref)
                self._post_plain(Cancel(proposal=effect.ref))
            case StreamText():
                self.ctx.post(self._gateway(), ReportText(session=self._session, text=effect.text))
            case Say():
                self._say(FinalMessage(session_id=self._id, seq=0, text=effect.text))
            case InputRefused():
                self._say(ErrorRaised(session_id=self._id, seq=0, code=effect.code, message="the input was not taken"))
            case Finished():
                self._finish(effect)

    def _finish(self, effect: Finished) -> None:
        if effect.reason == "failed":
            self._say(
                ErrorRaised(session_id=self._id, seq=0, code=effect.code or "session.failed", message="the turn failed")
            )
        self._say(SessionSaved(session_id=self._id, seq=0))
        self._say(
            TurnComplete(
                session_id=self._id, seq=0, turn=self._turns, stop_reason=effect.reason, code=effect.code or None
            )
        )

    # --- proposals

    def _proposal(self, ref: int, tool: str, args: bytes, *, tainted: bool) -> Propose:
        return Propose(proposal=ref, tool=tool, args=args, tokens=tuple(self._tokens), tainted=tainted)

    def _propose(self, started: Started) -> None:
        ref = started.message.proposal
        self._started[ref] = started
        if self.ctx.post(self._interceptor, started.message, ref) is not Posted.ACCEPTED:
            self._refused(
                Refused(proposal=ref, layer="gate", code="gate.busy", reason="the gate is busy", advice="try again")
            )

    def _outcome(self, message: Outcome) -> None:
        started = self._started.pop(message.proposal, None)
        if started is None:
            return
        if started.is_model:
            self._model_outcome(message)
            return
        if message.unknown:
            self._step(CallUnknown(ref=message.proposal))
            return
        text = message.content.decode("utf-8", "replace")
        self._say(
            ToolCallResult(session_id=self._id, seq=0, id=started.tool_use_id, result=text, is_error=message.is_error)
        )
        integrity = Integrity.TOOL if message.first_party else Integrity.UNTRUSTED
        label = Label(integrity, (message.permit_seq,))
        self._step(ToolAnswered(ref=message.proposal, content=message.content, is_error=message.is_error, label=label))

    def _model_outcome(self, message: Outcome) -> None:
        if message.is_error or message.unknown:
            code = message.content.partition(b":")[0].decode("ascii", "replace") or "model.unknown"
            self._step(ModelFailed(ref=message.proposal, code=code))
            return
        events = decode_answer(message.content)
        end = events[-1]
        if not isinstance(end, StreamDone):
            raise InternalError("session.answer", "a model's answer has no end")
        usage = next((event for event in events if isinstance(event, Usage)), None)
        if usage is not None:
            self._say(
                UsageEvent(
                    session_id=self._id,
                    seq=0,
                    context_tokens=usage.input_tokens,
                    max_context_tokens=self._context_tokens,
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                )
            )
        answered = ModelAnswered(
            ref=message.proposal, parts=answer_parts(events), stop_reason=end.stop_reason, usage=usage
        )
        self._step(answered)

    def _refused(self, message: Refused) -> None:
        started = self._started.pop(message.proposal, None)
        if started is None:
            return
        call = started.tool_use_id or f"model-{message.proposal}"
        self._say(
            Denied(
                session_id=self._id,
                seq=0,
                call_id=call,
                tool=started.message.tool,
                layer=message.layer,
                code=message.code,
                reason=message.reason,
                advice=message.advice,
            )
        )
        text = _TO_MODEL.get(message.layer, _TO_MODEL_OTHERWISE)
        self._step(CallDenied(ref=message.proposal, code=message.code, layer=message.layer, model_text=text))

    def _deferred(self, message: Deferred) -> None:
        started = self._started.pop(message.proposal, None)
        if started is None:
            return
        call = started.tool_use_id or f"model-{message.proposal}"
        question = show_id("question", message.qid)
        self._say(DeferredEvent(session_id=self._id, seq=0, call_id=call, question_id=question))
        self._step(CallDeferred(ref=message.proposal, question_id=QuestionId(message.qid)))

    def _approved(self, message: Approved) -> None:
        """A person said yes: the same bytes are proposed again, and decided again from the start."""
        started = self._started.pop(message.proposal, None)
        self._keep(message.token)
        if started is None:
            return
        again = msgspec.structs.replace(started.message, tokens=tuple(self._tokens))
        self._propose(msgspec.structs.replace(started, message=again))

    def _keep(self, token: bytes) -> None:
        try:
            mine = self._wallet.narrow(token, holder=self._key, session=self._session, purse_micros=self._purse_micros)
        except AstridError as error:
            self._say(
                ErrorRaised(session_id=self._id, seq=0, code=error.code, message=error.message, advice=error.advice)
            )
            return
        self._tokens.append(mine)

    # --- common

    @property
    def _id(self) -> str:
        return show_id("session", self._session)

    def _take_number(self) -> int:
        self._number += 1
        return self._number

    def _post(self, message: SaveRows | Prompted) -> None:
        if self.ctx.post(self._interceptor, message, message.id) is not Posted.ACCEPTED:
            raise InternalError("session.journal", "the session's journal cannot be kept: the gate is busy")

    def _post_plain(self, message: Message | Cancel) -> None:
        self.ctx.post(self._interceptor, message)
