"""Reading the past: the log verified from its first record, and what the gate and approvals need of it.

The log is refused, and the daemon with it, when it does not hold together or when a checkpoint kept elsewhere
covers more than there is.

Source: protocol N9 to N11; architecture 5 (the table of crashes), 7; threats 11, 12, 33, 34.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from astrid.adapters.store.journal import SqliteStore
from astrid.core.chain import Frame, Tip, decode_body
from astrid.core.checkpoint import Checkpoint, verify_checkpoint
from astrid.core.facts import Facts
from astrid.core.records import AskedRecord, GrantedRecord, SettledRecord
from astrid.core.tiles import TileBuilder
from astrid.core.verify import LogKeys, verify_log
from astrid.errors import ChainError, ConfigError
from astrid.home import Home, read_guarded
from astrid.ports import LogReader, LogStore

PAGE = 1000


class Kept(msgspec.Struct, frozen=True):
    """Something of interest beside record ``seq``, by the digest under which the record names it: a question, or a
    token, which may lie inside a signed answer.
    """

    seq: int
    digest: bytes
    in_answer: bool = False


class Past(msgspec.Struct, frozen=True):
    """What the log says: where it ends, how much of it is signed, and what is still of interest."""

    tip: Tip
    tree: TileBuilder
    signed: int
    questions: tuple[Kept, ...]
    tokens: tuple[Kept, ...]


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


def read_past(home: Home, keys: LogKeys, facts: Facts | None = None, store: LogStore | None = None) -> Past:
    """Verify the log of ``home`` against every witness within reach and, if given, replay it into ``facts``.

    Raises:
        ChainError: the log does not hold together, or was rolled back.
        ConfigError: a witness is not what it should be.
        JournalError: the log cannot be read.
    """
    found = (
        read_witness(home.anchor, keys, what="the anchor"),
        read_witness(home.witness, keys, what="the last checkpoint that the command line saw"),
    )
    witnesses = [witness for witness in found if witness is not None]
    return read_log(store or SqliteStore(home.log), keys, witnesses, facts)


def read_log(store: LogStore, keys: LogKeys, witnesses: Sequence[Checkpoint] = (), facts: Facts | None = None) -> Past:
    """As ``read_past``, for a log and verified witnesses from anywhere."""
    if not store.exists():
        if witnesses:
            size = max(witness.size for witness in witnesses)
            raise ChainError(
                "chain.missing",
                f"the log is gone, and a checkpoint kept elsewhere says that it had {size} records",
                advice="restore the log, or see `astrid audit accept-loss`",
            )
        empty = verify_log(keys, (), ())
        return Past(empty.chain.tip, empty.chain.tree, 0, (), ())
    replay = _Replay(facts)
    reader = store.reader()
    try:
        verified = verify_log(keys, read_frames(reader), reader.checkpoints(), witnesses, replay.take)
    finally:
        reader.close()
    questions, tokens = tuple(replay.questions.values()), tuple(replay.tokens)
    return Past(verified.chain.tip, verified.chain.tree, verified.signed, questions, tokens)


class _Replay:
    """Collects what outlives a restart while the log is read."""

    def __init__(self, facts: Facts | None) -> None:
        self._facts = facts
        self.questions: dict[bytes, Kept] = {}
        self.tokens: list[Kept] = []

    def take(self, frame: Frame) -> None:
        """One record that followed the one before it."""
        body = decode_body(frame)
        if self._facts is not None:
            self._facts.replay(frame, body)
        match body:
            case AskedRecord():
                self.questions[body.qid] = Kept(frame.seq, body.question)
            case SettledRecord():
                self.questions.pop(body.qid, None)
                if any(body.block):
                    self.tokens.append(Kept(frame.seq, body.block, in_answer=True))
            case GrantedRecord():
                self.tokens.append(Kept(frame.seq, body.block))
            case _:
                pass
