"""Server-sent events from bytes.  Pure.

Lines end at CR, LF or CRLF and nowhere else: JSON may hold characters that split lines elsewhere (U+2028, U+0085), so
bytes are split, never text.

Invariants:
  However the bytes are cut, the events are the same.
  What is held back is known (``held_bytes``), so that a caller can refuse an event without end.

Source: WHATWG HTML, 9.2.6 (event streams); names of events are left out, since the payloads carry their own.
"""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\r|\n")


class EventDecoder:
    """Cuts a byte stream into the ``data`` of its events."""

    def __init__(self) -> None:
        self._line = bytearray()  # the line that has not ended
        self._data: list[bytes] = []  # the ``data`` lines of the event that has not ended
        self._data_bytes = 0
        self._after_cr = False

    @property
    def held_bytes(self) -> int:
        """How much of an unfinished event is kept."""
        return len(self._line) + self._data_bytes

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of each event that ``piece`` completes."""
        if not piece:
            return []
        if self._after_cr and piece.startswith(b"\n"):  # the second half of a CRLF that was cut in two
            piece = piece[1:]
        self._after_cr = piece.endswith(b"\r") if piece else False
        *lines, rest = _LINE_END.split(piece)
        events: list[bytes] = []
        for line in lines:
            self._line += line
            self._end_line(bytes(self._line), events)
            self._line.clear()
        self._line += rest
        return events

    def _end_line(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
                self._data_bytes = 0
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
            self._data_bytes += len(line)
