"""What the log says that a session did after one of its turns, itself or by its sub-agents: which files it changed, and
what else, which cannot be taken back.

Never: takes what lies beside a record for more than what the record commits to.

Source: architecture 7; protocol N9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from astrid.adapters.workspace.arguments import HOST_KIND
from astrid.adapters.workspace.undoing import CHANGING
from astrid.core.call import Call, decode_call
from astrid.core.canon import decode
from astrid.core.checkpoint import verify_checkpoint
from astrid.core.gate_undo import MAX_PLAN_BYTES
from astrid.core.past import Kept, recalled
from astrid.core.records import FilesRewinding, FilesRewound, OutcomeRecord, PermitRecord, Prompt
from astrid.core.subagents import HOST_ID
from astrid.core.undo import Change, Undo
from astrid.core.verify import LogKeys
from astrid.messages.archive import Recall
from astrid.ports import LogReader
from astrid.runtime.archive import records_of
from astrid.runtime.chronicle import PastSession

_NOT_LISTED = frozenset({"model", HOST_ID})  # what came of those are calls of tools, which are listed themselves


class Stays(msgspec.Struct, frozen=True):
    """A call that did something, or may have (``unknown``), and cannot be taken back; ``outside``: it changed a file
    that does not lie in the workspace.
    """

    record: int
    tool: str
    args: bytes
    why: Literal["done", "unknown", "outside"]


class Since(msgspec.Struct):
    """What was done, in the order in which it was permitted; ``cut_off`` whether files were being put back after that,
    and nothing says that this came to an end.
    """

    changes: list[Change]
    stays: list[Stays]
    cut_off: bool = False


def done_since(
    reader: LogReader,
    past: PastSession,
    note: bytes,
    keys: LogKeys,
    turn: int,
    change_of: Callable[[Call, bool], Change | None],
) -> Since:
    """What ``past`` did after ``turn``; ``change_of`` says what a permitted call, which surely ran or may have, did to
    a file.

    Raises:
        ChainError, CanonError: what lies there is not what was recorded.
        WorkspaceError: a call is none that a tool of the workspace takes.
    """
    checkpoint = verify_checkpoint(note, keys.runtime_key, keys.log_id)
    wanted = Recall(id=0, session=past.session, first=past.first, rows=past.rows, note=note)
    shapes = Prompt | PermitRecord | OutcomeRecord | FilesRewinding | FilesRewound
    found: list[tuple[int, PermitRecord | FilesRewinding]] = []
    outcomes: dict[int, OutcomeRecord] = {}
    ended: set[int] = set()
    now = 0
    for frame, body in records_of(reader, wanted, checkpoint, shapes):
        match body:
            case Prompt():
                now = body.turn
            case PermitRecord() if now > turn and body.host_kind not in _NOT_LISTED:
                found.append((frame.seq, body))
            case FilesRewinding() if now >= turn:  # it came behind that turn
                found.append((frame.seq, body))
            case OutcomeRecord():
                outcomes[body.permit_seq] = body
            case FilesRewound():
                ended.add(body.began)
            case _:
                pass
    since = Since([], [])
    for seq, body in found:
        if isinstance(body, FilesRewinding):
            since.changes += _put_back(reader, seq, body)
            since.cut_off = seq not in ended
        else:
            _take(since, reader, seq, body, outcomes.get(seq), change_of)
    return since


def _put_back(reader: LogReader, seq: int, body: FilesRewinding) -> list[Change]:
    raw = recalled(reader.payload, Kept(seq, body.plan))
    undos = () if raw is None else decode(raw, tuple[Undo, ...], max_bytes=MAX_PLAN_BYTES, what="a plan")
    return [Change(undo.path, undo.now, undo.then, sure=False) for undo in undos]


def _take(
    since: Since,
    reader: LogReader,
    seq: int,
    body: PermitRecord,
    outcome: OutcomeRecord | None,
    change_of: Callable[[Call, bool], Change | None],
) -> None:
    if outcome is not None and outcome.effect == "none":
        return
    sure = outcome is not None and outcome.effect == "done"
    raw = recalled(reader.payload, Kept(seq, body.bytes_))
    call = None if raw is None else decode_call(raw)
    why: Literal["done", "unknown", "outside"] = "done" if sure else "unknown"
    if call is not None and body.host_kind == HOST_KIND and body.tool in CHANGING:
        change = change_of(call, sure)
        if change is not None:
            since.changes.append(change)
            return
        why = "outside"
    since.stays.append(Stays(seq, body.tool, b"" if call is None else call.args, why))
