"""What is looked at when a life is over: the whole log, its beginnings, copies of it that somebody changed, and whether
its sessions come out as they were when they are lived through again.

Source: protocol N9 to N11; I4, I9.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

from astrid.core.checkpoint import verify_checkpoint
from astrid.core.policy_rules import Layers
from astrid.core.verify import verify_log
from astrid.errors import ChainError
from tests.fakes.replays import replayed
from tests.simulation.disk import Disk
from tests.simulation.edges import SPECS
from tests.simulation.plan import Plan
from tests.simulation.records import Records
from tests.simulation.world import HOME_PATH, IDENTITY, POLICIES

CUTS = 3


def check_log(disk: Disk, records: Records, wrong: Callable[[str, str], None], seed: int) -> None:
    """I4: every beginning of the log verifies; a tail that is cut off below a checkpoint, or a bit, is missed."""
    log, keys = disk.log, IDENTITY.keys
    notes = log.checkpoints()
    frames = log.log
    try:
        verified = verify_log(keys, frames, notes)
    except ChainError as error:
        wrong("I4", f"the log does not verify: {error}")
        return
    if verified.tail:
        wrong("I4", f"after a stop in order {verified.tail} records are unsigned")
    signed = [verify_checkpoint(note, keys.runtime_key, keys.log_id) for _, note in notes]
    last = signed[-1]
    if naive_root([hashlib.sha256(b"\0" + frame).digest() for frame in frames[: last.size]]) != last.root:
        wrong("I4", "the last checkpoint is not over the records of the log")
    dice = random.Random(seed)  # noqa: S311 - it chooses what to break
    for size in sorted(dice.sample(range(1, len(frames) + 1), min(CUTS, len(frames)))):
        within = [note for note in notes if note[0] <= size]
        _must(wrong, "verify", lambda size=size, within=within: verify_log(keys, frames[:size], within))
        if size < last.size:
            _must_not(wrong, f"a log cut to {size} records", lambda size=size: verify_log(keys, frames[:size], notes))
            cut = frames[:size]
            _must_not(wrong, "a cut log with its anchor", lambda cut=cut: verify_log(keys, cut, (), signed[-1:]))
        place = dice.randrange(len(frames[size - 1]))
        bit = 1 << dice.randrange(8)
        flipped = bytearray(frames[size - 1])
        flipped[place] ^= bit
        changed = [*frames[: size - 1], bytes(flipped), *frames[size:]]
        _must_not(wrong, f"bit {bit} of byte {place} of record {size}", lambda c=changed: verify_log(keys, c, notes))
    for one in records.open_permits():
        wrong("I5", f"the permit {one.seq} has no outcome at the end")


def check_replays(disk: Disk, plan: Plan, wrong: Callable[[str, str], None]) -> None:
    """I9: every session of a turn machine replays to itself: its rows, what it proposed, and what was decided.  In one
    life of four, for it takes a third of what living it did.
    """
    if plan.seed % 4:
        return
    layers = Layers((POLICIES[plan.policy],), HOME_PATH)
    for one in replayed(disk.log, IDENTITY.keys, IDENTITY.roots, layers, SPECS):
        if not one.same:
            wrong("I9", f"{one.session.hex()} replays otherwise: {one.difference or one.differing[0]}")


def _must(wrong: Callable[[str, str], None], what: str, check: Callable[[], object]) -> None:
    try:
        check()
    except ChainError as error:
        wrong("I4", f"the beginning of the log does not {what}: {error}")


def _must_not(wrong: Callable[[str, str], None], what: str, check: Callable[[], object]) -> None:
    try:
        check()
    except ChainError:
        return
    wrong("I4", f"{what}: it goes unseen")


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, word by word."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\1" + naive_root(leaves[:half]) + naive_root(leaves[half:])).digest()
