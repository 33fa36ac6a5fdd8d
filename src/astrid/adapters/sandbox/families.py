"""Which processes descend from a program, where the system lets nobody hold them together: by looking, again and again.

Never: takes a process for one of the family by its number alone, which may have changed hands: its birth is compared.

A process that leaves its group and whose parent ends between two looks is not found.  It stays in its box.

Source: ps(1).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

ROUNDS = 8


class Running(NamedTuple):
    """One process; ``born`` is when, as text."""

    pid: int
    parent: int
    group: int
    ended: bool
    born: str


Member = tuple[int, str]  # number, birth


def parse_processes(table: bytes) -> list[Running]:
    """The processes of a ``table`` that ``starting.list_processes`` made."""
    found: list[Running] = []
    for line in table.decode("ascii", "replace").splitlines():
        pid, parent, group, state, *born = line.split()
        found.append(Running(int(pid), int(parent), int(group), state.startswith("Z"), " ".join(born)))
    return found


def family_of(leader: int, known: Collection[Member], processes: Sequence[Running]) -> set[Member]:
    """Whoever of ``processes`` has not ended and is in the group of ``leader``, one of the ``known``, or descends from
    any of these.  The leader must not have been reaped: its number is its own until then.
    """
    pids = {one.pid for one in processes if leader in (one.pid, one.group) or (one.pid, one.born) in known}
    more = pids
    while more:
        more = {one.pid for one in processes if one.parent in pids} - pids
        pids |= more
    return {(one.pid, one.born) for one in processes if one.pid in pids and not one.ended}


def has_ended(leader: int, processes: Sequence[Running]) -> bool:
    """Whether ``leader`` has ended, reaped or not."""
    return not any(one.pid == leader and not one.ended for one in processes)


def kill_family(leader: int, known: Collection[Member], look: Callable[[], Sequence[Running]]) -> None:
    """Kill the whole family: frozen first, until nobody new turns up."""
    frozen: set[Member] = set()
    with suppress(OSError):  # nobody can be listed any more: whoever is known dies
        for _ in range(ROUNDS):
            new = family_of(leader, {*known, *frozen}, look()) - frozen
            if not new:
                break
            frozen |= new
            for pid, _ in new:
                _signal(pid, signal.SIGSTOP)
    for pid, _ in frozen:
        _signal(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):  # all of the group but its unreaped leader is gone
        os.killpg(leader, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
