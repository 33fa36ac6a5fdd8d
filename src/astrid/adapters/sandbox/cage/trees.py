"""Finding and killing everything that descends from a process, where no namespace does it for us.

Never: signals by a number that may have changed hands: descendants of a sub-reaper stay ours until we reap them.

Source: proc(5), kill(2); landlock(7), scopes.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

_ROUNDS = 200  # a fork loop that is frozen as it is found has long ended by then


def children_of(pid: int) -> list[int]:
    """The direct children of ``pid``, whichever of its threads started them."""
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb", buffering=0) as file:
                found += map(int, file.readall().split())
    return found


def descendants_of(pid: int) -> list[int]:
    """Everything below ``pid``."""
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children_of(todo.pop())
        found += below
        todo += below
    return found


def kill_descendants(pid: int) -> None:
    """Kill everything below ``pid``, our own process or a child of ours: frozen first, until nothing new turns up."""
    seen: set[int] = set()
    for _ in range(_ROUNDS):
        new = set(descendants_of(pid)) - seen
        if not new:
            break
        seen |= new
        for one in new:
            _signal(one, signal.SIGSTOP)
    for one in seen:
        _signal(one, signal.SIGKILL)


def kill_domain() -> None:
    """Kill all that we may signal.  For a process whose signals reach only its own Landlock domain, at once and whole.

    SAFETY: anywhere else this would end everything of the user; ``signals_reach`` must have said no.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGKILL)


def signals_reach(pid: int) -> bool:
    """Whether we could signal ``pid``."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    return True


def count_tasks(uid: int) -> int:
    """How many threads of all processes belong to ``uid``."""
    count = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            status = os.stat(f"/proc/{entry}/task")
            count += status.st_nlink - 2 if status.st_uid == uid else 0
    return count


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
