"""What does `astrid --help` cost, next to what the interpreter costs alone?

In a clean environment: whatever a command only prints may import neither the event loop nor the codecs.

Source: the cost of a command that only prints is what a person pays for every one of them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence

from bench import measure
from bench.measure import Row, shown

ROUNDS = 40
BAR = 2.5
NOTHING = (sys.executable, "-I", "-c", "pass")
HELP = (os.path.join(os.path.dirname(sys.executable), "astrid"), "--help")


def cpu_seconds(command: Sequence[str]) -> float:
    """User and system seconds of one run, in a clean environment."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, env={"PATH": os.defpath}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def rows(rounds: int) -> Iterator[Row]:
    """One answer."""
    help_s, nothing_s = measure.least(rounds, lambda: cpu_seconds(HELP), lambda: cpu_seconds(NOTHING))
    yield Row(
        what="`astrid --help` from a clean environment",
        measured=help_s / nothing_s,
        bar=BAR,
        unit="x `python -c pass`",
        detail=f"{shown(help_s)} beside {shown(nothing_s)} of processor time",
    )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
