"""Requests to the egress proxy: those with one meaning are written anew, all others are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.proxy_request import MAX_FIELDS, MAX_HEAD_BYTES, parse_head
from astrid.errors import InputError


def head(first: str, *fields: str) -> bytes:
    return "\r\n".join((first, *fields, "", "")).encode("latin-1")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("fields", [(), ("Host: Example.com:443",), ("host: example.com",), ("Proxy-Thing: x",)])
def test_a_tunnel_is_asked_for_by_host_and_port(version: str, fields: tuple[str, ...]) -> None:
    request = parse_head(head(f"CONNECT example.com:443 HTTP/{version}", *fields))
    assert (request.tunnel, request.authority.host, request.authority.port) == (True, "example.com", 443)
    assert (request.head, request.body_bytes) == (b"", 0)


def test_a_plain_request_is_written_anew() -> None:
    request = parse_head(
        head(
            "POST http://Example.com/a?b#c HTTP/1.0",
            "Host:EXAMPLE.com",
            "Proxy-Authorization: Basic eA==",
            "Connection: close, X-Own",
            "x-own: 1",
            "Accept:  */*  ",
            "TE: trailers",
            "Content-Length: 0012",
            "Empty:",
        )
    )
    assert not request.tunnel
    assert (request.authority.host, request.authority.port, request.body_bytes) == ("example.com", 80, 12)
    assert request.head == (
        b"POST /a?b HTTP/1.1\r\nhost: example.com\r\naccept: */*\r\nempty: \r\ncontent-length: 12\r\n"
        b"connection: close\r\n\r\n"
    )


def test_without_a_body_none_is_promised_unless_its_length_was_given() -> None:
    assert b"content-length" not in parse_head(head("GET http://a.example/ HTTP/1.1")).head
    assert b"content-length: 0" in parse_head(head("PUT http://a.example/ HTTP/1.1", "Content-Length: 0")).head


def test_another_port_is_said_to_the_server() -> None:
    assert b"\r\nhost: a.example:8080\r\n" in parse_head(head("GET http://a.example:8080 HTTP/1.1")).head


GET = "GET http://a.example/ HTTP/1.1"
TUNNEL = "CONNECT a.example:443 HTTP/1.1"
REFUSED = {
    "a tunnel without a port": head("CONNECT a.example HTTP/1.1"),
    "a tunnel with a body": head(TUNNEL, "Content-Length: 5"),
    "a tunnel to one host with a field for another": head(TUNNEL, "Host: b.example"),
    "a tunnel to one port with a field for another": head(TUNNEL, "Host: a.example:80"),
    "a request to one host with a field for another": head(GET, "Host: b.example"),
    "a Host field that is none": head(GET, "Host: a.example/b"),
    "two Host fields": head(GET, "Host: a.example", "Host: a.example"),
    "two lengths": head(GET, "Content-Length: 5", "Content-Length: 6"),
    "the same length twice": head(GET, "Content-Length: 5", "content-length: 5"),
    "two lengths in one field": head(GET, "Content-Length: 5, 5"),
    "a length with a sign": head(GET, "Content-Length: +5"),
    "a length that is no number": head(GET, "Content-Length: 0x5"),
    "an empty length": head(GET, "Content-Length:"),
    "a huge length": head(GET, "Content-Length: " + "9" * 16),
    "a length of other digits": head(GET, "Content-Length: \xb2"),
    "a body in pieces": head(GET, "Transfer-Encoding: chunked"),
    "a body in pieces with a length": head(GET, "Content-Length: 5", "Transfer-Encoding: chunked"),
    "a body in pieces, said oddly": head(GET, "Transfer-Encoding:\tx"),
    "a space before the colon": head(GET, "Transfer-Encoding : chunked"),
    "a folded line": head(GET, "X: 1", " Content-Length: 5"),
    "a bare line feed": GET.encode() + b"\r\nX: 1\nContent-Length: 5\r\n\r\n",
    "a bare carriage return": GET.encode() + b"\r\nX: 1\rContent-Length: 5\r\n\r\n",
    "lines that end in a line feed": GET.encode() + b"\n\n",
    "a NUL": head(GET, "X: a\0b"),
    "a NUL in the host": head("CONNECT a.example\0b.example:443 HTTP/1.1"),
    "a control character in the host": head("CONNECT a.example\x01:443 HTTP/1.1"),
    "a user in the host": head("CONNECT a.example@b.example:443 HTTP/1.1"),
    "a user in the address": head("GET http://a.example@b.example/ HTTP/1.1"),
    "an odd port": head("CONNECT a.example:0443 HTTP/1.1"),
    "a port that is none": head("CONNECT a.example:70000 HTTP/1.1"),
    "an octal address": head("CONNECT 0177.0.0.1:443 HTTP/1.1"),
    "a hexadecimal address": head("CONNECT 0x7f000001:443 HTTP/1.1"),
    "a short address": head("CONNECT 127.1:443 HTTP/1.1"),
    "a decimal address": head("CONNECT 2130706433:443 HTTP/1.1"),
    "a name that is not ASCII": head("CONNECT b\xfccher.example:443 HTTP/1.1"),
    "a percent sign in the host": head("CONNECT a%2eexample:443 HTTP/1.1"),
    "https without a tunnel": head("GET https://a.example/ HTTP/1.1"),
    "another scheme": head("GET ftp://a.example/ HTTP/1.1"),
    "no address": head("GET / HTTP/1.1", "Host: a.example"),
    "an asterisk": head("OPTIONS * HTTP/1.1"),
    "another version": head("GET http://a.example/ HTTP/2.0"),
    "two spaces": head("GET  http://a.example/ HTTP/1.1"),
    "a method in small letters": head("get http://a.example/ HTTP/1.1"),
    "a line before the first": b"\r\n" + head(GET),
    "a head without an end": GET.encode() + b"\r\n",
    "too many fields": head(GET, *["X: 1"] * (MAX_FIELDS + 1)),
    "too long a head": head(GET, "X: " + "a" * MAX_HEAD_BYTES),
    "nothing": b"\r\n\r\n",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(what: str) -> None:
    with pytest.raises(InputError):
        parse_head(REFUSED[what])


FIELDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["Content-Length", "content-length", "Host", "Connection", "Transfer-Encoding", "X", " X", "X "]
        ),
        st.text(st.sampled_from("05 ,:aX.\t\r\n\0"), max_size=6),
    ),
    max_size=4,
)


@settings(max_examples=300)
@given(FIELDS)
def test_what_goes_on_has_one_host_one_length_at_most_and_no_line_of_its_own(fields: list[tuple[str, str]]) -> None:
    data = head(GET, *(f"{name}: {value}" for name, value in fields))
    try:
        request = parse_head(data)
    except InputError:
        return
    lines = request.head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    names = [line.partition(b":")[0] for line in lines[1:]]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") <= 1
    assert b"transfer-encoding" not in names
    assert not {b"\r", b"\n", b"\0"} & {bytes([one]) for line in lines for one in line}
