"""What a running daemon finds when it looks at itself: its log, its anchor, its disk and its clock.

Source: the first Astrid (``doctor``); protocol N10, N11; threats 24, 31.
"""

from __future__ import annotations

import os

from astrid.core.chain import CHECKPOINT_RECORDS
from astrid.daemon.books import Books
from astrid.errors import AstridError
from astrid.runtime.boot import World
from astrid.runtime.log import read_witness
from astrid.wire.results import Finding

LOW_DISK_BYTES = 256 * 1024 * 1024
CLOCK_NS = 60 * 10**9


async def check_up(world: World, books: Books) -> list[Finding]:
    """One finding for each thing looked at."""
    newest = await books.newest_checkpoint()
    signed = 0 if newest is None else newest[0]
    tail = await books.size() - signed
    return [_log(signed, tail), _anchor(world, signed), _disk(world), _clock(world)]


def _log(signed: int, tail: int) -> Finding:
    if tail > CHECKPOINT_RECORDS:
        return Finding(
            name="checkpoints",
            state="fail",
            detail=f"{tail} records are not under a signed checkpoint",
            advice="stop the daemon and run `astrid audit verify`",
        )
    return Finding(name="checkpoints", state="ok", detail=f"{signed} records signed, {tail} since")


def _anchor(world: World, signed: int) -> Finding:
    advice = "check that the folder `anchor` of the home can be written"
    try:
        kept = read_witness(world.home.anchor, world.keys, what="the anchor")
    except AstridError as error:
        return Finding(name="anchor", state="fail", detail=error.message, advice=error.advice or advice)
    size = 0 if kept is None else kept.size
    if size < signed:
        detail = f"the anchor is at record {size}, the log is signed up to {signed}"
        return Finding(name="anchor", state="warn", detail=detail, advice=advice)
    return Finding(name="anchor", state="ok", detail=f"the anchor is at record {size}")


def _disk(world: World) -> Finding:
    found = os.statvfs(world.home.log.parent)
    free = found.f_bavail * found.f_frsize
    detail = f"{free // (1024 * 1024)} MiB free for the log"
    if free < LOW_DISK_BYTES:
        return Finding(name="disk", state="warn", detail=detail, advice="free some space: nothing runs on a full disk")
    return Finding(name="disk", state="ok", detail=detail)


def _clock(world: World) -> Finding:
    behind = world.facts.durable_ns - world.clock.now_ns()
    if behind > CLOCK_NS:
        return Finding(
            name="clock",
            state="warn",
            detail=f"the clock is {behind // 10**9} s before the last record",
            advice="set the clock; until then the log's time stands still",
        )
    return Finding(name="clock", state="ok", detail="the clock is not before the last record")
