"""What a parsed shell line is: words, redirections, segments.  Pure data, immutable all the way down.

Never: decides anything, or knows how the line was spelled.  A segment is one simple command, as the shell would start
it.

Invariants:
  ``Word.literal`` is set only if the shell passes exactly this text as exactly one argument, whatever the environment,
  the file system and the earlier commands are.
  ``CommandLine.segments`` holds every command the line can run that is visible in it, at any depth, and nothing twice.

Source: the first Astrid; GNU Bash reference manual, "Shell Expansions" and "Redirections".
"""

from __future__ import annotations

from typing import Literal

import msgspec

from astrid.errors import CommandError

MAX_LINE_BYTES = 16 * 1024
MAX_SEGMENTS = 64
MAX_DEPTH = 8
MAX_BRACE_WORDS = 256  # words that brace expansion may make, in the whole line

ADVICE_SCRIPT = "write it to a script file and run that file, so that its bytes can be judged"
ADVICE_QUOTE = "write the words out, or put them in single quotes"

_DIRECTORY_CHANGERS = frozenset(("cd", "chdir", "pushd", "popd"))

Dialect = Literal["bash", "posix"]  # posix: what bash, dash and the other shells called `sh` read alike
Via = Literal["plain", "group", "subshell", "command-substitution", "process-substitution", "wrapper"]
Operator = Literal["", "&&", "||", ";", "|", "|&", "\n", "&"]


class Word(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One word of a command.

    ``text`` is the word after quote removal, ``None`` if it contains an expansion.  A glob or a tilde leaves it set: it
    is then the pattern, not the argument.  ``splits``: it may become no argument, or several.  ``prefix`` is what the
    argument begins with in any case (of a glob: each argument; nothing can be said of an expansion that splits), and
    ``suffix`` what one that has an expansion and does not split ends with.  ``substitutions`` are the commands inside.
    """

    text: str | None
    prefix: str
    suffix: str = ""
    has_expansion: bool = False
    has_glob: bool = False
    has_tilde: bool = False
    splits: bool = False
    substitutions: tuple[CommandLine, ...] = ()

    @property
    def literal(self) -> str | None:
        """The one argument this word is, or ``None`` if that is known only when the command runs."""
        return None if self.has_expansion or self.has_glob or self.has_tilde else self.text

    @property
    def may_be_option(self) -> bool:
        """Whether a program may take it for an option, as far as the line tells."""
        if self.has_expansion and self.splits:
            return True
        if self.has_tilde and not self.prefix:  # a home directory is an absolute path
            return self.has_expansion
        return self.prefix.startswith("-") if self.prefix else self.literal is None


class Assignment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``name=value`` before a command, or alone; ``append`` for ``name+=value``."""

    name: str
    value: Word
    append: bool = False


class Redirection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``fd operator target``.

    The target of a here-document is its body; ``&>``, ``&>>`` and ``>&FILE`` redirect fd 2 as well.
    """

    fd: int
    operator: str
    target: Word


class Segment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simple command.

    Without ``argv`` it is the shell itself that assigns and redirects, also for the group or subshell just before it.
    """

    assignments: tuple[Assignment, ...] = ()
    argv: tuple[Word, ...] = ()
    redirections: tuple[Redirection, ...] = ()
    operator_before: Operator = ""
    background: bool = False
    depth: int = 0
    via: Via = "plain"

    @property
    def program(self) -> str:
        """What it runs, as written; empty if it runs nothing."""
        return (self.argv[0].literal or "") if self.argv else ""

    @property
    def changes_directory(self) -> bool:
        """Whether it may change the shell's working directory."""
        return basename(self.program) in _DIRECTORY_CHANGERS


class CommandLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A judged line.  Each segment is followed by those of its substitutions, then by what it runs for others."""

    segments: tuple[Segment, ...]


class Redirected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that a redirection opens.  ``path`` is ``None`` if which file it is, is known only when the line runs."""

    mode: Literal["read", "write", "append", "readwrite"]
    path: str | None


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text that a segment hands to another shell."""

    text: str
    dialect: Dialect


class Budget:
    """What one line may still use, shared by everything nested in it."""

    __slots__ = ("_segments", "_words")

    def __init__(self) -> None:
        self._segments = MAX_SEGMENTS
        self._words = MAX_BRACE_WORDS

    def take_segment(self) -> None:
        """Count one command.

        Raises:
            CommandError: the line has more than ``MAX_SEGMENTS``.
        """
        if not self._segments:
            raise CommandError(
                "command.too-many", f"more than {MAX_SEGMENTS} commands in one line", advice=ADVICE_SCRIPT
            )
        self._segments -= 1

    def take_words(self, count: int) -> None:
        """Count ``count`` words made by brace expansion.

        Raises:
            CommandError: the line makes more than ``MAX_BRACE_WORDS``.
        """
        if count > self._words:
            raise CommandError(
                "command.too-many", f"braces that make more than {MAX_BRACE_WORDS} words", advice=ADVICE_SCRIPT
            )
        self._words -= count


def basename(program: str) -> str:
    """The last component of ``program``."""
    return program.rstrip("/").rpartition("/")[2]
