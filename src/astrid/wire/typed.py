"""Structs <-> JSON text, where the other end reads exactly what this end wrote.  Pure.

msgspec checks a struct when it is decoded, not when it is made.  So what is written is read back first: a value out of
range, of another type or of another struct fails here, with the one who made it, and not as the other end's complaint.

Invariants:
  read(shape, write(shape, value)) == value, and what is written is one line.

Source: style page, "Message types"; msgspec (validation happens in decoding).
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar, cast

import msgspec

from astrid.errors import LocalProtocolError

_T = TypeVar("_T")
_encoder = msgspec.json.Encoder()


@cache  # as many as there are shapes in the tables
def _decoder(shape: type[object]) -> msgspec.json.Decoder[object]:
    return msgspec.json.Decoder(shape)


def read(shape: type[_T], text: bytes) -> _T:
    """The value that ``text``, which was scanned before, spells.

    Raises:
        msgspec.ValidationError: the text is JSON of another shape.
    """
    return cast("_T", _decoder(shape).decode(text))


def write(shape: type[object], value: msgspec.Struct) -> bytes:
    """The text of ``value``.

    Raises:
        LocalProtocolError: ``wire.unsayable``: nobody would read ``value`` of type ``shape`` from it.
    """
    text = encode(value)
    try:
        same = read(shape, text) == value
    except msgspec.ValidationError as error:
        raise LocalProtocolError("wire.unsayable", f"a field is out of range: {error}") from error
    if not same:
        raise LocalProtocolError("wire.unsayable", "a field has another type than it is declared with")
    return text


def encode(value: msgspec.Struct) -> bytes:
    """The text of ``value``, unchecked.

    Raises:
        LocalProtocolError: ``wire.unsayable``: it holds what JSON cannot carry, such as a lone surrogate.
    """
    try:
        return _encoder.encode(value)
    except (msgspec.MsgspecError, TypeError, OverflowError, UnicodeEncodeError, RecursionError) as error:
        raise LocalProtocolError(
            "wire.unsayable",
            f"the message cannot be written as JSON: {error}",
            advice="this is a bug in whatever made the message: report it",
        ) from error
