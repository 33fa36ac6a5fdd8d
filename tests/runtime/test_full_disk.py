"""A disk that is full: nothing new begins, and what a person orders is still done and written down."""

from __future__ import annotations

from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from astrid.core.canon import Domain
from astrid.core.grants import Mode
from astrid.core.install import Revocation, sign_statement
from astrid.core.records import Kind
from astrid.messages.gate import Done, Failed
from astrid.messages.gateway import AskCheckpoint, RevokeToken
from astrid.messages.log import Checkpointed
from tests.fakes.home import USER
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.runtime import Runtime, call, kinds, running, turn

ROOM = 200_000


def disk() -> tuple[FakeLog, FakeStore]:
    log = FakeLog()
    return log, FakeStore(log, ballast_bytes=ROOM)


async def failure(runtime: Runtime) -> str:
    """Why the turn that is begun now fails."""
    await runtime.say("go")
    events = await runtime.until("turn_complete")
    return next((event["code"] for event in events if event["event"] == "error"), "")


async def commit(runtime: Runtime) -> None:
    """Something that has to be written."""
    assert isinstance(await runtime.by_ticket(lambda number: AskCheckpoint(ticket=number)), Checkpointed)
    await runtime.grant(Mode.SAFE)
    await wait_all_tasks_blocked()


async def test_on_a_full_disk_nothing_runs_until_there_is_room_again(tmp_path: Path) -> None:
    log, store = disk()
    async with running(tmp_path, store=store) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.open([turn(), turn()], mode="safe")
        log.free_bytes = 0
        await commit(runtime)
        assert store.journals[-1].short_of_room
        before = log.size()
        assert await failure(runtime) == "audit.suspended"
        assert Kind.PERMIT not in kinds(log)[before:]
        log.free_bytes = 10**9
        await commit(runtime)
        assert not store.journals[-1].short_of_room
        assert await failure(runtime) == ""


async def test_on_a_full_disk_a_token_is_still_revoked(tmp_path: Path) -> None:
    log, store = disk()
    async with running(tmp_path, store=store) as runtime:
        await runtime.grant(Mode.SAFE)
        log.free_bytes = 0
        [granted] = [one.token for one in runtime.world.shelf.all()]
        revoked = sign_statement(Domain.REVOKE, Revocation(runtime.aud, granted.id, "token", 1, USER.public), USER)
        assert isinstance(await runtime.by_ticket(lambda n: RevokeToken(ticket=n, statement=revoked)), Done)
        refused = await runtime.open([turn()], mode="safe")
        assert isinstance(refused, Failed)
        assert refused.code == "token.no-grant"
    assert kinds(log)[-2:] == [Kind.REVOKED, Kind.STOP]
    assert max(log.notes) == log.size()


async def test_a_call_that_runs_when_the_disk_fills_up_is_recorded_to_its_end(tmp_path: Path) -> None:
    log, store = disk()
    async with running(tmp_path, store=store) as runtime:
        (runtime.workspace / "a.txt").write_text("hello\n")
        await runtime.grant(Mode.SAFE)
        await runtime.open([turn(call("read_file", file_path="a.txt")), turn()], mode="safe")
        await runtime.say("go")
        with trio.fail_after(10):
            while Kind.PERMIT not in kinds(log):
                await trio.lowlevel.checkpoint()
        log.free_bytes = 0
        await runtime.until("turn_complete")
    written = kinds(log)
    assert written.count(Kind.PERMIT) == written.count(Kind.OUTCOME) > 0
    assert written[-1] is Kind.STOP
    assert max(log.notes) == log.size()
