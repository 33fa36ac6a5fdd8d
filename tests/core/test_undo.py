"""Which files are put back, against a naive model of who wrote what into them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.canon import decode, encode
from astrid.core.undo import Change, Left, Undo, plan_undo

A, B, C, D = (bytes([letter]) * 32 for letter in b"ABCD")
ABSENT = b""


def planned(changes: list[Change], now: bytes | None) -> tuple[list[Undo], list[Left]]:
    return plan_undo(changes, {"f": now})


@pytest.mark.parametrize("first", [A, ABSENT])
def test_what_one_after_the_other_left_is_taken_back_to_what_the_first_found(first: bytes) -> None:
    assert planned([Change("f", first, B), Change("f", B, C)], C) == ([Undo("f", C, first)], [])


def test_files_do_not_touch_each_other() -> None:
    changes = [Change("f", A, B), Change("g", ABSENT, C), Change("f", B, D)]
    assert plan_undo(changes, {"f": D, "g": A}) == ([Undo("f", D, A)], [Left("g", "changed")])


def test_a_file_that_holds_what_it_should_is_left_out_whatever_happened_to_it() -> None:
    assert planned([Change("f", A, B), Change("f", C, D)], A) == ([], [])


@pytest.mark.parametrize("now", [A, B, ABSENT])
def test_what_somebody_else_wrote_after_the_last_change_is_left(now: bytes) -> None:
    assert planned([Change("f", C, D)], now) == ([], [Left("f", "changed")])


def test_what_somebody_else_wrote_between_two_changes_is_left() -> None:
    assert planned([Change("f", A, B), Change("f", C, D)], D) == ([], [Left("f", "changed")])


@pytest.mark.parametrize("now", [A, B])
def test_a_change_of_which_nobody_knows_whether_it_happened_is_taken_back_if_it_did(now: bytes) -> None:
    undos, left = planned([Change("f", A, B, sure=False)], now)
    assert (undos, left) == ([Undo("f", B, A)] if now == B else [], [])
    undos, left = planned([Change("f", C, A), Change("f", A, B, sure=False)], now)
    assert (undos, left) == ([Undo("f", now, C)], [])
    assert planned([Change("f", C, A), Change("f", A, B)], A) == ([], [Left("f", "changed")])


@pytest.mark.parametrize(
    "changes",
    [
        [Change("f", None, B)],
        [Change("f", A, None)],
        [Change("f", A, B), Change("f", B, None)],
        [Change("f", A, B), Change("f", None, B)],
        [Change("f", A, None), Change("f", B, B)],
    ],
)
def test_where_what_it_held_is_not_known_any_more_a_file_is_left(changes: list[Change]) -> None:
    assert planned(changes, B) == ([], [Left("f", "unkept")])


def test_a_file_that_cannot_be_read_is_left() -> None:
    assert planned([Change("f", A, B)], None) == ([], [Left("f", "unreadable")])


def test_what_is_to_be_done_is_read_back_as_it_was_written() -> None:
    undos = (Undo("tmp/f", A, ABSENT), Undo("tmp/g", B, C))
    assert decode(encode(undos), tuple[Undo, ...], max_bytes=1000, what="it") == undos


@settings(max_examples=300, deadline=None)
@given(
    start=st.sampled_from([A, ABSENT]),
    steps=st.lists(st.tuples(st.sampled_from([A, B, C, ABSENT]), st.booleans(), st.booleans()), max_size=6),
)
def test_only_what_nobody_else_wrote_to_since_the_first_change_is_put_back(
    start: bytes, steps: list[tuple[bytes, bool, bool]]
) -> None:
    holds, changes, alien = start, list[Change](), False
    for content, ours, happens in steps:
        if not ours:
            alien = alien or (bool(changes) and content != holds)
            holds = content
            start = start if changes else content
            continue
        changes.append(Change("f", holds, content, sure=happens))
        holds = content if happens else holds
    undos, _ = planned(changes, holds) if changes else ([], [])
    assert all((undo.now, undo.then) == (holds, start) for undo in undos)
    if changes and not alien:
        assert bool(undos) == (holds != start)
