"""What does a sub-agent cost when a thousand work at once, each of which asks its model twice and reads in between?

Sessions ask for eight each, as many as the model of one may have under way.  Gate, tokens, slots, actors, tools and
the log's files are the real ones; only the model is not: it lets nobody end before all have read.  Time is by the wall,
from what is said to the sessions to the end of the last turn; memory is what the system counts while all are
there, less what it counted before, by their number.  The peers (``bench/peers``) run as many agents with two calls of a
tool each, with no gate, log or files of a journal.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import trio

import astrid.hosts.tool_host as tool_host
import astrid.runtime.sessions as runtime_sessions
from astrid.core.conversation import AnyStreamEvent, ModelRequest
from astrid.core.grants import Mode
from astrid.messages.gateway import Input
from astrid.runtime.hub import Subscription
from bench import measure
from bench.agents import peer
from bench.measure import Row
from bench.memory import KIB, resident_bytes
from tests.fakes.minds import Minds, calls, task
from tests.fakes.runtime import Runtime, running

EACH = 8  # tasks of one session, side by side
SESSIONS = 125
COUNT = EACH * SESSIONS
CALLS = 2
SHARE, KIB_BAR = 1 / 10, 60.0
OTHERS = ("langgraph_agent", "pydantic_agent", "openai_agent")
PARTS = {
    "go": [calls(*[task("look", "explorer", timeout_secs=3600)] * EACH), "done"],
    "look": [calls(("list_directory", {})), "nothing"],
}


class Meeting(Minds):
    """Lets no sub-agent end before all have read; ``grown`` is what the memory has grown by then, in bytes."""

    def __init__(self) -> None:
        super().__init__(PARTS)
        self.before = 0
        self.grown = 0
        self._there = 0
        self._all = trio.Event()

    async def _events(self, request: ModelRequest) -> AsyncIterator[AnyStreamEvent]:
        if any(message.role == "assistant" for message in request.messages) and len(request.tools) < EACH:
            self._there += 1
            if self._there == COUNT:
                self.grown = resident_bytes() - self.before
                self._all.set()
            await self._all.wait()
        self.asked.clear()
        async for event in super()._events(request):
            yield event


async def work(folder: Path) -> tuple[float, float]:
    """Seconds of all of it, and bytes each."""
    runtime_sessions.MAX_SESSIONS, tool_host.MAX_JOBS = 2 * SESSIONS, 2 * COUNT
    async with running(folder, agents={"concurrent": COUNT}) as runtime:
        model = Meeting()
        runtime.model = model  # type: ignore[assignment] - another model behind the same name
        await runtime.grant(Mode.GUIDED)
        sessions = [await runtime.open_shared() for _ in range(SESSIONS)]
        told = [runtime.world.hub.subscribe(session, 0)[0] for session in sessions]
        model.before = resident_bytes()
        began = time.perf_counter()
        for session in sessions:
            await _say(runtime, session)
        for events in told:
            await _until_over(events)
        return time.perf_counter() - began, model.grown / COUNT


async def _until_over(events: Subscription) -> None:
    with trio.fail_after(600):
        while not any(b'"turn_complete"' in event for event in await events.wait_events()):
            pass


async def _say(runtime: Runtime, session: bytes) -> None:
    said = Input(session=session, turn=1, text="go", signer=b"", signature=b"")
    await runtime.system.ask(runtime.gateway, said, within=60)


def rows(rounds: int) -> Iterator[Row]:
    """Time and memory, of one round: in the next, the memory of the first would be used again."""
    del rounds
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as folder:
        seconds, size = trio.run(work, Path(folder))
    walls = {name: peer(name, agents=COUNT, calls=CALLS, rounds=1)["wall_seconds"] for name in OTHERS}
    quickest = min(walls, key=lambda name: walls[name])
    yield Row(
        what=f"{COUNT} sub-agents at once, start to end",
        measured=seconds / walls[quickest],
        bar=SHARE,
        unit="x the quickest peer",
        detail=f"{seconds:.1f} s; " + ", ".join(f"{name} {wall:.1f} s" for name, wall in walls.items()),
    )
    yield Row(what="a sub-agent that works", measured=size / KIB, bar=KIB_BAR, unit="KiB")


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=1))
