"""A child's block: within its parent's, for every field and whatever its definition asks for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.blocks import Block, Grant, Permission
from astrid.core.canon import Domain, decode, encode
from astrid.core.delegation import child_block, child_grants
from astrid.core.subagents import Subagent
from astrid.core.tokens import MAX_CHAIN_BYTES, SignedBlock, Token, attenuate, verify_chain
from astrid.errors import TokenError
from tests.fakes.authority import (
    CHILD_KEY,
    DAY,
    HOLDER,
    NOW,
    READ,
    ROOTS,
    SESSION,
    SESSION_KEY,
    STRANGER,
    WRITE,
    pass_on,
    token,
)

TOOLDEFS = {"read_file": b"R" * 32, "write_file": b"W" * 32, "task": b"D" * 32}
DELEGATE = int(Permission.DELEGATE)
MODEL = Grant("model://*/**", int(Permission.INVOKE), 0, 1, b"")
FILES = Grant("file://w/**", READ | WRITE, 0, 1, b"")
AGENTS = Grant("tool://agents/*", DELEGATE, 0, 0, b"")
READER = Subagent(name="r", description="d", prompt="p", tools=("read_file",), permissions=READ)
WORKER = Subagent(
    name="w",
    description="d",
    prompt="p",
    tools=("read_file", "write_file", "task"),
    permissions=READ | WRITE | DELEGATE,
)


def parent(**fields: Any) -> Token:
    """What a session holds."""
    given_fields = {"grants": tuple(sorted((AGENTS, FILES, MODEL))), "depth": 5} | fields
    return pass_on(token(**given_fields), HOLDER, session=SESSION, scope=1)


def block(above: Token, agent: Subagent = WORKER, **fields: Any) -> Any:
    terms: dict[str, Any] = {"purse_micros": 500, "expires_s": NOW + 60} | fields
    return child_block(
        above.leaf, above.id, holder=CHILD_KEY.public, nonce=b"c" * 16, agent=agent, tooldefs=TOOLDEFS, **terms
    )


def child(above: Token, agent: Subagent = WORKER, **fields: Any) -> Token:
    return verify_chain(attenuate(above, block(above, agent, **fields), SESSION_KEY), ROOTS)


def test_a_reader_gets_reading_through_its_one_tool_and_the_model() -> None:
    assert child(parent(), READER).leaf.grants == (Grant("file://w/**", READ, 0, 1, b"R" * 32), MODEL)


def test_a_child_has_its_own_key_and_its_parents_session() -> None:
    leaf = child(parent()).leaf
    assert (leaf.holder, leaf.session, leaf.issuer) == (CHILD_KEY.public, SESSION, SESSION_KEY.public)


@pytest.mark.parametrize(("purse", "asked", "gets"), [(1000, 500, 500), (100, 500, 100), (1000, 0, 0)])
def test_a_child_gets_no_more_money_than_both_allow(purse: int, asked: int, gets: int) -> None:
    assert child(parent(purse=purse), purse_micros=asked).leaf.purse == gets


@pytest.mark.parametrize(("expires", "asked", "gets"), [(DAY, 60, 60), (60, DAY, 60)])
def test_a_child_lives_no_longer_than_both_allow(expires: int, asked: int, gets: int) -> None:
    assert child(parent(expires=NOW + expires), expires_s=NOW + asked).leaf.expires == NOW + gets


def test_each_child_is_one_less_deep_and_the_fourth_is_not_made() -> None:
    depths: list[int] = []
    above = parent().leaf
    for _ in range(3):
        above = deeper(above)
        depths.append(above.depth)
    with pytest.raises(TokenError) as raised:
        deeper(above)
    assert depths == [3, 2, 1]
    assert raised.value.code == "agent.too-deep"


def deeper(above: Block) -> Block:
    return child_block(
        above,
        b"i" * 32,
        holder=CHILD_KEY.public,
        nonce=b"c" * 16,
        agent=WORKER,
        tooldefs=TOOLDEFS,
        purse_micros=1,
        expires_s=NOW + 60,
    )


def test_the_last_child_may_not_delegate() -> None:
    assert any(grant.perms & DELEGATE for grant in child(parent(depth=4)).leaf.grants)
    assert not any(grant.perms & DELEGATE for grant in child(parent(depth=3)).leaf.grants)


def test_a_child_that_would_be_left_with_nothing_is_not_made() -> None:
    with pytest.raises(TokenError) as raised:
        block(parent(grants=(Grant("file://w/**", WRITE, 0, 1, b""),)), READER)
    assert raised.value.code == "agent.nothing-left"


def test_a_model_that_may_not_be_called_is_not_handed_on() -> None:
    assert child_grants([Grant("model://*/**", READ, 0, 1, b"")], WORKER, TOOLDEFS) == ()


def test_a_grant_for_another_definition_of_a_tool_is_not_handed_on() -> None:
    one = Grant("file://w/**", READ, 0, 1, b"W" * 32)
    other = Grant("file://w/**", READ, 0, 1, b"X" * 32)
    assert child_grants([one, other], WORKER, TOOLDEFS) == (one,)


def test_a_tool_that_is_not_there_gives_nothing() -> None:
    assert child_grants([FILES], READER, {}) == ()


PATTERNS = st.sampled_from(
    ["file://w/**", "file://w/src/**", "file://**", "model://*/**", "model://a/b", "net://443/com/x", "tool://agents/*"]
)
PERMS = st.integers(1, 255)
GRANTS = st.builds(
    Grant, PATTERNS, PERMS, st.integers(0, 255), st.integers(0, 3), st.sampled_from([b"", b"R" * 32, b"X" * 32])
)
AGENT = st.builds(
    Subagent,
    name=st.just("a"),
    description=st.just("d"),
    prompt=st.just("p"),
    tools=st.lists(st.sampled_from(["read_file", "write_file", "task", "none"]), unique=True).map(tuple),
    permissions=st.integers(0, 255),
)


@given(
    st.sets(GRANTS, min_size=1, max_size=6), AGENT, st.integers(0, 255), st.integers(0, 10**6), st.integers(0, 10**6)
)
def test_a_child_is_within_its_parent(grants: set[Grant], agent: Subagent, depth: int, purse: int, lives: int) -> None:
    above = parent(grants=tuple(sorted(grants)), depth=max(depth, 1), purse=purse)
    try:
        made = child(above, agent, purse_micros=10**5, expires_s=NOW + lives)  # verified: within, by the rules of N2 b
    except TokenError as error:
        assert error.code in ("agent.too-deep", "agent.nothing-left")
        return
    mine, outer = made.leaf, above.leaf
    assert mine.depth < outer.depth
    assert (mine.purse <= outer.purse, mine.expires <= outer.expires) == (True, True)
    for grant in mine.grants:
        same = [one for one in outer.grants if one.pattern == grant.pattern and one.tooldef in (b"", grant.tooldef)]
        assert any(not grant.perms & ~one.perms and grant.max_risk <= one.max_risk for one in same)
        is_model = grant.pattern.startswith("model:")
        assert not grant.issuable
        assert is_model or not grant.perms & ~agent.permissions
        assert is_model or grant.tooldef in {TOOLDEFS[name] for name in agent.tools if name in TOOLDEFS}


WIDER: dict[str, Any] = {
    "grants": (Grant("file://**", READ, 0, 1, b""),),
    "purse": 10**9 + 1,
    "expires": NOW + 2 * DAY,
    "depth": 4,
    "session": b"T" * 16,
    "scope": 2,
}


@pytest.mark.parametrize("field", WIDER)
def test_a_child_that_takes_more_is_refused_by_whoever_verifies_it(field: str) -> None:
    above = parent()
    wider = msgspec.structs.replace(block(above), **{field: WIDER[field]})
    with pytest.raises(TokenError):
        attenuate(above, wider, SESSION_KEY)
    with pytest.raises(TokenError):
        verify_chain(forged(above, wider), ROOTS)


def forged(above: Token, made: Any) -> bytes:
    """What a session would get that signs a block without looking at it."""
    payload = encode(made)
    signed = SignedBlock(payload, SESSION_KEY.sign(Domain.BLOCK, payload))
    chain = decode(above.raw, tuple[SignedBlock, ...], max_bytes=MAX_CHAIN_BYTES, what="a token")
    return encode((*chain, signed))


def test_what_is_forged_here_verifies_as_long_as_it_is_narrower() -> None:
    above = parent()
    assert verify_chain(forged(above, block(above)), ROOTS).leaf == block(above)


def test_nobody_but_the_parent_makes_it_a_child() -> None:
    above = parent()
    with pytest.raises(TokenError):
        attenuate(above, block(above), STRANGER)
