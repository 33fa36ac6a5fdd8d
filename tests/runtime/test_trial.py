"""Whether a daemon would start on a log, told without starting one: as a daemon does, and no more strictly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio

from astrid.adapters.store import tamper
from astrid.errors import AstridError
from astrid.home import Home
from astrid.runtime.boot import load_install, log_keys
from astrid.runtime.log import read_past
from astrid.runtime.trial import try_start
from astrid.runtime.verify import Result, Trust, verify_home
from tests.fakes.clock import START_NS
from tests.fakes.home import make_home
from tests.fakes.losing import LOSSES, live_twice


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lived")
    trio.run(live_twice, folder)
    return folder


@pytest.fixture
def home(lived: Path, tmp_path: Path) -> Home:
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    return Home(tmp_path / "home")


def test_on_a_sound_log_a_daemon_starts(home: Home) -> None:
    found = try_start(home.root)
    assert (found.result, found.records, found.signed, found.last_ns) == (
        Result.SOUND,
        verify_home(home.root, Trust(), is_own=True).records,
        found.records,
        START_NS,
    )


def test_where_nothing_was_recorded_nothing_is_missed(tmp_path: Path) -> None:
    made, _ = make_home(tmp_path / "home")
    assert (try_start(made.root).result, try_start(made.root).records) == (Result.SOUND, 0)
    assert not made.log.exists()


@pytest.mark.parametrize("loss", LOSSES)
def test_what_a_daemon_refuses_is_refused_in_its_words_with_the_way_on(home: Home, loss: str) -> None:
    LOSSES[loss](home)
    with pytest.raises(AstridError) as caught:
        read_past(home, log_keys(load_install(home)))
    found = try_start(home.root)
    assert (found.result, found.code, found.says, found.advice) == (
        Result.TAMPERED,
        caught.value.code,
        caught.value.message,
        caught.value.advice,
    )
    assert "`astrid audit accept-loss`" in found.advice


def test_the_records_that_follow_one_another_are_counted_up_to_the_first_that_does_not(home: Home) -> None:
    tamper.swap(home.log, 6, 7)
    found = try_start(home.root)
    assert (found.result, found.records, found.last_ns) == (Result.TAMPERED, 5, START_NS)


@pytest.mark.parametrize("spoil", ["install", "witness"])
def test_what_cannot_be_read_is_no_loss(home: Home, spoil: str) -> None:
    getattr(home, spoil).chmod(0o644)
    found = try_start(home.root)
    assert (found.result, found.code) == (Result.UNKNOWN, "file.open-to-others")
    assert "accept-loss" not in found.advice


def test_what_a_daemon_does_not_look_at_is_not_held_against_the_log(home: Home) -> None:
    connection = tamper._open(home.log)
    connection.execute("UPDATE payload SET sealed = CAST(sealed || x'00' AS BLOB)")
    connection.close()
    assert verify_home(home.root, Trust(), is_own=True).result is Result.TAMPERED
    assert try_start(home.root).result is Result.SOUND
