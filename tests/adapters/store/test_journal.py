"""What only the database can get wrong: its thread, and what is read from a file that somebody else has written."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from astrid.adapters.store.database import open_writer
from astrid.adapters.store.journal import SqliteJournal, SqliteReader, commit
from astrid.core.tiles import Tile
from astrid.errors import JournalError
from astrid.ports import Batch
from tests.adapters.store.test_contract import SALT, write


def writers() -> int:
    return sum(thread.name == "astrid-journal" for thread in threading.enumerate())


async def test_closing_leaves_no_thread_and_no_other_file(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "audit.db", lambda note: None)
    await write(journal, Batch(first=1, frames=(b"one",)))
    assert writers() == 1
    await journal.aclose()
    assert writers() == 0
    assert sorted(os.listdir(tmp_path)) == ["audit.db", "ballast"]


async def test_nobody_is_told_of_a_batch_before_it_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    tell = SqliteJournal._tell

    def committed(connection: apsw.Connection, batch: Batch) -> None:
        commit(connection, batch)
        order.append("committed")

    def told(*arguments: Any) -> None:
        order.append("told")
        tell(*arguments)

    monkeypatch.setattr("astrid.adapters.store.journal.commit", committed)
    monkeypatch.setattr(SqliteJournal, "_tell", told)
    journal = SqliteJournal(tmp_path / "audit.db", lambda note: None)
    await write(journal, *(Batch(first=number, frames=(b"one",)) for number in (1, 2, 3)))
    await journal.aclose()
    assert order == ["committed", "told"] * 3


async def test_a_bug_in_the_writer_is_told_to_everybody_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: broken.append(args.exc_type))
    journal = SqliteJournal(tmp_path / "audit.db", lambda note: None)
    impossible = Batch(first=1, frames=(b"one",), payloads=((-1, 0, SALT, b"x"),))
    told = await write(journal, impossible, Batch(first=1, frames=(b"one",)))
    assert [error and (error.code, error.effect, error.fields["retry"]) for error in told] == [
        ("journal.ended", "maybe", False),
        ("journal.ended", "none", False),
    ]
    assert [error and error.code for error in await write(journal, Batch(first=1, frames=()))] == ["journal.ended"]
    await journal.aclose()
    assert broken == [OverflowError]
    assert writers() == 0


def test_a_batch_of_any_size_is_one_transaction_with_one_statement_for_each_table(tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "audit.db")
    said: list[str] = []

    def listen(_cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
        said.append(statement)
        return True

    connection.exec_trace = listen
    seqs = range(1, 301)
    batch = Batch(
        first=1,
        frames=tuple(b"%d" % seq for seq in seqs),
        payloads=tuple((seq, slot, SALT, b"x") for seq in seqs for slot in (0, 1)),
        rows=tuple((bytes(16), seq, b"row") for seq in seqs),
        tiles=(Tile(0, 0, bytes(32 * 256)), Tile(1, 0, bytes(32))),
        checkpoint=(300, b"note"),
    )
    commit(connection, batch)
    assert [statement.split(" SELECT ")[0].split(" VALUES")[0] for statement in said] == [
        "BEGIN IMMEDIATE",
        *(f"INSERT INTO {table}" for table in ("log", "payload", "journal", "tile", "checkpoint")),
        "COMMIT",
    ]
    counted = [connection.execute(f"SELECT count(*) FROM {table}").get for table in ("log", "payload", "journal")]  # noqa: S608
    assert counted == [300, 600, 300]


async def test_a_start_that_fails_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "audit.db").write_text("text")
    with pytest.raises(JournalError):
        SqliteJournal(tmp_path / "audit.db", lambda note: None)
    assert writers() == 0


def test_what_ends_after_the_event_loop_is_told_to_nobody_and_still_written(tmp_path: Path) -> None:
    journals: list[SqliteJournal] = []

    async def begin() -> None:
        journals.append(SqliteJournal(tmp_path / "audit.db", lambda note: None))

    trio.run(begin)
    journals[0].submit(Batch(first=1, frames=(b"one",)), lambda error: pytest.fail("nobody is there"))
    trio.run(journals[0].aclose)
    reader = SqliteReader(tmp_path / "audit.db")
    assert reader.size() == 1
    reader.close()


async def test_numbers_and_bytes_of_another_type_are_damage(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "audit.db", lambda note: None)
    await write(journal, Batch(first=1, frames=(b"one",), checkpoint=(1, b"note")))
    await journal.aclose()
    connection = apsw.Connection(str(tmp_path / "audit.db"))
    connection.execute("DROP TABLE log; DROP TABLE checkpoint")
    connection.execute("CREATE TABLE log(seq, frame); INSERT INTO log VALUES('two', 'text')")
    connection.execute("CREATE TABLE checkpoint(size, note); INSERT INTO checkpoint VALUES('two', x'00')")
    connection.close()
    reader = SqliteReader(tmp_path / "audit.db")
    for read in (reader.size, lambda: reader.frames(0, 1), reader.checkpoints):
        with pytest.raises(JournalError) as caught:
            read()
        assert (caught.value.code, caught.value.fields["retry"]) == ("journal.corrupt", False)
    reader.close()
