"""Merkle tree over SHA-256: hashes, the root of a growing tree, and the check of proofs.  Pure.

What a stranger needs to check our log.  Making proofs from what the log has stored is the business of ``tiles``.

Never: raises for a false proof.  The two ``verify_`` functions answer with a bool, and do at most ``MAX_PROOF_HASHES``
steps whatever they are handed.

Invariants:
  A leaf is hashed with prefix 0x00 and a node with 0x01, so that no node can be passed off as a leaf.
  CompactRange has the root that RFC 6962 defines, for every size.

Source: RFC 6962 section 2.1; RFC 9162 sections 2.1.3.2 and 2.1.4.2; protocol N9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple, NewType, cast

from astrid.errors import ChainError

Hash = NewType("Hash", bytes)

HASH_BYTES = 32
MAX_LEAVES = 2**63 - 1
MAX_PROOF_HASHES = 64  # a tree of 2^63 - 1 leaves is 63 levels high; a proof of consistency may hold one hash more
EMPTY_ROOT = Hash(sha256(b"").digest())


class RangeSnapshot(NamedTuple):
    """What a CompactRange is restored from: its size and the roots of its complete subtrees, widest first."""

    size: int
    peaks: tuple[Hash, ...]


def leaf_hash(data: bytes) -> Hash:
    """The hash under which ``data`` enters the tree."""
    return Hash(sha256(b"\x00" + data).digest())


def leaf_hashes(many: Iterable[bytes]) -> list[Hash]:
    """As ``leaf_hash``, without a call for each."""
    return cast("list[Hash]", [sha256(b"\x00" + data).digest() for data in many])


def node_hash(left: bytes, right: bytes) -> Hash:
    """The hash of the node above ``left`` and ``right``."""
    return Hash(sha256(b"\x01" + left + right).digest())


def level_above(hashes: Sequence[bytes]) -> list[Hash]:
    """The hashes of the nodes above an even number of neighbours: as ``node_hash``, without a call for each."""
    return [
        Hash(sha256(b"\x01" + left + right).digest()) for left, right in zip(hashes[::2], hashes[1::2], strict=True)
    ]


def bag(peaks: Sequence[Hash]) -> Hash:
    """The root over complete subtrees of falling width; of none, the root of the empty tree."""
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for peak in reversed(peaks[:-1]):
        node = node_hash(peak, node)
    return node


def require_hash(value: bytes) -> None:
    """Nothing, if ``value`` can be a hash.

    Raises:
        ChainError: it is not 32 bytes.
    """
    if len(value) != HASH_BYTES:
        raise ChainError("merkle.bad-hash", f"a hash is {HASH_BYTES} bytes, not {len(value)}")


def require_size(size: int) -> None:
    """Nothing, if ``size`` can be the number of leaves of a tree.

    Raises:
        ChainError: it is below zero or above ``MAX_LEAVES``.
    """
    if not 0 <= size <= MAX_LEAVES:
        raise ChainError("merkle.out-of-range", f"`{size}` is not the size of a tree")


class CompactRange:
    """The root of a growing tree from one hash per set bit of its size; enough to append and to check, not to prove."""

    __slots__ = ("_peaks", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._peaks: list[Hash] = []

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    def append(self, leaf: Hash) -> None:
        """Add one leaf hash.

        Raises:
            ChainError: it is not 32 bytes.
        """
        require_hash(leaf)
        node, bits = leaf, self._size
        while bits & 1:
            node = node_hash(self._peaks.pop(), node)
            bits >>= 1
        self._peaks.append(node)
        self._size += 1

    def root(self) -> Hash:
        """The root of the tree at its present size."""
        return bag(self._peaks)

    def snapshot(self) -> RangeSnapshot:
        """The present state; ``restore`` makes it again."""
        return RangeSnapshot(self._size, tuple(self._peaks))

    @classmethod
    def restore(cls, snapshot: RangeSnapshot) -> CompactRange:
        """The range that ``snapshot`` was taken of.

        Raises:
            ChainError: the number of hashes does not fit the size, or one is not 32 bytes.
        """
        size, peaks = snapshot
        require_size(size)
        if len(peaks) != size.bit_count():
            raise ChainError(
                "merkle.bad-range", f"a range of {size} leaves has {size.bit_count()} hashes, not {len(peaks)}"
            )
        for peak in peaks:
            require_hash(peak)
        made = cls()
        made._size, made._peaks = size, list(peaks)
        return made


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``proof`` shows that the leaf hash ``leaf`` is number ``index`` of the ``size`` leaves under ``root``."""
    if not 0 <= index < size <= MAX_LEAVES or not _well_formed(leaf, proof):
        return False
    # Both are walked up to the root together: where the leaf lies, and where the last leaf lies.
    position, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1:  # the last node of an uneven level has no sibling there and rises as it is
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and node == root


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows that the tree under ``new_root`` begins with the whole tree under ``old_root``.

    Equal sizes need equal roots and an empty proof.  An empty old tree says nothing about the new one: refused.
    """
    if not 0 < old_size <= new_size <= MAX_LEAVES:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    if not proof or not _well_formed(old_root, proof):
        return False
    if old_size & (old_size - 1) == 0:  # a complete old tree is itself the first node on the way up
        first, rest = old_root, proof
    else:
        first, rest = proof[0], proof[1:]
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_node = new_node = first
    for sibling in rest:
        if last == 0:
            return False
        if position & 1 or position == last:
            old_node = node_hash(sibling, old_node)
            new_node = node_hash(sibling, new_node)
            while not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and old_node == old_root and new_node == new_root


def _well_formed(start: bytes, proof: Sequence[bytes]) -> bool:
    # SAFETY: a node hashes two joined strings; if their lengths could vary, one proof could stand for another.
    return (
        len(proof) <= MAX_PROOF_HASHES
        and len(start) == HASH_BYTES
        and all(len(sibling) == HASH_BYTES for sibling in proof)
    )
