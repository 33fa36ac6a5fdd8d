"""Watching single processes, and hunting down what a run left behind.

Never: signals a process by a number that may have changed hands: each is held by a descriptor before anything is read
of it.

A run marks its environment; what carries the mark, or is in the run's process group, is killed and waited for.  What
wipes its environment after leaving the group is not found.

It is a program of its own as well, which outlives the daemon by a moment (``watchman``), and imports nothing of Astrid
since it runs without its environment:

    sweep.py MARK        waits until its standard input ends, then hunts what carries a mark that begins with ``MARK``

Its input are paths, each behind a ``+`` (a draft that is to go) or a ``-`` (no longer) and before a zero byte.

Source: pidfd_open(2), proc(5) (``setsid`` leaves the group).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

GONE_SECONDS = 0.01
GONE_CHECKS = 100
SWEEP_PASSES = 16
LATE_SECONDS = 0.1  # far more than lies between the birth of a process and its taking up the marked environment


def watch(pid: int) -> int | None:
    """A descriptor that becomes readable when ``pid`` ends; ``None`` where the system has none (macOS) or a filter
    forbids it.

    Without it the leader is reaped when its end is noticed, and its group is killed a moment later by a number that
    is free again.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            return os.pidfd_open(pid)
    return None


def is_dead(watched: int, *, wait_ms: int) -> bool:
    """Whether the process behind the descriptor ``watched`` has ended, waiting for that at most ``wait_ms``."""
    poller = select.poll()
    poller.register(watched, select.POLLIN)
    return bool(poller.poll(wait_ms))


def hunt(mark: bytes, group: int) -> None:
    """Kill what carries ``mark`` or is in ``group``, and wait until it is dead.

    What forks while it is hunted is hunted again, a bounded number of times.
    """
    ourselves = watch(os.getpid())
    if ourselves is None:
        _wait_gone(group)
        return
    os.close(ourselves)
    groups = {str(group).encode()}
    for _ in range(SWEEP_PASSES):
        if not _kill_marked(mark, groups):
            return


def hunt_orphans(mark: bytes) -> None:
    """Kill what the runs whose marks begin with ``mark`` left behind, and everything in their groups."""
    groups: set[bytes] = set()
    for _ in range(SWEEP_PASSES):
        if _kill_marked(mark, groups):
            continue
        time.sleep(LATE_SECONDS)
        if not _kill_marked(mark, groups):
            return


def _kill_marked(mark: bytes, groups: set[bytes]) -> bool:
    """Whether there was any.  The groups of those that carry the mark are added to ``groups``."""
    found = False
    for entry in filter(str.isdigit, os.listdir("/proc")):
        # SAFETY: the descriptor is taken before anything is read; if the number changes hands in between, the signal
        # goes to the one that is already dead.
        watched = watch(int(entry))
        if watched is None:
            continue
        try:
            if _belongs(entry, mark, groups):
                found = True
                _kill(watched)
                is_dead(watched, wait_ms=1000)
        finally:
            os.close(watched)
    return found


def _belongs(pid: str, mark: bytes, groups: set[bytes]) -> bool:
    try:
        # After the name, which may hold anything: state, parent, process group.
        state, _, group, *_ = Path("/proc", pid, "stat").read_bytes().rpartition(b")")[2].split()
        if state in (b"Z", b"X"):
            return False
        if group in groups:
            return True
        if any(one.startswith(mark) for one in Path("/proc", pid, "environ").read_bytes().split(b"\0")):
            groups.add(group)
            return True
    except OSError:  # another user's, or gone
        return False
    return False


def _kill(watched: int) -> None:
    if sys.platform == "linux":
        with suppress(ProcessLookupError):  # it ended by itself
            signal.pidfd_send_signal(watched, signal.SIGKILL)


def _wait_gone(group: int) -> None:
    """Give what was killed a moment to be gone, where single processes cannot be watched."""
    for _ in range(GONE_CHECKS):
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):  # macOS forbids it for a group of zombies
            return
        time.sleep(GONE_SECONDS)


def main(argv: Sequence[str]) -> int:
    """Be the watchman: wait for the end of the daemon, which has the other end of our input, then hunt and tidy up."""
    drafts: set[bytes] = set()
    rest = b""
    while heard := os.read(0, 4096):
        *entries, rest = (rest + heard).split(b"\0")
        for entry in entries:
            (drafts.add if entry.startswith(b"+") else drafts.discard)(entry[1:])
    hunt_orphans(argv[0].encode())
    for draft in drafts:
        with suppress(OSError):  # in its place under another name by now, or its folder is gone
            os.unlink(draft)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
