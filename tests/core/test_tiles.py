"""Tiles: the same tree as a naive one, from stored full tiles and the right edge alone."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.merkle import (
    MAX_PROOF_HASHES,
    CompactRange,
    Hash,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from astrid.core.tiles import (
    TILE_WIDTH,
    TileBuilder,
    consistency_proof,
    inclusion_proof,
    tree_root,
)
from astrid.errors import ChainError

MODEST = settings(max_examples=60, deadline=None)
LEAVES = [leaf_hash(b"record %d" % number) for number in range(TILE_WIDTH * TILE_WIDTH + 2 * TILE_WIDTH + 5)]
MILLION = 1_000_000


class Store:
    """Full tiles by level and index, as a log keeps them; counts what is read."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.reads: list[tuple[int, int]] = []

    def read(self, level: int, index: int) -> bytes:
        self.reads.append((level, index))
        return self.tiles.get((level, index), b"")


def built(size: int) -> tuple[TileBuilder, Store]:
    builder, store = TileBuilder(), Store()
    for leaf in LEAVES[:size]:
        grow(builder, store, leaf)
    return builder, store


def grow(builder: TileBuilder, store: Store, leaf: Hash) -> None:
    for tile in builder.append(leaf):
        assert (tile.level, tile.index) not in store.tiles
        assert len(tile.hashes) == TILE_WIDTH * 32
        store.tiles[tile.level, tile.index] = tile.hashes


def naive(leaves: list[Hash]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    growing = CompactRange()
    for leaf in leaves:
        growing.append(leaf)
    return growing.root()


WHOLE, WHOLE_STORE = built(len(LEAVES))
WHOLE_READER = WHOLE.reader(WHOLE_STORE.read)
SMALL = 70
SMALL_READER = built(SMALL)[0].reader(Store().read)
SMALL_ROOTS = [naive(LEAVES[:size]) for size in range(SMALL + 1)]


def uniform(level: int, index: int) -> bytes:
    """The tiles of a tree whose leaves are all the same: as large a tree as one likes, for nothing."""
    node = LEAVES[0]
    for _ in range(8 * level):
        node = node_hash(node, node)
    return node * TILE_WIDTH


def test_every_inclusion_in_every_small_tree_can_be_proved() -> None:
    for size in range(1, SMALL + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, SMALL_READER)
            assert verify_inclusion(LEAVES[index], index, size, proof, SMALL_ROOTS[size])


def test_every_consistency_between_small_trees_can_be_proved() -> None:
    for new in range(1, SMALL + 1):
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, SMALL_READER)
            assert verify_consistency(old, SMALL_ROOTS[old], new, SMALL_ROOTS[new], proof)


def test_the_root_of_every_small_prefix_is_the_defined_one() -> None:
    assert [tree_root(size, SMALL_READER) for size in range(SMALL + 1)] == SMALL_ROOTS


AROUND_TILES = st.one_of(
    st.integers(1, len(LEAVES)),
    st.sampled_from([1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_792, len(LEAVES)]),
)


@MODEST
@given(size=AROUND_TILES, place=st.integers(0, len(LEAVES)))
def test_inclusion_is_proved_across_tiles(size: int, place: int) -> None:
    index = place % size
    proof = inclusion_proof(index, size, WHOLE_READER)
    assert verify_inclusion(LEAVES[index], index, size, proof, tree_root(size, WHOLE_READER))


@MODEST
@given(one=AROUND_TILES, other=AROUND_TILES)
def test_consistency_is_proved_across_tiles(one: int, other: int) -> None:
    old, new = sorted((one, other))
    proof = consistency_proof(old, new, WHOLE_READER)
    assert verify_consistency(old, tree_root(old, WHOLE_READER), new, tree_root(new, WHOLE_READER), proof)


def test_builder_range_and_tiles_agree_on_the_root_of_every_prefix() -> None:
    builder, store, growing = TileBuilder(), Store(), CompactRange()
    assert builder.root() == growing.root()
    for number, leaf in enumerate(LEAVES, start=1):
        grow(builder, store, leaf)
        growing.append(leaf)
        if number < 1030 or number % TILE_WIDTH in (0, 1) or number == len(LEAVES):
            assert builder.size == growing.size == number
            assert builder.root() == growing.root()
    assert tree_root(len(LEAVES), builder.reader(store.read)) == growing.root()


def test_a_full_tile_holds_the_roots_of_the_tiles_below() -> None:
    assert sorted(WHOLE_STORE.tiles) == [*((0, index) for index in range(258)), (1, 0)]
    above = WHOLE_STORE.tiles[1, 0]
    for index in range(TILE_WIDTH):
        leaves = LEAVES[index * TILE_WIDTH : (index + 1) * TILE_WIDTH]
        assert WHOLE_STORE.tiles[0, index] == b"".join(leaves)
        assert above[32 * index : 32 * index + 32] == naive(leaves)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537, len(LEAVES)])
def test_a_resumed_builder_goes_on_as_if_it_had_never_stopped(size: int) -> None:
    stored = {
        (level, index): tile
        for (level, index), tile in WHOLE_STORE.tiles.items()
        if (index + 1) * TILE_WIDTH ** (level + 1) <= size
    }
    store = Store()
    store.tiles = stored
    resumed = TileBuilder.resume(size, LEAVES[size - size % TILE_WIDTH : size], store.read)
    assert (resumed.size, resumed.root()) == (size, tree_root(size, WHOLE_READER))
    for leaf in LEAVES[size : size + TILE_WIDTH]:
        grow(resumed, store, leaf)
    after = min(size + TILE_WIDTH, len(LEAVES))
    assert resumed.root() == tree_root(after, WHOLE_READER)
    assert all(WHOLE_STORE.tiles[place] == tile for place, tile in store.tiles.items())


def test_a_proof_at_a_million_leaves_reads_a_handful_of_tiles() -> None:
    reads: list[tuple[int, int]] = []

    def read(level: int, index: int) -> bytes:
        reads.append((level, index))
        return uniform(level, index)

    root = tree_root(MILLION, uniform)
    proof = inclusion_proof(123_456, MILLION, read)
    assert verify_inclusion(LEAVES[0], 123_456, MILLION, proof, root)
    assert len(reads) == len(set(reads)) <= 5
    reads.clear()
    proof = consistency_proof(700_001, MILLION, read)
    assert verify_consistency(700_001, tree_root(700_001, uniform), MILLION, root, proof)
    assert len(reads) == len(set(reads)) <= 6


LARGEST = 2**63 - 1


@pytest.mark.parametrize("old", [1, 2, 3, 2**31 + 1, 2**62 - 1, 2**62, 2**62 + 1, LARGEST - 1, LARGEST])
def test_the_largest_tree_can_be_proved_and_its_proofs_fit_the_limit(old: int) -> None:
    root = tree_root(LARGEST, uniform)
    consistency = consistency_proof(old, LARGEST, uniform)
    assert verify_consistency(old, tree_root(old, uniform), LARGEST, root, consistency)
    inclusion = inclusion_proof(old - 1, LARGEST, uniform)
    assert verify_inclusion(LEAVES[0], old - 1, LARGEST, inclusion, root)
    assert max(len(consistency), len(inclusion)) <= MAX_PROOF_HASHES


def test_no_consistency_proof_is_longer_than_the_limit_and_one_is_as_long() -> None:
    assert len(consistency_proof(3, LARGEST, uniform)) == MAX_PROOF_HASHES


@pytest.mark.parametrize("size", [-1, 2**63])
def test_there_is_no_root_of_a_tree_of_an_impossible_size(size: int) -> None:
    with pytest.raises(ChainError) as caught:
        tree_root(size, uniform)
    assert caught.value.code == "merkle.out-of-range"


def test_a_reader_keeps_showing_the_tree_it_was_made_for() -> None:
    builder, store = built(300)
    read = builder.reader(store.read)
    for leaf in LEAVES[300:600]:
        grow(builder, store, leaf)
    assert tree_root(300, read) == naive(LEAVES[:300])


def test_a_false_tile_makes_no_true_proof() -> None:
    def lie(level: int, index: int) -> bytes:
        tile = WHOLE_READER(level, index)
        return b"\xff" * 32 + tile[32:] if (level, index) == (0, 3) else tile

    root = tree_root(1024, WHOLE_READER)
    index = 3 * TILE_WIDTH + 1
    assert not verify_inclusion(LEAVES[index], index, 1024, inclusion_proof(index, 1024, lie), root)


@pytest.mark.parametrize("length", [0, 31, 32 * 9, 32 * 10 + 1, 32 * 257])
def test_a_tile_that_is_short_torn_or_too_wide_is_refused(length: int) -> None:
    def read(level: int, index: int) -> bytes:
        return bytes(length)

    with pytest.raises(ChainError) as caught:
        tree_root(10, read)
    assert caught.value.code == "merkle.bad-tile"


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5), (0, -1), (0, 2**63)])
def test_there_is_no_proof_for_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ChainError) as caught:
        inclusion_proof(index, size, SMALL_READER)
    assert caught.value.code == "merkle.out-of-range"


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (-1, 5), (6, 5), (1, 2**63)])
def test_there_is_no_proof_from_an_empty_tree_or_backwards(old: int, new: int) -> None:
    with pytest.raises(ChainError) as caught:
        consistency_proof(old, new, SMALL_READER)
    assert caught.value.code == "merkle.out-of-range"


def test_a_refused_leaf_changes_nothing() -> None:
    builder, _ = built(3)
    with pytest.raises(ChainError) as caught:
        builder.append(Hash(b"short"))
    assert caught.value.code == "merkle.bad-hash"
    assert (builder.size, builder.root()) == (3, naive(LEAVES[:3]))


@pytest.mark.parametrize(
    ("size", "tail", "code"),
    [
        (257, 0, "merkle.bad-tail"),
        (256, 1, "merkle.bad-tail"),
        (2**63, 0, "merkle.out-of-range"),
        (-1, 255, "merkle.out-of-range"),
        (256, 0, "merkle.bad-tile"),
    ],
)
def test_a_builder_is_not_resumed_from_what_does_not_fit(size: int, tail: int, code: str) -> None:
    with pytest.raises(ChainError) as caught:
        TileBuilder.resume(size, LEAVES[:tail], Store().read)
    assert caught.value.code == code


def test_a_builder_is_not_resumed_from_a_tail_of_other_things() -> None:
    with pytest.raises(ChainError) as caught:
        TileBuilder.resume(1, [Hash(b"short")], Store().read)
    assert caught.value.code == "merkle.bad-hash"


# --- many at once


@MODEST
@given(st.lists(st.integers(0, 3 * TILE_WIDTH), max_size=6), st.integers(0, TILE_WIDTH))
def test_many_leaves_at_once_make_the_tree_that_one_after_the_other_make(counts: list[int], alone: int) -> None:
    many, singly, at = TileBuilder(), TileBuilder(), 0
    for leaf in LEAVES[:alone]:
        many.append(leaf)
        singly.append(leaf)
    at = alone
    for count in counts:
        many.extend(LEAVES[at : at + count])
        for leaf in LEAVES[at : at + count]:
            singly.append(leaf)
        at += count
        assert (many.size, many.root()) == (singly.size, singly.root())
    assert [tile for leaf in LEAVES[: 2 * TILE_WIDTH] for tile in many.append(leaf)] == [
        tile for leaf in LEAVES[: 2 * TILE_WIDTH] for tile in singly.append(leaf)
    ]


def test_many_leaves_fill_tiles_of_every_level() -> None:
    many, singly = TileBuilder(), CompactRange()
    many.extend(LEAVES)
    for leaf in LEAVES:
        singly.append(leaf)
    assert many.root() == singly.root()


def test_no_leaf_is_taken_if_one_of_many_is_no_hash() -> None:
    builder = TileBuilder()
    with pytest.raises(ChainError) as caught:
        builder.extend([LEAVES[0], Hash(b"short")])
    assert caught.value.code == "merkle.bad-hash"
    assert builder.size == 0
