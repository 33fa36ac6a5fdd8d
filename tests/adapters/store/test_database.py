"""The database file: what is opened, what is refused, and what our own mistakes cannot do to it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from astrid.adapters.store import database
from astrid.adapters.store.database import MIGRATIONS, open_reader, open_writer, translated
from astrid.adapters.store.journal import commit
from astrid.errors import JournalError
from astrid.ports import Batch


def made(path: Path, records: int = 3) -> Path:
    connection = open_writer(path)
    commit(connection, Batch(first=1, frames=tuple(b"%d" % number for number in range(1, records + 1))))
    connection.close()
    return path


def refusal(open_it: Callable[[Path], apsw.Connection], path: Path) -> str:
    with pytest.raises(JournalError) as caught:
        open_it(path).execute("SELECT count(*), sum(length(frame)) FROM log").get  # noqa: B018
    assert caught.value.effect == "none"
    assert not caught.value.fields["retry"]
    return caught.value.code


both = pytest.mark.parametrize("open_it", [open_writer, open_reader])


def read_all(path: Path) -> str:
    """What reading a damaged file says."""
    with pytest.raises(JournalError) as caught:
        _read_all(path)
    return caught.value.code


def _read_all(path: Path) -> None:
    with translated(path, "read"):
        open_reader(path).execute("SELECT sum(length(frame)) FROM log").fetchall()


# ---- what is opened


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_whatever_the_umask_nobody_else_may_read_it(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        connection = open_writer(tmp_path / "audit.db")
        commit(connection, Batch(first=1, frames=(b"one",)))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        connection.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("audit.db", "audit.db-wal", "audit.db-shm"), 384)


def test_a_home_behind_a_link_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    made(tmp_path / "link" / "audit.db")
    assert open_reader(tmp_path / "real" / "audit.db").execute("SELECT count(*) FROM log").get == 3


def test_a_start_that_died_while_the_database_was_made_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "audit.db.new").write_bytes(b"half of it")
    made(tmp_path / "audit.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.db"]


def test_a_database_comes_to_its_place_as_it_will_stay_and_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite changes that by a journal that only a writer can roll back, and a start reads before it writes."""
    seen: list[tuple[bytes, list[str]]] = []

    def rename(old: Path, new: Path) -> None:
        seen.append((old.read_bytes()[18:20], sorted(path.name for path in tmp_path.iterdir())))
        move(old, new)

    move = os.rename
    monkeypatch.setattr(os, "rename", rename)
    path = tmp_path / "audit.db"
    open_writer(path).close()
    assert seen == [(b"\2\2", ["audit.db.new"])]  # 2 and 2 stand for a write-ahead log
    assert path.read_bytes()[18:20] == b"\2\2"


@pytest.mark.parametrize("beside", ["", "-journal", "-wal", "-shm"])
def test_whatever_a_start_left_that_died_is_in_nobodys_way(tmp_path: Path, beside: str) -> None:
    (tmp_path / f"audit.db.new{beside}").write_bytes(b"half made")
    open_writer(tmp_path / "audit.db").close()
    assert [path.name for path in tmp_path.iterdir()] == ["audit.db"]


def test_a_database_that_is_there_has_all_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    open_writer(path).close()
    names = {row[0] for row in open_reader(path).execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert names == {"log", "payload", "journal", "tile", "checkpoint"}


def test_a_commit_is_synced(tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "audit.db")
    connection.authorizer = None
    assert (connection.pragma("synchronous"), connection.pragma("journal_mode")) == (2, "wal")


def test_an_older_log_is_brought_up_to_date_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / "audit.db")
    broken = (*MIGRATIONS, "CREATE TABLE more(x) STRICT; SELECT nonsense;")
    monkeypatch.setattr(database, "MIGRATIONS", broken)
    assert refusal(open_writer, path) == "journal.failed"
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE more(x ANY) STRICT"))
    connection = open_writer(path)
    assert connection.execute("SELECT count(*) FROM more").get == 0
    assert connection.execute("SELECT count(*) FROM log").get == 3


def test_a_log_that_another_one_has_just_brought_up_to_date_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / "audit.db")
    monkeypatch.setattr(database, "_version", lambda *_: 0)  # as it was when we looked
    connection = open_writer(path)
    connection.authorizer = None
    assert connection.pragma("user_version") == len(MIGRATIONS)
    assert connection.execute("SELECT count(*) FROM log").get == 3


# ---- what is refused


@both
def test_a_link_is_not_followed(tmp_path: Path, open_it: Callable[[Path], apsw.Connection]) -> None:
    made(tmp_path / "other.db")
    (tmp_path / "audit.db").symlink_to("other.db")
    assert refusal(open_it, tmp_path / "audit.db") == "journal.not-plain"


@both
@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_what_lies_beside_the_log_and_is_no_plain_file_is_not_waited_for(
    tmp_path: Path, open_it: Callable[[Path], apsw.Connection], end: str
) -> None:
    made(tmp_path / "audit.db")
    (tmp_path / f"audit.db{end}").unlink(missing_ok=True)
    os.mkfifo(tmp_path / f"audit.db{end}")
    assert refusal(open_it, tmp_path / "audit.db") == "journal.not-plain"


@both
def test_a_link_to_nowhere_is_not_followed(tmp_path: Path, open_it: Callable[[Path], apsw.Connection]) -> None:
    (tmp_path / "audit.db").symlink_to("nowhere")
    assert refusal(open_it, tmp_path / "audit.db") == "journal.not-plain"
    assert not (tmp_path / "nowhere").exists()


@both
def test_a_pipe_is_not_waited_for(tmp_path: Path, open_it: Callable[[Path], apsw.Connection]) -> None:
    os.mkfifo(tmp_path / "audit.db")
    assert refusal(open_it, tmp_path / "audit.db") == "journal.not-plain"


@both
def test_a_folder_is_no_database(tmp_path: Path, open_it: Callable[[Path], apsw.Connection]) -> None:
    (tmp_path / "audit.db").mkdir()
    assert refusal(open_it, tmp_path / "audit.db") == "journal.not-plain"


@both
def test_a_missing_folder_is_said(tmp_path: Path, open_it: Callable[[Path], apsw.Connection]) -> None:
    assert refusal(open_it, tmp_path / "nowhere" / "audit.db") == "journal.failed"


def test_reading_makes_no_database(tmp_path: Path) -> None:
    assert refusal(open_reader, tmp_path / "audit.db") == "journal.failed"
    assert list(tmp_path.iterdir()) == []


def foreign(path: Path, *statements: str) -> Path:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path


@both
@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE notes(x)",),
        (
            "PRAGMA application_id = 7",
            "CREATE TABLE log(seq INTEGER PRIMARY KEY, frame BLOB)",
            "PRAGMA user_version = 1",
        ),
        ("CREATE TABLE log(seq INTEGER PRIMARY KEY, frame BLOB)", "PRAGMA user_version = 1"),
        ("PRAGMA application_id = 0x41737472", "CREATE TABLE log(seq INTEGER PRIMARY KEY, frame BLOB)"),
    ],
)
def test_another_programs_database_is_refused_and_not_touched(
    tmp_path: Path, open_it: Callable[[Path], apsw.Connection], statements: tuple[str, ...]
) -> None:
    path = foreign(tmp_path / "audit.db", *statements)
    tables = apsw.Connection(str(path)).execute("SELECT count(*) FROM sqlite_schema").get
    assert refusal(open_it, path) == "journal.foreign"
    assert apsw.Connection(str(path)).execute("SELECT count(*) FROM sqlite_schema").get == tables


@both
def test_an_empty_file_is_no_log(tmp_path: Path, open_it: Callable[[Path], apsw.Connection]) -> None:
    (tmp_path / "audit.db").touch()
    assert refusal(open_it, tmp_path / "audit.db") == "journal.foreign"


@both
def test_text_is_no_database(tmp_path: Path, open_it: Callable[[Path], apsw.Connection]) -> None:
    (tmp_path / "audit.db").write_bytes(b"not a database at all " * 100)
    assert refusal(open_it, tmp_path / "audit.db") == "journal.corrupt"


@both
def test_a_log_of_a_newer_version_is_refused(tmp_path: Path, open_it: Callable[[Path], apsw.Connection]) -> None:
    path = made(tmp_path / "audit.db")
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", len(MIGRATIONS) + 1)
    connection.close()
    assert refusal(open_it, path) == "journal.newer"


def test_a_truncated_file_is_damaged(tmp_path: Path) -> None:
    path = made(tmp_path / "audit.db", records=2000)
    os.truncate(path, path.stat().st_size // 2)
    assert read_all(path) == "journal.corrupt"


def test_a_page_of_nonsense_is_damage(tmp_path: Path) -> None:
    path = made(tmp_path / "audit.db", records=2000)
    data = bytearray(path.read_bytes())
    root = apsw.Connection(str(path)).execute("SELECT rootpage FROM sqlite_schema WHERE name = 'log'").get
    size = apsw.Connection(str(path)).pragma("page_size")
    data[(root - 1) * size : root * size] = b"\xff" * size
    path.write_bytes(data)
    assert read_all(path) == "journal.corrupt"


def test_a_log_that_another_process_holds_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 1)
    path = made(tmp_path / "audit.db")
    connection, other = open_writer(path), apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError) as caught, translated(path, "write"):
        commit(connection, Batch(first=4, frames=(b"four",)))
    other.execute("ROLLBACK")
    assert (caught.value.code, caught.value.effect, caught.value.fields["retry"]) == ("journal.locked", "none", True)
    commit(connection, Batch(first=4, frames=(b"four",)))


def test_an_error_of_the_disk_is_not_tried_again_and_may_have_been_written(tmp_path: Path) -> None:
    with pytest.raises(JournalError) as caught, translated(tmp_path, "write"):
        raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
    assert (caught.value.code, caught.value.effect, caught.value.fields["retry"]) == ("journal.failed", "maybe", False)


def test_a_file_that_may_not_be_written_is_not_opened_for_writing(plain_folder: Path) -> None:
    path = made(plain_folder / "audit.db")
    path.chmod(0o400)
    assert refusal(open_writer, path) == "journal.read-only"


def test_a_folder_that_may_not_be_written_holds_no_log(plain_folder: Path) -> None:
    path = made(plain_folder / "audit.db")
    plain_folder.chmod(0o500)
    assert refusal(open_writer, path) == "journal.failed"
    assert refusal(open_writer, plain_folder / "new.db") == "journal.failed"


# ---- guards against ourselves


@both
def test_every_guard_that_sqlite_offers_is_up(tmp_path: Path, open_it: Callable[[Path], apsw.Connection]) -> None:
    connection = open_it(made(tmp_path / "audit.db"))
    connection.authorizer = None
    pragmas = ("recursive_triggers", "trusted_schema", "cell_size_check", "mmap_size", "temp_store")
    assert [connection.pragma(name) for name in pragmas] == [1, 0, 1, 0, 2]
    options = (
        apsw.SQLITE_DBCONFIG_DEFENSIVE,
        apsw.SQLITE_DBCONFIG_DQS_DML,
        apsw.SQLITE_DBCONFIG_DQS_DDL,
        apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA,
    )
    assert [connection.config(option, -1) for option in options] == [1, 0, 0, 0]
    tables = connection.execute("SELECT name FROM pragma_table_list WHERE strict = 0 AND name NOT LIKE 'sqlite_%'")
    assert tables.fetchall() == []


def test_the_write_ahead_log_does_not_stay_as_large_as_it_once_was(tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "audit.db")
    connection.authorizer = None
    assert 0 < connection.pragma("journal_size_limit") <= 64 * 1024 * 1024


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log SET frame = x'00' WHERE seq = 1",
        "DELETE FROM log WHERE seq = 3",
        "DELETE FROM log",
        "INSERT OR REPLACE INTO log VALUES(1, x'00')",
        "REPLACE INTO log VALUES(3, x'00')",
        "INSERT INTO log VALUES(5, x'00')",
        "INSERT INTO log VALUES(0, x'00')",
        "INSERT INTO log VALUES(-1, x'00')",
        "INSERT INTO log VALUES(4, 'text')",
        "INSERT INTO log VALUES(4, NULL)",
    ],
)
@pytest.mark.parametrize("guarded", [True, False], ids=["authorizer", "triggers alone"])
def test_a_record_is_only_ever_added_at_the_end(tmp_path: Path, statement: str, guarded: bool) -> None:
    connection = open_writer(made(tmp_path / "audit.db"))
    if not guarded:
        connection.authorizer = None
    with pytest.raises(apsw.Error):
        connection.execute(statement)
    assert connection.execute("SELECT group_concat(frame, ' ') FROM log").get == "1 2 3"


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER log_no_delete",
        "DROP TABLE log",
        "ALTER TABLE log RENAME TO other",
        "CREATE TABLE other(x)",
        "CREATE TEMP TRIGGER t BEFORE INSERT ON log BEGIN SELECT 1; END",
        "PRAGMA recursive_triggers = 0",
        "PRAGMA writable_schema = 1",
        "ATTACH ':memory:' AS other",
        "DELETE FROM checkpoint",
        "DELETE FROM tile",
        "UPDATE payload SET sealed = x''",
        "REINDEX",
        "ANALYZE",
    ],
)
def test_the_writer_can_neither_take_away_nor_change_anything(tmp_path: Path, statement: str) -> None:
    connection = open_writer(made(tmp_path / "audit.db"))
    with pytest.raises(apsw.AuthError):
        connection.execute(statement)


def test_what_lies_beside_the_log_can_be_erased(tmp_path: Path) -> None:
    connection = open_writer(made(tmp_path / "audit.db"))
    commit(connection, Batch(first=4, frames=(b"4",), payloads=((4, 0, b"s" * 32, b"secret"),)))
    connection.execute("DELETE FROM payload")
    connection.execute("DELETE FROM journal")
    assert connection.execute("SELECT count(*) FROM payload").get == 0
    assert connection.execute("SELECT count(*) FROM log").get == 4


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    connection = open_reader(made(tmp_path / "audit.db"))
    with pytest.raises(apsw.ReadOnlyError):
        connection.execute("INSERT INTO log VALUES(4, x'00')")
