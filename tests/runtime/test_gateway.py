"""The gateway in the whole tree: who opens what, who may say what to whom, and what becomes of those who wait."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from astrid.core import gate_admin
from astrid.core.approval import Verdict
from astrid.core.canon import Domain
from astrid.core.grants import Mode
from astrid.core.ids import show_id
from astrid.core.install import Revocation, sign_statement
from astrid.core.labels import Integrity
from astrid.core.prompt import PromptStatement, sign_prompt
from astrid.core.records import DeniedRecord, Kind, SessionEnded
from astrid.core.resources import exec_resource
from astrid.core.tokens import Grant, Permission, Scope, Token, issue, verify_chain
from astrid.errors import TokenError
from astrid.home import open_home
from astrid.kernel import Ref
from astrid.messages.approvals import OpenQuestion, QuestionEnded
from astrid.messages.gate import Done, Failed
from astrid.messages.gateway import (
    AddToken,
    AskCheckpoint,
    CancelTurn,
    Declined,
    EndSession,
    Input,
    ListSessions,
    OpenSession,
    RevokeToken,
    SessionLine,
    SessionOpened,
    Taken,
)
from astrid.messages.log import Checkpointed
from astrid.messages.session import NotTaken, Report, ReportText
from astrid.runtime import gateway as gateway_module
from astrid.runtime import sessions as sessions_module
from astrid.wire.events import ApprovalSettled as Settled
from astrid.wire.events import FinalMessage as Final
from astrid.wire.events import SessionEnded as Ended
from astrid.wire.events import encode_event
from tests.fakes.home import HOLDER, USER
from tests.fakes.runtime import Runtime, call, read_records, running, turn

READ = call("read_file", file_path="a.txt")
SETTLED: dict[str, Any] = {"question_id": show_id("question", b"q" * 16), "outcome": "granted"}
FOREVER = turn(call("bash", command="sleep 1000"))


async def opened(runtime: Runtime, *script: dict[str, Any], mode: Mode = Mode.GUIDED, **options: Any) -> bytes:
    await runtime.grant(mode)
    answer = await runtime.open(list(script or (turn(),)), mode=mode.value, **options)
    assert isinstance(answer, SessionOpened), answer
    return answer.session


def break_down(ref: Ref) -> None:
    """A part of the guard, or the gateway, meets a bug of its own."""
    itself: Any = ref.cell.life
    itself._context.post(ref, "nonsense")


async def ask(runtime: Runtime, message: Any) -> Any:
    return await runtime.system.ask(runtime.gateway, message, within=10)


async def lines(runtime: Runtime) -> tuple[SessionLine, ...]:
    found: tuple[SessionLine, ...] = await ask(runtime, ListSessions())
    return found


def opening(ticket: int, runtime: Runtime, **fields: Any) -> OpenSession:
    given: dict[str, Any] = {
        "workspace": str(runtime.workspace),
        "mode": "guided",
        "model": "",
        "budget_micros": 0,
        "max_turns": 0,
        "interactive": True,
    }
    return OpenSession(ticket=ticket, **(given | fields))


def children(runtime: Runtime, name: str) -> list[str]:
    root = runtime.system.snapshot().root
    found: Any = next(child for child in root.children if child.path == f"root/{name}")
    return [child.path.rpartition("/")[2] for child in found.children]


# ---- opening


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"workspace": "/nowhere"}, "workspace.missing"),
        ({"workspace": "relative"}, "workspace.relative"),
        ({"workspace": "/\0"}, "workspace.missing"),
        ({"workspace": "/"}, "workspace.home-inside"),
        ({"model": ""}, "model.none"),
        ({"model": "gpt-9"}, "model.unknown"),
        ({"model": "scripted:/nowhere"}, "model.script-unreadable"),
        ({"mode": "wild"}, "session.mode"),
        ({"mode": "\0"}, "session.mode"),
    ],
)
async def test_what_cannot_be_opened_is_said_and_breaks_nothing(
    tmp_path: Path, fields: dict[str, Any], code: str
) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        script = tmp_path / "s.jsonl"
        script.write_text('{"text": "hi"}\n')
        given = {"model": f"scripted:{script}"} | fields
        answer = await runtime.by_ticket(lambda ticket: opening(ticket, runtime, **given))
        assert isinstance(answer, Failed)
        assert answer.code == code
        assert await lines(runtime) == ()
        assert isinstance(await runtime.open([turn()]), SessionOpened)


async def test_a_session_is_opened_when_its_start_is_durable(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        [started] = [body for kind, body in runtime.records() if kind is Kind.SESSION_STARTED]
        [line] = await lines(runtime)
        assert (line.session, line.mode, line.state, line.turns) == (session, "guided", "idle", 0)
        assert (started.mode, started.scripted) == ("guided", True)  # type: ignore[attr-defined]


async def test_a_session_that_names_no_mode_gets_the_configured_one(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
        await runtime.open([turn()], mode="")
        assert [line.mode for line in await lines(runtime)] == ["guided", "safe"]


async def test_there_is_a_most_of_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 2)
    async with running(tmp_path) as runtime:
        first = await opened(runtime)
        await opened(runtime)
        answer = await runtime.open([turn()])
        assert isinstance(answer, Failed)
        assert answer.code == "session.too-many"
        await ask(runtime, EndSession(session=first, reason="asked"))
        with trio.fail_after(10):
            while len(await lines(runtime)) == 2:
                await wait_all_tasks_blocked()
        assert isinstance(await runtime.open([turn()]), SessionOpened)


async def test_whoever_the_gate_does_not_know_has_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise TokenError("gate.principal-taken", "no", advice="")

    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        monkeypatch.setattr(gate_admin, "register", refuse)
        answer = await runtime.open([turn()])
        assert isinstance(answer, Failed)
        assert answer.code == "gate.principal-taken"
        with trio.fail_after(10):
            while await lines(runtime) or children(runtime, "sessions"):
                await wait_all_tasks_blocked()


async def test_sessions_share_the_host_of_a_workspace_and_have_a_script_each(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        sessions = [await opened(runtime) for _ in range(3)]
        hosts = children(runtime, "tools")
        assert sorted(name.partition("-")[0] for name in hosts) == ["agents"] + ["model"] * 3 + [
            "results",
            "skills",
            "todos",
            "workspace",
        ]
        for session in sessions:
            await ask(runtime, EndSession(session=session, reason="asked"))
        with trio.fail_after(10):
            while len(children(runtime, "tools")) > 5 or children(runtime, "sessions"):
                await wait_all_tasks_blocked()


# ---- tokens


def single(runtime: Runtime, **fields: Any) -> bytes:
    """A grant of one command in this workspace, signed beforehand."""
    [mode, *_] = [one.token.leaf for one in runtime.world.shelf.all()]
    pattern = exec_resource("/bin/echo", ["hello"]).text
    grants = (Grant(pattern, int(Permission.EXECUTE), 0, 2, b""),)
    return issue(msgspec.structs.replace(mode, grants=grants, nonce=b"n" * 16, **fields), USER)


def presented(runtime: Runtime) -> list[Token]:
    """The tokens that the last session presents with whatever it proposes."""
    ref: Any = runtime.directory.by_path[f"root/sessions/{runtime.session.hex()}"]
    return [verify_chain(raw, runtime.world.identity.roots) for raw in ref.cell.life._actor._presented]


async def test_a_session_gets_its_mode_and_what_was_granted_beside_it_and_no_wider_mode(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.AUTONOMOUS)
        token = single(runtime)
        await runtime.by_ticket(lambda ticket: AddToken(ticket=ticket, token=token, source="client"))
        await runtime.open([turn()], mode="safe")
        tokens = presented(runtime)
        assert len(tokens) == 2
        assert all(one.leaf.session == runtime.session for one in tokens)
        assert all(one.holder != HOLDER.public for one in tokens)
        allowed = {(grant.pattern.partition(":")[0], grant.perms) for one in tokens for grant in one.leaf.grants}
        assert allowed == {("file", 33), ("model", 16), ("exec", 4), ("tool", 128)}


async def test_a_token_that_may_not_be_handed_on_does_not_keep_a_session_from_opening(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        token = single(runtime, depth=0)
        added = await runtime.by_ticket(lambda ticket: AddToken(ticket=ticket, token=token, source="client"))
        assert isinstance(added, Done)
        await runtime.open([turn()], mode="safe")
        assert len(presented(runtime)) == 1


async def test_a_token_is_on_the_shelf_when_that_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        token = single(runtime)
        answer = await runtime.by_ticket(lambda ticket: AddToken(ticket=ticket, token=token, source="client"))
        found = runtime.world.shelf.get(verify_chain(token, runtime.world.identity.roots).id)
        assert found is not None
        assert found.seq == answer.seq
        again = await runtime.by_ticket(lambda ticket: AddToken(ticket=ticket, token=b"nonsense", source="client"))
        assert isinstance(again, Failed)


async def test_after_a_revocation_no_session_opens_on_it(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        [mode] = list(runtime.world.shelf.all())
        revoked = sign_statement(Domain.REVOKE, Revocation(runtime.aud, mode.token.id, "token", 1, USER.public), USER)
        answer = await runtime.by_ticket(lambda ticket: RevokeToken(ticket=ticket, statement=revoked))
        assert isinstance(answer, Done)
        refused = await runtime.open([turn()])
        assert isinstance(refused, Failed)
        assert refused.code == "token.no-grant"


async def test_a_checkpoint_is_given_to_whoever_asks(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        answer = await runtime.by_ticket(lambda ticket: AskCheckpoint(ticket=ticket))
        assert isinstance(answer, Checkpointed)
        assert answer.size == len(runtime.records())


async def test_an_answer_for_the_workspace_serves_the_next_session(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        write = turn(call("write_file", file_path="a", content="1"))
        await opened(runtime, write, turn(), mode=Mode.SAFE)
        await runtime.attend()
        await runtime.say("write")
        asked = (await runtime.until("approval_needed"))[-1]
        await runtime.respond(asked, Verdict.WORKSPACE)
        await runtime.until("turn_complete")
        scopes = [Scope(shelved.token.leaf.scope) for shelved in runtime.world.shelf.all()]
        assert scopes == [Scope.WORKSPACE, Scope.WORKSPACE]
        (runtime.workspace / "a").unlink()
        await runtime.open([write, turn()], mode="safe")
        await runtime.say("write")
        events = await runtime.until("turn_complete")
        assert "approval_needed" not in [event["event"] for event in events]
        assert (runtime.workspace / "a").read_text() == "1"


# ---- what people say


async def test_turns_are_counted_and_only_the_next_one_is_taken(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime, turn(), turn())
        for number in (0, 2, -1):
            declined = await ask(runtime, Input(session=session, turn=number, text="x", signer=b"", signature=b""))
            assert (declined.code, declined.reason) == ("session.turn", "the next turn is number 1")
        assert await runtime.say("go") == Taken(number=1)
        await runtime.until("turn_complete")
        assert await runtime.say("go") == Taken(number=2)


async def test_while_a_turn_runs_nothing_more_is_taken_and_it_can_be_stopped(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime, FOREVER, turn())
        await runtime.attend()
        await runtime.say("go")
        await runtime.until("approval_needed")
        assert [line.state for line in await lines(runtime)] == ["running"]
        declined = await ask(runtime, Input(session=session, turn=2, text="x", signer=b"", signature=b""))
        assert declined.code == "session.busy"
        assert await ask(runtime, CancelTurn(session=session)) == Taken(number=1)
        events = await runtime.until("turn_complete")
        assert events[-1]["stop_reason"] == "cancelled"
        assert [line.state for line in await lines(runtime)] == ["idle"]


async def test_what_was_no_input_is_not_counted(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime, turn())
        for _ in range(2):
            taken = await ask(runtime, Input(session=session, turn=1, text="  ", signer=b"", signature=b""))
            assert taken == Taken(number=1)
            assert (await runtime.until("error"))[-1]["code"] == "turn.input-empty"
            assert [(line.state, line.turns) for line in await lines(runtime)] == [("idle", 0)]
        assert await runtime.say("go") == Taken(number=1)
        events = await runtime.until("turn_complete")
        assert events[-1]["turn"] == 1
        assert [body.turn for kind, body in runtime.records() if kind is Kind.PROMPT] == [1]  # type: ignore[attr-defined]


async def test_only_words_that_the_user_signed_for_this_turn_are_the_users(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime, turn(), turn(), turn())

        async def say(number: int, text: str, signed: PromptStatement | None) -> Any:
            signature = b"" if signed is None else sign_prompt(signed, USER)
            message = Input(session=session, turn=number, text=text, signer=USER.public, signature=signature)
            return await ask(runtime, message)

        right = PromptStatement(runtime.aud, session, 1, b"do it")
        for wrong in (
            PromptStatement(runtime.aud, session, 2, b"do it"),
            PromptStatement(runtime.aud, session, 1, b"do that"),
            PromptStatement(runtime.aud, b"x" * 16, 1, b"do it"),
            PromptStatement(b"x" * 32, session, 1, b"do it"),
        ):
            assert (await say(1, "do it", wrong)).code == "prompt.signature"
        assert (await say(1, "do \ud800", right)).code == "prompt.signature"
        assert await say(1, "do it", right) == Taken(number=1)
        await runtime.until("turn_complete")
        assert (await say(2, "do it", right)).code == "prompt.signature"  # an old one, again
        assert await say(2, "do it", None) == Taken(number=2)
        await runtime.until("turn_complete")
        labels = [body.integrity for kind, body in runtime.records() if kind is Kind.PROMPT]  # type: ignore[attr-defined]
        assert labels == [Integrity.SIGNED_USER, Integrity.UNTRUSTED]


@pytest.mark.parametrize(
    "message",
    [
        Input(session=b"x" * 16, turn=1, text="x", signer=b"", signature=b""),
        CancelTurn(session=b"x" * 16),
        EndSession(session=b"x" * 16, reason="asked"),
    ],
)
async def test_a_session_that_is_not_there_is_unknown(tmp_path: Path, message: Any) -> None:
    async with running(tmp_path) as runtime:
        declined = await ask(runtime, message)
        assert isinstance(declined, Declined)
        assert declined.code == "session.unknown"


# ---- ends


async def test_the_end_of_a_session_is_its_last_event(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime, turn())
        await runtime.say("go")
        await runtime.until("turn_complete")
        await ask(runtime, EndSession(session=session, reason="asked"))
        events = await runtime.until("session_ended")
        assert events[-1]["reason"] == "asked"
        assert runtime.events.closed
        assert runtime.world.hub.number(session) == 0
    assert [kind for kind, _ in read_records(runtime.world.home)].count(Kind.SESSION_ENDED) == 1


@pytest.mark.parametrize(("reason", "recorded"), [("asked", "client"), ("idle", "idle")])
async def test_the_log_says_whether_a_person_ended_a_session_or_nobody_came_back_to_it(
    tmp_path: Path, reason: Any, recorded: str
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime)
        await ask(runtime, EndSession(session=session, reason=reason))
        assert (await runtime.until("session_ended"))[-1]["reason"] == reason
    assert ends(tmp_path) == [recorded]


async def test_the_log_says_that_a_session_was_stopped_with_the_daemon(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await opened(runtime)
    assert ends(tmp_path) == ["shutdown"]


async def test_the_log_says_that_a_session_broke_even_if_a_person_was_ending_it(tmp_path: Path) -> None:
    async with running(tmp_path, broken=True) as runtime:
        session = await opened(runtime)
        runtime.system.post(runtime.directory.by_path[f"root/sessions/{session.hex()}"], "nonsense")
        await ask(runtime, EndSession(session=session, reason="asked"))
        await runtime.until("session_ended")
    assert ends(tmp_path) == ["failed"]


def ends(folder: Path) -> list[str]:
    """Why sessions ended, as the log of a runtime that was in ``folder`` says."""
    found = read_records(open_home(folder / "home"))
    return [body.reason for _, body in found if isinstance(body, SessionEnded)]


async def test_a_session_that_breaks_has_failed_and_no_other_has(tmp_path: Path) -> None:
    async with running(tmp_path, broken=True) as runtime:
        other = await opened(runtime)
        session = await opened(runtime)
        runtime.system.post(runtime.directory.by_path[f"root/sessions/{session.hex()}"], "nonsense")
        events = await runtime.until("session_ended")
        assert events[-1]["reason"] == "failed"
        assert [line.session for line in await lines(runtime)] == [other]


async def test_if_the_gateway_breaks_sessions_live_on_and_whoever_waited_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, broken=True) as runtime:
        session = await opened(runtime, turn())
        ticket = runtime.world.desk.take()  # of a request that goes down with it
        break_down(runtime.gateway)
        with trio.fail_after(10):
            answer = await ticket.wait_answer()
        assert isinstance(answer, Failed)
        assert answer.code == "daemon.restarted"
        assert [line.session for line in await lines(runtime)] == [session]
        await runtime.say("go")
        assert (await runtime.until("turn_complete"))[-1]["stop_reason"] == "end_turn"
        assert runtime.gateway.incarnation == 2


async def test_if_the_guard_breaks_sessions_end_and_whoever_listens_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, broken=True) as runtime:
        await opened(runtime)
        break_down(runtime.directory.by_path["root/interceptor"])
        events = await runtime.until("session_ended")
        assert events[-1]["reason"] == "failed"
        assert await lines(runtime) == ()
        assert isinstance(await runtime.open([turn()]), SessionOpened)


@pytest.mark.parametrize("part", ["audit", "approvals", "interceptor"])
async def test_no_session_outlives_any_part_of_the_guard(tmp_path: Path, part: str) -> None:
    """So what the guard has counted of a session ends with it."""
    async with running(tmp_path, broken=True) as runtime:
        session = await opened(runtime)
        ref = runtime.directory.by_path[f"root/sessions/{session.hex()}"]
        break_down(runtime.directory.by_path[f"root/{part}"])
        await runtime.until("session_ended")
        assert not ref.alive
        incarnations = [
            runtime.system.ref(f"root/{name}").incarnation for name in ("audit", "approvals", "interceptor")
        ]
        assert incarnations == [2, 2, 2]


# ---- who may say what


FORGED: list[tuple[str, object]] = [
    ("root/sessions/", EndSession(session=b"x" * 16, reason="asked")),
    ("root/sessions/", AddToken(ticket=1, token=b"t", source="s")),
    ("root/sessions/", Done(id=1, seq=1)),
    ("root/sessions/", OpenQuestion(qid=b"q" * 16, session=b"x" * 16, question=b"")),
    ("root/sessions/", QuestionEnded(qid=b"q" * 16, session=b"x" * 16, verdict="once", token=b"t", seq=1)),
    ("root/interceptor", Report(event=b"{}")),
    ("root/interceptor", ListSessions()),
    ("root/audit", QuestionEnded(qid=b"q" * 16, session=b"x" * 16, verdict="once", token=b"t", seq=1)),
    ("", Done(id=1, seq=1)),
    ("", Report(event=b"{}")),
    ("", ReportText(text="x")),
    ("", NotTaken()),
    ("", "nonsense"),
]


def said(runtime: Runtime, message: object, *, by: str) -> None:
    """The actor at ``by``, or nobody, says something to the gateway."""
    if by:
        forger: Any = next(ref for name, ref in runtime.directory.by_path.items() if name.startswith(by))
        forger.cell.life._context.post(runtime.gateway, message)
    else:
        runtime.system.post(runtime.gateway, message)


async def denied(runtime: Runtime) -> DeniedRecord:
    """The one denial that the log comes to have."""
    with trio.fail_after(30):
        while not (found := [body for _, body in runtime.records() if isinstance(body, DeniedRecord)]):
            await wait_all_tasks_blocked(0.01)
    [one] = found
    return one


@pytest.mark.parametrize(("path", "message"), [one for one in FORGED if one[0] in ("root/interceptor", "root/audit")])
async def test_what_the_guard_may_not_say_is_a_bug_and_refused_loudly(
    tmp_path: Path, path: str, message: object
) -> None:
    async with running(tmp_path, broken=True) as runtime:
        await opened(runtime)
        said(runtime, message, by=path)
        with trio.fail_after(30):
            while not runtime.failures:
                await wait_all_tasks_blocked()
        assert [getattr(error, "code", "") for error in runtime.failures] == ["gateway.message"]


@pytest.mark.parametrize(("path", "message"), [one for one in FORGED if one[0] in ("root/sessions/", "")])
async def test_what_sessions_and_strangers_may_not_say_is_recorded_and_changes_nothing(
    tmp_path: Path, path: str, message: object
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime, turn())
        said(runtime, message, by=path)
        one = await denied(runtime)
        assert (one.layer, one.code, any(one.principal)) == ("gate", "gate.message", bool(path))
        assert [(line.session, line.turns) for line in await lines(runtime)] == [(session, 0)]
        await runtime.say("go")
        assert (await runtime.until("turn_complete"))[-1]["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    "make",
    [
        lambda session: Report(event=b"{}"),
        lambda session: Report(event=b"\xff"),
        lambda session: Report(event="text"),  # type: ignore[arg-type]
        lambda session: ReportText(text="\ud800"),
        lambda session: ReportText(text=b"bytes"),  # type: ignore[arg-type]
        lambda session: Report(
            event=encode_event(Ended(session_id=show_id("session", session), seq=0, reason="asked"))
        ),
        lambda session: Report(event=encode_event(Settled(**SETTLED, session_id=show_id("session", session), seq=0))),
        lambda session: Report(event=encode_event(Final(session_id=show_id("session", b"o" * 16), seq=0, text="lie"))),
    ],
    ids=["no event", "no text", "not bytes", "unsayable", "not text", "its end", "an answer", "of another session"],
)
async def test_a_session_that_reports_what_it_may_not_is_recorded_and_nobody_hears_it(
    tmp_path: Path, make: Callable[[bytes], object]
) -> None:
    async with running(tmp_path) as runtime:
        session = await opened(runtime, turn())
        listener, _ = runtime.world.hub.subscribe(session, 0)
        said(runtime, make(session), by="root/sessions/")
        one = await denied(runtime)
        assert (one.code, any(one.principal)) == ("gate.message", True)
        with trio.move_on_after(0):
            assert await listener.wait_events() == []
        await runtime.say("go")
        assert (await runtime.until("turn_complete"))[-1]["stop_reason"] == "end_turn"


async def test_a_gateway_that_trusted_its_sessions_would_be_ended_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "is_ours", lambda message, sender: True)
    async with running(tmp_path, broken=True) as runtime:
        await opened(runtime)
        said(runtime, "nonsense", by="root/sessions/")
        with trio.fail_after(30):
            while not runtime.failures:
                await wait_all_tasks_blocked()
        assert [getattr(error, "code", "") for error in runtime.failures] == ["gateway.message"]


async def test_a_session_speaks_for_itself_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        first = await opened(runtime)
        listener, _ = runtime.world.hub.subscribe(first, 0)
        second = await opened(runtime)
        ref: Any = runtime.directory.by_path[f"root/sessions/{second.hex()}"]
        ref.cell.life._context.post(runtime.gateway, ReportText(text="hello"))
        assert (await runtime.until("text"))[-1]["text"] == "hello"
        ref.cell.life._context.post(runtime.gateway, NotTaken())
        await wait_all_tasks_blocked()
        assert [line.turns for line in await lines(runtime)] == [0, -1]
        with trio.move_on_after(0):
            assert await listener.wait_events() == []
