"""INVARIANT: a host that is accepted is the same host to every other reader, and only the public network is public.

The model reads characters one by one, from the text of RFC 3986, 1123 and 5952; the witnesses are other people's
readers: the resolver's ``inet_aton``, the standard library's and an HTTP client's.  The seeds are the hostile URLs that
the tests keep, so that each of their spellings is met in many others.
"""

from __future__ import annotations

import contextlib
import json
import socket
import string
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.hosts import (
    AddressClass,
    Authority,
    classify_address,
    embedded_ipv4,
    is_public,
    parse_authority,
    parse_http_url,
)
from astrid.errors import PatternError

CORPUS = Path(__file__).parent.parent / "tests" / "vectors" / "corpora" / "url_ssrf.json"
HOSTILE = tuple(sorted({item["url"] for item in json.loads(CORPUS.read_text("utf-8"))["items"]}))

LETTERS, DIGITS = frozenset(string.ascii_lowercase), frozenset(string.digits)


def port_of(text: str) -> int | None:
    """A port in its one spelling."""
    if not text or not set(text) <= DIGITS or text[0] == "0" or len(text) > 5 or int(text) > 65535:
        return None
    return int(text)


def four_numbers(text: str) -> IPv4Address | None:
    parts = text.split(".")
    plain = len(parts) == 4 and all(part and set(part) <= DIGITS and str(int(part)) == part for part in parts)
    return IPv4Address(".".join(parts)) if plain and all(int(part) < 256 for part in parts) else None


def looks_like_a_number(label: str) -> bool:
    """Whether a browser would read a host that ends in this label as an IPv4 address."""
    return bool(label) and (set(label) <= DIGITS or (label[:2] == "0x" and set(label[2:]) <= DIGITS | set("abcdef")))


def is_label(label: str) -> bool:
    inner = LETTERS | DIGITS | {"-"}
    return 0 < len(label) < 64 and set(label) <= inner and "-" not in (label[0], label[-1])


def read_authority(text: str) -> Authority | None:
    """The model: what ``text`` names, ``None`` if two readers may differ."""
    if not text.isascii() or not text:
        return None
    if text[0] == "[":
        inside, bracket, rest = text[1:].partition("]")
        try:
            address = IPv6Address(inside)
        except AddressValueError:
            return None
        port = port_of(rest[1:]) if rest else None
        odd = not bracket or str(address) != inside or address.ipv4_mapped is not None or "%" in inside
        return None if odd or (rest and (rest[0] != ":" or port is None)) else Authority(f"[{inside}]", port, address)
    host, colon, digits = text.lower().partition(":")
    port = port_of(digits) if colon else None
    if colon and port is None:
        return None
    name = host[:-1] if host.endswith(".") else host
    if looks_like_a_number(name.rpartition(".")[2]):
        address = four_numbers(host)
        return None if address is None else Authority(host, port, address)
    return Authority(name, port, None) if len(name) < 254 and all(map(is_label, name.split("."))) else None


def accepted(text: str) -> Authority | None:
    try:
        return parse_authority(text)
    except PatternError as error:
        assert error.code.startswith("pattern.")
        return None


PIECES = (
    *"a b example com localhost xn--nxasmq6b metadata internal - -a a-".split(),
    *"_ a_b . .. : :: :80 :443 :0 :080 :65535 :65536".split(),
    *"127 0 1 255 256 0x7f 0177 00 017700000001 2130706433 0x7f000001 127.0.0.1 127.1 10.0.0.1 169.254.169.254".split(),
    *"[ ] [::1] [::] [fe80::1]".split(),
    *"[fe80::1%25eth0] [::ffff:127.0.0.1] [::ffff:7f00:1] [64:ff9b::7f00:1] [2001:db8::]".split(),
    *"@ user@ user:pw@ % %2e %00 %40 \\ / // ? # ; , = + ~ ! $ & ' ( ) * | ^ ` { } < > \"".split(),
    *"\t\n\r \0\x7fßéİK。.①１ａ\u200b\u00adﬁ℀",
    *("A", "EXAMPLE", "a" * 63, "a" * 64, "a." * 126, "0x", "0X7F", "1e3", "08", "09"),
)
soup = st.lists(st.sampled_from(PIECES), max_size=7).map("".join)


@st.composite
def twisted(draw: st.DrawFn) -> str:
    """A hostile URL with pieces put in, taken out or exchanged."""
    text = draw(st.sampled_from(HOSTILE))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 3))
        text = text[:at] + draw(st.sampled_from(("", *PIECES))) + text[at + cut :]
    return text


def host_part(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].partition("?")[0]


@given(soup | twisted().map(host_part) | st.text(max_size=20))
def test_a_host_is_accepted_exactly_as_the_model_reads_it(text: str) -> None:
    assert accepted(text) == read_authority(text)


@given(soup | twisted().map(host_part))
def test_no_resolver_takes_an_accepted_name_for_an_address(text: str) -> None:
    authority = accepted(text)
    if authority is None or isinstance(authority.address, IPv6Address):
        return
    dialled = None
    with contextlib.suppress(OSError):
        dialled = IPv4Address(socket.inet_aton(authority.host))
    assert dialled == authority.address


@given(twisted() | st.tuples(st.sampled_from(("http://", "https://", "HTTP://")), soup).map("".join))
def test_other_readers_of_an_accepted_url_find_the_same_host_and_port(text: str) -> None:
    try:
        url = parse_http_url(text)
    except PatternError:
        return
    bare = url.authority.host.strip("[]")
    split = urlsplit(text)
    assert (split.scheme, (split.hostname or "").removesuffix(".")) == (url.scheme, bare)
    assert (split.port or {"http": 80, "https": 443}[url.scheme]) == url.authority.port
    assert (split.username, split.password) == (None, None)
    other = httpx2.URL(text)
    assert (other.scheme, other.raw_host.decode().removesuffix(".")) == (url.scheme, bare)
    assert (other.port or {"http": 80, "https": 443}[url.scheme]) == url.authority.port
    assert other.userinfo == b""


NETWORKS = (
    *"0.0.0.0 10.0.0.0 100.64.0.0 100.100.100.200 127.0.0.0 168.63.129.16 169.254.0.0 169.254.169.254".split(),
    *"172.16.0.0 172.31.255.255 192.0.0.0 192.0.2.0 192.88.99.0 192.168.0.0 198.18.0.0 198.51.100.0".split(),
    *"203.0.113.0 224.0.0.0 240.0.0.0 255.255.255.255 8.8.8.8 1.1.1.1".split(),
)
HANDS_OUT_SECRETS = {IPv4Address(text) for text in "100.100.100.200 168.63.129.16 169.254.169.254".split()}
PREFIXES = (
    *":: ::ffff:0:0 ::ffff:0:0:0 64:ff9b:: 64:ff9b:1:: 100::".split(),
    *"100:0:0:1:: 2001:: 2001:1:: 2001:20:: 2001:db8:: 2002::".split(),
    *"2620:4f:8000:: 3fff:: 5f00:: fc00:: fd00:ec2:: fe80:: fec0:: ff00:: 2606:4700:: 2a00::".split(),
)
beside = st.just(0) | st.integers(-2, 300)
v4 = st.integers(0, 2**32 - 1) | st.tuples(st.sampled_from(NETWORKS), beside).map(
    lambda drawn: (int(IPv4Address(drawn[0])) + drawn[1]) % 2**32
)


@st.composite
def v6(draw: st.DrawFn) -> IPv6Address:
    """An address near a border, with an IPv4 address in one of the places where one may be hidden."""
    number = int(IPv6Address(draw(st.sampled_from(PREFIXES)))) + draw(st.integers(-2, 2))
    inner = draw(v4)
    shift = draw(st.sampled_from((0, 0, 80, 32)))
    number |= inner << shift if draw(st.booleans()) else draw(st.integers(0, 2**64 - 1))
    if shift == 0 and draw(st.booleans()):
        number ^= 2**32 - 1  # as a Teredo client hides its own
    return IPv6Address(number % 2**128)


@given(v4.map(IPv4Address))
def test_an_address_that_is_public_is_public_to_the_registry(address: IPv4Address) -> None:
    assert not is_public(address) or (address.is_global and not address.is_multicast)
    assert address not in HANDS_OUT_SECRETS or classify_address(address) is AddressClass.METADATA


@given(v6())
def test_an_address_that_hides_another_is_no_more_public_than_that(address: IPv6Address) -> None:
    teredo = address.teredo
    hidden = [address.ipv4_mapped, address.sixtofour, teredo[1] if teredo else None]
    in_the_end = IPv4Address(int(address) % 2**32)
    above = int(address) >> 32
    if above in (int(IPv6Address("64:ff9b::")) >> 32, 0) and int(address) > 1:
        hidden.append(in_the_end)
    inner = [found for found in hidden if found is not None]
    assert embedded_ipv4(address) in (inner or [None, in_the_end])
    if is_public(address):
        assert all(is_public(found) for found in inner)
        assert not address.is_multicast
        assert not address.is_private or inner  # NAT64 is listed as global, and is as public as what it leads to
        assert address.is_global or inner
    if HANDS_OUT_SECRETS.intersection(inner):
        assert classify_address(address) is AddressClass.METADATA
