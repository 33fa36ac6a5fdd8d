"""Proofs made from a stored log verify, also when tiles are missing or damaged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.merkle import CompactRange, leaf_hash, verify_consistency, verify_inclusion
from astrid.core.tiles import TILE_WIDTH, TileBuilder
from astrid.errors import ChainError
from astrid.runtime.proofs import Under, prove_consistency, prove_inclusion, tiles_of

MODEST = settings(max_examples=60, deadline=None)


class FakeReader:
    """A log of small records in memory, with its tiles where they are not ``lost``."""

    def __init__(self, size: int, *, lost: frozenset[tuple[int, int]] = frozenset(), cut: int = 0) -> None:
        self.records = [b"record %d" % seq for seq in range(1, size + 1)]
        self._tiles: dict[tuple[int, int], bytes] = {}
        builder = TileBuilder()
        for record in self.records:
            for tile in builder.append(leaf_hash(record)):
                self._tiles[tile.level, tile.index] = tile.hashes[: len(tile.hashes) - cut]
        for name in lost:
            self._tiles.pop(name, None)

    def frames(self, first: int, count: int) -> list[bytes]:
        return self.records[first - 1 : first - 1 + count]

    def tile(self, level: int, index: int) -> bytes:
        return self._tiles.get((level, index), b"")

    def size(self) -> int:
        return len(self.records)

    def root(self, size: int) -> bytes:
        tree = CompactRange()
        for record in self.records[:size]:
            tree.append(leaf_hash(record))
        return tree.root()


SIZES = st.one_of(st.integers(1, 40), st.sampled_from([255, 256, 257, 511, 512, 700]))
LOST = st.frozensets(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=4)


@MODEST
@given(size=SIZES, lost=LOST, data=st.data())
def test_every_record_is_proved_to_be_in_the_log(
    size: int, lost: frozenset[tuple[int, int]], data: st.DataObject
) -> None:
    reader = FakeReader(size, lost=lost)
    seq = data.draw(st.integers(1, size))
    signed = data.draw(st.integers(seq, size))
    path = prove_inclusion(reader, seq, signed)  # type: ignore[arg-type]
    assert verify_inclusion(leaf_hash(reader.records[seq - 1]), seq - 1, signed, path, reader.root(signed))


@MODEST
@given(size=SIZES, lost=LOST, data=st.data())
def test_every_log_is_proved_to_begin_with_what_it_was(
    size: int, lost: frozenset[tuple[int, int]], data: st.DataObject
) -> None:
    reader = FakeReader(size, lost=lost)
    old = data.draw(st.integers(1, size))
    path = prove_consistency(reader, old, size)  # type: ignore[arg-type]
    assert verify_consistency(old, reader.root(old), size, reader.root(size), path)


def test_a_tile_above_others_is_made_of_their_roots() -> None:
    size = TILE_WIDTH * 3 + 5
    whole = tiles_of(FakeReader(size))  # type: ignore[arg-type]
    without = tiles_of(FakeReader(size, lost=frozenset({(0, 0), (0, 1), (0, 2)})))  # type: ignore[arg-type]
    assert whole(1, 0) == without(1, 0)
    assert len(whole(1, 0)) == 3 * 32


def test_a_tile_that_was_cut_short_is_made_again() -> None:
    reader = FakeReader(600, cut=32)
    path = prove_inclusion(reader, 3, 600)  # type: ignore[arg-type]
    assert verify_inclusion(leaf_hash(reader.records[2]), 2, 600, path, reader.root(600))


def test_a_false_tile_makes_a_proof_that_does_not_verify() -> None:
    reader = FakeReader(600)
    tile = bytearray(reader.tile(0, 0))
    tile[0] ^= 1
    reader._tiles[0, 0] = bytes(tile)
    path = prove_inclusion(reader, 5, 600)  # type: ignore[arg-type]
    assert not verify_inclusion(leaf_hash(reader.records[4]), 4, 600, path, reader.root(600))


@pytest.mark.parametrize(("seq", "size"), [(0, 5), (6, 5), (1, 9)])
def test_what_is_not_there_is_not_proved(seq: int, size: int) -> None:
    with pytest.raises(ChainError):
        prove_inclusion(FakeReader(5), seq, size)  # type: ignore[arg-type]


@MODEST
@given(size=SIZES, lost=LOST, data=st.data())
def test_of_a_log_under_a_root_each_record_is_known_and_no_other_is_taken_for_one(
    size: int, lost: frozenset[tuple[int, int]], data: st.DataObject
) -> None:
    reader = FakeReader(size, lost=lost)
    signed = data.draw(st.integers(1, size))
    under = Under(reader, signed, reader.root(signed))  # type: ignore[arg-type]
    for seq in data.draw(st.lists(st.integers(1, signed), max_size=20)):
        assert under.has(seq, reader.records[seq - 1])
        assert not under.has(seq, b"something else")
        assert not under.has(seq, reader.records[seq % size]) or size == 1


@MODEST
@given(size=SIZES, data=st.data())
def test_whoever_edits_a_record_and_all_tiles_above_it_is_found_out(size: int, data: st.DataObject) -> None:
    reader = FakeReader(size)
    edited = data.draw(st.integers(1, size))
    other = FakeReader(size)
    other.records[edited - 1] = b"evil"
    other._tiles = {}  # all made again of what lies there now
    under = Under(other, size, reader.root(size))  # type: ignore[arg-type]
    for seq in (data.draw(st.integers(1, size)), edited):
        assert not under.has(seq, other.records[seq - 1])
