"""Raw words made into words: braces, tildes, globs, and which words assign.  Pure.

Never: guesses what an expansion yields.

Invariants:
  Brace expansion is done exactly, or the word is refused; a brace that Bash leaves alone stays.
  What Bash might take for a glob or a tilde is marked as one; what is marked need not be one.

Source: GNU Bash reference manual, "Brace Expansion", "Tilde Expansion", "Filename Expansion", "Shell Parameters".
"""

from __future__ import annotations

import itertools
import re

from astrid.core.command_model import ADVICE_QUOTE, MAX_BRACE_WORDS, Assignment, Budget, Dialect, Word
from astrid.core.command_tokens import DYNAMIC, SPLITTING, RawWord
from astrid.errors import CommandError

# Every word the shell may give a meaning in the place of a program, in one mode or version or another.
RESERVED = frozenset(
    "if then elif else fi for while until do done case esac function select in coproc time { } ! [[ ]]".split()
)

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_SUBSCRIPT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\[")
_GLOB = re.compile(r"[*?[]")
_TILDE = re.compile(r"(?:^|[=:])~")

_PLAIN = r"[A-Za-z0-9_./:@%+=*?-]"
_INTEGER = r"-?[1-9][0-9]{0,2}|0"
_LIST = rf"\{{{_PLAIN}*(?:,{_PLAIN}*)+\}}"
_RANGE = rf"\{{(?:(?:{_INTEGER})\.\.(?:{_INTEGER})|[a-z]\.\.[a-z]|[A-Z]\.\.[A-Z])\}}"
_BRACED = re.compile(rf"(?:{_PLAIN}|{_LIST}|{_RANGE})+")
_BRACE_PART = re.compile(rf"{_LIST}|{_RANGE}|{_PLAIN}+")


def has_braces(raw: RawWord) -> bool:
    """Whether Bash may expand braces in the word: a comma or two dots, even quoted ones, between an unquoted pair."""
    shape = raw.shape
    opening, closing = shape.find("{"), shape.rfind("}")
    if opening < 0 or closing < opening:
        return False
    between = "".join(raw.values[opening:closing])
    return "," in between or ".." in between


def expand_braces(raw: RawWord, dialect: Dialect, budget: Budget) -> tuple[RawWord, ...]:
    """The words that brace expansion makes of this one, in order.

    Raises:
        CommandError: it is not a sequence of plain characters, flat lists and ranges, or would make an empty word or
        too many.
    """
    if not has_braces(raw):
        return (raw,)
    shape = raw.shape
    if dialect == "posix" or not _BRACED.fullmatch(shape):
        raise CommandError("command.expansion", "braces that are not plain lists or ranges", advice=ADVICE_QUOTE)
    parts: list[list[str]] = []
    count = 1
    for part in _BRACE_PART.findall(shape):
        parts.append(_alternatives(part))
        count *= len(parts[-1])
        if count > MAX_BRACE_WORDS:
            break
    budget.take_words(count)
    words: list[RawWord] = []
    for choice in itertools.product(*parts):
        word = RawWord()
        for char in "".join(choice):
            word.plain(char)
        if not word.values:
            raise CommandError("command.expansion", "braces that make an empty word", advice=ADVICE_QUOTE)
        words.append(word)
    return tuple(words)


def _alternatives(part: str) -> list[str]:
    if not part.startswith("{"):
        return [part]
    inner = part[1:-1]
    if "," in inner:
        return inner.split(",")
    first, last = inner.split("..")
    if first.isalpha():
        return [chr(code) for code in _count(ord(first), ord(last))]
    return [str(number) for number in _count(int(first), int(last))]


def _count(first: int, last: int) -> range:
    return range(first, last + 1) if first <= last else range(first, last - 1, -1)


def make_word(raw: RawWord, start: int = 0) -> Word:
    """The word, or what follows its first ``start`` characters."""
    shape, values = raw.shape[start:], raw.values[start:]
    has_expansion = DYNAMIC in shape or SPLITTING in shape
    # A word that is only `[` names the test command; Bash needs a closing bracket for a pattern.
    globs = None if shape == "[" else _GLOB.search(shape)
    tilde = _TILDE.search(shape)
    splits = SPLITTING in shape or globs is not None
    known = len(shape)
    for found in (globs, tilde, re.search(f"[{DYNAMIC}{SPLITTING}]", shape)):
        if found is not None:
            # The tilde is the last character of its match; what stands before it is known.
            known = min(known, found.end() - 1)
    return Word(
        text=None if has_expansion else "".join(values),
        prefix="".join(values[:known]),
        suffix="".join(values[shape.rfind(DYNAMIC) + 1 :]) if has_expansion and not splits else "",
        has_expansion=has_expansion,
        has_glob=globs is not None,
        has_tilde=tilde is not None,
        splits=splits,
        substitutions=tuple(raw.substitutions),
    )


def single_word(raw: RawWord) -> Word:
    """The word where the shell expects exactly one: a value, or the target of a redirection.

    Raises:
        CommandError: it has braces, which Bash expands in some of these places and not in others.
    """
    if has_braces(raw):
        raise CommandError(
            "command.expansion", "braces in a value or in the target of a redirection", advice=ADVICE_QUOTE
        )
    return make_word(raw)


def parse_assignment(raw: RawWord, dialect: Dialect) -> Assignment | None:
    """The assignment that this word is when it stands before a command, if it is one.

    Raises:
        CommandError: it assigns to an element of an array (a subscript is an expression, and may run commands), or
        appends
            where not every ``sh`` can.
    """
    shape = raw.shape
    if _SUBSCRIPT.match(shape):
        raise CommandError("command.expansion", "an array element in the place of a program", advice=ADVICE_QUOTE)
    match = _ASSIGNMENT.match(shape)
    if match is None:
        return None
    if dialect == "posix" and match.group(2):
        raise CommandError("command.not-portable", "`+=` is not understood by every `sh`", advice="use `bash`")
    single_word(raw)
    return Assignment(name=match.group(1), value=make_word(raw, match.end()), append=bool(match.group(2)))


def document_word(raw: RawWord) -> Word:
    """The body of a here-document, in which nothing splits."""
    text = "".join(raw.values)
    dynamic = re.search(f"[{DYNAMIC}{SPLITTING}]", raw.shape)
    if dynamic is None:
        return Word(text=text, prefix=text)
    return Word(
        text=None,
        prefix="".join(raw.values[: dynamic.start()]),
        has_expansion=True,
        substitutions=tuple(raw.substitutions),
    )
