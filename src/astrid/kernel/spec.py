"""What a supervision tree is made of.  Children are data: nothing here runs.

Every ``shutdown`` is in seconds: how long a child may take to end by itself before it is cancelled, and then again
how long its ``stopping`` may take.  A supervisor ends when its children have, which their own deadlines bound; one
with a finite ``shutdown`` cancels them when that has passed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import msgspec

from astrid.kernel.actor import Actor
from astrid.kernel.errors import Misuse
from astrid.kernel.signals import Restart, Strategy


class ChildSpec(msgspec.Struct, frozen=True):
    """An actor to be supervised.  ``factory`` makes a fresh one for each incarnation."""

    id: str
    factory: Callable[[], Actor]
    restart: Restart = "permanent"
    shutdown: float = 5.0
    rank: int = 0
    capacity: int = 1024
    control_capacity: int = 64

    def __post_init__(self) -> None:
        _check(self.id, self.restart, self.shutdown)
        if self.capacity < 1 or self.control_capacity < 1:
            raise Misuse("kernel.bad_spec", f"`{self.id}` needs room for at least one message in each lane")


class SupervisorSpec(msgspec.Struct, frozen=True):
    """A supervisor and, left to right in the order of their start, its children.

    More than ``intensity`` restarts within ``period`` seconds, and it gives up.  A restart waits ``delay[0]``
    seconds, and twice as long each time the child breaks again before it has been up for ``period``, up to
    ``delay[1]``.
    """

    id: str
    strategy: Strategy = "one_for_one"
    children: tuple[ChildSpec | SupervisorSpec, ...] = ()
    intensity: int = 3
    period: float = 5.0
    delay: tuple[float, float] = (0.0, 0.0)
    restart: Restart = "permanent"
    shutdown: float = math.inf
    rank: int = 0
    stop: Literal["in_order", "together"] = "in_order"  # right to left; or all at once, for children that are alike

    def __post_init__(self) -> None:
        _check(self.id, self.restart, self.shutdown)
        if self.strategy not in ("one_for_one", "one_for_all", "rest_for_one"):
            raise Misuse("kernel.bad_spec", f"`{self.id}` has the strategy `{self.strategy}`")
        if self.stop not in ("in_order", "together"):
            raise Misuse("kernel.bad_spec", f"`{self.id}` stops its children `{self.stop}`")
        if self.intensity < 0 or not self.period > 0:
            raise Misuse("kernel.bad_spec", f"`{self.id}` allows {self.intensity} restarts in {self.period} seconds")
        if not 0 <= self.delay[0] <= self.delay[1] < math.inf:
            raise Misuse("kernel.bad_spec", f"`{self.id}` delays from {self.delay[0]} to {self.delay[1]} seconds")
        if len({child.id for child in self.children}) != len(self.children):
            raise Misuse("kernel.id_taken", f"two children of `{self.id}` have the same id")


def _check(name: str, restart: str, shutdown: float) -> None:
    if not name or not name.isprintable() or "" in name.split("/"):
        raise Misuse("kernel.bad_spec", f"`{name!r}` cannot be the id of a child")
    if restart not in ("permanent", "transient", "temporary"):
        raise Misuse("kernel.bad_spec", f"`{name}` is to be restarted `{restart}`")
    if not shutdown >= 0:
        raise Misuse("kernel.bad_spec", f"`{name}` is to be shut down within {shutdown} seconds")
