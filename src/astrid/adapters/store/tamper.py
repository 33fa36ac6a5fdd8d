"""Damages a COPY of a log in the ways a thief or a liar would, for the demo and for tests that see each one caught.

Never: opens a log for anybody but whoever made the copy.  The writer's guards are taken off on purpose, since whoever
holds the file can do without them.

Source: threats 11, 12, 33, 35.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from astrid.core.canon import encode
from astrid.core.chain import Frame, decode_frame, frame_digest, genesis_tip
from astrid.core.checkpoint import Checkpoint, sign_checkpoint
from astrid.core.keys import SigningKey
from astrid.core.merkle import CompactRange, leaf_hash


def _open(log: Path) -> apsw.Connection:
    connection = apsw.Connection(str(log), flags=apsw.SQLITE_OPEN_READWRITE)
    for trigger in ("log_no_update", "log_no_delete", "log_gapless"):
        connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    return connection


def flip_bit(log: Path, seq: int) -> None:
    """Change one bit of the body of record ``seq``."""
    connection = _open(log)
    frame = bytearray(connection.execute("SELECT frame FROM log WHERE seq = ?", (seq,)).get)
    frame[-1] ^= 1
    connection.execute("UPDATE log SET frame = ? WHERE seq = ?", (bytes(frame), seq))
    connection.close()


def cut_tail(log: Path, keep: int) -> None:
    """Forget every record after number ``keep``, and every checkpoint that covers more."""
    connection = _open(log)
    connection.execute("DELETE FROM log WHERE seq > ?", (keep,))
    connection.execute("DELETE FROM checkpoint WHERE size > ?", (keep,))
    connection.close()


def swap(log: Path, one: int, other: int) -> None:
    """Exchange two records."""
    connection = _open(log)
    frames = {seq: connection.execute("SELECT frame FROM log WHERE seq = ?", (seq,)).get for seq in (one, other)}
    connection.execute("UPDATE log SET frame = ? WHERE seq = ?", (frames[other], one))
    connection.execute("UPDATE log SET frame = ? WHERE seq = ?", (frames[one], other))
    connection.close()


def rewrite(log: Path, install: bytes, log_id: bytes, drop: int, key: SigningKey) -> None:
    """Leave out record ``drop``, chain everything behind it anew, and sign the result with ``key``."""
    connection = _open(log)
    frames = [decode_frame(row[0]) for row in connection.execute("SELECT frame FROM log ORDER BY seq")]
    connection.execute("DELETE FROM log")
    connection.execute("DELETE FROM checkpoint")
    prev: bytes = genesis_tip(install)
    tree = CompactRange()
    kept = [frame for frame in frames if frame.seq != drop]
    for seq, old in enumerate(kept, 1):
        data = encode(Frame(prev, seq, old.boot, old.time_ns, old.kind, old.session, old.body))
        connection.execute("INSERT INTO log VALUES(?, ?)", (seq, data))
        tree.append(leaf_hash(data))
        prev = frame_digest(data)
    note = Checkpoint(log_id=log_id, size=len(kept), root=tree.root(), tip=prev, boot=kept[-1].boot)
    connection.execute("INSERT INTO checkpoint VALUES(?, ?)", (len(kept), sign_checkpoint(note, key)))
    connection.close()
