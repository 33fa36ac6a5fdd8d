"""Sessions of the past for clients: which there were, what one of them said and heard, and having one go on.

Never: shows anything that the log's writer does not stand for (``runtime.chronicle``, ``runtime.archive``).

Source: architecture 7; protocol N9, N10.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from astrid.core.checkpoint import verify_checkpoint
from astrid.core.ids import parse_id, show_id
from astrid.core.records import Erasure, SubagentStarted
from astrid.core.turn_messages import EndRow, ForkRow, InputRow, Undone, decode_row
from astrid.daemon.forks import Fork, Opening, fork_of, framed_in
from astrid.errors import InputError
from astrid.messages.archive import Recall
from astrid.messages.gateway import Revive, SessionLine
from astrid.ports import LogReader
from astrid.runtime.archive import recall_session
from astrid.runtime.boot import World
from astrid.runtime.chronicle import PastSession, first_words, lead_of
from astrid.runtime.erasing import branch_of, erasure_of
from astrid.wire import params as p
from astrid.wire import past as w
from astrid.wire import results as r
from astrid.wire.typed import encode

WORDS = 200  # characters of what was first said
MAX_LIST_BYTES = 512 * 1024
MAX_PART_BYTES = 256 * 1024
_T = TypeVar("_T")
Wanted = p.ListPast | p.JournalOf | p.ResumeSession | p.ForkSession | p.DeleteSession
Stated = Callable[[], Awaitable[tuple[int, bytes]]]
Ask = Callable[[Revive], Awaitable[int]]
Open = Callable[[Opening], Awaitable[bytes]]
Erase = Callable[[Erasure, int], Awaitable[None]]
Lines = Callable[[], Awaitable[tuple[SessionLine, ...]]]


class Histories:
    """See the module.  On behalf of one connection: ``stated`` makes a checkpoint over everything up to now, ``lines``
    tells who is there, ``ask`` asks the gateway, ``opened`` gives the id of a session once that is there,
    ``erase`` has things be gone.
    """

    def __init__(self, world: World, stated: Stated, lines: Lines, ask: Ask, opened: Open, erase: Erase) -> None:
        self._world = world
        self._stated = stated
        self._lines = lines
        self._ask = ask
        self._open = opened
        self._erase = erase
        self._read: tuple[w.PastSession, bytes] | None = None  # the journal that is being handed out

    async def answer(self, wanted: Wanted) -> r.Answer:
        """What is asked.

        Raises:
            AstridError: it cannot be answered; the code says why.
        """
        match wanted:
            case p.ListPast():
                return await self.list(wanted)
            case p.JournalOf():
                return await self.journal(wanted)
            case p.ResumeSession():
                return await self.resume(wanted)
            case p.ForkSession():
                return await self.fork(wanted)
            case p.DeleteSession():
                return await self.delete(wanted)

    async def list(self, wanted: p.ListPast) -> w.PastSessions:
        """The sessions that the log tells of, the last active one first.

        Raises:
            AstridError: the log cannot be read, or is not what was written.
        """
        there = {line.session for line in await self._lines()}

        def look(reader: LogReader, known: dict[bytes, PastSession], _: bytes) -> tuple[list[w.PastSession], int]:
            found = sorted(known.values(), key=lambda past: (past.last_ns, past.first), reverse=True)[wanted.skip :]
            return [_told(reader, past, there) for past in found[: wanted.limit]], len(found)

        told, count = await self.consult(look)
        listed: list[w.PastSession] = []
        room = MAX_LIST_BYTES
        for one in told:
            room -= len(encode(one))
            if room < 0:
                break
            listed.append(one)
        return w.PastSessions(sessions=tuple(listed), left_out=count - len(listed))

    async def journal(self, wanted: p.JournalOf) -> w.JournalPart:
        """A part of a session's journal, verified as a whole when its first part is asked for.

        Raises:
            AstridError: there is no such session, or its journal is not what was recorded, or erased.
        """
        held = self._read
        if wanted.offset == 0 or held is None or held[0].session_id != wanted.session_id:
            held = self._read = await self._recall(parse_id("session", wanted.session_id))
        past, data = held
        part = data[wanted.offset : wanted.offset + MAX_PART_BYTES]
        if wanted.offset + len(part) >= len(data):
            self._read = None
        return w.JournalPart(session=past, data=part, size=len(data))

    async def _recall(self, session: bytes) -> tuple[w.PastSession, bytes]:
        there = {line.session for line in await self._lines()}
        keys, roots = self._world.keys, self._world.identity.roots

        def look(reader: LogReader, known: dict[bytes, PastSession], note: bytes) -> tuple[w.PastSession, bytes]:
            past = past_of(known, session)
            rows = recall_session(reader, recall_of(past, note), keys, roots).rows
            return _told(reader, past, there), b"".join(row + b"\n" for row in rows)

        return await self.consult(look)

    async def resume(self, wanted: p.ResumeSession) -> w.Resumed:
        """Have a session be there again that was cut off, by its own name and as it was opened; one that is there stays
        as it is.

        Raises:
            AstridError: there is none, it has ended, or cannot go on.
        """
        session = parse_id("session", wanted.session_id)
        seq = self._world.hub.number(session)
        for line in await self._lines():
            if line.session == session:
                running = line.state == "running"
                return w.Resumed(workspace=line.workspace, turn=line.turns, running=running, seq=seq)
        keys, roots = self._world.keys, self._world.identity.roots

        def look(reader: LogReader, known: dict[bytes, PastSession], note: bytes) -> Revive:
            past = past_of(known, session)
            return revival(past, recall_session(reader, recall_of(past, note), keys, roots).rows, wanted)

        revive = await self.consult(look)
        turn = await self._ask(revive)
        return w.Resumed(workspace=revive.workspace, turn=turn, running=revive.unfinished, seq=seq)

    async def fork(self, wanted: p.ForkSession) -> w.Forked:
        """A new session that goes on from another one, in whatever state that is.

        Raises:
            AstridError: there is none, it has no such turn, its journal is not what was recorded, or no session can be
                opened.
        """
        session = parse_id("session", wanted.session_id)
        keys, roots = self._world.keys, self._world.identity.roots

        def look(reader: LogReader, known: dict[bytes, PastSession], note: bytes) -> Fork:
            past = past_of(known, session)
            size = verify_checkpoint(note, keys.runtime_key, keys.log_id).size
            return fork_of(past, recall_session(reader, recall_of(past, note), keys, roots), wanted, size)

        fork = await self.consult(look)
        opened = await self._open(fork.opening)
        return w.Forked(
            session_id=show_id("session", opened),
            origin_id=wanted.session_id,
            workspace=fork.workspace,
            turn=fork.origin.turn,
            left_out=fork.left_out,
        )

    async def delete(self, wanted: p.DeleteSession) -> w.Deleted:
        """Have what a session said and heard be gone, and what its sub-agents did, each with a record that says so.

        Raises:
            AstridError: there is none, it is open, or the log is not what was written.
        """
        session = parse_id("session", wanted.session_id)
        keys = self._world.keys

        def look(reader: LogReader, known: dict[bytes, PastSession], note: bytes) -> list[tuple[Erasure, int]]:
            past_of(known, session)
            found = [erasure_of(reader, past, note, keys) for past in branch_of(known, session)]
            return [(erasure, rows) for erasure, rows in found if rows or erasure.texts]

        found = await self.consult(look)
        for erasure, rows in found:
            await self._erase(erasure, rows)
        return w.Deleted(
            session_id=wanted.session_id,
            sessions=len(found),
            rows=sum(rows for _, rows in found),
            texts=sum(len(erasure.texts) for erasure, _ in found),
        )

    async def consult(self, look: Callable[[LogReader, dict[bytes, PastSession], bytes], _T]) -> _T:
        """What ``look`` sees in the log, with all sessions that it tells of, and a checkpoint over all of it.

        Raises:
            AstridError: the log cannot be read, or is not what was written.
        """
        chronicle = self._world.chronicle
        async with chronicle.lock:
            _, note = await self._stated()
            return await self._world.consult(lambda reader: look(reader, chronicle.read(reader, note), note))


def revival(past: PastSession, rows: Sequence[bytes], wanted: p.ResumeSession) -> Revive:
    """What has a session be there again, as its own journal says that it was opened.

    Raises:
        InputError: it has ended, or the log does not say enough of it.
    """
    if past.ended:
        raise InputError("session.ended", f"the session has ended: {past.ended}", advice="say what is to be done next")
    said = [decode_row(row) for row in rows]
    framed = framed_in(past, said, wanted.model)
    return Revive(
        session=past.session,
        first=past.first,
        created_ns=past.started_ns,
        workspace=os.fsdecode(framed.workspace),
        mode=past.started.mode,
        model=wanted.model or past.started.model,
        name=past.started.model,
        budget_micros=framed.budget_micros,
        interactive=wanted.interactive,
        fleet=framed.fleet,
        agent=framed.agent,
        turns=sum(isinstance(row, InputRow) for row in said),
        unfinished=not isinstance(said[-1], EndRow | Undone | ForkRow),
    )


def past_of(known: dict[bytes, PastSession], session: bytes) -> PastSession:
    """The session among those that the log tells of.

    Raises:
        InputError: it is none of them.
    """
    past = known.get(session)
    if past is None:
        raise InputError(
            "session.no-past", "the log tells of no such session", advice="see `astrid sessions list --all`"
        )
    return past


def recall_of(past: PastSession, note: bytes) -> Recall:
    """What asks for everything of a session."""
    return Recall(id=0, session=past.session, first=past.first, rows=past.rows, note=note)


def _told(reader: LogReader, past: PastSession, there: set[bytes]) -> w.PastSession:
    workspace = prompt = trouble = ""
    copied = 0
    try:
        frame, fork = lead_of(reader, past)
        workspace = "" if frame is None else frame.setting.workspace.decode("utf-8", "replace")
        copied = 0 if fork is None else fork.turn
        prompt = first_words(reader, past, WORDS)
    except InputError as error:  # of this one; the others can be shown all the same
        trouble = error.message
    started = past.started
    return w.PastSession(
        session_id=show_id("session", past.session),
        state="ended" if past.ended else "open" if past.session in there else "interrupted",
        ended=past.ended,
        workspace=workspace,
        mode=past.started.mode,
        model=past.started.model,
        started_ns=str(past.started_ns),
        last_ns=str(past.last_ns),
        turns=max(past.turns, copied),
        rows=past.rows,
        prompt=prompt,
        trouble=trouble[:4096],
        erased=past.erased,
        parent=show_id("session", started.parent) if isinstance(started, SubagentStarted) else None,
    )
