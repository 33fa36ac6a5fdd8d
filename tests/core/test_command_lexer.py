"""Where tokens begin and end, and what is refused because shells differ about it."""

from __future__ import annotations

import pytest

from astrid.core.command_lexer import Lexer
from astrid.core.command_model import Budget, CommandLine, Dialect, Segment, Via, Word
from astrid.core.command_parser import parse_script
from astrid.core.command_tokens import DYNAMIC, QUOTED, SPLITTING
from astrid.errors import CommandError

INNER = CommandLine(segments=(Segment(),))


def lexer(text: str, dialect: Dialect = "bash") -> Lexer:
    def nested(text: str, position: int, closing: str, via: Via, heredocs: bool) -> tuple[CommandLine, int]:
        return INNER, text.index(closing, position) + 1

    return Lexer(text, 0, dialect=dialect, heredocs=True, nested=nested)


def tokens(text: str, dialect: Dialect = "bash") -> list[str]:
    """Each operator with its descriptor, and the shape of each word with ``q``, ``d`` and ``s`` for the marks."""
    found: list[str] = []
    reader = lexer(text, dialect)
    while True:
        token = reader.next()
        if token.word is not None:
            found.append(token.word.shape.replace(QUOTED, "q").replace(DYNAMIC, "d").replace(SPLITTING, "s"))
        elif token.text:
            found.append(f"{'' if token.fd is None else token.fd}{token.text}")
        else:
            return found


def refusal(text: str, dialect: Dialect = "bash") -> str:
    with pytest.raises(CommandError) as caught:
        tokens(text, dialect)
    return caught.value.code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t a  b\t", ["a", "b"]),
        ("a&&b||c;d|e|&f&g\nh", ["a", "&&", "b", "||", "c", ";", "d", "|", "e", "|&", "f", "&", "g", "\n", "h"]),
        ("(a) (b)", ["(", "a", ")", "(", "b", ")"]),
        ("a>b", ["a", ">", "b"]),
        ("a 2>b", ["a", "2>", "b"]),
        ("a2>b", ["a2", ">", "b"]),
        ('"2">b', ["qq", ">", "b"]),
        ("100>b", ["100>", "b"]),
        ("< << <<- <<< <> <& > >> >| >& &> &>>", "< << <<- <<< <> <& > >> >| >& &> &>>".split()),
        ("2>&1", ["2>&", "1"]),
        ("a #b c\n#d\ne#f", ["a", "\n", "\n", "e#f"]),
        ("a;#b", ["a", ";"]),
        ("a \\\n b", ["a", "b"]),
        ("a \\\n\\\n# c\nb", ["a", "\n", "b"]),
        ("'a b'c", ["qqqc"]),
        ("''", ["q"]),
        ('""', ["q"]),
        ('"a\\\nb"', ["qqq"]),
        ('"\\$\\`\\"\\\\"', ["qqqqq"]),
        ('"\\a"', ["qqq"]),
        ("\\a\\ ", ["qq"]),
        ("$a $1 $? ${a} ${a[@]} ${a[0]} ${#a} ${a:-b} ${a%%*} ${@}", ["s"] * 10),
        ('"$a" "$1" "${a}"', ["qd"] * 3),
        ('"$@" "${@}" "${a[@]}"', ["qs"] * 3),
        ('$((1+(2))) "$((1))"', ["s", "qd"]),
        ('$(a) "$(a)" `a` "`a`" <(a) >(a)', ["s", "qd", "s", "qd", "d", "d"]),
        ("$ a$ $/ $.", ["$", "a$", "$/", "$."]),
        ('"$" "$\'" "$\\a" "$."', ["qq", "qqq", "qqqq", "qqq"]),
        ("$'a\\n\\'b'", ["qqqqq"]),
        ('$$x $$ $$"a"', ["sx", "s", "sqq"]),
        ("a{b,c} {d", ["a{b,c}", "{d"]),
        ("{a b}>c", ["{a", "b}", ">", "c"]),
    ],
)
def test_a_line_is_cut_as_bash_cuts_it(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("'a", "command.syntax"),
        ('"a', "command.syntax"),
        ("$'a", "command.syntax"),
        ("`a", "command.syntax"),
        ("a\\", "command.syntax"),
        ("a\\\nb", "command.syntax"),  # glued by the shell, but easily misread
        (";\\\n;", "command.syntax"),
        ("a;;", "command.too-complex"),
        ("a;&", "command.too-complex"),
        ("((1))", "command.too-complex"),
        ("f()", "command.too-complex"),
        ("a=(1)", "command.too-complex"),
        ("!(a)", "command.too-complex"),
        ("@(a|b)", "command.too-complex"),
        ("1000>a", "command.redirection"),
        ("01>a", "command.redirection"),
        ("2<(a)", "command.redirection"),
        ("a<(b)", "command.redirection"),
        ("a>(b)", "command.redirection"),
        ("{a}>b", "command.redirection"),
        ("<(a)b", "command.expansion"),
        ('$"a"', "command.expansion"),
        ("$[1]", "command.expansion"),
        ("$é", "command.expansion"),
        ("$\\\na", "command.expansion"),
        ('"$\\\na"', "command.expansion"),
        ("${!a}", "command.expansion"),
        ("${a@P}", "command.expansion"),
        ("${a:1}", "command.expansion"),
        ("${a:-$(b)}", "command.expansion"),
        ("${a:=b}", "command.expansion"),
        ("${a/b/c}", "command.expansion"),
        ("${a[$b]}", "command.expansion"),
        ("${ a; }", "command.expansion"),
        ("$((a))", "command.expansion"),
        ("$(($(a)))", "command.expansion"),
        ("$(( 1 ) )", "command.expansion"),
        ("`a \\`b\\``", "command.expansion"),
        ("$'\\xff'", "command.expansion"),
        ('"$$(a)"', "command.expansion"),
        ('"$${a}"', "command.expansion"),
        ("$$$a", "command.expansion"),
    ],
)
def test_what_shells_read_differently_is_refused(text: str, code: str) -> None:
    assert refusal(text) == code


@pytest.mark.parametrize("text", ["a |& b", "a &>b", "a &>>b", "a <<<b", "a <(b)", "a >(b)", "$'a'"])
def test_what_only_bash_understands_is_refused_for_another_shell(text: str) -> None:
    assert refusal(text, "posix") == "command.not-portable"


@pytest.mark.parametrize(("text", "code"), [("10>a", "command.redirection"), ("${a[0]}", "command.expansion")])
def test_what_another_shell_reads_otherwise_is_refused_for_it(text: str, code: str) -> None:
    assert tokens(text)
    assert refusal(text, "posix") == code


def test_what_every_shell_understands_is_cut_alike() -> None:
    text = 'a "$b" ${c:-d} 2>&1 <<E && $((1)) `e`'
    assert tokens(text, "posix") == tokens(text)


# ---- here-documents --------------------------------------------------------------------------------------------------


def body(text: str) -> Word:
    segments = parse_script(text, dialect="bash", via="plain", depth=0, budget=Budget())
    return segments[0].redirections[0].target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <<E\nx 'y' \"z\"\nE", "x 'y' \"z\"\n"),
        ("a <<E\nE\n", ""),
        ("a << E && b\nx\nE\nc", "x\n"),
        ("a <<'E'\n$x `y` \\\n$(\nE\n", "$x `y` \\\n$(\n"),
        ('a <<"E F"\n$x\nE F\n', "$x\n"),
        ("a <<\\E\n$x\nE\n", "$x\n"),
        ("a <<-E\n\t\tx\n\t y\n\tE\n", "x\n y\n"),
        ('a <<E\n\\$x \\` \\\\ \\a \\"\nE\n', '$x ` \\ \\a \\"\n'),
        ("a <<E\nE \nE", "E \n"),
    ],
)
def test_a_here_document_is_what_bash_would_read(text: str, expected: str) -> None:
    assert body(text).literal == expected


def test_what_a_here_document_expands_is_dynamic_and_its_commands_are_found() -> None:
    word = body("a <<E\nx $(b) ${c}\nE")
    assert (word.literal, word.prefix, word.splits) == (None, "x ", False)
    segments = parse_script("a <<E\nx $(b)\nE", dialect="bash", via="plain", depth=0, budget=Budget())
    assert [segment.program for segment in segments] == ["a", "b"]


def test_two_here_documents_of_a_line_follow_each_other() -> None:
    segments = parse_script("a <<A; b <<B\n1\nA\n2\nB\nc", dialect="bash", via="plain", depth=0, budget=Budget())
    assert [item.redirections[0].target.literal for item in segments[:2]] == ["1\n", "2\n"]
    assert segments[2].program == "c"


def test_a_here_document_may_stand_in_a_substitution() -> None:
    segments = parse_script(
        "a \"$(b <<'E'\nit's ) \" `\nE\n)\" c", dialect="bash", via="plain", depth=0, budget=Budget()
    )
    assert [segment.program for segment in segments] == ["a", "b"]
    assert segments[1].redirections[0].target.literal == "it's ) \" `\n"


@pytest.mark.parametrize(
    "text",
    [
        "a <<E",
        "a <<E\nx",
        "a <<E\nx\n E",
        "a <<''\nx\n\n",
        "a <<$x\nx\n$x",
        "a <<$'E'\nx\nE",
        "a <<E\nx\\\nE\nE",  # the shell joins the lines before it looks for the end
        "a <<E 'x\ny'\nz\nE",
        "a <<E $(b\n)\nz\nE",
        "a <<E \\\nb\nz\nE",
        "a $(b <<E)\nx\nE",
        "a `b <<E\nx\nE\n`",
        "a <<E\n$(b <<F\nx\nF\n)\nE",
        'a <<"E\nF"\nx\nE\nF',
    ],
)
def test_a_here_document_that_versions_of_bash_read_differently_is_refused(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        body(text)
    assert caught.value.code == "command.heredoc"


def test_a_here_document_needs_a_delimiter() -> None:
    with pytest.raises(CommandError) as caught:
        body("a << ;")
    assert caught.value.code == "command.syntax"
