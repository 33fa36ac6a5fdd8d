"""Which hosts a command may reach, and which of their addresses may be dialled.  Pure.

Two questions, in this order: is the name on the list, before anybody resolves it (a name that is looked up is itself a
message); and is every address that came back one of the public network.  One bad address refuses them all: a name that
points both outside and inside is an attack, not a choice.

Never: resolves or dials, or opens a place that answers with the machine's credentials, listed or not.

Source: architecture 6; CVE-2026-24052 (a prefix taken for a domain); threat 32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from astrid.core.client_hello import ClientHello
from astrid.core.hosts import Address, AddressClass, Authority, classify_address, parse_authority
from astrid.core.patterns import Pattern, matches
from astrid.core.resources import net_pattern, net_resource
from astrid.errors import InputError, PatternError

HTTP, HTTPS = 80, 443
MAX_HOSTS = 256
# What a person means by naming an address: a server of theirs.  The rest is nobody's server.
_OF_LITERAL = frozenset({AddressClass.PUBLIC, AddressClass.PRIVATE, AddressClass.LOOPBACK})
_OF_NAME = frozenset({AddressClass.PUBLIC})


@dataclass(frozen=True, slots=True)
class Barred:
    """Why a place is not reached."""

    code: str
    reason: str


class Reach:
    """A list of hosts: ``example.com``, ``*.example.com`` (its subdomains) or an IP address, on ports 80 and 443 or on
    the one that follows a colon.
    """

    __slots__ = ("_patterns",)

    def __init__(self, entries: Iterable[str]) -> None:
        """The list of ``entries``; without any, nothing is reached.

        Raises:
            PatternError: one is no host, or there are too many.
        """
        listed = tuple(entries)
        if len(listed) > MAX_HOSTS:
            raise PatternError("pattern.hosts", f"more than {MAX_HOSTS} hosts are listed", advice="list fewer")
        self._patterns = tuple(pattern for entry in listed for pattern in patterns_of(entry))

    def judge(self, authority: Authority) -> Barred | None:
        """Why the host is not reached, by what it is called.  ``authority`` has a port."""
        wanted = net_resource(authority.host, authority.port or 0)
        if any(matches(pattern, wanted) for pattern in self._patterns):
            return None
        return Barred("egress.not-listed", "the host and port are not among those that the command may reach")


def patterns_of(entry: str) -> tuple[Pattern, ...]:
    """What an entry of a list stands for.

    Raises:
        PatternError: it is no host.
    """
    authority = parse_authority(entry.removeprefix("*."))
    below = entry.startswith("*.")
    if below and authority.address is not None:
        raise PatternError("pattern.host", f"`{entry[:80]}` is a part of an address", advice="write all of it")
    host = f"*.{authority.host}" if below else authority.host
    ports = (HTTP, HTTPS) if authority.port is None else (authority.port,)
    return tuple(net_pattern(host, port) for port in ports)


def judge_addresses(authority: Authority, addresses: Sequence[Address]) -> Barred | None:
    """Why none of the ``addresses`` that ``authority``, which is listed, has may be dialled."""
    if not addresses:
        return Barred("egress.no-address", "the host has no address")
    open_classes = _OF_NAME if authority.address is None else _OF_LITERAL
    for address in addresses:
        kind = classify_address(address)
        if kind not in open_classes:
            return Barred("egress.address", f"the host leads to a {kind.value} address")
    return None


def judge_hello(authority: Authority, hello: ClientHello) -> Barred | None:
    """Why a tunnel to ``authority`` is not opened for a client that begins with ``hello``."""
    try:
        said = parse_authority(hello.name) if hello.name else None
    except InputError:
        said = Authority("", None, None)
    # An address is never sent as a name.
    expected = authority.host if authority.address is None else None
    if (None if said is None else said.host) == expected and (said is None or said.port is None):
        return None
    return Barred("egress.other-name", "the client asks for another name than the tunnel was opened for")
