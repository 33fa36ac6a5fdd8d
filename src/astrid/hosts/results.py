"""``read_result``: more of a result that was too long to be shown.

The whole of each result lies beside the log, under the outcome of its call.  A handle is the number of that call's
permit.  What is read again is untrusted, whatever it was worth the first time: that is never better than it was.

Never: gives a result of another session, but one with which this one began, since it goes on from that; gives one of a
call that was none of the model's; holds more than one result at a time.

Source: architecture 6 ("Labels"), 7; threats 26, 28, 40.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from astrid.core.call import Call, Need, Preparation
from astrid.core.chain import decode_body, decode_frame
from astrid.core.gate_admin import rows_digest
from astrid.core.own_tools import own_tool, read_arguments
from astrid.core.past import Kept, recalled
from astrid.core.records import (
    AttachedRecord,
    JournalRecord,
    JournalRow,
    OutcomeRecord,
    PermitRecord,
    SessionStarted,
)
from astrid.core.resources import file_resource
from astrid.core.risk import EffectClass
from astrid.core.tokens import Permission
from astrid.core.tools import OutputTrust, ToolSpec
from astrid.core.turn_answer import READ_RESULT
from astrid.core.turn_messages import InputRow, ResultRow, decode_row
from astrid.errors import InputError
from astrid.ports import LogReader, ToolOutcome

MAX_PIECE_BYTES = 30_000
MAX_CHARACTER_BYTES = 4  # of UTF-8
PAGE = 100  # records read at once
PLACE = "\n[bytes {first} to {last} of {total}]"
_SCHEMA = (
    b'{"additionalProperties":false,"properties":{'
    b'"handle":{"description":"The number in the note where the result was cut.","minimum":1,"type":"integer"},'
    b'"limit":{"default":30000,"description":"How many bytes.","maximum":30000,"minimum":1,"type":"integer"},'
    b'"offset":{"default":0,"description":"First byte, counted from 0.","minimum":0,"type":"integer"}},'
    b'"required":["handle"],"type":"object"}'
)

SPEC = own_tool(
    READ_RESULT,
    "results",
    b"Read more of a result that was cut, by the handle in the note where it was cut.",
    _SCHEMA,
    effect=EffectClass.READ,
    trust=OutputTrust.THIRD_PARTY,
    verbs=("continue", "read"),
    nouns=("output", "result"),
)

Consult = Callable[[Callable[[LogReader], bytes]], Awaitable[bytes]]


class ReadResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments."""

    handle: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_PIECE_BYTES)] = MAX_PIECE_BYTES


class ResultServer:
    """The ``ToolServer`` port over the log.  ``consult`` lets a function look at it, where that keeps nobody waiting.

    ``root`` is the workspace.  Whoever may read there may read again what came of their own calls.
    """

    def __init__(self, root: str, consult: Consult) -> None:
        self._need = Need(file_resource(root).text, Permission.READ)
        self._consult = consult

    def specs(self) -> tuple[ToolSpec, ...]:
        """One tool."""
        return (SPEC,)

    def glance(self, tool: str, args: bytes) -> Preparation:
        """The right to read in the workspace is all that it takes; whose result it is, ``execute`` looks at."""
        read_arguments(args, ReadResult, READ_RESULT)
        return Preparation(needs=(self._need,))

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """The same: there is nothing to look for."""
        return self.glance(tool, args)

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        """The piece that was asked for, and where it stands in the whole."""
        asked = read_arguments(call.args, ReadResult, READ_RESULT)
        # SAFETY: the session is that of the call, which the gate made, and not what anybody wrote.
        whole = await self._consult(lambda reader: find_result(reader, call.session, asked.handle))
        return ToolOutcome(content=_piece(whole, asked).encode(), is_error=False, effect="none")


def find_result(reader: LogReader, session: bytes, permit: int) -> bytes:
    """The whole result of the call that record ``permit`` permitted: one of ``session``, or one with whose result its
    journal began.

    Raises:
        InputError: it is neither, or a model's answer; it was erased; or what lies beside the record is
            not what that commits to.
    """
    at, whose = permit, _owner(reader, session, permit)
    while page := reader.frames_of(whose, at, PAGE):
        for raw in page:
            frame = decode_frame(raw)
            body = decode_body(frame) if frame.session == whose else None
            if at == permit and not (
                frame.seq == permit and isinstance(body, PermitRecord) and body.host_kind != "model"
            ):
                raise _unknown()
            if isinstance(body, OutcomeRecord) and body.permit_seq == permit:
                return _kept(reader, Kept(frame.seq, body.result, slot=1))
            at = frame.seq + 1
    raise _unknown()


def find_image(reader: LogReader, session: bytes, record: int) -> bytes:
    """The image that somebody gave ``session``, as record ``record`` has it, or that a call of it came to, by the
    record that permitted it.

    Raises:
        InputError: as ``find_result``.
    """
    whose = _owner(reader, session, record)
    for raw in reader.frames_of(whose, record, 1):
        frame = decode_frame(raw)
        body = decode_body(frame) if (frame.session, frame.seq) == (whose, record) else None
        if isinstance(body, AttachedRecord):
            return _kept(reader, Kept(record, body.image))
    return find_result(reader, session, record)


def _owner(reader: LogReader, session: bytes, record: int) -> bytes:
    """The session whose result or image record ``record`` is about, if ``session`` may have it; else that one."""
    for raw in reader.frames(record, 1):
        frame = decode_frame(raw)
        if frame.seq == record and frame.session != session and _inherits(reader, session, record):
            return frame.session
    return session


def _inherits(reader: LogReader, session: bytes, record: int) -> bool:
    """Whether ``session`` began with what another one was shown of record ``record``: it goes on from that one.

    SAFETY: it is not enough that it goes on from that one, which may have heard more than it was cut to.
    """
    at, begun = record, False
    while page := reader.frames_of(session, at, PAGE):
        for raw in page:
            frame = decode_frame(raw)
            at = frame.seq + 1
            body = decode_body(frame) if frame.session == session else None
            match body:
                case None:
                    continue
                case SessionStarted() if not begun:
                    begun = True
                case JournalRecord() if begun:
                    if any(_shows(row, record) for row in _rows(reader, frame.session, frame.seq, body)):
                        return True
                case _:  # what it says from here on is its own
                    return False
    return False


def _rows(reader: LogReader, session: bytes, seq: int, body: JournalRecord) -> list[bytes]:
    """The rows that record ``seq`` commits to; none, if others lie there, or they were erased."""
    rows = reader.rows(session, body.first, body.count)
    made = tuple(JournalRow(number, data) for number, data in enumerate(rows, body.first))
    return rows if recalled(reader.payload, Kept(seq, body.rows)) == rows_digest(made) else []


def _shows(data: bytes, record: int) -> bool:
    if b"%d" % record not in data:  # most rows, and to decode one takes much longer
        return False
    match decode_row(data):
        case ResultRow(label=label):
            return record in label.origins
        case InputRow(images=images):
            return record in [image.record for image in images]
        case _:
            return False


def _unknown() -> InputError:
    return InputError(
        "result.unknown", "no result of this session has this handle", advice="use one from a note about a result"
    )


def _kept(reader: LogReader, kept: Kept) -> bytes:
    found = recalled(reader.payload, kept)
    if found is None:
        raise InputError("result.erased", "this result was erased from the log", advice="make the call again if needed")
    return found


def _piece(whole: bytes, asked: ReadResult) -> str:
    """What was asked for, up to the end of its last character, so that the next piece begins with a whole one."""
    if asked.offset >= len(whole):
        raise InputError(
            "result.past-end", f"the result has {len(whole)} bytes and ends before this offset", advice="read it before"
        )
    end = min(asked.offset + asked.limit, len(whole))
    for _ in range(MAX_CHARACTER_BYTES - 1):
        if end < len(whole) and whole[end] & 0xC0 == 0x80:
            end += 1
    text = whole[asked.offset : end].decode(errors="replace")
    return text + PLACE.format(first=asked.offset, last=end - 1, total=len(whole))
