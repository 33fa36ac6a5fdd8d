"""A session: the shell of ``core.turn``.  It proposes, saves and says; it can do nothing else.

Its one way to effects is the interceptor; what it says to people goes to the gateway, and only when the log is
durable up to there (``wire.telling``).

Source: architecture 2, 5; threats 1, 9, 28, 36, 40.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import msgspec

from astrid.core.conversation import decode_event, encode_request
from astrid.core.gate_messages import Approved, Booked, Cancel, Deferred, Minted, Outcome, Propose, Refused
from astrid.core.ids import QuestionId, SessionId
from astrid.core.labels import Integrity, Label
from astrid.core.records import JournalRow
from astrid.core.turn import context_label, resume, step
from astrid.core.turn_messages import (
    AnyTurnEffect,
    AnyTurnInput,
    CallDeferred,
    CallUnknown,
    Compacted,
    Finished,
    ModelProgressed,
    ProposeModel,
    ProposeTool,
    Restore,
    Rewind,
    Rewound,
    Save,
    Say,
    Setting,
    StreamText,
    ToolAnswered,
    UserInput,
    Verdict,
    Wait,
    Waited,
    Withdraw,
    encode_row,
)
from astrid.core.turn_messages import Cancel as CancelTurn
from astrid.core.turn_messages import Refused as InputRefused
from astrid.core.turn_retry import DIE_BYTES, model_tool
from astrid.core.turn_state import Turn, new_turn
from astrid.core.verdicts import model_answered, model_failed, refused
from astrid.errors import InputError, InternalError
from astrid.kernel import Actor, Lane, Message, Posted, Ref, Sender
from astrid.messages.gate import Done, Failed, Prompted, StreamedText
from astrid.messages.gate import Save as SaveRows
from astrid.messages.session import Concluded, GoOn, Hear, NotTaken, Report, ReportText, StopTurn, TurnBack
from astrid.ports import Clock, Entropy, Wallet
from astrid.wire.events import AnyEvent, encode_event
from astrid.wire.telling import Teller

RANK = 40
GATEWAY = "root/gateway"
RESEND_SECONDS = 0.1
MAX_ANSWERS = 32  # tokens out of answers that are presented; older ones make room, and are asked for anew


class Resend(Message, frozen=True, kw_only=True):
    """To itself: the gate had no room."""

    lane: ClassVar[Lane] = Lane.CONTROL


class WaitIsOver(Message, frozen=True, kw_only=True):
    """To itself: the model may be asked again."""

    lane: ClassVar[Lane] = Lane.CONTROL

    ref: int


class Started(msgspec.Struct, frozen=True):
    """A proposal on its way: what to do when the answer is there."""

    message: Propose
    is_model: bool
    tool_use_id: str = ""


class Past(msgspec.Struct, frozen=True):
    """Where a session that wakes goes on: its turn (restored from ``rows`` rows of its journal), the answers of people
    that are its own, and what is known of what its turn had proposed, should that have been cut off.
    """

    turn: Turn
    rows: int
    answers: tuple[bytes, ...]
    verdicts: tuple[Verdict, ...] = ()


class Session(Actor):
    """See the module.  The gate knows ``key`` as this ref's.  ``past`` is that of a session that wakes; one that
    ``concludes``, a sub-agent, tells the gateway what its turn came to.
    """

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
        entropy: Entropy,
        context_tokens: int,
        past: Past | None = None,
        concludes: bool = False,
    ) -> None:
        self._session = session
        self._key = key
        self._turn = new_turn(setting) if past is None else past.turn
        self._tokens = tokens
        self._answers: tuple[bytes, ...] = () if past is None else past.answers[-MAX_ANSWERS:]
        self._verdicts = () if past is None else past.verdicts
        self._purse_micros = purse_micros
        self._interceptor = interceptor
        self._gateway = gateway
        self._wallet = wallet
        self._clock = clock
        self._entropy = entropy
        self._started: dict[int, Started] = {}
        self._unsent: list[tuple[Propose | SaveRows | Prompted, int]] = []  # with the number of its answer
        self._number = 0  # of saves and prompts; as ids they are negative, for proposals have the positive ones
        self._rows = 0 if past is None else past.rows
        self._turns = self._turn.number
        self._concludes = concludes
        self._said = ""  # last, by the model
        self._tell = Teller(session, context_tokens, self._report)

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        gate = sender.id == self._interceptor.id
        gateway = sender.path == GATEWAY
        match message:
            case Hear() if gateway:
                self._hear(message)
            case TurnBack() if gateway:
                self._step(Restore() if message.to is None else Rewind(turn=message.to))
                self.ctx.post(self._gateway(), NotTaken())
            case GoOn() if gateway:
                self._perform(resume(self._turn, self._verdicts, self._clock.now_ns()))
            case StopTurn() if gateway:
                self._step(CancelTurn())
            case Outcome() if gate:
                self._outcome(message)
            case Refused() if gate:
                self._refused(message)
            case Deferred() if gate:
                self._deferred(message)
            case Approved() if gate:
                self._approved(message)
            case Booked() if gate:
                self._say(self._tell.booked(message))
            case Minted() if gate:
                self._keep(message.token)
            case StreamedText() if gate:
                started = self._started.get(message.proposal)
                if started is not None and started.is_model:  # what another tool reports may be any bytes
                    self._step(ModelProgressed(ref=message.proposal, event=decode_event(message.chunk)))
            case Done() if gate:
                self._tell.durable(-message.id)
            case Resend() if sender.id == self.ctx.ref.id:
                self._resend()
            case WaitIsOver() if sender.id == self.ctx.ref.id:
                self._step(Waited(ref=message.ref))
            case Failed() if gate:
                raise InternalError(
                    "session.unsaved", f"the session's journal cannot be kept: {message.reason}", refused=message.code
                )
            case _:
                raise InternalError("session.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
        return None

    # --- people

    def _hear(self, message: Hear) -> None:
        effects = step(
            self._turn,
            UserInput(text=message.text, label=Label(Integrity(message.integrity)), images=message.images),
            self._clock.now_ns(),
        )
        if any(isinstance(effect, InputRefused) for effect in effects):
            self.ctx.post(self._gateway(), NotTaken())
        else:
            # Before what it leads to, so that the log tells it in this order.
            self._turns += 1
            text = message.text.encode()
            number = self._take_number()
            self._save(Prompted(id=-number, turn=self._turns, integrity=message.integrity, text=text), number)
        self._perform(effects)

    def _report(self, event: AnyEvent) -> None:
        self.ctx.post(self._gateway(), Report(event=encode_event(event)))

    # --- the machine

    def _step(self, message: AnyTurnInput, *said: AnyEvent) -> None:
        """Tell the machine something.  ``said`` are events about it: they are told when what was saved of it is
        durable, and not at all if the machine has no use for it.
        """
        effects = step(self._turn, message, self._clock.now_ns())
        if effects:
            self._perform(effects, *said)

    def _perform(self, effects: tuple[AnyTurnEffect, ...], *said: AnyEvent) -> None:
        saves = [effect for effect in effects if isinstance(effect, Save)]
        # What is proposed now will have a record of its own that is waited for, and one commit can have both.
        urgent = not any(isinstance(effect, ProposeModel | ProposeTool) for effect in effects)
        for save in saves:
            rows = tuple(JournalRow(self._rows + place, encode_row(row)) for place, row in enumerate(save.rows, 1))
            self._rows += len(rows)
            number = self._take_number()
            self._save(SaveRows(id=-number, rows=rows, urgent=urgent), number)
        self._say(said)
        for effect in effects:
            if not isinstance(effect, Save):
                self._act(effect)

    def _act(self, effect: AnyTurnEffect) -> None:
        match effect:
            case Save():
                raise InternalError("session.save", "a save is not performed by itself")
            case ProposeModel():
                args = encode_request(effect.request)
                self._propose(
                    Started(self._proposal(effect.ref, model_tool(effect.place), args, effect.label), is_model=True)
                )
            case ProposeTool():
                self._tell.say(self._tell.call(effect.tool_use_id, effect.name, effect.arguments.decode()))
                proposal = self._proposal(effect.ref, effect.name, effect.arguments, effect.label)
                self._propose(Started(proposal, is_model=False, tool_use_id=effect.tool_use_id))
            case Wait():
                self._tell.say(self._tell.retrying(effect))
                self.ctx.start_timer(effect.wait_ms / 1000, WaitIsOver(ref=effect.ref))
            case Withdraw():
                self._withdraw(effect.ref)
            case StreamText():
                self.ctx.post(self._gateway(), ReportText(text=effect.text))
            case Say():
                self._said = effect.text
                self._tell.say(self._tell.message(effect.text))
            case Compacted():
                self._tell.say(self._tell.compacted(effect))
            case Rewound():
                self._tell.say(self._tell.rewound(effect))
            case InputRefused():
                self._tell.say(self._tell.error(effect.code, "the input was not taken"))
            case Finished():
                self._say(self._tell.finished(effect, self._turns))
                if self._concludes:
                    self._conclude(effect)

    def _conclude(self, end: Finished) -> None:
        label = context_label(self._turn)
        tainted = label.tainted or label.chosen
        concluded = Concluded(text=self._said, tainted=tainted, reason=end.reason, code=end.code)
        self.ctx.post(self._gateway(), concluded)

    def _say(self, events: Iterable[AnyEvent]) -> None:
        for event in events:
            self._tell.say(event)

    # --- proposals

    def _proposal(self, ref: int, tool: str, args: bytes, label: Label) -> Propose:
        return Propose(
            proposal=ref, tool=tool, args=args, tokens=self._presented, tainted=label.tainted, chosen=label.chosen
        )

    @property
    def _presented(self) -> tuple[bytes, ...]:
        return (*self._tokens, *self._answers)

    def _propose(self, started: Started) -> None:
        self._started[started.message.proposal] = started
        self._send(started.message, started.message.proposal)

    def _withdraw(self, ref: int) -> None:
        self._started.pop(ref, None)
        if ref in [number for _, number in self._unsent]:
            self._unsent = [waiting for waiting in self._unsent if waiting[1] != ref]
        else:
            self.ctx.forget(ref)
            self.ctx.post(self._interceptor, Cancel(proposal=ref))

    def _outcome(self, message: Outcome) -> None:
        started = self._started.pop(message.proposal, None)
        booked = self._tell.booked(message.booked)
        if started is None:  # it was given up when its end was on the way already
            self._say(booked)
        elif started.is_model:
            self._model_outcome(message, booked)
        elif message.unknown:
            self._step(CallUnknown(ref=message.proposal), *booked)
        else:
            integrity = Integrity.TOOL if message.first_party else Integrity.UNTRUSTED
            answered = ToolAnswered(
                ref=message.proposal,
                content=message.content,
                is_error=message.is_error,
                label=Label(integrity, (message.permit_seq,), message.chosen),
            )
            said = self._tell.result(started.tool_use_id, message.content, is_error=message.is_error)
            self._step(answered, said, *booked)

    def _model_outcome(self, message: Outcome, booked: list[AnyEvent]) -> None:
        if message.is_error or message.unknown:
            die = int.from_bytes(self._entropy.random_bytes(DIE_BYTES))
            self._step(model_failed(message.proposal, message.content, die=die), *booked)
            return
        answered = model_answered(message.proposal, message.content)
        usage = answered.usage
        self._step(answered, *([] if usage is None else [self._tell.usage(usage)]), *booked)

    def _refused(self, message: Refused) -> None:
        started = self._started.pop(message.proposal, None)
        if started is None:
            return
        denied = refused(message.proposal, message.layer, message.code)
        self._step(denied, self._tell.denied(_call_id(started), started.message.tool, message))

    def _deferred(self, message: Deferred) -> None:
        started = self._started.pop(message.proposal, None)
        if started is None:
            return
        deferred = CallDeferred(ref=message.proposal, question_id=QuestionId(message.qid))
        self._step(deferred, self._tell.deferred(_call_id(started), message))

    def _approved(self, message: Approved) -> None:
        """A person said yes: the same bytes are proposed again, and decided again from the start."""
        started = self._started.pop(message.proposal, None)
        self._keep(message.token)
        if started is not None:
            again = msgspec.structs.replace(started.message, tokens=self._presented)
            self._propose(msgspec.structs.replace(started, message=again))

    def _keep(self, token: bytes) -> None:
        try:
            mine = self._wallet.narrow(token, holder=self._key, session=self._session, purse_micros=self._purse_micros)
        except InputError as error:
            self._tell.say(self._tell.error(error.code, error.message, error.advice))
        else:
            self._answers = (*self._answers, mine)[-MAX_ANSWERS:]

    # --- common

    def _take_number(self) -> int:
        self._number += 1
        return self._number

    def _save(self, message: SaveRows | Prompted, number: int) -> None:
        self._tell.saving(number)
        self._send(message, message.id)

    def _send(self, message: Propose | SaveRows | Prompted, number: int) -> None:
        self._unsent.append((message, number))
        if len(self._unsent) == 1:
            self._resend()

    def _resend(self) -> None:
        """Give the gate what it has room for, in order; while it has none, the session waits."""
        while self._unsent:
            message, number = self._unsent[0]
            if self.ctx.post(self._interceptor, message, number) is not Posted.ACCEPTED:
                self.ctx.start_timer(RESEND_SECONDS, Resend())
                return
            del self._unsent[0]


def _call_id(started: Started) -> str:
    return started.tool_use_id or f"model-{started.message.proposal}"
