"""What the log records of a connection that a call made: before it began, and when it had ended.  Pure data.

Source: protocol N9; architecture 6; threats 24, 26, 32.
"""

from __future__ import annotations

from astrid.core.canon import U8, U16, U32, U64, Signed
from astrid.core.records_sealed import Sealed


class ConnectionRecord(Signed, frozen=True, array_like=True):
    """What runs under a permit wants to connect; ``code`` says why it may not, and is empty if it may.  Durable before
    anything is dialled.  The side table holds the host and the addresses that may be dialled.
    """

    permit_seq: U64
    number: U32
    port: U16
    code: str
    place: Sealed


class ConnectionEndedRecord(Signed, frozen=True, array_like=True):
    """How that connection ended: which of its addresses was dialled (from 1; 0: none), the bytes that went each way,
    and why it was cut off, if it was.
    """

    permit_seq: U64
    number: U32
    dialled: U8
    sent: U64
    received: U64
    code: str
