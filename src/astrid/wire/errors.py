"""Error codes and JSON-RPC numbers, both ways and total.  Pure.

A code (``family.reason``) is what programs match on; the number is there because JSON-RPC demands one.  Several codes
may share a number; back from a number alone comes the first code listed with it.  A code without a line here travels as
-32000 and is not lost, since ``data`` carries it.

Never: sends ``fields``, tracebacks or Python class names, and never fails; an error that cannot be said would leave a
request without an end.

Source: JSON-RPC 2.0 section 5.1; the first Astrid (-32001 .. -32007).
"""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from astrid.errors import AstridError
from astrid.wire.fields import CODE_PATTERN, MAX_SAFE_INT, CodeText, Line, Wire

GENERIC = -32000
GENERIC_CODE = "wire.remote-error"
BUG_CODE = "internal.error"
MAX_LINE = 4096

NUMBERS: dict[str, int] = {
    GENERIC_CODE: GENERIC,
    "wire.not-json": -32700,
    "wire.too-long": -32700,
    "wire.invalid-request": -32600,
    "wire.batch": -32600,
    "wire.wrong-state": -32600,
    "wire.wrong-direction": -32600,
    "wire.duplicate-id": -32600,
    "wire.unknown-id": -32600,
    "wire.bad-result": -32600,
    "wire.bad-notice": -32600,
    "wire.unknown-method": -32601,
    "wire.invalid-params": -32602,
    "session.unknown": -32001,
    "session.exists": -32002,
    "daemon.shutting-down": -32003,
    BUG_CODE: -32004,
    "request.invalid": -32005,
    "plugin.unknown": -32006,
    "plugin.failed": -32007,
    "wire.unproven": -32008,
    "wire.busy": -32009,
    "wire.version": -32010,
}

_CODES: dict[int, str] = {}
for _code, _number in NUMBERS.items():
    _CODES.setdefault(_number, _code)

_CODE_SHAPE = re.compile(CODE_PATTERN)


class ErrorData(Wire, frozen=True, kw_only=True):
    """What a person needs: a stable code, what was wrong, where, and what to do."""

    code: CodeText
    message: Line
    where: Line = ""
    advice: Line = ""


class ErrorObject(Wire, frozen=True, kw_only=True):
    """The ``error`` member of a failed answer."""

    code: Annotated[int, Meta(ge=-MAX_SAFE_INT, le=MAX_SAFE_INT)]
    message: Line
    data: ErrorData | None = None


def number_of(code: str) -> int:
    """The JSON-RPC number of a code; -32000 for a code that has none of its own."""
    return NUMBERS.get(code, GENERIC)


def code_of(number: int) -> str:
    """The code that a bare number stands for; ``wire.remote-error`` for a number that nobody here gives out."""
    return _CODES.get(number, GENERIC_CODE)


def error_data(error: AstridError) -> ErrorData:
    """``error`` as it may be told to the other end: sayable and short, whatever it holds."""
    return ErrorData(
        code=error.code if _CODE_SHAPE.match(error.code) else BUG_CODE,
        message=_sayable(error.message),
        where=_sayable(error.where),
        advice=_sayable(error.advice),
    )


def to_wire(error: AstridError) -> ErrorObject:
    """``error`` as the ``error`` member of an answer."""
    data = error_data(error)
    return ErrorObject(code=number_of(data.code), message=data.message, data=data)


def from_wire(answer: ErrorObject) -> AstridError:
    """The failure that the other end reported.  Its texts are theirs: escape them before they reach a terminal."""
    if answer.data is None:
        return AstridError(code_of(answer.code), answer.message, number=answer.code)
    data = answer.data
    return AstridError(data.code, data.message, where=data.where, advice=data.advice, number=answer.code)


def _sayable(text: str) -> str:
    # File names that are not UTF-8 reach Python as lone surrogates, which JSON cannot carry.
    return text.encode("utf-8", "backslashreplace").decode()[:MAX_LINE]
