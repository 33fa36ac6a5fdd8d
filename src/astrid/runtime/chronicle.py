"""The chronicle: every session that the log tells of, whether it is there, over, or was cut off with its daemon.

Read when somebody asks, and then only what is new.  Nothing of it is believed by itself: each record names the digest
of the one before it, and the last one is that which the log's writer states.  What lies beside a record counts if it is
what the record commits to.

Never: says that a session is there.  Who is, the gateway knows.

Invariant: what is shown is of one log, from its first record to the one that was stated; else nothing is.

Source: protocol N9, N10; architecture 7; threats 11, 25, 29.
"""

from __future__ import annotations

import msgspec
import trio

from astrid.core.canon import Signed
from astrid.core.chain import Frame, decode_body, decode_frame, frame_digest, genesis_tip
from astrid.core.checkpoint import verify_checkpoint
from astrid.core.past import Kept, recalled
from astrid.core.records import JournalRecord, Prompt, SessionEnded, SessionErased, SessionStarted
from astrid.core.turn_messages import ForkRow, FrameRow, decode_row
from astrid.core.verify import LogKeys
from astrid.errors import ChainError
from astrid.ports import LogReader
from astrid.runtime.archive import rows_of

PAGE = 1000


class PastSession(msgspec.Struct):
    """What the log's records say of a session that started.  ``first`` is the record that says so, ``ended`` why it is
    over; empty if nothing says that it is.
    """

    session: bytes
    first: int
    started: SessionStarted
    started_ns: int
    last_ns: int
    rows: int = 0
    turns: int = 0
    ended: str = ""
    erased: bool = False
    frame: tuple[int, JournalRecord] | None = None  # the record of its first rows
    prompt: Kept | None = None  # what was first said to it


class Chronicle:
    """See the module.  Whoever has it read holds ``lock`` until they have used what it gave."""

    def __init__(self, keys: LogKeys) -> None:
        self.lock = trio.Lock()
        self._keys = keys
        self._forget()

    def _forget(self) -> None:
        self._size = 0
        self._tip: bytes = genesis_tip(self._keys.install)
        self._known: dict[bytes, PastSession] = {}

    def read(self, reader: LogReader, note: bytes) -> dict[bytes, PastSession]:
        """All sessions, by their ids, in the order in which they started, as the log tells it that the checkpoint
        ``note`` is of.

        Raises:
            ChainError: what lies there is not that log.
            JournalError: it cannot be read.
        """
        stated = verify_checkpoint(note, self._keys.runtime_key, self._keys.log_id)
        whole = False
        try:
            while self._size < stated.size:
                self._take_page(reader.frames(self._size + 1, min(PAGE, stated.size - self._size)))
            # SAFETY: only now is it known that the records are those that were written; a chain can be made by anybody.
            if self._size == stated.size and self._tip != stated.tip:
                raise _changed("the log does not end as its writer says")
            whole = True
        finally:
            if not whole:
                self._forget()
        return self._known

    def _take_page(self, page: list[bytes]) -> None:
        if not page:
            raise _changed(f"record {self._size + 1} is missing")
        for raw in page:
            frame = decode_frame(raw)
            if frame.prev != self._tip:
                raise _changed(f"record {self._size + 1} does not follow the one before it")
            self._take(frame, decode_body(frame))
            self._size, self._tip = self._size + 1, frame_digest(raw)

    def _take(self, frame: Frame, body: Signed) -> None:
        if isinstance(body, SessionStarted):
            self._known[frame.session] = PastSession(frame.session, frame.seq, body, frame.time_ns, frame.time_ns)
        past = self._known.get(frame.session)
        if past is None:
            return
        past.last_ns = frame.time_ns
        match body:
            case JournalRecord():
                past.rows = body.first + body.count - 1
                past.frame = past.frame or (frame.seq, body)
            case Prompt():
                past.turns = body.turn
                past.prompt = past.prompt or Kept(frame.seq, body.text)
            case SessionEnded():
                past.ended = body.reason
            case SessionErased():
                past.erased = True
            case _:
                pass


def lead_of(reader: LogReader, past: PastSession) -> tuple[FrameRow | None, ForkRow | None]:
    """What a session was told at its start, and what it goes on from; nothing, if nobody said anything to it.

    Raises:
        ChainError, CanonError: its journal is not what was recorded.
        InputError: it was erased.
    """
    if past.frame is None:
        return None, None
    seq, body = past.frame
    first, *others = rows_of(reader, past.session, seq, body, after=0)
    frame, then = decode_row(first), decode_row(others[0]) if others else None
    return frame if isinstance(frame, FrameRow) else None, then if isinstance(then, ForkRow) else None


def first_words(reader: LogReader, past: PastSession, most: int) -> str:
    """The beginning of what was first said to a session; empty where that was erased, or was nothing.

    Raises:
        CanonError: it is not what was recorded.
    """
    text = None if past.prompt is None else recalled(reader.payload, past.prompt)
    return "" if text is None else " ".join(text[: 4 * most].decode("utf-8", "replace").split())[:most]


def _changed(what: str) -> ChainError:
    return ChainError("session.changed", what, advice="run `astrid audit verify`")
