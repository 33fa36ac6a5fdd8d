"""The core stands alone: it loads and runs without an event loop, and each of its modules has its tests."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.architecture.source import ROOT, SRC, modules

# Everything that a pure program has no use for; importing one of these is an ImportError in the process below.
ABSENT = ("trio", "trio_websocket", "outcome", "asyncio", "anyio", "apsw", "anthropic", "mcp", "wasmtime", "sqlite3")

LOAD = """
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ImportError(name + " is absent here")
sys.meta_path.insert(0, Absent())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""

# A call from its proposal to its end, a question, an answer, a crash; and what the log says of it.
LIVE = """
from astrid.core.gate_messages import Approved, Outcome
from tests.fakes.authority import yes
from tests.fakes.driver_bench import SETUP, Bench
bench = Bench()
assert isinstance(bench.call(), Outcome)
number, qid, raw = bench.asking()
bench.driver.answer(yes(raw, qid=qid))
bench.driver.run()
assert isinstance(bench.driver.ending(number), Approved)
again = bench.crash()
assert isinstance(again.call(), Outcome)
assert [call.tool for call in again.tool.calls] == ["read_file"]
print(SETUP.verify(again.driver.disk).size == len(again.driver.disk.records))
"""


def load(*names: str, then: str = "") -> subprocess.CompletedProcess[str]:
    """Import the modules, in this order, in a process without what is ``ABSENT``, and go on with ``then``."""
    path = os.pathsep.join((str(SRC), str(ROOT)))
    return subprocess.run(
        [sys.executable, "-c", LOAD.format(absent=ABSENT) + then, *names],
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def core_modules() -> list[str]:
    return [module.name for module in modules() if module.name.startswith("astrid.core")]


def test_every_module_of_the_core_loads_where_trio_does_not_exist() -> None:
    done = load(*core_modules())
    assert done.returncode == 0, done.stderr


def test_the_whole_guard_runs_where_there_is_no_event_loop() -> None:
    done = load("astrid.core.driver", then=LIVE)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_module_that_needs_trio_does_not_load_there() -> None:
    done = load("trio")
    assert done.returncode != 0
    assert "trio is absent here" in done.stderr


def test_every_module_of_the_core_has_its_tests_or_shares_those_of_what_it_is_a_part_of() -> None:
    names = [module.name.rpartition(".")[2] for module in modules() if module.name.startswith("astrid.core.")]
    folders = [ROOT / "tests" / folder for folder in ("core", "machines")]
    tested = [path.stem.removeprefix("test_") for folder in folders for path in folder.glob("test_*.py")]
    assert [n for n in names if not any(f"{t}_".startswith(f"{n}_") or n.startswith(f"{t}_") for t in tested)] == []
