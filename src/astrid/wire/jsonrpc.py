"""JSON-RPC 2.0: one text <-> one message.  Strict, bounded, pure.

A text is scanned first (``core.json_scan``), so that everything after it may trust that each key appears once; then the
envelope is read, and ``params``, ``result`` stay the bytes they are, for whoever knows their type (``peer``).

Narrower than the standard, on purpose: no batches; ``params`` is an object (an absent one is ``{}``); an id is an
integer in 0 .. 2^53 or 1 to 64 printable ASCII characters; a request never has the id ``null``; no member beside those
of the standard.

Invariants:
  read_message(write_message(m)) == m, and no text that would be refused when read is ever written.
  read_message raises RemoteProtocolError and nothing else, whatever the bytes.

Source: JSON-RPC 2.0; the first Astrid; protocol N4 (duplicate keys, surrogates, numbers).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias, assert_never

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from astrid.core.json_scan import scan_json
from astrid.errors import CanonError, LocalProtocolError, RemoteProtocolError
from astrid.wire import typed
from astrid.wire.errors import ErrorObject
from astrid.wire.fields import Safe

MAX_MESSAGE_BYTES = 1024 * 1024
MAX_DEPTH = 64

Id: TypeAlias = Safe | Annotated[str, Meta(pattern=r"^[ -~]{1,64}\Z")]
Method: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z][A-Za-z0-9]{0,63}\Z")]


class Request(Struct, frozen=True):
    """Somebody wants an answer.  ``params`` is the text of an object."""

    id: Id
    method: str
    params: bytes


class Notice(Struct, frozen=True):
    """Somebody tells something (JSON-RPC: a notification)."""

    method: str
    params: bytes


class Result(Struct, frozen=True):
    """The good end of a request."""

    id: Id
    result: bytes


class Failure(Struct, frozen=True):
    """The bad end of a request."""

    id: Id
    error: ErrorObject


class Complaint(Struct, frozen=True):
    """An error with the id ``null``: the other side could not make sense of what we wrote."""

    error: ErrorObject


Message: TypeAlias = Request | Notice | Result | Failure | Complaint


class _Envelope(Struct, frozen=True, forbid_unknown_fields=True):
    jsonrpc: Literal["2.0"]
    id: Id | UnsetType | None = UNSET
    method: Method | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: ErrorObject | UnsetType = UNSET


_envelope = msgspec.json.Decoder(_Envelope)
_ARRAY = re.compile(rb"[ \t\r\n]*\[")


def read_message(data: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Message:
    """The one message that ``data`` is.

    Raises:
        RemoteProtocolError: ``wire.too-long``, ``wire.not-json``, ``wire.batch`` or ``wire.invalid-request``.
    """
    if len(data) > max_bytes:
        raise RemoteProtocolError(
            "wire.too-long", f"a message of {len(data)} bytes is longer than {max_bytes}", advice="send less at a time"
        )
    try:
        scan_json(data, max_bytes=max_bytes, max_depth=MAX_DEPTH)
    except CanonError as error:
        advice = "write JSON (RFC 8259) in UTF-8, each key once, integers up to 2^53"
        raise RemoteProtocolError("wire.not-json", error.message, advice=advice, cause=error.code) from error
    if _ARRAY.match(data):
        raise RemoteProtocolError("wire.batch", "batches are not spoken here", advice="send one message at a time")
    try:
        envelope = _envelope.decode(data)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError("wire.invalid-request", f"not a JSON-RPC 2.0 message: {error}") from error
    return _sort(envelope)


def _sort(envelope: _Envelope) -> Message:
    """The envelope as the one kind of message that has exactly these members."""
    id_, method, params, result, error = envelope.id, envelope.method, envelope.params, envelope.result, envelope.error
    if method is not UNSET and result is UNSET and error is UNSET:
        if id_ is UNSET:
            return Notice(method, _object(params))
        if id_ is not None:
            return Request(id_, method, _object(params))
    elif method is UNSET and params is UNSET and id_ is not UNSET:
        if result is not UNSET and error is UNSET and id_ is not None:
            return Result(id_, bytes(result))
        if error is not UNSET and result is UNSET:
            return Complaint(error) if id_ is None else Failure(id_, error)
    raise RemoteProtocolError("wire.invalid-request", "a message must be one of request, notification, result, error")


def _object(params: Raw | UnsetType) -> bytes:
    if isinstance(params, UnsetType):
        return b"{}"
    text = bytes(params)
    if not text.startswith(b"{"):
        raise RemoteProtocolError("wire.invalid-request", "`params` is not an object", advice="pass parameters by name")
    return text


def write_message(message: Message, *, max_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
    """The text of ``message``, on one line.

    Raises:
        LocalProtocolError: ``wire.unsayable``: the other end would refuse this text, so it is not written.
    """
    match message:
        case Request(id_, method, params):
            envelope = _Envelope("2.0", id=id_, method=method, params=Raw(params))
        case Notice(method, params):
            envelope = _Envelope("2.0", method=method, params=Raw(params))
        case Result(id_, result):
            envelope = _Envelope("2.0", id=id_, result=Raw(result))
        case Failure(id_, error):
            envelope = _Envelope("2.0", id=id_, error=error)
        case Complaint(error):
            envelope = _Envelope("2.0", id=None, error=error)
        case _:
            assert_never(message)
    data = typed.encode(envelope)
    try:
        same = read_message(data, max_bytes=max_bytes) == message
    except RemoteProtocolError as error:
        raise LocalProtocolError("wire.unsayable", error.message, cause=error.code) from error
    # SAFETY: texts are put in as they are; one that closes its object early would write members of its own, and a line
    # end in one would cut the stream.
    if not same or b"\n" in data:
        raise LocalProtocolError("wire.unsayable", "the parts of the message are not the JSON they were said to be")
    return data
