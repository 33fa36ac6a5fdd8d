"""What the demo expected, what happened, and how that is shown.

Source: issue of the demo: each attempt with layer, reason and advice in a readable table.
"""

from __future__ import annotations

import msgspec

_OK, _BAD = "held", "BROKEN"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation.  ``held`` says whether it came true, ``layer`` what stopped an attempt."""

    part: str
    what: str
    held: bool
    layer: str = ""
    reason: str = ""
    advice: str = ""


def render(rows: list[Row], *, columns: int) -> str:
    """The rows as text, grouped by part, wrapped to ``columns``."""
    lines: list[str] = []
    part = ""
    for row in rows:
        if row.part != part:
            part = row.part
            lines += ["", part, "-" * min(len(part), columns)]
        mark = _OK if row.held else _BAD
        lines += _wrap(f"{mark:<7} ", row.what, columns)
        if row.layer:
            lines += _wrap("        stopped by ", f"{row.layer}: {row.reason}", columns)
        elif row.reason:
            lines += _wrap("        ", row.reason, columns)
        if row.advice:
            lines += _wrap("        advice: ", row.advice, columns)
    return "\n".join(lines).lstrip("\n") + "\n"


def _wrap(head: str, text: str, columns: int) -> list[str]:
    room = max(columns - len(head), 20)
    words, lines = text.split(), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return [head + lines[0], *(" " * len(head) + line for line in lines[1:])]
