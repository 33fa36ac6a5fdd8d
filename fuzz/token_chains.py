"""INVARIANT: whatever a chain of blocks allows, every block before it allows; nothing else verifies.

Chains are drawn as plain data: a first block, and for each further one the fields that its holder tries to change.
``verify_chain`` must accept a chain exactly if no step widens anything, and no edit of its bytes may be accepted.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.canon import encode
from astrid.core.grants import GrantTerms, Mode, workspace_grant
from astrid.core.keys import SigningKey
from astrid.core.tokens import (
    Assurance,
    Block,
    Domain,
    Roots,
    Scope,
    SignedBlock,
    block_id,
    verify_chain,
)
from astrid.errors import TokenError

KEYS = [SigningKey.from_seed(bytes([number + 1]) * 32) for number in range(8)]
ROOTS = Roots({KEYS[0].public: Assurance.SEALED}, 1)
NARROWING = ("expires", "uses", "purse", "scope")

changes = st.fixed_dictionaries(
    {},
    optional={
        "expires": st.integers(1, 2000),
        "not_before": st.integers(0, 500),
        "uses": st.integers(0, 50),
        "purse": st.integers(0, 5000),
        "scope": st.integers(1, 2),
        "depth": st.integers(0, 6),
        "tainted_ok": st.booleans(),
        "session": st.sampled_from([b"", b"s" * 16, b"t" * 16]),
        "aud": st.sampled_from([b"a" * 32, b"b" * 32]),
    },
)


def first_block() -> Block:
    terms = GrantTerms(
        issuer=KEYS[0].public,
        holder=KEYS[1].public,
        aud=b"a" * 32,
        workspace=b"w" * 32,
        root="/w",
        not_before_s=100,
        expires_s=1000,
        purse_micros=1000,
        assurance=Assurance.SEALED,
        nonce=b"n" * 16,
    )
    return msgspec.structs.replace(workspace_grant(Mode.AUTONOMOUS, terms), uses=20)


def build(steps: list[dict[str, object]]) -> tuple[list[Block], bytes]:
    blocks = [first_block()]
    signed = [sign(blocks[0], KEYS[0])]
    for place, step in enumerate(steps, 1):
        parent = blocks[-1]
        block = msgspec.structs.replace(
            parent,
            parent=block_id(signed[-1].payload),
            issuer=KEYS[place].public,
            holder=KEYS[place + 1].public,
            nonce=bytes([place]) * 16,
            depth=max(parent.depth - 1, 0),
        )
        block = msgspec.structs.replace(block, **step)
        blocks.append(block)
        signed.append(sign(block, KEYS[place]))
    return blocks, encode(tuple(signed))


def sign(block: Block, key: SigningKey) -> SignedBlock:
    payload = encode(block)
    return SignedBlock(payload, key.sign(Domain.BLOCK, payload))


def widens(parent: Block, child: Block) -> bool:
    """Written only from the text of the protocol (N2 b)."""
    if child.aud != parent.aud or (parent.session and child.session != parent.session):
        return True
    if child.not_before < parent.not_before or child.depth >= parent.depth:
        return True
    if child.scope == Scope.SESSION and not child.session:
        return True  # what is good for a session says for which
    return child.tainted_ok > parent.tainted_ok or any(getattr(child, n) > getattr(parent, n) for n in NARROWING)


@given(st.lists(changes, max_size=5))
def test_a_chain_verifies_exactly_if_no_step_widens(steps: list[dict[str, object]]) -> None:
    blocks, raw = build(steps)
    wider = any(widens(parent, child) for parent, child in pairwise(blocks))
    try:
        token = verify_chain(raw, ROOTS)
    except TokenError:
        assert wider
    else:
        assert not wider
        assert token.blocks == tuple(blocks)


@given(st.lists(changes, max_size=3), st.data())
def test_no_edit_of_a_chain_is_another_chain(steps: list[dict[str, object]], data: st.DataObject) -> None:
    _, raw = build(steps)
    place = data.draw(st.integers(0, len(raw) - 1))
    edit = data.draw(st.sampled_from(["flip", "cut", "insert", "append"]))
    edited = {
        "flip": raw[:place] + bytes([raw[place] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[place + 1 :],
        "cut": raw[:place],
        "insert": raw[:place] + data.draw(st.binary(min_size=1, max_size=4)) + raw[place:],
        "append": raw + data.draw(st.binary(min_size=1, max_size=4)),
    }[edit]
    if edited != raw:
        with pytest.raises(TokenError):
            verify_chain(edited, ROOTS)
