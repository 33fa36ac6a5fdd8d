"""Hosts and addresses: what two parsers might read differently is refused, and only the public network is public."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.hosts import (
    MAX_URL_CHARS,
    AddressClass,
    Authority,
    classify_address,
    embedded_ipv4,
    is_public,
    parse_authority,
    parse_http_url,
    parse_port,
)
from astrid.errors import PatternError

MODEST = settings(max_examples=150)
CORPUS = json.loads((Path(__file__).parent.parent / "vectors" / "corpora" / "url_ssrf.json").read_text("utf-8"))
HOSTILE_URLS = [item["url"] for item in CORPUS["items"]]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("example.com", "example.com", None),
        ("EXAMPLE.com.", "example.com", None),
        ("example.com:443", "example.com", 443),
        ("example.com.:443", "example.com", 443),
        ("localhost", "localhost", None),
        ("a-b.1.c", "a-b.1.c", None),
        ("r3---sn-x.example", "r3---sn-x.example", None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("1.2.3.4.example", "1.2.3.4.example", None),
        (f"{'a' * 63}.b", f"{'a' * 63}.b", None),
        (".".join(["a" * 49] * 5) + ".abc", ".".join(["a" * 49] * 5) + ".abc", None),
    ],
)
def test_a_name_is_read_in_its_one_spelling(text: str, host: str, port: int | None) -> None:
    assert parse_authority(text) == Authority(host, port, None)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("127.0.0.1", "127.0.0.1", None),
        ("255.255.255.255:65535", "255.255.255.255", 65535),
        ("[::1]", "::1", None),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
        ("[::]", "::", None),
        ("[64:ff9b::7f00:1]", "64:ff9b::7f00:1", None),
    ],
)
def test_a_literal_address_is_read_in_its_one_spelling(text: str, address: str, port: int | None) -> None:
    host = f"[{address}]" if ":" in address else address
    assert parse_authority(text) == Authority(host, port, ip_address(address))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "pattern.host"),
        (".", "pattern.host"),
        ("..", "pattern.host"),
        ("a..b", "pattern.host"),
        (".a", "pattern.host"),
        ("a..", "pattern.host"),
        ("-a", "pattern.host"),
        ("a-.b", "pattern.host"),
        ("a_b", "pattern.host"),
        ("a b", "pattern.host"),
        ("a\n", "pattern.host"),
        ("a\0.b", "pattern.host"),
        ("a%2eb", "pattern.host"),
        ("user@host", "pattern.host"),
        ("user:pw@host", "pattern.host"),
        ("a\\b", "pattern.host"),
        ("a/b", "pattern.host"),
        ("a#b", "pattern.host"),
        ("a?b", "pattern.host"),
        ("*.a", "pattern.host"),
        ("bücher.example", "pattern.host"),
        ("ⓔⓧⓐⓜⓟⓛⓔ.com", "pattern.host"),
        ("a。b", "pattern.host"),
        ("١٢٧.0.0.1", "pattern.host"),
        ("127.0.0.1!", "pattern.host"),
        (f"{'a' * 64}.b", "pattern.host"),
        (".".join(["a" * 49] * 5) + ".abcd", "pattern.host"),
        (":80", "pattern.host"),
        ("a:", "pattern.port"),
        ("a:0", "pattern.port"),
        ("a:080", "pattern.port"),
        ("a:65536", "pattern.port"),
        ("a:123456", "pattern.port"),
        ("a:8a", "pattern.port"),
        ("a:-1", "pattern.port"),
        ("127.1", "pattern.host-ipv4"),
        ("127.0.1", "pattern.host-ipv4"),
        ("0", "pattern.host-ipv4"),
        ("2130706433", "pattern.host-ipv4"),
        ("0177.0.0.1", "pattern.host-ipv4"),
        ("127.0.0.01", "pattern.host-ipv4"),
        ("0x7f.0.0.1", "pattern.host-ipv4"),
        ("0x7f000001", "pattern.host-ipv4"),
        ("0X7F000001", "pattern.host-ipv4"),
        ("1.2.3.0x", "pattern.host-ipv4"),
        ("256.0.0.1", "pattern.host-ipv4"),
        ("1.2.3.4.5", "pattern.host-ipv4"),
        ("1.2.3.4.", "pattern.host-ipv4"),
        ("example.0x10", "pattern.host-ipv4"),
        ("example.com.1", "pattern.host-ipv4"),
        ("o177.0.0.1", "pattern.host-ipv4"),
        ("::1", "pattern.host-ipv6"),
        ("a:1:2", "pattern.host-ipv6"),
        ("[::1", "pattern.host-ipv6"),
        ("[::1]x", "pattern.host-ipv6"),
        ("[::1]:", "pattern.port"),
        ("[]", "pattern.host-ipv6"),
        ("[a]", "pattern.host-ipv6"),
        ("[127.0.0.1]", "pattern.host-ipv6"),
        ("[0:0:0:0:0:0:0:1]", "pattern.host-ipv6"),
        ("[::01]", "pattern.host-ipv6"),
        ("[2001:DB8::1]", "pattern.host-ipv6"),
        ("[::ffff:127.0.0.1]", "pattern.host-ipv6"),
        ("[::ffff:7f00:1]", "pattern.host-ipv6"),
        ("[::127.0.0.1]", "pattern.host-ipv6"),
        ("[fe80::1%25eth0]", "pattern.host"),
        ("[::1]:80:80", "pattern.port"),
        ("a[::1]", "pattern.host-ipv6"),
        ("[[::1]]", "pattern.host-ipv6"),
    ],
)
def test_what_two_parsers_might_read_differently_is_refused(text: str, code: str) -> None:
    with pytest.raises(PatternError) as caught:
        parse_authority(text)
    assert caught.value.code == code


@MODEST
@given(st.text(alphabet="aZ0x.-:[]1%@", max_size=12))
def test_reading_what_was_read_changes_nothing(text: str) -> None:
    try:
        read = parse_authority(text)
    except PatternError:
        return
    again = read.host if read.port is None else f"{read.host}:{read.port}"
    assert parse_authority(again) == read


@MODEST
@given(st.ip_addresses())
def test_every_address_is_read_back_from_its_canonical_text(address: IPv4Address | IPv6Address) -> None:
    text = f"[{address}]" if address.version == 6 else str(address)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return
    assert parse_authority(text) == Authority(text, None, address)


@pytest.mark.parametrize("text", ["1", "80", "65535"])
def test_a_port_is_read(text: str) -> None:
    assert parse_port(text) == int(text)


@pytest.mark.parametrize("text", ["", "0", "00", "01", "65536", "1e3", " 1", "1 ", "1\n", "+1", "٣", "0x1"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        parse_port(text)


# ---- addresses -------------------------------------------------------------------------------------------------------

CLASSES = {
    AddressClass.PUBLIC: """8.8.8.8 1.1.1.1 93.184.216.34 172.32.0.1 100.128.0.1 168.63.129.17 2606:4700::1111
        2a00:1450::1 64:ff9b::808:808""",
    AddressClass.LOOPBACK: """127.0.0.1 127.255.255.255 ::1 ::1%1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::
        ::127.0.0.1""",
    AddressClass.PRIVATE: """10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 fc00::1 fdff::1 fec0::1
        64:ff9b:1::1 ::ffff:10.0.0.1 2002:a00:1:: 64:ff9b::c0a8:101""",
    AddressClass.LINK_LOCAL: "169.254.0.1 169.254.169.253 fe80::1 fe80::1%eth0 febf::1 ::ffff:169.254.1.1",
    AddressClass.METADATA: """169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 192.0.0.192 168.63.129.16
        fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fe80::a9fe:a9fe ::ffff:169.254.169.254 ::a9fe:a9fe 64:ff9b::a9fe:a9fe
        2002:a9fe:a9fe::1 2001:0:1:2:3:4:5601:5601 ::ffff:0:169.254.169.254""",
    AddressClass.MULTICAST: "224.0.0.1 239.255.255.255 ff02::1 ff0e::1 ::ffff:224.0.0.1",
    AddressClass.UNSPECIFIED: "0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0",
    AddressClass.RESERVED: """192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 240.0.0.1
        255.255.255.255 2001:db8::1 3fff::1 100::1 2001:2::1 2001:20::1 4000::1 5f00::1 0:1::1 64:ff9b:2::1""",
    AddressClass.EMBEDDED: "::ffff:8.8.8.8 ::8.8.8.8 2002:808:808::1 2001:0:1:2:3:4:f7f7:f7f7 ::ffff:0:8.8.8.8",
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in CLASSES.items() for text in texts.split()])
def test_an_address_has_the_class_of_the_place_it_leads_to(kind: AddressClass, text: str) -> None:
    assert classify_address(ip_address(text)) is kind


def test_every_class_is_reached() -> None:
    assert set(CLASSES) == set(AddressClass)


@MODEST
@given(st.ip_addresses())
def test_public_is_never_what_the_standard_library_knows_to_be_special(address: IPv4Address | IPv6Address) -> None:
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    if special or address.is_unspecified or address.is_reserved:
        inner = embedded_ipv4(address) if isinstance(address, IPv6Address) else None
        assert not is_public(address) or (inner is not None and is_public(inner))


@MODEST
@given(st.ip_addresses(v=4))
def test_no_embedding_is_more_public_than_the_address_inside(inner: IPv4Address) -> None:
    bits = int(inner)
    embeddings = {
        "mapped": 0xFFFF << 32 | bits,
        "translated": 0xFFFF << 48 | bits,
        "compatible": bits,
        "nat64": 0x64FF9B << 96 | bits,
        "6to4": 0x2002 << 112 | bits << 80 | 1,
        "teredo": 0x2001_0000 << 96 | (~bits & 0xFFFF_FFFF),
    }
    for name, value in embeddings.items():
        outer = IPv6Address(value)
        assert embedded_ipv4(outer) == (inner if value > 1 else None)
        assert is_public(outer) is (name == "nat64" and is_public(inner))


@pytest.mark.parametrize("text", ["2606:4700::1", "::", "::1", "fe80::1", "2001:db8::1"])
def test_an_ordinary_ipv6_address_embeds_nothing(text: str) -> None:
    assert embedded_ipv4(IPv6Address(text)) is None


# ---- URLs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "target"),
    [
        ("http://example.com", "http", "example.com", 80, "/"),
        ("HTTPS://Example.com/a/../b?c=%2e#d", "https", "example.com", 443, "/a/../b?c=%2e"),
        ("https://example.com:8443?x", "https", "example.com", 8443, "/?x"),
        ("http://[::1]/", "http", "[::1]", 80, "/"),
        ("http://127.0.0.1#x", "http", "127.0.0.1", 80, "/"),
        ("https://example.com/@evil.org:80/", "https", "example.com", 443, "/@evil.org:80/"),
    ],
)
def test_a_plain_url_is_taken_apart(text: str, scheme: str, host: str, port: int, target: str) -> None:
    url = parse_http_url(text)
    assert (url.scheme, url.authority.host, url.authority.port, url.target) == (scheme, host, port, target)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "//example.com",
        "http:example.com",
        "http:///example.com",
        "http://",
        "ftp://example.com",
        "file:///etc/passwd",
        "gopher://localhost:25/_x",
        "http://a\\@b/",
        "http://a/\\b",
        "http://a#\\@b",
        "http://a/ b",
        "http://a/\t",
        "http://a/\r\nHost: b",
        "http://a/é",
        "http://user@a/",
        "http://user:pass@a/",
        "http://a%00.b/",
        " http://a/",
        "http://a/\n",
        "http://a/" + "x" * MAX_URL_CHARS,
    ],
)
def test_a_url_that_is_not_plain_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        parse_http_url(text)


def test_the_corpus_is_there_with_its_source_and_licence() -> None:
    assert len(HOSTILE_URLS) == CORPUS["count"] > 100
    assert CORPUS["licence"] == "MIT"


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_a_hostile_url_is_refused_or_read_as_everybody_reads_it(url: str) -> None:
    try:
        read = parse_http_url(url)
    except PatternError:
        return
    common = urlsplit(url)
    assert read.scheme == common.scheme
    assert common.username is None
    assert f"{common.hostname}" == read.authority.host.strip("[]")
    assert (common.port or {"http": 80, "https": 443}[common.scheme]) == read.authority.port
    if read.authority.address is not None:
        assert not is_public(read.authority.address)  # every literal address of the corpus is meant to reach inside


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://3232235521/",
        "http://0x7f000001",
        "http://017700000001",
        "http://0177.0.0.1/",
        "http://127.1",
        "http://0/",
        "http://425.510.425.510",
        "http://7147006462",
        "http://[::ffff:169.254.169.254]",
        "http://[0:0:0:0:0:ffff:127.0.0.1]",
        "http://127.1.1.1:80\\@127.2.2.2:80/",
        "http://127.1.1.1:80\\@@127.2.2.2:80/",
        "http://127.1.1.1:80:\\@@127.2.2.2:80/",
        "http://127.1.1.1:80#\\@127.2.2.2:80/",
        "http://ⓔⓧⓐⓜⓟⓛⓔ.ⓒⓞⓜ",
        "https://127.0.0.1!/",
        "http://user@127.0.0.1",
        "http://127.0.0.1%00.example.com/",
        "http://127.0.0.1。example.com/",
    ],
)
def test_an_unusual_way_to_write_an_inner_address_is_refused(url: str) -> None:
    with pytest.raises(PatternError):
        parse_http_url(url)


def test_every_host_of_the_corpus_is_refused_an_inner_address_or_a_name() -> None:
    kinds = {"refused": 0, "inner": 0, "name": 0}
    for url in HOSTILE_URLS:
        try:
            address = parse_http_url(url).authority.address
        except PatternError:
            kinds["refused"] += 1
            continue
        kinds["name" if address is None else "inner"] += 1
        assert address is None or classify_address(address) is not AddressClass.PUBLIC
    assert min(kinds.values()) > 20, kinds  # a name is judged by what it resolves to: `is_public` of each address
