"""Sessions of the past for clients: which there were, and what one of them said and heard.

Never: shows anything that the log's writer does not stand for (``runtime.chronicle``, ``runtime.archive``).

Source: architecture 7; protocol N9, N10.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from astrid.core.ids import parse_id, show_id
from astrid.errors import InputError
from astrid.messages.archive import Recall
from astrid.messages.gateway import SessionLine
from astrid.ports import LogReader
from astrid.runtime.archive import recall_session
from astrid.runtime.boot import World
from astrid.runtime.chronicle import PastSession, first_words, setting_of
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.typed import encode

WORDS = 200  # characters of what was first said
MAX_LIST_BYTES = 512 * 1024
MAX_PART_BYTES = 256 * 1024
_T = TypeVar("_T")
Stated = Callable[[], Awaitable[tuple[int, bytes]]]
Lines = Callable[[], Awaitable[tuple[SessionLine, ...]]]


class Histories:
    """See the module.  On behalf of one connection: ``stated`` makes a checkpoint over everything up to now, ``lines``
    tells who is there.
    """

    def __init__(self, world: World, stated: Stated, lines: Lines) -> None:
        self._world = world
        self._stated = stated
        self._lines = lines
        self._read: tuple[r.PastSession, bytes] | None = None  # the journal that is being handed out

    async def answer(self, wanted: p.ListPast | p.JournalOf) -> r.Answer:
        """What is asked.

        Raises:
            AstridError: it cannot be answered; the code says why.
        """
        match wanted:
            case p.ListPast():
                return await self.list(wanted)
            case p.JournalOf():
                return await self.journal(wanted)

    async def list(self, wanted: p.ListPast) -> r.PastSessions:
        """The sessions that the log tells of, the last active one first.

        Raises:
            AstridError: the log cannot be read, or is not what was written.
        """
        there = {line.session for line in await self._lines()}

        def look(reader: LogReader, known: dict[bytes, PastSession], _: bytes) -> tuple[list[r.PastSession], int]:
            found = sorted(known.values(), key=lambda past: (past.last_ns, past.first), reverse=True)[wanted.skip :]
            return [_told(reader, past, there) for past in found[: wanted.limit]], len(found)

        told, count = await self._consult(look)
        listed: list[r.PastSession] = []
        room = MAX_LIST_BYTES
        for one in told:
            room -= len(encode(one))
            if room < 0:
                break
            listed.append(one)
        return r.PastSessions(sessions=tuple(listed), left_out=count - len(listed))

    async def journal(self, wanted: p.JournalOf) -> r.JournalPart:
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
        return r.JournalPart(session=past, data=part, size=len(data))

    async def _recall(self, session: bytes) -> tuple[r.PastSession, bytes]:
        there = {line.session for line in await self._lines()}
        keys, roots = self._world.keys, self._world.identity.roots

        def look(reader: LogReader, known: dict[bytes, PastSession], note: bytes) -> tuple[r.PastSession, bytes]:
            past = known.get(session)
            if past is None:
                raise InputError(
                    "session.no-past", "the log tells of no such session", advice="see `astrid sessions list --all`"
                )
            recall = Recall(id=0, session=session, first=past.first, rows=past.rows, note=note)
            rows = recall_session(reader, recall, keys, roots).rows
            return _told(reader, past, there), b"".join(row + b"\n" for row in rows)

        return await self._consult(look)

    async def _consult(self, look: Callable[[LogReader, dict[bytes, PastSession], bytes], _T]) -> _T:
        chronicle = self._world.chronicle
        async with chronicle.lock:
            _, note = await self._stated()
            return await self._world.consult(lambda reader: look(reader, chronicle.read(reader, note), note))


def _told(reader: LogReader, past: PastSession, there: set[bytes]) -> r.PastSession:
    workspace = prompt = trouble = ""
    try:
        setting = setting_of(reader, past)
        workspace = "" if setting is None else setting.workspace.decode("utf-8", "replace")
        prompt = first_words(reader, past, WORDS)
    except InputError as error:  # of this one; the others can be shown all the same
        trouble = error.message
    return r.PastSession(
        session_id=show_id("session", past.session),
        state="ended" if past.ended else "open" if past.session in there else "interrupted",
        ended=past.ended,
        workspace=workspace,
        mode=past.started.mode,
        model=past.started.model,
        started_ns=str(past.started_ns),
        last_ns=str(past.last_ns),
        turns=past.turns,
        rows=past.rows,
        prompt=prompt,
        trouble=trouble[:4096],
    )
