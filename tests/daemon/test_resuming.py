"""A session that was cut off with its daemon, after any commit of its life, goes on and does nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from astrid.core.call import decode_call
from astrid.core.chain import decode_body, decode_frame
from astrid.core.conversation import ToolResult
from astrid.core.grants import Mode
from astrid.core.ids import show_id
from astrid.core.records import Erasure, Kind, SubagentStarted
from astrid.core.turn_messages import InputRow, decode_row
from astrid.core.turn_state import Idle
from astrid.core.verify import verify_log
from astrid.daemon.histories import Histories, revival
from astrid.errors import InputError
from astrid.guard import audit
from astrid.messages.gate import Failed
from astrid.messages.gateway import (
    AskCheckpoint,
    Declined,
    EndSession,
    EraseSession,
    ListSessions,
    OpenSession,
    SessionOpened,
    Taken,
)
from astrid.ports import LogReader
from astrid.runtime.chronicle import PastSession
from astrid.wire import params as p
from astrid.wire import past as w
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.runtime import Runtime, call, running, turn
from tests.fakes.sleepers import actor, ask
from tests.runtime.test_crash import Life, Recorder, bodies, cut

SCRIPT = [
    {"model": {"name": "m", "price": {"input_usd_per_million": "3", "output_usd_per_million": "15"}}},
    turn(*(call("read_file", file_path="a.txt") for _ in range(2)), call("read_file", file_path="/etc/passwd")),
    turn(call("write_file", file_path="one.txt", content="1"), call("write_file", file_path="two.txt", content="2")),
    turn(call("no_such_tool", x=1)),
    turn(text="done"),
]
FILES = ("one.txt", "two.txt")


async def _live(folder: Path, log: Recorder) -> None:
    async with running(folder, store=FakeStore(log)) as runtime:
        (runtime.workspace / "a.txt").write_text("hello\n")
        await runtime.grant(Mode.GUIDED)
        assert isinstance(await runtime.open(SCRIPT, budget=500_000), SessionOpened)
        await runtime.say("go")
        await runtime.until("turn_complete")


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder, log = tmp_path_factory.mktemp("life"), Recorder()
    before, audit.MAX_BATCH = audit.MAX_BATCH, 1
    try:
        trio.run(_live, folder, log)
    finally:
        audit.MAX_BATCH = before
    return Life(folder, log.moments)


def histories(runtime: Runtime) -> Histories:
    async def stated() -> tuple[int, bytes]:
        made = await runtime.by_ticket(lambda n: AskCheckpoint(ticket=n))
        return made.size, made.note

    async def tell(message: Any) -> int:
        said = await ask(runtime, message)
        if isinstance(said, Declined):
            raise InputError(said.code, said.reason)
        assert isinstance(said, Taken)
        return said.number

    async def lines() -> Any:
        return await ask(runtime, ListSessions())

    async def erase(erasure: Erasure, rows: int) -> None:
        made = await runtime.by_ticket(lambda n: EraseSession(ticket=n, erasure=erasure, rows=rows))
        if isinstance(made, Failed):
            raise InputError(made.code, made.reason)

    async def opened(make: Callable[[int], OpenSession]) -> bytes:
        made = await runtime.by_ticket(make)
        if isinstance(made, Failed):
            raise InputError(made.code, made.reason)
        assert isinstance(made, SessionOpened)
        return made.session

    return Histories(runtime.world, stated, lines, tell, opened, erase)


def model_of(life: Life) -> str:
    (path,) = life.folder.glob("script-*.jsonl")
    return f"scripted:{path}"


async def resumed(runtime: Runtime, session: bytes, model: str | None) -> w.Resumed:
    wanted = p.ResumeSession(session_id=show_id("session", session), model=model)
    answer = await histories(runtime).resume(wanted)
    runtime.session, runtime._turn, runtime._behind = session, answer.turn, []
    runtime.events, _ = runtime.world.hub.subscribe(session, answer.seq)
    return answer


def session_of(log: FakeLog) -> bytes:
    return next((session for kind, _, session in bodies(log) if kind is Kind.SESSION_STARTED), b"")


def has_input(log: FakeLog) -> bool:
    return any(isinstance(decode_row(row), InputRow) for row in log.journal.values())


def permitted(reader: LogReader) -> Counter[bytes]:
    """How often each call of a tool was permitted, by its arguments."""
    found: Counter[bytes] = Counter()
    for raw in reader.frames(1, 100_000):
        frame = decode_frame(raw)
        body: Any = decode_body(frame)
        if frame.kind == Kind.PERMIT and body.host_kind != "model":
            kept = reader.payload(frame.seq, 0)
            assert kept is not None
            found[decode_call(kept[1]).args] += 1
    return found


def spellings(name: str) -> list[bytes]:
    """How a script may have written the call that makes a file."""
    value = {"file_path": name, "content": "1" if name == "one.txt" else "2"}
    return [json.dumps(value).encode(), json.dumps(value, separators=(",", ":")).encode()]


async def test_cut_off_after_any_commit_it_goes_on_and_nothing_runs_twice(life: Life) -> None:
    tried = 0
    for number, moment in enumerate(life.moments):
        store = cut(life, moment)
        session = session_of(store.log)
        ended = any(kind is Kind.SESSION_ENDED for kind, _, _ in bodies(store.log))
        if not session or ended or not has_input(store.log):
            continue
        before = permitted(store.reader())
        for name in FILES:
            (life.folder / "workspace" / name).unlink(missing_ok=True)
        async with running(life.folder, store=store) as runtime:
            answer = await resumed(runtime, session, model_of(life))
            assert (answer.turn, answer.workspace) == (1, str(life.folder / "workspace"))
            if answer.running:
                tried += 1
                assert (await runtime.until("turn_complete"))[-1]["stop_reason"] == "end_turn", number
                check(runtime, session)
            made = {name: (life.folder / "workspace" / name).exists() for name in FILES}
            # What had a permit may have run and does not run again; what had none never ran, and does.
            assert made == {name: not any(one in before for one in spellings(name)) for name in FILES}, number
            await hears_more(runtime)
        after = permitted(store.reader())
        assert all(count <= (2 if b"a.txt" in args else 1) for args, count in after.items()), (number, after)
        assert verify_log(runtime.world.keys, store.log.log, store.log.checkpoints()).tail == 0
    assert tried > 20


async def hears_more(runtime: Runtime) -> None:
    """The next input is heard, by the same session."""
    assert isinstance(await runtime.say("more"), Taken)
    events = await runtime.until("turn_complete")
    assert (events[-1]["turn"], events[-1]["stop_reason"]) == (2, "end_turn")


def check(runtime: Runtime, session: bytes) -> None:
    """What the model has in view is what it has without a crash, but for what nobody knows the end of."""
    machine = actor(runtime, session)._turn
    assert isinstance(machine.phase, Idle)
    results = [part for entry in machine.conversation for part in entry.message.parts if isinstance(part, ToolResult)]
    assert len(results) == 6
    hello, again_, outside, one, two, unknown = (result.content for result in results)
    for content in (hello, again_):
        assert "hello" in content or "is unknown" in content
    assert "denied" in outside.lower() or "refused" in outside.lower()
    assert all((one, two, unknown))
    assert machine.label.tainted


async def test_it_keeps_its_name_its_key_and_what_it_has_spent(life: Life) -> None:
    moment = next(one for one in life.moments if sum(kind is Kind.OUTCOME for kind, _, _ in bodies(one)) == 5)
    store = cut(life, moment)
    session = session_of(store.log)
    started: Any = next(body for kind, body, _ in bodies(store.log) if kind is Kind.SESSION_STARTED)
    async with running(life.folder, store=store) as runtime:
        spent = runtime.world.facts.ledger.purses[b"session" + session].spent
        assert spent > 0
        await resumed(runtime, session, model_of(life))
        await runtime.until("turn_complete")
        mine = actor(runtime, session)
        assert (mine._key, mine._purse_micros) == (started.principal, 500_000)
        assert runtime.world.facts.ledger.purses[b"session" + session].spent >= spent
    kinds = [kind for kind, _, _ in bodies(store.log)]
    assert kinds.count(Kind.SESSION_STARTED) == 1


async def code_of(runtime: Runtime, session: bytes, model: str | None) -> str:
    with pytest.raises(InputError) as caught:
        await resumed(runtime, session, model)
    return caught.value.code


def under_way(life: Life) -> FakeStore:
    """The disk in the middle of the turn."""
    return cut(life, next(one for one in life.moments if b"one.txt" in b"".join(one.journal.values())))


async def test_one_that_follows_a_script_needs_to_be_told_which(life: Life) -> None:
    store = under_way(life)
    async with running(life.folder, store=store) as runtime:
        assert await code_of(runtime, session_of(store.log), None) == "session.script"


async def test_one_that_is_there_is_not_made_twice(life: Life) -> None:
    store = under_way(life)
    session = session_of(store.log)
    async with running(life.folder, store=store) as runtime:
        await resumed(runtime, session, model_of(life))
        await runtime.until("turn_complete")
        there = await resumed(runtime, session, None)
        assert (there.turn, there.running) == (1, False)
        assert [one.session for one in await ask(runtime, ListSessions())] == [session]


async def test_a_sub_agent_does_not_come_back_as_a_session_of_its_own() -> None:
    started = SubagentStarted(b"p" * 32, b"w" * 32, "guided", "p/m", False, b"T" * 16)
    wanted = p.ResumeSession(session_id=show_id("session", b"S" * 16))
    with pytest.raises(InputError) as caught:
        revival(PastSession(b"S" * 16, 1, started, 0, 0), [], wanted)
    assert caught.value.code == "session.sub-agent"


async def test_what_has_ended_or_never_was_does_not_go_on(life: Life) -> None:
    store = under_way(life)
    session = session_of(store.log)
    async with running(life.folder, store=store) as runtime:
        assert await code_of(runtime, b"S" * 16, None) == "session.no-past"
        await resumed(runtime, session, model_of(life))
        await runtime.until("turn_complete")
        await ask(runtime, EndSession(session=session, reason="asked"))
        await runtime.until("session_ended")
        assert await code_of(runtime, session, model_of(life)) == "session.ended"


async def test_another_model_than_it_had_does_not_go_on_for_it(life: Life, tmp_path: Path) -> None:
    store = under_way(life)
    session = session_of(store.log)
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"model": {"name": "other"}}) + "\n" + json.dumps(turn()) + "\n")
    async with running(life.folder, store=store) as runtime:
        await resumed(runtime, session, f"scripted:{other}")
        events = await runtime.until("turn_complete")
        assert [event["code"] for event in events if event["event"] == "error"] == ["session.elsewhere"]
        assert session_of(store.log) == session
        assert not permitted(store.reader()).keys() - permitted(under_way(life).reader()).keys()
