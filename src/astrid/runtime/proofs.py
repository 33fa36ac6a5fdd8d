"""Proofs from the stored log: that a record is in it, and that it grew from what it was.

Tiles are kept beside the log to make proofs cheap; one that is missing or cut short is made again from the records.

Never: believes a tile or a record.  A false one makes a proof that whoever checks it refuses.

Source: protocol N10, N11; C2SP tlog-tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from astrid.core.memo import Memo
from astrid.core.merkle import HASH_BYTES, Hash, leaf_hash, leaf_hashes, level_above, verify_inclusion
from astrid.core.tiles import TILE_WIDTH, ReadTile, consistency_proof, inclusion_proof
from astrid.ports import LogReader

FULL_TILE_BYTES = TILE_WIDTH * HASH_BYTES
_ROOTS: Memo[bytes, bytes] = Memo(1024)  # of full tiles, by the digest of all that is in them


def tiles_of(reader: LogReader) -> ReadTile:
    """Every tile of the log as it is now: stored, or made from what lies below it."""
    made: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int) -> bytes:
        if (level, index) not in made:
            made[level, index] = look(level, index)
        return made[level, index]

    def look(level: int, index: int) -> bytes:
        stored = reader.tile(level, index)
        if len(stored) == FULL_TILE_BYTES:
            return stored
        first = index * TILE_WIDTH
        if level == 0:
            return b"".join(leaf_hashes(reader.frames(first + 1, TILE_WIDTH)))
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


class Under:
    """Which records are the first ``size`` of the log that has ``root``; for whoever goes through many of them."""

    def __init__(self, reader: LogReader, size: int, root: bytes) -> None:
        self._read_tile = tiles_of(reader)
        self._size = size
        self._root = root
        self._shown: tuple[int, bytes] | None = None  # the last tile of leaves that was shown to be right

    def has(self, seq: int, frame: bytes) -> bool:
        """Whether record ``seq``, one of them, is ``frame``.

        Raises:
            ChainError: a tile is too short.
        """
        index, offset = divmod(seq - 1, TILE_WIDTH)
        if self._shown is None or self._shown[0] != index:
            self._shown = self._show(index, offset)
        return self._shown is not None and _leaf(self._shown[1], offset) == leaf_hash(frame)

    def _show(self, index: int, offset: int) -> tuple[int, bytes] | None:
        # SAFETY: the lowest hashes of a leaf's proof are made here of all the others in its tile that belong to the
        # log.  So if the proof holds, each of them is the one under the root, and needs no proof of its own.
        tile, at = self._read_tile(0, index), index * TILE_WIDTH + offset
        proof = inclusion_proof(at, self._size, self._read_tile)
        return (index, tile) if verify_inclusion(_leaf(tile, offset), at, self._size, proof, self._root) else None


def _leaf(tile: bytes, offset: int) -> Hash:
    return Hash(tile[offset * HASH_BYTES : (offset + 1) * HASH_BYTES])


def _root(tile: bytes) -> bytes:
    # The right edge of a long log is hundreds of full tiles below one that is not full, and every proof needs it.
    key = sha256(tile).digest()
    return _ROOTS.get(key) or _ROOTS.keep(key, _fold(tile))


def _fold(tile: bytes) -> bytes:
    hashes = [tile[at : at + HASH_BYTES] for at in range(0, FULL_TILE_BYTES, HASH_BYTES)]
    while len(hashes) > 1:
        hashes = level_above(hashes)
    return hashes[0]
