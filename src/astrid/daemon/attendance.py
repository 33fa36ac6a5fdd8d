"""Which sessions have somebody there who can answer questions.  Pure.

Source: architecture 5 (nobody there: the question is queued); threats 39.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Tell(Protocol):
    """Told when the first comes to a session, and when the last has gone."""

    def __call__(self, session: bytes, *, present: bool) -> None:
        """Whether somebody is there now."""


class Attendance:
    """Counts who is there, over all connections."""

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


class Attending:
    """The sessions that one connection counts for, each once."""

    def __init__(self, attendance: Attendance, tell: Tell) -> None:
        self._attendance = attendance
        self._tell = tell
        self._sessions: set[bytes] = set()

    def begin(self, session: bytes) -> bool:
        """Count for it from now on; whether that is new."""
        if session in self._sessions:
            return False
        self._sessions.add(session)
        if self._attendance.came(session):
            self._tell(session, present=True)
        return True

    def end(self, session: bytes) -> None:
        """Count for it no more, if so until now."""
        if session in self._sessions:
            self._sessions.discard(session)
            if self._attendance.went(session):
                self._tell(session, present=False)

    def end_all(self) -> None:
        """Count for none any more."""
        for session in list(self._sessions):
            self.end(session)
