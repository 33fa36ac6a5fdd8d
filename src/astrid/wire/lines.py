"""A byte stream cut into lines, one JSON text each.  Sans I/O.

For the Unix socket, where JSON-RPC travels as one text a line.  A WebSocket brings its own boundaries and does not need
this.

Invariants:
  However the stream is cut into chunks, the same lines come out, up to the first that is too long; after that, none.
  Every byte is searched for a line end once, and no more is held than one line and one chunk.

Source: JSON Lines; one line of JSON a message is the cheapest framing over a Unix socket.
"""

from __future__ import annotations

from astrid.errors import RemoteProtocolError
from astrid.wire.jsonrpc import MAX_MESSAGE_BYTES


class LineReader:
    """Chunks in by ``feed``, whole lines out by ``next_line``.

    ``max_bytes`` may change between lines: before a peer is authenticated it is smaller (``Peer.max_frame_bytes``).
    """

    __slots__ = ("_held", "_searched", "max_bytes")

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.max_bytes = max_bytes
        self._held = bytearray()
        self._searched = 0

    @property
    def held_bytes(self) -> int:
        """How much waits inside; if ``next_line`` gave ``None`` and the stream ended, so much was cut off."""
        return len(self._held)

    def feed(self, chunk: bytes) -> None:
        """Takes the next piece of the stream.  Take all lines out before feeding more."""
        self._held += chunk

    def next_line(self) -> bytes | None:
        """The next whole line without its end, or ``None`` if more is needed.

        Raises:
            RemoteProtocolError: ``wire.too-long``: the line is longer than ``max_bytes``; so is every later answer.
        """
        end = self._held.find(b"\n", self._searched)
        self._searched = len(self._held)
        if (self._searched if end < 0 else end) > self.max_bytes:
            raise RemoteProtocolError("wire.too-long", f"a line is longer than {self.max_bytes} bytes")
        if end < 0:
            return None
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        self._searched = 0
        return line


def as_line(message: bytes) -> bytes:
    """``message`` as a line of the stream.  JSON that ``jsonrpc`` wrote holds no line end of its own."""
    return message + b"\n"
