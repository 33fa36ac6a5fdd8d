"""A model as a tool: what it may cost is known before, what it cost after, and a broken answer is never free."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from msgspec.structs import replace

from astrid.core import images
from astrid.core.call import Call, Need
from astrid.core.conversation import (
    AnyStreamEvent,
    Done,
    Message,
    ModelRequest,
    Picture,
    ReasoningDelta,
    Text,
    TextDelta,
    ToolCallReady,
    ToolResult,
    Usage,
    decode_answer,
    encode_event,
    encode_request,
)
from astrid.core.images import image_of
from astrid.core.money import Price, cost, worst_case
from astrid.core.tokens import Permission
from astrid.errors import CanonError, InputError, ModelError
from astrid.hosts.model import ModelServer, Sight
from tests.fakes.authority import call
from tests.fakes.pictures import png

PRICE = Price(input_micros_per_million=3_000_000, output_micros_per_million=15_000_000)
REQUEST = ModelRequest(model="p/m", system="be brief", messages=(), tools=(), max_tokens=100)
ARGS = encode_request(REQUEST)
CALL: Call = call(tool="model", args=ARGS, max_micros=12_345)
USAGE, END = Usage(input_tokens=100, output_tokens=20), Done(stop_reason="end_turn")


class FakeModel:
    """The ``Model`` port over a list of events; an exception among them is raised."""

    def __init__(self, *events: AnyStreamEvent | Exception) -> None:
        self._events = events
        self.opened = self.closed = 0
        self.stall = trio.Event()

    name, price, scripted = "p/m", PRICE, False

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[AnyStreamEvent], None]:
        assert request == REQUEST
        self.opened += 1
        try:
            yield self._each()
        finally:
            self.closed += 1

    async def _each(self) -> AsyncGenerator[AnyStreamEvent, None]:
        for event in self._events:
            await trio.lowlevel.checkpoint()
            if isinstance(event, Exception):
                raise event
            yield event
        await self.stall.wait()


def model(*events: AnyStreamEvent | Exception) -> FakeModel:
    made = FakeModel(*events)
    made.stall.set()
    return made


async def run(fake: FakeModel) -> tuple[list[AnyStreamEvent], int, list[bytes]]:
    """The answer, what it cost, and what streamed."""
    pieces: list[bytes] = []
    outcome = await ModelServer(fake).execute(CALL, pieces.append)
    assert (outcome.effect, outcome.is_error) == ("done", False)
    return decode_answer(outcome.content), outcome.spent_micros, pieces


def test_it_is_one_tool_that_spends_money_and_that_no_model_sees() -> None:
    [spec] = ModelServer(model()).specs()
    assert (spec.name, spec.host_kind, spec.host_id, spec.effect) == ("model", "model", "p/m", "model")
    assert spec.tooldef()


async def test_the_worst_case_is_what_may_be_spent() -> None:
    prepared = ModelServer(model()).glance("model", ARGS)
    assert prepared == await ModelServer(model()).prepare("model", ARGS)
    assert prepared.max_micros == worst_case(PRICE, len(ARGS), 100)
    assert prepared.needs == (Need("model://p/m", int(Permission.INVOKE)),)


async def test_a_request_for_another_model_is_not_prepared() -> None:
    other = encode_request(msgspec.structs.replace(REQUEST, model="p/dearer"))
    with pytest.raises(InputError) as caught:
        await ModelServer(model()).prepare("model", other)
    assert caught.value.code == "model.other"


@pytest.mark.parametrize("args", [b"", b"{}", b"[]", ARGS[:-1], ARGS + b" {}"])
async def test_what_is_no_request_is_neither_prepared_nor_sent(args: bytes) -> None:
    fake = model()
    with pytest.raises(CanonError):
        await ModelServer(fake).prepare("model", args)
    with pytest.raises(CanonError):
        await ModelServer(fake).execute(msgspec.structs.replace(CALL, args=args), lambda chunk: None)
    assert fake.opened == 0


async def test_what_was_used_is_what_is_paid() -> None:
    _, spent, _ = await run(model(TextDelta(text="hi"), USAGE, END))
    assert spent == cost(PRICE, 100, 20) < CALL.max_micros


async def test_more_than_was_reserved_is_paid_all_the_same() -> None:
    _, spent, _ = await run(model(Usage(input_tokens=10**9, output_tokens=1), END))
    assert spent > CALL.max_micros


async def test_what_the_vendor_cached_is_paid_at_the_rates_for_it() -> None:
    rates = msgspec.structs.replace(
        PRICE, cache_write_micros_per_million=3_750_000, cache_read_micros_per_million=300_000
    )
    fake = model(Usage(input_tokens=1, output_tokens=2, cache_write_tokens=40, cache_read_tokens=500), END)
    fake.price = rates
    _, spent, _ = await run(fake)
    assert spent == cost(rates, 1, 2, cache_write_tokens=40, cache_read_tokens=500)


@pytest.mark.parametrize(
    "usage",
    [
        (),
        (Usage(input_tokens=-5, output_tokens=1),),
        (Usage(input_tokens=1, output_tokens=-1),),
        (Usage(input_tokens=1, output_tokens=1, cache_write_tokens=-1),),
        (Usage(input_tokens=1, output_tokens=1, cache_read_tokens=-1),),
    ],
)
async def test_without_a_figure_that_can_be_one_the_worst_case_is_paid(usage: Sequence[Usage]) -> None:
    events, spent, _ = await run(model(TextDelta(text="hi"), *usage, END))
    assert spent == CALL.max_micros
    assert events == [TextDelta(text="hi"), END]  # and whoever reads the answer is not told of it


async def test_a_later_figure_replaces_an_earlier_one() -> None:
    events, spent, _ = await run(model(Usage(input_tokens=1, output_tokens=1), USAGE, END))
    assert spent == cost(PRICE, 100, 20)
    assert events == [USAGE, END]


async def test_however_an_answer_was_cut_on_its_way_it_is_the_same_answer() -> None:
    use = ToolCallReady(id="t", name="read_file", arguments="{}")
    one = await run(model(TextDelta(text="hel"), TextDelta(text="lo"), use, TextDelta(text="x"), USAGE, END))
    two = await run(model(USAGE, TextDelta(text="hello"), use, TextDelta(text="x"), END))
    assert one[0] == two[0] == [TextDelta(text="hello"), use, TextDelta(text="x"), USAGE, END]


async def test_everything_streams_and_thoughts_are_no_part_of_the_answer() -> None:
    said = (ReasoningDelta(text="hm"), TextDelta(text="a"), TextDelta(text="b"), USAGE, END)
    events, _, pieces = await run(model(*said))
    assert pieces == [encode_event(event) for event in said]
    assert events == [TextDelta(text="ab"), USAGE, END]


@pytest.mark.parametrize(
    "events",
    [(), (TextDelta(text="hal"),), (USAGE,), (END, TextDelta(text="after the end"))],
)
async def test_an_answer_that_breaks_off_may_be_billed(events: tuple[AnyStreamEvent, ...]) -> None:
    fake = model(*events)
    with pytest.raises(ModelError) as caught:
        await run(fake)
    assert (caught.value.code, caught.value.effect, fake.closed) == ("model.stream-broken", "maybe", 1)


async def test_an_answer_that_cannot_be_kept_may_be_billed() -> None:
    with pytest.raises(ModelError) as caught:
        await run(model(TextDelta(text="\ud800"), USAGE, END))
    assert (caught.value.code, caught.value.effect) == ("model.answer-unusable", "maybe")


async def test_what_the_vendor_says_passes_through() -> None:
    error = ModelError("model.refused", "no", effect="none")
    fake = model(error)
    with pytest.raises(ModelError) as caught:
        await run(fake)
    assert caught.value is error
    assert fake.closed == 1


async def test_a_cancelled_call_lets_go_of_its_connection() -> None:
    fake = FakeModel(TextDelta(text="a"))
    with trio.CancelScope() as scope:

        def stop(chunk: bytes) -> None:
            scope.cancel()

        await ModelServer(fake).execute(CALL, stop)
    assert scope.cancelled_caught
    assert (fake.opened, fake.closed) == (1, 1)


# ---- images ---------------------------------------------------------------------------------------

SEEN = {7: png(640, 480), 8: png(10, 10)}
ERASED = InputError("result.erased", "this result was erased")


def seen(at: int, /, **changed: object) -> ToolResult:
    image = image_of(SEEN[at], at)
    assert image is not None
    return ToolResult(id=f"id{at}", content="an image", is_error=False, image=replace(image, **changed))


def looking(*results: ToolResult) -> ModelRequest:
    return replace(REQUEST, messages=(Message(role="user", parts=(Text(text="look"), *results)),))


class Watcher(FakeModel):
    """Keeps what it was asked."""

    asked: ModelRequest

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[AnyStreamEvent], None]:
        self.asked = request
        async with super().stream(REQUEST) as events:
            yield events

    @property
    def told(self) -> list[ToolResult]:
        return [part for part in self.asked.messages[0].parts if isinstance(part, ToolResult)]


async def show(request: ModelRequest, *, sight: bool = True, session: bytes = b"") -> Watcher:
    """The model that was asked this, in the session of the call if no other is named."""
    fake = Watcher(USAGE, END)
    fake.stall.set()
    made = replace(CALL, args=encode_request(request))

    async def find(whose: bytes, record: int) -> bytes:
        if whose != (session or made.session) or record not in SEEN:
            raise ERASED
        return SEEN[record]

    server = ModelServer(fake, sight=Sight(lambda width, height: width * height, find) if sight else None)
    await server.execute(made, lambda chunk: None)
    return fake


async def test_a_model_that_takes_images_is_shown_their_bytes() -> None:
    fake = await show(looking(seen(7), seen(8)))
    assert [result.image.data for result in fake.told if result.image] == [SEEN[7], SEEN[8]]
    assert [result.content for result in fake.told] == ["an image", "an image"]


async def test_a_model_that_takes_none_is_told_so() -> None:
    fake = await show(looking(seen(7)), sight=False)
    assert fake.told == [ToolResult(id="id7", content=f"an image\n{images.NOT_TAKEN}", is_error=False)]


@pytest.mark.parametrize(
    ("result", "session"),
    [
        (seen(7, record=9), b""),  # erased, or never there
        (seen(7), b"another session"),
        (seen(7, digest="00" * 32), b""),
        (seen(7, record=8), b""),  # another image than was authorised
    ],
)
async def test_an_image_that_is_not_the_one_that_was_authorised_is_not_shown(
    result: ToolResult, session: bytes
) -> None:
    fake = await show(looking(result), session=session)
    assert fake.told == [ToolResult(id="id7", content=f"an image\n{images.GONE}", is_error=False)]


async def test_of_too_many_images_the_first_are_told_in_words() -> None:
    many = [replace(seen(8), id=str(place)) for place in range(images.MAX_SHOWN)]
    fake = await show(looking(seen(7), *many))
    assert fake.told[0] == ToolResult(id="id7", content=f"an image\n{images.LEFT_OUT}", is_error=False)
    assert all(result.image for result in fake.told[1:])


def test_the_worst_case_counts_the_images_that_are_shown() -> None:
    async def find(session: bytes, record: int) -> bytes:
        raise ERASED

    request = looking(seen(7), seen(8))
    args = encode_request(request)
    blind, sees = ModelServer(model()), ModelServer(model(), sight=Sight(lambda width, height: width * height, find))
    assert blind.glance("model", args).max_micros == worst_case(PRICE, len(args), 100)
    assert sees.glance("model", args).max_micros == worst_case(PRICE, len(args) + 640 * 480 + 10 * 10, 100)


def test_a_request_names_its_images_and_does_not_hold_them() -> None:
    assert len(encode_request(looking(seen(7)))) < len(encode_request(looking())) + 400


def given(at: int) -> ModelRequest:
    """A request with an image that somebody gave."""
    image = seen(at).image
    assert image is not None
    return replace(REQUEST, messages=(Message(role="user", parts=(Text(text="look"), Picture(image=image))),))


async def test_a_model_is_shown_the_image_that_somebody_gave() -> None:
    [_, picture] = (await show(given(7))).asked.messages[0].parts
    assert isinstance(picture, Picture)
    assert picture.image.data == SEEN[7]


@pytest.mark.parametrize(
    ("sight", "session", "why"), [(False, b"", images.NOT_TAKEN), (True, b"another session", images.GONE)]
)
async def test_an_image_that_somebody_gave_is_told_in_words_where_it_is_not_shown(
    *, sight: bool, session: bytes, why: str
) -> None:
    [_, told] = (await show(given(7), sight=sight, session=session)).asked.messages[0].parts
    image = image_of(SEEN[7], 7)
    assert image is not None
    assert told == Text(text=f"{images.told(image)}\n{why}")
