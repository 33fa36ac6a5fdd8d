"""What vendors really sent, cut into pieces of every size: how it was cut on the wire changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from astrid.adapters.llm.anthropic_answer import AnswerReader as AnthropicReader
from astrid.adapters.llm.openai_answer import ChunkReader
from astrid.adapters.llm.sse import EventDecoder
from astrid.adapters.llm.vendor import Reader
from astrid.core.conversation import AnyStreamEvent, Done, Usage
from astrid.errors import ModelError

VECTORS = Path(__file__).parents[2] / "vectors" / "llm"
STREAM = "text/event-stream"
Make = Callable[[], Reader]


def recordings(folder: Path, make: Make) -> list[tuple[str, Make, bytes]]:
    """Every streamed answer in the files of a folder, dropped in without being named here."""
    found: list[tuple[str, Make, bytes]] = []
    for path in sorted(folder.glob("*.json")):
        for number, exchange in enumerate(json.loads(path.read_text())["interactions"]):
            if exchange["ctype"].startswith(STREAM) and not exchange["path"].endswith("/responses"):
                found.append((f"{path.stem}-{number}", make, exchange["body"].encode()))
    return found


RECORDED = [
    *recordings(VECTORS, lambda: AnthropicReader("anthropic/m", {})),
    *recordings(VECTORS / "openai", lambda: ChunkReader("openai/m", {})),
]


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


def test_there_are_recordings_of_both_protocols() -> None:
    assert len({make for _, make, _ in RECORDED}) == 2
    assert len(RECORDED) >= 4
