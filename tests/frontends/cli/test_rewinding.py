"""``astrid sessions rewind`` and ``restore``: what they do, say, list and refuse, against a daemon in this process."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from astrid.errors import AstridError
from astrid.frontends.cli import DENIED, rewinding, sessions
from astrid.frontends.cli.past import read_journal
from astrid.frontends.cli.rewinding import restore_session, rewind_session
from astrid.frontends.client import Client, connect
from astrid.wire import events as e
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire import undone as u
from tests.daemon.test_histories import ended
from tests.fakes.daemons import LIMIT_SECONDS, InProcess, daemon_in

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
    given = {"to": 1, "only": None, "model": None, "json": True, "dry_run": False, "yes": True}
    return argparse.Namespace(**{"id": session, **given, **others})


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Somebody at the terminal types ``text``."""
    terminal = StringIO(text)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)


async def rows(client: Client, session: str) -> list[str]:
    return [json.loads(line)["row"] for line in (await read_journal(client, session)).lines]


async def test_the_conversation_and_the_files_are_what_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        assert (daemon.workspace / "b.txt").read_text() == "new\n"
        assert await rewind_session(daemon.home, arguments(session)) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["session_id"], told["turn"], told["done"], told["messages"]) == (session, 1, True, 8)
        assert told["files_done"]
        assert told["files"] == [{"path": str(daemon.workspace / "b.txt"), "does": "remove"}]
        assert (told["left"], told["stays"], told["not_listed"]) == ([], [], 0)
        assert not (daemon.workspace / "b.txt").exists()
        assert (await rows(client, session))[-1] == "rewind"


async def test_the_conversation_alone_goes_back_and_no_file_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        assert await rewind_session(daemon.home, arguments(session, only="conversation", yes=False)) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["done"], told["messages"], told["files_done"]) == (True, 8, False)
        assert [one["path"] for one in told["files"]] == [str(daemon.workspace / "b.txt")]
        assert (daemon.workspace / "b.txt").read_text() == "new\n"
        assert (await rows(client, session))[-1] == "rewind"


async def test_the_files_alone_go_back_also_of_a_session_that_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        await ended(client, session)
        before = await rows(client, session)
        assert await rewind_session(daemon.home, arguments(session, only="files", json=False)) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"{session} itself stays where it is",
            "put back:",
            f"  {daemon.workspace}/b.txt removed",
        ]
        assert not (daemon.workspace / "b.txt").exists()
        assert await rows(client, session) == before


async def test_nothing_is_done_where_nobody_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        before = await rows(client, session)
        with pytest.raises(AstridError) as caught:
            await rewind_session(daemon.home, arguments(session, yes=False))
        assert caught.value.code == "session.not-agreed"
        typed(monkeypatch, "no\n")
        assert await rewind_session(daemon.home, arguments(session, yes=False)) == DENIED
        assert await rows(client, session) == before
        assert (daemon.workspace / "b.txt").read_text() == "new\n"


async def test_whoever_is_asked_is_shown_which_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with three_turns(tmp_path) as (daemon, _, session):
        typed(monkeypatch, "y\n")
        assert await rewind_session(daemon.home, arguments(session, yes=False)) == 0
        asked = capsys.readouterr().err
        assert asked == f"  {daemon.workspace}/b.txt is to be removed\nrewind? [y/N] "
        assert not (daemon.workspace / "b.txt").exists()
        assert await rewind_session(daemon.home, arguments(session, yes=False)) == 0  # nothing is left to be asked


async def test_what_is_left_alone_and_what_stays_is_said_to_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with three_turns(tmp_path) as (daemon, _, session):
        (daemon.workspace / "b.txt").write_text("theirs\n")
        assert await rewind_session(daemon.home, arguments(session, json=False)) == 0
        assert capsys.readouterr().out.splitlines()[1:] == [
            "left alone:",
            f"  {daemon.workspace}/b.txt: somebody else changed it as well",
        ]
        assert (daemon.workspace / "b.txt").read_text() == "theirs\n"


async def test_what_it_would_do_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        before = await rows(client, session)
        assert await rewind_session(daemon.home, arguments(session, to=0, dry_run=True, json=False)) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"{session} would be before its first turn",
            "would be put back:",
            f"  {daemon.workspace}/b.txt to be removed",
        ]
        assert await rows(client, session) == before
        assert (daemon.workspace / "b.txt").read_text() == "new\n"


def test_a_turn_below_the_first_is_not_understood(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    sessions.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["rewind", "ID", "--to=-1"])
    assert "-1" in capsys.readouterr().err


async def test_a_turn_that_there_is_not_is_refused(tmp_path: Path) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        with pytest.raises(AstridError) as caught:
            await rewind_session(daemon.home, arguments(session, to=4))
        assert caught.value.code == "session.no-such-turn"
        assert "rewind" not in await rows(client, session)
        assert (daemon.workspace / "b.txt").read_text() == "new\n"


async def test_a_turn_that_was_rewound_away_is_refused(tmp_path: Path) -> None:
    async with three_turns(tmp_path) as (daemon, _, session):
        await rewind_session(daemon.home, arguments(session, to=1, only="conversation"))
        with pytest.raises(AstridError) as caught:
            await rewind_session(daemon.home, arguments(session, to=2))
        assert caught.value.code == "turn.not-there"
        assert (daemon.workspace / "b.txt").read_text() == "new\n"


async def test_where_nothing_was_summed_up_nothing_is_put_back(tmp_path: Path) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        with pytest.raises(AstridError) as caught:
            await restore_session(daemon.home, arguments(session))
        assert caught.value.code == "turn.not-compacted"
        assert "restore" not in await rows(client, session)


async def test_for_a_session_that_has_ended_a_fork_is_named(tmp_path: Path) -> None:
    async with three_turns(tmp_path) as (daemon, client, session):
        await ended(client, session)
        with pytest.raises(AstridError) as caught:
            await rewind_session(daemon.home, arguments(session))
        assert caught.value.code == "session.ended"
        assert "fork" in caught.value.advice
        assert (daemon.workspace / "b.txt").read_text() == "new\n"


@pytest.mark.parametrize(
    ("done", "writes", "first"),
    [(True, True, "put back:"), (False, True, "would be put back:"), (False, False, "not put back, but can be:")],
)
def test_people_are_told_of_every_file_and_call_what_became_of_it(done: bool, writes: bool, first: str) -> None:
    told = u.FilesRewound(
        session_id=f"session:{'0' * 32}",
        turn=1,
        done=done,
        plan=b"p" * 32,
        files=(u.UndoneFile(path="/ws/a", does="make"),),
        left=(u.LeftFile(path="/ws/b", why="unkept"), u.LeftFile(path="/ws/c", why="refused", said="it has two names")),
        stays=(
            u.StayedCall(record=7, tool="bash", arguments="{}", why="unknown"),
            u.StayedCall(record=9, tool="write_file", arguments="{}", why="outside"),
        ),
        not_listed=3,
        forked_at=2,
        in_view=True,
    )
    assert list(rewinding._files_said(told, writes=writes)) == [
        first,
        f"  /ws/a {'' if done else 'to be '}made again",
        "left alone:",
        "  /ws/b: what it held is not kept any more",
        "  /ws/c: it has two names",
        "what was done since stays done:",
        "  bash {} (record 7, how it ended is not known)",
        "  write_file {} (record 9, not in the workspace)",
        "  what the session did that this one goes on from, up to turn 2",
        "and 3 more",
    ]
