"""A task from the first word to the last, through the real tree, log, tools and gate; only the model is scripted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from astrid.core.approval import Verdict
from astrid.core.grants import Mode
from astrid.core.records import Kind
from astrid.messages.gate import Done, Failed
from astrid.messages.gateway import GiveAnswer
from astrid.runtime.log import read_past
from tests.fakes.runtime import call, running, turn

Json = dict[str, Any]


async def test_a_read_within_the_grant_is_recorded_before_it_runs(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        (runtime.workspace / "a.txt").write_text("hello\n")
        await runtime.grant(Mode.SAFE)
        await runtime.open([turn(call("read_file", file_path="a.txt")), turn(text="done")], mode="safe")
        await runtime.say("read it")
        events = await runtime.until("turn_complete")
    results = [event for event in events if event["event"] == "tool_call_result"]
    assert [("hello" in event["result"], event["is_error"]) for event in results] == [(True, False)]
    async with running(tmp_path) as runtime:
        kinds = [kind for kind, _ in runtime.records()]
    permits = [seq for seq, kind in enumerate(kinds) if kind is Kind.PERMIT]
    outcomes = [seq for seq, kind in enumerate(kinds) if kind is Kind.OUTCOME]
    assert len(permits) == len(outcomes) == 3  # two model calls and one read
    assert all(permit < outcome for permit, outcome in zip(permits, outcomes, strict=True))


async def test_a_write_outside_the_mode_asks_and_is_deferred_when_nobody_is_there(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.open([turn(call("write_file", file_path="a.txt", content="x")), turn(text="done")], mode="safe")
        await runtime.say("write it")
        events = await runtime.until("turn_complete")
        assert not (runtime.workspace / "a.txt").exists()
    assert [event["event"] for event in events if event["event"] in ("deferred", "denied")] == ["deferred"]


async def test_a_yes_runs_exactly_the_call_that_was_asked_about(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        same = turn(call("bash", command="echo one > made.txt"))
        script = [same, same, turn()]
        await runtime.open(script)
        await runtime.attend()
        await runtime.say("run it")
        asked = (await runtime.until("approval_needed"))[-1]
        assert isinstance(await runtime.respond(asked, Verdict.ONCE), Done)
        second = (await runtime.until("approval_needed"))[-1]
        assert (runtime.workspace / "made.txt").read_text() == "one\n"
        assert second["question_id"] != asked["question_id"]
        assert isinstance(await runtime.respond(second, Verdict.DENY), Done)
        events = await runtime.until("turn_complete")
    assert [event["code"] for event in events if event["event"] == "denied"] == ["approval.denied"]


async def test_a_session_answer_covers_the_same_call_again_but_no_other(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        texts = (("a", "1"), ("a", "2"), ("b", "3"))
        writes = [call("write_file", file_path=name, content=text) for name, text in texts]
        await runtime.open([turn(one) for one in writes] + [turn()], mode="safe")
        await runtime.attend()
        await runtime.say("write")
        asked = (await runtime.until("approval_needed"))[-1]
        assert isinstance(await runtime.respond(asked, Verdict.SESSION), Done)
        second = (await runtime.until("approval_needed"))[-1]
        assert (runtime.workspace / "a").read_text() == "2"
        await runtime.respond(second, Verdict.DENY)
        await runtime.until("turn_complete")
        assert not (runtime.workspace / "b").exists()


async def test_an_answer_given_twice_counts_once(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.open([turn(call("write_file", file_path="a", content="1")), turn()], mode="safe")
        await runtime.attend()
        await runtime.say("write")
        asked = (await runtime.until("approval_needed"))[-1]
        question = await runtime.question(asked)
        raw = runtime.answer_to(question, asked, Verdict.ONCE)
        first = await runtime.by_ticket(lambda n: GiveAnswer(ticket=n, answer=raw))
        again = await runtime.by_ticket(lambda n: GiveAnswer(ticket=n, answer=raw))
        assert isinstance(first, Done)
        assert isinstance(again, Failed)
        assert again.code == "approval.settled"


async def test_a_question_outlives_a_restart_and_can_still_be_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.open([turn(call("write_file", file_path="a", content="1")), turn()], mode="safe")
        await runtime.say("write")
        events = await runtime.until("turn_complete")
        asked = next(event for event in events if event["event"] == "approval_needed")
    async with running(tmp_path) as runtime:
        assert isinstance(await runtime.respond(asked, Verdict.WORKSPACE), Done)
        await runtime.open([turn(call("write_file", file_path="a", content="1")), turn()], mode="safe")
        await runtime.say("write")
        events = await runtime.until("turn_complete")
        assert (runtime.workspace / "a").read_text() == "1"
    assert not [event for event in events if event["event"] in ("denied", "deferred")]


async def test_a_session_without_a_grant_does_not_open(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        answer = await runtime.open([turn()], mode="guided")
    assert isinstance(answer, Failed)
    assert answer.code == "token.no-grant"


async def test_a_model_call_that_does_not_fit_the_budget_is_not_made(tmp_path: Path) -> None:
    header = {"model": {"name": "dear", "price": {"input_usd_per_million": "1000", "output_usd_per_million": "1000"}}}
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.open([header, turn()], mode="safe", budget=1000)
        await runtime.say("hello")
        events = await runtime.until("turn_complete")
    assert [event["layer"] for event in events if event["event"] == "denied"] == ["budget"]


async def test_a_stopped_log_is_signed_to_its_last_record(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        world = runtime.world
    past = read_past(world.home, world.keys)
    assert past.signed == past.tip.size > 3
