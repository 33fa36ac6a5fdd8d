"""A session with a sub-agent is deleted and cut off, after each commit: deleting it again leaves no word of either."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from astrid.core.ids import show_id
from astrid.core.records import Kind
from astrid.guard import audit
from astrid.messages.gateway import EndSession
from astrid.runtime.verify import verify_log
from astrid.wire import params as p
from tests.daemon.test_resuming import histories, session_of
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.minds import calls, task
from tests.fakes.runtime import Runtime, running
from tests.fakes.sleepers import ask
from tests.runtime.test_crash import Life, Recorder, bodies, cut
from tests.runtime.test_subagents import minded

WORDS = b"the words of the canary"
PARTS = {"go": [calls(task("find", "explorer")), "thanks"], "find": [WORDS.decode()]}


async def _live(folder: Path, log: Recorder) -> None:
    async with minded(folder, PARTS, store=FakeStore(log)) as (runtime, _):
        await runtime.say("go")
        await runtime.until("turn_complete")
        await ask(runtime, EndSession(session=runtime.session, reason="asked"))
        await runtime.until("session_ended")
        assert await delete(runtime, runtime.session) == 2


async def delete(runtime: Runtime, session: bytes) -> int:
    return (await histories(runtime).delete(p.DeleteSession(session_id=show_id("session", session)))).sessions


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder, log = tmp_path_factory.mktemp("life"), Recorder()
    before, audit.MAX_BATCH = audit.MAX_BATCH, 1
    try:
        trio.run(_live, folder, log)
    finally:
        audit.MAX_BATCH = before
    return Life(folder, log.moments)


def left_of(log: FakeLog) -> list[bytes]:
    """Where its words are: in rows, and beside the log."""
    lying = [*log.journal.values(), *(data for _, data in log.kept.values())]
    return [data for data in lying if WORDS in data]


async def test_cut_off_at_any_time_it_is_deleted_whole_by_deleting_it_again(life: Life) -> None:
    seen = {0: 0, 1: 0, 2: 0}  # how many of the two were erased when it was cut off
    for moment in life.moments:
        kinds = [kind for kind, *_ in bodies(moment)]
        if Kind.SESSION_ENDED not in kinds:
            continue
        erased = kinds.count(Kind.SESSION_ERASED)
        seen[erased] += 1
        assert bool(left_of(moment)) == (erased < 2)
        store = cut(life, moment)
        session = session_of(store.log)
        async with running(life.folder, store=store) as runtime:
            assert await delete(runtime, session) == 2 - erased
            assert (left_of(store.log), store.log.journal) == ([], {})
        assert [kind for kind, *_ in bodies(store.log)].count(Kind.SESSION_ERASED) == 2
        assert verify_log(runtime.world.keys, store.log.log, store.log.checkpoints()).tail == 0
    assert all(seen.values()), seen
