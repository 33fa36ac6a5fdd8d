"""Proofs from the stored log: that a record is in it, and that it grew from what it was.

Tiles are kept beside the log to make proofs cheap; one that is missing or cut short is made again from the records.

Never: judges.  A false tile or record makes a proof that whoever checks it refuses.

Source: protocol N10, N11; C2SP tlog-tiles.
"""

from __future__ import annotations

from collections.abc import Sequence

from astrid.core.merkle import HASH_BYTES, CompactRange, Hash, leaf_hash
from astrid.core.tiles import TILE_WIDTH, ReadTile, consistency_proof, inclusion_proof
from astrid.ports import LogReader

FULL_TILE_BYTES = TILE_WIDTH * HASH_BYTES


def tiles_of(reader: LogReader) -> ReadTile:
    """Every tile of the log as it is now: stored, or made from what lies below it."""

    def read(level: int, index: int) -> bytes:
        stored = reader.tile(level, index)
        if len(stored) == FULL_TILE_BYTES:
            return stored
        first = index * TILE_WIDTH
        if level == 0:
            return b"".join(leaf_hash(frame) for frame in reader.frames(first + 1, TILE_WIDTH))
        hashes: list[bytes] = []
        for child in range(first, first + TILE_WIDTH):
            below = read(level - 1, child)
            if len(below) < FULL_TILE_BYTES:
                break
            hashes.append(_root(below))
        return b"".join(hashes)

    return read


def prove_inclusion(reader: LogReader, seq: int, size: int) -> Sequence[Hash]:
    """That record ``seq`` is among the first ``size``.

    Raises:
        ChainError: it is not, or the log is shorter.
    """
    return inclusion_proof(seq - 1, size, tiles_of(reader))


def prove_consistency(reader: LogReader, old: int, new: int) -> Sequence[Hash]:
    """That the first ``new`` records begin with the first ``old``.

    Raises:
        ChainError: they cannot, or the log is shorter.
    """
    return consistency_proof(old, new, tiles_of(reader))


def _root(tile: bytes) -> bytes:
    tree = CompactRange()
    for at in range(0, FULL_TILE_BYTES, HASH_BYTES):
        tree.append(Hash(tile[at : at + HASH_BYTES]))
    return tree.root()
