"""Events are held until they may leave, and are always such that they can be sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.conversation import Usage
from astrid.core.gate_messages import Deferred, Refused
from astrid.core.ids import SessionId
from astrid.core.turn_messages import Finished
from astrid.wire.events import MAX_EVENT_BYTES, AnyEvent, ErrorRaised, decode_event, encode_event
from astrid.wire.telling import MAX_TEXT_BYTES, Teller, fitting, line, name

SESSION = SessionId(b"S" * 16)


def teller() -> tuple[Teller, list[AnyEvent]]:
    said: list[AnyEvent] = []
    return Teller(SESSION, 1000, said.append), said


def texts(said: list[AnyEvent]) -> list[str]:
    return [getattr(event, "text", type(event).__name__) for event in said]


# ---- holding back


def test_with_nothing_to_be_saved_an_event_leaves_at_once() -> None:
    tell, said = teller()
    tell.say(tell.message("a"))
    assert texts(said) == ["a"]


def test_an_event_leaves_when_what_was_being_saved_is_durable() -> None:
    tell, said = teller()
    tell.saving(1)
    tell.say(tell.message("a"))
    tell.saving(2)
    tell.say(tell.message("b"))
    assert said == []
    tell.durable(1)
    assert texts(said) == ["a"]
    tell.say(tell.message("c"))
    tell.durable(2)
    assert texts(said) == ["a", "b", "c"]
    tell.say(tell.message("d"))
    assert texts(said) == ["a", "b", "c", "d"]


def test_what_is_durable_later_covers_what_was_to_be_durable_earlier() -> None:
    tell, said = teller()
    for number in (1, 2, 3):
        tell.saving(number)
        tell.say(tell.message(str(number)))
    tell.durable(3)
    tell.durable(1)
    assert texts(said) == ["1", "2", "3"]


def test_an_error_is_said_also_when_nothing_can_be_saved() -> None:
    tell, said = teller()
    tell.saving(1)
    tell.say(tell.message("a"))
    for event in tell.finished(Finished(reason="failed", code="model.down"), 3):
        tell.say(event)
    assert [type(event) for event in said] == [ErrorRaised]


@given(st.lists(st.sampled_from(["save", "say", "durable"]), max_size=60))
def test_nothing_overtakes_and_nothing_leaves_before_its_save(steps: list[str]) -> None:
    left: list[tuple[str, int]] = []
    durable = saving = count = 0
    waits: dict[str, int] = {}

    def report(event: Any) -> None:
        left.append((event.text, durable))

    tell = Teller(SESSION, 1, report)
    for step in steps:
        if step == "save":
            saving += 1
            tell.saving(saving)
        elif step == "durable" and durable < saving:
            durable += 1
            tell.durable(durable)
        elif step == "say":
            count += 1
            waits[str(count)] = saving
            tell.say(tell.message(str(count)))
    assert [int(text) for text, _ in left] == sorted(int(text) for text, _ in left)
    assert all(durable_then >= waits[text] for text, durable_then in left)
    assert len(left) == sum(save <= durable for save in waits.values())


# ---- what can be sent


HOSTILE = (
    "",
    "plain",
    "\0" * (2 * MAX_TEXT_BYTES),
    "\U0001f980" * MAX_TEXT_BYTES,
    "lone \ud800",
    "a\nb\u2028c\x1b[0m",
    "é" * 200_000,
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_the_text_the_event_can_be_sent(text: str) -> None:
    tell, _ = teller()
    refused = Refused(proposal=1, layer=text, code="tool.unknown", reason=text, advice=text)
    events = [
        tell.message(text),
        tell.call("id", text, text),
        tell.result("id", text.encode("utf-8", "surrogatepass"), is_error=False),
        tell.denied("id", text, refused),
        tell.error("a.b", text, text),
    ]
    for event in events:
        data = encode_event(event)
        assert len(data) <= MAX_EVENT_BYTES
        assert b"\n" not in data
        assert decode_event(data) == event


def test_other_events_can_be_sent_too() -> None:
    tell, _ = teller()
    events = [
        tell.deferred("id", Deferred(proposal=1, qid=b"q" * 16)),
        tell.usage(Usage(input_tokens=2**60, output_tokens=2**60)),
        *tell.finished(Finished(reason="end_turn", code=""), 1),
        *tell.finished(Finished(reason="failed", code=""), 2),
    ]
    assert [decode_event(encode_event(event)) for event in events] == events


def test_a_text_that_fits_is_not_touched() -> None:
    assert fitting("a" * MAX_TEXT_BYTES) == "a" * MAX_TEXT_BYTES


def test_a_text_that_is_cut_says_so_and_is_cut_between_characters() -> None:
    cut = fitting("é" * MAX_TEXT_BYTES)
    assert cut.startswith("é" * (MAX_TEXT_BYTES // 2))
    assert cut.endswith(f"[cut here: {MAX_TEXT_BYTES} of {2 * MAX_TEXT_BYTES} bytes]")
    assert "\ufffd" not in cut


@given(st.text())
def test_names_and_lines_take_any_text(text: str) -> None:
    assert 1 <= len(name(text)) <= 128
    assert all("!" <= char <= "~" for char in name(text))
    assert len(line(text)) <= 4096
