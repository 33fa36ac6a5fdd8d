"""INVARIANT: what is approved of a shell line is what the shell runs: each call it makes is one that was found in it.

The judge is Bash itself, which runs each accepted line in an empty folder with programs that write down how they were
called.  Lines come from a grammar of everything a line can hold, most of which has to be refused, and from edits of
such lines, character by character.
"""

from __future__ import annotations

import atexit
import re
from contextlib import ExitStack
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from astrid.core.command import CommandLine, Word, blocked_by, parse_command, program_names, writes_and_reads
from astrid.errors import CommandError
from tests.fakes.real_bash import Bash, real_bash

GRAMMAR = Path(__file__).with_name("shell_grammar.txt").read_text("utf-8").rstrip("\n")


def section(name: str) -> tuple[str, ...]:
    """One part of the grammar; what stands for other characters has become those."""
    part = GRAMMAR.partition(f"== {name}\n")[2].partition("\n== ")[0]
    plain = (line.replace("↵", "\n").replace("␠", " ") for line in part.split("\n"))
    return tuple(re.sub("⟨([0-9A-F]+)⟩", lambda code: chr(int(code[1], 16)), line) for line in plain)


def filled(drawn: tuple[str, ...]) -> str:
    """A template with what was drawn in its places."""
    return drawn[0].replace("¹", drawn[1]).replace("²", drawn[-1])


WORDS, JOINS, EDITS = section("words"), section("joins"), section("edits")
glued = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("".join)
command = st.tuples(st.sampled_from(section("commands")), glued, glued).map(filled)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    joined = st.tuples(inner, st.sampled_from(JOINS), inner).map("".join)
    wrapped = st.tuples(st.sampled_from(section("wraps")), inner).map(filled)
    return joined | wrapped


written = st.recursive(command, larger, max_leaves=4)


@st.composite
def edited(draw: st.DrawFn) -> str:
    """A line with a few characters put in, taken out or doubled."""
    line = draw(written)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line)))
        match draw(st.integers(0, 2)):
            case 0:
                line = line[:at] + draw(st.sampled_from(EDITS)) + line[at:]
            case 1:
                line = line[:at] + line[at + 1 :]
            case _:
                line = line[:at] + line[max(0, at - 3) : at] + line[at:]
    return line


lines = edited().filter(lambda line: "/bin" not in line and "\0" not in line)


def matches(words: tuple[Word, ...], argv: tuple[str, ...]) -> bool:
    """Whether the words may have become these arguments."""
    if not words:
        return not argv
    first = words[0]
    if first.splits:
        return any(matches(words[1:], argv[count:]) for count in range(len(argv) + 1))
    if not argv or first.literal not in (None, argv[0]):
        return False
    fits = first.has_tilde or (argv[0].startswith(first.prefix) and argv[0].endswith(first.suffix))
    return fits and matches(words[1:], argv[1:])


def is_one_word(name: str) -> bool:
    """Whether the name of a program can be an entry of the blocked commands: an entry is split at white space."""
    return name.split() == [name]


def parsed(line: str) -> CommandLine | None:
    try:
        return parse_command(line)
    except CommandError as error:
        assert error.code.startswith("command.")
        return None


class Judge:
    """One Bash for the whole process; the folder goes when the process does."""

    bash: Bash | None = None

    @classmethod
    def of_this_process(cls) -> Bash:
        if cls.bash is None:
            stack = ExitStack()
            cls.bash = stack.enter_context(real_bash())
            atexit.register(stack.close)
        return cls.bash


@given(lines)
def test_bash_runs_nothing_that_was_not_found_in_the_line(line: str) -> None:
    found = parsed(line)
    if found is None:
        return
    run = Judge.of_this_process().run(line)
    assert run.misread == b""
    for argv, value in zip(run.calls, run.values, strict=True):
        fitting = [segment for segment in found.segments if segment.argv and matches(segment.argv, argv)]
        assert fitting, f"{argv} is not among {[segment.argv for segment in found.segments]}"
        name = argv[0].rpartition("/")[2]
        if is_one_word(name) and all(segment.argv[0].literal is not None for segment in fitting):
            assert blocked_by(found, frozenset({name})), f"{argv[0]} runs, and is not blocked"
        if all(item.argv for item in found.segments) and "export" not in program_names(found):
            # Nobody but the command itself has set A: it is what one of the segments says.
            assert any(value in told(segment.assignments) for segment in found.segments), (argv, value)


def told(assignments: tuple) -> frozenset[str] | Anything:
    """What the variable A may be for a command with these assignments."""
    values = [one for one in assignments if one.name == "A"]
    if not values:
        return frozenset({""})
    last = values[-1]
    return ANYTHING if last.append or last.value.literal is None else frozenset({last.value.literal})


class Anything:
    def __contains__(self, value: object) -> bool:
        return True


ANYTHING = Anything()


@given(lines)
def test_each_file_that_a_line_makes_is_one_that_was_named(line: str) -> None:
    found = parsed(line)
    if found is None:
        return
    opened = [one for one in writes_and_reads(found) if one.mode != "read"]
    if any(one.path is None for one in opened):
        return  # it was said that this is not known
    named = {(one.path or "").removeprefix("./") for one in opened} | {"nohup.out"}
    run = Judge.of_this_process().run(line)
    assert run.files <= named


@given(st.text(max_size=200) | lines)
def test_a_line_is_parsed_or_refused_and_a_blocked_program_is_found(line: str) -> None:
    found = parsed(line)
    if found is None:
        return
    for name in filter(is_one_word, {name.rpartition("/")[2] for name in program_names(found)}):
        assert blocked_by(found, frozenset({name})) == name
