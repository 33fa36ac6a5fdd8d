"""Images that a client hands over in pieces: which are taken, and which it can refer to afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from astrid.core.ids import session_id, show_id
from astrid.core.images import MAX_SHOWN
from astrid.daemon.pictures import Pictures
from astrid.errors import AstridError
from astrid.messages.gateway import SessionLine
from astrid.wire import params as p
from astrid.wire.pictures import AttachImage
from tests.daemon.test_histories import served
from tests.fakes.pictures import png

SESSION, OTHER = session_id(b"S" * 16, scripted=False), session_id(b"T" * 16, scripted=False)
SCRIPTED = session_id(b"S" * 16, scripted=True)
IMAGE = png(640, 480, size=1000)


class Bench:
    """What a connection takes; all sessions but those of ``nobody`` are there."""

    def __init__(self, *, shown: bool = True, parent: bytes = b"", nobody: tuple[bytes, ...] = ()) -> None:
        self.kept: list[tuple[bytes, bytes]] = []
        self._parent, self._nobody = parent, nobody
        self.pictures = Pictures(self._lines, lambda model: shown and model == "p/m", self._keep)

    async def _lines(self, session: bytes) -> tuple[SessionLine, ...]:
        line = SessionLine(
            session=session,
            workspace="/w",
            mode="guided",
            model="p/m",
            state="idle",
            created_ns=1,
            turns=0,
            deferred=0,
            parent=self._parent,
        )
        return () if session in self._nobody else (line,)

    async def _keep(self, session: bytes, image: bytes) -> int:
        self.kept.append((session, image))
        return 100 + len(self.kept)

    async def give(self, *pieces: tuple[int, bytes], size: int = len(IMAGE), session: bytes = SESSION) -> list[int]:
        """The answers to pieces, each with where it begins."""
        name = show_id("session", session)
        asked = [AttachImage(session_id=name, size=size, offset=offset, data=data) for offset, data in pieces]
        return [(await self.pictures.take(one)).record for one in asked]

    async def refused(self, *pieces: tuple[int, bytes], **other: Any) -> str:
        with pytest.raises(AstridError) as caught:
            await self.give(*pieces, **other)
        return caught.value.code


async def test_an_image_is_kept_when_its_last_piece_is_there() -> None:
    bench = Bench()
    assert await bench.give((0, IMAGE[:400]), (400, IMAGE[400:999]), (999, IMAGE[999:])) == [0, 0, 101]
    assert bench.kept == [(SESSION, IMAGE)]
    [image] = bench.pictures.given(SESSION, (101,))
    assert (image.width, image.height, image.record) == (640, 480, 101)
    assert image.digest == hashlib.sha256(IMAGE).hexdigest()


async def test_one_that_is_begun_again_is_whole_all_the_same() -> None:
    bench = Bench()
    assert await bench.give((0, IMAGE[:400]), (0, IMAGE[:700]), (700, IMAGE[700:])) == [0, 0, 101]
    assert bench.kept == [(SESSION, IMAGE)]


@pytest.mark.parametrize(
    ("pieces", "then"),
    [
        ([], (1, IMAGE[1:])),  # nothing before it
        ([(0, IMAGE[:400])], (500, IMAGE[500:])),  # a hole
        ([(0, IMAGE[:400])], (300, IMAGE[300:])),  # twice the same
        ([(0, IMAGE[:400])], (400, IMAGE[400:] + b"x")),  # more than was said
        ([(0, IMAGE)], (1000, b"x")),
    ],
)
async def test_a_piece_that_is_not_the_next_one_is_refused(
    pieces: list[tuple[int, bytes]], then: tuple[int, bytes]
) -> None:
    bench = Bench()
    await bench.give(*pieces)
    before = list(bench.kept)
    assert await bench.refused(then) == "image.piece"
    assert bench.kept == before


async def test_pieces_of_two_images_make_none() -> None:
    bench = Bench()
    await bench.give((0, IMAGE[:400]))
    assert await bench.refused((400, IMAGE[400:]), session=OTHER) == "image.piece"
    assert await bench.refused((400, IMAGE[400:]), size=len(IMAGE) + 1) == "image.piece"
    assert bench.kept == []


async def test_what_is_no_image_is_not_kept() -> None:
    bench = Bench()
    assert await bench.refused((0, b"x" * len(IMAGE))) == "image.unfit"
    assert bench.kept == []


@pytest.mark.parametrize(
    ("bench", "session", "code"),
    [
        (lambda: Bench(shown=False), SESSION, "model.no-images"),
        (Bench, SCRIPTED, "model.no-images"),
        (lambda: Bench(nobody=(SESSION,)), SESSION, "image.no-session"),
        (lambda: Bench(parent=OTHER), SESSION, "image.no-session"),
    ],
    ids=["a model that is shown none", "a script", "nobody", "a sub-agent"],
)
async def test_none_is_taken_for_a_session_that_would_not_see_it(
    bench: Callable[[], Bench], session: bytes, code: str
) -> None:
    made = bench()
    assert await made.refused((0, IMAGE[:1]), session=session) == code
    assert await made.refused((1, IMAGE[1:]), session=session) == "image.piece"
    assert made.kept == []


async def test_a_client_refers_to_what_it_gave_for_that_session_and_to_nothing_else() -> None:
    bench = Bench()
    await bench.give((0, IMAGE))
    for session, record in ((OTHER, 101), (SESSION, 100)):
        with pytest.raises(AstridError) as caught:
            bench.pictures.given(session, (101, record))
        assert caught.value.code == "image.unknown"


async def test_the_latest_are_remembered_and_no_more_than_go_with_one_input() -> None:
    bench = Bench()
    for _ in range(MAX_SHOWN + 1):
        await bench.give((0, IMAGE))
    latest = tuple(range(102, 102 + MAX_SHOWN))
    assert [image.record for image in bench.pictures.given(SESSION, latest)] == list(latest)
    with pytest.raises(AstridError):
        bench.pictures.given(SESSION, (101,))


async def test_a_daemon_takes_none_for_a_script_and_none_that_was_not_given(tmp_path: Path) -> None:
    async with served(tmp_path) as (daemon, client):
        asked = p.CreateSession(workspace=str(daemon.workspace), mode="guided", model=daemon.script({"text": "hi"}))
        info: Any = await client.call("createSession", asked)
        with pytest.raises(AstridError) as caught:
            await client.call(
                "attachImage", AttachImage(session_id=info.session_id, size=len(IMAGE), offset=0, data=IMAGE)
            )
        assert caught.value.code == "model.no-images"
        with pytest.raises(AstridError) as caught:
            await client.call("sendInput", p.SendInput(session_id=info.session_id, turn=1, input="look", images=(1,)))
        assert caught.value.code == "image.unknown"
