"""Raw words: what a character stands for, beside how it was spelled."""

from __future__ import annotations

from astrid.core.command_model import CommandLine, Segment
from astrid.core.command_tokens import DYNAMIC, QUOTED, SPLITTING, RawWord, Token


def test_values_and_shape_stay_of_one_length() -> None:
    raw = RawWord()
    raw.plain("a")
    raw.quoted("bc")
    raw.quoted("")
    raw.dynamic(splits=True)
    raw.dynamic(splits=False)
    assert raw.shape == f"a{QUOTED}{QUOTED}{QUOTED}{SPLITTING}{DYNAMIC}"
    assert raw.values == ["a", "b", "c", "", "", ""]


def test_a_quoted_character_never_has_the_shape_of_an_unquoted_one() -> None:
    quoted, plain = RawWord(), RawWord()
    quoted.quoted("if")
    plain.plain("i")
    plain.plain("f")
    assert (plain.shape, quoted.values) == ("if", ["i", "f"])
    assert quoted.shape != plain.shape


def test_an_expansion_keeps_the_commands_in_it() -> None:
    inner = CommandLine(segments=(Segment(),))
    raw = RawWord()
    raw.dynamic(splits=True, substitution=inner)
    raw.dynamic(splits=True)
    assert raw.substitutions == [inner]


def test_a_token_is_an_operator_or_a_word() -> None:
    operator = Token(">", "2>", fd=2)
    word = Token("", "a", word=RawWord())
    assert (operator.text, operator.source, operator.fd, operator.word) == (">", "2>", 2, None)
    assert word.word is not None
