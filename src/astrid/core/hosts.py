"""Host names, ports, authorities and the class of an address: parsed strictly, so that no two parsers disagree.  Pure.

Never: resolves, guesses or repairs.  Where another parser might read another host (userinfo, percent signs,
backslashes, short, octal, hexadecimal or decimal IPv4, an unbracketed IPv6), the text is refused.  Upper case and one
trailing dot are the only differences that are forgiven.  The caller resolves once, classifies *each* address it got,
and dials the very address it classified.

Source: RFC 1123 and 5890 (LDH labels), RFC 5952 (IPv6 text), RFC 6052 (NAT64), 3056 (6to4), 4380 (Teredo), IANA
special-purpose address registries; threat 32.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

from astrid.errors import PatternError

Address = IPv4Address | IPv6Address

MAX_HOST_CHARS = 253
MAX_URL_CHARS = 8192

_ALLOWED = re.compile(r"[A-Za-z0-9.:\[\]-]+\Z")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")
# What a URL parser takes for the last part of an IPv4 address, in any of its unusual forms.
_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")
_URL = re.compile(r"(https?)://([^/?#\\]*)(/[^?#\\]*)?(\?[^#\\]*)?(?:#[^\\]*)?\Z", re.IGNORECASE)
_URL_CHARACTERS = re.compile(r"[!-~]+\Z")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and perhaps a port.

    ``host`` is the one spelling: lower case, no trailing dot, IPv6 in brackets.  ``address`` is set if the host is an
    IP literal.
    """

    host: str
    port: int | None
    address: Address | None


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """A taken-apart URL.  ``authority.port`` is always set; ``target`` is path and query, at least ``/``; a fragment
    is dropped.
    """

    scheme: str
    authority: Authority
    target: str


class AddressClass(enum.Enum):
    """What kind of place an address is."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    LINK_LOCAL = "link-local"
    METADATA = "metadata"  # answers with the credentials of the machine
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    RESERVED = "reserved"
    EMBEDDED = "embedded"  # a public IPv4 address inside an obsolete IPv6 form


def parse_http_url(text: str) -> HttpUrl:
    """The parts of an ``http`` or ``https`` URL, as the one reading every parser shares.

    Raises:
        PatternError: another scheme, anything but printable ASCII, a backslash, userinfo, or a host or port that is
        none.
    """
    match = _URL.match(text) if len(text) <= MAX_URL_CHARS and _URL_CHARACTERS.match(text) else None
    if match is None:
        raise PatternError(
            "pattern.url", f"`{text[:80]!r}` is not a plain http or https URL", advice="percent-encode odd characters"
        )
    scheme = match[1].lower()
    named = parse_authority(match[2])
    authority = Authority(named.host, named.port or _DEFAULT_PORTS[scheme], named.address)
    return HttpUrl(scheme, authority, (match[3] or "/") + (match[4] or ""))


def parse_authority(text: str) -> Authority:
    """``host``, ``host:port``, ``[ipv6]`` or ``[ipv6]:port``.

    Raises:
        PatternError: userinfo, percent signs, empty or odd labels, unusual forms of addresses, a port outside 1..65535.
    """
    if _ALLOWED.match(text) is None:
        raise PatternError(
            "pattern.host",
            f"`{text[:80]!r}` is not a host",
            advice="write host or host:port, IDN as xn-- labels, no user and no %",
        )
    if text.startswith("["):
        literal, bracket, rest = text[1:].partition("]")
        address = _parse_ipv6(literal)
        if not bracket or (rest and not rest.startswith(":")):
            raise PatternError("pattern.host-ipv6", f"`{text[:80]}` is not a bracketed IPv6 address")
        return Authority(f"[{literal}]", parse_port(rest[1:]) if rest else None, address)
    host, colon, port = text.partition(":")
    if ":" in port:
        raise PatternError(
            "pattern.host-ipv6", f"`{text[:80]}` has more than one colon", advice="write IPv6 in brackets"
        )
    name, address = _parse_name(host.lower())
    return Authority(name, parse_port(port) if colon else None, address)


def parse_port(text: str) -> int:
    """A port, 1 to 65535, in its one decimal spelling.

    Raises:
        PatternError: anything else.
    """
    if _PORT.match(text) is None or int(text) > 0xFFFF:
        raise PatternError("pattern.port", f"`{text[:20]}` is not a port", advice="write a number from 1 to 65535")
    return int(text)


def _parse_name(host: str) -> tuple[str, IPv4Address | None]:
    name = host.removesuffix(".")
    labels = name.split(".")
    if _NUMERIC.match(labels[-1]):
        try:
            address = IPv4Address(host)
        except AddressValueError as error:
            raise PatternError(
                "pattern.host-ipv4",
                f"`{host[:80]}` is an unusual form of an IPv4 address",
                advice="write four decimal numbers",
            ) from error
        return name, address
    if len(name) > MAX_HOST_CHARS or any(_LABEL.match(label) is None for label in labels):
        raise PatternError(
            "pattern.host",
            f"`{host[:80]}` is not a host name",
            advice="labels are 1 to 63 letters, digits and inner hyphens",
        )
    return name, None


def _parse_ipv6(literal: str) -> IPv6Address:
    try:
        address = IPv6Address(literal)
    except AddressValueError as error:
        raise PatternError("pattern.host-ipv6", f"`{literal[:80]}` is not an IPv6 address") from error
    # An IPv4-mapped address has two accepted texts, and dials an IPv4 host: it has to be written as that.
    if address.ipv4_mapped is not None or str(address) != literal:
        raise PatternError(
            "pattern.host-ipv6",
            f"`{literal[:80]}` is not the one spelling of an IPv6 address",
            advice=f"write `{address}`",
        )
    return address


def _v4(kind: AddressClass, *networks: str) -> tuple[tuple[IPv4Network, AddressClass], ...]:
    return tuple((IPv4Network(network), kind) for network in networks)


def _v6(kind: AddressClass, *networks: str) -> tuple[tuple[IPv6Network, AddressClass], ...]:
    return tuple((IPv6Network(network), kind) for network in networks)


# First match decides, so the metadata addresses stand before the networks they lie in.  Own tables, because what the
# standard library calls global differs between its patch releases.  168.63.129.16 and 192.0.0.192 look public and
# answer for the platform.
_IPV4 = (
    *_v4(AddressClass.METADATA, "169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "100.100.100.200/32"),
    *_v4(AddressClass.METADATA, "192.0.0.192/32", "168.63.129.16/32"),
    *_v4(AddressClass.UNSPECIFIED, "0.0.0.0/8"),
    *_v4(AddressClass.LOOPBACK, "127.0.0.0/8"),
    *_v4(AddressClass.PRIVATE, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    *_v4(AddressClass.LINK_LOCAL, "169.254.0.0/16"),
    *_v4(AddressClass.MULTICAST, "224.0.0.0/4"),
    *_v4(AddressClass.RESERVED, "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24"),
    *_v4(AddressClass.RESERVED, "203.0.113.0/24", "240.0.0.0/4"),
)
_IPV6 = (
    *_v6(AddressClass.METADATA, "fd00:ec2::/32", "fd20:ce::254/128", "fe80::a9fe:a9fe/128"),
    *_v6(AddressClass.UNSPECIFIED, "::/128"),
    *_v6(AddressClass.LOOPBACK, "::1/128"),
    *_v6(AddressClass.PRIVATE, "fc00::/7", "fec0::/10", "64:ff9b:1::/48"),
    *_v6(AddressClass.LINK_LOCAL, "fe80::/10"),
    *_v6(AddressClass.MULTICAST, "ff00::/8"),
    *_v6(AddressClass.RESERVED, "2001::/23", "2001:db8::/32", "3fff::/20"),
    *_v6(AddressClass.PUBLIC, "2000::/3"),
)
_MAPPED = (IPv6Network("::ffff:0:0/96"), IPv6Network("::ffff:0:0:0/96"), IPv6Network("::/96"))
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_LOW_32 = 0xFFFF_FFFF


def classify_address(address: Address) -> AddressClass:
    """The class of ``address``; an IPv6 address that carries an IPv4 address has the class of that.

    Anything not listed as public is not public: new special ranges fail closed for IPv6.
    """
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _IPV4 if address in network), AddressClass.PUBLIC)
    inner = embedded_ipv4(address)
    if inner is None:
        return next((kind for network, kind in _IPV6 if address in network), AddressClass.RESERVED)
    kind = classify_address(inner)
    # NAT64 is how a machine without IPv4 reaches the public network; no other embedding has a use left.
    return AddressClass.EMBEDDED if kind is AddressClass.PUBLIC and address not in _NAT64 else kind


def is_public(address: Address) -> bool:
    """Whether ``address`` is on the public network, and so not on this machine, its neighbours or its platform."""
    return classify_address(address) is AddressClass.PUBLIC


def embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address inside ``address`` (mapped, translated, compatible, NAT64, 6to4, or a Teredo client), if it
    has one.
    """
    bits = int(address)
    if address in _NAT64 or (bits > 1 and any(address in network for network in _MAPPED)):
        return IPv4Address(bits & _LOW_32)
    if address in _SIX_TO_FOUR:
        return IPv4Address(bits >> 80 & _LOW_32)
    if address in _TEREDO:
        return IPv4Address(~bits & _LOW_32)
    return None
