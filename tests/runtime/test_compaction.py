"""A conversation too long for its model, in the whole tree: summed up by a call like any other, and for good."""

from __future__ import annotations

from pathlib import Path

from trio.testing import MockClock

from astrid.core.conversation import Text, ToolResult
from astrid.core.records import Kind
from astrid.runtime.verify import Result, Trust, verify_home
from tests.fakes.runtime import running
from tests.fakes.sleepers import listen, opened, sleep, talk

# The model counts next to nothing, so that a token is sixteen characters, the most that is believed.
LONG = ("\n".join("word " * 20 for _ in range(700))).encode()


async def test_a_long_conversation_is_summed_up_in_a_call_of_its_own_and_stays_so(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        names = ("a", "b", "c", "d")
        for name in names:
            (runtime.workspace / f"{name}.txt").write_bytes(LONG + name.encode())
        runtime.model.says = [(name, "read_file", f'{{"file_path": "{name}.txt"}}') for name in names]
        runtime.model.says += ["all files say word", "done"]
        events = await talk(runtime, "read all")
        (what,) = [event for event in events if event["event"] == "context_compacted"]
        assert not what["restored"]
        assert what["tokens_after"] < what["tokens_before"]
        assert [event["text"] for event in events if event["event"] == "message"] == ["done"]
        assert events[-1]["stop_reason"] == "end_turn"
        permits = [kind for kind, _ in runtime.records() if kind is Kind.PERMIT]
        assert len(permits) == 6 + 4  # each time the model was asked, and each call
        await sleep(runtime, mock_clock)
        await listen(runtime, events[-1]["seq"])
        await talk(runtime, "and now?")
        parts = [part for message in runtime.model.asked[-1].messages for part in message.parts]
        texts = [part.text for part in parts if isinstance(part, Text)]
        assert texts[0] == "read all"
        assert texts[1].endswith("all files say word")
        assert texts[2:] == ["done", "and now?"]
        assert [part.id for part in parts if isinstance(part, ToolResult)] == ["d"]  # the latest stays
    assert verify_home(runtime.world.home.root, Trust(), is_own=True).result is Result.SOUND


async def test_what_is_to_be_done_stays_as_it_was_written_when_the_rest_is_summed_up(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        names = ("a", "b", "c", "d")
        for name in names:
            (runtime.workspace / f"{name}.txt").write_bytes(LONG + name.encode())
        plan = (
            '{"todos": [{"content": "read a to d", "status": "in_progress"}, {"content": "sum", "status": "pending"}]}'
        )
        runtime.model.says = [("plan", "todo_write", plan)]
        runtime.model.says += [(name, "read_file", f'{{"file_path": "{name}.txt"}}') for name in names]
        runtime.model.says += ["all files say word", "done"]
        events = await talk(runtime, "read all")
        (noted,) = [event for event in events if event["event"] == "tool_call_result" and event["id"] == "plan"]
        assert (noted["result"], noted["is_error"]) == ("noted: 2 of 2 open", False)
        assert [event["event"] for event in events if event["event"] == "context_compacted"]
        parts = [part for message in runtime.model.asked[-1].messages for part in message.parts]
        texts = [part.text for part in parts if isinstance(part, Text)]
        assert texts[0] == "read all"
        assert texts[1].endswith("\n- [>] read a to d\n- [ ] sum")
        assert texts[2].endswith("all files say word")
