"""What no limit of the kernel holds: the memory and number of all processes of a program, the growth of its workspace.

Never: the only limit.  It looks now and then; between two looks anything can happen, as far as the kernel lets it.

Source: getrlimit(2) (each limit is for one process); proc(5).
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import NamedTuple

import trio

from astrid.adapters.sandbox.cage.trees import descendants_of
from astrid.box_ports import Box

LOOK_SECONDS = 0.1
_MOST_OPEN = 256  # folders still to be looked into; what more of them hold is not counted
PATIENCE = 20  # a look at a large workspace is followed by a pause of this many times what it took
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Extent(NamedTuple):
    """How much a folder holds, on the disk."""

    bytes: int
    files: int


def extent_of(folder: int, most_files: int, fixed: frozenset[str] = frozenset()) -> Extent:
    """What the open ``folder`` holds but for the names in it that are ``fixed``, links not followed; counted to
    ``most_files`` at most.
    """
    size = files = 0
    left_out = fixed
    todo = [os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)]
    try:
        while todo and files <= most_files:
            at = todo.pop()
            try:
                with os.scandir(at) as entries:
                    # A folder that is filled faster than it is read would have no end.
                    for entry in islice(entries, most_files - files + 1):
                        if entry.name in left_out:
                            continue
                        files += 1
                        with suppress(OSError):  # gone by now, or not ours to look into
                            size += entry.stat(follow_symlinks=False).st_blocks * 512
                            if entry.is_dir(follow_symlinks=False) and len(todo) < _MOST_OPEN:
                                todo.append(_inside(entry.name, at))
            finally:
                os.close(at)
            left_out = frozenset()
    finally:
        for left in todo:
            os.close(left)
    return Extent(size, files)


def _inside(name: str, folder: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


def memory_of(pids: list[int]) -> int:
    """How many bytes the processes hold in memory; what they share is counted for each."""
    pages = 0
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/statm", encoding="ascii") as file:
            pages += int(file.read().split()[1])
    return pages * _PAGE_BYTES


async def wait_for_excess(box: Box, pid: int) -> str:
    """The name of the first limit of ``box`` that the tree below ``pid`` is seen to exceed."""
    most_files = 10 * box.growth_files
    fixed = frozenset(box.protect)  # read-only to the program, the empty folders of names that are not there among them
    look = partial(extent_of, box.folder, most_files, fixed)
    before = await trio.to_thread.run_sync(look, abandon_on_cancel=False)
    pause = LOOK_SECONDS  # most programs have ended by then, and need no look
    while True:
        await trio.sleep(pause)
        began = trio.current_time()
        pids = descendants_of(pid)
        if len(pids) > box.processes:
            return "processes"
        if memory_of(pids) > box.memory_bytes:
            return "memory"
        now = await trio.to_thread.run_sync(look)
        if now.bytes - before.bytes > box.growth_bytes:
            return "disk"
        if now.files - before.files > box.growth_files or now.files > most_files:
            return "files"
        pause = max(LOOK_SECONDS, PATIENCE * (trio.current_time() - began))
