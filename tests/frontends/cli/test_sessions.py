"""``astrid sessions list``: who is there, and how many more sleep."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from astrid.core.ids import show_id
from astrid.frontends.cli import sessions
from astrid.wire import results as r
from tests.fakes.home import make_home

ONE = r.SessionInfo(
    session_id=show_id("session", b"S" * 16),
    workspace="/w",
    mode="guided",
    model="p/m",
    state="asleep",
    created_ns="9",
    turns=1,
    message_count=2,
    pending_deferred_count=0,
    spent_micros="1500000",
)


class Client:
    """Answers with what a test says."""

    def __init__(self, left_out: int) -> None:
        self.left_out = left_out

    async def call(self, method: str, params: object) -> r.Sessions:
        assert method == "listSessions"
        return r.Sessions(sessions=(ONE,), left_out=self.left_out)


def listed(root: Path, left_out: int, patch: pytest.MonkeyPatch, *, as_json: bool) -> None:
    @asynccontextmanager
    async def connect(*_: Any, **__: Any) -> AsyncIterator[Client]:
        yield Client(left_out)

    home, _ = make_home(root / "home", now_s=1)
    patch.setenv("ASTRID_HOME", str(home.root))
    patch.setattr(sessions, "connect", connect)
    assert sessions.run(argparse.Namespace(action="list", json=as_json)) == 0


@pytest.mark.parametrize(("left_out", "lines"), [(0, 1), (7, 2)])
def test_it_says_who_sleeps_and_how_many_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, left_out: int, lines: int
) -> None:
    listed(tmp_path, left_out, monkeypatch, as_json=False)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{ONE.session_id} asleep, guided, p/m, $1.50, /w"
    assert said[1:] == ["and 7 more that sleep"][: lines - 1]


def test_for_programs_the_number_is_always_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(tmp_path, 3, monkeypatch, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["left_out"], [one["state"] for one in said["sessions"]]) == (3, ["asleep"])
