"""The name in a ClientHello: read from what real clients send, however it is cut up; everything odd is refused."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.client_hello import MAX_HELLO_BYTES, read_hello
from astrid.errors import InputError


def real(name: str | None) -> bytes:
    """What OpenSSL says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = name is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, data)


def named(name: bytes) -> bytes:
    return extension(0, vector(2, b"\0" + vector(2, name)))


def message(extensions: bytes | None, *, after: bytes = b"") -> bytes:
    body = b"\3\3" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    body += b"" if extensions is None else vector(2, extensions)
    return b"\1" + vector(3, body + after)


def record(data: bytes) -> bytes:
    return b"\x16\3\1" + vector(2, data)


def hello(extensions: bytes | None) -> bytes:
    return record(message(extensions))


def read(data: bytes) -> str:
    found = read_hello(data)
    assert found is not None
    return found.name


@pytest.mark.parametrize("name", ["example.com", "a.very-long-name.example"])
def test_the_name_that_a_real_client_asks_for_is_read(name: str) -> None:
    assert read(real(name)) == name


def test_a_real_client_that_names_nobody_names_nobody() -> None:
    assert read(real(None)) == ""
    assert read(hello(None)) == ""


def test_what_follows_in_records_of_its_own_is_not_looked_at() -> None:
    assert read(hello(named(b"a.example")) + b"\x17\3\3anything") == "a.example"


def test_until_all_of_it_is_there_nothing_is_said() -> None:
    whole = real("example.com")
    assert [cut for cut in range(len(whole)) if read_hello(whole[:cut]) is not None] == []


@given(st.lists(st.integers(1, 40), max_size=8))
def test_it_is_the_same_in_however_many_records_it_comes(sizes: list[int]) -> None:
    rest, data = message(named(b"a.example")), b""
    for size in sizes:
        if len(rest) > size:
            data, rest = data + record(rest[:size]), rest[size:]
    assert read(data + record(rest)) == "a.example"


REFUSED = {
    "another protocol": b"GET / HTTP/1.1\r\n",
    "another protocol, of which one byte came": b"S",
    "another version": b"\x16\2\0\0\1\1",
    "no message": record(b""),
    "a record that is too long": b"\x16\3\1\xff\xff",
    "another message": record(b"\2" + vector(3, b"x")),
    "a message that is too long": record(b"\1\xff\xff\xff"),
    "something behind it in its record": record(message(named(b"a.example")) + b"x"),
    "something behind its last field": record(message(b"", after=b"x")),
    "a field longer than the message": record(b"\1" + vector(3, b"\3\3" + bytes(32) + b"\xff")),
    "a body cut short": record(b"\1" + vector(3, b"\3\3")),
    "two names": hello(named(b"a.example") + named(b"b.example")),
    "two names in one field": hello(extension(0, vector(2, b"\0" + vector(2, b"a") + b"\0" + vector(2, b"b")))),
    "a name of another kind": hello(extension(0, vector(2, b"\1" + vector(2, b"a")))),
    "an empty name": hello(named(b"")),
    "a name that is not ASCII": hello(named("bücher.example".encode())),
    "something behind the list of names": hello(extension(0, vector(2, b"\0" + vector(2, b"a")) + b"x")),
    "an extension cut short": hello(b"\0\0\0\xff"),
    "the same extension twice": hello(extension(10, b"") + extension(10, b"")),
    "an encrypted name": hello(named(b"a.example") + extension(0xFE0D, b"")),
    "an encrypted name of the old kind": hello(named(b"a.example") + extension(0xFFCE, b"")),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_one_plain_hello_is_refused(what: str) -> None:
    with pytest.raises(InputError) as caught:
        read_hello(REFUSED[what])
    assert caught.value.code == ("egress.hidden-name" if "encrypted" in what else "egress.hello")


def test_a_hello_that_never_ends_is_refused() -> None:
    slow = record(b"\1" + (MAX_HELLO_BYTES - 4).to_bytes(3, "big")) + b"".join(
        record(b"x") for _ in range(MAX_HELLO_BYTES // 6)
    )
    with pytest.raises(InputError):
        read_hello(slow)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_whatever_comes_it_is_a_hello_more_of_one_or_refused(tail: bytes) -> None:
    for data in (tail, record(b"\1" + vector(3, tail)), hello(tail)):
        try:
            found = read_hello(data)
        except InputError:
            continue
        assert found is None or found.name.isascii()
