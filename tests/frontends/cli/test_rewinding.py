"""``astrid sessions rewind`` and ``restore``: what they do, say, list and refuse, against a daemon in this process."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from astrid.core.conversation import ToolUse
from astrid.core.labels import RUNTIME, Integrity, Label
from astrid.core.turn_answer import DENIED, OUTCOME_UNKNOWN, STOPPED_BEFORE, STOPPED_DURING
from astrid.core.turn_messages import AnswerRow, AnyRow, EndRow, FrameRow, InputRow, ResultRow
from astrid.errors import AstridError
from astrid.frontends.cli.past import read_journal
from astrid.frontends.cli.rewinding import Stays, restore_session, rewind_session, what_stays
from astrid.frontends.client import Client, connect
from astrid.wire import events as e
from astrid.wire import params as p
from astrid.wire import results as r
from tests.fakes.daemons import LIMIT_SECONDS, InProcess, daemon_in
from tests.fakes.turns import setting

READ = {"id": "t1", "name": "read_file", "arguments": {"file_path": "a.txt"}}
WRITE = {"id": "t2", "name": "write_file", "arguments": {"file_path": "b.txt", "content": "new\n"}}


@asynccontextmanager
async def three_turns(root: Path) -> AsyncIterator[tuple[InProcess, Client, str]]:
    """A session that read something in its second turn, and wrote a file in its third."""
    with trio.fail_after(LIMIT_SECONDS):
        async with daemon_in(root) as daemon, connect(daemon.home) as client:
            await client.call("tokensAdd", p.TokensAdd(token=daemon.grant()))
            script = daemon.script(
                {"text": "hello"},
                {"text": "look", "tool_calls": [READ]},
                {"text": "seen"},
                {"text": "write", "tool_calls": [WRITE]},
                {"text": "written"},
            )
            asked = p.CreateSession(workspace=str(daemon.workspace), mode="guided", model=script)
            session = cast("r.SessionInfo", await client.call("createSession", asked)).session_id
            await client.subscribe(session)
            for turn in (1, 2, 3):
                await client.call("sendInput", p.SendInput(session_id=session, turn=turn, input=f"say {turn}"))
                while not isinstance(await client.next_event(session), e.TurnComplete):
                    pass
            yield daemon, client, session


def arguments(session: str, **others: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"id": session, "to": 1, "model": None, "json": True, "dry_run": False, **others})


async def rows(client: Client, session: str) -> list[str]:
    return [json.loads(line)["row"] for line in (await read_journal(client, session)).lines]


async def test_it_says_what_is_gone_and_what_stays_and_touches_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        assert (daemon.workspace / "b.txt").read_text() == "new\n"
        assert await rewind_session(daemon.home, arguments(session)) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["session_id"], told["turn"], told["done"], told["messages"]) == (session, 1, True, 8)
        (stays,) = told["stays"]
        assert (stays["tool"], json.loads(stays["arguments"])) == ("write_file", WRITE["arguments"])
        assert stays["record"] > 0
        assert (daemon.workspace / "b.txt").read_text() == "new\n"
        assert (await rows(client, session))[-1] == "rewind"


async def test_what_it_would_do_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        before = await rows(client, session)
        assert await rewind_session(daemon.home, arguments(session, to=0, dry_run=True, json=False)) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[:2] == [f"{session} would be before its first turn", "what was done since stays done:"]
        assert said[2].startswith("  write_file ")
        assert await rows(client, session) == before


@pytest.mark.parametrize(("to", "code"), [(4, "session.no-such-turn"), (-1, "session.no-such-turn")])
async def test_a_turn_that_there_is_not_is_refused(tmp_path: Path, to: int, code: str) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        with pytest.raises(AstridError) as caught:
            await rewind_session(daemon.home, arguments(session, to=to))
        assert caught.value.code == code
        assert "rewind" not in await rows(client, session)


async def test_a_turn_that_was_rewound_away_is_refused(tmp_path: Path) -> None:
    async with three_turns(tmp_path) as (daemon, _, session):
        await rewind_session(daemon.home, arguments(session, to=1))
        with pytest.raises(AstridError) as caught:
            await rewind_session(daemon.home, arguments(session, to=2))
        assert caught.value.code == "turn.not-there"


async def test_where_nothing_was_summed_up_nothing_is_put_back(tmp_path: Path) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        with pytest.raises(AstridError) as caught:
            await restore_session(daemon.home, arguments(session))
        assert caught.value.code == "turn.not-compacted"
        assert "restore" not in await rows(client, session)


async def test_for_a_session_that_has_ended_a_fork_is_named(tmp_path: Path) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        await client.call("endSession", p.OfSession(session_id=session))
        while not isinstance(await client.next_event(session), e.SessionEnded):
            pass
        with pytest.raises(AstridError) as caught:
            await rewind_session(daemon.home, arguments(session))
        assert caught.value.code == "session.ended"
        assert "fork" in caught.value.advice


def said(name: str, content: str, *origins: int) -> tuple[AnyRow, ...]:
    """One call in a turn of its own, and its result, which comes from these records."""
    label = Label(Integrity.TOOL, origins)
    return (
        InputRow(at_ns=1, text="go", label=RUNTIME),
        AnswerRow(at_ns=1, parts=(ToolUse(id=name, name=name, arguments="{}"),), label=RUNTIME, usage=None),
        ResultRow(at_ns=1, id=name, content=content, is_error=True, label=label),
        EndRow(at_ns=1, reason="end_turn", code=""),
    )


def test_what_ran_and_what_perhaps_ran_is_listed_and_what_was_refused_or_only_read_is_not() -> None:
    framed = FrameRow(at_ns=1, setting=setting())
    rows = (
        framed,
        *said("edit", "before the turn", 3),
        *said("edit", "failed, and may have changed something", 5),
        *said("run", OUTCOME_UNKNOWN),
        *said("run", STOPPED_DURING),
        *said("run", STOPPED_BEFORE),
        *said("edit", DENIED),
        *said("look", "only read", 7),
        *said("undeclared", "who knows", 9),
    )
    listed = [(one.tool, one.record) for one in what_stays(rows, 1)]
    assert listed == [("edit", 5), ("run", 0), ("run", 0), ("undeclared", 9)]
    assert [one.record for one in what_stays(rows, 0)] == [3, 5, 0, 0, 9]
    assert what_stays(rows, 8) == []


def test_a_call_whose_end_nobody_knows_is_listed_as_that() -> None:
    assert Stays("run", "{}", 0).line() == "  run {} (how it ended is not known)"
    assert Stays("run", "{}", 4).line() == "  run {} (record 4)"
