"""Every method of the wire, asked by the product's own client of a daemon in this process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from astrid.core.answers import Answer, Verdict
from astrid.core.canon import Domain, encode
from astrid.core.checkpoint import check_consistent, verify_checkpoint
from astrid.core.display import display_digest, render_question
from astrid.core.grants import Mode
from astrid.core.ids import parse_id, show_id
from astrid.core.keys import load_public_key
from astrid.core.question import answer_block, decode_question, question_digest
from astrid.core.tokens import Assurance, Scope, verify_chain
from astrid.daemon import service as service_module
from astrid.errors import AstridError
from astrid.frontends.client import Client, connect
from astrid.frontends.meeting import load_install
from astrid.runtime.boot import load_identity
from astrid.runtime.dormant import Dormitory, Numbers, dormant
from astrid.runtime.parts import Options
from astrid.wire import events as e
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.methods import METHODS
from tests.fakes.daemon_home import revocation
from tests.fakes.daemons import LIMIT_SECONDS, InProcess, daemon_in, settled
from tests.fakes.home import HOLDER, RUNTIME, USER

READ = {"id": "t1", "name": "read_file", "arguments": {"file_path": "a.txt"}}
RUN = {"id": "t2", "name": "bash", "arguments": {"command": "touch made"}}
NOWHERE = "session:" + "0" * 32


@asynccontextmanager
async def served(root: Path, **options: Any) -> AsyncIterator[tuple[InProcess, Client]]:
    """A daemon and a client that it admitted; everything within bounds."""
    with trio.fail_after(LIMIT_SECONDS):
        async with daemon_in(root, **options) as daemon, connect(daemon.home) as client:
            yield daemon, client


async def granted(daemon: InProcess, client: Client) -> None:
    await client.call("tokensAdd", p.TokensAdd(token=daemon.grant()))


async def opened(
    daemon: InProcess, client: Client, *turns: dict[str, Any], mode: p.Mode = "guided", **options: Any
) -> r.SessionInfo:
    asked = p.CreateSession(
        workspace=str(daemon.workspace),
        mode=mode,
        model=daemon.script(*turns),
        options=p.SessionOptions(**options),
    )
    return cast("r.SessionInfo", await client.call("createSession", asked))


async def until(client: Client, session: str, kind: type[e.Event]) -> list[e.AnyEvent]:
    """The events up to the first of a kind."""
    seen: list[e.AnyEvent] = []
    while not seen or not isinstance(seen[-1], kind):
        seen.append(await client.next_event(session))
    return seen


async def code_of(client: Client, method: str, params: p.Params) -> str:
    with pytest.raises(AstridError) as caught:
        await client.call(method, params)
    return caught.value.code


def signed_answer(question: bytes, verdict: Verdict, aud: bytes) -> p.ApprovalResponse:
    """What a person's signer would send."""
    asked, _ = decode_question(question)
    payload = signature = b""
    if verdict is not Verdict.DENY:
        block = answer_block(
            question,
            Scope(verdict - 1),
            issuer=USER.public,
            assurance=Assurance.SEALED,
            keeper=HOLDER.public,
            nonce=os.urandom(16),
        )
        payload = encode(block)
        signature = USER.sign(Domain.BLOCK, payload)
    statement = encode(
        Answer(
            1,
            aud,
            question_digest(question),
            asked.qid,
            verdict,
            payload,
            display_digest(render_question(question)),
            Assurance.SEALED,
            asked.asked,
            USER.public,
        )
    )
    return p.ApprovalResponse(
        question_id=show_id("question", asked.qid),
        statement=statement,
        signature=USER.sign(Domain.APPROVAL, statement),
        payload=payload,
        token_signature=signature,
    )


async def test_a_session_runs_from_its_creation_to_its_end(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        await granted(daemon, client)
        info = await opened(daemon, client, {"text": "look", "tool_calls": [READ]}, {"text": "done"})
        assert (info.workspace, info.mode, info.state, info.turns) == (str(daemon.workspace), "guided", "idle", 0)
        await client.subscribe(info.session_id)
        started = await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="go"))
        assert started == r.TurnStarted(turn=1)
        events = await until(client, info.session_id, e.TurnComplete)
        assert [event.text for event in events if isinstance(event, e.FinalMessage)] == ["look", "done"]
        listed = cast("r.Sessions", await client.call("listSessions", p.ListSessions())).sessions
        assert [(one.session_id, one.turns, one.state) for one in listed] == [(info.session_id, 1, "idle")]
        assert listed[0].message_count > 0
        assert await client.call("listSessions", p.ListSessions(workspace="/elsewhere")) == r.Sessions(
            sessions=(), left_out=0
        )
        await client.call("endSession", p.OfSession(session_id=info.session_id))
        assert isinstance((await until(client, info.session_id, e.SessionEnded))[-1], e.SessionEnded)
        assert await client.call("listSessions", p.ListSessions()) == r.Sessions(sessions=(), left_out=0)


async def test_events_that_were_missed_are_sent_again_from_where_the_client_was(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        await granted(daemon, client)
        info = await opened(daemon, client, {"text": "one"}, {"text": "two"})
        await client.subscribe(info.session_id)
        await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="go"))
        events = [
            event for event in await until(client, info.session_id, e.TurnComplete) if event.seq and event.seq > 2
        ]
        async with connect(daemon.home) as other:
            await other.subscribe(info.session_id, after=2)
            again = await until(other, info.session_id, e.TurnComplete)
        assert [event for event in again if not isinstance(event, e.TextDelta)] == [
            event for event in events if not isinstance(event, e.TextDelta)
        ]


async def test_after_the_subscription_ends_nothing_more_is_sent(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        await granted(daemon, client)
        info = await opened(daemon, client, {"text": "one"})
        await client.subscribe(info.session_id)
        await client.call("unsubscribeEvents", p.OfSession(session_id=info.session_id))
        async with connect(daemon.home) as other:
            await other.subscribe(info.session_id)
            await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="go"))
            await until(other, info.session_id, e.TurnComplete)
        await client.call("status", p.Nothing())
        with trio.move_on_after(0.05) as waited:
            await client.next_event(info.session_id)
        assert waited.cancelled_caught


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("sendInput", p.SendInput(session_id=NOWHERE, turn=1, input="x")),
        ("cancelTurn", p.OfSession(session_id=NOWHERE)),
        ("endSession", p.OfSession(session_id=NOWHERE)),
        ("subscribeEvents", p.SubscribeEvents(session_id=NOWHERE)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_session_that_is_not_there_is_named_as_such(tmp_path: Path, method: str, params: p.Params) -> None:
    async with served(tmp_path) as (_, client):
        assert await code_of(client, method, params) == "session.unknown"


async def test_an_input_is_taken_once_and_with_its_own_number(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        await granted(daemon, client)
        info = await opened(daemon, client, {"text": "one"})
        wrong = p.SendInput(session_id=info.session_id, turn=2, input="go")
        assert await code_of(client, "sendInput", wrong) == "session.turn"


async def test_a_session_needs_a_grant_a_folder_and_a_model(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        asked = p.CreateSession(workspace=str(daemon.workspace), mode="guided", model=daemon.script({"text": "x"}))
        assert await code_of(client, "createSession", asked) == "token.no-grant"
        await granted(daemon, client)
        for model, code in (("gpt-17", "model.unknown"), (None, "model.none")):
            other = p.CreateSession(workspace=str(daemon.workspace), mode="guided", model=model)
            assert await code_of(client, "createSession", other) == code
        elsewhere = p.CreateSession(workspace=str(tmp_path / "nowhere"), mode="guided", model="scripted:/x")
        assert await code_of(client, "createSession", elsewhere) == "workspace.missing"


async def test_the_daemon_says_how_it_is(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        status = cast("r.Status", await client.call("status", p.Nothing()))
        assert (status.mode, status.active_connections, status.active_sessions) == ("persistent", 1, 0)
        assert status.log_size >= 2
        assert int(status.uptime_ns) > 0
        found = cast("r.Findings", await client.call("doctor", p.Nothing())).findings
        assert {one.name: one.state for one in found} == dict.fromkeys(("checkpoints", "anchor", "disk", "clock"), "ok")
        keys = cast("r.Keys", await client.call("keysShow", p.Nothing())).keys
        assert {one.role for one in keys} == {"user", "runtime", "holder", "client"}
        assert {one.public_key for one in keys if one.role in ("user", "runtime")} == {USER.public, RUNTIME.public}


async def test_a_stop_that_is_asked_for_is_answered_first(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        assert await client.call("shutdown", p.ProvenNothing()) == r.Done()
        await client.wait_gone()
        await settled(lambda: not daemon.home.socket.exists())


class TestTokens:
    """What was granted, and what became of it."""

    async def test_a_grant_is_listed_shown_used_and_revoked(self, tmp_path: Path) -> None:
        async with served(tmp_path) as (daemon, client):
            token = daemon.grant()
            added = cast("r.TokenAdded", await client.call("tokensAdd", p.TokensAdd(token=token)))
            info = await opened(daemon, client, {"text": "one", "tool_calls": [READ]}, {"text": "done"})
            await client.subscribe(info.session_id)
            await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="go"))
            await until(client, info.session_id, e.TurnComplete)
            (listed,) = cast("r.Tokens", await client.call("tokensList", p.ProvenNothing())).tokens
            assert (listed.token_id, listed.scope, listed.revoked) == (added.token_id, "workspace", False)
            assert listed.used == 3  # two calls of the model and one of a tool
            shown = cast("r.TokenShown", await client.call("tokensShow", p.TokensShow(token_id=added.token_id)))
            assert (shown.chain, shown.info) == (token, listed)
            ended = await client.call(
                "tokensRevoke", p.TokensRevoke(statement=revocation(daemon.aud, parse_id("token", added.token_id)))
            )
            assert ended == r.TokensRevoked(revoked=1)
            (listed,) = cast("r.Tokens", await client.call("tokensList", p.ProvenNothing())).tokens
            assert listed.revoked

    async def test_what_the_user_did_not_sign_is_not_taken(self, tmp_path: Path) -> None:
        async with served(tmp_path) as (daemon, client):
            forged = bytearray(daemon.grant())
            forged[-1] ^= 1
            assert await code_of(client, "tokensAdd", p.TokensAdd(token=bytes(forged))) == "token.signature"
            assert await code_of(client, "tokensRevoke", p.TokensRevoke(statement=b"x" * 90)) == "statement.encoding"
            unknown = p.TokensShow(token_id="token:" + "0" * 64)
            assert await code_of(client, "tokensShow", unknown) == "token.unknown"


class TestQuestions:
    """From a call that needs a person to the answer that counts once."""

    @asynccontextmanager
    async def asked(self, root: Path) -> AsyncIterator[tuple[InProcess, Client, str, bytes]]:
        async with served(root) as (daemon, client):
            await granted(daemon, client)
            info = await opened(daemon, client, {"text": "run", "tool_calls": [RUN]}, {"text": "done"}, mode="safe")
            await client.subscribe(info.session_id, interactive=True)
            await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="go"))
            event = (await until(client, info.session_id, e.ApprovalNeeded))[-1]
            assert isinstance(event, e.ApprovalNeeded)
            name = p.GetApproval(question_id=event.question_id)
            question = cast("r.QuestionBytes", await client.call("getApproval", name)).question
            yield daemon, client, info.session_id, question

    async def test_a_yes_lets_the_call_run_and_a_second_answer_comes_too_late(self, tmp_path: Path) -> None:
        async with self.asked(tmp_path) as (daemon, client, session, question):
            listed = cast("r.Approvals", await client.call("listApprovals", p.ListApprovals(session_id=session)))
            assert [one.session_id for one in listed.questions] == [session]
            (info,) = cast("r.Sessions", await client.call("listSessions", p.ListSessions())).sessions
            assert (info.state, info.pending_deferred_count) == ("waiting", 1)
            yes = signed_answer(question, Verdict.ONCE, daemon.aud)
            assert await client.call("approvalResponse", yes) == r.Settled(outcome="settled")
            again = cast("r.Settled", await client.call("approvalResponse", yes))
            assert again.outcome == "already-settled"
            await until(client, session, e.TurnComplete)
            assert (daemon.workspace / "made").exists()
            assert await client.call("listApprovals", p.ListApprovals()) == r.Approvals(questions=())
            gone = p.GetApproval(question_id=listed.questions[0].question_id)
            assert await code_of(client, "getApproval", gone) == "approval.unknown"

    async def test_a_no_denies_it(self, tmp_path: Path) -> None:
        async with self.asked(tmp_path) as (daemon, client, session, question):
            no = signed_answer(question, Verdict.DENY, daemon.aud)
            assert await client.call("approvalResponse", no) == r.Settled(outcome="settled")
            events = await until(client, session, e.TurnComplete)
            assert [event.layer for event in events if isinstance(event, e.Denied)] == ["approval"]
            assert not (daemon.workspace / "made").exists()

    @pytest.mark.parametrize("damage", ["signature", "payload", "token_signature", "statement"])
    async def test_an_answer_that_was_touched_is_refused_and_the_question_stays(
        self, tmp_path: Path, damage: str
    ) -> None:
        async with self.asked(tmp_path) as (daemon, client, _, question):
            yes = signed_answer(question, Verdict.ONCE, daemon.aud)
            fields = {name: getattr(yes, name) for name in yes.__struct_fields__}
            fields[damage] = bytes([fields[damage][0] ^ 1]) + fields[damage][1:]
            settled = cast("r.Settled", await client.call("approvalResponse", p.ApprovalResponse(**fields)))
            assert settled.outcome in ("refused", "already-settled")
            listed = cast("r.Approvals", await client.call("listApprovals", p.ListApprovals()))
            assert len(listed.questions) == 1

    async def test_when_the_one_who_could_answer_leaves_the_session_goes_on_without(self, tmp_path: Path) -> None:
        async with served(tmp_path) as (daemon, client):
            await granted(daemon, client)
            info = await opened(daemon, client, {"text": "run", "tool_calls": [RUN]}, {"text": "done"}, mode="safe")
            async with connect(daemon.home) as person:
                await person.subscribe(info.session_id, interactive=True)
            await client.subscribe(info.session_id)
            await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="go"))
            events = await until(client, info.session_id, e.TurnComplete)
            assert [type(event) for event in events if isinstance(event, e.Deferred)] == [e.Deferred]


class TestFleets:
    """Many sessions on one purse."""

    async def test_a_fleet_is_listed_with_what_its_sessions_spent_of_its_purse(self, tmp_path: Path) -> None:
        async with served(tmp_path) as (daemon, client):
            await granted(daemon, client)
            asked = p.CreateFleet(workspace=str(daemon.workspace), mode="guided", purse_micros="900000")
            fleet = cast("r.TokenAdded", await client.call("createFleet", asked)).token_id
            priced = {"model": {"name": "m", "price": {"input_usd_per_million": "1", "output_usd_per_million": "1"}}}
            info = await opened(daemon, client, priced, {"text": "done"}, fleet=fleet)
            await client.subscribe(info.session_id)
            await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="go"))
            await until(client, info.session_id, e.TurnComplete)
            shown = cast("r.TokenShown", await client.call("tokensShow", p.TokensShow(token_id=fleet))).info
            assert (shown.purse_micros, int(shown.spent_micros) > 0, shown.used) == ("900000", True, 1)

    async def test_without_a_grant_there_is_no_fleet(self, tmp_path: Path) -> None:
        async with served(tmp_path) as (daemon, client):
            asked = p.CreateFleet(workspace=str(daemon.workspace), mode="guided", purse_micros="1")
            assert await code_of(client, "createFleet", asked) == "token.no-grant"


class TestLog:
    """What the log says, and how it is proved."""

    async def test_the_log_is_paged_shown_counted_proved_and_explained(self, tmp_path: Path) -> None:
        async with served(tmp_path) as (daemon, client):
            await granted(daemon, client)
            info = await opened(daemon, client, {"text": "one", "tool_calls": [READ]}, {"text": "done"})
            await client.subscribe(info.session_id)
            await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="go"))
            await until(client, info.session_id, e.TurnComplete)
            whole = cast("r.AuditRecords", await client.call("auditList", p.AuditList(limit=1000))).records
            assert [one.seq for one in whole] == list(range(1, len(whole) + 1))
            page = cast("r.AuditRecords", await client.call("auditList", p.AuditList(limit=2)))
            assert (page.records, page.after_seq) == (whole[:2], 2)
            permit = next(one for one in whole if one.decision == "permit" and one.summary.startswith("read_file"))
            shown = cast("r.AuditShown", await client.call("auditShow", p.AuditRecordOf(seq=permit.seq)))
            assert shown.record == permit
            stats = cast("r.AuditStats", await client.call("auditStats", p.ProvenNothing()))
            assert sum(one.count for one in stats.kinds) == stats.records >= len(whole)
            told = cast("r.Explanation", await client.call("auditExplain", p.AuditExplain(id=info.session_id)))
            assert permit.seq in [one.seq for one in told.records]
            token = verify_chain(daemon.grant(), load_identity(daemon.home).roots)
            missing = p.AuditExplain(id=show_id("token", token.id))
            assert await code_of(client, "auditExplain", missing) == "audit.unknown-id"

    async def test_what_a_session_cost_is_told_while_it_is_there_and_after_its_end(self, tmp_path: Path) -> None:
        async with served(tmp_path) as (daemon, client):
            await granted(daemon, client)
            priced = {"model": {"name": "m", "price": {"input_usd_per_million": "1", "output_usd_per_million": "1"}}}
            info = await opened(daemon, client, priced, {"text": "done"}, budget_micros="1000000")
            await client.subscribe(info.session_id)
            await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="go"))
            await until(client, info.session_id, e.TurnComplete)
            asked = p.OfSession(session_id=info.session_id)
            there = cast("r.SessionCost", await client.call("sessionCost", asked))
            [model] = there.models
            assert (model.calls, model.uncounted, model.output_tokens > 0) == (1, 0, True)
            assert int(there.spent_micros) == int(model.spent_micros) > 0
            assert (there.cap_micros, there.reserved_micros, there.unknown_calls) == ("1000000", "0", 0)
            await client.call("endSession", asked)
            await until(client, info.session_id, e.SessionEnded)
            over = cast("r.SessionCost", await client.call("sessionCost", asked))
            assert (over.models, over.cap_micros) == (there.models, None)
            assert await code_of(client, "sessionCost", p.OfSession(session_id=NOWHERE)) == "audit.unknown-id"

    async def test_checkpoints_only_grow_and_are_consistent(self, tmp_path: Path) -> None:
        async with served(tmp_path) as (daemon, client):
            install = load_install(daemon.home)
            key = load_public_key(install.runtime_key)
            first = cast("r.Checkpoint", await client.call("auditCheckpoint", p.Nothing())).checkpoint
            old = verify_checkpoint(first, key, install.log_id)
            await granted(daemon, client)
            size = cast("r.Status", await client.call("status", p.Nothing())).log_size
            proof = cast("r.AuditProof", await client.call("auditProve", p.AuditRecordOf(seq=size)))
            assert proof.size >= size
            grown = cast("r.Consistency", await client.call("auditConsistency", p.AuditConsistency(from_size=old.size)))
            new = verify_checkpoint(grown.checkpoint, key, install.log_id)
            check_consistent(old, new, grown.path)
            assert new.size > old.size
            for size in (0, 10**6):
                nothing = await client.call("auditConsistency", p.AuditConsistency(from_size=size))
                assert cast("r.Consistency", nothing).path == ()


def test_every_method_but_the_handshakes_own_is_served(request: pytest.FixtureRequest) -> None:
    """The names that the tests here ask for are the table's."""
    source = request.path.read_text()
    asked = {name for name in METHODS if f'"{name}"' in source}
    by_the_client_itself = {"hello", "authenticate", "auditCosign", "subscribeEvents"}
    asked |= {"listPast", "readJournal", "resumeSession"}  # tests/daemon/test_histories.py
    asked |= {"forkSession"}  # tests/daemon/test_forking.py
    asked |= {"deleteSession"}  # tests/daemon/test_deleting.py
    asked |= {"planRewind", "rewindFiles"}  # tests/frontends/cli/test_rewinding.py
    asked |= {"rewindSession", "restoreSession"}  # tests/frontends/cli/test_rewinding.py
    asked |= {"attachImage"}  # tests/daemon/test_pictures.py
    asked |= {"listModels"}  # tests/daemon/test_offering.py
    assert set(METHODS) - asked == by_the_client_itself - asked


async def test_a_mode_that_is_configured_is_told_to_clients(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        assert Mode(client.welcome.session_mode) is Mode.SAFE


# ---- sessions that sleep


def put_to_bed(daemon: InProcess, count: int) -> list[str]:
    """So many sessions sleep; their names, who fell asleep last first."""
    server: Any = daemon.daemon._server
    rooms: Dormitory = server._shared.world.dormitory
    names: list[str] = []
    for number in range(count):
        session = bytes([number]) * 16
        options = Options(str(daemon.workspace), "guided", "", "p/m", 0, 0, interactive=True)
        numbers = Numbers(created_ns=9, first=3, turns=number, events=40, since_s=0, deferred=0)
        rooms.put(session, dormant(options, numbers))
        names.insert(0, show_id("session", session))
    return names


async def test_those_that_sleep_are_listed_and_count_for_nobody_awake(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        names = put_to_bed(daemon, 2)
        listed = await client.call("listSessions", p.ListSessions())
        assert isinstance(listed, r.Sessions)
        assert [(one.session_id, one.state, one.turns) for one in listed.sessions] == [
            (names[0], "asleep", 1),
            (names[1], "asleep", 0),
        ]
        status = await client.call("status", p.Nothing())
        assert isinstance(status, r.Status)
        assert status.active_sessions == 0


async def test_of_more_sessions_than_fit_those_asleep_longest_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as (daemon, client):
        names = put_to_bed(daemon, 9)
        monkeypatch.setattr(service_module, "MAX_LIST_BYTES", 1500)
        listed = await client.call("listSessions", p.ListSessions())
        assert isinstance(listed, r.Sessions)
        shown = [one.session_id for one in listed.sessions]
        assert 0 < len(shown) < 9
        assert (shown, listed.left_out) == (names[: len(shown)], 9 - len(shown))


async def test_one_that_sleeps_can_be_listened_to_and_ended(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        [name] = put_to_bed(daemon, 1)
        subscribed = await client.call("subscribeEvents", p.SubscribeEvents(session_id=name, after=7))
        assert subscribed == r.Subscribed(after=40)
        await client.call("cancelTurn", p.OfSession(session_id=name))
        await client.call("endSession", p.OfSession(session_id=name))
        assert await client.call("listSessions", p.ListSessions()) == r.Sessions(sessions=(), left_out=0)
