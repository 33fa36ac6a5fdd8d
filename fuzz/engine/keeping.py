"""The smallest inputs that together reach every line that any kept input reaches.

Never: keeps more than ``MAX_FILES`` inputs or ``MAX_BYTES`` for a target, so that the project stays small; what reaches
most for its length goes first.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from fuzz.engine.corpus import PADDING, cache_folder, kept_folder, name_of, read_inputs, write_whole
from fuzz.engine.targets import PROJECT, Target, taking_bytes

MAX_FILES = 16
MAX_BYTES = 2048
_CONSIDERED = 1500  # inputs of a target, the shortest first: each is run under a tracer
_SECONDS = 4.0  # for each target; where an input takes long, fewer are considered
_OURS = str(PROJECT / "src" / "astrid")

Lines = set[tuple[str, int]]
"""A file and, of each place in it that was reached, where it was reached from and where it lies."""


def lines_of(run: Callable[[], object]) -> Lines:
    """The lines of Astrid that ``run`` reaches."""
    reached: Lines = set()

    def inside(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            reached.add((frame.f_code.co_filename, frame.f_lineno))
        return inside

    def enter(frame: FrameType, _event: str, _argument: object) -> Any:
        return inside if frame.f_code.co_filename.startswith(_OURS) else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run()
    finally:
        sys.settrace(before)
    return reached


def smallest_cover(reached: dict[bytes, Lines]) -> list[bytes]:
    """Of these inputs the few that reach all lines, or as many as may be kept; the same for the same inputs."""
    chosen: list[bytes] = []
    missing: Lines = set().union(*reached.values()) if reached else set()
    room = MAX_BYTES
    while missing and len(chosen) < MAX_FILES:
        fitting = [data for data in reached if len(data) <= room and reached[data] & missing]
        if not fitting:
            break
        best = min(fitting, key=lambda data: (-len(reached[data] & missing) / (len(data) + 8), len(data), data))
        chosen.append(best)
        missing -= reached[best]
        room -= len(best)
    return chosen


def keep(targets: list[Target]) -> str:
    """Choose anew what ``fuzz/corpus`` holds for each of ``targets``; the figures in one line."""
    files = size = 0
    for target in targets:
        run = taking_bytes(target.load())
        folder = kept_folder(target)
        inputs = read_inputs(folder, cache_folder(target))[:_CONSIDERED]
        reached: dict[bytes, Lines] = {}
        end = time.monotonic() + _SECONDS
        for data in inputs:
            if time.monotonic() < end:
                reached[data] = lines_of(lambda data=data, run=run: run(data + PADDING))
        chosen = smallest_cover(reached)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for data in chosen:
            write_whole(folder / name_of(data), data)
        files += len(chosen)
        size += sum(map(len, chosen))
        sys.stderr.write(f"{target.name}: {len(chosen)} of {len(reached)}\n")
    return f"corpus: {len(targets)} targets, {files} inputs, {size} bytes"
