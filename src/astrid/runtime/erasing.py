"""What is erased of a session: its journal, what was said to it, and what its calls came to.

Never: erases a record, or what a person signed; what was permitted, asked and refused stays, for whoever audits it.

Source: architecture 7; protocol N9; threats 25, 35.
"""

from __future__ import annotations

from astrid.core.checkpoint import verify_checkpoint
from astrid.core.records import AttachedRecord, Erasure, OutcomeRecord, Prompt, SubagentStarted
from astrid.core.records_connections import ConnectionRecord
from astrid.core.verify import LogKeys
from astrid.messages.archive import Recall
from astrid.ports import LogReader
from astrid.runtime.archive import records_of
from astrid.runtime.chronicle import PastSession

_TEXTS = Prompt | AttachedRecord | ConnectionRecord | OutcomeRecord


def branch_of(known: dict[bytes, PastSession], session: bytes) -> list[PastSession]:
    """A session and all that worked for it, itself last: who finds it erased, finds all of them erased."""
    found = [session]
    for past in known.values():  # in the order in which they started
        if isinstance(past.started, SubagentStarted) and past.started.parent in found:
            found.append(past.session)
    return [known[one] for one in reversed(found)]


def erasure_of(reader: LogReader, past: PastSession, note: bytes, keys: LogKeys) -> tuple[Erasure, int]:
    """What is there to be erased of a session, and how many rows that is.

    Raises:
        ChainError: what lies there is not what was recorded.
    """
    checkpoint = verify_checkpoint(note, keys.runtime_key, keys.log_id)
    wanted = Recall(id=0, session=past.session, first=past.first, rows=past.rows, note=note)
    texts = tuple(
        (frame.seq, slot)
        for frame, body in records_of(reader, wanted, checkpoint, _TEXTS)
        for slot in (1 if isinstance(body, OutcomeRecord) else 0,)
        if reader.payload(frame.seq, slot) is not None
    )
    rows = past.rows if reader.rows(past.session, 1, 1) else 0
    return Erasure(past.session, texts), rows
