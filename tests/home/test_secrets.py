"""Secrets: kept in files of the user's own, found by their names, and known to whatever takes them out of a text."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from astrid.core.redact import LEAST_BYTES, MOST_BYTES
from astrid.errors import AstridError
from astrid.home import Home, Secrets, secrets

VALUE = b"correct horse battery"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def refused(act: object, *args: object) -> str:
    with pytest.raises(AstridError) as caught:
        act(*args)  # type: ignore[operator]
    assert caught.value.advice
    assert VALUE.decode() not in caught.value.render()
    return caught.value.code


def test_a_value_is_kept_under_its_name_for_nobody_else(home: Home) -> None:
    kept = Secrets(home)
    before = os.umask(0)
    try:
        assert not kept.set("github-token", VALUE)
    finally:
        os.umask(before)
    assert (kept.names(), kept.value("github-token")) == (["github-token"], VALUE)
    assert stat.S_IMODE(home.secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE((home.secrets / "github-token").stat().st_mode) == 0o600


def test_a_value_is_replaced_and_forgotten(home: Home) -> None:
    kept = Secrets(home)
    kept.set("a", VALUE)
    assert kept.set("a", VALUE[::-1])
    assert kept.value("a") == VALUE[::-1]
    kept.remove("a")
    assert (kept.names(), refused(kept.value, "a"), refused(kept.remove, "a")) == (
        [],
        "file.missing",
        "secrets.unknown",
    )


def test_without_a_folder_there_are_none(home: Home) -> None:
    assert (Secrets(home).names(), Secrets(home).redactor().redact(VALUE)) == ([], VALUE)
    assert refused(Secrets(home).remove, "a") == "secrets.unknown"


@pytest.mark.parametrize("name", ["", "A", "1a", "-a", "a/b", "../keys/user", ".a", "a.b", "a\n", "a" * 64, "é"])
def test_a_name_leads_nowhere_else(home: Home, name: str) -> None:
    kept = Secrets(home)
    assert refused(kept.set, name, VALUE) == refused(kept.value, name) == refused(kept.remove, name) == "secrets.name"
    assert not home.secrets.exists()


@pytest.mark.parametrize(
    ("length", "fits"), [(0, 0), (LEAST_BYTES - 1, 0), (LEAST_BYTES, 1), (MOST_BYTES, 1), (MOST_BYTES + 1, 0)]
)
def test_a_value_has_a_length_that_can_be_looked_for(home: Home, length: int, fits: int) -> None:
    if fits:
        Secrets(home).set("a", b"x" * length)
        assert len(Secrets(home).value("a")) == length
    else:
        assert refused(Secrets(home).set, "a", b"x" * length) == "secrets.length"


def test_there_are_only_so_many(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "MAX_SECRETS", 1)
    kept = Secrets(home)
    kept.set("a", VALUE)
    kept.set("a", VALUE)
    assert refused(kept.set, "b", VALUE) == "secrets.many"


def test_a_folder_that_is_none_is_said_to_be(home: Home) -> None:
    home.secrets.write_bytes(b"")
    assert refused(Secrets(home).names) == "secrets.unusable"
    assert refused(Secrets(home).redactor) == "secrets.unusable"
    assert refused(Secrets(home).set, "a", VALUE) == "secrets.unusable"
    assert refused(Secrets(home).remove, "a") == "secrets.unusable"


@pytest.mark.parametrize("spoil", ["mode", "link", "name"])
def test_a_value_that_others_may_know_is_not_used(home: Home, spoil: str) -> None:
    kept = Secrets(home)
    kept.set("a", VALUE)
    path = home.secrets / "a"
    match spoil:
        case "mode":
            path.chmod(0o644)
        case "link":
            path.rename(home.root / "moved")
            path.symlink_to(home.root / "moved")
        case _:
            os.link(path, home.root / "second")
    code = {"mode": "file.open-to-others", "link": "file.unreadable", "name": "file.linked"}[spoil]
    assert refused(kept.value, "a") == refused(kept.redactor) == code


def test_the_redactor_knows_what_was_set_and_removed_since(home: Home) -> None:
    mine, other = Secrets(home), Secrets(home)
    assert mine.redactor().redact(VALUE) == VALUE
    other.set("a", VALUE)
    assert mine.redactor().redact(VALUE) == b"[secret a]"
    assert mine.redactor() is mine.redactor()
    other.remove("a")
    assert mine.redactor().redact(VALUE) == VALUE


def test_what_a_killed_writer_left_is_no_secret_and_goes_with_the_next(home: Home) -> None:
    kept = Secrets(home)
    kept.set("a", VALUE)
    draft = home.secrets / ".a.0123456789abcdef"
    draft.write_bytes(VALUE)
    assert kept.names() == ["a"]
    kept.set("a", VALUE)
    assert not draft.exists()
