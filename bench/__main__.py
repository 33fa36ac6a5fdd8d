"""``python -m bench [NAME...]``: asks every question of this folder and prints one table.

Each question runs in a process of its own: what one leaves in memory is not the next one's cost.  Exit code 1 if a bar
is missed or a question could not be answered.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.measure import MISSED, Row, told

FOLDER = Path(__file__).parent


def questions() -> list[str]:
    """The modules here that have rows, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if "\ndef rows(" in path.read_text("utf-8"))


class Asking:
    """The questions in their order; ``failed`` are those that ended without an answer to everything."""

    def __init__(self, names: list[str], options: list[str]) -> None:
        self.failed: list[str] = []
        self._names = names
        self._options = options

    def rows(self) -> Iterator[Row]:
        """Every answer, as it comes."""
        for name in self._names:
            command = [sys.executable, "-m", f"bench.{name}", "--json", *self._options]
            count = 0
            with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=FOLDER.parent) as child:
                for text in child.stdout or ():
                    count += 1
                    yield msgspec.json.decode(text, type=Row)
            if child.returncode not in (0, MISSED) or not count:
                self.failed.append(name)


def main() -> int:
    """Ask, print, and say by the exit code whether every bar is kept."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(questions()))
    parser.add_argument("--rounds", type=int, help="how often each thing is measured (each question has its own count)")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(questions())
    if unknown:
        parser.error(f"no question is called {', '.join(sorted(unknown))}")
    began = time.monotonic()
    asking = Asking(asked.names or questions(), [] if asked.rounds is None else ["--rounds", str(asked.rounds)])
    rows: list[Row] = []
    try:
        rows.extend(told(asking.rows(), as_json=asked.json))
    except KeyboardInterrupt:
        asking.failed.append("interrupted")
    missed = [row.what for row in rows if not row.holds]
    seconds = time.monotonic() - began
    counts = {"rows": len(rows), "hold": len(rows) - len(missed), "missed": missed, "unanswered": asking.failed}
    if asked.json:
        print(msgspec.json.encode(counts | {"seconds": round(seconds)}).decode())
    else:
        print(
            f"bench: {len(rows)} rows, {counts['hold']} hold, missed: {', '.join(missed) or 'none'}, "
            f"unanswered: {', '.join(asking.failed) or 'none'} ({seconds:.0f} s)"
        )
    return 1 if missed or asking.failed else 0


if __name__ == "__main__":
    sys.exit(main())
