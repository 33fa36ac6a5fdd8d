"""To and from the audit actor."""

from __future__ import annotations

from typing import ClassVar

from astrid.core.gate_messages import Durable
from astrid.core.records import Entry
from astrid.kernel import Lane, Message


class Append(Message, frozen=True, kw_only=True):
    """Make these records durable, in this order; answered by ``Recorded`` with the same ``id``.

    Every record is in the same commit as its payloads and journal rows.
    """

    id: int
    entries: tuple[Entry, ...]


class Recorded(Message, frozen=True, kw_only=True):
    """The records of ``Append`` ``id`` are durable.  ``watermark`` is the number of the last durable record of the
    log.
    """

    id: int
    records: tuple[Durable, ...]
    watermark: int


class LogTrouble(Message, frozen=True, kw_only=True):
    """The log cannot be written just now (``problem`` says why), or can again (empty)."""

    lane: ClassVar[Lane] = Lane.CONTROL

    problem: str


class Committed(Message, frozen=True, kw_only=True):
    """The writer is done with the batch in flight."""

    lane: ClassVar[Lane] = Lane.CONTROL


class Tick(Message, frozen=True, kw_only=True):
    """Time has passed."""

    lane: ClassVar[Lane] = Lane.CONTROL


class Linger(Message, frozen=True, kw_only=True):
    """What nobody waits for has waited long enough for company."""

    lane: ClassVar[Lane] = Lane.CONTROL


class Retry(Message, frozen=True, kw_only=True):
    """Time to write the failed batch again."""

    lane: ClassVar[Lane] = Lane.CONTROL


class Begun(Message, frozen=True, kw_only=True):
    """From the audit actor to itself: what was queued before this was said to an earlier start of it."""


class TakeCheckpoint(Message, frozen=True, kw_only=True):
    """Sign a checkpoint that covers everything appended so far; answered by ``Checkpointed`` with the same ``id``."""

    id: int


class Checkpointed(Message, frozen=True, kw_only=True):
    """The last signed checkpoint, as a note.  It is durable."""

    id: int
    size: int
    note: bytes
