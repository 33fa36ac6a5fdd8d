"""What must hold of chains that grow on a tape (``chains``), judged by the words of the protocol (``naive_chain``).

For whoever has a tape: Hypothesis, a coverage-guided fuzzer, a plain seeded generator.

Source: protocol N1, N2; architecture 10 (I7).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import msgspec

from astrid.core.gate_state import TokenCache
from astrid.core.tokens import Token, verify_chain
from astrid.errors import TokenError
from tests.fakes.authority import ROOTS
from tests.fakes.chain_bytes import edited, loosely_signed, respelt
from tests.fakes.chain_uses import Point, permits
from tests.fakes.chains import Family, raw
from tests.fakes.naive_chain import Made, excess, read, revocable

_WARM = TokenCache()  # knows what verified before, whatever that was


def verified(data: bytes) -> Token | None:
    """The token that the bytes prove, if they prove one: the same to who never saw any, and to who saw many."""
    cold, warm = _judged(lambda: verify_chain(data, ROOTS)), _judged(lambda: _WARM.verified(data, ROOTS))
    if isinstance(cold, Token) and isinstance(warm, Token):
        assert msgspec.to_builtins(cold.blocks) == msgspec.to_builtins(warm.blocks)
        assert (cold.raw, cold.ids, cold.patterns, cold.epoch) == (warm.raw, warm.ids, warm.patterns, warm.epoch)
        return cold
    assert cold == warm
    return None


def _judged(verify: Callable[[], Token]) -> Token | str:
    try:
        return verify()
    except TokenError as error:
        return error.code


def checked_growth(family: Family) -> tuple[tuple[Made, ...], Token] | None:
    """One chain more: it verifies exactly if it breaks no rule, and then no block has an effect that one above lacks.

    That it widens nothing is looked at twice: rule by rule, and by trying uses.
    """
    chain, broken = family.grow()
    found = verified(raw(chain))
    if found is None:
        assert broken, "no rule is broken, and it is refused"
        return None
    assert not broken, f"accepted, and breaks: {broken}"
    assert list(zip(found.ids, found.blocks, strict=True)) == read(raw(chain))
    assert (found.raw, found.epoch, found.names) == (raw(chain), ROOTS.epoch, revocable(read(raw(chain))))
    for above, below in pairwise(chain):
        assert not excess(above.block, below.block)
    return chain, found


def checked_theft(family: Family) -> None:
    """What is put together from the blocks of others is a chain that somebody made, or none.

    A chain that lost its end is its parent, which belongs to somebody else: that is what possession is for.
    """
    made = family.stolen()
    found = verified(raw(made))
    assert found is None or raw(made) in family.known


def checked_bytes(family: Family, chain: tuple[Made, ...]) -> None:
    """An edit, another spelling outside, another spelling inside that its issuer signed: nothing that verifies."""
    tape, honest = family.tape, raw(chain)
    outside = respelt(tape, tuple((made.payload, made.signature) for made in chain))
    inside = raw((*chain[:-1], loosely_signed(tape, chain[-1])))
    for data in (edited(tape, honest), outside, inside):
        assert data in family.known or verified(data) is None


def checked_use(found: Token, at: Point, tokens: dict[bytes, Token]) -> bool:
    """Whether a use is permitted; if it is, then to each holder above as well, but for what a person answered."""
    if not permits(found, at):
        return False
    for place in reversed(range(1, len(found.ids))):
        above = tokens[found.ids[place - 1]]
        if found.blocks[place].question and not above.leaf.question:
            # The one exception: a device may say yes to what it may not do.  Then the log has to name the answer.
            assert at.settled
            return True
        # Of a once block, that a person signed or answered it is no use that can be handed on; it is the last.
        assert permits(above, at)
    return True
