"""The rows with which a session begins that goes on from another one.  Pure.

What was said is copied, so that the other one may be deleted; what it was told to be is not.  So how the rows were
labelled is kept, and the label of all that its model had seen.

Never: lowers a label, or takes over what the other one may do, has spent or has asked.

Source: architecture 2 (core/turn), 6 (labels); threats 28.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from astrid.core.turn_messages import AnyRow, ForkRow, FrameRow, Setting, WaitRow
from astrid.core.turn_state import restore

# The settings of others, and the waits for a model that is perhaps not this one's: of neither is anything left when the
# turn is over.
_NOT_SAID = FrameRow | ForkRow | WaitRow


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What is gone on from: the session, the last of its turns, and how many records the log had then."""

    session: bytes
    turn: int
    record: int


def forked(
    setting: Setting, rows: Sequence[AnyRow], origin: Origin, now_ns: int
) -> tuple[tuple[FrameRow, ForkRow], tuple[AnyRow, ...]]:
    """What leads, and what was said in ``rows``, which end with a turn (``turn_cut``); from now on under ``setting``.

    Raises:
        InputError: they are not the rows of a session.
    """
    seen = restore(setting, rows).label
    said = tuple(row for row in rows if not isinstance(row, _NOT_SAID))
    frame = FrameRow(at_ns=now_ns, setting=setting)
    fork = ForkRow(at_ns=now_ns, session=origin.session, turn=origin.turn, record=origin.record, label=seen, asks=0)
    asks = restore(setting, (frame, fork, *said)).asked_in_session
    return (frame, msgspec.structs.replace(fork, asks=asks)), said
