"""Conversations that are rewound or put back, in the whole tree: what the model sees next, also after a sleep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from astrid.core.context import SUMMARISE
from astrid.core.conversation import AnyStreamEvent, ModelRequest, Text, ToolResult
from astrid.messages.gateway import CancelTurn, Declined, Taken, TurnConversation
from astrid.runtime.verify import Result, Trust, verify_home
from tests.fakes.runtime import Runtime, running
from tests.fakes.shared_model import SharedModel
from tests.fakes.sleepers import ask, is_in, line, listen, opened, sleep, talk
from tests.runtime.test_compaction import LONG


def seen(runtime: Runtime) -> list[str]:
    """What people and the model said, as the model was shown it last."""
    parts = [part for message in runtime.model.asked[-1].messages for part in message.parts]
    return [part.text for part in parts if isinstance(part, Text)]


async def turned(runtime: Runtime, to: int | None, event: str) -> dict[str, object]:
    said = await ask(runtime, TurnConversation(session=runtime.session, to=to))
    assert isinstance(said, Taken), said
    return (await runtime.until(event))[-1]


@pytest.mark.parametrize("asleep", [False, True])
async def test_what_was_said_after_the_turn_is_not_shown_to_the_model_again(
    tmp_path: Path, mock_clock: MockClock, asleep: bool
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        for text in ("first", "second", "third"):
            last = (await talk(runtime, text))[-1]["seq"]
        if asleep:
            await sleep(runtime, mock_clock)
            await listen(runtime, last)
        happened = await turned(runtime, 1, "conversation_rewound")
        assert (happened["turn"], happened["messages"]) == (1, 4)
        await is_in(runtime, session, "idle")
        found = await line(runtime, session)
        assert found is not None
        assert found.turns == 3
        events = await talk(runtime, "instead")
        assert events[-1]["turn"] == 4
        assert seen(runtime) == ["first", "all right", "instead"]
    assert verify_home(runtime.world.home.root, Trust(), is_own=True).result is Result.SOUND


async def test_a_rewound_session_is_the_same_after_it_slept(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        for text in ("first", "second"):
            await talk(runtime, text)
        happened = await turned(runtime, 0, "conversation_rewound")
        await is_in(runtime, session, "idle")
        await sleep(runtime, mock_clock)
        await listen(runtime, happened["seq"])  # type: ignore[arg-type]
        await talk(runtime, "anew")
        assert seen(runtime) == ["anew"]


@pytest.mark.parametrize(("to", "code"), [(2, "turn.not-there"), (None, "turn.not-compacted")])
async def test_what_cannot_be_turned_back_is_said_and_the_session_goes_on(
    tmp_path: Path, to: int | None, code: str
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime, "first")
        assert (await turned(runtime, to, "error"))["code"] == code
        await is_in(runtime, session, "idle")
        assert (await talk(runtime, "second"))[-1]["turn"] == 2
        assert seen(runtime) == ["first", "all right", "second"]


async def test_nothing_is_rewound_while_a_turn_runs(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime, "first")
        assert isinstance(await runtime.say("second"), Taken)
        said = await ask(runtime, TurnConversation(session=session, to=0))
        assert isinstance(said, Declined)
        assert said.code == "session.busy"
        await runtime.until("turn_complete")
        assert seen(runtime) == ["first", "all right", "second"]


async def test_a_session_that_is_told_to_stop_before_it_woke_is_not_rewound(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        last = (await talk(runtime, "first"))[-1]["seq"]
        await sleep(runtime, mock_clock)
        await listen(runtime, last)
        assert isinstance(await ask(runtime, TurnConversation(session=session, to=0)), Taken)
        await ask(runtime, CancelTurn(session=session))
        assert (await runtime.until("turn_complete"))[-1]["stop_reason"] == "cancelled"
        await is_in(runtime, session, "idle")
        await talk(runtime, "second")
        assert seen(runtime) == ["first", "all right", "second"]


async def test_nobody_rewinds_a_session_that_is_not_there(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        said = await ask(runtime, TurnConversation(session=b"?" * 16, to=0))
        assert isinstance(said, Declined)
        assert said.code == "session.unknown"


async def test_what_was_summed_up_is_not_put_back_where_the_model_could_not_take_it(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        names = ("a", "b", "c", "d")
        for name in names:
            (runtime.workspace / f"{name}.txt").write_bytes(LONG + name.encode())
        runtime.model.says = [(name, "read_file", f'{{"file_path": "{name}.txt"}}') for name in names]
        runtime.model.says += ["all files say word", "done"]
        events = await talk(runtime, "read all")
        assert "context_compacted" in [event["event"] for event in events]
        assert (await turned(runtime, None, "error"))["code"] == "turn.no-room"
        await is_in(runtime, session, "idle")


class Reader(SharedModel):
    """Reads the file that it is told of, says so, and sums up when it is asked to."""

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[AnyStreamEvent]]:
        last = request.messages[-1].parts[-1]
        if isinstance(last, Text) and last.text == SUMMARISE:
            self.says = ["all files say word"]
        elif isinstance(last, Text):
            self.says = [(last.text, "read_file", '{"file_path": "a.txt"}')]
        else:
            self.says = ["seen"]
        async with super().stream(request) as events:
            yield events


def shown(request: ModelRequest) -> list[str]:
    """What the model was shown: texts, and of results of reads which."""
    parts = [part for message in request.messages for part in message.parts]
    texts = [part.text if isinstance(part, Text) else part.id for part in parts if isinstance(part, Text | ToolResult)]
    return [text for text in texts if text != SUMMARISE]


@pytest.mark.parametrize("asleep", [False, True])
async def test_what_was_summed_up_is_put_back_and_shown_to_the_model_again(
    tmp_path: Path, mock_clock: MockClock, asleep: bool
) -> None:
    async with running(tmp_path) as runtime:
        catalogue: Any = runtime.world.catalogue  # between where it sums up and where nothing more fits there is room
        table = msgspec.structs.replace(catalogue._config.model, max_tokens=500)
        catalogue._config = msgspec.structs.replace(catalogue._config, model=table)
        runtime.model = Reader()
        session = await opened(runtime)
        (runtime.workspace / "a.txt").write_bytes(LONG[:8000])
        reads: list[str] = []
        summed: list[dict[str, Any]] = []
        while not summed:
            reads.append(f"read-{len(reads)}")
            events = await talk(runtime, reads[-1])
            summed = [event for event in events if event["event"] == "context_compacted"]
        (whole,) = [shown(one) for one in runtime.model.asked if SUMMARISE in str(one.messages[-1])]
        assert shown(runtime.model.asked[-1])[: len(whole)] != whole, "the model sees all of it all the same"
        happened = await turned(runtime, None, "context_compacted")
        assert (happened["restored"], happened["messages"]) == (True, summed[0]["messages"])
        await is_in(runtime, session, "idle")
        if asleep:
            await sleep(runtime, mock_clock)
            await listen(runtime, happened["seq"])  # type: ignore[arg-type]
        before = len(runtime.model.asked)
        await talk(runtime, "next")
        assert shown(runtime.model.asked[before])[: len(whole)] == whole
    assert verify_home(runtime.world.home.root, Trust(), is_own=True).result is Result.SOUND
