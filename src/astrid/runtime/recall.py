"""Standing tokens that outlive a restart: what lies beside the log, taken from the side table as ``core.past`` says.

Source: architecture 6 ("Stored tokens are verified on every load"); protocol N9; threats 25, 29.
"""

from __future__ import annotations

from astrid.core.approval import MAX_ANSWER_BYTES, SignedAnswer
from astrid.core.canon import decode
from astrid.core.past import Beside, Past, recalled
from astrid.errors import InputError
from astrid.runtime.shelf import Shelf


def recall_tokens(beside: Beside, past: Past, shelf: Shelf) -> list[str]:
    """Put every standing token that the log names on ``shelf``; what is spoilt, for people."""
    spoilt: list[str] = []
    for kept in past.tokens:
        try:
            raw = recalled(beside, kept)
            if raw is not None and kept.in_answer:
                raw = decode(raw, SignedAnswer, max_bytes=MAX_ANSWER_BYTES, what="an answer").token
            if raw is not None:
                shelf.put(raw, kept.seq)
        except InputError as error:
            spoilt.append(f"the token of record {kept.seq} cannot be used: {error.message}")
    return spoilt
