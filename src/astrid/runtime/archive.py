"""The archive: what the log says of a session that is to wake, read back and verified.

The log's files lie on a disk that others may edit, so nothing of them is believed by itself.  The writer of the log
states, from its own memory, the root over all records (a checkpoint, made for this); each record that is used is shown
to be under that root, and what lies beside it to be what it commits to.  The number of rows is the gate's.

Never: takes a row, a token or a name that the log does not hold, or leaves out a row; then the session does not wake.
What can be left out by whoever edits the disk is only a person's answer: authority gets less by it.

Source: protocol N9, N10; architecture 7; threats 11, 25, 29.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import UnionType

import msgspec

from astrid.core.approval import MAX_ANSWER_BYTES, SignedAnswer
from astrid.core.canon import Signed, decode
from astrid.core.chain import Frame, decode_body, decode_frame
from astrid.core.checkpoint import Checkpoint, verify_checkpoint
from astrid.core.gate_admin import rows_digest
from astrid.core.past import Kept, recalled
from astrid.core.records import (
    DeniedRecord,
    JournalRecord,
    JournalRow,
    OutcomeRecord,
    PermitRecord,
    SessionStarted,
    SettledRecord,
)
from astrid.core.tokens import Roots, verify_chain
from astrid.core.turn_messages import Verdict, decode_row
from astrid.core.verdicts import find_verdicts, open_proposals
from astrid.core.verify import LogKeys
from astrid.errors import AstridError, ChainError, InputError, InternalError
from astrid.guard.door import GATEWAY, is_ours, strayed
from astrid.kernel import Actor, Ref, Sender
from astrid.messages.archive import Recall, Recalled
from astrid.messages.gate import Failed
from astrid.ports import LogReader
from astrid.runtime.proofs import Under

PAGE = 500
Consult = Callable[[Callable[[LogReader], Recalled]], Awaitable[Recalled]]


class Archive(Actor):
    """See the module.  ``consult`` lets a function look at the log, where that keeps nobody waiting."""

    def __init__(
        self,
        consult: Consult,
        keys: LogKeys,
        roots: Roots,
        *,
        gate: Callable[[], Ref | None],
        made: Callable[[Ref], None],
    ) -> None:
        self._consult = consult
        self._keys = keys
        self._roots = roots
        self._gate = gate
        self._made = made

    async def started(self) -> None:
        """Be found."""
        self._made(self.ctx.ref)

    async def receive(self, message: object, sender: Sender) -> object:
        """One session at a time, so that many that wake at once do not keep everything else from the processor."""
        match message:
            case Recall() if sender.path == GATEWAY:
                await self._recall(message, sender)
            case _ if is_ours(message, sender):
                raise InternalError("archive.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
            case _:  # of somebody who is not trusted: the gate has it recorded
                gate = self._gate()
                if gate is not None:
                    self.ctx.post(gate, strayed(message, sender))
        return None

    async def _recall(self, message: Recall, sender: Sender) -> None:
        try:
            found = await self._consult(lambda reader: recall_session(reader, message, self._keys, self._roots))
        except AstridError as error:
            told = Failed(id=message.id, code=error.code, reason=error.message, advice=error.advice)
            self.ctx.answer(sender, message.id, told)
        else:
            self.ctx.answer(sender, message.id, found)


def recall_session(reader: LogReader, wanted: Recall, keys: LogKeys, roots: Roots) -> Recalled:
    """What the log says of a session.

    Raises:
        ChainError: what lies there is not what was recorded.
        InputError: something that is needed was erased.
        JournalError: the log cannot be read.
    """
    checkpoint = verify_checkpoint(wanted.note, keys.runtime_key, keys.log_id)
    started: SessionStarted | None = None
    rows: list[bytes] = []
    made_by: list[int] = []  # the record of each row
    answers: list[bytes] = []
    for frame, body in records_of(reader, wanted, checkpoint, SessionStarted | JournalRecord | SettledRecord):
        match body:
            case SessionStarted() if frame.seq == wanted.first:
                started = body
            case JournalRecord() if started is not None:
                rows += rows_of(reader, frame.session, frame.seq, body, after=len(rows))
                made_by += [frame.seq] * body.count
            case SettledRecord() if started is not None and any(body.block):
                answers += _answer(reader, frame, body, started.principal, roots)
            case _:
                pass
    if started is None or len(rows) != wanted.rows:
        raise _changed(f"the log shows {len(rows)} rows of the session's journal, and there were {wanted.rows}")
    return Recalled(
        id=wanted.id,
        key=started.principal,
        workspace=started.workspace,
        mode=started.mode,
        model=started.model,
        rows=tuple(rows),
        answers=tuple(answers),
        verdicts=_verdicts(reader, wanted, checkpoint, started.principal, zip(made_by, rows, strict=True))
        if wanted.resumes
        else None,
    )


def _verdicts(
    reader: LogReader, wanted: Recall, checkpoint: Checkpoint, key: bytes, rows: Iterable[tuple[int, bytes]]
) -> tuple[Verdict, ...]:
    """What became of what the session had proposed and has no answer to."""
    proposals, heard = open_proposals((seq, decode_row(row)) for seq, row in rows)
    if not proposals:
        return ()
    since = msgspec.structs.replace(wanted, first=min(one.since for one in proposals))
    records = records_of(reader, since, checkpoint, PermitRecord | DeniedRecord | OutcomeRecord)
    # SAFETY: not what its sub-agents did, which is recorded as its own session's and may be the same bytes.
    own = [(frame.seq, body) for frame, body in records if getattr(body, "principal", key) == key]
    return find_verdicts(proposals, heard, own, reader.payload)


def records_of(
    reader: LogReader, wanted: Recall, checkpoint: Checkpoint, shapes: UnionType
) -> Iterator[tuple[Frame, Signed]]:
    """The session's records that matter here, in order, each shown to be under ``checkpoint``."""
    under, at = Under(reader, checkpoint.size, checkpoint.root), wanted.first
    while page := reader.frames_of(wanted.session, at, PAGE):
        for raw in page:
            frame = decode_frame(raw)
            if not at <= frame.seq <= checkpoint.size:
                if frame.seq > checkpoint.size:
                    return
                raise _changed(f"record {frame.seq} is not where it belongs")
            at = frame.seq + 1
            body = decode_body(frame) if frame.session == wanted.session else None
            if body is None or not isinstance(body, shapes):
                continue
            if not under.has(frame.seq, raw):
                raise _changed(f"record {frame.seq} is not the one that was written")
            yield frame, body


def rows_of(reader: LogReader, session: bytes, seq: int, body: JournalRecord, *, after: int) -> list[bytes]:
    """The rows that record ``seq`` commits to, which go on after row ``after``.

    Raises:
        ChainError: other rows lie there.
        InputError: they were erased.
    """
    kept = recalled(reader.payload, Kept(seq, body.rows))
    rows = reader.rows(session, body.first, body.count)
    made = tuple(JournalRow(number, data) for number, data in enumerate(rows, body.first))
    if kept is None or not rows:
        raise InputError(
            "session.erased", "what the session said was erased from the log", advice="start another session"
        )
    # What is kept is what the record commits to; so these are the rows, all of them, and the next ones.
    if body.first != after + 1 or len(rows) != body.count or rows_digest(made) != kept:
        raise _changed(f"the rows of record {seq} are not those that were recorded")
    return rows


def _answer(reader: LogReader, frame: Frame, body: SettledRecord, key: bytes, roots: Roots) -> list[bytes]:
    """The token of a person's yes, if it is the session's own; others are on the shelf."""
    raw = recalled(reader.payload, Kept(frame.seq, body.answer, in_answer=True))
    if raw is None:
        return []
    token = verify_chain(decode(raw, SignedAnswer, max_bytes=MAX_ANSWER_BYTES, what="an answer").token, roots)
    return [token.raw] if token.holder == key else []


def _changed(what: str) -> ChainError:
    return ChainError("session.changed", what, advice="run `astrid audit verify`; end the session and start another")
