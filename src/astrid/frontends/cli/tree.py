"""A session and its sub-agents, out of the list of all sessions.  Pure.

Source: architecture 4, 6 ("Sub-agents").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from astrid.core.money import Micros, format_usd
from astrid.errors import InputError
from astrid.wire import results as r


class Branch(msgspec.Struct, frozen=True):
    """A session, and a branch for each of its sub-agents."""

    info: r.SessionInfo
    below: tuple[Branch, ...]

    def lines(self, depth: int = 0) -> Iterator[str]:
        """For people, one line a session.  What a session cost includes what is below it."""
        info = self.info
        spent = format_usd(Micros(int(info.spent_micros)))
        yield f"{'  ' * depth}{info.session_id} {info.agent or info.mode}, {info.state}, {spent}"
        for branch in self.below:
            yield from branch.lines(depth + 1)

    def plain(self) -> dict[str, object]:
        """For programs."""
        info = self.info
        return {
            "session_id": info.session_id,
            "agent": info.agent,
            "state": info.state,
            "spent_micros": int(info.spent_micros),
            "subagents": [branch.plain() for branch in self.below],
        }


def branch_of(name: str, known: Sequence[r.SessionInfo]) -> Branch:
    """The session called ``name`` with all that is done for it.

    Raises:
        InputError: there is no such session.
    """
    found = next((info for info in known if info.session_id == name), None)
    if found is None:
        raise InputError("session.unknown", "there is no such session", where=name, advice="see `astrid sessions list`")
    return _branch(found, known)


def _branch(info: r.SessionInfo, known: Sequence[r.SessionInfo]) -> Branch:
    below = tuple(_branch(one, known) for one in known if one.parent_id == info.session_id)
    return Branch(info, below)
