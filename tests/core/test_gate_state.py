"""The cache of verified tokens: it saves work and never an answer (threat 47)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from astrid.core import gate_state, keys, tokens
from astrid.core.gate_messages import Propose
from astrid.core.gate_state import Pending, Salts, Stage, TokenCache
from astrid.core.tokens import MAX_CHAIN_BYTES, Roots, Token
from astrid.errors import TokenError
from tests.fakes.authority import HOLDER, ROOTS, SESSION_KEY, pass_on, token
from tests.fakes.gate_bench import STANDING, Bench


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was really verified, in order."""
    calls: list[bytes] = []
    original = gate_state.verify_chain

    def verify(raw: bytes, roots: Roots, known: Mapping[bytes, Token]) -> object:
        calls.append(raw)
        return original(raw, roots, known)

    monkeypatch.setattr(gate_state, "verify_chain", verify)
    return calls


def test_a_token_is_verified_once(verified: list[bytes]) -> None:
    cache = TokenCache()
    assert cache.verified(STANDING.raw, ROOTS) is cache.verified(STANDING.raw, ROOTS)
    assert len(verified) == 1


def test_a_token_dies_with_the_keys_it_was_verified_under(verified: list[bytes]) -> None:
    cache = TokenCache()
    cache.verified(STANDING.raw, ROOTS)
    with pytest.raises(TokenError):
        cache.verified(STANDING.raw, Roots({}, 2))
    again = cache.verified(STANDING.raw, msgspec.structs.replace(ROOTS, epoch=3))
    assert again.epoch == 3
    assert len(verified) == 3


def test_what_does_not_verify_is_not_kept(verified: list[bytes]) -> None:
    cache = TokenCache()
    for _ in range(2):
        with pytest.raises(TokenError):
            cache.verified(STANDING.raw[:-1], ROOTS)
    assert len(verified) == 2
    assert not cache._tokens


def test_a_signature_that_was_changed_is_another_token(verified: list[bytes]) -> None:
    cache = TokenCache()
    cache.verified(STANDING.raw, ROOTS)
    changed = STANDING.raw[:-1] + bytes([STANDING.raw[-1] ^ 1])
    with pytest.raises(TokenError) as error:
        cache.verified(changed, ROOTS)
    assert error.value.code == "token.signature"
    assert verified == [STANDING.raw, changed]


def test_of_a_chain_that_goes_on_from_a_known_one_only_the_new_block_is_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache, parent = TokenCache(), token(holder=HOLDER.public)
    child = pass_on(parent, HOLDER, holder=SESSION_KEY.public)
    signatures: list[bytes] = []

    def verify(*given: bytes) -> bool:
        signatures.append(given[-1])
        return keys.verify(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(tokens, "verify", verify)
    cache.verified(parent.raw, ROOTS)
    assert len(signatures) == 1
    found = cache.verified(child.raw, ROOTS)
    assert (found.blocks, found.ids, found.patterns) == (child.blocks, child.ids, child.patterns)
    assert len(signatures) == 2
    cache.verified(child.raw, msgspec.structs.replace(ROOTS, epoch=9))
    assert len(signatures) == 4  # the roots changed: what was known of the parent counts no more


def test_what_is_too_long_is_not_even_looked_up(verified: list[bytes]) -> None:
    class Chain(bytes):
        def __hash__(self) -> int:
            raise AssertionError("looked up")

    with pytest.raises(TokenError, match="bytes"):
        TokenCache().verified(Chain(MAX_CHAIN_BYTES + 1), ROOTS)
    assert verified == []


def test_no_salt_comes_twice_and_another_secret_gives_others() -> None:
    one, other = Salts(b"1" * 32), Salts(b"2" * 32)
    taken = [salts.take() for salts in (one, other) for _ in range(3 * gate_state.SALTS_AT_ONCE)]
    assert len(set(taken)) == 6 * gate_state.SALTS_AT_ONCE
    assert {len(salt) for salt in taken} == {32}


def test_the_least_used_goes_first_and_the_cache_stays_small(
    monkeypatch: pytest.MonkeyPatch, verified: list[bytes]
) -> None:
    monkeypatch.setattr(gate_state, "CACHED_TOKENS", 2)
    one, two, three = (token(nonce=bytes([n]) * 16, holder=SESSION_KEY.public).raw for n in (1, 2, 3))
    cache = TokenCache()
    for raw in (one, two, one, three, one):
        cache.verified(raw, ROOTS)
    assert verified == [one, two, three]
    cache.verified(two, ROOTS)
    assert verified == [one, two, three, two]
    assert len(cache._tokens) == 2


def test_a_flood_of_bad_chains_leaves_nothing_in_the_cache_and_one_of_good_chains_a_bounded_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threat 47, with a bound that a short flood passes."""
    cache = TokenCache()
    for number in range(2000):
        with pytest.raises(TokenError):
            cache.verified(STANDING.raw + number.to_bytes(2), ROOTS)
    assert len(cache._tokens) == 0
    monkeypatch.setattr(gate_state, "verify_chain", lambda raw, roots, known: STANDING)
    bound = gate_state.CACHED_TOKENS
    for number in range(bound + 100):
        cache.verified(number.to_bytes(4), ROOTS)
    assert len(cache._tokens) == bound
    monkeypatch.setattr(gate_state, "CACHED_TOKENS", 1 << 60)  # without it, whatever is sent stays
    for number in range(bound + 100, 3 * bound):
        cache.verified(number.to_bytes(4), ROOTS)
    assert len(cache._tokens) > 2 * bound


def test_a_proposal_that_was_not_permitted_has_no_permit() -> None:
    message = Propose(proposal=1, tool="read_file", args=b"", tokens=(), tainted=False)
    pending = Pending(1, 1, message, Stage.PREPARING, Bench().facts.tools["box", "read_file"])
    with pytest.raises(AssertionError):
        _ = pending.permit
