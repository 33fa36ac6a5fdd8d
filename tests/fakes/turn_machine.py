"""The agent loop beside a naive book-keeper, in any order of events, with a crash at any moment.

Run with the same inputs each time (``tests/core/test_turn_machine``), and with new ones (``fuzz/turns``).
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from astrid.core.context import can_restore, is_full
from astrid.core.conversation import Message, Text, TextDelta, ToolDefinition, ToolResult, ToolUse, encode_request
from astrid.core.ids import QuestionId
from astrid.core.labels import RUNTIME, SIGNED_USER, Integrity, Label, join
from astrid.core.replay import Difference, Proposed, replay
from astrid.core.risk import EffectClass
from astrid.core.turn import context_label, resume, step
from astrid.core.turn_entries import Entry
from astrid.core.turn_limits import Limits
from astrid.core.turn_messages import (
    AnyRow,
    AnyTurnEffect,
    AnyTurnInput,
    CallDeferred,
    CallDenied,
    CallUnknown,
    Cancel,
    Finished,
    FrameRow,
    InputRow,
    LimitReached,
    ModelAnswered,
    ModelFailed,
    ModelProgressed,
    ProposeModel,
    ProposeTool,
    Refused,
    Restore,
    Rewind,
    RewindRow,
    Save,
    Setting,
    StreamText,
    ToolAnswered,
    UserInput,
    Verdict,
    Wait,
    Waited,
    Withdraw,
    decode_row,
    encode_row,
)
from astrid.core.turn_plan import model_request
from astrid.core.turn_retry import DIE_BYTES
from astrid.core.turn_state import Calling, Idle, Turn, Waiting, new_turn, outstanding, restore

EFFECTS = {"look": EffectClass.READ, "peek": EffectClass.READ, "edit": EffectClass.STAGING, "run": EffectClass.EXEC}
SETTING = Setting(
    model="scripted/m",
    fallbacks=("other/m",),
    system="s",
    max_tokens=9,
    tools=tuple(ToolDefinition(name=name, description="", schema="{}") for name in EFFECTS),
    effects=EFFECTS,
    limits=Limits(asks_per_input=4, asks_per_session=12, calls_per_answer=6, side_by_side=3, answer_bytes=400),
)
GOOD_CALL = st.builds(ToolUse, id=st.just("c"), name=st.sampled_from(sorted(EFFECTS)), arguments=st.just("{}"))
ANY_CALL = st.builds(
    ToolUse,
    id=st.sampled_from(["", "a", "b", "call-1", "?"]),
    name=st.sampled_from([*EFFECTS, "unknown"]),
    arguments=st.sampled_from(["{}", '{"a":1}', "", "{", '{"a":1,"a":2}', "[]"]),
)
ANY_TEXT = st.builds(Text, text=st.sampled_from(["hi", "", " "]))
BAD_TEXT = st.builds(Text, text=st.sampled_from(["\ud800", "x" * 500]))
PARTS = st.one_of(
    st.lists(GOOD_CALL, min_size=1, max_size=5),
    st.lists(GOOD_CALL, min_size=2, max_size=7),
    st.lists(st.one_of(ANY_TEXT, GOOD_CALL, ANY_CALL), max_size=7),
    st.lists(st.one_of(ANY_TEXT, BAD_TEXT), max_size=2),
).map(tuple)
LABELS = st.builds(Label, st.sampled_from(Integrity), st.sampled_from([(), (1,), (2, 3)]))


def check_well_formed(messages: list[Message], *, open_calls: bool) -> None:
    """Each assistant message with calls is followed by exactly their results, in order, and no id names two calls."""
    every = [part.id for message in messages for part in message.parts if isinstance(part, ToolUse)]
    assert len(every) == len(set(every))
    for place, message in enumerate(messages):
        uses = [part.id for part in message.parts if isinstance(part, ToolUse)]
        results = [part.id for part in message.parts if isinstance(part, ToolResult)]
        assert message.parts, "an empty message"
        assert not results or message.role == "user"
        if uses:
            assert message.role == "assistant"
            if place + 1 < len(messages):
                assert [part.id for part in messages[place + 1].parts if isinstance(part, ToolResult)] == uses
            else:
                assert open_calls
        if results:
            before = messages[place - 1].parts
            assert [part.id for part in before if isinstance(part, ToolUse)] == results


class TurnMachine(RuleBasedStateMachine):
    setting = SETTING

    def __init__(self) -> None:
        super().__init__()
        self.turn: Turn = new_turn(self.setting)
        self.rows: list[AnyRow] = []
        self.open: dict[int, ProposeTool | ProposeModel] = {}
        self.refs: set[int] = set()
        self.running = False
        self.integrity = Integrity.SIGNED_USER
        self.ends: dict[int, list[Entry]] = {0: []}
        self.floor: Label = self.setting.frame_label  # of what was in view before the last rewinding
        self.heard: dict[int, Verdict] = {}
        self.proposals: list[ProposeTool | ProposeModel] = []
        self.now_ns = 0

    def tell(self, message: AnyTurnInput) -> None:
        if not isinstance(message, ModelProgressed | UserInput | Cancel | LimitReached | Restore | Rewind | Waited):
            del self.open[message.ref]
            self.heard[message.ref] = message
        self.now_ns += 1
        self.perform(step(self.turn, message, self.now_ns), message)

    def perform(self, effects: tuple[AnyTurnEffect, ...], message: AnyTurnInput | None) -> None:
        was_running = self.running
        assert [place for place, effect in enumerate(effects) if isinstance(effect, Save)] in ([], [0])
        for effect in effects:
            match effect:
                case Save():
                    self.rows.extend(effect.rows)
                    if isinstance(message, UserInput):
                        assert not was_running
                        self.running = True
                case ProposeModel() | ProposeTool():
                    assert self.running, "proposed after the end"
                    assert effect.ref not in self.refs, "a ref was used twice"
                    assert effect.label.integrity == context_label(self.turn).integrity
                    self.refs.add(effect.ref)
                    self.open[effect.ref] = effect
                    self.proposals.append(effect)
                    assert isinstance(effect, ProposeModel) or effect.arguments in (b"{}", b'{"a":1}')
                case Wait():
                    assert isinstance(message, ModelFailed | None)
                    assert effect.ref not in self.refs, "a ref was used twice"
                    self.refs.add(effect.ref)
                case Withdraw():
                    del self.open[effect.ref]
                case Finished():
                    assert self.running, "finished twice"
                    self.running = False
                    self.ends[self.turn.number] = list(self.turn.conversation)
                case Refused():
                    assert effects == (effect,)
                case StreamText():
                    assert effects == (effect,)
                case _:
                    pass

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        likely = ["say"] if not self.running else ["answer"] * 9
        happening = data.draw(st.sampled_from([*likely, "stop", "say", "restart", "late", "undo", "rewind"]))
        getattr(self, happening)(data)

    def say(self, data: st.DataObject) -> None:
        text = data.draw(st.sampled_from(["go", "go on", " ", "\udc80"]))
        self.tell(UserInput(text=text, label=data.draw(LABELS)))

    def stop(self, data: st.DataObject) -> None:
        self.tell(data.draw(st.sampled_from([Cancel(), LimitReached(code="x.y")])))
        assert isinstance(self.turn.phase, Idle)

    def undo(self, data: st.DataObject) -> None:
        """What the last compaction took away comes back, while nothing is under way."""
        there = list(self.turn.conversation[1:])
        before = self.turn.evicted
        may = bool(before) and not self.running and can_restore(self.turn)
        self.tell(Restore())
        assert may is (bool(before) and not self.turn.evicted)
        assert not may or self.turn.conversation == [*before, *there]

    def rewind(self, data: st.DataObject) -> None:
        """The conversation is what it was after some turn, while nothing is under way; all else stays counted."""
        to = data.draw(st.integers(0, self.turn.number + 1))
        may = to in self.ends and not self.running
        counted = self.counted()
        before = list(self.turn.conversation)
        self.tell(Rewind(turn=to))
        assert self.turn.conversation == (self.ends[to] if may else before)
        assert self.turn.weight == sum(entry.weight for entry in self.turn.conversation)
        assert self.counted() == counted
        if may:
            self.floor = self.turn.label
            self.ends = {number: said for number, said in self.ends.items() if number <= to}

    def counted(self) -> tuple[object, ...]:
        turn = self.turn
        return turn.number, turn.last_ref, turn.asked_in_session, frozenset(turn.ids), turn.label

    def restart(self, data: st.DataObject) -> None:
        self.turn = restore(self.setting, [decode_row(encode_row(row)) for row in self.rows])
        if self.running and data.draw(st.booleans()):
            self.go_on(data)

    def go_on(self, data: st.DataObject) -> None:
        """After a crash the log says of some of what was proposed how it ended; the rest is proposed anew."""
        known = [self.verdict_on(ref, data) for ref in sorted(self.open) if data.draw(st.booleans())]
        verdicts = [one for one in known if not isinstance(one, ModelProgressed)]
        self.heard |= {verdict.ref: verdict for verdict in verdicts}
        self.open.clear()
        self.now_ns += 1
        self.perform(resume(self.turn, verdicts, self.now_ns), None)

    def answer(self, data: st.DataObject) -> None:
        if isinstance(self.turn.phase, Waiting):
            self.tell(Waited(ref=self.turn.phase.ref))
            return
        ref = data.draw(st.sampled_from(sorted(self.open)))
        self.tell(self.verdict_on(ref, data))

    def verdict_on(self, ref: int, data: st.DataObject) -> Verdict | ModelProgressed:
        refusals: list[Verdict | ModelProgressed] = [
            CallDenied(ref=ref, code="a.b", layer="policy", model_text="no"),
            CallDeferred(ref=ref, question_id=QuestionId(bytes(16))),
            CallUnknown(ref=ref),
            ModelProgressed(ref=ref, event=TextDelta(text="t")),
        ]
        proposal = self.open[ref]
        if isinstance(proposal, ProposeModel):
            stop: Any = data.draw(st.sampled_from(["end_turn", "tool_use", "max_tokens", "refusal", "pause"]))
            if proposal.request != model_request(self.turn) and data.draw(st.integers(0, 3)):
                return ModelAnswered(ref=ref, parts=(Text(text="a summary"),), stop_reason="end_turn")
            said = ModelAnswered(ref=ref, parts=data.draw(PARTS), stop_reason=stop)
            die = data.draw(st.integers(0, 2 ** (8 * DIE_BYTES) - 1))
            codes = ("model.x", "model.timeout", "model.overloaded")
            failed = [ModelFailed(ref=ref, code=code, die=die) for code in codes]
            return data.draw(st.sampled_from([*[said] * 12, *failed, *refusals]))
        content = data.draw(st.sampled_from([b"out\xff", b"o" * 60]))
        done = ToolAnswered(ref=ref, content=content, is_error=data.draw(st.booleans()), label=data.draw(LABELS))
        return data.draw(st.sampled_from([*[done] * 4, *refusals]))

    def late(self, data: st.DataObject) -> None:
        """Answers to what is not open, or of the wrong kind, change nothing."""
        ref = data.draw(st.integers(-1, max(self.refs, default=0) + 1))
        proposal = self.open.get(ref)
        messages: list[AnyTurnInput] = []
        if not isinstance(proposal, ProposeModel):
            messages += [ModelAnswered(ref=ref, parts=(), stop_reason="end_turn"), ModelFailed(ref=ref, code="x")]
            messages += [ModelProgressed(ref=ref, event=TextDelta(text="t"))]
        if not isinstance(proposal, ProposeTool):
            messages += [ToolAnswered(ref=ref, content=b"late", is_error=False, label=RUNTIME)]
        if self.turn.phase != Waiting(ref):
            messages += [Waited(ref=ref)]
        if proposal is None:
            messages += [CallDenied(ref=ref, code="a.b", layer="policy", model_text="no"), CallUnknown(ref=ref)]
        for message in messages:
            assert step(self.turn, message, 1) == ()

    @invariant()
    def what_is_saved_is_the_state(self) -> None:
        assert restore(self.setting, self.rows) == self.turn

    @invariant()
    def what_was_proposed_and_not_answered_is_outstanding(self) -> None:
        assert sorted(self.open) == sorted(outstanding(self.turn))
        assert self.running is not isinstance(self.turn.phase, Idle)
        waits = isinstance(self.turn.phase, Waiting)
        assert not (waits and self.open)
        assert not self.running or self.open or waits, "a turn that waits for nobody never ends"

    @invariant()
    def a_call_that_is_no_read_is_alone(self) -> None:
        names = [call.name for call in self.open.values() if isinstance(call, ProposeTool)]
        assert len(names) <= self.setting.limits.side_by_side
        assert len(names) <= 1 or all(EFFECTS.get(name) is EffectClass.READ for name in names)

    @invariant()
    def calls_are_proposed_in_the_models_order_and_as_early_as_allowed(self) -> None:
        if not isinstance(self.turn.phase, Calling):
            return
        room = self.setting.limits.side_by_side - len(self.open)
        unanswered: list[ToolUse] = []
        for call in self.turn.phase.calls:
            if call.result is None:
                reads = [EFFECTS.get(use.name) is EffectClass.READ for use in (*unanswered, call.use)]
                may_run = len(reads) == 1 or all(reads)
                assert may_run or call.waiting
                assert not (may_run and call.waiting and room > 0)
                unanswered.append(call.use)

    @invariant()
    def the_model_is_not_asked_more_often_than_allowed(self) -> None:
        assert self.turn.asked <= self.setting.limits.asks_per_input
        assert self.turn.asked_in_session <= self.setting.limits.asks_per_session

    @invariant()
    def the_conversation_is_well_formed_and_can_be_sent(self) -> None:
        messages = [entry.message for entry in self.turn.conversation]
        check_well_formed(messages, open_calls=isinstance(self.turn.phase, Calling))
        assert all(len(entry.labels) == len(entry.message.parts) for entry in self.turn.conversation)
        assert encode_request(model_request(self.turn))

    @invariant()
    def trust_only_falls_and_covers_all_that_is_in_view(self) -> None:
        now = context_label(self.turn)
        assert now.integrity <= self.integrity
        self.integrity = now.integrity
        labels: list[Label] = []
        for entry in self.turn.conversation:
            if entry.message.role == "assistant" and not self.setting.window_tokens:
                least, most = join(self.setting.frame_label, *labels), join(self.floor, *labels)
                assert all(join(least, label) == label and join(label, most) == most for label in entry.labels)
            labels += entry.labels
        if isinstance(self.turn.phase, Calling):
            labels += [call.label for call in self.turn.phase.calls if call.label is not None]
        assert now == join(self.floor, *labels)

    def teardown(self) -> None:
        """Whatever prefix of the rows survives, the session can be ended and is well-formed then."""
        for length in range(len(self.rows) + 1):
            cut = restore(self.setting, self.rows[:length])
            step(cut, Cancel(), 2)
            assert isinstance(cut.phase, Idle)
            check_well_formed([entry.message for entry in cut.conversation], open_calls=False)
        if any(isinstance(row, FrameRow) for row in self.rows):
            self.it_replays_to_itself()

    def it_replays_to_itself(self) -> None:
        again = [one.what for one in replay(self.rows, self.heard) if isinstance(one, Proposed)]
        assert not [one for one in replay(self.rows, self.heard) if isinstance(one, Difference)]
        assert again == self.proposals


class CompactingMachine(TurnMachine):
    """The same, where the model takes so little that conversations are summed up."""

    setting = replace(
        SETTING,
        window_tokens=120,
        compact_at_percent=95,
        keep_recent=3,
        limits=replace(SETTING.limits, asks_per_input=12, asks_per_session=40),
    )

    @invariant()
    def what_the_user_signed_is_always_in_view(self) -> None:
        said: dict[int, InputRow] = {}
        taken = 0
        for row in self.rows:
            if isinstance(row, InputRow):
                taken += 1
                said[taken] = row
            elif isinstance(row, RewindRow):
                said = {number: one for number, one in said.items() if number <= row.turn}
        signed = [row.text for row in said.values() if row.label == SIGNED_USER]
        in_view = [
            part.text
            for entry in self.turn.conversation
            for part, label in zip(entry.message.parts, entry.labels, strict=True)
            if isinstance(part, Text) and label == SIGNED_USER and entry.message.role == "user"
        ]
        assert [text for text in in_view if text in ("go", "go on")] == signed

    @invariant()
    def what_is_too_long_is_not_asked(self) -> None:
        asked = [proposal for proposal in self.open.values() if isinstance(proposal, ProposeModel)]
        ordinary = [proposal for proposal in asked if proposal.request == model_request(self.turn)]
        assert not ordinary or not is_full(self.turn)
