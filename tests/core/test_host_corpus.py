"""Addresses that others collected to reach the inside of a network, through the reading of hosts and through policy:
none gets past a list of what is allowed, and none past a list of what is denied by another spelling of the same place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from astrid.core.call import Call, Need
from astrid.core.hosts import HttpUrl, is_public, parse_http_url
from astrid.core.policy import Allowed, Blocked, Policy, PolicyConfig
from astrid.core.resources import net_resource
from astrid.core.tokens import Permission
from astrid.errors import PatternError
from tests.fakes.authority import call
from tests.fakes.rules import config, policy, spec

CORPUS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "corpora" / "url_ssrf.json").read_text("utf-8"))
URLS: list[str] = [item["url"] for item in CORPUS["items"]]
FETCH = spec("fetch", "fetch")
INNER = ("localhost", "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.0", "127.0.1.3", "127.127.127.127")


def read(url: str) -> HttpUrl | None:
    try:
        return parse_http_url(url)
    except PatternError:
        return None


def judged(url: HttpUrl, *layers: PolicyConfig) -> Any:
    """What policy says of fetching it."""
    assert url.authority.port is not None
    need = Need(net_resource(url.authority.host, url.authority.port).text, Permission.READ)
    made: Call = msgspec.structs.replace(call(), needs=(need,))
    rules: Policy = policy(*layers)
    return rules.judge(made, FETCH)


def test_the_corpus_is_whole() -> None:
    assert len(URLS) == CORPUS["count"] == 131
    assert (CORPUS["source"].startswith("github:"), CORPUS["licence"]) == (True, "MIT")
    assert sum(read(url) is not None for url in URLS) > 30  # or nothing below would be tried


@pytest.mark.parametrize("url", URLS)
def test_a_collected_address_that_is_not_on_the_list_is_blocked_however_it_is_spelt(url: str) -> None:
    """The list names one host; what stands before an @, behind a # or in a path does not make another one of it."""
    taken = read(url)
    if taken is None:
        return
    allowed = config(allowed_hosts=("allowed.example", "*.allowed.example"))
    verdict = judged(taken, allowed)
    assert isinstance(verdict, Blocked)
    assert verdict.code == "policy.host"
    assert isinstance(judged(taken, config()), Allowed)  # by the list, and by nothing else


@pytest.mark.parametrize("port", ["", ":80", ":8443"])
@pytest.mark.parametrize("host", ["allowed.example", "www.allowed.example", "ALLOWED.example."])
def test_what_is_on_the_list_passes_it(host: str, port: str) -> None:
    taken = read(f"http://{host}{port}/x?u=http://127.0.0.1")
    assert taken is not None
    assert isinstance(judged(taken, config(allowed_hosts=("allowed.example", "*.allowed.example"))), Allowed)


@pytest.mark.parametrize("url", URLS)
def test_a_collected_address_of_a_denied_place_is_blocked_or_not_read(url: str) -> None:
    taken = read(url)
    if taken is None or taken.authority.address is None:
        return
    assert not is_public(taken.authority.address)
    # Whoever denies the place, denies it: there is one spelling of it, and one resource.
    assert isinstance(judged(taken, config(denied_hosts=(taken.authority.host,))), Blocked)
    standard = urlsplit(url).hostname
    assert standard is not None
    assert isinstance(judged(taken, config(denied_hosts=(f"[{standard}]" if ":" in standard else standard,))), Blocked)


def test_no_collected_spelling_of_a_denied_inner_address_passes() -> None:
    denied = config(denied_hosts=INNER)
    taken = [one for url in URLS if (one := read(url)) is not None]
    passed = [one for one in taken if not isinstance(judged(one, denied), Blocked)]
    literal = [one.authority.address for one in passed if one.authority.address is not None]
    # What is left is other addresses than the denied ones, and names: those are judged by what they resolve to.
    assert not {str(one) for one in literal} & set(INNER)
    assert not [one for one in literal if one.is_loopback and str(one).startswith("127.0.0.")]
