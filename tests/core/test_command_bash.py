"""The invariant, against Bash itself: what is found in a line is what Bash runs for it."""

from __future__ import annotations

import subprocess
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.command import Word, parse_command
from astrid.errors import CommandError

BASH = ("bash", "--noprofile", "--norc", "-c")
# Each program that is not found says what it was called with, and succeeds.
SAY = 'say() { printf \'%s\\0\' "$#" "$@" >&9; }; exec 9>&1\n'
NOT_FOUND = SAY.replace("say()", "command_not_found_handle()")


def ran(script: str) -> list[list[str]]:
    """What the programs were called with, in any order."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*BASH, script],
            cwd=folder,
            env={"PATH": "/nonexistent", "LC_ALL": "C.UTF-8", "HOME": "/home/u", "x": "v w"},
            executable="/bin/bash",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    assert b"syntax error near" not in done.stderr, done.stderr
    assert b"unexpected EOF" not in done.stderr, done.stderr
    fields = done.stdout.decode().split("\0")[:-1]
    calls: list[list[str]] = []
    while fields:
        count = int(fields[0])
        calls.append(fields[1 : count + 1])
        fields = fields[count + 1 :]
    return calls


def matches(words: tuple[Word, ...], argv: list[str]) -> bool:
    if not words:
        return not argv
    first = words[0]
    if first.splits:
        return any(matches(words[1:], argv[count:]) for count in range(len(argv) + 1))
    if not argv or (first.literal not in (None, argv[0])):
        return False
    return (first.has_tilde or argv[0].startswith(first.prefix)) and matches(words[1:], argv[1:])


PIECES = [
    *"a 1 ab -n -- = x=1 é % ^ @ : , .. ~ ! # { } {} {a {a,b} {1..3} {c..a} {-1..1} {x,y}{1,2}".split(),
    *"a{,z} }{ [ ] *z ?z".split(),
    *"$ a$ \\\\ \\$ \\\" \\' \\{ a#b $x ${x} ${#x} ${y:-e} $((1+(2))) $'\\t' $'\\x41\\101\\q' $'\\'' $'a\\\\'".split(),
    *("\\ ", "''", "'q q'", "'\"'", "'$x'", "'a\nb'"),
    *(
        '""',
        '"d d"',
        '"\'"',
        '"\\$"',
        '"\\\\"',
        '"\\a"',
        '"$"',
        "\"$'x'\"",
        '"`:`"',
        '"a\\\nb"',
        '"$x"',
        '"$@"',
        '"${x%%v*}"',
    ),
]
WORDS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)


@given(st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=20, max_size=20))
@settings(max_examples=60)
def test_a_literal_word_is_the_argument_that_bash_passes(commands: list[list[str]]) -> None:
    expected: list[tuple[Word, ...]] = []
    script = ""
    for words in commands:
        line = " ".join(["say", *words])
        try:
            (segment,) = (item for item in parse_command(line).segments if item.program == "say")
        except CommandError:
            continue
        script += f"{line}\n"
        expected.append(segment.argv[1:])
    calls = ran(SAY + script)
    assert len(calls) == len(expected)
    assert [(words, call) for words, call in zip(expected, calls, strict=True) if not matches(words, call)] == []


NAMES = st.sampled_from(("p", "q r", "'s t'", "u{1,2}", 'v "$x"', "w $x", "A=1 k", "command m", "{n,o}"))
TAILS = st.sampled_from(
    ("", "", " >f", " 2>&1", " &>f", " <<<a", " 3>&1", " <<E\n$(h1) \\$(z)\nE", " <<'E'\n$(z)\nE", " # z; z", " \\\n y")
)
SIMPLE = st.tuples(NAMES, TAILS).map("".join)


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    joined = st.tuples(
        inner, st.sampled_from((" && ", "; ", " | ", "|&", "\n", " &\n", "&", " \\\n&& ", "&&\n\n")), inner
    )
    wrapped = st.sampled_from(
        (
            "({})",
            "{{ {}\n}}",
            "! {}",
            "p $({}\n)",
            'p "$({}\n)"',
            "p <({}\n)",
            "p `{}\n`",
            "p `p; {}`",
            "p; {}",
            "({}) >f",
        )
    )
    return joined.map("".join) | st.tuples(wrapped, inner).map(lambda pair: pair[0].format(pair[1]))


@given(st.recursive(SIMPLE, compound, max_leaves=5))
@settings(max_examples=120)
def test_bash_runs_the_commands_that_were_found_and_no_others(line: str) -> None:
    try:
        segments = [item for item in parse_command(line).segments if item.argv and item.program != "command"]
    except CommandError:
        return
    calls = ran(NOT_FOUND + line)
    strangers = [call for call in calls if not any(matches(item.argv, call) for item in segments)]
    assert strangers == []
    if "!" not in line:
        assert len(calls) == len(segments)
