"""Images in the workspace, under a whole runtime: read, shown, paid, kept beside the log, and there after a restart."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from astrid.core.grants import Mode
from astrid.core.images import GONE, NOT_TAKEN, image_of, images_in, told
from astrid.core.records import OutcomeRecord, PermitRecord
from astrid.errors import InputError
from astrid.hosts.model import ModelServer
from astrid.runtime.parts import Brain
from tests.fakes.anthropic_server import AnthropicServer
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.pictures import png
from tests.fakes.runtime import Runtime, running
from tests.fakes.shared_model import NAME, SharedModel, shared_brain
from tests.fakes.sleepers import listen, sleep, talk
from tests.fakes.vendors import VENDORS, Vendor

pytest.importorskip("anthropic", reason="the extra is not installed")

PICTURE = png(1500, 750, size=200_000)
SENT = base64.b64encode(PICTURE).decode()
READ = ("a", "read_file", '{"file_path": "shot.png"}')


@pytest.fixture(params=VENDORS[:2], ids=["anthropic", "openai"])
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return request.param


@pytest.fixture
async def server(vendor: Vendor, nursery: trio.Nursery) -> AnthropicServer:
    server = AnthropicServer(complain=vendor.complain)
    await nursery.start(server.run)
    server.replies += [vendor.answer("", READ), vendor.answer("a cat"), vendor.answer("still a cat")]
    return server


async def look(runtime: Runtime, vendor: Vendor, server: AnthropicServer) -> list[dict[str, Any]]:
    """A turn in which the model looks at the picture."""
    (runtime.workspace / "shot.png").write_bytes(PICTURE)
    model = vendor.model(server.url)
    catalogue: Any = runtime.world.catalogue
    mind = ModelServer(model, sight=catalogue._sight(model))
    catalogue._brains["it"] = Brain(model.name, "model:" + "5" * 32, mind, False, 100_000)
    await runtime.grant(Mode.GUIDED)
    await runtime.open_as("it")
    await runtime.say("what is on it?")
    return await runtime.until("turn_complete")


async def test_an_image_that_is_read_is_sent_to_the_models_that_take_images(
    tmp_path: Path, vendor: Vendor, server: AnthropicServer
) -> None:
    async with running(tmp_path) as runtime:
        events = await look(runtime, vendor, server)
    assert events[-1]["stop_reason"] == "end_turn"
    last = str(server.seen[1].body["messages"])
    if vendor.name == "anthropic":
        assert SENT in last
    else:  # unless the user says so, nobody else's are known to
        assert (SENT in last, NOT_TAKEN in last) == (False, True)


async def test_people_are_told_of_an_image_in_words(tmp_path: Path, vendor: Vendor, server: AnthropicServer) -> None:
    async with running(tmp_path) as runtime:
        events = await look(runtime, vendor, server)
    image = image_of(PICTURE, 0)
    assert image is not None
    assert [event["result"] for event in events if event["event"] == "tool_call_result"] == [told(image)]


@pytest.mark.parametrize("vendor", VENDORS[:1], ids=["anthropic"])
async def test_a_call_sets_aside_the_tokens_of_an_image_and_does_not_hold_its_bytes(
    tmp_path: Path, vendor: Vendor, server: AnthropicServer
) -> None:
    async with running(tmp_path) as runtime:
        await look(runtime, vendor, server)
        bodies = [body for _, body in runtime.records()]
    first, second = [one for one in bodies if isinstance(one, PermitRecord) and one.host_kind == "model"]
    # A token a byte and a micro-dollar a token: the request itself grew by little, and the image is 1,500 tokens.
    assert 1_500 <= second.micros - first.micros < 3_000
    assert len([one for one in bodies if isinstance(one, OutcomeRecord)]) == 3


@pytest.mark.parametrize("vendor", VENDORS[:1], ids=["anthropic"])
async def test_an_image_that_was_erased_is_told_in_words_and_nothing_else_suffers(
    tmp_path: Path, vendor: Vendor, server: AnthropicServer
) -> None:
    log = FakeLog()
    async with running(tmp_path, store=FakeStore(log)) as runtime:
        await look(runtime, vendor, server)
        [place] = [place for place, (_, kept) in log.kept.items() if kept == PICTURE]
        del log.kept[place]
        await runtime.say("and now?")
        events = await runtime.until("turn_complete")
    assert events[-1]["stop_reason"] == "end_turn"
    last = str(server.seen[2].body["messages"])
    assert (SENT in last, GONE in last) == (False, True)


@pytest.mark.parametrize("vendor", VENDORS[:1], ids=["anthropic"])
async def test_who_slept_sees_the_images_of_before_and_no_other_session_does(
    tmp_path: Path, mock_clock: MockClock, vendor: Vendor
) -> None:
    async with running(tmp_path) as runtime:
        (runtime.workspace / "shot.png").write_bytes(PICTURE)
        brains: Any = runtime.world.catalogue
        sight = brains._sight(vendor.model("http://127.0.0.1:9"))
        model = SharedModel()
        brains._brains[NAME] = msgspec.structs.replace(shared_brain(model), server=ModelServer(model, sight=sight))
        await runtime.grant(Mode.GUIDED)
        first = await runtime.open_as(NAME)
        model.says = [READ]
        await talk(runtime, "what is on it?")
        await sleep(runtime, mock_clock)
        await listen(runtime)
        await talk(runtime, "and now?")
        [image] = images_in(model.asked[-1].messages)
        assert image.data == PICTURE
        await runtime.open_as(NAME)
        with pytest.raises(InputError):
            await sight.find(runtime.session, image.record)
        assert await sight.find(first, image.record) == PICTURE
