"""What does something that only waits take in memory: an actor, a session, a session that sleeps?

Each figure is that of a process of its own: what the system counts as its memory (resident pages) after so many were
made, less what it counted before, by their number.  The peer of an actor is a Trio task that sleeps for ever in the
same nursery.

A session is opened as a client has it opened, through the gateway of the whole runtime: its actor, what the gate, the
gateway and the supervisor know of it, its token, and its share of the log's writer.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

import astrid.runtime.dormant as dormant
import astrid.runtime.sessions as runtime_sessions
from astrid.core.grants import Mode
from astrid.kernel import Actor, ChildSpec, Sender, SupervisorSpec, System, open_system
from astrid.messages.gateway import OpenSession, SessionOpened
from bench import measure
from bench.measure import Row
from tests.fakes.runtime import Runtime, running

COUNT = 10_000
WARM_ASLEEP = 10_000
WARM = 200  # made before the first look, so that what is made once is not counted
AWAKE_SECONDS, ASLEEP_SECONDS = 10**9, 1
KIB = 1024
STATM = Path("/proc/self/statm")


class Idle(Actor):
    """Waits."""

    async def receive(self, message: object, sender: Sender) -> object:
        return None


def resident_bytes() -> int:
    """What the system counts as this process's memory now; where it does not tell, the most that it ever was.

    What the allocator of C keeps for the next one who asks is given back first, before either look: it is nobody's.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def grown(make: Callable[[int], Awaitable[None]], warm: int = WARM) -> float:
    """Bytes for each of ``COUNT`` that ``make`` makes, after it has made ``warm``."""
    await make(warm)
    before = resident_bytes()
    await make(COUNT)
    return (resident_bytes() - before) / COUNT


async def tasks() -> float:
    """Bytes of a task that sleeps for ever."""
    async with trio.open_nursery() as nursery:

        async def make(count: int) -> None:
            for _ in range(count):
                nursery.start_soon(trio.sleep_forever)
            await wait_all_tasks_blocked()

        size = await grown(make)
        nursery.cancel_scope.cancel()
    return size


@asynccontextmanager
async def empty() -> AsyncIterator[System]:
    """A system with nobody in it yet."""
    async with open_system(SupervisorSpec("root", stop="together")) as system:
        yield system


async def actors() -> float:
    """Bytes of an actor that waits."""
    async with empty() as system:
        root = system.supervisor("root")
        made = 0

        async def make(count: int) -> None:
            nonlocal made
            for _ in range(count):
                made += 1
                root.start_child(ChildSpec(f"a{made}", Idle, restart="temporary"))
            await wait_all_tasks_blocked()

        return await grown(make)


@asynccontextmanager
async def opening(idle_seconds: float) -> AsyncIterator[tuple[Runtime, Callable[[], Awaitable[None]]]]:
    """A whole runtime, and how one session more is opened."""
    os.environ["ANTHROPIC_API_KEY"] = "none"  # nothing is asked of a model
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as folder:
        async with running(Path(folder), idle_seconds=idle_seconds) as runtime:
            await runtime.grant(Mode.GUIDED)

            async def make() -> None:
                opened = await runtime.by_ticket(
                    lambda number: OpenSession(
                        ticket=number,
                        workspace=str(runtime.workspace),
                        mode="guided",
                        model="anthropic/claude-opus-5",
                        budget_micros=0,
                        max_turns=0,
                        interactive=True,
                    )
                )
                assert isinstance(opened, SessionOpened), opened

            yield runtime, make


async def sessions() -> float:
    """Bytes of a session that nobody has said anything to."""
    runtime_sessions.MAX_SESSIONS = 2 * COUNT
    async with opening(AWAKE_SECONDS) as (_, make_one):

        async def make(count: int) -> None:
            for _ in range(count):
                await make_one()

        return await grown(make)


async def sleepers() -> float:
    """Bytes of a session that sleeps, in the whole of the runtime: kernel, gate, gateway and all."""
    runtime_sessions.MAX_SESSIONS = 2 * WARM
    dormant.MAX_ASLEEP = 2 * (COUNT + WARM_ASLEEP)
    async with opening(ASLEEP_SECONDS) as (runtime, make_one):
        world, made = runtime.world, 0

        async def make(count: int) -> None:
            nonlocal made
            for _ in range(count):
                await make_one()
                made += 1
                if made % WARM == 0:
                    # In waves, so that what the wake ones took is there for the next, as it is in a daemon that runs.
                    with trio.fail_after(60):
                        while len(world.dormitory) < made:  # noqa: ASYNC110 - nobody in the product tells
                            await trio.sleep(ASLEEP_SECONDS / 4)
            await wait_all_tasks_blocked()
            children = runtime.system.snapshot().root.children
            asleep = next(child for child in children if child.path == "root/sessions")
            assert (len(world.dormitory), asleep.children, world.facts.principals) == (made, (), {})  # type: ignore[union-attr]

        # Until the log's database has filled what it keeps of its pages in memory: 2 MB, whoever writes.
        return await grown(make, WARM_ASLEEP)


PARTS = {part.__name__: part for part in (tasks, actors, sessions, sleepers)}


def bytes_of(part: str) -> float:
    """The answer of one part, asked in a process of its own."""
    command = [sys.executable, "-c", f"import trio; from bench import memory; print(trio.run(memory.{part}))"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parent.parent)
    return float(done.stdout)


def rows(rounds: int) -> Iterator[Row]:
    """An answer for each."""
    task, actor = measure.least(rounds, *(lambda part=part: bytes_of(part) for part in ("tasks", "actors")))
    yield Row(
        what="an idle actor",
        measured=actor / task,
        bar=3,
        unit="x an idle Trio task, in memory",
        detail=f"{actor:.0f} B beside {task:.0f} B",
    )
    session = bytes_of("sessions")
    yield Row(
        what=f"an idle session, of {COUNT:,}",
        measured=session / KIB,
        bar=12,
        unit="KB",
        detail=f"opened through the gateway; {COUNT * session / KIB**2:.0f} MB together",
    )
    asleep = bytes_of("sleepers")
    yield Row(
        what=f"a session that sleeps, of {COUNT:,}",
        measured=asleep,
        bar=300,
        unit="B",
        detail="in the whole runtime: kernel, gate, gateway and all",
    )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=2))
