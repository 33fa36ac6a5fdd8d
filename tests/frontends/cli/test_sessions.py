"""``astrid sessions``: who is there, how many more sleep, and what one cost."""

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
from astrid.frontends.cli import sessions
from astrid.wire import params as p
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
    assert sessions.run(argparse.Namespace(action="list", all=False, json=as_json)) == 0


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


COST = r.SessionCost(
    session_id=ONE.session_id,
    models=(
        r.ModelCost(
            model="p/m",
            calls=2,
            uncounted=1,
            input_tokens=10,
            cache_write_tokens=20,
            cache_read_tokens=30,
            output_tokens=40,
            spent_micros="1500000",
        ),
    ),
    tools=(r.ToolCost(tool="pay", calls=1, spent_micros="500000"),),
    spent_micros="2000000",
    reserved_micros="250000",
    cap_micros="3000000",
    unknown_calls=1,
    unknown_micros="500000",
)


def costs(root: Path, cost: r.SessionCost, patch: pytest.MonkeyPatch, *, as_json: bool) -> None:
    class Told:
        async def call(self, method: str, params: p.OfSession) -> r.SessionCost:
            assert (method, params.session_id) == ("sessionCost", cost.session_id)
            return cost

    @asynccontextmanager
    async def connect(*_: Any, **__: Any) -> AsyncIterator[Told]:
        yield Told()

    home, _ = make_home(root / "home", now_s=1)
    patch.setenv("ASTRID_HOME", str(home.root))
    patch.setattr(sessions, "connect", connect)
    assert sessions.run(argparse.Namespace(action="cost", id=cost.session_id, json=as_json)) == 0


def test_what_a_session_cost_is_told_by_model_and_tool_with_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs(tmp_path, COST, monkeypatch, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        COST.session_id,
        "  p/m: 2 calls, 10 tokens in, 20 into the cache, 30 from it, 40 out (1 call without a count), $1.50",
        "  pay: 1 call, $0.50",
        "  spent $2.00, reserved $0.25; $0.75 left of $3.00",
        "  how 1 call ended is not known: booked in full, at the $0.50 that was reserved",
    ]


def test_of_a_session_that_is_over_nothing_is_said_to_be_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs(
        tmp_path,
        msgspec.structs.replace(COST, cap_micros=None, unknown_calls=0, models=(), tools=()),
        monkeypatch,
        as_json=False,
    )
    assert capsys.readouterr().out.splitlines()[1:] == ["  spent $2.00, reserved $0.25; the session is over"]


def test_for_programs_money_is_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs(tmp_path, COST, monkeypatch, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["spent_micros"], said["left_micros"], said["models"][0]["spent_micros"]) == (2000000, 750000, 1500000)
