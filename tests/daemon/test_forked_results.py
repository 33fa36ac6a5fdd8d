"""A session that goes on from another one reads on in the long results, and sees the images, that it began with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from astrid.adapters.store.journal import SqliteReader
from astrid.core.images import images_in
from astrid.errors import InputError
from astrid.messages.gateway import EndSession
from tests.daemon.test_deleting import deleted
from tests.daemon.test_forking import forked
from tests.fakes.pictures import png
from tests.fakes.runtime import Runtime, running
from tests.fakes.shared_model import NAME
from tests.fakes.sleepers import ask, opened, talk
from tests.runtime.test_given_images import give, show, watching
from tests.runtime.test_long_results import LONG, UNKNOWN, cut, read
from tests.runtime.test_long_results import long_file as long_file

PICTURE = png(640, 480, size=2000)


async def begin(runtime: Runtime) -> tuple[bytes, int]:
    """A session that was shown a part of a long result; it, and the handle."""
    session = await opened(runtime)
    *_, handle = await cut(runtime, session)
    return session, handle


async def go_on(runtime: Runtime, session: bytes, **wanted: Any) -> bytes:
    """The id of a session that goes on from that one."""
    await forked(runtime, session, **wanted)
    return runtime.session


def piece(first: int, last: int) -> str:
    return LONG[first : last + 1].decode() + f"\n[bytes {first} to {last} of {len(LONG)}]"


async def test_a_fork_reads_on_in_a_result_that_it_began_with(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session, handle = await begin(runtime)
        fork = await go_on(runtime, session)
        assert (await read(runtime, fork, handle=handle, offset=100, limit=20)).content == piece(100, 119)
        again = await go_on(runtime, fork)
        assert (await read(runtime, again, 3, handle=handle, offset=120, limit=20)).content == piece(120, 139)


async def test_records_of_others_that_name_a_session_are_not_taken_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as runtime:
        session, handle = await begin(runtime)
        fork = await go_on(runtime, session)
        monkeypatch.setattr(SqliteReader, "frames_of", lambda self, _, first, count: self.frames(first, count))
        assert (await read(runtime, fork, handle=handle, limit=20)).content == piece(0, 19)
        other = await runtime.open_as(NAME)
        assert (await read(runtime, other, 3, handle=handle)).content == UNKNOWN


async def test_of_what_the_other_one_heard_behind_the_turn_it_goes_on_from_a_fork_reads_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session, handle = await begin(runtime)
        fork = await go_on(runtime, session, at=0)
        assert (await read(runtime, fork, handle=handle)).content == UNKNOWN
        runtime.session, runtime._turn = session, 1
        runtime.events, _ = runtime.world.hub.subscribe(session, 0)
        await runtime.until("turn_complete")
        runtime.model.says = [("c9", "read_file", '{"file_path": "long"}')]
        await talk(runtime, "once more")
        later = max(
            seq for seq, (_, body) in enumerate(runtime.records(), 1) if getattr(body, "tool", "") == "read_file"
        )
        fork = await go_on(runtime, session, at=1)
        assert (await read(runtime, fork, 5, handle=later)).content == UNKNOWN
        assert not (await read(runtime, fork, 6, handle=handle, limit=1)).is_error


async def test_no_session_that_does_not_go_on_from_it_reads_a_result(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session, handle = await begin(runtime)
        await go_on(runtime, session)
        other = await runtime.open_as(NAME)
        assert (await read(runtime, other, handle=handle)).content == UNKNOWN
        fork = await go_on(runtime, other)
        assert (await read(runtime, fork, 3, handle=handle)).content == UNKNOWN


async def test_a_row_that_somebody_edited_lets_nobody_read_the_result_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as runtime:
        session, handle = await begin(runtime)
        fork = await go_on(runtime, session)
        original = SqliteReader.rows

        def edited(self: SqliteReader, whose: bytes, first: int, count: int) -> list[bytes]:
            return [row.replace(b"look", b"took") for row in original(self, whose, first, count)]

        monkeypatch.setattr(SqliteReader, "rows", edited)
        assert (await read(runtime, fork, handle=handle)).content == UNKNOWN


async def test_what_was_deleted_with_the_other_one_is_said_to_be_gone(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session, handle = await begin(runtime)
        fork = await go_on(runtime, session)
        await ask(runtime, EndSession(session=session, reason="asked"))
        await deleted(runtime, session)
        found = await read(runtime, fork, handle=handle)
        assert (found.is_error, found.content.partition(":")[0]) == (True, "result.erased")


@pytest.mark.parametrize("was_read", [True, False], ids=["read", "given"])
async def test_a_fork_is_shown_the_images_that_it_began_with(tmp_path: Path, *, was_read: bool) -> None:
    async with running(tmp_path) as runtime:
        model, sight = await watching(runtime)
        session = runtime.session
        if was_read:
            (runtime.workspace / "shot.png").write_bytes(PICTURE)
            model.says = [("c1", "read_file", '{"file_path": "shot.png"}')]
            await talk(runtime, "look")
        else:
            await show(runtime, await give(runtime, PICTURE))
        await go_on(runtime, session)
        await talk(runtime, "and now?")
        [image] = images_in(model.asked[-1].messages)
        assert image.data == PICTURE
        other = await runtime.open_as(NAME)
        with pytest.raises(InputError):
            await sight.find(other, image.record)
