"""Sessions that sleep in the whole tree: who does, what is left of them, and what they are when they wake."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from astrid.adapters.store.journal import SqliteReader, payload_key, row_key
from astrid.core.approval import Verdict
from astrid.core.canon import Domain, encode
from astrid.core.chain import decode_body, decode_frame
from astrid.core.conversation import Text
from astrid.core.facts import LAST_BYTES_PER_SESSION, LOG_BYTES_PER_SESSION
from astrid.core.gate_admin import rows_digest
from astrid.core.grants import Mode
from astrid.core.install import Revocation, sign_statement
from astrid.core.records import JournalRow, Kind, seal
from astrid.core.tokens import verify_chain
from astrid.core.turn_messages import InputRow, decode_row
from astrid.errors import ChainError
from astrid.messages.archive import Recall, Recalled
from astrid.messages.gate import Done, Release
from astrid.messages.gateway import (
    AskCheckpoint,
    CancelTurn,
    EndSession,
    Input,
    ListSessions,
    RevokeToken,
    SessionLine,
    SessionOpened,
    Taken,
)
from astrid.runtime import archive as archive_module
from astrid.runtime import dormant as dormant_module
from astrid.runtime import gateway as gateway_module
from astrid.runtime.archive import recall_session
from astrid.runtime.gateway import Gateway
from astrid.runtime.sleeping import Asked, Step
from astrid.runtime.verify import Result, Trust, verify_home
from tests.fakes.home import HOLDER, USER
from tests.fakes.runtime import Runtime, running, turn

IDLE = 300.0
TRIES = 100_000
READ = ("c1", "read_file", '{"file_path": "a.txt"}')


async def ask(runtime: Runtime, message: Any) -> Any:
    return await runtime.system.ask(runtime.gateway, message, within=10)


async def line(runtime: Runtime, session: bytes) -> SessionLine | None:
    found = await ask(runtime, ListSessions(session=session))
    return found[0] if found else None


async def states(runtime: Runtime) -> list[str]:
    return [one.state for one in await ask(runtime, ListSessions())]


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Threads finish when they finish, and no clock says when; but nothing takes this many tries."""
    for _ in range(TRIES):
        await wait_all_tasks_blocked()
        if await true():
            return
    raise AssertionError("it never came to that")


async def is_in(runtime: Runtime, session: bytes, state: str) -> None:
    async def there() -> bool:
        found = await line(runtime, session)
        return found is not None and found.state == state

    await until(there)


async def pass_time(clock: MockClock, seconds: float = 1.5 * IDLE) -> None:
    """In pieces, so that whoever looks from time to time does."""
    for _ in range(12):
        clock.jump(seconds / 12)
        await wait_all_tasks_blocked()


async def sleep(runtime: Runtime, clock: MockClock) -> None:
    """Nobody listens any more, and the session falls asleep."""
    runtime.world.hub.unsubscribe(runtime.events)
    await pass_time(clock)
    await is_in(runtime, runtime.session, "asleep")


async def listen(runtime: Runtime, after: int = 0) -> int:
    runtime.events, begun = runtime.world.hub.subscribe(runtime.session, after)
    runtime._behind = []
    return begun


async def talk(runtime: Runtime, text: str = "go") -> list[dict[str, Any]]:
    said = await runtime.say(text)
    assert isinstance(said, Taken), said
    return await runtime.until("turn_complete")


async def opened(runtime: Runtime, mode: Mode = Mode.GUIDED, **options: Any) -> bytes:
    await runtime.grant(mode)
    return await runtime.open_shared(mode=mode.value, **options)


def actor(runtime: Runtime, session: bytes) -> Any:
    ref: Any = runtime.directory.by_path[f"root/sessions/{session.hex()}"]
    return ref.cell.life._actor


def children(runtime: Runtime) -> list[str]:
    root: Any = runtime.system.snapshot().root
    found = next(child for child in root.children if child.path == "root/sessions")
    return [child.path for child in found.children]


# ---- falling asleep


async def test_an_idle_session_leaves_nothing_but_its_record(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)
        world = runtime.world
        assert children(runtime) == []
        assert world.facts.principals == {}
        assert len(world.dormitory) == 1
        assert session not in world.hub._kept
        assert [path for path in runtime.directory.by_path if path.startswith("root/sessions/")] == []
        assert all(ref.alive for ref in runtime.directory.by_id.values())
        gateway: Any = runtime.gateway.cell.life
        gate: Any = runtime.directory.by_path["root/interceptor"].cell.life
        assert (gateway._actor._roster, gateway._actor._waiting) == ({}, {})
        assert gate._actor._senders == {}
        assert set(gate._actor._owed) == {runtime.gateway.id}
        assert [kind for kind, _ in runtime.records()].count(Kind.SESSION_ENDED) == 0


async def test_whoever_is_listened_to_stays_awake(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await talk(runtime)
        await pass_time(mock_clock)
        assert await states(runtime) == ["idle"]


async def test_whoever_was_told_something_a_moment_ago_stays_awake(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await pass_time(mock_clock, 0.9 * IDLE)
        await talk(runtime)
        runtime.world.hub.unsubscribe(runtime.events)
        await pass_time(mock_clock, 0.9 * IDLE)
        assert await states(runtime) == ["idle"]
        await pass_time(mock_clock, 0.6 * IDLE)
        await is_in(runtime, session, "asleep")


async def test_whoever_waits_for_a_person_is_not_even_asked_to_sleep(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    post = Gateway._post

    def heard(self: Gateway, path: str, message: Any, waiting: Any) -> None:
        asked.append(message)
        post(self, path, message, waiting)

    monkeypatch.setattr(Gateway, "_post", heard)
    async with running(tmp_path, idle_seconds=50) as runtime:
        await opened(runtime)
        await runtime.attend()
        runtime.model.says = [("c1", "bash", '{"command": "echo hello"}')]
        await runtime.say("go")
        await runtime.until("approval_needed")
        runtime.world.hub.unsubscribe(runtime.events)
        await pass_time(mock_clock, 0.9 * IDLE)
        assert await states(runtime) == ["running"]
        assert [one for one in asked if isinstance(one, Release)] == []


async def test_whoever_follows_a_script_keeps_their_place_in_it_and_never_sleeps(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        assert isinstance(await runtime.open([turn(text="one"), turn(text="two")]), SessionOpened)
        events = await talk(runtime)
        runtime.world.hub.unsubscribe(runtime.events)
        await pass_time(mock_clock)
        assert await states(runtime) == ["idle"]
        await listen(runtime, 100)
        events = await talk(runtime)
        assert [event["text"] for event in events if event["event"] == "message"] == ["two"]


async def test_no_more_sleep_than_there_are_beds(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dormant_module, "MAX_ASLEEP", 1)
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await sleep(runtime, mock_clock)
        await runtime.open_shared()
        runtime.world.hub.unsubscribe(runtime.events)
        await pass_time(mock_clock)
        assert sorted(await states(runtime)) == ["asleep", "idle"]


async def test_those_that_sleep_leave_room_for_others(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "MAX_SESSIONS", 1)
    async with running(tmp_path) as runtime:
        first = await opened(runtime)
        await sleep(runtime, mock_clock)
        await runtime.open_shared()
        declined = await ask(runtime, Input(session=first, turn=1, text="x", signer=b"", signature=b""))
        assert declined.code == "session.too-many"
        await sleep(runtime, mock_clock)
        taken = await ask(runtime, Input(session=first, turn=1, text="x", signer=b"", signature=b""))
        assert taken == Taken(number=1)


async def test_after_a_week_a_session_is_over(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await sleep(runtime, mock_clock)
        await pass_time(mock_clock, dormant_module.LONGEST_SECONDS - 4 * IDLE)
        assert await states(runtime) == ["asleep"]
        await pass_time(mock_clock, 5 * IDLE)
        assert await line(runtime, session) is None


# ---- waking


async def test_who_wakes_goes_on_where_they_were(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        (runtime.workspace / "a.txt").write_text("what is in it")
        runtime.model.says = [READ]
        before = await talk(runtime, "remember this")
        await sleep(runtime, mock_clock)
        last = before[-1]["seq"]
        assert await listen(runtime, last) == last
        after = await talk(runtime, "and now?")
        assert next(event["seq"] for event in after if event["event"] != "text") == last + 1
        assert after[-1]["turn"] == 2
        parts = [part for one in runtime.model.asked[-1].messages for part in one.parts]
        said = [part.text for part in parts if isinstance(part, Text)]
        assert said == ["remember this", "all right", "and now?"]
        journal = [body for kind, body in runtime.records() if kind is Kind.JOURNAL]
        numbers = [number for body in journal for number in range(body.first, body.first + body.count)]  # type: ignore[attr-defined]
        assert numbers == list(range(1, len(numbers) + 1))
        found = await line(runtime, session)
        assert found is not None
        assert (found.turns, found.state, found.mode, found.model) == (2, "idle", "guided", "fake/shared")
    finding = verify_home(runtime.world.home.root, Trust(), is_own=True)
    assert finding.result is Result.SOUND, finding


async def test_who_slept_again_and_again_is_still_the_same(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        keys: set[bytes] = set()
        for number in range(1, 4):
            events = await talk(runtime, f"turn {number}")
            assert events[-1]["turn"] == number
            keys.add(actor(runtime, session)._key)
            await sleep(runtime, mock_clock)
            await listen(runtime, events[-1]["seq"])
        assert len(keys) == 1
        assert [kind for kind, _ in runtime.records()].count(Kind.SESSION_STARTED) == 1


async def test_a_client_that_listens_to_one_asleep_misses_nothing_and_sees_its_gap(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        last = (await talk(runtime))[-1]["seq"]
        await sleep(runtime, mock_clock)
        assert await listen(runtime, 1) == last  # what was said before is not kept
        await pass_time(mock_clock)
        assert await states(runtime) == ["asleep"]
        events = await talk(runtime)
        numbered = [event["seq"] for event in events if event["event"] != "text"]
        assert numbered == list(range(last + 1, last + 1 + len(numbered)))


async def test_who_saw_untrusted_text_has_seen_it_when_they_wake(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime, "unsigned words")  # so the session is tainted
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        await talk(runtime, "more")
        permits = [body for kind, body in runtime.records() if kind is Kind.PERMIT]
        assert [body.tainted for body in permits] == [True, True]  # type: ignore[attr-defined]
        assert actor(runtime, session)._turn.label.tainted


async def test_only_the_next_turn_is_taken_by_one_that_sleeps_and_only_one(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)

        async def say(number: int) -> Any:
            return await ask(runtime, Input(session=session, turn=number, text="x", signer=b"", signature=b""))

        assert [(await say(number)).code for number in (0, 1, 3)] == ["session.turn"] * 3
        assert await say(2) == Taken(number=2)
        assert (await say(3)).code == "session.busy"
        await is_in(runtime, session, "idle")
        assert len(runtime.model.asked) == 2


async def test_a_turn_that_is_cancelled_before_the_session_is_awake_does_not_begin(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await sleep(runtime, mock_clock)
        await listen(runtime)
        await runtime.say("go")
        assert await ask(runtime, CancelTurn(session=session)) == Taken(number=0)
        events = await runtime.until("turn_complete")
        assert (events[-1]["stop_reason"], events[-1]["turn"]) == ("cancelled", 1)
        await is_in(runtime, session, "idle")
        assert runtime.model.asked == []
        runtime._turn = 0
        assert (await talk(runtime))[-1]["turn"] == 1


async def test_one_that_sleeps_can_be_ended_and_the_log_says_so(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)
        await listen(runtime)
        assert await ask(runtime, EndSession(session=session, reason="asked")) == Taken(number=1)
        assert (await runtime.until("session_ended"))[-1]["reason"] == "asked"
        assert await line(runtime, session) is None
        assert (await ask(runtime, EndSession(session=session, reason="asked"))).code == "session.unknown"
        assert len(runtime.world.dormitory) == 0

        async def recorded() -> bool:
            return [kind for kind, _ in runtime.records()].count(Kind.SESSION_ENDED) == 1

        await until(recorded)
        assert not runtime.world.facts.quota.knows(session)
        assert session not in runtime.world.facts.rows


async def test_one_that_is_being_woken_can_be_ended(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await sleep(runtime, mock_clock)
        await runtime.say("go")
        await ask(runtime, EndSession(session=session, reason="asked"))

        async def over() -> bool:
            return [kind for kind, _ in runtime.records()].count(Kind.SESSION_ENDED) == 1

        await until(over)
        assert (children(runtime), runtime.world.facts.principals, runtime.model.asked) == ([], {}, [])


async def test_cancelling_nothing_wakes_nobody(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await sleep(runtime, mock_clock)
        assert await ask(runtime, CancelTurn(session=session)) == Taken(number=0)
        assert await states(runtime) == ["asleep"]


# ---- authority


def revocation(runtime: Runtime, target: bytes, kind: str) -> bytes:
    return sign_statement(Domain.REVOKE, Revocation(runtime.aud, target, kind, 1, USER.public), USER)  # type: ignore[arg-type]


async def revoke(runtime: Runtime, target: bytes, kind: str = "token") -> None:
    statement = revocation(runtime, target, kind)
    answer = await runtime.by_ticket(lambda n: RevokeToken(ticket=n, statement=statement))
    assert isinstance(answer, Done)


async def test_with_the_grant_revoked_nobody_wakes_and_that_is_said(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await sleep(runtime, mock_clock)
        [mode] = list(runtime.world.shelf.all())
        await revoke(runtime, mode.token.id)
        await listen(runtime)
        events = await talk(runtime)
        assert [event["event"] for event in events] == ["error", "turn_complete"]
        assert events[0]["code"] == events[1]["code"] == "token.no-grant"
        assert (await states(runtime), children(runtime)) == (["asleep"], [])
        await runtime.grant(Mode.GUIDED)  # by the user's own word it wakes
        runtime._turn = 0
        assert (await talk(runtime))[-1]["stop_reason"] == "end_turn"


@pytest.mark.parametrize("kind", ["token", "key"])
async def test_what_was_revoked_of_a_session_itself_stays_revoked_over_its_sleep(
    tmp_path: Path, mock_clock: MockClock, kind: str
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        mine = verify_chain(actor(runtime, session)._presented[0], runtime.world.identity.roots)
        await revoke(runtime, mine.id if kind == "token" else mine.holder, kind)
        awake = (await talk(runtime))[-1]
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        woken = (await talk(runtime))[-1]
        assert (woken["stop_reason"], woken["code"]) == (awake["stop_reason"], awake["code"])
        assert woken["stop_reason"] == "failed"
        assert len(runtime.model.asked) == 1


async def test_nobody_gets_more_of_the_log_or_of_their_purse_by_sleeping(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        facts = runtime.world.facts
        used = facts.quota._bytes[session]
        assert used > 0
        spent = {key: purse.spent for key, purse in facts.ledger.purses.items()}
        mine = verify_chain(actor(runtime, session)._presented[0], runtime.world.identity.roots)
        await sleep(runtime, mock_clock)
        assert facts.quota._bytes[session] == used
        await listen(runtime, 100)
        await talk(runtime)
        assert facts.quota._bytes[session] > used
        assert not facts.quota.has_room(session, LOG_BYTES_PER_SESSION + LAST_BYTES_PER_SESSION - used)
        assert set(facts.ledger.purses) == set(spent)
        assert all(facts.ledger.purses[key].spent > amount for key, amount in spent.items())
        assert facts.ledger.used[mine.id] == 2


def command(word: str) -> tuple[str, str, str]:
    """What is asked about each time."""
    return (f"c-{word}", "bash", json.dumps({"command": f"echo {word}"}))


WRITE = ("w1", "write_file", '{"file_path": "new.txt", "content": "hello"}')


async def deferred(runtime: Runtime, call: tuple[str, str, str]) -> dict[str, Any]:
    """Nobody is there, so a question stays open."""
    runtime.model.says = [call]
    events = await talk(runtime)
    return next(event for event in events if event["event"] == "deferred")


async def ran(runtime: Runtime, call: tuple[str, str, str]) -> bool:
    """Whether the call, proposed now, is run without a question."""
    runtime.model.says = [call]
    events = await talk(runtime)
    names = [event["event"] for event in events]
    assert ("tool_call_result" in names) is not ("deferred" in names or "denied" in names)
    return "tool_call_result" in names


@pytest.mark.parametrize("verdict", [Verdict.ONCE, Verdict.SESSION, Verdict.WORKSPACE])
async def test_a_yes_that_comes_while_it_sleeps_is_there_when_it_wakes(
    tmp_path: Path, mock_clock: MockClock, verdict: Verdict
) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime, Mode.SAFE)
        asked = await deferred(runtime, WRITE)
        await sleep(runtime, mock_clock)
        assert isinstance(await runtime.respond(asked, verdict), Done)
        await listen(runtime)
        await runtime.until("approval_settled")  # it is told to whoever listens, though nobody did
        assert await ran(runtime, WRITE)
        assert (runtime.workspace / "new.txt").read_text() == "hello"


async def test_a_no_that_comes_while_it_sleeps_is_none(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime, Mode.SAFE)
        asked = await deferred(runtime, WRITE)
        await sleep(runtime, mock_clock)
        assert isinstance(await runtime.respond(asked, Verdict.DENY), Done)
        await listen(runtime, 100)
        assert not await ran(runtime, WRITE)


async def test_a_once_that_was_used_is_not_there_again_when_it_wakes(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await runtime.respond(await deferred(runtime, command("one")), Verdict.ONCE)
        assert await ran(runtime, command("one"))
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        assert not await ran(runtime, command("one"))


async def test_a_once_that_was_not_used_is_there_once_when_it_wakes(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await runtime.respond(await deferred(runtime, command("one")), Verdict.ONCE)
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        assert await ran(runtime, command("one"))
        assert not await ran(runtime, command("one"))


async def test_a_yes_for_the_session_holds_for_all_of_it_and_for_no_other(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime, Mode.SAFE)
        await runtime.respond(await deferred(runtime, WRITE), Verdict.SESSION)
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        assert await ran(runtime, WRITE)
        (runtime.workspace / "new.txt").unlink()
        await runtime.open_shared(mode="safe")
        assert not await ran(runtime, WRITE)


async def test_two_noes_hold_over_a_sleep(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        for word in ("one", "two"):
            await runtime.respond(await deferred(runtime, command(word)), Verdict.DENY)
        await sleep(runtime, mock_clock)
        await listen(runtime, 100)
        runtime.model.says = [command("three")]
        events = await talk(runtime)
        assert [event["code"] for event in events if event["event"] == "denied"] == ["approval.said-no"]


async def test_another_folder_in_the_place_of_its_own_is_not_its_workspace(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await sleep(runtime, mock_clock)
        runtime.workspace.rename(tmp_path / "gone")
        runtime.workspace.mkdir()
        await runtime.grant(Mode.GUIDED)
        await listen(runtime)
        events = await talk(runtime)
        assert [event.get("code") for event in events] == ["session.elsewhere"] * 2
        assert await states(runtime) == ["asleep"]


# ---- what lies on the disk


def change(runtime: Runtime, sql: str, *values: bytes | int) -> None:
    """Somebody edits the log's database, past its triggers."""
    database = apsw.Connection(str(runtime.world.home.log))
    for (name,) in list(database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")):
        database.execute(f'DROP TRIGGER "{name}"')
    database.execute(sql, values)
    assert database.changes() > 0
    database.close()


EDITS = {
    "a word": (
        "UPDATE journal SET row = CAST(replace(CAST(row AS TEXT), 'remember', 'disobey!') AS BLOB)",
        "session.changed",
    ),
    "a label": (
        "UPDATE journal SET row = CAST(replace(CAST(row AS TEXT), '\"integrity\":0', '\"integrity\":3') AS BLOB)",
        "session.changed",
    ),
    "a row less": ("DELETE FROM journal WHERE key = (SELECT max(key) FROM journal)", "session.changed"),
    "no rows": ("DELETE FROM journal", "session.erased"),
    "nothing beside": ("DELETE FROM payload WHERE length(sealed) = 64", "session.erased"),
    "another digest": (
        "UPDATE payload SET sealed = CAST(substr(sealed, 1, 32) || zeroblob(32) AS BLOB) WHERE length(sealed) = 64",
        "record.spoilt",
    ),
    "another record": ("UPDATE log SET frame = CAST(substr(frame, 1, length(frame) - 1) || x'00' AS BLOB)", ""),
    "a record less": ("DELETE FROM log WHERE seq = (SELECT max(seq) FROM log)", ""),
}


@pytest.mark.parametrize("name", EDITS)
async def test_nobody_wakes_on_what_was_changed_on_the_disk(tmp_path: Path, mock_clock: MockClock, name: str) -> None:
    sql, code = EDITS[name]
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await talk(runtime, "remember this")
        await sleep(runtime, mock_clock)
        change(runtime, sql)
        await listen(runtime, 100)
        events = await talk(runtime)
        assert [event["event"] for event in events] == ["error", "turn_complete"]
        assert code in ("", events[0]["code"])
        assert events[1]["stop_reason"] == "failed"
        assert (await states(runtime), children(runtime), len(runtime.model.asked)) == (["asleep"], [], 1)


async def test_rows_with_digests_of_their_own_are_not_those_of_the_log(tmp_path: Path, mock_clock: MockClock) -> None:
    """Whoever changes a row, what lies beside its record and the record itself has a log that hangs together nowhere
    but in the one place that is not on the disk.
    """
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await talk(runtime, "remember this")
        await sleep(runtime, mock_clock)
        forge(runtime)
        await listen(runtime, 100)
        events = await talk(runtime)
        assert events[0]["code"] == "session.changed"


def forge(runtime: Runtime) -> None:
    reader = SqliteReader(runtime.world.home.log)
    frames = [decode_frame(raw) for raw in reader.frames(1, 1000)]
    frame = next(one for one in frames if one.kind == Kind.JOURNAL)
    body: Any = decode_body(frame)
    rows = [row.replace(b"remember", b"disobey!") for row in reader.rows(frame.session, body.first, body.count)]
    reader.close()
    made = tuple(JournalRow(number, data) for number, data in enumerate(rows, body.first))
    sealed, payload = seal(rows_digest(made), b"s" * 32)
    forged = encode(msgspec.structs.replace(frame, body=encode(msgspec.structs.replace(body, rows=sealed))))
    for row in made:
        change(runtime, "UPDATE journal SET row = ? WHERE key = ?", row.data, row_key(frame.session, row.number))
    key = payload_key(frame.seq, 0)
    change(runtime, "UPDATE payload SET sealed = ? WHERE key = ?", payload.salt + payload.data, key)
    change(runtime, "UPDATE log SET frame = ? WHERE seq = ?", forged, frame.seq)
    change(runtime, "DELETE FROM tile") if had_tiles(runtime) else None


def had_tiles(runtime: Runtime) -> bool:
    reader = SqliteReader(runtime.world.home.log)
    tile = reader.tile(0, 0)
    reader.close()
    return bool(tile)


# ---- when something breaks


async def test_one_that_sleeps_outlives_the_guard(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path, broken=True) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)
        runtime.directory.by_path["root/interceptor"].cell.kill("by a test")

        async def up() -> bool:
            gate = runtime.directory.by_path["root/interceptor"]
            return gate.alive and gate.cell.life is not None and runtime.gateway.cell.life is not None

        await pass_time(mock_clock, 60)
        await until(up)
        await is_in(runtime, session, "asleep")
        assert runtime.world.facts.quota._bytes[session] > 0
        await listen(runtime, 100)
        assert (await talk(runtime))[-1]["turn"] == 2


@pytest.mark.parametrize("step", ["release", "checkpoint", "recall", "admit"])
async def test_a_gateway_that_breaks_on_the_way_leaves_nobody_between_sleep_and_waking(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async with running(tmp_path, broken=True) as runtime:
        session = await opened(runtime)
        last = (await talk(runtime))[-1]["seq"]
        if step != "release":
            await sleep(runtime, mock_clock)
            await listen(runtime, last)
        broke: list[str] = []
        post = Gateway._post

        def breaking(self: Gateway, path: str, message: Any, waiting: Any) -> None:
            post(self, path, message, waiting)
            if isinstance(waiting, Asked) and waiting.step is Step(step) and not broke:
                broke.append(step)
                raise RuntimeError("by a test")

        monkeypatch.setattr(Gateway, "_post", breaking)
        if step == "release":
            runtime.world.hub.unsubscribe(runtime.events)
            await pass_time(mock_clock)
        else:
            runtime.system.post(runtime.gateway, Input(session=session, turn=2, text="go", signer=b"", signature=b""))

        async def has_broken() -> bool:
            return bool(broke)

        async def settled() -> bool:
            mock_clock.jump(0.1)  # whoever broke is started again a little later
            await wait_all_tasks_blocked()
            found = await line(runtime, session) if runtime.gateway.cell.life is not None else None
            return runtime.gateway.cell.incarnation == 2 and (found is None or found.state == "asleep")

        await until(has_broken)
        await until(settled)
        found = await line(runtime, session)
        if found is not None:
            assert children(runtime) == []
            assert runtime.world.facts.quota.knows(session)
            await listen(runtime, 100)
            runtime._turn = found.turns
            events = await talk(runtime)
            assert events[-1]["stop_reason"] == "end_turn", events
        else:

            async def over() -> bool:
                return [kind for kind, _ in runtime.records()].count(Kind.SESSION_ENDED) == 1

            await until(over)
            assert (children(runtime), runtime.world.facts.principals) == ([], {})
            assert not runtime.world.facts.quota.knows(session)


async def test_no_number_of_a_request_is_used_again_by_a_gateway_that_broke(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late answer to the one that broke would pass for an answer to the next, about another session."""
    numbers: dict[int, list[int]] = {1: [], 2: []}
    post = Gateway._post

    def heard(self: Gateway, path: str, message: Any, waiting: Any) -> None:
        numbers[self.ctx.ref.cell.incarnation].append(message.id)
        post(self, path, message, waiting)

    monkeypatch.setattr(Gateway, "_post", heard)
    async with running(tmp_path, broken=True) as runtime:
        await opened(runtime)
        runtime.gateway.cell.kill("by a test")
        await pass_time(mock_clock, 5)
        await runtime.open_shared()
        assert numbers[2]
        assert max(numbers[1]) < min(numbers[2])


# ---- what the archive is told and finds


async def remembered(runtime: Runtime, mock_clock: MockClock) -> Recall:
    """What is asked about a session that said something."""
    session = await opened(runtime)
    await talk(runtime, "remember this")
    await sleep(runtime, mock_clock)
    checkpoint = await runtime.by_ticket(lambda n: AskCheckpoint(ticket=n))
    record = runtime.world.dormitory.get(session)
    assert record is not None
    rows = runtime.world.facts.rows[session]
    return Recall(id=1, session=session, first=record.numbers.first, rows=rows, note=checkpoint.note)


async def recall(runtime: Runtime, wanted: Recall) -> Recalled:
    world = runtime.world
    return await world.consult(lambda reader: recall_session(reader, wanted, world.keys, world.identity.roots))


async def test_what_the_log_says_of_a_session_is_all_of_it(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        wanted = await remembered(runtime, mock_clock)
        found = await recall(runtime, wanted)
        [started] = [body for kind, body in runtime.records() if kind is Kind.SESSION_STARTED]
        assert (found.key, found.mode, found.model) == (started.principal, "guided", "fake/shared")  # type: ignore[attr-defined]
        assert len(found.rows) == wanted.rows
        assert isinstance(decode_row(found.rows[0]), InputRow)


@pytest.mark.parametrize(
    "fields", [{"rows": -1}, {"rows": 1}, {"first": -1}, {"first": 1}], ids=["fewer", "more", "before", "behind"]
)
async def test_rows_that_the_gate_did_not_count_or_that_are_missing_are_refused(
    tmp_path: Path, mock_clock: MockClock, fields: dict[str, int]
) -> None:
    async with running(tmp_path) as runtime:
        wanted = await remembered(runtime, mock_clock)
        changed = {name: getattr(wanted, name) + by for name, by in fields.items()}
        with pytest.raises(ChainError) as caught:
            await recall(runtime, msgspec.structs.replace(wanted, **changed))
        assert caught.value.code == "session.changed"


async def test_what_was_written_after_the_checkpoint_is_not_looked_at(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        wanted = await remembered(runtime, mock_clock)
        await listen(runtime, 100)
        await talk(runtime, "more")
        assert runtime.world.facts.rows[wanted.session] > wanted.rows
        assert len((await recall(runtime, wanted)).rows) == wanted.rows


async def test_a_checkpoint_that_another_key_signed_shows_nothing(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        wanted = await remembered(runtime, mock_clock)
        keys = msgspec.structs.replace(runtime.world.keys, runtime_key=HOLDER.public)
        with pytest.raises(ChainError):
            await runtime.world.consult(
                lambda reader: recall_session(reader, wanted, keys, runtime.world.identity.roots)
            )


async def test_long_lives_are_read_by_the_page(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "PAGE", 1)
    async with running(tmp_path) as runtime:
        wanted = await remembered(runtime, mock_clock)
        assert len((await recall(runtime, wanted)).rows) == wanted.rows


async def test_a_session_whose_turn_did_not_end_is_not_woken(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = archive_module.recall_session

    def cut(*args: Any) -> Recalled:
        found = whole(*args)
        return msgspec.structs.replace(found, rows=found.rows[:-1])

    async with running(tmp_path) as runtime:
        await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)
        monkeypatch.setattr(archive_module, "recall_session", cut)
        await listen(runtime, 100)
        assert (await talk(runtime))[0]["code"] == "session.unfinished"
        assert await states(runtime) == ["asleep"]


async def test_whoever_says_nonsense_to_the_archive_is_recorded_and_nothing_breaks(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        runtime.system.post(runtime.directory.by_path["root/archive"], AskCheckpoint(ticket=1))

        async def recorded() -> bool:
            return [body.code for kind, body in runtime.records() if kind is Kind.DENIED] == ["gate.message"]  # type: ignore[attr-defined]

        await until(recorded)


async def test_after_a_start_of_the_daemon_those_that_slept_are_gone_and_the_log_is_whole(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await talk(runtime)
        await sleep(runtime, mock_clock)
    async with running(tmp_path) as runtime:
        assert await line(runtime, session) is None
        assert runtime.world.facts.rows[session] > 0
        assert runtime.world.facts.quota.knows(session)
    assert verify_home(runtime.world.home.root, Trust(), is_own=True).result is Result.SOUND
