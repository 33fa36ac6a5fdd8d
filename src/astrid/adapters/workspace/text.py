"""How results of tools are written: what cannot be seen is made visible, what is too long is cut and says so.  Pure.

Invariant:
  ``clip`` returns at most ``CEILING_BYTES`` bytes and the suffix, and never half a character.

Source: the first Astrid (ceiling, suffix); threat 37.
"""

from __future__ import annotations

from astrid.core.visible import visible

CEILING_BYTES = 30_000
CUT_SUFFIX = "\n\n... (output truncated — exceeded 30000 character limit)"


def visible_name(name: bytes) -> str:
    """A file name on one line; bytes that are no UTF-8 are written as ``\\x{hex}``."""
    text = "".join(
        f"\\x{{{ord(char) - 0xDC00:02x}}}" if "\udc80" <= char <= "\udcff" else char
        for char in name.decode("utf-8", "surrogateescape")
    )
    return visible(text).replace("\n", "\\u{a}").replace("\t", "\\u{9}")


def cut(text: str, limit_bytes: int) -> str:
    """The longest start of ``text`` that takes at most ``limit_bytes`` of UTF-8."""
    data = text.encode()
    return text if len(data) <= limit_bytes else data[:limit_bytes].decode("utf-8", "ignore")


def clip(text: str) -> str:
    """``text``, cut at the ceiling of all results."""
    shorter = cut(text, CEILING_BYTES)
    return text if shorter == text else shorter + CUT_SUFFIX


def fit(rows: list[str], footer: str) -> str:
    """``rows`` as lines, as many as the ceiling takes, and ``footer`` on a line of its own, which is never cut away."""
    room = CEILING_BYTES - len(footer.encode())
    for count, row in enumerate(rows):
        room -= len(row.encode()) + 1
        if room < 0:
            return "\n".join(rows[:count]) + CUT_SUFFIX + "\n" + footer
    return "\n".join([*rows, footer])
