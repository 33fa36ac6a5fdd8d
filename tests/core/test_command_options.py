"""How a wrapper's own words are read."""

from __future__ import annotations

import pytest

from astrid.core.command_model import Word
from astrid.core.command_options import WRAPPERS, Options, WrapperWords, literal_text, option_text, reject
from astrid.errors import CommandError

TABLE = Options(flags=frozenset(("a", "all")), valued=frozenset(("v", "value")), asking=frozenset(("q", "question")))


def literal(text: str) -> Word:
    return Word(text=text, prefix=text)


def dynamic(prefix: str = "", *, splits: bool = False) -> Word:
    return Word(text=None, prefix=prefix, has_expansion=True, splits=splits)


def read(line: str) -> tuple[dict[str, str], bool, str]:
    words = WrapperWords(tuple(literal(text) for text in line.split()))
    words.read_options("it", TABLE)
    return words.options, words.asks, " ".join(word.prefix for word in words.words)


@pytest.mark.parametrize(
    ("line", "options", "rest"),
    [
        ("", {}, ""),
        ("cmd -x", {}, "cmd -x"),
        ("-a cmd", {}, "cmd"),
        ("--all cmd", {}, "cmd"),
        ("-aa -a cmd", {}, "cmd"),
        ("-v1 cmd", {"v": "1"}, "cmd"),
        ("-v 1 cmd", {"v": "1"}, "cmd"),
        ("-av 1 cmd", {"v": "1"}, "cmd"),
        ("--value=1 cmd", {"value": "1"}, "cmd"),
        ("--value 1 cmd", {"value": "1"}, "cmd"),
        ("--value= cmd", {"value": ""}, "cmd"),
        ("-v -a cmd", {"v": "-a"}, "cmd"),
        ("-- cmd", {}, "cmd"),
        ("-a -- -x", {}, "-x"),
    ],
)
def test_options_are_read_as_getopt_reads_them(line: str, options: dict[str, str], rest: str) -> None:
    assert read(line) == (options, False, rest)


@pytest.mark.parametrize("line", ["-q", "-aq cmd", "--question cmd"])
def test_an_option_that_only_asks_is_seen(line: str) -> None:
    assert read(line)[1]


@pytest.mark.parametrize(
    "line",
    [
        "-x cmd",
        "-ax cmd",
        "--unknown cmd",
        "--al cmd",
        "--all=1 cmd",
        "--question=1",
        "--a cmd",
        "- cmd",
        "-v",
        "--value",
    ],
)
def test_an_option_that_is_not_in_the_table_is_refused(line: str) -> None:
    with pytest.raises(CommandError) as caught:
        read(line)
    assert caught.value.code == "command.wrapper"


@pytest.mark.parametrize(
    "word", [dynamic(), dynamic("-"), dynamic("a", splits=True), Word(text="*", prefix="", has_glob=True)]
)
def test_a_word_that_may_be_an_option_has_to_be_literal(word: Word) -> None:
    with pytest.raises(CommandError) as caught:
        WrapperWords((word, literal("cmd"))).read_options("it", TABLE)
    assert caught.value.code == "command.dynamic-option"


def test_a_dynamic_word_that_cannot_be_an_option_ends_the_options() -> None:
    assert option_text(dynamic("a")) == "a"
    assert not option_text(literal("")).startswith("-")


def test_the_value_of_an_option_has_to_be_literal() -> None:
    with pytest.raises(CommandError):
        WrapperWords((literal("-v"), dynamic("a"))).read_options("it", TABLE)


def test_a_literal_is_taken_as_it_is() -> None:
    assert literal_text(literal("a")) == "a"


def test_a_refusal_shows_no_more_than_the_beginning_of_a_word() -> None:
    assert len(reject("it", "x" * 1000).message) < 100


def test_no_table_has_one_option_twice() -> None:
    for table in WRAPPERS.values():
        names = [*table.flags, *table.valued, *table.asking]
        assert len(names) == len(set(names))
