"""A question from a real session, answered by a person at the command line; and tokens listed, shown and revoked."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest
import trio

from astrid.frontends.client import connect
from astrid.home import Home
from astrid.wire import events as e
from astrid.wire import params as p
from astrid.wire import results as r
from tests.fakes.signing import Bench
from tests.fakes.terminal import DEADLINE_SECONDS, Terminal, astrid, installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]
WRITES = {"id": "t1", "name": "bash", "arguments": {"command": "touch made"}}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "project").mkdir()
    script = [{"text": "a command", "tool_calls": [WRITES]}, {"text": "done"}]
    (tmp_path / "script.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in script))
    made = Bench(tmp_path / "home").made()
    made.home.config.write_text('[security.policy]\napproval_required_tools = ["bash"]\n')
    told(made.home, "tokens", "grant", "--workspace", str(tmp_path / "project"), "--mode", "guided", "--yes")
    yield made
    told(made.home, "daemon", "stop")


def run(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        astrid(*arguments),
        env={**os.environ, "ASTRID_HOME": str(home.root)},
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def told(home: Home, *arguments: str) -> str:
    done = run(home, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def asked(bench: Bench, tmp_path: Path) -> str:
    """A session that asks, and goes on without an answer; the id of its question."""
    async with connect(bench.home, start_daemon=True) as client:
        created = p.CreateSession(
            workspace=str(tmp_path / "project"), mode="guided", model=f"scripted:{tmp_path}/script.jsonl"
        )
        info = cast("r.SessionInfo", await client.call("createSession", created))
        await client.subscribe(info.session_id)
        await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="go"))
        async with aclosing(cast("AsyncGenerator[e.AnyEvent]", client.events(info.session_id))) as events:
            async for event in events:
                if isinstance(event, e.TurnComplete):
                    break
        waiting = cast("r.Approvals", await client.call("listApprovals", p.ListApprovals()))
        return waiting.questions[0].question_id


@pytest.fixture
async def question(bench: Bench, tmp_path: Path) -> str:
    with trio.fail_after(DEADLINE_SECONDS):
        return await asked(bench, tmp_path)


def at_terminal(bench: Bench, typed: str, *arguments: str) -> tuple[int, str]:
    """The exit code of a command at a terminal, and what was on the screen."""
    terminal = Terminal(astrid(*arguments), bench.home.root)
    try:
        terminal.sees("and Enter: ")
        terminal.types(typed)
        return terminal.ends(), terminal.text
    finally:
        terminal.close()


async def test_an_open_question_is_listed_shown_and_settled(bench: Bench, question: str) -> None:
    assert question in told(bench.home, "approvals", "list")
    code, screen = at_terminal(bench, "o\r", "approvals", "answer", question)
    assert (code, "your answer is recorded" in screen) == (0, True)
    assert "touch made" in screen.replace("|\n|", "")
    assert json.loads(told(bench.home, "approvals", "list", "--json")) == {"questions": []}


async def test_a_question_is_answered_once_only(bench: Bench, question: str) -> None:
    at_terminal(bench, "d\r", "approvals", "answer", question)
    again = run(bench.home, "approvals", "answer", question)
    assert (again.returncode, again.stdout) == (1, "")
    assert "[approval.unknown]" in again.stderr


async def test_a_person_who_breaks_off_leaves_the_question_open(bench: Bench, question: str) -> None:
    code, _ = at_terminal(bench, "\x03", "approvals", "answer", question)
    assert code == 130
    assert question in told(bench.home, "approvals", "list")


async def test_a_standing_answer_is_listed_as_a_token_and_can_be_revoked(bench: Bench, question: str) -> None:
    before = told(bench.home, "tokens", "list", "--json")
    assert len(json.loads(before)["tokens"]) == 1
    first = json.loads(before)["tokens"][0]["token"]
    assert "block 0 of the token says:" in told(bench.home, "tokens", "show", first)
    revoked = told(bench.home, "tokens", "revoke", first, "--yes", "--json")
    assert json.loads(revoked) == {"token": first, "revoked": 1}
    assert json.loads(told(bench.home, "tokens", "list", "--json"))["tokens"][0]["revoked"]


async def test_a_daemon_whose_log_was_set_back_gets_no_answer(bench: Bench, question: str) -> None:
    later = bench.checkpoint(10**4)
    bench.home.witness.write_bytes(later)
    refused = run(bench.home, "approvals", "answer", question)
    assert refused.returncode == 1
    assert "[checkpoint.rollback]" in refused.stderr
    bench.home.witness.unlink()
