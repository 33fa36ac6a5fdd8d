"""What a target's process is doing, in a file that both it and the runner have mapped.

The input stands there before it is run, so that it survives the process, whatever that dies of; and counting costs no
system call.

Never: locks.  One process writes; the other reads figures that may be a moment old.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

MAX_INPUT_BYTES = 4096
_FIGURES = struct.Struct("<QQQQ")  # executions, crashes of a known kind, the seed of what is drawn, length of the input
_SIZE = _FIGURES.size + MAX_INPUT_BYTES


class Board:
    """One mapped file."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        """``fresh``: begin at nought; else read what another process writes."""
        if fresh or not path.exists():
            path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self._executions = self._repeated = 0

    def begin(self, data: bytes, seed: int = 0) -> None:
        """``data`` is about to be run, or what Hypothesis draws with ``seed``."""
        self._executions += 1
        kept = data[:MAX_INPUT_BYTES]
        self._map[_FIGURES.size : _FIGURES.size + len(kept)] = kept
        _FIGURES.pack_into(self._map, 0, self._executions, self._repeated, seed, len(kept))

    def again(self) -> None:
        """A crash that is known."""
        self._repeated += 1

    @property
    def executions(self) -> int:
        """How many inputs were run, or begun."""
        return _FIGURES.unpack_from(self._map)[0]

    @property
    def repeated(self) -> int:
        """How many crashes were like one before."""
        return _FIGURES.unpack_from(self._map)[1]

    @property
    def seed(self) -> int:
        """With what Hypothesis drew last; 0 if it was an input that was run."""
        return _FIGURES.unpack_from(self._map)[2]

    @property
    def input(self) -> bytes:
        """What was run last."""
        return self._map[_FIGURES.size : _FIGURES.size + _FIGURES.unpack_from(self._map)[3]]

    def close(self) -> None:
        """Unmap it."""
        self._map.close()
