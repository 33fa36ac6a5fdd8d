"""Words, segments, and what a line may use up."""

from __future__ import annotations

import pytest

from astrid.core.command_model import MAX_BRACE_WORDS, MAX_SEGMENTS, Budget, Segment, Word, basename
from astrid.errors import CommandError


def word(text: str | None = None, **fields: object) -> Word:
    return Word(**{"text": text, "prefix": text or "", **fields})  # pyright: ignore[reportArgumentType]


def test_a_word_is_literal_only_if_nothing_in_it_may_change() -> None:
    assert word("a").literal == "a"
    assert word("").literal == ""
    assert word("*", has_glob=True).literal is None
    assert word("~", has_tilde=True).literal is None
    assert word(None, has_expansion=True).literal is None


@pytest.mark.parametrize(
    ("given", "may"),
    [
        (word("-a"), True),
        (word("a"), False),
        (word(""), False),
        (word("*", prefix="", has_glob=True, splits=True), True),
        (word("a*", prefix="a", has_glob=True, splits=True), False),
        (word("-*", prefix="-", has_glob=True, splits=True), True),
        (word(None, has_expansion=True), True),
        (word(None, prefix="a", has_expansion=True), False),
        (word(None, prefix="a", has_expansion=True, splits=True), True),
        (word("~/x", prefix="", has_tilde=True), False),
        (word(None, has_tilde=True, has_expansion=True), True),
        (word("a=~", prefix="a=", has_tilde=True), False),
    ],
)
def test_a_word_may_be_an_option_unless_the_line_shows_that_it_is_none(given: Word, *, may: bool) -> None:
    assert given.may_be_option is may


def test_the_program_is_the_first_word_as_written() -> None:
    assert Segment(argv=(word("/bin/a"), word("b"))).program == "/bin/a"
    assert Segment(argv=(word(None, has_expansion=True),)).program == ""
    assert Segment().program == ""


@pytest.mark.parametrize(
    ("program", "changes"), [("cd", True), ("pushd", True), ("popd", True), ("chdir", True), ("ls", False)]
)
def test_some_programs_change_the_directory(program: str, *, changes: bool) -> None:
    assert Segment(argv=(word(program),)).changes_directory is changes


@pytest.mark.parametrize(("program", "base"), [("a", "a"), ("/usr/bin/a", "a"), ("./a", "a"), ("a/", "a"), ("/", "")])
def test_the_base_name_is_the_last_component(program: str, base: str) -> None:
    assert basename(program) == base


def test_a_budget_of_segments_is_used_up() -> None:
    budget = Budget()
    for _ in range(MAX_SEGMENTS):
        budget.take_segment()
    with pytest.raises(CommandError) as caught:
        budget.take_segment()
    assert caught.value.code == "command.too-many"


def test_a_budget_of_words_is_used_up() -> None:
    budget = Budget()
    budget.take_words(MAX_BRACE_WORDS - 1)
    budget.take_words(1)
    with pytest.raises(CommandError) as caught:
        budget.take_words(1)
    assert caught.value.code == "command.too-many"
