"""Text for a model, with nothing in it that cannot be seen.  Pure.

Unlike ``quoting`` it leaves ordinary writing of every language as it is: it is for reading, not for signing.

Invariant: ``visible`` leaves no control, format, tag, private or unassigned character but line feed and tab, and no
other character that ends a line.

Source: threat 37.
"""

from __future__ import annotations

import re
import unicodedata

_NOT_PLAIN = re.compile(r"[^\n\t\x20-\x7e]")


def visible(text: str) -> str:
    """``text`` with every character that cannot be seen written as ``\\u{hex}``; line feeds and tabs stay."""
    return _NOT_PLAIN.sub(_show, text)


def _show(found: re.Match[str]) -> str:
    char = found.group()
    category = unicodedata.category(char)
    # Variation selectors carry bytes that nobody sees; U+FE0F alone is part of ordinary emoji.
    selector = "\ufe00" <= char <= "\ufe0e" or "\U000e0100" <= char <= "\U000e01ef"
    return f"\\u{{{ord(char):x}}}" if selector or category[0] == "C" or category in ("Zl", "Zp") else char
