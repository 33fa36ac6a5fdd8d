"""What the lexer cuts a shell line into: operators and raw words.  Pure data, written by the lexer alone.

Never: says what a word means.

A raw word is two columns of the same length: what each character is after quote removal, and how it was spelled.  In
``shape`` an unquoted character stands for itself; a quoted one and an expansion are control characters, which no line
contains.  So the shape of ``s""udo`` is not that of ``sudo``, and whether a reserved word, a brace or a glob is meant
is a question to the shape alone.

Invariants:
  ``values`` and ``shape`` are of the same length.

Source: POSIX.1-2017, Shell Command Language, 2.3.
"""

from __future__ import annotations

from astrid.core.command_model import CommandLine

QUOTED = "\x01"  # one quoted character, or empty quotes
DYNAMIC = "\x02"  # an expansion whose result is one word or part of one
SPLITTING = "\x03"  # an expansion that may become no word or several


class RawWord:
    """A word as it was lexed: ``values[i]`` is what the character ``shape[i]`` stands for (empty for an expansion)."""

    __slots__ = ("_shape", "substitutions", "values")

    def __init__(self) -> None:
        self.values: list[str] = []
        self._shape: list[str] = []
        self.substitutions: list[CommandLine] = []

    @property
    def shape(self) -> str:
        """How each character was spelled."""
        return "".join(self._shape)

    def plain(self, char: str) -> None:
        """Add one unquoted character."""
        self.values.append(char)
        self._shape.append(char)

    def quoted(self, text: str) -> None:
        """Add quoted text; empty quotes make a word, too."""
        self.values.extend(text or [""])
        self._shape.extend(QUOTED * len(text) or QUOTED)

    def dynamic(self, *, splits: bool, substitution: CommandLine | None = None) -> None:
        """Add an expansion, and the commands in it."""
        self.values.append("")
        self._shape.append(SPLITTING if splits else DYNAMIC)
        if substitution is not None:
            self.substitutions.append(substitution)


class Token:
    """An operator (line feed included), a word, or the end (the operator with empty text)."""

    __slots__ = ("fd", "source", "text", "word")

    def __init__(self, text: str, source: str, *, fd: int | None = None, word: RawWord | None = None) -> None:
        self.text = text
        self.source = source
        self.fd = fd
        self.word = word
