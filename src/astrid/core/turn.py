"""The agent loop as a machine: a model proposes, the gate decides, tools answer, until no call is left.  Pure.

    phase    | told                                       | next
    ---------|--------------------------------------------|----------------------------------
    idle     | UserInput                                  | asking, or idle (refused)
    idle     | Restore, Rewind                            | idle
    idle     | anything else                              | idle
    asking   | ModelAnswered with a summary               | asking, or idle (limit)
    asking   | ModelAnswered without the summary          | idle
    asking   | ModelAnswered without calls                | idle
    asking   | ModelAnswered, and paused                  | asking, or idle (limit)
    asking   | ModelAnswered with calls                   | calling, or asking, or idle (limit)
    asking   | ModelFailed                                | waiting, or idle
    asking   | CallDenied, Deferred, Unknown              | idle
    asking   | Cancel, LimitReached                       | idle
    asking   | anything else                              | asking
    waiting  | Waited                                     | asking
    waiting  | Cancel, LimitReached                       | idle
    waiting  | anything else                              | waiting
    calling  | the answer to one of several open calls    | calling
    calling  | the answer to the last open call           | asking, or idle (limit)
    calling  | Cancel, LimitReached                       | idle
    calling  | anything else                              | calling

(``ready`` is between two rows of one step: everything is answered and the model is to be asked.)

Invariants:
  Every ``ToolUse`` in the conversation gets exactly one ``ToolResult``, in one message, in the model's order.
  Calls that only read, and tasks of sub-agents, are proposed side by side; any other waits for all before it, and all
  after it wait for it.
  A model call is made again under a new ``ref`` alone, and counts as one more.
  An answer counts once, and only while its ``ref`` is open.  A turn taken ends in exactly one ``Finished``.
  ``restore`` of the rows saved so far gives the state, at every step; ``resume`` goes on from there as if nothing had
  happened, with another ref for whatever is proposed again.
  The label of the context only loses trust, and every proposal carries it.
  What a summary took away is kept until the next one, and ``Restore`` puts it back whole.
  ``Rewind`` shortens what the model sees and nothing else: no number is used twice, no label gains trust, and what was
  asked stays counted.

Never: runs what was not proposed, guesses arguments, or changes what the model wrote.

Source: architecture 2, 5, 6; the first Astrid and its holes (no limit on turns, text before calls lost, one after
another).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec import structs

from astrid.core import context, images
from astrid.core import turn_answer as texts
from astrid.core.conversation import Text, TextDelta
from astrid.core.ids import show_id
from astrid.core.labels import Label
from astrid.core.turn_calls import objection, startable
from astrid.core.turn_messages import (
    AnswerRow,
    AnyTurnEffect,
    AnyTurnInput,
    CallDeferred,
    CallDenied,
    CallUnknown,
    Cancel,
    Compacted,
    CompactRow,
    EndReason,
    EndRow,
    Finished,
    FrameRow,
    InputRow,
    LimitReached,
    ModelAnswered,
    ModelFailed,
    ModelProgressed,
    ProposeTool,
    Refused,
    Restore,
    RestoreRow,
    Rewind,
    RewindRow,
    Rewound,
    Say,
    StreamText,
    ToolAnswered,
    UserInput,
    Verdict,
    Wait,
    Waited,
    WaitRow,
    Withdraw,
)
from astrid.core.turn_plan import Plan, propose_model, propose_tool
from astrid.core.turn_retry import next_attempt
from astrid.core.turn_state import Asking, Calling, Idle, Ready, Turn, Waiting, asked_model, outstanding

ANSWERS_BETWEEN = 2  # two compactions, at least


def step(turn: Turn, message: AnyTurnInput, now_ns: int) -> tuple[AnyTurnEffect, ...]:
    """Tell ``turn`` something; what it wants done, in order.

    Nothing that a model, a tool or a person says makes it raise.
    """
    plan = Plan(turn, now_ns)
    _take(plan, message)
    return plan.done()


def resume(turn: Turn, verdicts: Sequence[Verdict], now_ns: int) -> tuple[AnyTurnEffect, ...]:
    """Go on with a turn that was cut off, as ``restore`` gave it; what it wants done, in order.

    ``verdicts`` are what is known of what was proposed.  SAFETY: whatever none of them is about must never have run: it
    is proposed again, under another ref.
    """
    plan = Plan(turn, now_ns)
    known = {verdict.ref for verdict in verdicts}
    for ref in outstanding(turn):
        if ref not in known:
            _propose_again(plan, ref)
    for verdict in verdicts:
        _take(plan, verdict)
    if isinstance(turn.phase, Ready | Waiting | Calling):
        _go_on(plan)
    # SAFETY: what became known of the other calls of an answer is in view of whoever decides about one that is
    # proposed again, as it is where one had to wait for them.
    plan.effects = [
        structs.replace(effect, label=turn.label) if isinstance(effect, ProposeTool) else effect
        for effect in plan.effects
    ]
    return plan.done()


def _take(plan: Plan, message: AnyTurnInput) -> None:
    phase = plan.turn.phase
    match message:
        case UserInput():
            _take_input(plan, message)
        case ModelProgressed():
            if phase == Asking(message.ref) and isinstance(message.event, TextDelta):
                plan.effects.append(StreamText(text=message.event.text))
        case ModelAnswered():
            if phase == Asking(message.ref):
                _take_answer(plan, message)
            elif phase == Asking(message.ref, for_summary=True):
                _take_summary(plan, message)
        case ModelFailed():
            if isinstance(phase, Asking) and phase.ref == message.ref:
                _take_failure(plan, message)
        case Waited():
            if phase == Waiting(message.ref):
                _ask(plan)
        case Cancel():
            _stop(plan, "cancelled", "")
        case Restore():
            _restore(plan)
        case Rewind():
            _rewind(plan, message.turn)
        case LimitReached():
            _stop(plan, "limit", message.code)
        case ToolAnswered() | CallDenied() | CallDeferred() | CallUnknown():
            if isinstance(phase, Calling):
                _take_result(plan, phase, message)
            elif isinstance(phase, Asking) and phase.ref == message.ref and not isinstance(message, ToolAnswered):
                _end(plan, "failed", _refusal_code(message))
        case _:
            assert_never(message)


def context_label(turn: Turn) -> Label:
    """The label of all that the model will see at its next call: what a decision made now is made under."""
    return turn.label


def _take_input(plan: Plan, message: UserInput) -> None:
    turn, limits = plan.turn, plan.turn.setting.limits
    if not isinstance(turn.phase, Idle):
        plan.effects.append(Refused(code="turn.busy"))
    elif not message.text.strip():
        plan.effects.append(Refused(code="turn.input-empty"))
    elif not texts.is_unicode(message.text):
        plan.effects.append(Refused(code="turn.input-malformed"))
    elif len(message.text.encode()) > limits.input_bytes:
        plan.effects.append(Refused(code="turn.input-too-long"))
    elif turn.asked_in_session >= limits.asks_per_session:
        plan.effects.append(Refused(code="turn.asks-per-session"))
    else:
        if not turn.framed:
            plan.write(FrameRow(at_ns=plan.now_ns, setting=turn.setting))
        plan.write(InputRow(at_ns=plan.now_ns, text=message.text, label=message.label, images=message.images))
        _ask(plan)


def _take_answer(plan: Plan, message: ModelAnswered) -> None:
    turn = plan.turn
    parts = texts.sound_parts(message.parts, turn.ids, turn.setting.limits.answer_bytes)
    if parts is None:
        _end(plan, "failed", "turn.answer-unusable")
        return
    if message.stop_reason == "refusal":  # calls that the model itself took back are not proposed
        parts = tuple(part for part in parts if isinstance(part, Text))
    said_under = turn.label
    plan.write(AnswerRow(at_ns=plan.now_ns, parts=parts, label=said_under, usage=message.usage))
    if spoken := [part.text for part in parts if isinstance(part, Text)]:
        plan.effects.append(Say(text="\n\n".join(spoken), label=said_under))
    if isinstance(turn.phase, Calling):
        cut = parts[-1] if message.stop_reason == "max_tokens" else None
        for place, call in enumerate(turn.phase.calls):
            # SAFETY: an answer that was cut off may end in half a call, and half of one can look whole: one without any
            # argument, or a shorter command.
            if why := texts.CUT_OFF if call.use is cut else objection(turn.setting.limits, place, call.use):
                plan.result(call.use.id, why)
        _go_on(plan)
    elif message.stop_reason == "pause" and parts:
        _ask(plan)
    else:  # whoever pauses without a word would say the same again
        reason = message.stop_reason
        _end(plan, "end_turn" if reason == "tool_use" or reason == "pause" else reason, "")


def _take_failure(plan: Plan, message: ModelFailed) -> None:
    """Ask again after a wait, or end the turn.  Nothing of what was streamed is kept."""
    turn = plan.turn
    then = next_attempt(turn, message)
    if then is None:
        _end(plan, "failed", message.code)
        return
    ref, code, wait = turn.last_ref + 1, message.code, then.wait_ms
    plan.write(WaitRow(at_ns=plan.now_ns, ref=ref, code=code, wait_ms=wait, switches=then.switches))
    attempt, model = turn.attempts + 1, asked_model(turn)
    plan.effects.append(Wait(ref=ref, code=code, wait_ms=wait, attempt=attempt, model=model))


def _take_result(plan: Plan, phase: Calling, message: ToolAnswered | CallDenied | CallDeferred | CallUnknown) -> None:
    call_id = next((call.use.id for call in phase.calls if call.proposed and call.ref == message.ref), None)
    if call_id is None:
        return  # late, repeated, or never ours
    match message:
        case ToolAnswered():
            setting = plan.turn.setting
            # Its one origin is the record that permitted the call, by which the whole of it is found again.
            record = max(message.label.origins, default=0)
            image = images.image_of(message.content, record)
            handle = record if texts.READ_RESULT in setting.effects else 0
            text = texts.result_text(message.content, setting.limits.result_bytes, handle)
            content = text if image is None else images.told(image)
            plan.result(call_id, content, message.label, is_error=message.is_error, image=image)
        case CallDenied():
            fields = {"layer": message.layer, "code": message.code, "text": message.model_text}
            plan.result(call_id, texts.DENIED.format(**fields))
        case CallDeferred():
            plan.result(call_id, texts.DEFERRED.format(question=show_id("question", message.question_id)))
        case CallUnknown():
            plan.result(call_id, texts.OUTCOME_UNKNOWN, is_error=False)  # unknown is not failed
        case _:
            assert_never(message)
    _go_on(plan)


def _go_on(plan: Plan) -> None:
    """After an answer: propose what may begin now, or ask the model again."""
    turn = plan.turn
    if not isinstance(turn.phase, Calling):
        _ask(plan)
        return
    for call in startable(turn.setting, turn.phase):
        propose_tool(plan, call.use)


def _propose_again(plan: Plan, ref: int) -> None:
    phase = plan.turn.phase
    if isinstance(phase, Calling):
        for call in phase.calls:
            if call.ref == ref:
                propose_tool(plan, call.use)
    else:
        propose_model(plan, for_summary=isinstance(phase, Asking) and phase.for_summary)


def _ask(plan: Plan) -> None:
    """Ask the model again, for room first if there is too little left; or end the turn, if that leads nowhere."""
    turn, limits = plan.turn, plan.turn.setting.limits
    if turn.asked >= limits.asks_per_input:
        _end(plan, "limit", "turn.asks-per-input")
    elif turn.asked_in_session >= limits.asks_per_session:
        _end(plan, "limit", "turn.asks-per-session")
    elif context.repeated(turn) > limits.same_rounds:
        _end(plan, "limit", "turn.repeated-calls")
    elif not context.is_full(turn):
        propose_model(plan)
    elif not context.can_shrink(turn):
        _end(plan, "limit", "turn.context-full")
    elif turn.since_compaction < ANSWERS_BETWEEN:
        _end(plan, "limit", "turn.compaction-loop")
    else:
        propose_model(plan, for_summary=True)


def _take_summary(plan: Plan, message: ModelAnswered) -> None:
    turn = plan.turn
    parts = texts.sound_parts(message.parts, turn.ids, turn.setting.limits.answer_bytes) or ()
    summary = "\n\n".join(part.text for part in parts if isinstance(part, Text))
    if not summary or message.stop_reason == "refusal":
        _end(plan, "failed", "turn.no-summary")
        return
    before, kept = context.tokens(turn), context.tail(turn)
    plan.write(CompactRow(at_ns=plan.now_ns, text=summary, label=turn.label, kept=kept, usage=message.usage))
    plan.effects.append(_compacted(turn, len(turn.evicted), before))
    if context.was_of_use(turn):
        _ask(plan)
    else:
        _end(plan, "limit", "turn.compaction-useless")


def _restore(plan: Plan) -> None:
    turn = plan.turn
    if not isinstance(turn.phase, Idle):
        plan.effects.append(Refused(code="turn.busy"))
    elif not turn.evicted:
        plan.effects.append(Refused(code="turn.not-compacted"))
    elif not context.can_restore(turn):
        plan.effects.append(Refused(code="turn.no-room"))
    else:
        before, messages = context.tokens(turn), len(turn.evicted)
        plan.write(RestoreRow(at_ns=plan.now_ns))
        plan.effects.append(_compacted(turn, -messages, before))


def _rewind(plan: Plan, to: int) -> None:
    turn = plan.turn
    if not isinstance(turn.phase, Idle):
        plan.effects.append(Refused(code="turn.busy"))
    elif to not in turn.ends:
        plan.effects.append(Refused(code="turn.not-there"))
    else:
        before = len(turn.conversation)
        plan.write(RewindRow(at_ns=plan.now_ns, turn=to))
        plan.effects.append(Rewound(turn=to, messages=max(before - len(turn.conversation), 0)))


def _compacted(turn: Turn, messages: int, before: int) -> Compacted:
    return Compacted(messages=messages, tokens_before=before, tokens_after=context.tokens(turn))


def _stop(plan: Plan, reason: EndReason, code: str) -> None:
    """End the turn from outside; the conversation stays well-formed."""
    phase = plan.turn.phase
    if isinstance(phase, Idle):
        return
    if isinstance(phase, Asking):
        plan.effects.append(Withdraw(ref=phase.ref))
    if isinstance(phase, Calling):
        for call in phase.calls:
            if call.proposed:
                plan.effects.append(Withdraw(ref=call.ref))
                plan.result(call.use.id, texts.STOPPED_DURING)
            elif call.waiting:
                plan.result(call.use.id, texts.STOPPED_BEFORE)
    _end(plan, reason, code)


def _end(plan: Plan, reason: EndReason, code: str) -> None:
    plan.write(EndRow(at_ns=plan.now_ns, reason=reason, code=code))
    plan.effects.append(Finished(reason=reason, code=code))


def _refusal_code(message: CallDenied | CallDeferred | CallUnknown) -> str:
    """What the person is told when it was the model call that could not be made."""
    match message:
        case CallDenied():
            return message.code
        case CallDeferred():
            return "turn.ask-deferred"
        case CallUnknown():
            return "turn.ask-unknown"
        case _:
            assert_never(message)
