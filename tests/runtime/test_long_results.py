"""Results that are too long to be shown: the session that they are a result of can read the rest, and nobody else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from astrid.adapters.store.journal import SqliteReader
from astrid.adapters.workspace.tools import WorkspaceTools
from astrid.core.call import Call
from astrid.core.conversation import ToolResult
from astrid.core.grants import Mode
from astrid.core.records import Kind
from astrid.hosts import results as module
from astrid.ports import ToolOutcome
from tests.fakes.runtime import Json, Runtime, call, running, turn
from tests.fakes.sleepers import actor, listen, opened, sleep, talk

LONG = b"".join(b"line %d\n" % number for number in range(20_000))
UNKNOWN = "result.unknown: no result of this session has this handle"
NOTE = re.compile(
    r"\[cut by the runtime: bytes (\d+) to (\d+) of (\d+) are left out here; read_result with handle (\d+)"
)


@pytest.fixture(autouse=True)
def long_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """``read_file`` of ``long`` gives a text that is longer than any real tool of the workspace would."""
    original = WorkspaceTools.execute

    async def execute(self: WorkspaceTools, made: Call, report: Any) -> ToolOutcome:
        if b'"long"' in made.args:
            return ToolOutcome(content=LONG, is_error=False, effect="none")
        return await original(self, made, report)

    monkeypatch.setattr(WorkspaceTools, "execute", execute)


def shown(runtime: Runtime, session: bytes) -> list[ToolResult]:
    """The results that the model of a session was shown."""
    entries = actor(runtime, session)._turn.conversation
    return [part for entry in entries for part in entry.message.parts if isinstance(part, ToolResult)]


async def cut(runtime: Runtime, session: bytes) -> tuple[int, int, int, int]:
    """A session whose model was shown a part of ``LONG``; what the note says."""
    (runtime.workspace / "long").write_text("x")
    runtime.model.says = [("c1", "read_file", '{"file_path": "long"}')]
    await talk(runtime, "look")
    found = NOTE.search(shown(runtime, session)[-1].content)
    assert found is not None
    first, last, total, handle = map(int, found.groups())
    return first, last, total, handle


async def read(runtime: Runtime, session: bytes, number: int = 2, **arguments: object) -> ToolResult:
    runtime.model.says = [(f"c{number}", "read_result", json.dumps(arguments))]
    await talk(runtime, "more")
    return shown(runtime, session)[-1]


async def test_what_was_left_out_can_be_read_piece_by_piece_and_is_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        first, last, total, handle = await cut(runtime, session)
        head, tail = shown(runtime, session)[-1].content.split(NOTE.search(shown(runtime, session)[-1].content)[0])  # type: ignore[index]
        assert total == len(LONG)
        pieces, at = [head.removesuffix("\n").encode()], first
        number = 2
        while at <= last:
            found = await read(runtime, session, number, handle=handle, offset=at, limit=min(30_000, last + 1 - at))
            text, _, place = found.content.rpartition("\n[bytes ")
            assert not found.is_error
            pieces.append(text.encode())
            at = int(re.findall("[0-9]+", place)[1]) + 1
            number += 1
        assert b"".join(pieces) + tail.removeprefix(" gives them]\n").encode() == LONG


async def test_it_can_be_read_after_the_session_slept(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        *_, handle = await cut(runtime, session)
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        found = await read(runtime, session, handle=handle, offset=100, limit=20)
        assert found.content == LONG[100:120].decode() + f"\n[bytes 100 to 119 of {len(LONG)}]"


async def test_a_result_of_another_session_is_as_unknown_as_none(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        *_, handle = await cut(runtime, session)
        other = await opened(runtime)
        for wrong in (handle, 10**9):
            found = await read(runtime, other, wrong, handle=wrong)
            assert (found.is_error, found.content) == (True, UNKNOWN)


async def test_a_record_of_another_session_that_names_this_one_is_none_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        *_, handle = await cut(runtime, session)
        other = await opened(runtime)
        monkeypatch.setattr(SqliteReader, "frames_of", lambda self, _, first, count: self.frames(first, count))
        assert (await read(runtime, other, handle=handle)).content == UNKNOWN


async def test_without_a_look_at_the_session_the_result_of_another_would_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        *_, handle = await cut(runtime, session)
        original = module.find_result
        monkeypatch.setattr(module, "find_result", lambda reader, _, permit: original(reader, session, permit))
        found = await read(runtime, await opened(runtime), handle=handle)
        assert not found.is_error


async def test_no_other_record_of_the_session_is_a_result(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        *_, handle = await cut(runtime, session)
        wrong = [seq for seq, _ in enumerate(runtime.records(), 1) if seq != handle]
        runtime.model.says = [(f"c{seq}", "read_result", json.dumps({"handle": seq, "limit": 1})) for seq in wrong]
        before = len(shown(runtime, session))
        await talk(runtime, "all of them")
        found = [one.content for one in shown(runtime, session)[before:]]
        assert found == [UNKNOWN] * len(wrong)


async def test_what_is_read_again_is_untrusted(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        *_, handle = await cut(runtime, session)
        await read(runtime, session, handle=handle)
        [label] = actor(runtime, session)._turn.conversation[-2].labels
        assert label.tainted
        permits = [body for kind, body in runtime.records() if kind is Kind.PERMIT]
        assert "read_result" in [body.tool for body in permits]  # type: ignore[attr-defined]


async def test_a_result_that_was_erased_is_not_there_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        *_, handle = await cut(runtime, session)
        monkeypatch.setattr(SqliteReader, "payload", lambda self, seq, slot: None)
        found = await read(runtime, session, handle=handle)
        assert (found.is_error, found.content) == (True, "result.erased: this result was erased from the log")


async def test_a_result_that_was_changed_on_the_disk_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SqliteReader.payload

    def changed(self: SqliteReader, seq: int, slot: int) -> tuple[bytes, bytes] | None:
        found = original(self, seq, slot)
        return None if found is None else (found[0], found[1].replace(b"line", b"evil"))

    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        *_, handle = await cut(runtime, session)
        monkeypatch.setattr(SqliteReader, "payload", changed)
        found = await read(runtime, session, handle=handle)
        assert found.is_error
        assert "evil" not in found.content


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"handle": 0},
        {"handle": "1"},
        {"handle": 1, "offset": -1},
        {"handle": 1, "limit": 30_001},
        {"handle": 1, "more": 1},
    ],
)
async def test_arguments_that_make_no_sense_are_refused(tmp_path: Path, arguments: Json) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.open([turn(call("read_result", **arguments)), turn(text="done")], mode="safe")
        await runtime.say("go")
        events = await runtime.until("turn_complete")
        assert [one["layer"] for one in events if one["event"] == "denied"] == ["input"]


async def test_past_the_end_there_is_nothing_and_that_is_said(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        *_, handle = await cut(runtime, session)
        found = await read(runtime, session, handle=handle, offset=len(LONG))
        assert (found.is_error, str(len(LONG)) in found.content) == (True, True)
