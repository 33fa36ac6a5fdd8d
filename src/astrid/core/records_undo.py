"""What the log records of files that are put back to what they held: before the first is, and when it is over.  Pure
data.

Source: protocol N9; architecture 5, 7.
"""

from __future__ import annotations

from astrid.core.canon import U32, U64, Signed
from astrid.core.records_sealed import Sealed


class FilesRewinding(Signed, frozen=True, array_like=True):
    """So many files are being put back to what they held after a turn of the session; durable before the first one is.
    The side table holds which: what each held, and what it is to hold.
    """

    turn: U32
    files: U64
    plan: Sealed


class FilesRewound(Signed, frozen=True, array_like=True):
    """What record ``began`` announced is over: so many files were put back, and so many left as they were."""

    began: U64
    restored: U64
    left: U64
