"""A shell line parsed into the commands that Bash would start, or refused.  Pure.

The line is the argument of ``bash --noprofile --norc -c LINE`` (Bash 5 or later, a UTF-8 locale, default options, POSIX
mode off), which runs exactly these bytes.  This module is the door; the rooms are ``command_text``, ``command_lexer``,
``command_words``, ``command_parser``, ``command_builtins``, ``command_wrappers`` and ``command_policy``, over the types
of ``command_model``.

Never: guesses.  What cannot be parsed, or is too complex to judge, is refused with a code ``command.*``; a refusal is
no verdict on what the line would do.

Invariants:
  Every program that is started by the shell, by a wrapper we know or by a script given to a shell in the line, is the
  program of a segment; so an approval of all segments is an approval of all that the line shows.
  A literal word is, byte for byte, the argument that the program gets.

Source: the first Astrid; GNU Bash reference manual.
"""

from __future__ import annotations

from astrid.core.command_model import (
    MAX_DEPTH,
    MAX_LINE_BYTES,
    MAX_SEGMENTS,
    Assignment,
    Budget,
    CommandLine,
    Redirected,
    Redirection,
    Segment,
    Word,
)
from astrid.core.command_parser import parse_script, settle
from astrid.core.command_policy import blocked_by, changes_directory, program_names, writes_and_reads

__all__ = [
    "MAX_DEPTH",
    "MAX_LINE_BYTES",
    "MAX_SEGMENTS",
    "Assignment",
    "CommandLine",
    "Redirected",
    "Redirection",
    "Segment",
    "Word",
    "blocked_by",
    "changes_directory",
    "parse_command",
    "program_names",
    "unwrap",
    "writes_and_reads",
]


def parse_command(line: str) -> CommandLine:
    """Every command that Bash would start for ``line``.

    Raises:
        CommandError: the line cannot be parsed or is too complex to judge; ``advice`` says what to do instead.
    """
    return CommandLine(segments=parse_script(line, dialect="bash", via="plain", depth=0, budget=Budget()))


def unwrap(segment: Segment) -> tuple[Segment, ...]:
    """What ``segment`` runs for others, at any depth; empty if it wraps nothing.  A parsed line holds these segments
    already.

    Raises:
        CommandError: what it runs cannot be judged.
    """
    return tuple(settle(segment, Budget())[1:])
