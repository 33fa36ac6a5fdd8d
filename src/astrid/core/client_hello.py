"""The name that a TLS client asks for, out of the first bytes it sends.  Pure.

A proxy that allowed a host must see that the client talks to that host: whoever serves many names serves the one in the
ClientHello, not the one that was allowed.  So a hello is read strictly, whole and once, and what hides its name
(encrypted hellos, real or made up) is refused.

Never: decrypts, answers, or reads beyond the hello.

Source: RFC 8446 (4.1.2, 5.1), RFC 6066 (3), RFC 9849 (encrypted hello); threat 32.
"""

from __future__ import annotations

from dataclasses import dataclass

from astrid.errors import InputError

MAX_HELLO_BYTES = 16 * 1024
_HANDSHAKE, _CLIENT_HELLO, _HOST_NAME = 22, 1, 0
_RECORD_HEAD, _MESSAGE_HEAD = 5, 4
_MAX_RECORD = 1 << 14
_SERVER_NAME = 0
# The encrypted hello and its abandoned forerunner.
_HIDDEN = frozenset({0xFE0D, 0xFFCE})


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client said first.  ``name`` is as it wrote it, empty if it named nobody."""

    name: str


class _Fields:
    """Takes fields off the front of a message; whatever does not fit is no hello."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _broken("a field is longer than what holds it")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """A field behind its length, which is ``size`` bytes."""
        return self.take(self.number(size))


def read_hello(data: bytes) -> ClientHello | None:
    """The hello at the front of ``data``, all that a client sent so far; ``None`` if more of it has to come.

    Raises:
        InputError: these are not the first bytes of a TLS client, its hello is too long, or it hides its name.
    """
    message, at = b"", 0
    while True:
        head = data[at : at + _RECORD_HEAD]
        # Each byte is judged as soon as it is there, so that a client that speaks another protocol is not waited for.
        if (head[:1] and head[0] != _HANDSHAKE) or (head[1:2] and head[1] != 3):
            raise _broken("it does not begin a TLS connection")
        if len(head) < _RECORD_HEAD:
            break
        length = int.from_bytes(head[3:], "big")
        if not 0 < length <= _MAX_RECORD:
            raise _broken("a record is empty or too long")
        message += data[at + _RECORD_HEAD : at + _RECORD_HEAD + length]
        whole = len(data) - at - _RECORD_HEAD >= length
        at += _RECORD_HEAD + length
        needed = _needed(message)
        if whole and needed is not None and len(message) >= needed:
            if len(message) > needed:
                raise _broken("something stands behind it in its record")
            return _parse(message[_MESSAGE_HEAD:])
        if not whole:
            break
    if len(data) >= MAX_HELLO_BYTES:
        raise _broken("it is too long")
    return None


def _needed(message: bytes) -> int | None:
    """How long the whole message is, once it says so."""
    if message[:1] and message[0] != _CLIENT_HELLO:
        raise _broken("the first message is another one")
    if len(message) < _MESSAGE_HEAD:
        return None
    needed = _MESSAGE_HEAD + int.from_bytes(message[1:_MESSAGE_HEAD], "big")
    if needed > MAX_HELLO_BYTES:
        raise _broken("it is too long")
    return needed


def _parse(body: bytes) -> ClientHello:
    fields = _Fields(body)
    fields.take(2 + 32)  # version and random
    fields.vector(1)  # session
    fields.vector(2)  # ciphers
    fields.vector(1)  # compressions
    extensions = _Fields(fields.vector(2) if fields.left else b"")
    if fields.left:
        raise _broken("something stands behind its last field")
    seen: set[int] = set()
    name = ""
    while extensions.left:
        kind, value = extensions.number(2), extensions.vector(2)
        if kind in seen:
            # SAFETY: of two names, we might read one and the server the other.
            raise _broken("it says one thing twice")
        seen.add(kind)
        if kind in _HIDDEN:
            raise InputError(
                "egress.hidden-name", "the client hides the name it asks for", advice="switch encrypted hellos off"
            )
        if kind == _SERVER_NAME:
            name = _server_name(value)
    return ClientHello(name)


def _server_name(value: bytes) -> str:
    fields = _Fields(value)
    names = _Fields(fields.vector(2))
    kind, name = names.number(1), names.vector(2)
    if kind != _HOST_NAME or names.left or fields.left or not name or not name.isascii():
        raise _broken("it does not name exactly one host")
    return name.decode("ascii")


def _broken(why: str) -> InputError:
    return InputError(
        "egress.hello", f"this is not a TLS client hello: {why}", advice="a tunnel carries TLS and nothing else"
    )
