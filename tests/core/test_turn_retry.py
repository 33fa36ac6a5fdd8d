"""When a failed model call is made again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.turn_retry import (
    DIE_BYTES,
    LONGEST_WAIT_MS,
    LONGEST_WAITS_MS,
    MAX_ATTEMPTS,
    PASSING,
    failure_text,
    model_tool,
    read_failure,
    wait_ms,
)

HIGHEST = 256**DIE_BYTES - 1


def waits(die: int, *, retry_after_ms: int = 0, code: str = "model.overloaded") -> list[int]:
    """All the waits of a model that only fails."""
    told: list[int] = []
    while True:
        wait = wait_ms(code, attempts=len(told) + 1, waited_ms=sum(told), retry_after_ms=retry_after_ms, die=die)
        if wait is None:
            return told
        told.append(wait)


def test_the_waits_grow_up_to_a_longest_one() -> None:
    assert waits(0) == [2_250, 6_750, 20_250, 45_000]
    assert waits(HIGHEST) == [2_999, 8_999, 26_999, 59_999]
    assert len(waits(0)) == MAX_ATTEMPTS - 1


@given(die=st.integers(0, HIGHEST))
def test_a_vendor_that_is_overloaded_for_a_minute_is_outlasted(die: int) -> None:
    assert sum(waits(die)) > 60_000
    assert all(wait <= LONGEST_WAIT_MS for wait in waits(die))


@given(die=st.integers(0, HIGHEST), after=st.integers(0, 10**9))
def test_nobody_is_asked_earlier_than_they_say_nor_waited_for_without_end(die: int, after: int) -> None:
    told = waits(die, retry_after_ms=after)
    assert all(wait >= after for wait in told)
    assert sum(told) <= LONGEST_WAITS_MS


def test_a_vendor_that_wants_to_be_left_alone_for_an_hour_is_not_asked_again() -> None:
    assert waits(0, retry_after_ms=3_600_000) == []


@pytest.mark.parametrize(
    "code", ["model.auth", "model.bad-request", "model.bad-answer", "model.unknown", "tool.stopped", "x.y"]
)
def test_what_does_not_pass_by_itself_is_not_tried_again(code: str) -> None:
    assert code not in PASSING
    assert waits(0, code=code) == []


@pytest.mark.parametrize("code", sorted(PASSING))
def test_what_passes_is_tried_again(code: str) -> None:
    assert len(waits(0, code=code)) == MAX_ATTEMPTS - 1


@pytest.mark.parametrize(
    ("after", "told"), [(None, 0), (0.0, 0), (1.5, 1500), (86_400.0, 86_400_000), (1e12, 99_999_999)]
)
def test_a_failure_says_its_code_and_for_how_long_the_vendor_is_to_be_left_alone(
    after: float | None, told: int
) -> None:
    content = failure_text("model.rate-limited", "the vendor answered `\ud800`", after)
    assert read_failure(content) == ("model.rate-limited", told)


def test_every_place_has_a_tool_of_its_own() -> None:
    assert [model_tool(place) for place in range(3)] == ["model", "model-2", "model-3"]


def test_a_failure_reads_as_code_and_message() -> None:
    assert failure_text("model.auth", "no", None) == b"model.auth: no"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"model.auth",
        b"\xff: x",
        b"Model.auth: x",
        b"a.b (not before 1 ms) : x",
        b"a.b (not before 123456789 ms): x",
    ],
)
def test_what_is_no_failure_has_no_code(said: bytes) -> None:
    assert read_failure(said) == ("model.unknown", 0)


def test_what_the_vendor_says_is_not_taken_for_what_we_say() -> None:
    said = failure_text("model.unavailable", "the vendor answered `model.overloaded (not before 7 ms): x`", None)
    assert read_failure(said) == ("model.unavailable", 0)
