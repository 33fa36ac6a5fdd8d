"""What a session said and heard is gone when it is deleted, and the log says so and still verifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from astrid.core.ids import show_id
from astrid.core.records import Kind
from astrid.core.verify import verify_log
from astrid.errors import AstridError, InputError
from astrid.frontends.cli.past import past_sessions, read_journal
from astrid.frontends.client import connect
from astrid.messages.gateway import AttachImage, EndSession
from astrid.wire import params as p
from astrid.wire import past as w
from tests.daemon.test_forking import two_turns
from tests.daemon.test_histories import ended, served, talked
from tests.daemon.test_resuming import histories, model_of, resumed, session_of, under_way
from tests.daemon.test_resuming import life as life
from tests.fakes.daemons import LIMIT_SECONDS, daemon_of
from tests.fakes.journal import FakeStore
from tests.fakes.pictures import png
from tests.fakes.runtime import Runtime, running
from tests.fakes.sleepers import ask
from tests.runtime.test_crash import Life, bodies

CANARY = "the words of the canary"


async def deleted(runtime: Runtime, session: bytes) -> w.Deleted:
    return await histories(runtime).delete(p.DeleteSession(session_id=show_id("session", session)))


async def test_its_words_are_on_the_disk_no_more_and_the_next_daemon_says_that_they_were_erased(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        session, other = await talked(daemon, client, CANARY), await talked(daemon, client, "stays")
        await ended(client, session)
        gone: Any = await client.call("deleteSession", p.DeleteSession(session_id=session))
        assert (gone.sessions, gone.rows, gone.texts >= 3) == (1, 9, True)
        again: Any = await client.call("deleteSession", p.DeleteSession(session_id=session))
        assert (again.sessions, again.rows, again.texts) == (0, 0, 0)
        assert (await read_journal(client, other)).session.prompt == "stays"
    files = [path.read_bytes() for path in daemon.home.log.parent.iterdir() if path.is_file()]
    assert not any(CANARY.encode() in data for data in files)
    assert any(b"stays" in data for data in files)
    with trio.fail_after(LIMIT_SECONDS):
        async with daemon_of(daemon.home), connect(daemon.home) as client:
            found = {one.session_id: one for one in (await past_sessions(client)).sessions}
            assert (found[session].ended, found[session].prompt) == ("client", "")
            assert "erased" in found[session].trouble
            with pytest.raises(AstridError) as caught:
                await read_journal(client, session)
            assert caught.value.code == "session.erased"


async def test_one_that_is_open_is_not_deleted(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        session = await talked(daemon, client, "go")
        with pytest.raises(AstridError) as caught:
            await client.call("deleteSession", p.DeleteSession(session_id=session))
        assert caught.value.code == "session.open"
        assert (await read_journal(client, session)).session.rows == 9


async def test_what_is_erased_is_in_the_commit_of_the_record_that_says_so(tmp_path: Path) -> None:
    store = FakeStore()
    async with running(tmp_path, store=store) as runtime:
        session = await two_turns(runtime)
        await ask(runtime, EndSession(session=session, reason="asked"))
        await runtime.until("session_ended")
        await deleted(runtime, session)
        (batch,) = [one for one in store.journals[-1].batches if one.erases]
        kinds = [kind for kind, _, _ in bodies(store.log)][batch.first - 1 :]
        assert kinds[: len(batch.frames)].count(Kind.SESSION_ERASED) == 1
        assert not any(whose == session for whose, _ in store.log.journal)
        with pytest.raises(InputError) as caught:
            await deleted(runtime, b"S" * 16)
        assert caught.value.code == "session.no-past"
    assert verify_log(runtime.world.keys, store.log.log, store.log.checkpoints()).tail == 0


async def test_one_that_was_cut_off_is_over_when_it_is_deleted(life: Life) -> None:
    store = under_way(life)
    session = session_of(store.log)
    async with running(life.folder, store=store) as runtime:
        assert (await deleted(runtime, session)).sessions == 1
        kinds = [kind for kind, _, whose in bodies(store.log) if whose == session]
        assert kinds[-2:] == [Kind.SESSION_ERASED, Kind.SESSION_ENDED]
        with pytest.raises(InputError) as caught:
            await resumed(runtime, session, model_of(life))
        assert caught.value.code == "session.erased"


async def test_an_image_that_was_given_goes_with_its_session(tmp_path: Path) -> None:
    store = FakeStore()
    async with running(tmp_path, store=store) as runtime:
        session = await two_turns(runtime)
        kept = await runtime.by_ticket(lambda n: AttachImage(ticket=n, session=session, image=png()))
        assert (kept.seq, 0) in store.log.kept
        await ask(runtime, EndSession(session=session, reason="asked"))
        await runtime.until("session_ended")
        await deleted(runtime, session)
        assert (kept.seq, 0) not in store.log.kept
