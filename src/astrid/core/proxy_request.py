"""The head of a request to the egress proxy, read so that no server can read it otherwise.  Pure.

A client asks for a tunnel (``CONNECT host:port``) or for one plain request (``GET http://host/path``).  What goes on to
a server is written anew from what was understood here: never the client's own bytes.

A library would read more: lines that end in a bare line feed, folded lines, bodies in chunks.  Each of these has been
a way to have the proxy see one request and the server two, so here they are refused, which takes less code than to
read them.

Never: repairs, guesses, or keeps a connection for a second request.

Source: RFC 9110 (7.6.1, 9.3.6), RFC 9112 (3.2, 6.3, 11.2); threat 32.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from astrid.core.hosts import Authority, parse_authority, parse_http_url
from astrid.errors import InputError

MAX_HEAD_BYTES = 16 * 1024
MAX_FIELDS = 100
MAX_BODY_DIGITS = 15
END = b"\r\n\r\n"

_LINE = re.compile(rb"([A-Z]{1,20}) ([!-~]+) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
_LENGTH = re.compile(rf"[0-9]{{1,{MAX_BODY_DIGITS}}}")
# About this connection and nobody else's; or a password for the proxy itself.
_OWN = frozenset(
    {
        *("connection", "content-length", "host", "http2-settings", "keep-alive", "proxy-authenticate"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "upgrade"),
    }
)


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """What a client asks for.  ``authority`` always has a port.  ``head`` is what the server is sent, empty for a
    tunnel; ``body_bytes`` is how much of the client's bytes follow it.
    """

    method: str
    authority: Authority
    head: bytes
    body_bytes: int

    @property
    def tunnel(self) -> bool:
        """Whether it is a tunnel that is asked for."""
        return self.method == "CONNECT"


def parse_head(head: bytes) -> ProxyRequest:
    """The request whose head is ``head``, up to and with the empty line.

    Raises:
        InputError: not a head that has one meaning, or no request that a proxy takes.
        PatternError: it names no host.
    """
    if len(head) > MAX_HEAD_BYTES or not head.endswith(END):
        raise _malformed("its head is too long or has no end")
    first, *lines = head.removesuffix(END).split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None or len(lines) > MAX_FIELDS:
        raise _malformed("its first line is none, or it has too many fields")
    fields = [_field(one) for one in lines]
    method, target = line[1].decode(), line[2].decode()
    host = _single(fields, "host")
    length = _length(fields)
    if method == "CONNECT":
        authority = parse_authority(target)
        if authority.port is None or length:
            raise _malformed("a tunnel needs a port, and has no body")
        _same(host, authority)
        return ProxyRequest(method, authority, b"", 0)
    if not target[:7].lower() == "http://":
        raise _malformed("it names no http:// address")
    url = parse_http_url(target)
    _same(host, url.authority)
    return ProxyRequest(method, url.authority, _written(method, url.authority, url.target, fields, length), length)


def _field(line: bytes) -> tuple[str, bytes]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise _malformed("a field is malformed")
    return match[1].decode().lower(), match[2].strip(b" \t")


def _single(fields: list[tuple[str, bytes]], name: str) -> str | None:
    values = [value for one, value in fields if one == name]
    if len(values) > 1:
        raise _malformed(f"it has several `{name}` fields")
    return values[0].decode("latin-1") if values else None


def _length(fields: list[tuple[str, bytes]]) -> int:
    if any(name == "transfer-encoding" for name, _ in fields):
        # SAFETY: where a body ends must not depend on which of two fields a server heeds.
        raise _malformed("its body comes in pieces")
    text = _single(fields, "content-length")
    if text is None:
        return 0
    if _LENGTH.fullmatch(text) is None:
        raise _malformed("its length is no number")
    return int(text)


def _same(host: str | None, authority: Authority) -> None:
    """The ``Host`` field names what the request line names, if it is there."""
    if host is None:
        return
    said = parse_authority(host)
    if said.host != authority.host or said.port not in (None, authority.port):
        raise InputError(
            "egress.other-host",
            "the request names one host in its first line and another in its fields",
            advice="send a Host field that is that of the address",
        )


def _written(method: str, authority: Authority, target: str, fields: list[tuple[str, bytes]], length: int) -> bytes:
    named = {word.strip().lower() for name, value in fields if name == "connection" for word in _words(value)}
    kept = [(name, value) for name, value in fields if name not in _OWN and name not in named]
    host = authority.host if authority.port == 80 else f"{authority.host}:{authority.port}"
    lines = [f"{method} {target} HTTP/1.1".encode(), f"host: {host}".encode()]
    lines += [name.encode() + b": " + value for name, value in kept]
    if length or any(name == "content-length" for name, _ in fields):
        lines.append(f"content-length: {length}".encode())
    lines.append(b"connection: close")  # so that the answer ends where the connection does
    return b"\r\n".join(lines) + END


def _words(value: bytes) -> list[str]:
    return value.decode("latin-1").split(",")


def _malformed(why: str) -> InputError:
    return InputError("egress.request", f"the request cannot be understood: {why}", advice="send plain HTTP/1.1")
