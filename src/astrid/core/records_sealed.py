"""What a record holds in place of bytes: their length, and a commitment that nobody can compare a guess with.  Pure.

Source: protocol N9; threats 25, 26.
"""

from __future__ import annotations

import msgspec

from astrid.core.canon import U64, Bytes32, Signed, commitment


class Sealed(Signed, frozen=True, array_like=True):
    """A commitment to bytes kept elsewhere: their length and a salted digest."""

    length: U64
    commitment: Bytes32


class Payload(msgspec.Struct, frozen=True):
    """Bytes for the side table, and the salt of their commitment.  ``slot`` tells several payloads of one record
    apart."""

    slot: int
    salt: bytes
    data: bytes


def seal(data: bytes, salt: bytes, *, slot: int = 0) -> tuple[Sealed, Payload]:
    """``data`` as a record holds it, and as the side table does."""
    return Sealed(len(data), commitment(salt, data)), Payload(slot, salt, data)


def is_sealed(sealed: Sealed, salt: bytes, data: bytes) -> bool:
    """Whether ``data``, as it lies in a side table that anybody may have changed, is what a record committed to."""
    return len(data) == sealed.length and len(salt) == 32 and commitment(salt, data) == sealed.commitment
