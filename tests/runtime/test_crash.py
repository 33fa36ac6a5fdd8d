"""A daemon that dies after any one record: what is durable then is what counts, and nothing is done twice.

A life with one record in each commit is lived once; then it is cut off after every commit and taken up again.  What
must hold afterwards is computed from the records alone, by a model that knows nothing of the gate.

    dies after a permit     its outcome is unknown, paid in full, never run again
    dies after an outcome   it stays as it was
    dies with a question    it is open still, and can be answered
    dies after an answer    the token that it made is there, and once is once
    dies after a revocation it stays revoked
    dies after a cosignature  it is handed to every other client
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from astrid.core.approval import Verdict
from astrid.core.budget import EMPTY
from astrid.core.canon import Domain
from astrid.core.chain import decode_body, decode_frame
from astrid.core.checkpoint import cosign
from astrid.core.cosignature import client_name
from astrid.core.grants import Mode
from astrid.core.install import Revocation, sign_statement
from astrid.core.records import Kind
from astrid.core.tokens import issue
from astrid.core.verify import verify_log
from astrid.errors import ChainError
from astrid.guard import audit
from astrid.home import write_guarded
from astrid.kernel import TooManyRestarts
from astrid.messages.approvals import ListOpen
from astrid.messages.gate import Done, Failed
from astrid.messages.gateway import (
    AskCheckpoint,
    EndSession,
    GiveAnswer,
    RevokeToken,
    SessionOpened,
    TakeCosignature,
)
from astrid.ports import Batch
from tests.fakes.daemon_home import CLIENT, client_block
from tests.fakes.home import USER
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.runtime import Json, Runtime, call, running, turn


class Recorder(FakeLog):
    """A disk that remembers what it held after each commit."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[FakeLog] = []

    def commit(self, batch: Batch) -> None:
        super().commit(batch)
        moment = FakeLog()
        for name, value in vars(self).items():
            if name != "moments":
                setattr(moment, name, copy.copy(value))
        self.moments.append(moment)


@dataclass
class Life:
    """What was lived: the disk after each commit, the folder, and the answers that people gave."""

    folder: Path
    moments: list[FakeLog]
    answers: list[bytes] = field(default_factory=list)


def bodies(log: FakeLog) -> list[tuple[Kind, Any, bytes]]:
    frames = [decode_frame(frame) for frame in log.log]
    return [(Kind(frame.kind), decode_body(frame), frame.session) for frame in frames]


SCRIPT: list[Json] = [
    {"model": {"name": "m", "price": {"input_usd_per_million": "3", "output_usd_per_million": "15"}}},
    turn(call("read_file", file_path="a.txt"), call("read_file", file_path="/etc/passwd")),
    turn(call("bash", command="echo once >> made.txt")),
    turn(call("bash", command="echo never >> made.txt")),
    turn(call("write_file", file_path="b.txt", content="kept")),
    turn(call("bash", command="echo later >> made.txt")),
    turn(text="done"),
]


async def _live(folder: Path, log: Recorder, answers: list[bytes]) -> None:
    async with running(folder, store=FakeStore(log)) as runtime:
        (runtime.workspace / "a.txt").write_text("hello\n")
        await runtime.grant(Mode.SAFE)
        await runtime.open(SCRIPT, mode="safe")
        await runtime.attend()
        await runtime.say("go")
        for verdict in (Verdict.ONCE, Verdict.DENY, Verdict.WORKSPACE):
            asked = (await runtime.until("approval_needed"))[-1]
            raw = runtime.answer_to(await runtime.question(asked), asked, verdict)
            answers.append(raw)
            assert isinstance(await runtime.by_ticket(lambda n, raw=raw: GiveAnswer(ticket=n, answer=raw)), Done)
        asked = (await runtime.until("approval_needed"))[-1]
        await runtime.system.ask(runtime.gateway, EndSession(session=runtime.session, reason="asked"), within=10)
        await runtime.until("session_ended")
        await runtime.open([turn(call("bash", command="echo alone")), turn()], mode="safe")
        await runtime.say("go")
        await runtime.until("turn_complete")
        made = await runtime.by_ticket(lambda n: AskCheckpoint(ticket=n))
        client = issue(client_block(runtime.aud), USER)
        name, keys = client_name(CLIENT.public), runtime.world.keys
        note = cosign(made.note, CLIENT, name, 1, runtime_key=keys.runtime_key, log_id=keys.log_id)
        seen = TakeCosignature(ticket=0, key=CLIENT.public, note=note, chain=client)
        assert isinstance(await runtime.by_ticket(lambda n: msgspec.structs.replace(seen, ticket=n)), Done)
        [granted, *_] = [one.token for one in runtime.world.shelf.all()]
        revocation = sign_statement(Domain.REVOKE, Revocation(runtime.aud, granted.id, "token", 1, USER.public), USER)
        assert isinstance(await runtime.by_ticket(lambda n: RevokeToken(ticket=n, statement=revocation)), Done)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder, log = tmp_path_factory.mktemp("life"), Recorder()
    lived = Life(folder, log.moments)
    before, audit.MAX_BATCH = audit.MAX_BATCH, 1
    try:
        trio.run(_live, folder, log, lived.answers)
    finally:
        audit.MAX_BATCH = before
    return lived


def cut(life: Life, moment: FakeLog) -> FakeStore:
    """The disk as it was at that moment, and the anchor that was kept by then."""
    log = FakeLog()
    for name, value in vars(moment).items():
        setattr(log, name, copy.copy(value))
    anchor = life.folder / "home" / "anchor" / "daemon"
    anchor.unlink(missing_ok=True)
    if log.notes:
        write_guarded(anchor, log.notes[max(log.notes)], what="the anchor")
    return FakeStore(log)


class Model:
    """What the records say, read without the gate."""

    def __init__(self, log: FakeLog) -> None:
        self.open: dict[int, Any] = {}
        self.used: Counter[bytes] = Counter()
        self.spent: Counter[bytes] = Counter()
        self.revoked: set[bytes] = set()
        self.questions: set[bytes] = set()
        self.tokens: set[bytes] = set()
        self.cosigned: set[bytes] = set()
        permits: dict[int, tuple[Any, bytes]] = {}
        for kind, body, session in bodies(log):
            match kind:
                case Kind.PERMIT:
                    self.open[body.ref] = body
                    permits[body.ref] = (body, session)
                    self.used.update(row.block for row in body.charges)
                case Kind.OUTCOME | Kind.OUTCOME_VOUCHED:
                    permit, of = permits[body.ref]
                    del self.open[body.ref]
                    for purse in (
                        *(row.block for row in permit.charges),
                        b"session" + of,
                        b"workspace" + permit.workspace,
                    ):
                        self.spent[purse] += body.spent
                case Kind.ASKED:
                    self.questions.add(body.qid)
                case Kind.SETTLED:
                    self.questions.remove(body.qid)
                    if any(body.block):
                        self.tokens.add(body.block)
                case Kind.GRANTED:
                    self.tokens.add(body.block)
                case Kind.REVOKED:
                    self.revoked.add(body.target)
                case Kind.COSIGNED:
                    self.cosigned.add(body.signature)
                case _:
                    pass


def seen(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_the_life_that_is_cut_has_every_kind_of_record(life: Life) -> None:
    kinds = {kind for kind, _, _ in bodies(life.moments[-1])}
    others = {Kind.COALESCED, Kind.CLOCK, Kind.SUBAGENT_STARTED, Kind.SESSION_ERASED, Kind.ATTACHED}
    others |= {Kind.FILES_REWINDING, Kind.FILES_REWOUND}
    assert set(Kind) - kinds <= others | {Kind.OUTCOME_VOUCHED, Kind.CONNECTION, Kind.CONNECTION_ENDED}
    sizes = [moment.size() for moment in life.moments]
    assert all(after - before <= 1 for before, after in pairwise(sizes))
    assert seen(life.folder / "workspace") == {"a.txt": "hello\n", "b.txt": "kept", "made.txt": "once\n"}


async def test_cut_off_after_any_commit_it_goes_on_from_what_is_durable(life: Life) -> None:
    for number, moment in enumerate(life.moments):
        store = cut(life, moment)
        model, files = Model(store.log), seen(life.folder / "workspace")
        async with running(life.folder, store=store) as runtime:
            await check(runtime, model, store, moment.size())
        after = verify_log(runtime.world.keys, store.log.log, store.log.checkpoints())
        assert after.tail == 0, number
        assert bodies(store.log)[-1][0] is Kind.STOP
        assert seen(life.folder / "workspace") == files, f"something ran after commit {number}"


async def check(runtime: Runtime, model: Model, store: FakeStore, size: int) -> None:
    """After the start: every open permit is settled as unknown in full, and everything else is as it was."""
    facts = runtime.world.facts
    waiting: Any = await runtime.system.ask(runtime.directory.by_path["root/approvals"], ListOpen(), within=10)
    assert {one.qid for one in waiting} == model.questions
    await trio.testing.wait_all_tasks_blocked()
    fresh = bodies(store.log)[size:]
    unknown = {body.ref: body for kind, body, _ in fresh if kind is Kind.OUTCOME}
    assert set(unknown) == set(model.open)
    for ref, permit in model.open.items():
        outcome = unknown[ref]
        assert (outcome.unknown, outcome.effect, outcome.spent) == (True, "maybe", permit.micros)
    assert {kind for kind, _, _ in fresh} <= {Kind.GENESIS, Kind.BOOT, Kind.OUTCOME}
    settled = Model(store.log)
    assert all(purse.reserved == 0 for purse in facts.ledger.purses.values())
    for purse, spent in settled.spent.items():
        assert facts.ledger.purses.get(purse, EMPTY).spent == spent
    assert {block: facts.ledger.used.get(block, 0) for block in settled.used} == dict(settled.used)
    assert facts.revoked == model.revoked
    assert {one.signature for one in facts.cosigned.newest()} == model.cosigned
    assert {shelved.token.id for shelved in runtime.world.shelf.all()} == model.tokens
    assert not facts.principals
    assert runtime.world.spoilt == []


async def test_cut_off_after_an_answer_it_cannot_be_answered_again_and_before_it_can(life: Life) -> None:
    settled = [
        [body.qid for kind, body, _ in bodies(moment) if kind is Kind.SETTLED and any(body.signer)]
        for moment in life.moments
    ]
    asked = [[body.qid for kind, body, _ in bodies(moment) if kind is Kind.ASKED] for moment in life.moments]
    for which, raw in enumerate(life.answers):
        after = next(number for number, done in enumerate(settled) if len(done) > which)
        before = next(number for number, done in enumerate(asked) if len(done) > which)
        for number, outcome in ((after, Failed), (before, Done)):
            async with running(life.folder, store=cut(life, life.moments[number])) as runtime:
                answer = await runtime.by_ticket(lambda n, raw=raw: GiveAnswer(ticket=n, answer=raw))
                assert isinstance(answer, outcome), (which, number)


async def test_cut_off_before_a_revocation_sessions_open_and_after_it_they_do_not(life: Life) -> None:
    revoked = [any(kind is Kind.REVOKED for kind, _, _ in bodies(moment)) for moment in life.moments]
    first = revoked.index(True)
    for number, outcome in ((first - 1, SessionOpened), (first, Failed)):
        async with running(life.folder, store=cut(life, life.moments[number])) as runtime:
            assert isinstance(await runtime.open([turn()], mode="safe"), outcome)


def numbers(log: FakeLog) -> list[int]:
    """The numbers of calls in the log, as they were given."""
    given = {Kind.PERMIT, Kind.DENIED, Kind.ASKED, Kind.DEFERRED}
    return [body.ref for kind, body, _ in bodies(log) if kind in given]


@pytest.mark.parametrize("last", [Kind.PERMIT, Kind.DENIED, Kind.ASKED, Kind.OUTCOME, Kind.SETTLED])
async def test_wherever_it_is_cut_off_no_number_of_a_call_is_given_again(life: Life, last: Kind) -> None:
    revoked = [any(kind is Kind.REVOKED for kind, _, _ in bodies(moment)) for moment in life.moments].index(True)
    ends = [moment for moment in life.moments[:revoked] if bodies(moment)[-1:] and bodies(moment)[-1][0] is last]
    for moment in (ends[0], ends[-1]):
        store = cut(life, moment)
        before = numbers(store.log)
        async with running(life.folder, store=store) as runtime:
            assert isinstance(await runtime.open([turn()], mode="safe"), SessionOpened)
            await runtime.say("go")
            await runtime.until("turn_complete")
        assert min(numbers(store.log)[len(before) :]) > max(before, default=0)


async def test_what_a_dead_session_reserved_counts_against_its_workspace(life: Life) -> None:
    permits = [moment for moment in life.moments if Model(moment).open]
    async with running(life.folder, store=cut(life, permits[0])) as runtime:
        [permit] = Model(permits[0]).open.values()
        assert permit.micros > 0
        assert runtime.world.facts.ledger.purses[b"workspace" + permit.workspace].spent == permit.micros


async def test_a_disk_that_forgot_what_was_anchored_is_not_gone_on_from(
    life: Life, autojump_clock: trio.testing.MockClock
) -> None:
    last = cut(life, life.moments[-1])  # the anchor of the end ...
    older = FakeLog()
    for name, value in vars(life.moments[-8]).items():
        setattr(older, name, copy.copy(value))
    assert older.size() < last.log.size()
    with pytest.raises(TooManyRestarts) as caught:
        async with running(life.folder, store=FakeStore(older), broken=True):
            pytest.fail("it started")
    assert isinstance(caught.value.__cause__, ChainError)
