"""Images that a person gives with what they say, under a whole runtime: kept beside the log, and shown."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from astrid.adapters.store.journal import SqliteReader
from astrid.core.conversation import Image, Picture, Text
from astrid.core.grants import Mode
from astrid.core.images import GONE, MAX_SHOWN_BYTES, image_of, told
from astrid.core.labels import RUNTIME, UNTRUSTED, VOUCHED, Label, join
from astrid.core.records import AttachedRecord
from astrid.core.turn import context_label
from astrid.errors import InputError
from astrid.hosts.model import ModelServer, Sight
from astrid.messages.gate import Done, Failed
from astrid.messages.gateway import AttachImage, Declined, EndSession, Taken
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.pictures import png
from tests.fakes.runtime import Runtime, running
from tests.fakes.shared_model import NAME, SharedModel, shared_brain
from tests.fakes.sleepers import actor, ask, listen, sleep

PICTURE = png(640, 480, size=200_000)


async def watching(runtime: Runtime) -> tuple[SharedModel, Sight]:
    """A session whose model is shown images; it, and how it is shown them."""
    brains: Any = runtime.world.catalogue
    sight, model = brains._sight(SimpleNamespace(name="anthropic/m", scripted=False)), SharedModel()
    brains._brains[NAME] = msgspec.structs.replace(shared_brain(model), server=ModelServer(model, sight=sight))
    await runtime.grant(Mode.GUIDED)
    await runtime.open_as(NAME)
    return model, sight


async def give(runtime: Runtime, data: bytes = PICTURE) -> Image:
    kept = await runtime.by_ticket(lambda n: AttachImage(ticket=n, session=runtime.session, image=data))
    assert isinstance(kept, Done)
    image = image_of(data, kept.seq)
    assert image is not None
    return image


async def show(runtime: Runtime, image: Image, *, signed: bool = True) -> None:
    assert isinstance(await runtime.say(f"look at {image.digest}", image, signed=signed), Taken)
    await runtime.until("turn_complete")


async def test_the_model_is_shown_the_image_beside_the_words_that_name_it(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        model, _ = await watching(runtime)
        image = await give(runtime)
        await show(runtime, image)
        [text, picture] = model.asked[-1].messages[-1].parts
        assert text == Text(text=f"look at {image.digest}")
        assert isinstance(picture, Picture)
        assert picture.image.data == PICTURE
        [record] = [body for _, body in runtime.records() if isinstance(body, AttachedRecord)]
        assert record.image.length == len(PICTURE)


@pytest.mark.parametrize(("signed", "worth"), [(True, VOUCHED), (False, UNTRUSTED)])
async def test_it_is_worth_what_its_giver_vouches_for(tmp_path: Path, *, signed: bool, worth: Label) -> None:
    async with running(tmp_path) as runtime:
        await watching(runtime)
        await show(runtime, await give(runtime), signed=signed)
        assert context_label(actor(runtime, runtime.session)._turn) == join(RUNTIME, worth)


@pytest.mark.parametrize("signed", [True, False])
async def test_an_image_that_the_words_do_not_name_is_declined(tmp_path: Path, *, signed: bool) -> None:
    async with running(tmp_path) as runtime:
        model, _ = await watching(runtime)
        image = await give(runtime)
        answer = await runtime.say(f"look at {image.digest[:-1]}", image, signed=signed)
        assert isinstance(answer, Declined)
        assert (answer.code, model.asked) == ("prompt.image-unnamed", [])


async def test_more_than_a_model_is_shown_at_once_is_declined(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        model, _ = await watching(runtime)
        image = msgspec.structs.replace(await give(runtime), size_bytes=MAX_SHOWN_BYTES // 2 + 1)
        answer = await runtime.say(f"look at {image.digest}", image, image)
        assert isinstance(answer, Declined)
        assert (answer.code, model.asked) == ("prompt.images", [])


async def test_who_slept_sees_it_again_and_no_other_session_ever_does(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path) as runtime:
        model, sight = await watching(runtime)
        first, image = runtime.session, await give(runtime)
        await show(runtime, image)
        await sleep(runtime, mock_clock)
        await listen(runtime)
        assert isinstance(await runtime.say("and now?"), Taken)
        await runtime.until("turn_complete")
        [picture] = [part for one in model.asked[-1].messages for part in one.parts if isinstance(part, Picture)]
        assert picture.image.data == PICTURE
        await runtime.open_as(NAME)
        assert await sight.find(first, image.record) == PICTURE
        with pytest.raises(InputError) as caught:
            await sight.find(runtime.session, image.record)
        assert caught.value.code == "result.unknown"


async def test_one_that_was_erased_is_told_in_words(tmp_path: Path) -> None:
    log = FakeLog()
    async with running(tmp_path, store=FakeStore(log)) as runtime:
        model, _ = await watching(runtime)
        image = await give(runtime)
        del log.kept[image.record, 0]
        await show(runtime, image)
        assert model.asked[-1].messages[-1].parts[1] == Text(text=f"{told(image)}\n{GONE}")


async def test_what_lies_there_in_place_of_it_is_not_shown(tmp_path: Path) -> None:
    log = FakeLog()
    async with running(tmp_path, store=FakeStore(log)) as runtime:
        model, _ = await watching(runtime)
        image = await give(runtime)
        salt, _ = log.kept[image.record, 0]
        log.kept[image.record, 0] = salt, png(640, 480, size=200_001)
        await show(runtime, image)
        assert model.asked[-1].messages[-1].parts[1] == Text(text=f"{told(image)}\n{GONE}")


async def test_nothing_is_kept_for_a_session_that_is_over(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await watching(runtime)
        session = runtime.session
        await ask(runtime, EndSession(session=session, reason="asked"))
        await runtime.until("session_ended")
        answer = await runtime.by_ticket(lambda n: AttachImage(ticket=n, session=session, image=PICTURE))
        assert isinstance(answer, Failed)
        assert answer.code == "gate.session-over"


async def test_the_image_of_another_session_is_not_found_where_the_log_says_that_its_record_names_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as runtime:
        _, sight = await watching(runtime)
        image = await give(runtime)
        await runtime.open_as(NAME)
        monkeypatch.setattr(SqliteReader, "frames_of", lambda self, _, first, count: self.frames(first, count))
        with pytest.raises(InputError) as caught:
            await sight.find(runtime.session, image.record)
        assert caught.value.code == "result.unknown"
