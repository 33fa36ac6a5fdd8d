"""A connection that a command wanted, and how it ended: what is said of it where it is recorded.  Pure data.

Source: architecture 6 and 7; threats 24, 32.
"""

from __future__ import annotations

import msgspec


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that a command wants: to one of ``addresses``, or nowhere and ``refused`` says why.  ``host`` is
    empty where none could be read.
    """

    host: str
    port: int
    addresses: tuple[str, ...]
    refused: str


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """How such a connection ended: where it led (empty: nowhere), what went each way, and why it was cut off (empty:
    it was not).
    """

    address: str
    sent_bytes: int
    received_bytes: int
    cut: str
