"""Reading the past: the log verified from its first record, and what the gate and approvals need of it.

The log is refused, and the daemon with it, when it does not hold together or when a checkpoint kept elsewhere
covers more than there is.

Source: protocol N9 to N11; architecture 5 (the table of crashes), 7; threats 11, 12, 33, 34.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from astrid.adapters.store.journal import SqliteReader
from astrid.core.chain import Frame, Tip, decode_body
from astrid.core.checkpoint import Checkpoint, verify_checkpoint
from astrid.core.facts import Facts
from astrid.core.records import AskedRecord, GrantedRecord, SettledRecord
from astrid.core.tiles import TileBuilder
from astrid.core.verify import LogKeys, Verified, verify_log
from astrid.errors import ChainError, ConfigError
from astrid.home import Home, read_guarded
from astrid.ports import LogReader

PAGE = 1000


class Past(msgspec.Struct, frozen=True):
    """What the log says: where it ends, and what is still of interest.  ``questions`` and ``tokens`` are (record
    number, body).
    """

    tip: Tip
    tree: TileBuilder
    signed: int
    questions: tuple[int, ...]
    tokens: tuple[int, ...]


def read_frames(reader: LogReader) -> Iterator[bytes]:
    """Every record, from the first."""
    first = 1
    while page := reader.frames(first, PAGE):
        yield from page
        first += len(page)


def read_witness(path: Path, keys: LogKeys, *, what: str) -> Checkpoint | None:
    """A checkpoint kept outside the log, verified; ``None`` if there is no such file.

    Raises:
        ChainError, ConfigError: it is there and is not what it should be.
    """
    try:
        note = read_guarded(path, what=what)
    except ConfigError as error:
        if error.code == "file.missing":
            return None
        raise
    return verify_checkpoint(note, keys.runtime_key, keys.log_id)


def read_past(home: Home, keys: LogKeys, facts: Facts | None = None) -> Past:
    """Verify the log of ``home`` against its anchor and, if given, replay it into ``facts``.

    Raises:
        ChainError: the log does not hold together, or was rolled back.
        JournalError: it cannot be read.
    """
    anchor = read_witness(home.anchor, keys, what="the anchor")
    if not home.log.exists():
        if anchor is not None:
            raise ChainError(
                "chain.missing",
                f"the log is gone, and the anchor says that it had {anchor.size} records",
                where=str(home.log),
                advice="restore the log from a copy",
            )
        verified = verify_log(keys, (), ())
        return Past(verified.chain.tip, verified.chain.tree, 0, (), ())
    reader = SqliteReader(home.log)
    try:
        replay = _Replay(facts)
        verified = verify_log(
            keys, read_frames(reader), reader.checkpoints(), () if anchor is None else (anchor,), replay.take
        )
    finally:
        reader.close()
    return _past(verified, replay)


def _past(verified: Verified, replay: _Replay) -> Past:
    return Past(
        verified.chain.tip, verified.chain.tree, verified.signed, tuple(replay.questions.values()), tuple(replay.tokens)
    )


class _Replay:
    """Collects what outlives a restart while the log is read."""

    def __init__(self, facts: Facts | None) -> None:
        self._facts = facts
        self.questions: dict[bytes, int] = {}
        self.tokens: list[int] = []

    def take(self, frame: Frame) -> None:
        """One record that followed the one before it."""
        body = decode_body(frame)
        if self._facts is not None:
            self._facts.replay(frame, body)
        match body:
            case AskedRecord():
                self.questions[body.qid] = frame.seq
            case SettledRecord():
                self.questions.pop(body.qid, None)
                if any(body.block):
                    self.tokens.append(frame.seq)
            case GrantedRecord():
                self.tokens.append(frame.seq)
            case _:
                pass
