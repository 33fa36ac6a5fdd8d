"""What does a chain of three blocks cost that nobody has seen, beside one verification of a signature?

It holds three signatures, so three verifications are the least.  Its keys are known to be keys, as they are in a
daemon, which checks the install's when it starts and makes those of sessions itself; to find that out for a key costs
nearly a verification more.  What a chain costs that comes from elsewhere, every key of it new, stands beside it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import nacl.signing

from astrid.core.keys import POINTS, SigningKey, load_public_key
from astrid.core.tokens import Assurance, Roots, attenuate, issue, verify_chain
from bench import measure
from bench.measure import Row, cost, shown
from tests.fakes.authority import HOLDER, SESSION, SESSION_KEY, USER, below, block

ROUNDS = 12
BAR = 4.8  # four verifications and a fifth
CHAINS = 60  # of one round
VERIFICATIONS = 200
_numbers = itertools.count(1000)


def new_key() -> SigningKey:
    """A key that nobody has seen."""
    return SigningKey.from_seed(next(_numbers).to_bytes(32, "big"))


def chain(user: SigningKey, holder: SigningKey, session: SigningKey) -> tuple[bytes, Roots]:
    """From the user to the daemon, to a session, to a key that nobody has seen; and the roots it stands under."""
    roots = Roots({user.public: Assurance.SEALED}, 1)
    nonce = next(_numbers).to_bytes(16, "big")
    raw = issue(block(issuer=user.public, holder=holder.public, nonce=nonce), user)
    for signer, to in ((holder, session), (session, new_key())):
        above = verify_chain(raw, roots)
        raw = attenuate(above, below(above, holder=to.public, session=SESSION, nonce=nonce), signer)
    return raw, roots


def rows(rounds: int) -> Iterator[Row]:
    """A chain that was never seen, over one verification."""
    signed = nacl.signing.SigningKey(bytes(32)).sign(bytes(300))
    key = nacl.signing.SigningKey(bytes(32)).verify_key

    others = [new_key().public for _ in range(POINTS)]

    def verify() -> None:
        for _ in range(VERIFICATIONS):
            key.verify(signed)

    def verified(chains: list[tuple[bytes, Roots]]) -> None:
        for raw, roots in chains:
            if len(verify_chain(raw, roots).blocks) != 3:
                raise AssertionError("what is measured is no chain of three blocks")

    def unseen() -> float:
        chains = [chain(USER, HOLDER, SESSION_KEY) for _ in range(CHAINS)]
        return cost(lambda: verified(chains), CHAINS)

    def all_unseen() -> float:
        chains = [chain(new_key(), new_key(), new_key()) for _ in range(CHAINS)]
        for other in others:  # making the chains has seen their keys; these push them out of what is remembered
            load_public_key(other)
        return cost(lambda: verified(chains), CHAINS)

    one, known, new = measure.least(rounds, lambda: cost(verify, VERIFICATIONS), unseen, all_unseen)
    yield Row(
        what="a never-seen 3-block chain",
        measured=known / one,
        bar=BAR,
        unit="x one verification by pynacl",
        detail=f"{shown(known)} beside {shown(one)}; with every key new {shown(new)} ({new / one:.1f} x)",
    )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
