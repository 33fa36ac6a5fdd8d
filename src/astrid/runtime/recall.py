"""What outlives a restart and lies beside the log: standing tokens and open questions, taken from the side table.

The side table can be erased, and whoever owns the file can change it.  So what comes from there counts only if it is
what the record beside it names; anything else is left out and said (``spoilt``), never tried again, and keeps nothing
else from starting.

Source: architecture 6 ("Stored tokens are verified on every load"); protocol N9; threats 25, 29.
"""

from __future__ import annotations

from collections.abc import Iterator

from astrid.core.approval import MAX_ANSWER_BYTES, Approvals, SignedAnswer
from astrid.core.canon import decode
from astrid.core.question import question_digest
from astrid.errors import InputError, TokenError
from astrid.ports import LogReader
from astrid.runtime.log import Kept, Past
from astrid.runtime.shelf import Shelf


def recall_tokens(reader: LogReader, past: Past, shelf: Shelf) -> list[str]:
    """Put every standing token that the log names on ``shelf``; what is spoilt, for people."""
    spoilt: list[str] = []
    for kept, sealed in _beside(reader, past.tokens):
        try:
            raw = sealed
            if kept.in_answer:
                raw = decode(sealed, SignedAnswer, max_bytes=MAX_ANSWER_BYTES, what="an answer").token
            shelf.put(raw, kept.seq, expected=kept.digest)
        except InputError as error:
            spoilt.append(f"the token of record {kept.seq} cannot be used: {error.message}")
    return spoilt


def recall_questions(reader: LogReader, past: Past, machine: Approvals, *, now_s: int) -> list[str]:
    """Have ``machine`` go on with every question that the log shows as open; what is spoilt, for people."""
    spoilt: list[str] = []
    for kept, raw in _beside(reader, past.questions):
        try:
            if question_digest(raw) != kept.digest:
                raise TokenError("question.spoilt", "its bytes are not those that were asked about")
            machine.restore(raw, now_s=now_s)
        except InputError as error:
            spoilt.append(f"the question of record {kept.seq} cannot be answered: {error.message}")
    return spoilt


def _beside(reader: LogReader, wanted: tuple[Kept, ...]) -> Iterator[tuple[Kept, bytes]]:
    for kept in wanted:
        sealed = reader.payload(kept.seq, 0)
        if sealed is not None:  # else erased: what cannot be read cannot be used
            yield kept, sealed[1]
