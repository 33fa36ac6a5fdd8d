"""Which hosts are reached: names by whole labels before anybody resolves them, and then only public addresses."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.client_hello import ClientHello
from astrid.core.egress import MAX_HOSTS, Reach, judge_addresses, judge_hello, patterns_of
from astrid.core.hosts import Authority, is_public, parse_authority
from astrid.errors import PatternError

LABEL = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
ANYWHERE = "0.0.0.0"  # noqa: S104 - as an address to be refused
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join)


def reached(entry: str, target: str) -> bool:
    return Reach([entry]).judge(parse_authority(target)) is None


@pytest.mark.parametrize(
    ("entry", "target", "expected"),
    [
        ("example.com", "example.com:443", True),
        ("example.com", "example.com:80", True),
        ("example.com", "EXAMPLE.com.:443", True),
        ("example.com", "example.com:22", False),
        ("example.com", "example.com:8443", False),
        ("example.com:8443", "example.com:8443", True),
        ("example.com:8443", "example.com:443", False),
        ("example.com", "www.example.com:443", False),
        ("example.com", "example.com.evil.test:443", False),
        ("example.com", "example.community:443", False),
        ("example.com", "notexample.com:443", False),
        ("*.example.com", "a.example.com:443", True),
        ("*.example.com", "a.b.example.com:443", True),
        ("*.example.com", "example.com:443", False),
        ("*.example.com", "aexample.com:443", False),
        ("*.example.com", "a.example.com.evil.test:443", False),
        ("127.0.0.1:8080", "127.0.0.1:8080", True),
        ("[::1]:80", "[::1]:80", True),
        ("example.com", "127.0.0.1:443", False),
        ("xn--bcher-kva.example", "xn--bcher-kva.example:443", True),
        ("bcher.example", "xn--bcher-kva.example:443", False),
    ],
)
def test_an_entry_means_whole_labels_and_its_ports(entry: str, target: str, expected: bool) -> None:
    assert reached(entry, target) is expected


def test_an_empty_list_reaches_nothing() -> None:
    barred = Reach([]).judge(parse_authority("example.com:443"))
    assert barred is not None
    assert barred.code == "egress.not-listed"


@pytest.mark.parametrize("entry", ["*", "*.", "", "*.1.2.3.4", "*.*.com", "a*.com", "http://a.com", "a.com/x", "a b"])
def test_what_is_no_host_is_no_entry(entry: str) -> None:
    with pytest.raises(PatternError):
        patterns_of(entry)


def test_a_list_has_an_end() -> None:
    entries = [f"h{number}.example" for number in range(MAX_HOSTS + 1)]
    Reach(entries[1:])
    with pytest.raises(PatternError):
        Reach(entries)


@given(NAME, NAME)
def test_a_host_is_reached_by_its_own_name_alone(listed: str, asked: str) -> None:
    assert reached(listed, f"{asked}:443") is (listed == asked)


@given(NAME, NAME)
def test_a_star_stands_for_whole_labels_before_the_name(listed: str, asked: str) -> None:
    expected = asked != listed and asked.split(".")[-len(listed.split(".")) :] == listed.split(".")
    assert reached(f"*.{listed}", f"{asked}:443") is expected


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "168.63.129.16"),
        *(ANYWHERE, "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "fd00::1", "ff02::1", "::ffff:10.0.0.1"),
        *("64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:808:808::", "fd00:ec2::254", "::"),
    ],
)
def test_a_name_that_leads_elsewhere_than_to_the_public_network_is_refused(address: str) -> None:
    target = parse_authority("example.com:443")
    for addresses in ([address], ["93.184.216.34", address], [address, "93.184.216.34"]):
        barred = judge_addresses(target, [ip_address(one) for one in addresses])
        assert barred is not None
        assert barred.code == "egress.address"


@given(st.lists(st.ip_addresses(), min_size=1, max_size=4))
def test_a_name_is_dialled_only_where_all_of_its_addresses_are_public(addresses: list) -> None:
    barred = judge_addresses(parse_authority("example.com:443"), addresses)
    assert (barred is None) is all(map(is_public, addresses))


def test_a_name_without_an_address_is_refused() -> None:
    barred = judge_addresses(parse_authority("example.com:443"), [])
    assert barred is not None
    assert barred.code == "egress.no-address"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *(("127.0.0.1", True), ("10.0.0.5", True), ("[fd00::5]", True), ("93.184.216.34", True)),
        *(("169.254.169.254", False), ("[fd00:ec2::254]", False), ("224.0.0.1", False), (ANYWHERE, False)),
        ("[2002:808:808::]", False),
    ],
)
def test_a_listed_address_may_be_a_server_of_the_users_and_never_the_machines_metadata(
    address: str, expected: bool
) -> None:
    target = parse_authority(f"{address}:80")
    assert target.address is not None
    assert (judge_addresses(target, [target.address]) is None) is expected


@pytest.mark.parametrize(
    ("target", "name", "expected"),
    [
        ("example.com:443", "example.com", True),
        ("example.com:443", "EXAMPLE.com", True),
        ("example.com:443", "", False),
        ("example.com:443", "evil.test", False),
        ("example.com:443", "www.example.com", False),
        ("example.com:443", "example.com.evil.test", False),
        ("example.com:443", "example.com:443", False),
        ("example.com:443", "example.com\0evil.test", False),
        ("example.com:443", "exa mple.com", False),
        ("10.0.0.5:443", "", True),
        ("10.0.0.5:443", "10.0.0.5", False),
        ("10.0.0.5:443", "evil.test", False),
    ],
)
def test_a_tunnel_is_for_the_name_it_was_opened_for(target: str, name: str, expected: bool) -> None:
    assert (judge_hello(parse_authority(target), ClientHello(name)) is None) is expected


def test_a_target_without_a_port_is_not_judged() -> None:
    with pytest.raises(PatternError):
        Reach(["example.com"]).judge(Authority("example.com", None, None))
