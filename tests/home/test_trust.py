"""The list of trusted files: one content at one place, in a file of one's own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from astrid.errors import ConfigError
from astrid.home import Home, open_home
from astrid.home import trust as module
from astrid.home.trust import TrustList

PLACE = b"/w/AGENTS.md"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home", make=True)


def test_what_was_never_trusted_is_not(home: Home) -> None:
    assert not TrustList(home).holds(PLACE, b"text")
    assert not home.trusted.exists()


def test_one_content_at_one_place_is_trusted(home: Home) -> None:
    TrustList(home).add([(PLACE, b"text")])
    again = TrustList(home)
    assert again.holds(PLACE, b"text")
    assert not again.holds(PLACE, b"text ")
    assert not again.holds(b"/elsewhere/AGENTS.md", b"text")


def test_another_content_takes_the_place_of_the_first(home: Home) -> None:
    TrustList(home).add([(PLACE, b"old")])
    TrustList(home).add([(PLACE, b"new"), (b"/w/CLAUDE.md", b"c")])
    again = TrustList(home)
    assert (again.holds(PLACE, b"old"), again.holds(PLACE, b"new"), again.holds(b"/w/CLAUDE.md", b"c")) == (
        False,
        True,
        True,
    )


def test_what_is_taken_away_is_trusted_no_more_and_the_rest_is(home: Home) -> None:
    TrustList(home).add([(PLACE, b"a"), (b"/w/CLAUDE.md", b"c")])
    kept = TrustList(home)
    kept.remove([PLACE])
    assert (kept.names(PLACE), kept.names(b"/w/CLAUDE.md")) == (False, True)
    assert not TrustList(home).holds(PLACE, b"a")


def test_nobody_else_may_read_or_write_the_list(home: Home) -> None:
    TrustList(home).add([(PLACE, b"a")])
    assert stat.S_IMODE(os.stat(home.trusted).st_mode) == 0o600


@pytest.mark.parametrize("name", ['/w/"\n' + "a" * 64 + ' "/w/evil', "/w/\u2028x", "/w/\udcff", "/w/a b"])
def test_no_name_of_a_file_makes_an_entry_of_its_own(home: Home, name: str) -> None:
    TrustList(home).add([(os.fsencode(name), b"a")])
    assert len(home.trusted.read_text().splitlines()) == 1
    assert TrustList(home).holds(os.fsencode(name), b"a")


@pytest.mark.parametrize("text", [b"nonsense\n", b"a" * 64 + b"\n", b"a" * 64 + b" /w/x\n", b"\n", b"\xff\n"])
def test_a_damaged_list_is_refused(home: Home, text: bytes) -> None:
    home.trusted.write_bytes(text)
    home.trusted.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        TrustList(home)
    assert caught.value.code == "trust.damaged"


def test_a_list_that_others_could_have_written_is_refused(home: Home) -> None:
    TrustList(home).add([(PLACE, b"a")])
    home.trusted.chmod(0o660)
    with pytest.raises(ConfigError) as caught:
        TrustList(home)
    assert caught.value.code == "file.open-to-others"


def test_the_list_does_not_grow_without_end(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
    TrustList(home).add([(b"/1", b""), (b"/2", b"")])
    with pytest.raises(ConfigError) as caught:
        TrustList(home).add([(b"/3", b"")])
    assert caught.value.code == "trust.too-many"
    assert not TrustList(home).names(b"/3")
