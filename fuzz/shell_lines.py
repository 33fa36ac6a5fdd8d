"""INVARIANT: a line is parsed or refused with a code; a blocked program that stands in it by name is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from astrid.core.command import blocked_by, parse_command, program_names
from astrid.errors import CommandError

PIECES = (
    "sudo",
    "rm",
    "-rf",
    "/",
    "ls",
    "&&",
    "|",
    ";",
    "$(",
    ")",
    "`",
    "'",
    '"',
    "\\",
    " ",
    "\n",
    ">",
    "x=1",
    "#",
    "{",
    "}",
    "su''do",
    "*",
)
lines = st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.lists(
    st.sampled_from(PIECES), max_size=12
).map(" ".join)


@given(st.text(max_size=200) | lines)
def test_a_line_is_parsed_or_refused_and_nothing_else(line: str) -> None:
    try:
        command = parse_command(line)
    except CommandError as error:
        assert error.code.startswith("command.")
        return
    names = {name.rpartition("/")[2] for name in program_names(command)}
    if "sudo" in names:
        assert blocked_by(command, frozenset({"sudo"})) is not None
