"""The whole way from a line to its segments: what is found, in which order, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.command import (
    MAX_DEPTH,
    MAX_LINE_BYTES,
    MAX_SEGMENTS,
    CommandLine,
    Segment,
    Word,
    blocked_by,
    changes_directory,
    parse_command,
    program_names,
    unwrap,
    writes_and_reads,
)
from astrid.errors import CommandError

CORPORA = Path(__file__).parent.parent / "vectors" / "corpora"
BLOCKED = frozenset(("rm -rf /", "rm -rf /*", "sudo", "su", "mkfs", "dd", "chmod 777", "shutdown", "reboot", "init"))


def argvs(line: str) -> list[list[str | None]]:
    return [[word.literal for word in segment.argv] for segment in parse_command(line).segments]


def refusal(line: str) -> str:
    with pytest.raises(CommandError) as caught:
        parse_command(line)
    return caught.value.code


def corpus(name: str) -> list[dict[str, Any]]:
    return json.loads((CORPORA / name).read_text(encoding="utf-8"))["items"]


# ---- what is found ---------------------------------------------------------------------------------------------------


def test_every_command_of_a_line_is_a_segment_with_the_operator_before_it() -> None:
    segments = parse_command("a; b && c || d | e |& f & g\nh").segments
    assert [(segment.operator_before, segment.program) for segment in segments] == [
        ("", "a"),
        (";", "b"),
        ("&&", "c"),
        ("||", "d"),
        ("|", "e"),
        ("|&", "f"),
        ("&", "g"),
        ("\n", "h"),
    ]


def test_everything_before_an_ampersand_up_to_the_last_separator_runs_in_the_background() -> None:
    segments = parse_command("a; b && c | d $(e) & f").segments
    assert [segment.program for segment in segments if segment.background] == ["b", "c", "d", "e"]


def test_a_group_and_a_subshell_hold_their_commands_one_level_down() -> None:
    segments = parse_command("a && (b; { c; })").segments
    assert [(segment.program, segment.operator_before, segment.via, segment.depth) for segment in segments] == [
        ("a", "", "plain", 0),
        ("b", "&&", "subshell", 1),
        ("c", ";", "group", 2),
    ]


def test_a_segment_is_followed_by_its_substitutions_and_then_by_what_it_runs_for_others() -> None:
    segments = parse_command('x=$(a) env y="$(b)" c <(d) >"$(e)" `f`; g').segments
    assert [(segment.program, segment.via) for segment in segments] == [
        ("env", "plain"),
        ("a", "command-substitution"),
        ("b", "command-substitution"),
        ("d", "process-substitution"),
        ("f", "command-substitution"),
        ("e", "command-substitution"),
        ("c", "wrapper"),
        ("g", "plain"),
    ]


def test_a_redirection_of_a_group_follows_its_commands_as_a_segment_of_its_own() -> None:
    first, second = parse_command("{ a; } >out 2>&1").segments
    assert first.program == "a"
    assert (second.argv, [item.target.literal for item in second.redirections]) == ((), ["out", "1"])


def test_assignments_before_a_program_are_no_words_of_it() -> None:
    (segment,) = parse_command("A=1 B+=$x prog C=3").segments
    assert [(item.name, item.value.literal, item.append) for item in segment.assignments] == [
        ("A", "1", False),
        ("B", None, True),
    ]
    assert [word.literal for word in segment.argv] == ["prog", "C=3"]


def test_assignments_alone_are_a_segment_without_a_program() -> None:
    (segment,) = parse_command("A=1").segments
    assert (segment.argv, segment.program, segment.changes_directory) == ((), "", False)


def test_a_negated_pipeline_is_parsed_like_any_other() -> None:
    assert argvs("! a | b") == [["a"], ["b"]]


def test_quoting_hides_no_program() -> None:
    for spelling in ('s""udo', "'su'do", "\\sudo", "$'s\\x75do'", "{sudo,-n,a}", 'su"do"'):
        assert program_names(parse_command(f"{spelling} a"))[0] == "sudo"


def test_a_parsed_line_is_immutable_and_survives_encoding() -> None:
    command = parse_command("A=1 a $(b) >c | env d")
    assert hash(command) == hash(parse_command("A=1 a $(b) >c | env d"))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(command), type=CommandLine) == command
    with pytest.raises(AttributeError):
        command.segments = ()  # pyright: ignore[reportAttributeAccessIssue]


def test_unwrapping_a_segment_gives_what_it_runs_at_any_depth() -> None:
    segment = parse_command("env A=1 nice -n 5 bash -c 'x; (y)'").segments[0]
    assert [inner.program for inner in unwrap(segment)] == ["nice", "bash", "x", "y"]
    assert unwrap(parse_command("ls").segments[0]) == ()


def test_unwrapping_refuses_what_parsing_would_refuse() -> None:
    words = tuple(Word(text=text, prefix=text) for text in ("env", "eval"))
    with pytest.raises(CommandError):
        unwrap(Segment(argv=words))


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", "command.empty"),
        (" \n # only a remark", "command.empty"),
        ("a $( )", "command.empty"),
        ("a ;; b", "command.too-complex"),
        ("a &&", "command.syntax"),
        ("| a", "command.syntax"),
        ("a & ; b", "command.syntax"),
        ("(a", "command.syntax"),
        ("a)", "command.syntax"),
        ("{ a; )", "command.syntax"),
        ("{ a }", "command.syntax"),
        ("(a) b", "command.syntax"),
        ("! ! a", "command.too-complex"),
        ("A=1 if", "command.syntax"),
        (">f {", "command.syntax"),
        ("a | ! b", "command.too-complex"),
        ("if a; then b; fi", "command.too-complex"),
        ("for x in a; do b; done", "command.too-complex"),
        ("while a; do b; done", "command.too-complex"),
        ("case a in b) c;; esac", "command.too-complex"),
        ("[[ -f a ]]", "command.too-complex"),
        ("((1))", "command.too-complex"),
        ("time a", "command.too-complex"),
        ("coproc a", "command.too-complex"),
        ("function f { a; }", "command.too-complex"),
        ("f() { a; }", "command.too-complex"),
        ("a=(1 2)", "command.too-complex"),
        ("!(a)", "command.too-complex"),
        ("a[0]=1", "command.expansion"),
        ("$x", "command.dynamic-program"),
        ("A=1 $x b", "command.dynamic-program"),
        ("$(a)", "command.dynamic-program"),
        ("/bin/l? /", "command.dynamic-program"),
        ("~/bin/a", "command.dynamic-program"),
        ("<(a)", "command.dynamic-program"),
        ("''", "command.dynamic-program"),
        ("%1", "command.dynamic-program"),
        ("find . -exec {} +", "command.dynamic-program"),
        ("xargs -I {} {}", "command.dynamic-program"),
        ("env ''", "command.dynamic-program"),
        ("eval a", "command.builtin"),
        ("a > /dev/tcp/127.0.0.1/80", "command.network"),
        ("a < /dev/udp/$x/1", "command.network"),
        ("PATH=/x a", "command.environment"),
        ("a\rb", "command.character"),
        ("a\0b", "command.character"),
    ],
)
def test_what_cannot_be_judged_is_refused(line: str, code: str) -> None:
    assert refusal(line) == code


def test_a_refusal_for_complexity_says_what_to_do_instead() -> None:
    with pytest.raises(CommandError, match="reserved word `if`") as caught:
        parse_command("if a; then b; fi")
    assert "script file" in caught.value.advice


def test_nesting_ends_at_the_limit() -> None:
    assert parse_command("( " * MAX_DEPTH + "a" + " )" * MAX_DEPTH).segments[0].depth == MAX_DEPTH
    deeper = MAX_DEPTH + 1
    assert refusal("( " * deeper + "a" + " )" * deeper) == "command.too-deep"
    assert refusal("a " + "$(a " * deeper + ")" * deeper) == "command.too-deep"


def test_the_number_of_commands_ends_at_the_limit_also_for_what_wrappers_run() -> None:
    assert len(parse_command(";".join(["a"] * MAX_SEGMENTS)).segments) == MAX_SEGMENTS
    assert refusal(";".join(["a"] * (MAX_SEGMENTS + 1))) == "command.too-many"
    assert refusal("env " * MAX_SEGMENTS + "a") == "command.too-many"


def test_the_length_of_a_line_ends_at_the_limit_in_bytes() -> None:
    assert argvs("a " + "b" * (MAX_LINE_BYTES - 2)) == [["a", "b" * (MAX_LINE_BYTES - 2)]]
    assert refusal("a " + "b" * (MAX_LINE_BYTES - 1)) == "command.too-long"
    assert refusal("é" * (MAX_LINE_BYTES - 1)) == "command.too-long"


def test_a_negated_change_of_the_directory_is_refused() -> None:
    # What comes after it would run where the change failed.
    assert refusal("! cd there && ./a") == "command.too-complex"


FRAGMENTS = (
    "a sudo rm -rf / $x ${x} $(a) `a` ' \" \\ { } ( ) < > << <<E E >| &> 2>&1 && || ; | & ! # = A=1 ~ * ? [ ] , .. $ $'"
    ' $" $(( )) env xargs find -exec {} + bash -c cd test printf -v export time -- - {a,b} {1..3} é'
).split(" ")


@given(st.lists(st.sampled_from([*FRAGMENTS, " ", "\n", "\t", "\\\n"]), max_size=24), st.text(max_size=3))
@settings(max_examples=200)
def test_any_text_is_parsed_or_refused_and_never_fails_otherwise(fragments: list[str], tail: str) -> None:
    for separator in ("", " "):
        try:
            command = parse_command(separator.join(fragments) + tail)
        except CommandError as error:
            assert error.code.startswith("command.")
            continue
        assert 0 < len(command.segments) <= MAX_SEGMENTS
        assert all(word.literal == word.text for item in command.segments for word in item.argv if word.literal)
        assert program_names(command) or not any(item.argv for item in command.segments)
        blocked_by(command, BLOCKED)
        writes_and_reads(command)
        changes_directory(command)
        for segment in command.segments:
            unwrap(segment)


# ---- what others collected -------------------------------------------------------------------------------------------

NAMES_BLOCKED = re.compile(r"\b(?:sudo|mkfs|dd|shutdown|reboot|init)\b|\brm\s+(?:-\w+\s+)+/(?:\s|$|\*)|\bchmod\s+777\b")

# Labelled harmless by another project, and refused or blocked here.
STRICTER = {
    "$(echo hello)",
    "`echo hello`",
    "$(echo ls)",
    "`echo pwd`",
    "",
    "   ",
    "sudo git status",
    "hash git",
    "hash rm",
    "hash -t git",
    "if command -v git >/dev/null; then echo found; fi",
    "rm -rf $TMPDIR/build",
    "rm -rf ${TMPDIR}/build",
    "rm -rf ${TMPDIR:-/tmp}/build",
    "GIT_DIR=/home/user echo $GIT_DIR",
}


def verdict(line: str) -> str | None:
    try:
        return blocked_by(parse_command(line), BLOCKED)
    except CommandError as error:
        return error.code


def test_every_line_labelled_dangerous_that_names_a_blocked_program_is_refused_or_blocked() -> None:
    lines = [item["command"] for item in corpus("shell_dcg_labelled.json") if item["expected"] == "deny"]
    named = [line for line in lines if NAMES_BLOCKED.search(line)]
    assert len(named) > 10
    assert [line for line in named if verdict(line) is None] == []


def test_lines_labelled_harmless_pass_but_for_the_known_exceptions() -> None:
    lines = [item["command"] for item in corpus("shell_dcg_labelled.json") if item["expected"] == "allow"]
    assert {line for line in lines if verdict(line) is not None} == STRICTER


def test_every_collected_injection_is_parsed_or_refused() -> None:
    lines = [item["payload"] for item in corpus("shell_command_injection_patt.json")]
    assert {verdict(f"ping -c 1 {line}") is None for line in lines} == {True, False}


def test_a_collected_injection_hides_no_command_behind_the_one_it_is_put_into() -> None:
    for payload in (";id", "|id", "& id", "&& id", "`id`", "$(id)", "|| id", "\nid", "x;id;", "x|id|cat"):
        assert "id" in program_names(parse_command(f"ping {payload}"))
