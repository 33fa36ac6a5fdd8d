"""The Merkle tree against RFC 6962's own definition, and its verifiers against vectors of another implementation."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.merkle import (
    EMPTY_ROOT,
    MAX_LEAVES,
    MAX_PROOF_HASHES,
    CompactRange,
    Hash,
    RangeSnapshot,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from astrid.errors import ChainError

VECTORS = Path(__file__).parent.parent / "vectors"
MODEST = settings(max_examples=150, deadline=None)
SIZE = 70
LEAVES = [leaf_hash(b"record %d" % number) for number in range(SIZE)]


def naive_root(leaves: list[Hash]) -> bytes:
    """MTH of RFC 6962, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = naive_split(len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def naive_split(count: int) -> int:
    split = 1
    while split * 2 < count:
        split *= 2
    return split


def naive_path(index: int, leaves: list[Hash]) -> list[bytes]:
    """PATH of RFC 6962."""
    if len(leaves) == 1:
        return []
    split = naive_split(len(leaves))
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def naive_consistency(old: int, leaves: list[Hash], *, known: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962."""
    if old == len(leaves):
        return [] if known else [naive_root(leaves)]
    split = naive_split(len(leaves))
    if old <= split:
        return [*naive_consistency(old, leaves[:split], known=known), naive_root(leaves[split:])]
    return [*naive_consistency(old - split, leaves[split:], known=False), naive_root(leaves[:split])]


ROOTS = [naive_root(LEAVES[:size]) for size in range(SIZE + 1)]


def load(name: str) -> list[Any]:
    content = json.loads((VECTORS / name).read_text())
    assert content["count"] == len(content["vectors"]) == 98
    return [pytest.param(vector, id=vector["file"].removeprefix("testdata/")) for vector in content["vectors"]]


def decoded(vector: dict[str, Any], name: str) -> bytes:
    return base64.b64decode(vector[name] or "")


def decoded_proof(vector: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(entry) for entry in vector["proof"] or []]


@pytest.mark.parametrize("vector", load("merkle_inclusion.json"))
def test_inclusion_is_judged_as_by_the_other_implementation(vector: dict[str, Any]) -> None:
    shown = verify_inclusion(
        decoded(vector, "leafHash"),
        vector["leafIdx"],
        vector["treeSize"],
        decoded_proof(vector),
        decoded(vector, "root"),
    )
    assert shown is not vector["wantErr"]


@pytest.mark.parametrize("vector", load("merkle_consistency.json"))
def test_consistency_is_judged_as_by_the_other_implementation(vector: dict[str, Any]) -> None:
    shown = verify_consistency(
        vector["size1"], decoded(vector, "root1"), vector["size2"], decoded(vector, "root2"), decoded_proof(vector)
    )
    assert shown is not vector["wantErr"]


def test_a_node_cannot_be_passed_off_as_a_leaf() -> None:
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert CompactRange().root() == EMPTY_ROOT == sha256(b"").digest()


def test_a_compact_range_has_the_defined_root_at_every_size() -> None:
    growing = CompactRange()
    for size in range(SIZE + 1):
        assert (growing.size, growing.root()) == (size, ROOTS[size])
        if size < SIZE:
            growing.append(LEAVES[size])


def test_a_restored_range_goes_on_as_if_it_had_never_stopped() -> None:
    for stop in range(SIZE):
        before = CompactRange()
        for leaf in LEAVES[:stop]:
            before.append(leaf)
        after = CompactRange.restore(before.snapshot())
        for leaf in LEAVES[stop:]:
            after.append(leaf)
        assert (after.size, after.root()) == (SIZE, ROOTS[SIZE])


def test_appending_leaves_an_earlier_snapshot_alone() -> None:
    growing = CompactRange()
    growing.append(LEAVES[0])
    snapshot = growing.snapshot()
    growing.append(LEAVES[1])
    assert snapshot == (1, (LEAVES[0],))
    restored = CompactRange.restore(snapshot)
    restored.append(LEAVES[2])
    assert snapshot == (1, (LEAVES[0],))


@pytest.mark.parametrize(
    ("snapshot", "code"),
    [
        (RangeSnapshot(3, (LEAVES[0],)), "merkle.bad-range"),
        (RangeSnapshot(0, (LEAVES[0],)), "merkle.bad-range"),
        (RangeSnapshot(-1, (LEAVES[0],)), "merkle.out-of-range"),
        (RangeSnapshot(2**63, (LEAVES[0],)), "merkle.out-of-range"),
        (RangeSnapshot(1, (Hash(b"short"),)), "merkle.bad-hash"),
    ],
)
def test_a_snapshot_that_no_range_gave_is_refused(snapshot: RangeSnapshot, code: str) -> None:
    with pytest.raises(ChainError) as caught:
        CompactRange.restore(snapshot)
    assert caught.value.code == code


def test_the_largest_range_can_be_restored() -> None:
    snapshot = RangeSnapshot(MAX_LEAVES, (LEAVES[0],) * 63)
    assert CompactRange.restore(snapshot).snapshot() == snapshot


def test_a_refused_leaf_changes_nothing() -> None:
    growing = CompactRange()
    growing.append(LEAVES[0])
    with pytest.raises(ChainError) as caught:
        growing.append(Hash(LEAVES[1] + b"x"))
    assert caught.value.code == "merkle.bad-hash"
    assert growing.snapshot() == (1, (LEAVES[0],))


def test_every_true_inclusion_is_accepted() -> None:
    for size in range(1, SIZE + 1):
        for index in range(size):
            proof = naive_path(index, LEAVES[:size])
            assert verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])


def test_every_true_consistency_is_accepted() -> None:
    for new in range(1, SIZE + 1):
        for old in range(1, new + 1):
            proof = naive_consistency(old, LEAVES[:new])
            assert verify_consistency(old, ROOTS[old], new, ROOTS[new], proof)


@MODEST
@given(st.data())
def test_an_inclusion_proof_fits_one_leaf_one_place_one_proof_and_one_root(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, SIZE))
    index = data.draw(st.integers(0, size - 1))
    proof = naive_path(index, LEAVES[:size])
    other = data.draw(st.integers(-1, SIZE).filter(lambda place: place != index))
    assert not verify_inclusion(LEAVES[index], other, size, proof, ROOTS[size])
    assert not verify_inclusion(leaf_hash(b"forged"), index, size, proof, ROOTS[size])
    assert not verify_inclusion(LEAVES[index], index, size, proof, damage(data, ROOTS[size]))
    assert not verify_inclusion(LEAVES[index], index, size, damage_proof(data, proof), ROOTS[size])


@MODEST
@given(st.data())
def test_a_consistency_proof_fits_one_pair_of_sizes_and_roots(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, SIZE))
    old = data.draw(st.integers(1, new - 1))
    proof = naive_consistency(old, LEAVES[:new])
    assert not verify_consistency(old, damage(data, ROOTS[old]), new, ROOTS[new], proof)
    assert not verify_consistency(old, ROOTS[old], new, damage(data, ROOTS[new]), proof)
    assert not verify_consistency(old, ROOTS[old], new, ROOTS[new], damage_proof(data, proof))
    assert not verify_consistency(new, ROOTS[new], old, ROOTS[old], proof)


@MODEST
@given(st.data())
def test_no_proof_shows_a_log_whose_past_was_changed(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, SIZE))
    old = data.draw(st.integers(1, new - 1))
    changed = list(LEAVES[:new])
    changed[data.draw(st.integers(0, old - 1))] = leaf_hash(b"forged")
    for proof in (naive_consistency(old, changed), naive_consistency(old, LEAVES[:new])):
        assert not verify_consistency(old, ROOTS[old], new, naive_root(changed), proof)


def test_equal_sizes_need_equal_roots_and_no_proof() -> None:
    assert verify_consistency(5, ROOTS[5], 5, ROOTS[5], [])
    assert not verify_consistency(5, ROOTS[5], 5, ROOTS[6], [])
    assert not verify_consistency(5, ROOTS[5], 5, ROOTS[5], [LEAVES[0]])


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (-1, 5), (6, 5), (2**62, 2**63)])
def test_nothing_is_shown_from_an_empty_tree_backwards_or_beyond_the_limit(old: int, new: int) -> None:
    root = bytes(EMPTY_ROOT)
    assert not verify_consistency(old, root, new, root, [])
    assert not verify_consistency(old, root, new, root, [root])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 1), (1, 1), (0, -1), (0, 2**63)])
def test_no_leaf_lies_outside_the_tree(index: int, size: int) -> None:
    assert not verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])


def test_the_largest_tree_can_be_proved() -> None:
    proof = [LEAVES[number % SIZE] for number in range(63)]
    node = LEAVES[0]
    for sibling in proof:
        node = node_hash(node, sibling)
    assert verify_inclusion(LEAVES[0], 0, MAX_LEAVES, proof, node)


def test_an_endless_proof_is_refused_before_it_is_walked() -> None:
    class Endless(list[bytes]):
        def __iter__(self) -> Any:
            raise AssertionError("the proof was walked")

    proof = Endless([LEAVES[0]] * (MAX_PROOF_HASHES + 1))
    assert not verify_inclusion(LEAVES[0], 0, MAX_LEAVES, proof, ROOTS[1])
    assert not verify_consistency(3, ROOTS[3], MAX_LEAVES, ROOTS[4], proof)


def test_hashes_of_another_length_are_refused_though_their_joined_bytes_fit() -> None:
    leaf, sibling = LEAVES[0], LEAVES[1]
    root = node_hash(leaf, sibling)
    assert verify_inclusion(leaf, 0, 2, [sibling], root)
    assert not verify_inclusion(leaf + sibling[:1], 0, 2, [sibling[1:]], root)
    assert not verify_inclusion(leaf[:-1], 0, 2, [leaf[-1:] + sibling], root)
    assert not verify_consistency(1, leaf + sibling[:1], 2, root, [sibling[1:]])


def damage(data: st.DataObject, value: bytes) -> bytes:
    place = data.draw(st.integers(0, len(value) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    return value[:place] + bytes((value[place] ^ bit,)) + value[place + 1 :]


def damage_proof(data: st.DataObject, proof: list[bytes]) -> list[bytes]:
    """A proof that is not ``proof``: an entry changed, left out or put in."""
    place = data.draw(st.integers(0, len(proof)))
    if place == len(proof) or data.draw(st.booleans()):
        return [*proof[:place], data.draw(st.binary(min_size=32, max_size=32)), *proof[place:]]
    if data.draw(st.booleans()):
        return proof[:place] + proof[place + 1 :]
    return [*proof[:place], damage(data, proof[place]), *proof[place + 1 :]]
