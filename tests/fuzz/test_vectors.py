"""Every crash that was ever found stays found: the vectors are replayed, and one that shows nothing any more fails."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.database import choices_to_bytes
from hypothesis.stateful import RuleBasedStateMachine, rule

from fuzz.engine import vectors
from fuzz.engine.targets import Target, taking_bytes, to_text
from fuzz.engine.vectors import Vector

FOUND = vectors.all_vectors()


@pytest.mark.parametrize("path", FOUND, ids=[str(path.relative_to(vectors.FOLDER)) for path in FOUND])
def test_what_once_broke_something_no_longer_does(path: Path) -> None:
    vectors.replay(vectors.read(path))


# --- the replaying itself


class Planted(ModuleType):
    """A file of targets that are wrong from ``limit`` on."""

    limit: int = 100
    test_numbers: object
    Counting: type


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Planted:
    """Targets with a bug, in a file that is none."""
    module = Planted("fuzz.planted")

    @given(st.integers(0, 1000), st.text("ab", max_size=5))
    def test_numbers(number: int, text: str) -> None:
        assert number < module.limit or "b" not in text, "a bug"

    class Counting(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.sum = 0

        @rule(number=st.integers(0, 5))
        def add(self, number: int) -> None:
            self.sum += number
            assert self.sum < module.limit

    module.test_numbers = test_numbers
    module.Counting = Counting
    monkeypatch.setitem(sys.modules, "fuzz.planted", module)
    return module


def vector(*choices: bool | int | str, item: str = "test_numbers") -> Vector:
    return Vector(target=f"planted.{item}", error="", drawn="", choices=to_text(choices_to_bytes(choices)))


def test_a_vector_of_a_bug_that_is_there_fails(planted: Planted) -> None:
    with pytest.raises(AssertionError, match="a bug"):
        vectors.replay(vector(100, "ab"))


def test_a_vector_of_a_bug_that_was_mended_passes(planted: Planted) -> None:
    planted.limit = 1001
    vectors.replay(vector(100, "ab"))


@pytest.mark.parametrize("choices", [("ab", 100), (5000, "ab"), ()], ids=["other kinds", "out of range", "nothing"])
def test_a_vector_that_its_target_no_longer_draws_fails(planted: Planted, choices: tuple[int | str, ...]) -> None:
    planted.limit = 1001
    with pytest.raises(AssertionError, match="no longer draws"):
        vectors.replay(vector(*choices))


def test_raw_bytes_of_which_a_process_died_are_run_again(planted: Planted) -> None:
    raw = Vector(target="planted.test_numbers", error="", drawn="", raw=to_text(b"\x03\xe7" + b"\xff\x01" * 4))
    planted.limit = -1
    with pytest.raises(AssertionError, match="a bug"):
        vectors.replay(raw)
    planted.limit = 1001
    vectors.replay(raw)


def test_what_was_drawn_with_a_seed_of_which_a_process_died_is_drawn_again(planted: Planted) -> None:
    drawn = Vector(target="planted.test_numbers", error="", drawn="", seed=7)
    planted.limit = -1
    with pytest.raises(AssertionError, match="a bug"):
        vectors.replay(drawn)
    planted.limit = 1001
    vectors.replay(drawn)


def test_a_state_machine_is_a_target_like_any_other(planted: Planted) -> None:
    run = taking_bytes(Target("planted", "Counting").load())
    always_three = b"\0\3" * 200
    planted.limit = 3
    with pytest.raises(AssertionError):
        run(always_three)
    planted.limit = 10**6
    run(always_three)


def test_a_failure_is_told_in_words(planted: Planted) -> None:
    target = Target("planted", "test_numbers")
    made = vectors.made(target, "an error", target.load(), choices_to_bytes((100, "b")))
    assert "number=100" in made.drawn
    assert "text='b'" in made.drawn


def test_vectors_are_numbered_and_none_is_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "FOLDER", tmp_path)
    first, other = vector(100, "b"), vector(101, "b")
    assert vectors.number(first) == (tmp_path / "planted" / "0001.json", True)
    assert vectors.number(other) == (tmp_path / "planted" / "0002.json", True)
    assert vectors.number(msgspec.structs.replace(first, error="said otherwise")) == (
        tmp_path / "planted" / "0001.json",
        False,
    )
    assert [vectors.read(path) for path in vectors.all_vectors()] == [first, other]
