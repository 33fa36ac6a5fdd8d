"""A session goes on from another one, whatever became of that: with what was said in it, and nothing else of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from astrid.core.grants import Mode
from astrid.core.ids import show_id
from astrid.core.labels import RUNTIME
from astrid.core.records import JournalRecord, Kind, SessionStarted
from astrid.core.turn_messages import ForkRow, FrameRow, InputRow, Setting, decode_row, encode_row
from astrid.core.turn_state import Idle
from astrid.core.verify import verify_log
from astrid.daemon.forks import framed_in
from astrid.errors import AstridError, InputError
from astrid.frontends.cli.past import past_sessions
from astrid.guard import audit
from astrid.messages.gateway import EndSession, ListSessions, SessionOpened, Taken
from astrid.runtime.chronicle import PastSession
from astrid.wire import params as p
from astrid.wire import past as w
from tests.daemon.test_histories import edit, served, talked
from tests.daemon.test_resuming import SCRIPT, histories, model_of, resumed, session_of, under_way
from tests.daemon.test_resuming import life as life
from tests.fakes.journal import FakeStore
from tests.fakes.runtime import Runtime, running
from tests.fakes.sleepers import actor, ask
from tests.runtime.test_crash import Life, Recorder, bodies, cut

TWO = [*SCRIPT[:-1], {"text": "first"}, {"text": "second"}]


async def forked(runtime: Runtime, session: bytes, **wanted: Any) -> w.Forked:
    """A new session, which the runtime then speaks to."""
    answer = await histories(runtime).fork(p.ForkSession(session_id=show_id("session", session), **wanted))
    runtime.session, runtime._turn, runtime._behind = bytes.fromhex(answer.session_id[8:]), answer.turn, []
    runtime.events, _ = runtime.world.hub.subscribe(runtime.session, 0)
    return answer


async def two_turns(runtime: Runtime) -> bytes:
    (runtime.workspace / "a.txt").write_text("hello\n")
    await runtime.grant(Mode.GUIDED)
    assert isinstance(await runtime.open(TWO, budget=500_000), SessionOpened)
    for text in ("go", "more"):
        await runtime.say(text)
        await runtime.until("turn_complete")
    return runtime.session


def script(runtime: Runtime) -> str:
    """Another model, which has something to say as well where the first one has said all of its own."""
    path = runtime.world.home.root.parent / "next.jsonl"
    lines = [{"model": {"name": "next"}}, *TWO[1:], {"text": "third"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"scripted:{path}"


def rows_kept(store: FakeStore, session: bytes) -> list[Any]:
    return [decode_row(row) for (whose, _), row in sorted(store.log.journal.items()) if whose == session]


@pytest.mark.parametrize("state", ["open", "ended"])
async def test_it_has_what_was_said_and_a_name_a_key_and_a_purse_of_its_own(tmp_path: Path, state: str) -> None:
    store = FakeStore()
    async with running(tmp_path, store=store) as runtime:
        origin = await two_turns(runtime)
        before = actor(runtime, origin)
        said, key = list(before._turn.conversation), before._key
        facts = runtime.world.facts
        spent = facts.ledger.purses[b"session" + origin].spent
        if state == "ended":
            await ask(runtime, EndSession(session=origin, reason="asked"))
            await runtime.until("session_ended")
        answer = await forked(runtime, origin, model=script(runtime))
        assert (answer.turn, answer.left_out, answer.workspace) == (2, False, str(runtime.workspace))
        mine = actor(runtime, runtime.session)
        assert mine._turn.conversation == said
        assert mine._turn.label.tainted
        assert runtime.session != origin
        assert mine._key != key
        assert (mine._answers, mine._purse_micros) == ((), 500_000)
        assert b"session" + runtime.session not in facts.ledger.purses
        assert isinstance(await runtime.say("and then?"), Taken)
        events = await runtime.until("turn_complete")
        assert (events[-1]["turn"], events[-1]["stop_reason"]) == (3, "end_turn")
        assert facts.ledger.purses[b"session" + origin].spent == spent
        rows = rows_kept(store, runtime.session)
        assert [row.session for row in rows if isinstance(row, ForkRow)] == [origin]
        assert sum(isinstance(row, InputRow) for row in rows) == 3
    assert verify_log(runtime.world.keys, store.log.log, store.log.checkpoints()).tail == 0


async def test_one_that_was_cut_off_is_gone_on_from_as_far_as_its_turns_ended(life: Life) -> None:
    store = under_way(life)
    origin = session_of(store.log)
    async with running(life.folder, store=store) as runtime:
        answer = await forked(runtime, origin, model=model_of(life))
        assert (answer.turn, answer.left_out) == (0, True)
        assert await ask(runtime, ListSessions(session=origin)) == ()
        assert isinstance(actor(runtime, runtime.session)._turn.phase, Idle)
        with pytest.raises(InputError) as caught:
            await forked(runtime, origin, model=model_of(life), at=1)
        assert caught.value.code == "session.no-such-turn"


async def test_it_goes_on_from_any_turn_that_ended(tmp_path: Path) -> None:
    async with running(tmp_path, store=FakeStore()) as runtime:
        origin = await two_turns(runtime)
        whole = list(actor(runtime, origin)._turn.conversation)
        for at in (0, 1, 2):
            answer = await forked(runtime, origin, model=script(runtime), at=at)
            turn = actor(runtime, runtime.session)._turn
            assert (answer.turn, turn.number, answer.left_out) == (at, at, False)
            assert turn.conversation == whole[: len(turn.conversation)]


async def test_what_is_asked_for_is_how_it_is_opened(tmp_path: Path) -> None:
    async with running(tmp_path, store=FakeStore()) as runtime:
        origin = await two_turns(runtime)
        await runtime.grant(Mode.SAFE)
        await forked(runtime, origin, model=script(runtime), mode="safe", budget_micros="1000", max_turns=3)
        (line,) = await ask(runtime, ListSessions(session=runtime.session))
        assert (line.mode, line.budget_micros, line.turns) == ("safe", 1000, 2)
        assert actor(runtime, runtime.session)._turn.setting.limits.asks_per_input == 3


async def test_a_mode_that_nobody_granted_is_refused_and_nothing_began(tmp_path: Path) -> None:
    store = FakeStore()
    async with running(tmp_path, store=store) as runtime:
        origin = await two_turns(runtime)
        with pytest.raises(InputError) as caught:
            await forked(runtime, origin, model=script(runtime), mode="autonomous")
        assert caught.value.code == "token.no-grant"
        assert [kind for kind, _, _ in bodies(store.log)].count(Kind.SESSION_STARTED) == 1


async def test_another_folder_at_its_place_is_not_taken_for_its_own(tmp_path: Path) -> None:
    async with running(tmp_path, store=FakeStore()) as runtime:
        origin = await two_turns(runtime)
    (tmp_path / "workspace").rename(tmp_path / "away")
    (tmp_path / "workspace").mkdir()
    store = runtime.world.store
    async with running(tmp_path, store=store) as runtime:
        await runtime.grant(Mode.GUIDED)
        with pytest.raises(InputError) as caught:
            await forked(runtime, origin, model=script(runtime))
        assert caught.value.code == "session.elsewhere"


async def test_the_whole_conversation_is_one_record_behind_what_leads_it(tmp_path: Path) -> None:
    store = FakeStore()
    async with running(tmp_path, store=store) as runtime:
        origin = await two_turns(runtime)
        await forked(runtime, origin, model=script(runtime))
        made = [body for _, body, session in bodies(store.log) if session == runtime.session]
        assert [(one.first, one.count) for one in made if isinstance(one, JournalRecord)] == [
            (1, 2),
            (3, len(rows_kept(store, runtime.session)) - 2),
        ]


@pytest.mark.parametrize("moment", range(3))
async def test_cut_off_after_any_commit_of_its_start_it_is_whole_or_does_not_go_on(tmp_path: Path, moment: int) -> None:
    log = Recorder()
    before, audit.MAX_BATCH = audit.MAX_BATCH, 1
    try:
        async with running(tmp_path, store=FakeStore(log)) as runtime:
            origin = await two_turns(runtime)
            conversation = list(actor(runtime, origin)._turn.conversation)
            began = len(log.moments)
            model = script(runtime)
            await forked(runtime, origin, model=model)
            session = runtime.session
    finally:
        audit.MAX_BATCH = before
    moments = [one for one in log.moments[began:] if any(whose == session for _, _, whose in bodies(one))]
    store = cut(Life(tmp_path, log.moments), moments[moment])
    async with running(tmp_path, store=store) as runtime:
        if moment < 2:
            with pytest.raises(InputError) as caught:
                await resumed(runtime, session, model)
            assert caught.value.code == "session.nothing-said"
            return
        answer = await resumed(runtime, session, model)
        assert (answer.turn, answer.running) == (2, False)
        assert isinstance(await runtime.say("and then?"), Taken)
        assert (await runtime.until("turn_complete"))[-1]["turn"] == 3
        assert actor(runtime, session)._turn.conversation[: len(conversation)] == conversation


def test_one_whose_beginning_is_missing_is_not_gone_on_from() -> None:
    started = SessionStarted(b"p" * 32, b"w" * 32, "guided", "p/m", False)
    setting = Setting(model="p/m", system="s", max_tokens=1, workspace=b"/w")
    lead = (
        FrameRow(at_ns=0, setting=setting),
        ForkRow(at_ns=0, session=b"T" * 16, turn=1, record=9, label=RUNTIME, asks=1),
    )
    past = PastSession(b"S" * 16, 1, started, 0, 0)
    with pytest.raises(InputError) as caught:
        framed_in(past, lead, None)
    assert caught.value.code == "session.nothing-said"
    assert framed_in(past, (*lead, InputRow(at_ns=0, text="t", label=RUNTIME)), None) == setting


async def test_what_somebody_edited_is_not_gone_on_from(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        session = await talked(daemon, client, "go")
        edit(daemon, "UPDATE journal SET row = CAST(replace(CAST(row AS TEXT), 'go', 'no') AS BLOB)")
        before = len((await past_sessions(client)).sessions)
        with pytest.raises(AstridError) as caught:
            await client.call("forkSession", p.ForkSession(session_id=session, model=daemon.script({"text": "x"})))
        assert caught.value.code == "session.changed"
        assert len((await past_sessions(client)).sessions) == before


async def test_what_goes_on_from_one_that_followed_a_definition_follows_it_too(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.AUTONOMOUS)
        origin = await runtime.open_shared(mode="autonomous", interactive=False, agent="explorer")
        await runtime.say("go")
        await runtime.until("turn_complete")
        answer = await forked(runtime, origin, interactive=False)
        runtime._turn = answer.turn
        runtime.model.says = [("c1", "write_file", '{"file_path": "made.txt", "content": "x"}')]
        await runtime.say("and now write")
        ended = await runtime.until("turn_complete")
        assert [event["event"] for event in ended if event["event"] == "denied"] == ["denied"]
        assert not (runtime.workspace / "made.txt").exists()
        assert {tool.name for tool in runtime.model.asked[-1].tools} == set(runtime.world.subagents["explorer"].tools)


async def test_a_row_of_a_newer_version_is_said_to_be_one_and_nothing_goes_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(row: Any) -> bytes:
        return b'{"row":"dreamt","at_ns":1}' if isinstance(row, InputRow) else encode_row(row)

    store = FakeStore()
    async with running(tmp_path, store=store) as runtime:
        with monkeypatch.context() as patched:
            patched.setattr("astrid.hosts.session.encode_row", newer)
            origin = await two_turns(runtime)
        with pytest.raises(InputError) as caught:
            await forked(runtime, origin, model=script(runtime))
        assert (caught.value.code, caught.value.advice) == ("canon.newer-row", "update Astrid")
        assert [kind for kind, _, _ in bodies(store.log)].count(Kind.SESSION_STARTED) == 1
