"""INVARIANT: of a million chains of blocks, from a plain seeded generator, none allows what one above it does not.

    python -m fuzz.million_chains [--count 1000000] [--seed 1] [--start 0] [--json]

The same families and the same checks as in ``fuzz/token_chains``, without Hypothesis: a chain verifies exactly if it
breaks no rule, no block has an effect that one above it lacks, and what its holder may do every holder above may do; of
each family some chains are taken apart, edited and spelt anew.  A family signs each of its blocks once; every chain is
verified from its bytes, whole.

Family ``n`` of a seed is always the same.  So a run goes on where another stopped (``--start``), two halves can run at
once, and a family that fails is tried alone.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter

import msgspec

from astrid.core.tokens import Token
from tests.fakes.chain_checks import checked_bytes, checked_growth, checked_theft, checked_use
from tests.fakes.chain_uses import point
from tests.fakes.chains import Family, Tape

CHAINS = 20  # of a family
TAPE_BYTES = 512
PROGRESS_SECONDS = 5
STOPPED = 130  # what a shell says of a program that Ctrl-C ended


def family_of(seed: str, number: int) -> Family:
    """Family ``number`` of a seed."""
    return Family(Tape(random.Random(f"{seed}/{number}").randbytes(TAPE_BYTES)))  # noqa: S311 - no secret, a seed


def attack(family: Family) -> Counter[str]:
    """Grow and judge one family; how often each thing was seen.

    Raises:
        AssertionError: a counterexample.
    """
    seen: Counter[str] = Counter()
    tokens: dict[bytes, Token] = {}
    for number in range(CHAINS):
        found = checked_growth(family)
        seen["chains"] += 1
        if found is None:
            continue
        chain, token = found
        tokens[token.id] = token
        seen["lawful"] += 1
        seen["blocks"] += len(chain)
        seen["permits"] += checked_use(token, point(family.tape, token), tokens)
        if number % 4 == 0:
            checked_theft(family)
            checked_bytes(family, chain)
            seen["forgeries"] += 4
    return seen


def main(arguments: list[str] | None = None) -> int:
    """Run it; 0 if there was no counterexample, 130 if it was stopped before its end."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz.million_chains", description="Chains of blocks by the million."
    )
    parser.add_argument("--count", type=int, default=1_000_000, help=f"chains, in families of {CHAINS}")
    parser.add_argument("--seed", default="1", help="which chains")
    parser.add_argument("--start", type=int, default=0, help="the first family, to go on or to look at one alone")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    given = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell that starts it in the background has Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    return run(given.seed, given.start, -(-given.count // CHAINS), as_json=given.json)


def run(seed: str, start: int, families: int, *, as_json: bool) -> int:
    """Families ``start`` to ``start + families`` of ``seed``, with progress on stderr and one line of figures."""
    total: Counter[str] = Counter(chains=0, lawful=0, blocks=0, permits=0, forgeries=0)
    began, told = time.process_time(), time.monotonic()
    number, end, failed = start, start + families, False
    stopped = False
    try:
        while number < end and not failed:
            family = again(seed, number, CHAINS)
            try:
                total.update(attack(family_of(seed, number)))
                number += 1
            except AssertionError as error:
                failed = True
                say(f"counterexample in family {number}: {error}; again: {family}")
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                say(f"{total['chains']:,} of {families * CHAINS:,} chains; now: {family}")
    except KeyboardInterrupt:
        stopped = True
        say(f"to go on: {again(seed, number, (end - number) * CHAINS)}")
    figures = {**total, "seed": seed, "start": start, "next": number, "counterexamples": int(failed)}
    seconds = {"cpu_seconds": round(time.process_time() - began, 1)}
    shown = ", ".join(
        f"{name} {value:,}" if name in total else f"{name} {value}" for name, value in (figures | seconds).items()
    )
    sys.stdout.write(f"{msgspec.json.encode(figures | seconds).decode() if as_json else shown}\n")
    return STOPPED if stopped else int(failed)


def again(seed: str, start: int, count: int) -> str:
    """The command that starts there."""
    return f"python -m fuzz.million_chains --seed {seed} --start {start} --count {count}"


def say(line: str) -> None:
    """Progress, beside the result."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
