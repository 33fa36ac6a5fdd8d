"""Where a case plays: a fresh home and workspace, what is said to the model, and the daemon's process.

Source: ``tests.fakes.processes``.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import astrid
from astrid.adapters.sandbox.cage.carving import STUB_MODE
from tests.crash.trap import Trap
from tests.crash.vendor import KEY
from tests.fakes.daemon_home import grant_workspace
from tests.fakes.processes import Assurance, Mode, Place

Json = dict[str, Any]
SOURCE = str(Path(astrid.__file__).parents[1])
_RUN = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); module = sys.argv.pop(1); "
    "runpy.run_module(module, run_name='__main__', alter_sys=True)"
)
MODULES = {"daemon": "astrid.daemon", "command line": "astrid.frontends.cli"}
PRICE = {"input_usd_per_million": "3", "output_usd_per_million": "15"}
PURSE = 50_000_000  # of the grants, in micro-dollars
MARKS = ("once", "never", "late", "alone", "nap", "dream")


def product(module: str, *arguments: str) -> list[str]:
    """The very sources that this interpreter imports, run isolated, as their users run them."""
    return [sys.executable, "-I", "-c", _RUN, SOURCE, MODULES[module], *arguments]


def call(tool: str, **arguments: object) -> Json:
    """A call as a script has the model make it."""
    return {"name": tool, "arguments": arguments}


def leaves(mark: str) -> Json:
    """A command that leaves a mark, as often as it is run."""
    return call("bash", command=f"echo {mark} >> trace")


LIFE: list[Json] = [
    {"model": {"name": "m", "price": PRICE}},
    {"text": "look", "tool_calls": [call("read_file", file_path="a.txt"), call("read_file", file_path="/etc/passwd")]},
    {"text": "run", "tool_calls": [leaves("once")]},
    {"text": "run", "tool_calls": [leaves("never")]},
    {"text": "write", "tool_calls": [call("write_file", file_path="b.txt", content="written\n")]},
    {"text": "write", "tool_calls": [call("write_file", file_path="a.txt", content="replaced\n")]},
    {"text": "run", "tool_calls": [leaves("late")]},
    {"text": "done"},
]
ALONE: list[Json] = [
    {"model": {"name": "alone", "price": PRICE}},
    {"text": "look", "tool_calls": [call("read_file", file_path="a.txt"), leaves("alone")]},
    {"text": "done"},
]
# After the restart the same commands are asked for again, and nobody is there to say yes.
AGAIN: list[Json] = [
    {"model": {"name": "again", "price": PRICE}},
    {"text": "again", "tool_calls": [*map(leaves, MARKS)]},
    {"text": "look", "tool_calls": [call("read_file", file_path="a.txt")]},
    {"text": "done"},
]


class Scene:
    """One home and all that belongs to it, below ``root``, which is empty."""

    def __init__(self, root: Path) -> None:
        self.place = Place(root, granted=None, assurance=Assurance.PLAIN)
        self.home = self.place.home
        self.aud = self.place.aud
        self.workspace = self.place.workspace
        self.life = self.place.script(*LIFE, name="life.jsonl")
        self.alone = self.place.script(*ALONE, name="alone.jsonl")
        self.again = self.place.script(*AGAIN, name="again.jsonl")
        self._out = root / "out"

    def grant(self, mode: Mode = Mode.SAFE) -> bytes:
        """What the user signs for the workspace, anew."""
        return grant_workspace(self.home, self.aud, self.workspace, mode, assurance=Assurance.PLAIN)

    def talks_to(self, vendor: str) -> None:
        """Sessions may use the model at this address, and sleep as soon as they can."""
        self.home.config.write_text(f'[model]\napi_url = "{vendor}"\n[runtime]\nidle_secs = 1\n')

    def daemon(self, *, stops: bool) -> Trap:
        """A daemon of this home."""
        return self.start("daemon", "run", stops=stops)

    def start(self, module: str, *arguments: str, stops: bool) -> Trap:
        """A process of the product."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ASTRID_"))}
        with self._out.open("ab") as out:
            return Trap(
                product(module, *arguments),
                {**env, **KEY, "ASTRID_HOME": str(self.home.root)},
                cwd=str(self.workspace),
                out=out.fileno(),
                stops=stops,
            )

    @property
    def said(self) -> str:
        """What the processes printed."""
        return self._out.read_text(errors="replace") if self._out.exists() else ""

    def marks(self) -> dict[str, int]:
        """How often each command has left its mark."""
        trace = self.workspace / "trace"
        lines = trace.read_text().splitlines() if trace.exists() else []
        return {mark: lines.count(mark) for mark in (*MARKS, *set(lines) - set(MARKS))}

    def written(self) -> dict[str, str]:
        """The other files of the workspace, but for traces, and names that the next command of the workspace frees."""
        files = [path for path in sorted(self.workspace.iterdir()) if not _is_stub(path)]
        return {path.name: path.read_text() for path in files if not path.name.startswith("trace")}


def _is_stub(path: Path) -> bool:
    """Whether it is what occupies a protected name while a command runs; the process that removes it was killed."""
    return path.is_dir() and stat.S_IMODE(path.stat().st_mode) == STUB_MODE and not any(path.iterdir())
