"""Ten thousand chains of blocks, lawful and not: what verifies, and what it is worth, is what the protocol says.

``fuzz/token_chains`` goes on from here, and ``python -m fuzz.million_chains`` does it a million times.
"""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.patterns import covers, parse_pattern
from astrid.core.tokens import Token
from tests.fakes.chain_checks import checked_bytes, checked_growth, checked_theft, checked_use
from tests.fakes.chain_uses import point
from tests.fakes.chains import Family, Tape
from tests.fakes.naive_chain import PATTERNS, includes

FAMILIES, CHAINS = 400, 25


@settings(max_examples=FAMILIES)
@given(st.binary(min_size=350, max_size=350).map(Tape))
def test_of_ten_thousand_chains_none_allows_what_a_block_above_it_does_not(tape: Tape) -> None:
    family = Family(tape)
    tokens: dict[bytes, Token] = {}
    for number in range(CHAINS):
        found = checked_growth(family)
        if found is None:
            continue
        chain, token = found
        tokens[token.id] = token
        checked_use(token, point(tape, token), tokens)
        if number % 5 == 0:
            checked_theft(family)
            checked_bytes(family, chain)


def test_the_universe_of_the_naive_model_tells_its_patterns_apart_as_finely_as_they_differ() -> None:
    for wider, narrower in itertools.product(PATTERNS, repeat=2):
        assert includes(wider, narrower) is covers(parse_pattern(wider), parse_pattern(narrower)), (wider, narrower)
