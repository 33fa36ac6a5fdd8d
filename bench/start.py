"""What does `astrid --help` cost, next to what the interpreter costs alone?  At most 2.5 times as much processor time.

Prints the ratio of the least of many tries: what other processes do meanwhile only ever adds to each.

Source: the cost of a command that only prints is what a person pays for every one of them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence

LIMIT = 2.5
ROUNDS = 40
NOTHING = (sys.executable, "-I", "-c", "pass")
HELP = (os.path.join(os.path.dirname(sys.executable), "astrid"), "--help")


def cpu_seconds(command: Sequence[str]) -> float:
    """User and system seconds of one run, in a clean environment."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, env={"PATH": os.defpath}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> int:
    """Measure in turn, print, and say by the exit code whether it is within the limit."""
    cpu_seconds(HELP)  # once, so that what is compiled on first use is compiled
    pairs = [(cpu_seconds(HELP), cpu_seconds(NOTHING)) for _ in range(ROUNDS)]
    shown, alone = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    ratio = f"{shown / alone:.2f} x python -c pass (limit {LIMIT})"
    print(f"astrid --help: {ratio}, {shown * 1e3:.0f} ms beside {alone * 1e3:.0f} ms of processor time")
    return 0 if shown <= LIMIT * alone else 1


if __name__ == "__main__":
    sys.exit(main())
