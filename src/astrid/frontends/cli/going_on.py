"""Having a session go on for ``astrid exec`` and ``astrid sessions fork``: itself where it can, else by a new one that
begins with what was said in it.

Source: architecture 7; protocol N9.
"""

from __future__ import annotations

from typing import cast

import msgspec

from astrid.core.ids import parse_id, show_id
from astrid.errors import AstridError
from astrid.frontends.client import Client
from astrid.wire import params as p
from astrid.wire import past as w


class GoesOn(msgspec.Struct, frozen=True):
    """The session that goes on, its last turn and whether that runs, and the number of the last event before this;
    ``forked`` if it is a new one.
    """

    session_id: str
    turn: int
    running: bool
    seq: int
    forked: w.Forked | None = None


async def go_on(client: Client, session: str, *, model: str | None, interactive: bool, has_more: bool) -> GoesOn:
    """Have ``session`` go on, or, if it has ended and there is more to be said, a new one from its end.

    Raises:
        AstridError: there is none, or it cannot go on.
    """
    asked = p.ResumeSession(session_id=session, model=model, interactive=interactive)
    try:
        there = cast("w.Resumed", await client.call("resumeSession", asked))
    except AstridError as error:
        if error.code != "session.ended" or not has_more:
            raise
    else:
        return GoesOn(session, there.turn, there.running, there.seq)
    forked = await fork_session(client, p.ForkSession(session_id=session, model=model, interactive=interactive))
    return GoesOn(forked.session_id, forked.turn, running=False, seq=0, forked=forked)


async def fork_session(client: Client, wanted: p.ForkSession) -> w.Forked:
    """A new session that goes on from another one.

    Raises:
        AstridError: there is none, or it cannot be gone on from.
    """
    session_id = show_id("session", parse_id("session", wanted.session_id))
    asked = msgspec.structs.replace(wanted, session_id=session_id)
    return cast("w.Forked", await client.call("forkSession", asked))


def fork_line(forked: w.Forked) -> str:
    """What happened, for people."""
    turn = f"turn {forked.turn}" if forked.turn else "the beginning"
    line = f"{forked.session_id} goes on from {turn} of {forked.origin_id}"
    return f"{line}; the turn behind it did not end, and is left out" if forked.left_out else line


def fork_fields(forked: w.Forked) -> dict[str, object]:
    """The same for programs."""
    return {name: getattr(forked, name) for name in forked.__struct_fields__}
