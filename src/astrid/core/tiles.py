"""The Merkle tree as it is stored: tiles of 256 hashes, and proofs made from them.  Pure: tiles are read by a callable.

A tile is up to 256 consecutive hashes of one level; level ``l`` holds the roots of complete subtrees of 256^l leaves.
Only full tiles are stored, and a full tile never changes.  What is not full yet lives in ``TileBuilder``, and is made
again from full tiles and the last (at most 255) leaf hashes.  A proof in a tree of a million leaves reads a handful of
tiles, 8 KiB each.

Never: trusts a tile.  A false tile makes a proof or a root that does not verify, never one that wrongly does.

Invariants:
  TileBuilder.root() and tree_root() agree with CompactRange at every size.
  Every proof made here is accepted by ``merkle``, for every index and every pair of sizes.

Source: RFC 6962 section 2.1; C2SP tlog-tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from astrid.core.merkle import HASH_BYTES, Hash, bag, level_above, require_hash, require_size
from astrid.errors import ChainError

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
_HASH_SIZES = frozenset((HASH_BYTES,))

ReadTile = Callable[[int, int], bytes]
"""``read_tile(level, index)`` gives a tile's hashes, joined.  Hashes beyond the tree at hand are ignored."""


class Tile(msgspec.Struct, frozen=True):
    """A full tile: hashes ``256 * index`` up to ``256 * index + 255`` of ``level``, joined."""

    level: int
    index: int
    hashes: bytes


class TileBuilder:
    """The right edge of a tree stored as tiles: takes leaf hashes, gives back each tile at the moment it is full."""

    __slots__ = ("_edge", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._edge: list[list[Hash]] = [[]]  # by level, the hashes of the tile that is not full yet

    @classmethod
    def resume(cls, size: int, tail: Sequence[Hash], read_tile: ReadTile) -> TileBuilder:
        """The builder of a tree of ``size`` leaves, from its full tiles and the last ``size % 256`` leaf hashes.

        Compare ``root()`` with a signed checkpoint before use: what the tiles say is not trusted.

        Raises:
            ChainError: ``tail`` has another length, or a stored tile is not full.
        """
        require_size(size)
        if len(tail) != size % TILE_WIDTH:
            raise ChainError(
                "merkle.bad-tail", f"{size} leaves end in {size % TILE_WIDTH} outside full tiles, not {len(tail)}"
            )
        for leaf in tail:
            require_hash(leaf)
        made = cls()
        made._size, made._edge = size, [list(tail)]
        full_below = size >> TILE_HEIGHT
        while full_below:
            below = len(made._edge) - 1
            first = full_below - full_below % TILE_WIDTH
            made._edge.append([_fold(_entries(read_tile, below, at, TILE_WIDTH)) for at in range(first, full_below)])
            full_below >>= TILE_HEIGHT
        return made

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    def append(self, leaf: Hash) -> tuple[Tile, ...]:
        """Add one leaf hash; the tiles it completes, lowest level first.  Store them together with the leaf's record.

        Raises:
            ChainError: it is not 32 bytes.
        """
        require_hash(leaf)
        self._size += 1
        self._edge[0].append(leaf)
        return self._completed() if len(self._edge[0]) == TILE_WIDTH else ()

    def extend(self, leaves: Sequence[Hash]) -> None:
        """Add many leaf hashes, for whoever stores no tiles.

        Raises:
            ChainError: one is not 32 bytes.
        """
        if not _HASH_SIZES.issuperset(map(len, leaves)):
            require_hash(max(leaves, key=lambda leaf: abs(len(leaf) - HASH_BYTES)))  # says so
        done = 0
        while done < len(leaves):
            taken = leaves[done : done + TILE_WIDTH - len(self._edge[0])]
            done += len(taken)
            self._size += len(taken)
            self._edge[0] += taken
            if len(self._edge[0]) == TILE_WIDTH:
                self._completed()

    def _completed(self) -> tuple[Tile, ...]:
        """The tiles that the last leaf has filled, each of which is one hash of the level above."""
        completed: list[Tile] = []
        level = 0
        while len(row := self._edge[level]) == TILE_WIDTH:
            completed.append(Tile(level, (self._size >> TILE_HEIGHT * (level + 1)) - 1, b"".join(row)))
            self._edge[level] = []
            level += 1
            if level == len(self._edge):
                self._edge.append([])
            self._edge[level].append(_fold(row))
        return tuple(completed)

    def root(self) -> Hash:
        """The root of the tree at its present size, from the right edge alone."""
        return bag(
            [
                _fold(row[start : start + width])
                for row in reversed(self._edge)
                for start, width in _complete_parts(0, len(row))
            ]
        )

    def reader(self, read_stored: ReadTile) -> ReadTile:
        """A reader of every tile of the tree as it is now: full ones from ``read_stored``, the others from here.

        ``read_stored`` must find a tile from the moment ``append`` gave it out, also while it is still being written.
        """
        size = self._size
        edge = {
            (level, size >> TILE_HEIGHT * (level + 1)): b"".join(row) for level, row in enumerate(self._edge) if row
        }

        def read(level: int, index: int) -> bytes:
            partial = edge.get((level, index))
            return read_stored(level, index) if partial is None else partial

        return read


def tree_root(size: int, read_tile: ReadTile) -> Hash:
    """The root of the first ``size`` leaves.

    Raises:
        ChainError: ``size`` is out of range, or a tile is too short.
    """
    require_size(size)
    return _Subtrees(read_tile).root(0, size)


def inclusion_proof(index: int, size: int, read_tile: ReadTile) -> tuple[Hash, ...]:
    """The hashes that lead from leaf ``index`` to the root of the first ``size`` leaves.

    Raises:
        ChainError: there is no such leaf in that tree, or a tile is too short.
    """
    require_size(size)
    if not 0 <= index < size:
        raise ChainError("merkle.out-of-range", f"a tree of {size} leaves has no leaf `{index}`")
    subtrees = _Subtrees(read_tile)
    proof: list[Hash] = []
    start, end = 0, size
    while end - start > 1:
        split = start + _left_width(end - start)
        if index < split:
            proof.append(subtrees.root(split, end))
            end = split
        else:
            proof.append(subtrees.root(start, split))
            start = split
    return tuple(reversed(proof))


def consistency_proof(old: int, new: int, read_tile: ReadTile) -> tuple[Hash, ...]:
    """The hashes that show the first ``new`` leaves to begin with the first ``old`` ones.

    Raises:
        ChainError: not ``0 < old <= new`` (nothing can be shown from an empty tree), or a tile is too short.
    """
    require_size(new)
    if not 0 < old <= new:
        raise ChainError("merkle.out-of-range", f"no proof leads from `{old}` to `{new}` leaves")
    subtrees = _Subtrees(read_tile)
    proof: list[Hash] = []
    start, end = 0, new
    while end != old:
        split = start + _left_width(end - start)
        if old <= split:
            proof.append(subtrees.root(split, end))
            end = split
        else:
            proof.append(subtrees.root(start, split))
            start = split
    if start:  # otherwise the old tree is itself a subtree of the new one, and the verifier has its root
        proof.append(subtrees.root(start, end))
    return tuple(reversed(proof))


class _Subtrees:
    """Roots of the subtrees into which RFC 6962 cuts a tree; each tile is read once."""

    __slots__ = ("_read_tile", "_tiles")

    def __init__(self, read_tile: ReadTile) -> None:
        self._read_tile = read_tile
        self._tiles: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, end: int) -> Hash:
        return bag([self._complete(at, width) for at, width in _complete_parts(start, end)])

    def _complete(self, start: int, width: int) -> Hash:
        level = (width.bit_length() - 1) // TILE_HEIGHT
        index, offset = divmod(start >> TILE_HEIGHT * level, TILE_WIDTH)
        count = width >> TILE_HEIGHT * level
        return _fold(_entries(self._read, level, index, offset + count)[offset:])

    def _read(self, level: int, index: int) -> bytes:
        if (level, index) not in self._tiles:
            self._tiles[level, index] = self._read_tile(level, index)
        return self._tiles[level, index]


def _complete_parts(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The complete subtrees, as start and width, that make up leaves ``start`` to ``end``, widest first."""
    while start < end:
        width = 1 << (end - start).bit_length() - 1
        yield start, width
        start += width


def _left_width(width: int) -> int:
    """The largest power of two below ``width``, which is above one."""
    return 1 << (width - 1).bit_length() - 1


def _entries(read_tile: ReadTile, level: int, index: int, count: int) -> list[Hash]:
    """The first ``count`` hashes of a tile."""
    tile = read_tile(level, index)
    if len(tile) % HASH_BYTES or not count * HASH_BYTES <= len(tile) <= TILE_WIDTH * HASH_BYTES:
        raise ChainError(
            "merkle.bad-tile",
            f"tile {index} of level {level} has {len(tile)} bytes where {count} hashes are needed",
            advice="make the tiles again from the records",
        )
    return [Hash(tile[at : at + HASH_BYTES]) for at in range(0, count * HASH_BYTES, HASH_BYTES)]


def _fold(hashes: Sequence[Hash]) -> Hash:
    """The root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = level_above(hashes)
    return hashes[0]
