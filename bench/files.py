"""What does it cost to read a file of 10 kB through the workspace's handle?

The peer opens the same file by its whole path and reads it.  Ours opens it below the folder that is held, with no link
followed, looks at what it is, reads it to its end, and hashes it, since what was read is what a later write rests on.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from astrid.adapters.workspace.handles import Root
from astrid.adapters.workspace.paths import Target
from astrid.adapters.workspace.reading import read_bytes
from bench import measure
from bench.measure import Row, cost, least, shown

ROUNDS = 30
READS = 500
BYTES = 10_000
BAR = 3.0
DEPTH = ("a", "b", "c", "file")


def rows(rounds: int) -> Iterator[Row]:
    """The one answer."""
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as place:
        path = Path(place, *DEPTH)
        path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(BYTES))
        root = Root.open(Path(place))
        target = Target(root, tuple(map(os.fsencode, DEPTH)), inside=True, shown="/".join(DEPTH))

        def ours() -> None:
            for _ in range(READS):
                read_bytes(target)

        def plain() -> None:
            name = str(path)
            for _ in range(READS):
                with open(name, "rb") as file:
                    file.read()

        peer, held = least(rounds, lambda: cost(plain, READS), lambda: cost(ours, READS))
        root.close()
    yield Row(
        what="a file of 10 kB, read through the workspace's handle",
        measured=held / peer,
        bar=BAR,
        unit="x open and read",
        detail=f"{shown(held)} beside {shown(peer)}",
    )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
