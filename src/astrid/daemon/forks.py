"""What has a session begin that goes on from another one: how that was opened, and what was said in it.  Pure.

Never: takes over what the other one may do, has spent or has asked; the new one is opened like any other.

Source: architecture 7; protocol N9.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import msgspec

from astrid.core.records import SubagentStarted
from astrid.core.turn_cut import rows_up_to
from astrid.core.turn_fork import Origin
from astrid.core.turn_messages import AnyRow, ForkRow, FrameRow, InputRow, Setting, decode_row
from astrid.errors import InputError
from astrid.messages.archive import Recalled
from astrid.messages.gateway import Forked, OpenSession
from astrid.runtime.chronicle import PastSession
from astrid.wire import params as p

Opening = Callable[[int], OpenSession]


class Fork(msgspec.Struct, frozen=True):
    """What is gone on from, in which folder, and what opens the new session, for a ticket; ``left_out`` as the client
    is told it.
    """

    origin: Origin
    workspace: str
    opening: Opening
    left_out: bool


def fork_of(past: PastSession, recalled: Recalled, wanted: p.ForkSession, size: int) -> Fork:
    """What starts a session that goes on from ``past``, as a log of ``size`` records tells of it.

    Raises:
        InputError: it has no such turn, or the log does not say enough of it.
        CanonError: a row cannot be read.
    """
    said = [decode_row(row) for row in recalled.rows]
    framed = framed_in(past, said, wanted.model)
    count, turn = rows_up_to(said, wanted.at)
    origin = Origin(session=past.session, turn=turn, record=size)
    workspace = os.fsdecode(framed.workspace)
    forks = Forked(origin=origin, workspace=recalled.workspace, rows=tuple(said[:count]))

    def opening(ticket: int) -> OpenSession:
        return OpenSession(
            ticket=ticket,
            workspace=workspace,
            mode=wanted.mode or past.started.mode,
            model=wanted.model or past.started.model,
            budget_micros=framed.budget_micros if wanted.budget_micros is None else int(wanted.budget_micros),
            max_turns=wanted.max_turns or framed.limits.asks_per_input,
            interactive=wanted.interactive,
            # SAFETY: what goes on from a session of a fleet still spends the fleet's money, and from one that followed
            # a definition, has still no more than that asks for.
            fleet=framed.fleet,
            agent=framed.agent,
            forks=forks,
        )

    left_out = wanted.at is None and turn < sum(isinstance(row, InputRow) for row in said)
    return Fork(origin, workspace, opening, left_out)


def framed_in(past: PastSession, said: Sequence[AnyRow], model: str | None) -> Setting:
    """How a session was opened that is gone on with, by itself or by another one, with the model that is asked for.

    Raises:
        InputError: it cannot be gone on with, or the log does not say enough of it.
    """
    # SAFETY: a sub-agent's authority is a part of what its caller had, and ends with that.
    if isinstance(past.started, SubagentStarted):
        raise InputError("session.sub-agent", "it is a sub-agent's", advice="resume the session that it worked for")
    if past.started.scripted and model is None:
        raise InputError("session.script", "the session follows a script", advice="name it: --model scripted:FILE")
    framed = next((row.setting for row in reversed(said) if isinstance(row, FrameRow)), None)
    copied = max((row.turn for row in said if isinstance(row, ForkRow)), default=0)
    # The daemon may have died between the records of what it was to go on from.
    if framed is None or not framed.workspace or sum(isinstance(row, InputRow) for row in said) < copied:
        raise InputError(
            "session.nothing-said", "the log does not say how the session began", advice="start another one"
        )
    return framed
