"""The one encoding and the one hashing.  Pure.

Every signed or hashed value is a msgpack array of fixed length: no map, float, nil, optional or default.  One value has
exactly one byte string, because a decoder accepts ``b`` only if ``encode(decode(b)) == b``.  Every digest is
domain-separated, so that the digest (or signature, see ``keys``) of one kind of statement can never stand for another.

Invariants:
  decode(encode(x), type(x)) == x for every x that ``encode`` takes; decode refuses every other spelling.
  digest(a, x) == digest(b, y) only if a is b and x == y (BLAKE3 is collision resistant).

Source: protocol N0; BLAKE3 (derive-key mode); msgpack specification.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, NewType, TypeVar, cast

import msgspec
from blake3 import blake3

from astrid.core.printable import MARK, check_of
from astrid.errors import CanonError

Digest = NewType("Digest", bytes)

U8 = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
U16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
U64 = Annotated[int, msgspec.Meta(ge=0)]  # msgpack itself ends at 2^64 - 1
Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Ascii = Annotated[str, msgspec.Meta(extra={MARK: True})]  # ids, resources and paths: what else they hold is escaped

MAX_U64 = 2**64 - 1
DIGEST_BYTES = 32


class Domain(enum.Enum):
    """Every kind of thing that is hashed or signed.  Closed: a new kind is a new version of the protocol."""

    __hash__ = object.__hash__  # each member is one object; its name need not be hashed on every look-up

    BLOCK = "block"
    CALL = "call"
    QUESTION = "question"
    DISPLAY = "display"
    INSTALL = "install"
    DEVICE = "device"
    APPROVAL = "approval"
    REVOKE = "revoke"
    PROMPT = "prompt"
    TOOLDEF = "tooldef"
    POP = "pop"
    AUDIT = "audit"
    SNAPSHOT = "snapshot"
    GENESIS = "genesis"


_HASHERS = {domain: blake3(derive_key_context=f"astrid {domain.value} v1") for domain in Domain}  # copied, never fed


class Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of everything that is signed, hashed or recorded: a fixed array.  Subclasses give no field a default."""


_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()


def digest(domain: Domain, data: bytes) -> Digest:
    """BLAKE3 of ``data`` in derive-key mode, 32 bytes; digests of different domains never meet."""
    return _HASHERS[domain].copy().update(data).digest()  # type: ignore[return-value]


def digester(domain: Domain) -> Callable[[bytes], Digest]:
    """``digest`` in one domain, for whoever does nothing else a million times."""
    start = _HASHERS[domain]

    def made(data: bytes) -> Digest:
        return start.copy().update(data).digest()  # type: ignore[return-value]

    return made


def commitment(salt: bytes, data: bytes) -> Digest:
    """Salted commitment to ``data``: it says nothing about ``data`` to whoever lacks the 32-byte salt.

    Raises:
        CanonError: the salt is not 32 bytes.
    """
    if len(salt) != DIGEST_BYTES:
        raise CanonError("canon.salt-length", f"a salt is 32 bytes, not `{len(salt)}`")
    return blake3(data, key=salt).digest()  # type: ignore[return-value]


def salts(secret: bytes, number: int, count: int) -> list[bytes]:
    """So many salts of 32 bytes that nobody can tell from random who lacks the 32-byte ``secret``; for every ``number``
    others.

    BLAKE3 keyed, its output as long as is asked for.
    """
    stream = blake3(number.to_bytes(8, "big"), key=secret).digest(length=DIGEST_BYTES * count)
    return [stream[place : place + DIGEST_BYTES] for place in range(0, len(stream), DIGEST_BYTES)]


def encode(value: object) -> bytes:
    """The one encoding of ``value``: a ``Signed`` struct, or a tuple, int, bytes, str or bool.

    Raises:
        CanonError: the value has none (a float, a map, nothing at all, an integer beyond 64 bits, a lone surrogate), or
        a
            field of a struct is not of its declared type, size or range.
    """
    try:
        data = _encoder.encode(value)
        # SAFETY: a struct may be built from anything.  What no verifier would accept is refused before it is signed,
        # hashed or recorded, not when somebody reads it back.
        if not isinstance(value, Signed):
            _check_plain(value)
        elif _decoder(type(value)).decode(data) != value or not _is_printable(type(value), value):
            raise TypeError("a field of a signed struct is not of its declared type")
    except (msgspec.MsgspecError, TypeError, OverflowError, UnicodeEncodeError, RecursionError) as error:
        raise CanonError("canon.no-encoding", f"the value has no canonical encoding: {error}") from error
    return data


def _check_plain(value: object) -> None:
    if isinstance(value, Signed):
        encode(value)
    elif isinstance(value, tuple):
        for item in cast("tuple[object, ...]", value):
            _check_plain(item)
    elif not isinstance(value, int | bytes | str):
        raise TypeError(f"a {type(value).__name__} is not signed, hashed or recorded")


def _is_printable(shape: type[object], value: object) -> bool:
    check = check_of(shape)
    return check is None or check(value)


@lru_cache(maxsize=256)
def _decoder(shape: type[object]) -> msgspec.msgpack.Decoder[object]:
    return msgspec.msgpack.Decoder(shape)


def decode(data: bytes, shape: type[_T], *, max_bytes: int, what: str) -> _T:
    """The value of type ``shape`` that ``data`` spells, if ``data`` is its one canonical spelling.

    ``max_bytes`` bounds the input before any work is done; ``what`` names the thing in errors.

    Raises:
        CanonError: too long, malformed, of another shape, or a second spelling of a value.
    """
    if len(data) > max_bytes:
        raise CanonError("canon.too-long", f"{what} is {len(data)} bytes, more than {max_bytes}")
    try:
        value = _decoder(shape).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CanonError("canon.malformed", f"{what} cannot be decoded: {error}") from error
    if not _is_printable(shape, value):
        raise CanonError("canon.malformed", f"{what} holds an identifier that is not printable ASCII")
    # SAFETY: msgspec accepts long headers and other spellings of the same value; two byte strings for one value are two
    # digests, and every count that is kept by digest could be reset by re-encoding.
    if _encoder.encode(value) != data:
        raise CanonError("canon.second-spelling", f"{what} is not in canonical form")
    return value  # type: ignore[return-value]
