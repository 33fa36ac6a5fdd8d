"""What is recorded when files are put back to what they held after a turn: that it begins, and what came of it.  Pure.

A beginning without an end is one that was cut off, or is not over: some of its files may hold the one, some the other.

Never: lets it begin while anything of the session is under way, which may be writing.

Source: protocol N9; architecture 5, 7.
"""

from __future__ import annotations

from collections.abc import Collection

from astrid.core.canon import encode
from astrid.core.records import Entry, entry, seal
from astrid.core.records_undo import FilesRewinding, FilesRewound
from astrid.core.undo import Undo
from astrid.errors import CanonError, TokenError

MAX_PLAN_BYTES = 16 * 1024 * 1024


def begin_rewinding(
    session: bytes, turn: int, undos: tuple[Undo, ...], *, running: Collection[bytes], salt: bytes
) -> Entry:
    """The record that must be durable before the first file is touched.  ``running`` are the sessions with calls under
    way.

    Raises:
        TokenError: something of the session is under way.
        CanonError: it is too much to be recorded.
    """
    if session in running:
        raise TokenError("gate.under-way", "something of the session is under way", advice="wait for it")
    plan = encode(undos)
    if len(plan) > MAX_PLAN_BYTES:
        raise CanonError(
            "record.plan", "these are more files than can be put back at once", advice="go to a later turn first"
        )
    sealed, payload = seal(plan, salt)
    return entry(FilesRewinding(turn, len(undos), sealed), session=session, payloads=(payload,))


def end_rewinding(session: bytes, rewound: FilesRewound) -> Entry:
    """The record of what came of it."""
    return entry(rewound, session=session)
