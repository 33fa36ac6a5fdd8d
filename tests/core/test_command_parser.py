"""Lists, pipelines, groups and redirections, and the places in which Bash would not accept them."""

from __future__ import annotations

import pytest

from astrid.core.command_model import Budget, Dialect, Redirection, Segment, Word
from astrid.core.command_parser import parse_script, settle
from astrid.errors import CommandError


def parsed(line: str, dialect: Dialect = "bash") -> tuple[Segment, ...]:
    return parse_script(line, dialect=dialect, via="plain", depth=0, budget=Budget())


def refusal(line: str, dialect: Dialect = "bash") -> str:
    with pytest.raises(CommandError) as caught:
        parsed(line, dialect)
    return caught.value.code


def redirections(line: str) -> list[tuple[int, str, str | None]]:
    (segment,) = parsed(line)
    return [(item.fd, item.operator, item.target.literal) for item in segment.redirections]


@pytest.mark.parametrize(
    ("line", "programs"),
    [
        ("a", "a"),
        ("a;", "a"),
        ("a &", "a"),
        ("\n\na\n\n", "a"),
        ("a;\n\n# c\nb", "a b"),
        ("a &&\n\n b ||\n c |\n d", "a b c d"),
        ("! a", "a"),
        ("a && ! b", "a b"),
        ("{ a; }", "a"),
        ("{ a & }", "a"),
        ("{\na\n}", "a"),
        ("{ (a) }", "a"),
        ("{ { a; } }", "a"),
        ("(a)", "a"),
        ("( (a); b )", "a b"),
        ("(a) | (b)", "a b"),
        ("(a) && { b; } & c", "a b c"),
        ("a $(b; c | d)", "a b c d"),
        ("a $(b $(c))", "a b c"),
        ("a `b`", "a b"),
        ("a $(b # )\n)", "a b"),
        ('a "$(b " ")" c', "a b"),
        ("a } ]] then { !", "a"),
        (">f a", "a"),
        ("A=1 B=2 a", "a"),
        ("in'' a", "in"),
        ("'if' a", "if"),
    ],
)
def test_the_programs_of_a_list_are_found_in_order(line: str, programs: str) -> None:
    assert [segment.program for segment in parsed(line)] == programs.split()


@pytest.mark.parametrize(
    "line",
    [
        ";",
        "&",
        "&& a",
        "a ;; b",
        "a && && b",
        "a | | b",
        "a & & b",
        "a &&",
        "a |\n",
        "!",
        "! ;",
        "(",
        ")",
        "()",
        "( )",
        "a (b)",
        "(a)(b)",
        "(a) b",
        "{ a; } b",
        "{ a;",
        "{ ; }",
        "}",
        "a; }",
        "(a;",
        "(a }",
        "a $(b",
        "a >",
        "a > ;",
        "a > > b",
        "a 2> 3> b",
        "a >2>b",
        "{ a; } >",
        "A=1 then",
        ">f }",
    ],
)
def test_what_bash_would_not_accept_is_refused(line: str) -> None:
    assert refusal(line) in {"command.syntax", "command.too-complex", "command.empty"}


def test_a_refusal_says_what_was_not_expected() -> None:
    with pytest.raises(CommandError, match="unexpected `b`"):
        parsed("(a) b")
    with pytest.raises(CommandError, match="unexpected end"):
        parsed("a &&")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a <b", [(0, "<", "b")]),
        ("a >b", [(1, ">", "b")]),
        ("a >>b", [(1, ">>", "b")]),
        ("a >|b", [(1, ">|", "b")]),
        ("a <>b", [(0, "<>", "b")]),
        ("a 3<b 4>c", [(3, "<", "b"), (4, ">", "c")]),
        ("a &>b", [(1, "&>", "b")]),
        ("a &>>b", [(1, "&>>", "b")]),
        ("a >&b", [(1, ">&", "b")]),
        ("a 2>&1", [(2, ">&", "1")]),
        ("a >&2", [(1, ">&", "2")]),
        ("a <&3", [(0, "<&", "3")]),
        ("a 2>&-", [(2, ">&", "-")]),
        ("a 3<&4-", [(3, "<&", "4-")]),
        ("a 10>&12", [(10, ">&", "12")]),
        ("a <<<b", [(0, "<<<", "b")]),
        ("a <<<'/dev/tcp/x'", [(0, "<<<", "/dev/tcp/x")]),
        ("a <<E\nb\nE", [(0, "<<", "b\n")]),
        ("a 3<<-E\n\tb\n\tE", [(3, "<<-", "b\n")]),
        ("a > $b", [(1, ">", None)]),
        ("a > *", [(1, ">", None)]),
        ("a > ~/b", [(1, ">", None)]),
        ("a > >(b)", [(1, ">", None)]),
    ],
)
def test_a_redirection_has_its_descriptor_operator_and_target(
    line: str, expected: list[tuple[int, str, str | None]]
) -> None:
    segment = parsed(line)[0]
    assert [(item.fd, item.operator, item.target.literal) for item in segment.redirections] == expected
    assert segment.program == "a"


def test_redirections_may_stand_before_between_and_without_words() -> None:
    assert redirections("<a b >c d 2>e") == [(0, "<", "a"), (1, ">", "c"), (2, ">", "e")]
    assert redirections(">a") == [(1, ">", "a")]


def test_a_redirection_of_a_compound_is_kept_where_the_compound_stands() -> None:
    segments = parsed("(a; { b; } >c) 2>d")
    assert [(item.program, item.depth, item.via) for item in segments] == [
        ("a", 1, "subshell"),
        ("b", 2, "group"),
        ("", 1, "subshell"),
        ("", 0, "plain"),
    ]
    assert [item.redirections[0].target.literal for item in segments[2:]] == ["c", "d"]


def test_a_redirection_of_a_compound_may_run_a_command() -> None:
    assert [item.program for item in parsed("(a) >$(b)")] == ["a", "", "b"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("a >&$x", "command.redirection"),
        ("a <&b", "command.redirection"),
        ("a 2>&b", "command.redirection"),
        ("a >&1x", "command.redirection"),
        ("a >&1000", "command.redirection"),
        ("a >&''", "command.redirection"),
        ("a >&-x", "command.redirection"),
        ("a >&*", "command.redirection"),
        ("a > {b,c}", "command.expansion"),
        ("a > /dev/tcp/1.1.1.1/1", "command.network"),
        ("a > '/dev/udp/1.1.1.1/1'", "command.network"),
        ('a > "/dev/tcp/$b"', "command.network"),
        ("a <<E", "command.heredoc"),
    ],
)
def test_a_redirection_that_is_not_plain_is_refused(line: str, code: str) -> None:
    assert refusal(line) == code


@pytest.mark.parametrize("line", ["a >&b", "a 2>&1-", "a 2>&10"])
def test_a_redirection_that_only_bash_understands_is_refused_for_another_shell(line: str) -> None:
    assert parsed(line)
    assert refusal(line, "posix") == "command.redirection"


@pytest.mark.parametrize("line", ["a 2>&1", "a >&-", "a >|b <>c", "A=1 a $(b) `c` && { d; } & e"])
def test_what_every_shell_understands_is_parsed_alike(line: str) -> None:
    assert parsed(line, "posix") == parsed(line)


def test_a_script_is_checked_for_characters_before_it_is_parsed() -> None:
    assert refusal("bash -c $'a \\r b'") == "command.character"
    assert refusal("bash -c $'a \\x01 b'") == "command.character"


def test_a_script_given_to_a_shell_is_parsed_one_level_down_in_its_own_dialect() -> None:
    segments = parsed("bash -c '{a,b}; (c)' x; sh -c 'd'")
    assert [(item.program, item.depth, item.via) for item in segments] == [
        ("bash", 0, "plain"),
        ("a", 1, "wrapper"),
        ("c", 2, "subshell"),
        ("sh", 0, "plain"),
        ("d", 1, "wrapper"),
    ]
    assert refusal("sh -c '{a,b}'") == "command.expansion"


def test_settling_counts_and_checks_every_segment() -> None:
    words = tuple(Word(text=text, prefix=text) for text in ("nohup", "env", "a"))
    assert [item.program for item in settle(Segment(argv=words), Budget())] == ["nohup", "env", "a"]
    with pytest.raises(CommandError):
        settle(Segment(argv=(*words[:2], Word(text="eval", prefix="eval"))), Budget())
    assert settle(Segment(redirections=(Redirection(fd=1, operator=">", target=words[0]),)), Budget())
