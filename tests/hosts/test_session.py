"""A session between probes for the gate and the gateway: what it proposes, saves and says, and when."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from astrid.core.conversation import (
    AnyStreamEvent,
    ModelRequest,
    TextDelta,
    ToolCallReady,
    ToolDefinition,
    ToolResult,
    Usage,
    decode_request,
    encode_answer,
    encode_event,
)
from astrid.core.conversation import Done as End
from astrid.core.gate_messages import (
    Approved,
    Booked,
    Cancel,
    Deferred,
    Minted,
    Outcome,
    Propose,
    PurseLine,
    Refused,
)
from astrid.core.ids import SessionId, show_id
from astrid.core.labels import Integrity
from astrid.core.risk import EffectClass
from astrid.core.turn_limits import Limits
from astrid.core.turn_messages import Setting, decode_row
from astrid.core.turn_state import restore
from astrid.errors import TokenError
from astrid.hosts.session import MAX_ANSWERS, Past, Session
from astrid.kernel import ChildSpec, Ref, SupervisorSpec, System, open_system
from astrid.kernel.testing import Probe, cancel_at_every_step, settle
from astrid.messages.gate import Done, Failed, Prompted, Save, StreamedText
from astrid.messages.session import Hear, NotTaken, Report, ReportText, StopTurn
from tests.fakes.clock import FakeClock
from tests.fakes.guard_bench import Door

SESSION = SessionId(b"S" * 16)
KEY = b"k" * 32
TOOLS = {"look": EffectClass.READ, "edit": EffectClass.STAGING}
SETTING = Setting(
    model="p/m",
    system="be brief",
    max_tokens=10,
    tools=tuple(ToolDefinition(name=name, description="", schema="{}") for name in TOOLS),
    effects=TOOLS,
    limits=Limits(side_by_side=4),
)


class FakeWallet:
    """Notes what it narrowed; refuses one token."""

    def narrow(self, raw: bytes, *, holder: bytes, session: bytes, purse_micros: int) -> bytes:
        assert (holder, session, purse_micros) == (KEY, SESSION, 1000)
        if raw == b"bad":
            raise TokenError("token.depth", "it may not be passed on", advice="sign another")
        return b"narrow " + raw


def use(number: int, tool: str = "edit", arguments: str = '{"a": 1 }') -> ToolCallReady:
    return ToolCallReady(id=f"t{number}", name=tool, arguments=arguments)


def answer(*events: AnyStreamEvent, usage: Usage | None = None, stop: str = "") -> bytes:
    """The content of a model's answer."""
    calls = any(isinstance(event, ToolCallReady) for event in events)
    end = End(stop_reason=stop or ("tool_use" if calls else "end_turn"))  # type: ignore[arg-type]
    return encode_answer([*events, *([] if usage is None else [usage]), end])


class Bench:
    def __init__(self, capacity: int, past: Past | None = None) -> None:
        self.past = past
        self.gate, self.gateway = Door(), Probe()
        self.failures: list[BaseException] = []
        self._capacity = capacity

    def tree(self, system: System) -> SupervisorSpec:
        self.system = system

        def session() -> Session:
            return Session(
                session=SESSION,
                key=KEY,
                setting=SETTING,
                tokens=(b"base",),
                purse_micros=1000,
                interceptor=system.ref("root/interceptor"),
                gateway=lambda: system.ref("root/gateway"),
                wallet=FakeWallet(),
                clock=FakeClock(),
                entropy=self,
                context_tokens=500,
                past=self.past,
            )

        sessions = SupervisorSpec(
            "sessions", children=(ChildSpec("s", session, rank=40, restart="temporary"),), rank=40
        )
        gate = ChildSpec("interceptor", lambda: self.gate, rank=30, capacity=self._capacity)
        return SupervisorSpec("root", children=(gate, sessions, ChildSpec("gateway", lambda: self.gateway, rank=50)))

    def random_bytes(self, count: int) -> bytes:
        """The ``Entropy`` port."""
        return b"\0" * count

    @property
    def ref(self) -> Ref:
        return self.system.ref("root/sessions/s")

    def failed(self, _ref: object, _reason: object, error: BaseException) -> None:
        self.failures.append(error)

    # ---- what it did

    def got(self, kind: type) -> list[Any]:
        return [message for message in self.gate.messages if isinstance(message, kind)]

    def proposed(self, tool: str | None = None) -> list[Propose]:
        return [one for one in self.got(Propose) if tool in (None, one.tool)]

    def request(self) -> ModelRequest:
        return decode_request(self.proposed("model")[-1].args)

    def results(self) -> list[ToolResult]:
        """The tool results that the model is shown."""
        return [part for message in self.request().messages for part in message.parts if isinstance(part, ToolResult)]

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(message.event) for message in self.gateway.messages if isinstance(message, Report)]

    def names(self) -> list[str]:
        return [event["event"] for event in self.events()]

    # ---- what happens to it

    async def hear(self, text: str = "do it", integrity: int = 3) -> None:
        self.gateway.ctx.post(self.ref, Hear(text=text, integrity=integrity))
        await settle()

    async def tell(self, message: Any) -> None:
        """The gate answers a proposal."""
        self.gate.ctx.answer(self.ref, message.proposal, message)
        await settle()

    async def say(self, *events: AnyStreamEvent, **options: Any) -> None:
        """The model answers the last question."""
        await self.tell(self.outcome(self.proposed("model")[-1].proposal, answer(*events, **options)))

    def outcome(self, proposal: int, content: bytes = b"ok", **fields: Any) -> Outcome:
        given: dict[str, Any] = {"is_error": False, "effect": "done", "unknown": False, "first_party": True}
        given |= {"permit_seq": 7} | fields
        return Outcome(proposal=proposal, content=content, **given)

    async def durable(self) -> None:
        """Everything that was saved so far is durable."""
        for message in self.got(Save) + self.got(Prompted):
            self.gate.ctx.answer(self.ref, message.id, Done(id=message.id, seq=1))
        await settle()


@asynccontextmanager
async def running(*, broken: bool = False, capacity: int = 1000, past: Past | None = None) -> AsyncIterator[Bench]:
    bench = Bench(capacity, past)
    async with open_system(bench.tree, on_failure=bench.failed):
        await settle()
        yield bench
        bench.gate.open.set()
    assert broken or not bench.failures, bench.failures


# ---- a turn


async def test_what_is_said_is_recorded_before_the_model_is_asked(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear("do it", 3)
        prompted, saved, proposed = bench.gate.messages
        assert (prompted.turn, prompted.integrity, prompted.text) == (1, 3, b"do it")  # type: ignore[attr-defined]
        assert isinstance(saved, Save)
        assert isinstance(proposed, Propose)
        assert (proposed.tool, proposed.tokens, proposed.tainted) == ("model", (b"base",), False)
        assert bench.request().messages[-1].parts[0].text == "do it"  # type: ignore[union-attr]


async def test_untrusted_words_taint_what_is_proposed_after_them(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear(integrity=Integrity.UNTRUSTED)
        assert bench.proposed()[0].tainted
        await bench.say(use(1))
        assert bench.proposed("edit")[0].tainted


async def test_a_third_partys_output_taints_and_our_own_does_not(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        for number, first_party in enumerate((True, False), 1):
            await bench.say(use(number))
            await bench.tell(bench.outcome(bench.proposed("edit")[-1].proposal, first_party=first_party))
            assert bench.proposed("model")[-1].tainted is not first_party


async def test_a_call_is_proposed_with_the_very_bytes_that_the_model_wrote(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(use(1, arguments='{ "b":2,"a" : 1}'))
        assert bench.proposed("edit")[0].args == b'{ "b":2,"a" : 1}'


async def test_the_journal_says_what_happened(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(TextDelta(text="I will"), use(1))
        await bench.tell(bench.outcome(bench.proposed("edit")[0].proposal))
        await bench.say(TextDelta(text="done"))
        rows = [row for save in bench.got(Save) for row in save.rows]
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        turn = restore(SETTING, [decode_row(row.data) for row in rows])
        assert [entry.message.role for entry in turn.conversation] == ["user", "assistant", "user", "assistant"]
        assert all(save.id < 0 for save in bench.got(Save))


async def test_rows_wait_for_the_record_of_what_is_proposed_with_them_and_the_last_rows_for_nothing(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(use(1))
        await bench.tell(bench.outcome(bench.proposed("edit")[0].proposal))
        await bench.say(TextDelta(text="done"))
        assert [save.urgent for save in bench.got(Save)] == [False, False, False, True]


async def test_a_whole_turn_is_told_in_order(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(TextDelta(text="I will"), use(1), usage=Usage(input_tokens=5, output_tokens=6))
        await bench.tell(bench.outcome(bench.proposed("edit")[0].proposal, b"the result"))
        await bench.say(TextDelta(text="done"))
        await bench.durable()
        told = ["usage", "message", "tool_call_start", "tool_call_result", "message", "session_saved", "turn_complete"]
        assert bench.names() == told
        usage, _, start, result, *_, complete = bench.events()
        assert (usage["context_tokens"], usage["max_context_tokens"], usage["output_tokens"]) == (5, 500, 6)
        assert (start["id"], start["name"], start["args"]) == ("t1", "edit", '{"a": 1 }')
        assert (result["id"], result["result"], result["is_error"]) == ("t1", "the result", False)
        assert (complete["turn"], complete["stop_reason"]) == (1, "end_turn")


BOOKED = Booked(session=PurseLine("session", b"", 9, 1, 10), filled=(PurseLine("token", b"B" * 32, 9, 1, 2**64),))


async def test_what_a_call_cost_is_told_when_the_call_is_and_not_before(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(use(1))
        await bench.tell(bench.outcome(bench.proposed("edit")[0].proposal, booked=BOOKED))
        assert "budget" not in bench.names()
        await bench.durable()
        assert bench.names()[-3:] == ["tool_call_result", "budget", "budget_warning"]
        _, money, warning = bench.events()[-3:]
        assert (money["spent_micros"], money["reserved_micros"], money["cap_micros"]) == ("9", "1", "10")
        assert (warning["purse"], warning["token_id"]) == ("token", "token:" + "42" * 32)
        assert warning["cap_micros"] == str(2**64 - 1)


@pytest.mark.parametrize("ends", ["unknown", "failed", "withdrawn"])
async def test_what_a_call_cost_is_told_however_it_ended(autojump_clock: MockClock, ends: str) -> None:
    async with running() as bench:
        await bench.hear()
        asked = bench.proposed("model")[0].proposal
        if ends == "withdrawn":
            bench.gateway.ctx.post(bench.ref, StopTurn())
            await settle()
            bench.gate.ctx.post(bench.ref, BOOKED)
            await settle()
        else:
            failed = bench.outcome(asked, b"model.x: no", is_error=True, unknown=ends == "unknown", booked=BOOKED)
            await bench.tell(failed)
        await bench.durable()
        assert [name for name in bench.names() if name.startswith("budget")] == ["budget", "budget_warning"]


async def test_turns_are_counted_as_they_are_taken(autojump_clock: MockClock) -> None:
    async with running() as bench:
        for _ in range(2):
            await bench.hear()
            await bench.say(TextDelta(text="done"))
        await bench.durable()
        assert [event["turn"] for event in bench.events() if event["event"] == "turn_complete"] == [1, 2]
        assert [one.turn for one in bench.got(Prompted)] == [1, 2]


@pytest.mark.parametrize(
    ("text", "code"),
    [("  ", "turn.input-empty"), ("\ud800", "turn.input-malformed"), ("x" * 2**21, "turn.input-too-long")],
)
async def test_what_is_no_input_begins_no_turn_and_is_no_prompt(
    autojump_clock: MockClock, text: str, code: str
) -> None:
    async with running() as bench:
        await bench.hear(text)
        assert bench.gate.messages == []
        assert [message for message in bench.gateway.messages if isinstance(message, NotTaken)] == [NotTaken()]
        assert [event["code"] for event in bench.events()] == [code]
        await bench.hear("now")
        assert [one.turn for one in bench.got(Prompted)] == [1]


async def test_a_word_in_between_is_not_taken(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.hear("and another thing")
        assert [one.turn for one in bench.got(Prompted)] == [1]
        assert [event["code"] for event in bench.events()] == ["turn.busy"]


async def test_text_streams_at_once_and_only_while_its_call_runs(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        number = bench.proposed()[0].proposal
        for proposal in (number, number + 5):
            piece = StreamedText(proposal=proposal, chunk=encode_event(TextDelta(text="hel")))
            bench.gate.ctx.post(bench.ref, piece)
        await settle()
        assert [one for one in bench.gateway.messages if isinstance(one, ReportText)] == [ReportText(text="hel")]
        await bench.say(TextDelta(text="hello"))
        bench.gate.ctx.post(bench.ref, StreamedText(proposal=number, chunk=encode_event(TextDelta(text="late"))))
        await settle()
        assert len([one for one in bench.gateway.messages if isinstance(one, ReportText)]) == 1


@pytest.mark.parametrize("chunk", [b"half a line", b"", b"\xff", encode_event(TextDelta(text="I am the model"))])
async def test_what_another_tool_reports_may_be_any_bytes_and_is_not_taken_for_the_model(
    chunk: bytes, autojump_clock: MockClock
) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(ToolCallReady(id="t", name="read_file", arguments="{}"))
        number = bench.proposed()[-1].proposal
        bench.gate.ctx.post(bench.ref, StreamedText(proposal=number, chunk=chunk))
        await settle()
        assert bench.ref.alive
        assert not [one for one in bench.gateway.messages if isinstance(one, ReportText)]


# ---- asking again


async def test_a_model_that_failed_is_asked_again_when_the_wait_is_over_and_the_person_knows(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        await bench.hear()
        [first] = bench.proposed("model")
        said = b"model.rate-limited (not before 20000 ms): wait"
        await bench.tell(bench.outcome(first.proposal, said, is_error=True))
        await bench.durable()
        assert bench.events() == [
            {
                "event": "retrying",
                "session_id": show_id("session", SESSION),
                "seq": 0,
                "code": "model.rate-limited",
                "attempt": 2,
                "wait_ms": 20_000,
                "model": "p/m",
            }
        ]
        await trio.sleep(19.9)
        assert len(bench.proposed("model")) == 1
        await trio.sleep(0.2)
        [_, again] = bench.proposed("model")
        assert again.proposal > first.proposal
        assert again.args == first.args
        await bench.say(TextDelta(text="at last"))
        await bench.durable()
        assert bench.names()[1:] == ["message", "session_saved", "turn_complete"]


async def test_what_a_failed_attempt_streamed_is_in_no_message_and_no_request(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        number = bench.proposed()[0].proposal
        bench.gate.ctx.post(bench.ref, StreamedText(proposal=number, chunk=encode_event(TextDelta(text="half a"))))
        await settle()
        await bench.tell(bench.outcome(number, b"model.stream-broken: oh", is_error=True, effect="maybe"))
        await trio.sleep(60)
        assert "half a" not in str(bench.request())
        await bench.say(TextDelta(text="whole"))
        await bench.durable()
        assert [event["text"] for event in bench.events() if event["event"] == "message"] == ["whole"]


async def test_a_turn_that_is_stopped_while_it_waits_is_over_at_once(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.tell(bench.outcome(1, b"model.overloaded: oh", is_error=True))
        bench.gateway.ctx.post(bench.ref, StopTurn())
        await settle()
        await bench.durable()
        assert bench.names() == ["retrying", "session_saved", "turn_complete"]
        await trio.sleep(100)
        assert len(bench.proposed("model")) == 1


# ---- the watermark


async def test_nothing_is_told_before_the_log_is_durable_up_to_there(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(TextDelta(text="secret"), use(1))
        await bench.tell(bench.outcome(bench.proposed("edit")[0].proposal, b"secret result"))
        await bench.say(TextDelta(text="done"))
        assert bench.events() == []
        saves = bench.got(Save)
        assert len(saves) == 4
        seen: list[list[str]] = []
        for message in (bench.got(Prompted)[0], *saves):
            bench.gate.ctx.answer(bench.ref, message.id, Done(id=message.id, seq=1))
            await settle()
            seen.append(bench.names())
        assert seen == [
            [],
            [],
            ["message", "tool_call_start"],
            ["message", "tool_call_start", "tool_call_result"],
            ["message", "tool_call_start", "tool_call_result", "message", "session_saved", "turn_complete"],
        ]


async def test_a_failure_is_told_even_when_nothing_becomes_durable(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.tell(Refused(proposal=1, layer="audit", code="audit.suspended", reason="full", advice=""))
        assert [(event["event"], event["code"]) for event in bench.events()] == [("error", "audit.suspended")]
        await bench.durable()
        assert bench.names() == ["error", "denied", "session_saved", "turn_complete"]


async def test_a_journal_that_cannot_be_kept_ends_the_session(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        await bench.hear()
        save = bench.got(Save)[0]
        told = Failed(id=save.id, code="gate.unknown-principal", reason="who?", advice="")
        bench.gate.ctx.answer(bench.ref, save.id, told)
        await settle()
        [error] = bench.failures
        assert (error.code, error.fields) == ("session.unsaved", {"refused": "gate.unknown-principal"})  # type: ignore[attr-defined]


# ---- answers of the gate


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("policy", "administrator"),
        ("capability", "signed"),
        ("budget", "budget"),
        ("approval", "person"),
        ("gate", "refused"),
    ],
)
async def test_a_refusal_is_told_to_people_in_full_and_to_the_model_by_a_constant_text(
    autojump_clock: MockClock, layer: str, words: str
) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(use(1))
        number = bench.proposed("edit")[0].proposal
        await bench.tell(
            Refused(proposal=number, layer=layer, code="some.code", reason="/secret/path is denied", advice="ask /root")
        )
        [result] = bench.results()
        assert words in result.content
        assert "some.code" in result.content
        assert "secret" not in result.content
        assert "/root" not in result.content
        await bench.durable()
        [denied] = [event for event in bench.events() if event["event"] == "denied"]
        assert (denied["call_id"], denied["tool"], denied["layer"], denied["reason"], denied["advice"]) == (
            "t1",
            "edit",
            layer,
            "/secret/path is denied",
            "ask /root",
        )


async def test_a_model_call_that_is_refused_ends_the_turn(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.tell(Refused(proposal=1, layer="budget", code="budget.exceeded", reason="no money", advice=""))
        await bench.durable()
        assert bench.names() == ["error", "denied", "session_saved", "turn_complete"]
        assert bench.events()[1]["call_id"] == "model-1"
        assert (bench.events()[-1]["stop_reason"], bench.events()[-1]["code"]) == ("failed", "budget.exceeded")


async def test_a_deferred_call_is_told_and_the_turn_goes_on(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(use(1))
        await bench.tell(Deferred(proposal=bench.proposed("edit")[0].proposal, qid=b"q" * 16))
        question = show_id("question", b"q" * 16)
        assert question in bench.results()[0].content
        await bench.durable()
        deferred = [event for event in bench.events() if event["event"] == "deferred"]
        assert [(event["call_id"], event["question_id"]) for event in deferred] == [("t1", question)]


async def test_after_a_yes_the_same_bytes_are_proposed_again_with_the_new_token(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(use(1))
        first = bench.proposed("edit")[0]
        await bench.tell(Approved(proposal=first.proposal, token=b"yes"))
        again = bench.proposed("edit")[1]
        assert again.tokens == (b"base", b"narrow yes")
        assert (again.proposal, again.tool, again.args, again.tainted) == (
            first.proposal,
            first.tool,
            first.args,
            first.tainted,
        )
        await bench.tell(bench.outcome(again.proposal))
        assert bench.results()[0].content == "ok"
        assert bench.proposed("model")[-1].tokens == (b"base", b"narrow yes")


async def test_a_later_yes_gives_a_token_for_what_is_proposed_next(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.gate.ctx.post(bench.ref, Minted(qid=b"q" * 16, token=b"yes"))
        await settle()
        assert bench.got(Propose) == []
        await bench.hear()
        assert bench.proposed()[0].tokens == (b"base", b"narrow yes")


async def test_a_token_that_cannot_be_used_is_said_and_left_out(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.gate.ctx.post(bench.ref, Minted(qid=b"q" * 16, token=b"bad"))
        await settle()
        assert [(event["event"], event["code"]) for event in bench.events()] == [("error", "token.depth")]
        await bench.hear()
        assert bench.proposed()[0].tokens == (b"base",)


async def test_of_many_answers_the_newest_are_presented(autojump_clock: MockClock) -> None:
    async with running() as bench:
        for number in range(MAX_ANSWERS + 5):
            bench.gate.ctx.post(bench.ref, Minted(qid=b"q" * 16, token=b"%d" % number))
        await settle()
        await bench.hear()
        tokens = bench.proposed()[0].tokens
        assert tokens[0] == b"base"
        assert tokens[1:] == tuple(b"narrow %d" % number for number in range(5, MAX_ANSWERS + 5))


async def test_an_outcome_that_nobody_knows_is_told_as_unknown_and_not_as_failed(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(use(1))
        number = bench.proposed("edit")[0].proposal
        await bench.tell(bench.outcome(number, b"", unknown=True, effect="maybe", is_error=True))
        [result] = bench.results()
        assert "unknown" in result.content
        assert not result.is_error


async def test_an_answer_counts_once(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(use(1))
        number = bench.proposed("edit")[0].proposal
        await bench.tell(bench.outcome(number))
        before = len(bench.gate.messages)
        refused = Refused(proposal=number, layer="gate", code="a.b", reason="", advice="")
        for late in (bench.outcome(number), refused, Deferred(proposal=number, qid=b"q" * 16)):
            bench.gate.ctx.post(bench.ref, late)
        bench.gate.ctx.post(bench.ref, Approved(proposal=number, token=b"late"))
        await settle()
        assert len(bench.gate.messages) == before
        await bench.durable()
        assert bench.names().count("tool_call_result") == 1
        assert "denied" not in bench.names()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"model.auth: no such key", "model.auth"),
        (b"the call was stopped", "model.unknown"),
        (b"", "model.unknown"),
        (b"\xff\xfe: x", "model.unknown"),
        (b"Bad Code: x", "model.unknown"),
    ],
)
async def test_a_model_that_fails_ends_the_turn_with_its_code(
    autojump_clock: MockClock, content: bytes, code: str
) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.tell(bench.outcome(1, content, is_error=True, effect="maybe"))
        await bench.durable()
        assert bench.names() == ["error", "session_saved", "turn_complete"]
        assert (bench.events()[-1]["stop_reason"], bench.events()[-1]["code"]) == ("failed", code)


async def test_an_answer_without_an_end_is_a_bug(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        await bench.hear()
        await bench.tell(bench.outcome(1, encode_event(TextDelta(text="hal"))))
        assert [getattr(error, "code", "") for error in bench.failures] == ["session.answer"]


async def test_output_that_is_no_text_and_output_without_end_are_told_all_the_same(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(use(1))
        await bench.tell(bench.outcome(bench.proposed("edit")[0].proposal, b"\xff" * 3_000_000))
        await bench.durable()
        [event] = [event for event in bench.events() if event["event"] == "tool_call_result"]
        assert "cut here" in event["result"]
        assert len(json.dumps(event, ensure_ascii=False).encode()) < 2**20


# ---- a gate without room, and giving up


async def block(bench: Bench, free: int) -> None:
    """Have the gate take nothing more, with room for so many messages."""
    bench.gate.open = trio.Event()
    interceptor = bench.system.ref("root/interceptor")
    bench.gateway.ctx.post(interceptor, "taken, and now it waits")
    await settle()
    for _ in range(10 - free):
        bench.gateway.ctx.post(interceptor, "filling")


@pytest.mark.parametrize("free", [0, 1, 2])
async def test_while_the_gate_has_no_room_the_session_waits_and_nothing_is_lost(
    autojump_clock: MockClock, free: int
) -> None:
    async with running(capacity=10) as bench:
        await bench.hear()
        await block(bench, free)
        said = answer(use(1, "look"), use(2, "look"))
        bench.gate.ctx.answer(bench.ref, 1, bench.outcome(1, said))
        await trio.sleep(10)
        bench.gate.open.set()
        await trio.sleep(1)
        mine = [message for message in bench.gate.messages if not isinstance(message, str)]
        assert [type(message).__name__ for message in mine] == [
            "Prompted",
            "Save",
            "Propose",
            "Save",
            "Propose",
            "Propose",
        ]
        assert [one.args for one in bench.proposed("look")] == [b'{"a": 1 }'] * 2


async def test_what_the_gate_never_got_need_not_be_withdrawn(autojump_clock: MockClock) -> None:
    async with running(capacity=10) as bench:
        await bench.hear()
        await block(bench, 2)
        said = answer(use(1, "look"), use(2, "look"))
        bench.gate.ctx.answer(bench.ref, 1, bench.outcome(1, said))
        await settle()
        bench.gateway.ctx.post(bench.ref, StopTurn())
        await settle()
        bench.gate.open.set()
        await trio.sleep(1)
        assert len(bench.proposed("look")) == 1
        await bench.durable()
        assert bench.events()[-1]["stop_reason"] == "cancelled"


async def test_a_turn_that_is_stopped_withdraws_what_it_proposed_and_is_over(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.hear()
        await bench.say(use(1, "look"), use(2, "look"))
        calls = [one.proposal for one in bench.proposed("look")]
        bench.gateway.ctx.post(bench.ref, StopTurn())
        await settle()
        assert [one.proposal for one in bench.got(Cancel)] == calls
        await bench.durable()
        assert (bench.events()[-1]["event"], bench.events()[-1]["stop_reason"]) == ("turn_complete", "cancelled")
        for number in calls:
            bench.gate.ctx.answer(bench.ref, number, bench.outcome(number))
        await settle()
        assert "tool_call_result" not in bench.names()
        await bench.hear("again")
        assert bench.proposed("model")[-1].proposal > max(calls)


async def test_stopping_while_nothing_runs_is_nothing(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.gateway.ctx.post(bench.ref, StopTurn())
        await settle()
        assert (bench.gate.messages, bench.gateway.messages) == ([], [])


# ---- who may say what


GATES: tuple[object, ...] = (
    Outcome(proposal=1, content=b"", is_error=False, effect="done", unknown=False, first_party=True, permit_seq=1),
    Refused(proposal=1, layer="gate", code="a.b", reason="", advice=""),
    Deferred(proposal=1, qid=b"q" * 16),
    Approved(proposal=1, token=b"t"),
    Minted(qid=b"q" * 16, token=b"t"),
    StreamedText(proposal=1, chunk=b"{}"),
    Done(id=-1, seq=1),
    Failed(id=-1, code="a.b", reason="", advice=""),
)
GATEWAYS: tuple[object, ...] = (Hear(text="do", integrity=3), StopTurn())


@pytest.mark.parametrize(
    ("message", "forger"),
    [
        *((message, who) for message in GATES for who in ("gateway", "outside")),
        *((message, who) for message in GATEWAYS for who in ("gate", "outside")),
        ("nonsense", "gate"),
    ],
)
async def test_nobody_speaks_for_the_gate_or_for_people(
    autojump_clock: MockClock, message: object, forger: str
) -> None:
    async with running(broken=True) as bench:
        await bench.hear()
        before = len(bench.gate.messages)
        probe = {"gate": bench.gate, "gateway": bench.gateway}.get(forger)
        if probe is None:
            bench.system.post(bench.ref, message)
        else:
            probe.ctx.post(bench.ref, message)
        await settle()
        assert [getattr(error, "code", "") for error in bench.failures] == ["session.message"]
        assert len(bench.gate.messages) == before


# ---- cancellation


async def _life() -> None:
    bench = Bench(1000)
    try:
        async with open_system(bench.tree, on_failure=bench.failed):
            await settle()
            await bench.hear()
            await bench.say(TextDelta(text="a"), use(1), use(2, "look"))
            await bench.tell(bench.outcome(bench.proposed("edit")[0].proposal))
            await bench.durable()
    finally:
        assert not bench.failures
        rows = [row for save in bench.got(Save) for row in save.rows]
        restore(SETTING, [decode_row(row.data) for row in rows])


def test_wherever_it_is_cancelled_what_it_saved_can_be_gone_on_from() -> None:
    assert cancel_at_every_step(_life) > 10


# ---- a session that wakes


async def lived(integrity: int = 3) -> tuple[Past, Bench]:
    """A session that had a turn, and what it can be woken from."""
    async with running() as bench:
        await bench.hear("remember this", integrity)
        await bench.say(TextDelta(text="I will"), use(1))
        await bench.tell(bench.outcome(bench.proposed("edit")[0].proposal))
        await bench.say(TextDelta(text="done"))
        rows = [decode_row(row.data) for save in bench.got(Save) for row in save.rows]
    return Past(restore(SETTING, rows), len(rows), (b"answer",)), bench


async def test_a_session_that_wakes_goes_on_where_it_was(autojump_clock: MockClock) -> None:
    past, before = await lived()
    asked = max(one.proposal for one in before.proposed())
    async with running(past=past) as bench:
        await bench.hear("and now?")
        [prompted] = bench.got(Prompted)
        assert prompted.turn == 2
        assert next(row.number for save in bench.got(Save) for row in save.rows) == past.rows + 1
        [proposed] = bench.proposed("model")
        assert proposed.proposal == asked + 1
        assert proposed.tokens == (b"base", b"answer")
        assert [message.role for message in bench.request().messages] == [
            "user",
            "assistant",
            "user",
            "assistant",
            "user",
        ]
        await bench.say(TextDelta(text="done"))
        await bench.durable()
        assert [event["turn"] for event in bench.events() if event["event"] == "turn_complete"] == [2]


async def test_a_session_that_saw_untrusted_text_has_seen_it_when_it_wakes(autojump_clock: MockClock) -> None:
    past, _ = await lived(Integrity.UNTRUSTED)
    async with running(past=past) as bench:
        await bench.hear("the user's own words", 3)
        assert bench.proposed()[0].tainted
    clean, _ = await lived()
    async with running(past=clean) as bench:
        await bench.hear("the user's own words", 3)
        assert not bench.proposed()[0].tainted


async def test_of_many_answers_the_newest_are_presented_by_whoever_wakes(autojump_clock: MockClock) -> None:
    past, _ = await lived()
    many = tuple(b"%d" % number for number in range(MAX_ANSWERS + 5))
    async with running(past=Past(past.turn, past.rows, many)) as bench:
        await bench.hear()
        assert bench.proposed()[0].tokens == (b"base", *many[5:])
