"""What vendors really sent, cut into pieces of every size: how it was cut on the wire changes nothing.

A file dropped into the folder is taken as it is: by its paths one knows who said it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from astrid.adapters.llm.anthropic_answer import AnswerReader as AnthropicReader
from astrid.adapters.llm.openai_answer import ChunkReader
from astrid.adapters.llm.sse import EventDecoder
from astrid.adapters.llm.vendor import Reader
from astrid.core.conversation import AnyStreamEvent, Done, Message, ModelRequest, Text, Usage
from astrid.errors import ModelError
from tests.fakes.anthropic_server import AnthropicServer, Reply, cut
from tests.fakes.vendors import VENDORS, Vendor

pytest.importorskip("anthropic", reason="the extra is not installed")

VECTORS = Path(__file__).parents[2] / "vectors" / "llm"
STREAM = "text/event-stream"
Make = Callable[[], Reader]


def exchanges(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["interactions"]


def recordings(path_end: str, make: Make) -> list[tuple[str, Make, bytes]]:
    """Every streamed answer of a protocol, in whatever file it is."""
    return [
        (f"{path.stem}-{number}", make, exchange["body"].encode())
        for path in sorted(VECTORS.rglob("*.json"))
        for number, exchange in enumerate(exchanges(path))
        if exchange["ctype"].startswith(STREAM) and exchange["path"].endswith(path_end)
    ]


PATHS = ("/v1/messages", "/chat/completions")
RECORDED = [
    *recordings(PATHS[0], lambda: AnthropicReader("anthropic/m", {})),
    *recordings(PATHS[1], lambda: ChunkReader("openai/m", {})),
]
VENDOR = dict(zip(PATHS, VENDORS, strict=False))


def heard(reader: Reader, data: bytes, size: int) -> list[AnyStreamEvent]:
    decoder = EventDecoder()
    events: list[AnyStreamEvent] = []
    for at in range(0, len(data), size):
        for event in decoder.feed(data[at : at + size]):
            if not reader.done:
                events += reader.read(event)
    return events if reader.done else [*events, *reader.end()]


@pytest.mark.parametrize(("make", "data"), [one[1:] for one in RECORDED], ids=[one[0] for one in RECORDED])
def test_a_recorded_answer_gives_the_same_events_in_pieces_of_any_size(make: Make, data: bytes) -> None:
    whole = heard(make(), data, len(data))
    assert isinstance(whole[-1], Done)
    for size in (*range(1, 40), 64, 333, 4096):
        assert heard(make(), data, size) == whole, size


def said(events: list[AnyStreamEvent]) -> list[AnyStreamEvent]:
    """All but the count: where that is cut off, the host settles in full."""
    return [event for event in events if not isinstance(event, Usage)]


@pytest.mark.parametrize(("make", "data"), [one[1:] for one in RECORDED], ids=[one[0] for one in RECORDED])
def test_a_recorded_answer_that_is_cut_anywhere_is_no_answer_and_says_what_it_may_have_cost(
    make: Make, data: bytes
) -> None:
    whole = heard(make(), data, len(data))
    for end in range(0, len(data), max(len(data) // 150, 1)):
        reader = make()
        try:
            events = heard(reader, data[:end], 4096)
        except ModelError as error:
            assert error.effect == ("maybe" if reader.usage is None else "done")
        else:
            assert said(events) == said(whole), "cut behind the vendor's word that it is whole"


@pytest.mark.parametrize(("make", "data"), [one[1:] for one in RECORDED], ids=[one[0] for one in RECORDED])
def test_what_a_recorded_answer_counts_only_grows(make: Make, data: bytes) -> None:
    counted = [event for event in heard(make(), data, len(data)) if isinstance(event, Usage)]
    assert counted
    for before, after in pairwise(counted):
        assert after.input_tokens >= before.input_tokens
        assert after.output_tokens >= before.output_tokens


def test_there_are_recordings_of_both_protocols_and_every_file_holds_one() -> None:
    assert len({make for _, make, _ in RECORDED}) == 2
    assert len(RECORDED) >= 4
    for path in VECTORS.rglob("*.json"):
        assert any(exchange["path"].endswith(PATHS) for exchange in exchanges(path)), path


SERVED = [
    pytest.param(VENDOR[end], exchange, id=f"{path.stem}-{number}")
    for path in sorted(VECTORS.rglob("*.json"))
    for number, exchange in enumerate(exchanges(path))
    for end in PATHS
    if exchange["path"].endswith(end) and (exchange["ctype"].startswith(STREAM) or end == PATHS[1])
]


@pytest.mark.parametrize(("vendor", "exchange"), SERVED)
async def test_a_recorded_answer_is_served_whole_and_in_pieces_and_is_the_same(
    nursery: trio.Nursery, vendor: Vendor, exchange: dict[str, Any]
) -> None:
    server = AnthropicServer(complain=vendor.complain)
    await nursery.start(server.run)
    body, model = exchange["body"].encode(), vendor.model(server.url)
    request = ModelRequest(
        model=model.name,
        system="",
        messages=(Message(role="user", parts=(Text(text="hi"),)),),
        tools=(),
        max_tokens=9,
    )
    served: list[list[AnyStreamEvent]] = []
    for size in (len(body), 1, 7, 100, 1000):
        server.replies.append(Reply(cut(body, size), content_type=exchange["ctype"]))
        async with model.stream(request) as events:
            served.append([event async for event in events])
    assert isinstance(served[0][-1], Done)
    assert isinstance(served[0][-2], Usage)
    assert all(one == served[0] for one in served)
