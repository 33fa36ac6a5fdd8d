"""What is left of a session that sleeps."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.messages.session import Hear
from astrid.runtime import dormant as module
from astrid.runtime.dormant import LONGEST_SECONDS, Dormitory, Numbers, dormant
from astrid.runtime.parts import Options

OPTIONS = Options("/w", "guided", "", "p/m", 0, 0, interactive=True)
SESSION = b"S" * 16
HEAR = Hear(text="go", integrity=0)


def numbers(**fields: int) -> Numbers:
    given_fields = {"created_ns": 9, "first": 8, "turns": 7, "events": 6, "since_s": 5, "deferred": 4} | fields
    return Numbers(**given_fields)


@given(
    st.builds(
        Numbers,
        created_ns=st.integers(0, 2**64 - 1),
        first=st.integers(0, 2**64 - 1),
        turns=st.integers(0, 2**32 - 1),
        events=st.integers(0, 2**32 - 1),
        since_s=st.integers(0, 2**32 - 1),
        deferred=st.integers(0, 2**16 - 1),
    )
)
def test_every_number_is_kept(made: Numbers) -> None:
    assert dormant(OPTIONS, made).numbers == made


def test_a_record_is_small_whatever_its_numbers_are() -> None:
    record = dormant(OPTIONS, numbers(created_ns=2**64 - 1, first=2**64 - 1, deferred=2**40))
    assert sys.getsizeof(record) + sys.getsizeof(record.packed) <= 96
    assert record.numbers.deferred == 2**16 - 1


def test_it_is_listed_as_what_it_was_opened_as() -> None:
    rooms = Dormitory()
    rooms.put(SESSION, dormant(OPTIONS, numbers()))
    [line] = rooms.lines()
    assert (line.session, line.workspace, line.mode, line.model) == (SESSION, "/w", "guided", "p/m")
    assert (line.state, line.created_ns, line.turns, line.deferred) == ("asleep", 9, 7, 4)
    rooms.hears(SESSION, HEAR)
    assert [one.state for one in rooms.lines()] == ["running"]
    rooms.waking[SESSION].hear = None
    assert [one.state for one in rooms.lines()] == ["asleep"]
    rooms.hears(SESSION, HEAR)
    assert (rooms.hears_something(SESSION), len(rooms.waking)) == (True, 1)


def test_who_fell_asleep_last_is_listed_first_and_only_those_who_overslept_are_told() -> None:
    rooms = Dormitory()
    for number, since_s in enumerate((0, 10, 20)):
        rooms.put(bytes([number]) * 16, dormant(OPTIONS, numbers(since_s=since_s)))
    assert [line.session[0] for line in rooms.lines()] == [2, 1, 0]
    assert rooms.overslept(LONGEST_SECONDS - 0.1) == []
    assert rooms.overslept(LONGEST_SECONDS + 10) == [b"\0" * 16, b"\1" * 16]


def test_whoever_wakes_and_sleeps_again_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ASLEEP", 2)
    rooms = Dormitory()
    for name in (b"a", b"b"):
        rooms.put(name, dormant(OPTIONS, numbers()))
    assert (len(rooms), rooms.is_full) == (2, True)
    record = rooms.take(b"a")
    assert record is not None
    assert (rooms.is_full, rooms.take(b"a"), rooms.get(b"a"), rooms.events(b"a")) == (False, None, None, 0)
    rooms.put(b"a", record)
    assert [line.session for line in rooms.lines()] == [b"a", b"b"]
    assert rooms.events(b"a") == 6
