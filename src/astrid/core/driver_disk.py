"""What a driver stands on: an install, and what is durable of its log.  Pure: this disk is a list.

Source: architecture 7; protocol N9 to N11.
"""

from __future__ import annotations

import msgspec

from astrid.core.facts import Facts
from astrid.core.keys import SigningKey
from astrid.core.past import Past, replay_log
from astrid.core.policy import Policy
from astrid.core.records import Entry
from astrid.core.tokens import Roots
from astrid.core.verify import LogKeys, Verified, verify_log


class Disk(msgspec.Struct):
    """What is durable: each record with what lies beside it, the full tiles of the tree, the checkpoints."""

    records: list[tuple[bytes, Entry]] = []
    tiles: dict[tuple[int, int], bytes] = {}
    notes: list[tuple[int, bytes]] = []

    def copy(self) -> Disk:
        """One that later writes do not touch."""
        return Disk(list(self.records), dict(self.tiles), list(self.notes))

    def frames(self) -> list[bytes]:
        """The bytes of every record."""
        return [frame for frame, _ in self.records]

    def beside(self, seq: int, slot: int) -> tuple[bytes, bytes] | None:
        """Salt and bytes beside record ``seq``."""
        payloads = self.records[seq - 1][1].payloads
        return next(((one.salt, one.data) for one in payloads if one.slot == slot), None)


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What an install is besides its log.  ``keeper`` is the key that keeps standing tokens."""

    keys: LogKeys
    runtime_key: SigningKey
    roots: Roots
    policy: Policy
    keeper: bytes
    seed: bytes

    def verify(self, disk: Disk) -> Verified:
        """The log, if it is whole.

        Raises:
            ChainError: says where it is not.
        """
        return verify_log(self.keys, disk.frames(), disk.notes)

    def read(self, disk: Disk) -> tuple[Facts, Past]:
        """What the log says to whoever opens it now, verified and replayed.

        Raises:
            ChainError: it does not hold together, or is not whole.
        """
        facts = Facts(aud=self.keys.install, roots=self.roots, policy=self.policy)
        return facts, replay_log(self.keys, disk.frames(), disk.notes, facts=facts)
