"""A session as a client lists it: what the gateway says of it, and what the gate has counted.  Pure.

Source: the first Astrid (names); architecture 6.
"""

from __future__ import annotations

from typing import cast

from astrid.core.facts import Facts
from astrid.core.ids import show_id
from astrid.messages.gateway import SessionLine
from astrid.wire import results as r
from astrid.wire.fields import Mode


def session_info(line: SessionLine, questions: int, facts: Facts) -> r.SessionInfo:
    """One line of the list; ``questions`` are those of it that are open."""
    purse = facts.ledger.purses.get(line.purse or b"session" + line.session)
    state = "waiting" if line.state == "running" and questions else line.state
    return r.SessionInfo(
        session_id=show_id("session", line.session),
        workspace=line.workspace,
        mode=cast("Mode", line.mode),  # checked, like all that travels, when it is written
        model=line.model,
        state=cast("r.SessionState", state),
        created_ns=str(line.created_ns),
        turns=line.turns,
        message_count=facts.rows.get(line.session, 0),
        pending_deferred_count=questions,
        spent_micros="0" if purse is None else str(purse.spent),
        parent_id=show_id("session", line.parent) if line.parent else None,
        agent=line.agent or None,
    )
