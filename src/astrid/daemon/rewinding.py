"""Files of a workspace put back to what they held after a turn of a session, for clients.

It is announced in the log before the first file is touched, and what came of it is recorded.  What was cut off in the
middle is finished by asking for it again: a file that holds already what it should is left as it is.

Never: does anything but what was shown, or touches a file that anybody else has changed.

Source: architecture 5, 7; protocol N9.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec
import trio

from astrid.adapters.workspace.undoing import Undoer, shown_path
from astrid.core import records
from astrid.core.canon import encode
from astrid.core.ids import parse_id
from astrid.core.turn_cut import rows_up_to
from astrid.core.turn_messages import ForkRow, decode_row
from astrid.core.turn_state import restore
from astrid.core.undo import Left, Undo, plan_undo
from astrid.core.visible import visible
from astrid.daemon.forks import framed_in
from astrid.daemon.histories import Histories, Lines, past_of, recall_of
from astrid.errors import InputError, WorkspaceError
from astrid.messages.gateway import RewindFiles
from astrid.ports import LogReader
from astrid.runtime.archive import recall_session
from astrid.runtime.boot import World
from astrid.runtime.chronicle import PastSession
from astrid.runtime.undoing import Since, Stays, done_since
from astrid.wire import params as p
from astrid.wire import undone as u
from astrid.wire.fields import Wire
from astrid.wire.typed import encode as encode_answer

MAX_LIST_BYTES = 512 * 1024
MAX_LINE = 4096  # characters of a path that are shown
SHOWN_CHARS = 400  # of the arguments of a call
_T = TypeVar("_T", bound=Wire)
Note = Callable[[Callable[[int], RewindFiles]], Awaitable[int]]


class Plan(msgspec.Struct, frozen=True):
    """What would be done: which files get back what, and which stay."""

    session: bytes
    turn: int
    undos: tuple[Undo, ...]
    left: tuple[Left, ...]
    since: Since
    forked_at: int
    in_view: bool
    undoer: Undoer

    def digest(self) -> bytes:
        """What it is known by."""
        return hashlib.sha256(encode((self.session, self.turn, self.undos))).digest()


class Rewinding:
    """See the module.  On behalf of one connection: ``lines`` tells who is there, ``note`` has something recorded, and
    gives the number of the record.
    """

    def __init__(self, world: World, histories: Histories, lines: Lines, note: Note) -> None:
        self._world = world
        self._histories = histories
        self._lines = lines
        self._note = note

    async def answer(self, wanted: p.PlanRewind | p.RewindFiles) -> u.FilesRewound:
        """What is asked.

        Raises:
            AstridError: it cannot be done; the code says why.
        """
        plan = await self._plan(parse_id("session", wanted.session_id), wanted.to)
        if isinstance(wanted, p.PlanRewind):
            return _told(wanted, plan, plan.undos, {})
        if wanted.plan != plan.digest():
            raise InputError(
                "files.other-plan",
                "what there is to be put back is not what was shown",
                advice="look at it again: `astrid sessions rewind ID --to N --dry-run`",
            )
        refused: dict[Undo, str] = {}
        if plan.undos or plan.since.cut_off:
            refused = await self._perform(plan)
        restored = [undo for undo in plan.undos if undo not in refused]
        return _told(wanted, plan, restored, refused)

    async def _perform(self, plan: Plan) -> dict[Undo, str]:
        """Put files back; those that could not be, and why."""
        session, turn = plan.session, plan.turn
        await trio.to_thread.run_sync(plan.undoer.hold, plan.undos)
        began = await self._note(lambda n: RewindFiles(ticket=n, session=session, turn=turn, undos=plan.undos))
        refused = await trio.to_thread.run_sync(_put_back, plan.undoer, plan.undos)
        rewound = records.FilesRewound(began, len(plan.undos) - len(refused), len(refused))
        await self._note(lambda n: RewindFiles(ticket=n, session=session, turn=turn, rewound=rewound))
        return refused

    async def _plan(self, session: bytes, turn: int) -> Plan:
        if any(line.session == session and line.state == "running" for line in await self._lines()):
            raise InputError("session.busy", "a turn is running", advice="wait for it or cancel it")
        workspace, identity, forked_at, in_view = await self._histories.consult(
            lambda reader, known, note: self._look(reader, past_of(known, session), note, turn)
        )
        place = self._world.catalogue.place(workspace)
        if place.identity != identity:
            raise WorkspaceError(
                "workspace.another",
                "another folder is where the session worked",
                effect="none",
                where=workspace,
                advice="put the folder back in its place",
            )
        undoer, keys = self._world.catalogue.undoer(place), self._world.keys

        def look(reader: LogReader, known: dict[bytes, PastSession], note: bytes) -> Plan:
            since = done_since(reader, past_of(known, session), note, keys, turn, undoer.change_of)
            held = {change.path: undoer.held(change.path) for change in since.changes}
            undos, left = plan_undo(since.changes, held)
            unkept = {undo.then for undo in undos if not undoer.is_kept(undo.then)}
            left += [Left(undo.path, "unkept") for undo in undos if undo.then in unkept]
            can = tuple(undo for undo in undos if undo.then not in unkept)
            return Plan(session, turn, can, tuple(left), since, forked_at, in_view, undoer)

        return await self._histories.consult(look)

    def _look(self, reader: LogReader, past: PastSession, note: bytes, turn: int) -> tuple[str, bytes, int, bool]:
        """Of a session that has such a turn: in which folder it worked, up to which turn another one did, and whether
        its conversation can go back to that turn.
        """
        recalled = recall_session(reader, recall_of(past, note), self._world.keys, self._world.identity.roots)
        said = [decode_row(row) for row in recalled.rows]
        framed = framed_in(past, said, past.started.model)
        rows_up_to(said, turn)
        copied = max((row.turn for row in said if isinstance(row, ForkRow)), default=0)
        return os.fsdecode(framed.workspace), recalled.workspace, copied, turn in restore(framed, said).ends


def _put_back(undoer: Undoer, undos: Iterable[Undo]) -> dict[Undo, str]:
    refused: dict[Undo, str] = {}
    for undo in undos:
        try:
            undoer.put_back(undo)
        except WorkspaceError as error:
            refused[undo] = error.message
    return refused


def _told(
    wanted: p.PlanRewind | p.RewindFiles, plan: Plan, undos: Iterable[Undo], refused: Mapping[Undo, str]
) -> u.FilesRewound:
    files = [u.UndoneFile(path=shown_path(undo.path)[:MAX_LINE], does=_does(undo)) for undo in undos]
    left = [u.LeftFile(path=shown_path(one.path)[:MAX_LINE], why=one.why) for one in plan.left]
    for undo, said in refused.items():
        left.append(u.LeftFile(path=shown_path(undo.path)[:MAX_LINE], why="refused", said=said[:MAX_LINE]))
    stays = [_stays(one) for one in plan.since.stays]
    room = MAX_LIST_BYTES

    def fitting(some: Sequence[_T]) -> tuple[_T, ...]:
        nonlocal room
        listed: list[_T] = []
        for one in some:
            room -= len(encode_answer(one))
            if room < 0:
                break
            listed.append(one)
        return tuple(listed)

    shown = fitting(files), fitting(left), fitting(stays)
    return u.FilesRewound(
        session_id=wanted.session_id,
        turn=wanted.to,
        done=isinstance(wanted, p.RewindFiles),
        plan=plan.digest(),
        files=shown[0],
        left=shown[1],
        stays=shown[2],
        not_listed=len(files) + len(left) + len(stays) - sum(map(len, shown)),
        forked_at=plan.forked_at if plan.forked_at > wanted.to else 0,
        in_view=plan.in_view,
    )


def _does(undo: Undo) -> Literal["restore", "make", "remove"]:
    if not undo.then:
        return "remove"
    return "restore" if undo.now else "make"


def _stays(one: Stays) -> u.StayedCall:
    arguments = visible(one.args[: 4 * SHOWN_CHARS].decode("utf-8", "replace"))[:SHOWN_CHARS]
    return u.StayedCall(record=one.record, tool=one.tool[:MAX_LINE], arguments=arguments, why=one.why)
