"""``astrid sessions fork``, and how a session is gone on with: by itself, or by a new one where it has ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from astrid.errors import AstridError
from astrid.frontends.cli import sessions
from astrid.frontends.cli.going_on import fork_line, fork_session, go_on
from astrid.frontends.cli.past import past_sessions
from astrid.wire import params as p
from astrid.wire import past as w
from tests.daemon.test_histories import ended, served, talked
from tests.fakes.home import make_home

FORKED = w.Forked(
    session_id="session:" + "1" * 32, origin_id="session:" + "2" * 32, workspace="/w", turn=3, left_out=False
)


@pytest.mark.parametrize(
    ("turn", "left_out", "line"),
    [
        (3, False, f"{FORKED.session_id} goes on from turn 3 of {FORKED.origin_id}"),
        (0, False, f"{FORKED.session_id} goes on from the beginning of {FORKED.origin_id}"),
        (3, True, "; the turn behind it did not end, and is left out"),
    ],
)
def test_it_says_what_goes_on_from_what(turn: int, left_out: bool, line: str) -> None:
    said = fork_line(replace(FORKED, turn=turn, left_out=left_out))
    assert said.endswith(line)


def _fields() -> dict[str, Any]:
    return {name: getattr(FORKED, name) for name in FORKED.__struct_fields__}


async def test_one_that_is_there_goes_on_by_itself_and_one_that_has_ended_by_a_new_one_if_there_is_more_to_say(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (daemon, client):
        session = await talked(daemon, client, "one thing")
        model = daemon.script({"text": "x"})
        there = await go_on(client, session, model=model, interactive=False, has_more=True)
        assert (there.session_id, there.turn, there.running, there.forked) == (session, 1, False, None)
        await ended(client, session)
        with pytest.raises(AstridError) as caught:
            await go_on(client, session, model=model, interactive=False, has_more=False)
        assert caught.value.code == "session.ended"
        then = await go_on(client, session, model=model, interactive=False, has_more=True)
        assert then.forked is not None
        assert (then.forked.origin_id, then.turn, then.session_id != session) == (session, 1, True)
        listed = {one.session_id: one for one in (await past_sessions(client)).sessions}
        assert (listed[then.session_id].turns, listed[then.session_id].state) == (1, "open")


async def test_what_never_was_is_neither_gone_on_with_nor_gone_on_from(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        with pytest.raises(AstridError) as caught:
            await go_on(client, "session:" + "0" * 32, model=None, interactive=False, has_more=True)
        assert caught.value.code == "session.no-past"
        with pytest.raises(AstridError):
            await fork_session(client, p.ForkSession(session_id="nonsense"))


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_asks_for_what_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    home, _ = make_home(tmp_path / "home")
    monkeypatch.setenv("ASTRID_HOME", str(home.root))
    asked: list[p.ForkSession] = []

    class Stub:
        async def __aenter__(self) -> Stub:
            return self

        async def __aexit__(self, *_: object) -> None:
            return None

        async def call(self, method: str, params: p.ForkSession) -> w.Forked:
            assert method == "forkSession"
            asked.append(params)
            return FORKED

    monkeypatch.setattr(sessions, "connect", lambda *_, **__: Stub())
    parser = sessions.argparse.ArgumentParser()
    sessions.add_arguments(parser)
    words = ["fork", FORKED.origin_id, "--at", "3", "--mode", "safe", "--model", "p/m", "--budget", "1.5"]
    assert sessions.run(parser.parse_args([*words, *(["--json"] if as_json else [])])) == 0
    [one] = asked
    assert (one.session_id, one.at, one.mode, one.model) == (FORKED.origin_id, 3, "safe", "p/m")
    assert one.budget_micros == "1500000"
    out = capsys.readouterr().out
    assert json.loads(out) == _fields() if as_json else out == f"{fork_line(FORKED)}\n"
