"""The holder key hands on what the user granted: narrower, to one session, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.canon import encode
from astrid.core.subagents import Subagent
from astrid.core.tokens import UNLIMITED_MICROS, Grant, Scope, Token, verify_chain
from astrid.errors import TokenError
from astrid.runtime.wallet import HolderWallet
from tests.fakes.authority import CHILD_KEY, FILES, HOLDER, NOW, READ, ROOTS, SESSION, SESSION_KEY, STRANGER, token
from tests.fakes.clock import FakeEntropy


def wallet(entropy: FakeEntropy | None = None) -> HolderWallet:
    return HolderWallet(HOLDER, ROOTS, entropy or FakeEntropy())


def narrow(given_token: Token, **fields: Any) -> Token:
    to: dict[str, Any] = {"holder": SESSION_KEY.public, "session": SESSION, "purse_micros": 500} | fields
    return verify_chain(wallet().narrow(given_token.raw, **to), ROOTS)


@pytest.mark.parametrize("scope", [Scope.WORKSPACE, Scope.ALWAYS])
def test_what_is_handed_on_is_for_one_session_and_its_key(scope: Scope) -> None:
    standing = token(scope=scope, tainted_ok=scope != Scope.ALWAYS)
    mine = narrow(standing)
    assert (mine.holder, mine.leaf.session, mine.leaf.scope) == (SESSION_KEY.public, SESSION, Scope.SESSION)
    assert mine.ids[:1] == standing.ids
    assert mine.leaf.grants == standing.leaf.grants
    assert mine.leaf.depth == standing.leaf.depth - 1


@pytest.mark.parametrize(
    ("purse", "asked", "gets"), [(1000, 500, 500), (100, 500, 100), (UNLIMITED_MICROS, 500, 500), (1000, 0, 0)]
)
def test_no_more_money_than_both_allow(purse: int, asked: int, gets: int) -> None:
    assert narrow(token(purse=purse), purse_micros=asked).leaf.purse == gets


def test_a_token_of_somebody_else_comes_back_as_it_is() -> None:
    theirs = token(holder=CHILD_KEY.public)
    assert wallet().narrow(theirs.raw, holder=SESSION_KEY.public, session=SESSION, purse_micros=1) == theirs.raw


def test_a_token_that_may_not_be_passed_on_is_not() -> None:
    with pytest.raises(TokenError):
        narrow(token(depth=0))


@pytest.mark.parametrize("raw", [b"", b"nonsense", token().raw[:-1]])
def test_what_is_no_token_is_refused(raw: bytes) -> None:
    with pytest.raises(TokenError):
        wallet().narrow(raw, holder=SESSION_KEY.public, session=SESSION, purse_micros=1)


def test_two_sessions_keys_or_grants_never_get_the_same_nonce() -> None:
    purse = wallet()
    to: list[tuple[bytes, bytes, bytes]] = [
        (token().raw, SESSION_KEY.public, SESSION),
        (token().raw, CHILD_KEY.public, SESSION),
        (token().raw, SESSION_KEY.public, b"T" * 16),
        (token(nonce=b"o" * 16).raw, SESSION_KEY.public, SESSION),
    ]
    made = [purse.narrow(raw, holder=key, session=session, purse_micros=1) for raw, key, session in to]
    assert len({verify_chain(raw, ROOTS).leaf.nonce for raw in made}) == len(to)


def test_a_session_that_asks_again_gets_the_block_that_it_had() -> None:
    purse = wallet()
    made = [purse.narrow(token().raw, holder=SESSION_KEY.public, session=SESSION, purse_micros=1) for _ in range(2)]
    assert made[0] == made[1]


def test_nobody_who_knows_all_but_the_secret_can_say_the_nonce_of_a_block() -> None:
    entropy = FakeEntropy()
    first, second = wallet(entropy), wallet(entropy)
    to: dict[str, Any] = {"holder": SESSION_KEY.public, "session": SESSION, "purse_micros": 1}
    made = [verify_chain(one.narrow(token().raw, **to), ROOTS) for one in (first, second)]
    assert made[0].leaf.nonce != made[1].leaf.nonce


def test_a_part_of_it_is_handed_on_as_that_part() -> None:
    less = (Grant("file://w/src/**", READ, 0, 0, b""),)
    raw = wallet().pass_on(token(), less, holder=SESSION_KEY.public, session=SESSION, purse_micros=5)
    assert verify_chain(raw, ROOTS).leaf.grants == less


WIDER = st.sampled_from(
    [
        Grant("file://**", READ, 0, 1, b""),
        Grant("file://w/**", 0xFF, 0, 1, b""),
        Grant("file://w/**", READ, 0, 3, b""),
        Grant("file://w/**", READ, READ, 1, b""),
        Grant("exec://%2Fusr%2Fbin%2Fls", 4, 0, 0, b""),
    ]
)


@given(st.sets(WIDER, min_size=1), st.booleans())
def test_nothing_wider_can_be_handed_on(grants: set[Grant], beside: bool) -> None:
    every: set[Grant] = grants | ({FILES} if beside else set())
    wanted: tuple[Grant, ...] = tuple(sorted(every, key=encode))
    with pytest.raises(TokenError):
        wallet().pass_on(token(), wanted, holder=SESSION_KEY.public, session=SESSION, purse_micros=5)


READER = Subagent(name="r", description="d", prompt="p", tools=("read_file",), permissions=READ)


def delegate(purse: HolderWallet, raw: bytes, parent: bytes, child: bytes, **fields: Any) -> Token:
    terms: dict[str, Any] = {"purse_micros": 5, "expires_s": NOW + 60} | fields
    tooldefs = {"read_file": b"R" * 32}
    raw = purse.delegate(raw, parent=parent, child=child, agent=READER, tooldefs=tooldefs, **terms)
    return verify_chain(raw, ROOTS)


def test_a_sessions_key_is_the_same_again_and_no_other_sessions() -> None:
    keys = [wallet().key_of(session) for session in (SESSION, SESSION, b"T" * 16)]
    assert keys[0] == keys[1] != keys[2]
    assert HolderWallet(STRANGER, ROOTS, FakeEntropy()).key_of(SESSION) != keys[0]


def test_a_session_hands_on_to_its_child_and_the_child_to_its_own() -> None:
    purse, child, grandchild = wallet(), b"C" * 16, b"G" * 16
    own = purse.narrow(token().raw, holder=purse.key_of(SESSION), session=SESSION, purse_micros=100)
    one = delegate(purse, own, SESSION, child)
    two = delegate(purse, one.raw, child, grandchild)
    assert [block.holder for block in two.blocks[1:]] == [purse.key_of(one) for one in (SESSION, child, grandchild)]
    assert [block.session for block in two.blocks[1:]] == [SESSION] * 3
    assert (one.ids[:2], two.ids[:3]) == (verify_chain(own, ROOTS).ids, one.ids)


def test_no_session_hands_on_what_another_holds() -> None:
    purse = wallet()
    own = purse.narrow(token().raw, holder=purse.key_of(SESSION), session=SESSION, purse_micros=100)
    with pytest.raises(TokenError):
        delegate(purse, own, b"T" * 16, b"C" * 16)
    with pytest.raises(TokenError):
        delegate(purse, token().raw, SESSION, b"C" * 16)


def test_two_children_have_two_nonces_nobody_can_guess() -> None:
    purse = wallet()
    own = purse.narrow(token().raw, holder=purse.key_of(SESSION), session=SESSION, purse_micros=100)
    one, two = (delegate(purse, own, SESSION, child) for child in (b"C" * 16, b"D" * 16))
    assert one.leaf.nonce != two.leaf.nonce


def test_with_another_key_nothing_is_handed_on() -> None:
    other = HolderWallet(STRANGER, ROOTS, FakeEntropy())
    with pytest.raises(TokenError):
        other.pass_on(token(), (FILES,), holder=SESSION_KEY.public, session=SESSION, purse_micros=5)
