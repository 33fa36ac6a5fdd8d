"""Room for last words, on a disk that is really full."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrid.adapters.store.ballast import Ballast
from astrid.adapters.store.journal import SqliteJournal, SqliteReader
from astrid.errors import JournalError
from astrid.ports import Batch
from tests.adapters.store.test_contract import SALT, write

KEPT = 256 * 1024


def fill(folder: Path, *, leaving: int = 0) -> Path:
    """Take every byte that is left, or all but so many."""
    path = folder / "filling"
    (folder / "spare").write_bytes(b"x" * leaving)
    with path.open("ab", buffering=0) as file:
        for size in (64 * 1024, 1024, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    (folder / "spare").unlink()
    return path


def big(first: int, size: int) -> Batch:
    return Batch(first=first, frames=(b"frame",), payloads=((first, 0, SALT, b"p" * size),))


async def test_on_a_full_disk_the_last_words_are_still_written(tiny_disk: Path) -> None:
    journal = SqliteJournal(tiny_disk / "audit.db", lambda note: None, ballast_bytes=KEPT)
    assert await write(journal, big(1, 10)) == [None]
    assert not journal.short_of_room
    filling = fill(tiny_disk)
    assert await write(journal, big(2, 50_000)) == [None]
    assert journal.short_of_room
    assert not (tiny_disk / "ballast").exists()
    filling.unlink()
    assert await write(journal, Batch(first=3, frames=())) == [None]
    assert not journal.short_of_room
    assert (tiny_disk / "ballast").stat().st_size == KEPT
    await journal.aclose()


async def test_when_the_kept_room_is_used_up_too_the_disk_is_full(tiny_disk: Path) -> None:
    journal = SqliteJournal(tiny_disk / "audit.db", lambda note: None, ballast_bytes=KEPT)
    await write(journal, big(1, 10))
    filling = fill(tiny_disk)
    [error] = await write(journal, big(2, 2 * KEPT))
    assert error is not None
    assert (error.code, error.fields["retry"]) == ("journal.full", True)
    filling.unlink()
    assert await write(journal, big(2, 2 * KEPT)) == [None]
    reader = SqliteReader(tiny_disk / "audit.db")
    assert reader.size() == 2
    reader.close()
    await journal.aclose()


async def test_a_disk_that_is_nearly_full_from_the_start_has_no_room_to_keep(tiny_disk: Path) -> None:
    fill(tiny_disk, leaving=KEPT)
    journal = SqliteJournal(tiny_disk / "audit.db", lambda note: None, ballast_bytes=KEPT)
    assert journal.short_of_room
    assert await write(journal, big(1, 10)) == [None]
    assert journal.short_of_room
    await journal.aclose()


@pytest.mark.parametrize("there", [True, False])
async def test_a_disk_that_is_full_from_the_start_is_said_to_be(tiny_disk: Path, there: bool) -> None:
    if there:
        await SqliteJournal(tiny_disk / "audit.db", lambda note: None, ballast_bytes=KEPT).aclose()
    fill(tiny_disk)
    with pytest.raises(JournalError) as caught:
        SqliteJournal(tiny_disk / "audit.db", lambda note: None, ballast_bytes=KEPT)
    assert caught.value.code == "journal.full"


def test_room_is_kept_once_and_given_up_once(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", 1000)
    assert not ballast.give_up()
    assert ballast.keep()
    assert (tmp_path / "ballast").stat().st_size == 1000
    assert Ballast(tmp_path / "ballast", 1000).keep()  # after a restart
    assert ballast.give_up()
    assert not ballast.give_up()
    assert not (tmp_path / "ballast").exists()
    assert ballast.keep()


def test_room_that_was_half_made_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / "ballast").write_bytes(b"x" * 10)
    assert Ballast(tmp_path / "ballast", 1000).keep()
    assert (tmp_path / "ballast").stat().st_size == 1000


def test_the_last_bytes_of_a_disk_are_not_kept(tmp_path: Path) -> None:
    assert not Ballast(tmp_path / "ballast", 2**60).keep()
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_its_place_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "ballast").symlink_to("target")
    assert not Ballast(tmp_path / "ballast", 1000).keep()
    assert (tmp_path / "target").read_bytes() == b"precious"


@pytest.mark.parametrize("size", [0, 1])
def test_random_bytes_are_what_is_kept(tmp_path: Path, size: int) -> None:
    Ballast(tmp_path / "ballast", 4096 + size).keep()
    assert len(set((tmp_path / "ballast").read_bytes())) > 200
