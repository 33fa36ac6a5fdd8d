"""Each way of damaging a log is really done, and the log no longer verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrid.adapters.store import tamper
from astrid.adapters.store.database import open_writer
from astrid.adapters.store.journal import SqliteReader, commit
from astrid.core.chain import ChainState, Tip, genesis_tip
from astrid.core.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from astrid.core.keys import SigningKey
from astrid.core.records import Boot, Genesis, Stop, entry
from astrid.core.tiles import TileBuilder
from astrid.core.verify import LogKeys, Verified, verify_log
from astrid.errors import ChainError
from astrid.ports import Batch

INSTALL, LOG_ID, DIGEST = b"i" * 32, b"l" * 32, b"d" * 32
KEY, OTHER_KEY = SigningKey.from_seed(b"\x01" * 32), SigningKey.from_seed(b"\x02" * 32)
KEYS = LogKeys(INSTALL, LOG_ID, KEY.public)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Eight records, and checkpoints over five and eight of them."""
    path = tmp_path / "copy.db"
    connection = open_writer(path)
    chain = ChainState(Tip(0, genesis_tip(INSTALL), 0, 0), TileBuilder())
    bodies = [Genesis(1, INSTALL, KEYS.old_tip), Boot("1", DIGEST, DIGEST, DIGEST), *(Stop(f"s{n}") for n in range(6))]
    for number, body in enumerate(bodies, 1):
        frame = chain.append(entry(body), number)
        chain.durable(number)
        checkpoint = None
        if number in (5, 8):
            tip = chain.durable_tip
            stated = Checkpoint(log_id=LOG_ID, size=number, root=chain.tree.root(), tip=tip.prev, boot=tip.boot)
            checkpoint = (number, sign_checkpoint(stated, KEY))
        commit(connection, Batch(first=number, frames=(frame,), checkpoint=checkpoint))
    connection.close()
    return path


def content(path: Path) -> tuple[list[bytes], list[tuple[int, bytes]]]:
    reader = SqliteReader(path)
    try:
        return reader.frames(1, 1000), reader.checkpoints()
    finally:
        reader.close()


def verify(path: Path, *witnesses: Checkpoint, keys: LogKeys = KEYS) -> Verified:
    frames, notes = content(path)
    return verify_log(keys, frames, notes, witnesses)


def code(path: Path, *witnesses: Checkpoint) -> str:
    with pytest.raises(ChainError) as caught:
        verify(path, *witnesses)
    return caught.value.code


def test_the_log_is_sound_before_anything_is_done_to_it(log: Path) -> None:
    assert (verify(log).size, verify(log).signed) == (8, 8)


@pytest.mark.parametrize("seq", [1, 4, 8])
def test_a_flipped_bit_changes_one_record_and_is_found(log: Path, seq: int) -> None:
    before, notes = content(log)
    tamper.flip_bit(log, seq)
    after, same = content(log)
    assert [number for number, (old, new) in enumerate(zip(before, after, strict=True), 1) if old != new] == [seq]
    assert notes == same
    assert code(log) in ("chain.link", "chain.root", "chain.malformed", "chain.old-tip")


def test_a_cut_tail_is_shorter_and_only_a_checkpoint_kept_elsewhere_tells(log: Path) -> None:
    before, notes = content(log)
    witness = verify_checkpoint(notes[-1][1], KEY.public, LOG_ID)
    tamper.cut_tail(log, 6)
    assert content(log) == (before[:6], notes[:1])
    assert verify(log).size == 6  # by itself it holds together
    assert code(log, witness) == "chain.cut"


def test_two_exchanged_records_are_found(log: Path) -> None:
    before, _ = content(log)
    tamper.swap(log, 3, 6)
    after, _ = content(log)
    assert (after[2], after[5]) == (before[5], before[2])
    assert after[:2] + after[3:5] + after[6:] == before[:2] + before[3:5] + before[6:]
    assert code(log) == "chain.gap"


def test_a_log_that_was_written_anew_holds_together_under_its_own_key_alone(log: Path) -> None:
    before, _ = content(log)
    tamper.rewrite(log, INSTALL, LOG_ID, 4, OTHER_KEY)
    after, notes = content(log)
    assert (len(after), len(before), len(notes)) == (7, 8, 1)
    assert after[:3] == before[:3]
    assert verify(log, keys=LogKeys(INSTALL, LOG_ID, OTHER_KEY.public)).signed == 7
    with pytest.raises(ChainError):
        verify(log)


def test_a_log_that_was_written_anew_under_the_right_key_contradicts_what_was_seen(log: Path) -> None:
    _, notes = content(log)
    witness = verify_checkpoint(notes[0][1], KEY.public, LOG_ID)
    tamper.rewrite(log, INSTALL, LOG_ID, 4, KEY)
    assert verify(log).size == 7
    assert code(log, witness) == "chain.root"
