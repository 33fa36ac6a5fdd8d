"""Any bytes as plain visible characters: nothing in them can change how the text around them is read.  Pure.

What is not plain appears as ``\\u{hex}``, bytes that are no UTF-8 as ``\\x{hex}``.  What is plain is fixed for ever, by
the character database of Unicode 3.2 that comes with every Python: whoever asks and whoever signs hash the same text,
though one of them runs a newer Python.

Never: folds, elides, normalises or reorders.

Invariants:
  quote(a) == quote(b) only if a == b.
  NFKC leaves a quoted text as it is; no character in it is invisible, combines, or runs from right to left.

Source: protocol N8; threat 37.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import ucd_3_2_0 as _unicode

_ODD_CATEGORIES = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zs", "Zl", "Zp", "Mn", "Mc", "Me"})
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})  # such a letter moves the punctuation and digits beside it

# What the categories of Unicode 3.2 do not tell: a soft hyphen, two marks that were letters then, blanks that count as
# symbols, and the parts of Korean syllables, which combine (two of them are invisible).
_ODD = re.compile("[\u00ad\u1100-\u11ff\u1885\u1886\u2800\ua960-\ua97f\ud7b0-\ud7ff\U0001d159]")
_NOT_PLAIN_ASCII = re.compile(r"[^ !#-\[\]-~]")

# Letters that people write in one word although they are of several scripts.
_ONE_SCRIPT: dict[str, str] = dict.fromkeys(
    ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"), "CJK"
)
_ESCAPE = re.compile(r"\\+(?:[ux]\{[0-9a-f]+\}|[a-z])?")
_WORD = re.compile(r"[^\W\d_]+")


def quote(data: bytes) -> str:
    """``data`` in quotes, as plain visible characters only; equal texts come only from equal bytes."""
    text = data.decode("utf-8", "surrogateescape")
    return f'"{_NOT_PLAIN_ASCII.sub(_show_match, text)}"'


def _show_match(match: re.Match[str]) -> str:
    return _show(match[0])


@lru_cache(maxsize=4096)
def _show(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if "\udc80" <= char <= "\udcff":
        return f"\\x{{{ord(char) - 0xDC00:02x}}}"  # a byte that is no UTF-8
    return char if _is_plain(char) else f"\\u{{{ord(char):x}}}"


def _is_plain(char: str) -> bool:
    return (
        _unicode.category(char) not in _ODD_CATEGORIES
        and _unicode.bidirectional(char) not in _RIGHT_TO_LEFT
        and _unicode.normalize("NFKC", char) == char
        and _ODD.match(char) is None
    )


def mixed_scripts(text: str) -> bool:
    """Whether one word of ``text`` mixes letters of several scripts (a Cyrillic letter among Latin ones).

    ``text`` may be quoted: an escape ends a word, so that a line break before a Greek word is no Latin ``n``.
    """
    if text.isascii():
        return False
    return any(len({_script(char) for char in word}) > 1 for word in _WORD.findall(_ESCAPE.sub(" ", text)))


def _script(char: str) -> str:
    first = _unicode.name(char, "UNKNOWN").partition(" ")[0]
    return _ONE_SCRIPT.get(first, first)
