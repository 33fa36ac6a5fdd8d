"""What does a tool call cost an agent that does nothing but call a tool, next to other libraries that do it unguarded?

The model answers at once, and the tool reads a file of one line.  Ours decides each call of the model and of the tool,
has both in the log on the disk before and after, and keeps the journal; the others (``bench/peers``, in an environment
of their own) do none of that.  Cost is processor time of the whole process, its threads included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from astrid.core.grants import Mode
from astrid.runtime import collector
from bench import measure
from bench.measure import Row, shown
from tests.fakes.clock import StillClock
from tests.fakes.home import make_home
from tests.fakes.runtime import Runtime, running

SHORT, LONG = 10, 100  # calls of one agent
PROJECT = Path(__file__).parent.parent
PEERS = PROJECT / ".venv-peers" / "bin" / "python"
SHARE = 1 / 5
GROWTH = 1.25  # of a call of the long run against one of the short run; what is sent grows with the conversation


def peer(name: str, *, agents: int, calls: int, rounds: int) -> dict[str, float]:
    """What a peer took for a round of so many agents with so many calls each."""
    if not PEERS.exists():
        raise FileNotFoundError(f"{PEERS} is not there: `make bench` installs the peers")
    command = [str(PEERS), "-m", f"bench.peers.{name}", str(agents), str(calls), str(rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=PROJECT)
    return json.loads(done.stdout)


async def _turn(runtime: Runtime, calls: int) -> float:
    """Seconds of processor time of one call."""
    await runtime.open_shared()
    collector.settle()  # as a daemon does
    reads = [(f"c{number}", "read_file", f'{{"file_path":"a.txt","limit":{number}}}') for number in range(1, calls + 1)]
    runtime.model.says = [*reads]
    began = time.process_time()
    await runtime.say("go")
    ended = await runtime.until("turn_complete")
    seconds = time.process_time() - began
    assert ended[-1]["stop_reason"] == "end_turn", ended[-1]
    return seconds / calls


async def ours(folder: Path, rounds: int) -> tuple[float, float]:
    """Seconds of one call in a short run and in a long one, the least of so many rounds."""
    clock = StillClock()
    home, _ = make_home(folder / "home", now_s=clock.now_ns() // 10**9)
    home.config.write_text(f"[runtime]\nmax_turns = {2 * LONG}\n")
    (folder / "workspace").mkdir()
    async with running(folder, clock=clock) as runtime:
        (runtime.workspace / "a.txt").write_text("hello\n")
        await runtime.grant(Mode.GUIDED)
        figures = [(await _turn(runtime, SHORT), await _turn(runtime, LONG)) for _ in range(rounds + 1)][1:]
    return min(short for short, _ in figures), min(long for _, long in figures)


def rows(rounds: int) -> Iterator[Row]:
    """A call next to the quickest of the peers, and whether it gets dearer as the conversation grows."""
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as folder:
        short, long = trio.run(ours, Path(folder), rounds)
    theirs = peer("langgraph_agent", agents=1, calls=LONG, rounds=rounds)["cpu_seconds"] / LONG
    yield Row(
        what=f"a tool call of an agent, {LONG} in a row",
        measured=long / theirs,
        bar=SHARE,
        unit="x LangGraph's",
        detail=f"{shown(long)}, decided, logged and kept; {shown(theirs)} with none of it",
    )
    yield Row(
        what=f"the same, against {SHORT} in a row",
        measured=long / short,
        bar=GROWTH,
        unit=f"x a call of {SHORT}",
        detail=f"{shown(long)} and {shown(short)}",
    )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=3))
