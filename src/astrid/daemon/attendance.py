"""Which sessions have somebody there who can answer questions, over all connections.  Pure.

Source: architecture 5 (nobody there: the question is queued); threats 39.
"""

from __future__ import annotations

from collections import Counter


class Attendance:
    """Counts the listeners of each session."""

    def __init__(self) -> None:
        self._present: Counter[bytes] = Counter()

    def came(self, session: bytes) -> bool:
        """One more; whether it is the first."""
        self._present[session] += 1
        return self._present[session] == 1

    def went(self, session: bytes) -> bool:
        """One less; whether it was the last."""
        self._present[session] -= 1
        if self._present[session] > 0:
            return False
        del self._present[session]
        return True
