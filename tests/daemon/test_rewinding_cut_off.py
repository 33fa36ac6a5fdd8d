"""A session that is rewound and cut off, after each commit: it is rewound or it is not, and may be rewound again."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from astrid.core.conversation import Text
from astrid.core.grants import Mode
from astrid.core.records import Kind
from astrid.core.turn_messages import EndRow, RewindRow, decode_row
from astrid.guard import audit
from astrid.messages.gateway import SessionOpened, Taken, TurnConversation
from astrid.runtime.verify import verify_log
from tests.daemon.test_resuming import model_of, resumed, session_of
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.runtime import Runtime, running, turn
from tests.fakes.sleepers import actor, ask
from tests.runtime.test_crash import Life, Recorder, bodies, cut

INPUTS = ("first", "second", "third")
SCRIPT = [{"model": {"name": "m"}}, *(turn(text=f"heard {text}") for text in INPUTS)]


async def _live(folder: Path, log: Recorder) -> None:
    async with running(folder, store=FakeStore(log)) as runtime:
        await runtime.grant(Mode.GUIDED)
        assert isinstance(await runtime.open(SCRIPT), SessionOpened)
        for text in INPUTS:
            await runtime.say(text)
            await runtime.until("turn_complete")
        await rewind(runtime, 1)


async def rewind(runtime: Runtime, to: int) -> None:
    assert isinstance(await ask(runtime, TurnConversation(session=runtime.session, to=to)), Taken)
    await runtime.until("conversation_rewound")


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder, log = tmp_path_factory.mktemp("life"), Recorder()
    before, audit.MAX_BATCH = audit.MAX_BATCH, 1
    try:
        trio.run(_live, folder, log)
    finally:
        audit.MAX_BATCH = before
    return Life(folder, log.moments)


def rows_of(log: FakeLog, kind: type[EndRow | RewindRow]) -> int:
    return sum(isinstance(decode_row(row), kind) for row in log.journal.values())


def in_view(runtime: Runtime, session: bytes) -> list[str]:
    parts = [part for entry in actor(runtime, session)._turn.conversation for part in entry.message.parts]
    return [part.text for part in parts if isinstance(part, Text)]


async def test_cut_off_at_any_time_it_is_rewound_by_rewinding_again(life: Life) -> None:
    seen = {0: 0, 1: 0}
    for moment in life.moments:
        ended = any(kind is Kind.SESSION_ENDED for kind, _, _ in bodies(moment))
        if ended or rows_of(moment, EndRow) < len(INPUTS):
            continue
        seen[rows_of(moment, RewindRow)] += 1
        store = cut(life, moment)
        session = session_of(store.log)
        async with running(life.folder, store=store) as runtime:
            answer = await resumed(runtime, session, model_of(life))
            assert (answer.turn, answer.running) == (3, False)
            await rewind(runtime, 1)
            assert in_view(runtime, session) == ["first", "heard first"]
            assert actor(runtime, session)._turn.number == 3
        assert verify_log(runtime.world.keys, store.log.log, store.log.checkpoints()).tail == 0
    assert all(seen.values()), seen
