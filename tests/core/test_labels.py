"""Labels only ever lose trust, in whatever order texts are joined."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.labels import MAX_ORIGINS, RUNTIME, SIGNED_USER, UNTRUSTED, Integrity, Label, join

MODEST = settings(max_examples=150, deadline=None)


def labels(limit: int = MAX_ORIGINS) -> st.SearchStrategy[Label]:
    origins = st.sets(st.integers(1, 300), max_size=limit).map(lambda chosen: tuple(sorted(chosen)))
    return st.builds(Label, st.sampled_from(Integrity), origins, st.booleans())


@MODEST
@given(labels(), labels())
def test_joining_is_commutative(a: Label, b: Label) -> None:
    assert join(a, b) == join(b, a)


@MODEST
@given(labels(), labels(), labels())
def test_joining_is_associative_also_beyond_the_limit_of_origins(a: Label, b: Label, c: Label) -> None:
    assert join(join(a, b), c) == join(a, join(b, c)) == join(a, b, c)


@MODEST
@given(labels())
def test_joining_with_itself_changes_nothing(a: Label) -> None:
    assert join(a) == join(a, a) == a


@MODEST
@given(st.lists(labels(), min_size=1, max_size=6))
def test_a_join_is_never_more_trusted_than_what_it_was_made_from(parts: list[Label]) -> None:
    joined = join(*parts)
    assert all(joined.integrity <= part.integrity for part in parts)
    assert joined.chosen is any(part.chosen for part in parts)
    assert len(joined.origins) <= MAX_ORIGINS
    assert list(joined.origins) == sorted(set(joined.origins))


@MODEST
@given(st.lists(labels(10), min_size=1, max_size=6))
def test_while_there_is_room_a_join_names_every_origin(parts: list[Label]) -> None:
    assert set(join(*parts).origins) == {origin for part in parts for origin in part.origins}


def test_a_text_with_too_many_origins_is_untrusted_and_keeps_the_earliest() -> None:
    joined = join(Label(Integrity.TOOL, tuple(range(2, 66))), Label(Integrity.SIGNED_USER, (1,)))
    assert joined == Label(Integrity.UNTRUSTED, tuple(range(1, 65)))


def test_a_text_with_as_many_origins_as_can_be_named_keeps_its_trust() -> None:
    joined = join(Label(Integrity.TOOL, tuple(range(1, 64))), Label(Integrity.TOOL, (64,)))
    assert joined == Label(Integrity.TOOL, tuple(range(1, 65)))


def test_the_numbers_that_are_recorded_never_change() -> None:
    assert [(level.name, level.value) for level in Integrity] == [
        ("UNTRUSTED", 0),
        ("TOOL", 1),
        ("CAPABILITY", 2),
        ("SIGNED_USER", 3),
    ]


def test_the_join_of_nothing_is_the_runtimes_own() -> None:
    assert join() == RUNTIME == SIGNED_USER


@pytest.mark.parametrize("integrity", Integrity)
def test_only_untrusted_text_taints(integrity: Integrity) -> None:
    assert Label(integrity).tainted is (integrity is Integrity.UNTRUSTED)
    assert UNTRUSTED.tainted
