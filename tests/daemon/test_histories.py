"""Sessions of the past, asked by the product's own client of a daemon in this process, and of one after another."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import apsw
import pytest
import trio

from astrid.daemon import histories
from astrid.errors import AstridError
from astrid.frontends.cli.past import past_sessions, read_journal
from astrid.frontends.client import Client, connect
from astrid.wire import events as e
from astrid.wire import params as p
from astrid.wire import past as w
from astrid.wire import results as r
from tests.fakes.daemons import LIMIT_SECONDS, InProcess, daemon_in, daemon_of

READ = {"id": "t1", "name": "read_file", "arguments": {"file_path": "a.txt"}}


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[tuple[InProcess, Client]]:
    with trio.fail_after(LIMIT_SECONDS):
        async with daemon_in(root) as daemon, connect(daemon.home) as client:
            await client.call("tokensAdd", p.TokensAdd(token=daemon.grant()))
            yield daemon, client


async def talked(daemon: InProcess, client: Client, text: str) -> str:
    """A session that had one turn."""
    asked = p.CreateSession(
        workspace=str(daemon.workspace),
        mode="guided",
        model=daemon.script({"text": "look", "tool_calls": [READ]}, {"text": "done"}),
    )
    info = cast("r.SessionInfo", await client.call("createSession", asked))
    await client.subscribe(info.session_id)
    await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input=text))
    while not isinstance(await client.next_event(info.session_id), e.TurnComplete):
        pass
    return info.session_id


async def ended(client: Client, session: str) -> None:
    await client.call("endSession", p.OfSession(session_id=session))
    while not isinstance(await client.next_event(session), e.SessionEnded):
        pass


def edit(daemon: InProcess, sql: str) -> None:
    """Somebody edits the log's database, past its triggers."""
    database = apsw.Connection(str(daemon.home.log))
    for (name,) in list(database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")):
        database.execute(f'DROP TRIGGER "{name}"')
    database.execute(sql)
    assert database.changes() > 0
    database.close()


async def test_what_is_over_is_listed_with_what_the_log_says_of_it(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        first, second = await talked(daemon, client, "one  \n thing"), await talked(daemon, client, "another")
        await ended(client, first)
        found = {one.session_id: one for one in (await past_sessions(client)).sessions}
        assert list(found) == [first, second]  # the end of the first is the last that happened
        one, other = found[first], found[second]
        assert (one.state, one.ended, other.state, other.ended) == ("ended", "client", "open", "")
        assert (one.prompt, other.prompt, one.turns, one.trouble) == ("one thing", "another", 1, "")
        assert (one.workspace, one.mode) == (str(daemon.workspace), "guided")
        assert one.model.startswith("scripted/")
        assert int(one.started_ns) <= int(one.last_ns)


async def test_the_next_daemon_knows_the_sessions_of_the_one_before_it(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        session = await talked(daemon, client, "remember this")
        before = (await read_journal(client, session)).lines
    with trio.fail_after(LIMIT_SECONDS):
        async with daemon_of(daemon.home), connect(daemon.home) as client:
            (one,) = (await past_sessions(client)).sessions
            assert (one.session_id, one.state, one.ended, one.prompt) == (session, "ended", "shutdown", "remember this")
            assert (await read_journal(client, session)).lines == before


async def test_a_journal_that_comes_in_parts_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as (daemon, client):
        session = await talked(daemon, client, "go")
        whole = await read_journal(client, session)
        monkeypatch.setattr(histories, "MAX_PART_BYTES", 500)
        assert await read_journal(client, session) == whole
        kinds = [json.loads(line)["row"] for line in whole.lines]
        assert kinds == ["frame", "input", "ask", "answer", "call", "result", "ask", "answer", "end"]


async def test_a_list_that_comes_in_pages_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as (daemon, client):
        for number in range(3):
            await talked(daemon, client, f"number {number}")
        whole = await past_sessions(client)
        monkeypatch.setattr(histories, "MAX_LIST_BYTES", 600)
        page = cast("w.PastSessions", await client.call("listPast", p.ListPast()))
        assert (len(page.sessions), page.left_out) == (1, 2)
        assert await past_sessions(client) == whole
        assert [one.prompt for one in whole.sessions] == ["number 2", "number 1", "number 0"]


@pytest.mark.parametrize(
    ("sql", "trouble"),
    [
        ("DELETE FROM journal", "what the session said was erased from the log"),
        ("UPDATE journal SET row = CAST(replace(CAST(row AS TEXT), 'go', 'no') AS BLOB)", "are not those"),
    ],
)
async def test_one_whose_journal_was_erased_or_edited_is_listed_and_not_shown(
    tmp_path: Path, sql: str, trouble: str
) -> None:
    async with served(tmp_path) as (daemon, client):
        session = await talked(daemon, client, "go")
        edit(daemon, sql)
        (one,) = (await past_sessions(client)).sessions
        assert trouble in one.trouble
        with pytest.raises(AstridError) as caught:
            await read_journal(client, session)
        assert caught.value.code in ("session.erased", "session.changed")


async def test_a_session_that_the_log_does_not_tell_of_is_not_made_up(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        with pytest.raises(AstridError) as caught:
            await client.call("readJournal", p.JournalOf(session_id="session:" + "0" * 32))
        assert caught.value.code == "session.no-past"
        assert await past_sessions(client) == w.PastSessions(sessions=(), left_out=0)


class Liar:
    """Says of a journal what a test wants."""

    def __init__(self, part: w.JournalPart) -> None:
        self.part = part

    async def call(self, *_: Any) -> w.JournalPart:
        return self.part


async def test_a_journal_that_does_not_come_whole_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        session = await talked(daemon, client, "go")
        part = cast("w.JournalPart", await client.call("readJournal", p.JournalOf(session_id=session)))
    for data in (b"", part.data + b"{}\n"):
        liar: Any = Liar(w.JournalPart(session=part.session, data=data, size=part.size))
        with pytest.raises(AstridError) as caught:
            await read_journal(liar, session)
        assert caught.value.code == "session.cut"
