"""Addresses that others collected to have a request sent elsewhere, as the address of a vendor: none is taken that the
library would read as another machine than the check did.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from astrid.adapters.llm.anthropic import AnthropicModel
from astrid.core.money import Price
from astrid.errors import ConfigError

httpx2 = pytest.importorskip("httpx2")
pytest.importorskip("anthropic")

CORPUS = Path(__file__).parents[2] / "vectors" / "corpora" / "url_ssrf.json"
URLS: list[str] = [item["url"] for item in json.loads(CORPUS.read_text("utf-8"))["items"]]
FREE = Price(input_micros_per_million=0, output_micros_per_million=0)
HERE = ("localhost", "127.0.0.1", "::1")
# Each text with its scheme, and as somebody would write it who wants the key to leave this machine in clear.
SPELLINGS = [*URLS, *(url.replace("https://", "http://") for url in URLS if url.startswith("https://"))]


@cache
def takes(url: str) -> bool:
    try:
        AnthropicModel("claude-m", price=FREE, api_key="k", base_url=url)
    except ConfigError as error:
        assert error.code == "model.base-url"
        return False
    return True


@pytest.mark.parametrize("url", SPELLINGS)
def test_a_collected_address_gets_no_key_in_clear_unless_it_is_this_machine_to_the_library_too(url: str) -> None:
    if takes(url):
        read = httpx2.URL(url)
        assert read.scheme == "https" or read.host in HERE
        assert not read.userinfo


def test_some_are_taken_and_most_are_not() -> None:
    taken = [url for url in URLS if takes(url)]
    assert 0 < len(taken) < len(URLS) / 2
