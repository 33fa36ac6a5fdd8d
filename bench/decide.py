"""What does a decision cost, beside one verification of a signature?

A decision is everything from the resources of a call to its permit: policy, token, budget, risk (``core.decide``).  The
token is a verified chain of three blocks; policy is the one that holds without a configuration; the ledger holds the
purses of 10,000 other tokens.  Warm: the call touches what was touched a moment ago.  Cold: it touches what was never
touched before, and what policy and token remember is full of other things.

Source: shared measurements of the central path, whose prototype needed 0.05 and 0.12.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import nacl.signing

from astrid.core.budget import Ledger, Purse
from astrid.core.call import Call, Need, call_digest, encode_call
from astrid.core.decide import Circumstances, Limits, Permit, decide
from astrid.core.ids import CallDigest
from astrid.core.policy import Policy, PolicyConfig
from astrid.core.tokens import Grant, Token
from bench import measure
from bench.measure import Row, cost, shown
from tests.fakes.authority import CHILD_KEY, HOLDER, READ, SESSION, SESSION_KEY, WORKSPACE, call, moment, pass_on, token
from tests.fakes.rules import HOME, spec

ROUNDS = 15
BARS = {"warm": 0.10, "cold": 0.25}
CALLS = 1600  # of one round
FRESH = 320  # files that cold calls touch in turn: more than policy or token remembers, so that none is ever found
FAMILIAR = 8  # files that a warm call touches
VERIFICATIONS = 200  # of one round
PURSES = 10_000
FOLDER = f"file:/{HOME}/work/project"
TOOL = spec("read_file", "read")
AROUND_LIMITS = Limits(10**9, 10**12, 10**12)


def three_blocks() -> Token:
    """From the user to the daemon, to a session, to a part of it."""
    granted = token(grants=(Grant(f"{FOLDER}/**", 0xFF, 0, 1, b""),))
    session = pass_on(granted, HOLDER, session=SESSION)
    return pass_on(session, SESSION_KEY, holder=CHILD_KEY.public)


def calls_on(names: Sequence[str]) -> list[tuple[Call, CallDigest]]:
    """Calls that read these files, as the gate hands them to a decision."""
    needs = ((Need(f"{FOLDER}/src/package/{name}.py", READ),) for name in names)
    made = [call(needs=one, principal_key=CHILD_KEY.public, tool=TOOL.name, max_micros=5) for one in needs]
    return [(one, call_digest(encode_call(one))) for one in made]


def circumstances() -> Circumstances:
    """A daemon that has been at work for a while."""
    ledger = Ledger()
    ledger.purses = {number.to_bytes(32, "big"): Purse(number, 1) for number in range(PURSES)}
    ledger.purses[b"session" + SESSION] = ledger.purses[b"workspace" + WORKSPACE] = Purse(1000, 10)
    return Circumstances(Policy(PolicyConfig(), home=HOME), ledger, AROUND_LIMITS, moment(), True, "")


def rows(rounds: int) -> Iterator[Row]:
    """A warm decision and a cold one, each over one verification."""
    around, held = circumstances(), [three_blocks()]
    signed = nacl.signing.SigningKey(bytes(32)).sign(bytes(300))
    key = nacl.signing.SigningKey(bytes(32)).verify_key
    familiar = calls_on([f"module_{number}" for number in range(FAMILIAR)]) * (CALLS // FAMILIAR)
    fresh = calls_on([f"folder_{number % 7}/module_{number}" for number in range(FRESH)]) * (CALLS // FRESH)

    def decided(calls: Sequence[tuple[Call, CallDigest]]) -> None:
        for one, digest in calls:
            decide(one, digest, TOOL, held, around)

    def verify() -> None:
        for _ in range(VERIFICATIONS):
            key.verify(signed)

    for one, digest in (*familiar[:FAMILIAR], *fresh):
        found = decide(one, digest, TOOL, held, around)
        if not isinstance(found, Permit) or len(found.charge.uses) != len(held[0].blocks):
            raise AssertionError(f"what is measured is no permit of a chain of three blocks: {found}")
    one, warm, cold = measure.least(
        rounds,
        lambda: cost(verify, VERIFICATIONS),
        lambda: cost(lambda: decided(familiar), CALLS),
        lambda: cost(lambda: decided(fresh), CALLS),
    )
    for name, seconds in (("warm", warm), ("cold", cold)):
        yield Row(
            what=f"decide with a cached 3-block token, {name}",
            measured=seconds / one,
            bar=BARS[name],
            unit="x one verification by pynacl",
            detail=f"{shown(seconds)} beside {shown(one)}",
        )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
