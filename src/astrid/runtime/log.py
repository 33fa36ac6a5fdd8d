"""Reading the past: the log of a home, verified from its first record against every witness within reach.

The log is refused, and the daemon with it, when it does not hold together or when a checkpoint kept elsewhere
covers more than there is.

Source: protocol N9 to N11; architecture 5 (the table of crashes), 7; threats 11, 12, 33, 34.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from astrid.adapters.store.journal import SqliteStore
from astrid.core.checkpoint import Checkpoint, verify_checkpoint
from astrid.core.facts import Facts
from astrid.core.past import Past, replay_log
from astrid.core.verify import LogKeys
from astrid.errors import ChainError, ConfigError, JournalError
from astrid.home import Home, read_guarded
from astrid.ports import LogReader, LogStore

PAGE = 1000
DAMAGED = frozenset({"journal.corrupt", "journal.foreign"})  # not a log any more, whatever the disk does
_WAY_ON = "put back a copy that verifies, or give this log up: `astrid audit accept-loss`"


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
        ChainError: the log does not hold together, or was rolled back; or a witness is not what it should be.
        ConfigError: a witness cannot be read.
        JournalError: the log cannot be read.
    """
    try:
        found = (
            read_witness(home.anchor, keys, what="the anchor"),
            read_witness(home.witness, keys, what="the last checkpoint that the command line saw"),
        )
        witnesses = [witness for witness in found if witness is not None]
        return read_log(store or SqliteStore(home.log), keys, witnesses, facts)
    except (ChainError, JournalError) as error:
        # Whatever it is that does not hold together, this home's own log has one way on.
        if isinstance(error, ChainError) or error.code in DAMAGED:
            error.advice = _WAY_ON
        if error.code.startswith("chain."):  # others name the file that is not what it should be
            error.where = error.where or str(home.log)
        raise


def read_log(store: LogStore, keys: LogKeys, witnesses: Sequence[Checkpoint] = (), facts: Facts | None = None) -> Past:
    """As ``read_past``, for a log and verified witnesses from anywhere."""
    if not store.exists():
        if witnesses:
            size = max(witness.size for witness in witnesses)
            raise ChainError(
                "chain.missing",
                f"the log is gone, and a checkpoint kept elsewhere says that it had {size} records",
                advice=_WAY_ON,
            )
        return replay_log(keys, (), ())
    reader = store.reader()
    try:
        return replay_log(keys, read_frames(reader), reader.checkpoints(), witnesses, facts)
    finally:
        reader.close()
