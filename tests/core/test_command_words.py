"""Braces, tildes, globs and assignments."""

from __future__ import annotations

import pytest

from astrid.core.command_lexer import Lexer
from astrid.core.command_model import MAX_BRACE_WORDS, Budget, CommandLine, Dialect, Via, Word
from astrid.core.command_tokens import RawWord
from astrid.core.command_words import (
    document_word,
    expand_braces,
    has_braces,
    make_word,
    parse_assignment,
    single_word,
)
from astrid.errors import CommandError


def raw(text: str) -> RawWord:
    def nested(text: str, position: int, closing: str, via: Via, heredocs: bool) -> tuple[CommandLine, int]:
        return CommandLine(segments=()), text.index(closing, position) + 1

    word = Lexer(text, 0, dialect="bash", heredocs=False, nested=nested).next().word
    assert word is not None
    return word


def word(text: str) -> Word:
    return make_word(raw(text))


def braces(text: str, dialect: Dialect = "bash") -> list[str | None]:
    return [make_word(item).text for item in expand_braces(raw(text), dialect, Budget())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a{b,c}d", ["abd", "acd"]),
        ("{a,b}{1,2}", ["a1", "a2", "b1", "b2"]),
        ("x{a,}", ["xa", "x"]),
        ("{1..3}", ["1", "2", "3"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{-1..1}", ["-1", "0", "1"]),
        ("{7..7}", ["7"]),
        ("{a..c}", ["a", "b", "c"]),
        ("{C..A}", ["C", "B", "A"]),
        ("{a..b,c}", ["a..b", "c"]),
        ("*.{a,b}", ["*.a", "*.b"]),
        ("{}", ["{}"]),
        ("{a}", ["{a}"]),
        ("{a,b", ["{a,b"]),
        ("a,b}", ["a,b}"]),
        ("}a,b{", ["}a,b{"]),
        ("a@{1}", ["a@{1}"]),
        ("\\{a,b\\}", ["{a,b}"]),
        ("'{a,b}'", ["{a,b}"]),
        ("{'a'}", ["{a}"]),
        ("${a},{b}", [None]),
    ],
)
def test_braces_expand_exactly_or_stay(text: str, expected: list[str | None]) -> None:
    assert braces(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{a,{b,c}}",
        "{a,'b'}",
        "{a','b}",
        "{$x,b}",
        "~/{a,b}",
        "{01..3}",
        "{1..9..2}",
        "{a..Z}",
        "{1..a}",
        "{1000..1001}",
        "{a}{b,c}",
        "{,}",
        "{a,é}",
        "\\${a,b}",
    ],
)
def test_braces_that_are_not_plain_are_refused(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        braces(text)
    assert caught.value.code == "command.expansion"


def test_braces_are_refused_where_not_every_shell_expands_them() -> None:
    assert braces("{a}", "posix") == ["{a}"]
    with pytest.raises(CommandError) as caught:
        braces("{a,b}", "posix")
    assert caught.value.code == "command.expansion"


@pytest.mark.parametrize("text", ["{1..300}", "{1..99}{1..99}{1..99}" * 50, "{a,b}" * 5000])
def test_braces_that_make_too_many_words_are_refused_at_once(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        braces(text)
    assert caught.value.code == "command.too-many"


def test_the_words_of_all_braces_in_a_line_count() -> None:
    budget = Budget()
    expand_braces(raw(f"{{1..{MAX_BRACE_WORDS - 1}}}"), "bash", budget)
    with pytest.raises(CommandError):
        expand_braces(raw("{1..2}"), "bash", budget)


@pytest.mark.parametrize("text", ["a", "a~", "[", "'*'", "\\*", "'~'", "a:b=c", "$", "a'?'", "{}", "!", "^", "-"])
def test_a_word_in_which_nothing_expands_is_literal(text: str) -> None:
    assert word(text).literal == text.replace("'", "").replace("\\", "")
    assert word(text).prefix == word(text).literal


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("*", ""), ("a*b", "a"), ("a?", "a"), ("a[b]", "a"), ("a[", "a"), ("'*'*", "*"), ("[a", "")],
)
def test_a_word_with_a_glob_is_not_literal_and_may_become_several(text: str, prefix: str) -> None:
    found = word(text)
    assert (found.literal, found.has_glob, found.splits, found.prefix) == (None, True, True, prefix)
    assert found.text == text.replace("'", "")


@pytest.mark.parametrize(("text", "prefix"), [("~", ""), ("~/a", ""), ("~a", ""), ("a=~", "a="), ("a=b:~/c", "a=b:")])
def test_a_word_with_a_tilde_is_not_literal_and_stays_one(text: str, prefix: str) -> None:
    found = word(text)
    assert (found.literal, found.has_tilde, found.splits, found.prefix) == (None, True, False, prefix)


@pytest.mark.parametrize(
    ("text", "prefix", "suffix", "splits"),
    [
        ("a$b", "a", "", True),
        ('a"$b"c', "a", "c", False),
        ('"$a/b"', "", "/b", False),
        ('"$a"b"$c"d', "", "d", False),
        ('"a$@"', "a", "", True),
        ('"$a"*', "", "", True),
        ("*$a", "", "", True),
        ('~"$a"', "", "", False),
        ("`a`", "", "", True),
        ('"$(a)"', "", "", False),
        ("<(a)", "", "", False),
        ("$((1))", "", "", True),
    ],
)
def test_of_a_dynamic_word_both_ends_are_known(text: str, prefix: str, suffix: str, *, splits: bool) -> None:
    found = word(text)
    assert (found.text, found.literal, found.has_expansion) == (None, None, True)
    assert (found.prefix, found.suffix, found.splits) == (prefix, suffix, splits)


def test_a_word_keeps_the_commands_in_it() -> None:
    assert len(word("$(a)`b`").substitutions) == 2


@pytest.mark.parametrize(
    ("text", "name", "value", "append"),
    [
        ("a=", "a", "", False),
        ("a=b=c", "a", "b=c", False),
        ("_A1='b c'", "_A1", "b c", False),
        ("a+=b", "a", "b", True),
    ],
)
def test_a_name_and_an_equals_sign_assign(text: str, name: str, value: str, *, append: bool) -> None:
    found = parse_assignment(raw(text), "bash")
    assert found is not None
    assert (found.name, found.value.literal, found.append) == (name, value, append)


@pytest.mark.parametrize(
    "text", ["a", "=a", "1a=b", "'a'=b", "a'='b", "a\\=b", "$a=b", "é=b", "a-b=c", "a++=b", "[", "'a'[0]=1"]
)
def test_nothing_else_assigns(text: str) -> None:
    assert parse_assignment(raw(text), "bash") is None


def test_a_value_may_be_dynamic() -> None:
    found = parse_assignment(raw("a=~/b$(c)"), "bash")
    assert found is not None
    assert (found.value.literal, found.value.has_tilde, len(found.value.substitutions)) == (None, True, 1)


@pytest.mark.parametrize("text", ["a[0]=b", "a[", "a={b,c}"])
def test_an_assignment_that_is_not_plain_is_refused(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_assignment(raw(text), "bash")
    assert caught.value.code == "command.expansion"


def test_appending_is_refused_where_not_every_shell_can() -> None:
    with pytest.raises(CommandError) as caught:
        parse_assignment(raw("a+=b"), "posix")
    assert caught.value.code == "command.not-portable"
    assert parse_assignment(raw("a=b"), "posix") is not None


def test_braces_are_refused_where_one_word_is_expected() -> None:
    assert single_word(raw("{a}")).literal == "{a}"
    assert has_braces(raw("{a,b}"))
    with pytest.raises(CommandError) as caught:
        single_word(raw("{a,b}"))
    assert caught.value.code == "command.expansion"


def test_the_body_of_a_here_document_is_never_a_pattern() -> None:
    found = RawWord()
    found.quoted("~ * {a,b}")
    assert document_word(found).literal == "~ * {a,b}"
    found.dynamic(splits=True)
    assert (document_word(found).literal, document_word(found).prefix) == (None, "~ * {a,b}")
    assert not document_word(found).splits
