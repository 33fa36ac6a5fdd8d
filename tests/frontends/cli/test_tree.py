"""``astrid sessions tree``: a session, what is done for it, and what each of that cost so far."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrid.core.ids import show_id
from astrid.errors import InputError
from astrid.frontends.cli import sessions
from astrid.frontends.cli.tree import branch_of
from astrid.wire import results as r
from tests.fakes.home import make_home
from tests.frontends.cli.test_sessions import ONE


def info(letter: bytes, parent: bytes = b"", **fields: Any) -> r.SessionInfo:
    above = show_id("session", parent * 16) if parent else None
    agent = "worker" if parent else None
    given = {"state": "running", "parent_id": above, "agent": agent} | fields
    return msgspec.structs.replace(ONE, session_id=show_id("session", letter * 16), **given)


KNOWN = (
    info(b"t"),
    info(b"a", b"t", spent_micros="500000"),
    info(b"o"),
    info(b"b", b"t", agent="explorer"),
    info(b"c", b"a", spent_micros="0"),
)


def told(root: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool) -> str:
    class Client:
        async def call(self, method: str, params: object) -> r.Sessions:
            assert method == "listSessions"
            return r.Sessions(sessions=KNOWN, left_out=0)

    @asynccontextmanager
    async def connect(*_: Any, **__: Any) -> AsyncIterator[Client]:
        yield Client()

    home, _ = make_home(root / "home", now_s=1)
    patch.setenv("ASTRID_HOME", str(home.root))
    patch.setattr(sessions, "connect", connect)
    assert sessions.run(argparse.Namespace(action="tree", id=KNOWN[0].session_id, json=as_json)) == 0
    return capsys.readouterr().out


def test_whoever_works_for_a_session_stands_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    top, a, _, b, c = (one.session_id for one in KNOWN)
    assert told(tmp_path, monkeypatch, capsys, as_json=False).splitlines() == [
        f"{top} guided, running, $1.50",
        f"  {a} worker, running, $0.50",
        f"    {c} worker, running, $0.00",
        f"  {b} explorer, running, $1.50",
    ]


def test_programs_get_the_same_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = json.loads(told(tmp_path, monkeypatch, capsys, as_json=True))
    assert (tree["session_id"], tree["agent"], tree["spent_micros"]) == (KNOWN[0].session_id, None, 1_500_000)
    assert [one["agent"] for one in tree["subagents"]] == ["worker", "explorer"]
    assert [one["state"] for one in tree["subagents"][0]["subagents"]] == ["running"]


def test_a_session_that_is_not_there_has_no_tree() -> None:
    with pytest.raises(InputError) as raised:
        branch_of(show_id("session", b"x" * 16), KNOWN)
    assert raised.value.code == "session.unknown"
