"""What the gate wants recorded, on its way to the log: collected, handed over together, and followed by what was
promised when it is durable.  Pure.

While the interceptor works through what is queued for it, its records collect here; then they go to the log as one
message, and come back as one.  Their order in the log is the order in which they were put.

Invariant: what was promised is told once, when the records that it rests on are durable; the promises of one message to
the log are told in their order.

Source: architecture 5 (step 4, "Many records share one fsync").
"""

from __future__ import annotations

import msgspec

from astrid.core.records import Entry
from astrid.kernel import Message, Sender
from astrid.messages.gate import Done
from astrid.messages.log import Append, Recorded

MAX_TOGETHER = 256  # records of one message


class Promise(msgspec.Struct, frozen=True):
    """``to`` waits for the answer ``id``, with the number of the record at ``place`` of its message, due when all of
    that is durable.
    """

    to: Sender
    id: int
    place: int


class Flush(Message, frozen=True, kw_only=True):
    """From the interceptor to itself, behind everything that is queued: hand the log what has collected."""


class Outbox:
    """See the module."""

    __slots__ = ("_entries", "_next", "_promises", "_sent")

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._promises: list[Promise] = []  # that rest on these entries
        self._sent: dict[int, tuple[Promise, ...]] = {}  # by message that is at the log
        self._next = 1

    def put(self, entries: list[Entry], promise: tuple[Sender, int] | None = None) -> bool:
        """Have ``entries`` recorded, and what was promised told when all of them are durable, with the number of the
        first.  Whether what has collected should go now.
        """
        if promise is not None:
            self._promises.append(Promise(*promise, place=len(self._entries)))
        self._entries += entries
        return len(self._entries) >= MAX_TOGETHER

    def take(self) -> Append | None:
        """What has collected, for the log; ``None`` if nothing has."""
        if not self._entries:
            return None
        number = self._next
        self._next += 1
        if self._promises:
            self._sent[number] = tuple(self._promises)
            self._promises.clear()
        append = Append(id=number, entries=tuple(self._entries))
        self._entries.clear()
        return append

    def recorded(self, message: Recorded) -> list[tuple[Sender, Done]]:
        """Who is to be told what, now that these records are durable."""
        promises = self._sent.pop(message.id, ())
        return [(one.to, Done(id=one.id, seq=message.records[one.place].seq)) for one in promises]
