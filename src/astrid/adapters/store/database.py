"""The database file: how it is made and opened, what it holds, how it grows new tables.

A file that is there is whole: it is made beside its place, with all its tables, and moved there.

The append-only triggers and the authorizer are guards against bugs of ours; whoever owns the file can always change
it, and only the chain, the tree and checkpoints kept elsewhere show that (threat 35).

Source: SQLite documentation (WAL, PRAGMA synchronous, SQLITE_DBCONFIG_DEFENSIVE); protocol N9; threats 24, 35.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from astrid.errors import JournalError
from astrid.home.files import sync_folder

APPLICATION_ID = 0x41737472  # "Astr"
BUSY_MS = 5000
_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite adds to the name of a database
_MIB = 1024 * 1024

# Keys of several fields are single blobs, so that a whole batch is one statement over one array.
MIGRATIONS = (
    """
    CREATE TABLE log(seq INTEGER PRIMARY KEY, frame BLOB NOT NULL) STRICT;
    CREATE TABLE payload(key BLOB PRIMARY KEY, sealed BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE journal(key BLOB PRIMARY KEY, row BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE tile(key BLOB PRIMARY KEY, hashes BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
    CREATE TRIGGER log_no_update BEFORE UPDATE ON log BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
    CREATE TRIGGER log_no_delete BEFORE DELETE ON log BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
    CREATE TRIGGER log_gapless BEFORE INSERT ON log
        WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM log)
        BEGIN SELECT raise(ABORT, 'the log has no gaps'); END;
    """,
)
_ALLOWED_WHEN_RUNNING = frozenset(
    {
        apsw.SQLITE_FUNCTION,
        apsw.SQLITE_INSERT,
        apsw.SQLITE_READ,
        apsw.SQLITE_SELECT,
        apsw.SQLITE_TRANSACTION,
    }
)


def open_writer(path: Path) -> apsw.Connection:
    """The one connection that writes; makes the database if there is none.

    Raises:
        JournalError: not ours, newer than this program, damaged, or not to be opened.
    """
    with translated(path, "open"):
        place = _place(path)
        if not os.path.lexists(place):
            _make(place)
        with _connected(place, apsw.SQLITE_OPEN_READWRITE) as connection:
            if connection.readonly("main"):  # where writing is not allowed, SQLite opens for reading
                raise JournalError(
                    "journal.read-only",
                    "the log may not be written",
                    effect="none",
                    where=str(path),
                    advice="check the file's owner and mode",
                    retry=False,
                )
            if connection.pragma("journal_mode", "wal") != "wal":
                raise JournalError(
                    "journal.no-wal",
                    "the database cannot use a write-ahead log",
                    effect="none",
                    where=str(path),
                    advice="use a local disk",
                    retry=False,
                )
            connection.pragma("synchronous", "FULL")
            connection.pragma("secure_delete", 1)  # what is erased is overwritten
            connection.pragma("journal_size_limit", 64 * _MIB)
            if _version(connection, path) < len(MIGRATIONS):
                _migrate(connection)
            connection.authorizer = _authorize
            return connection


def open_reader(path: Path) -> apsw.Connection:
    """A connection that can only read.

    Raises:
        JournalError: as ``open_writer``.
    """
    with translated(path, "open"), _connected(_place(path), apsw.SQLITE_OPEN_READONLY) as connection:
        _version(connection, path)
        return connection


def _place(path: Path) -> Path:
    # SQLite is told to follow no link at all, and folders above the home may well be links.
    return Path(os.path.realpath(path.parent), path.name)


def _make(place: Path) -> None:
    beside = place.with_name(f"{place.name}.new")
    for end in ("", *_BESIDE):
        beside.with_name(beside.name + end).unlink(missing_ok=True)  # an earlier start died here
    # Made with an explicit mode before SQLite sees it: SQLite follows the umask.
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    with _connected(beside, apsw.SQLITE_OPEN_READWRITE) as connection:
        connection.pragma("journal_mode", "memory")  # nobody needs what is half made
        _migrate(connection)
        # SAFETY: before it is in its place.  Killed while it makes this change, SQLite leaves a journal that has to be
        # rolled back, and the next start, which first of all only reads, may not do that: it would never start again.
        connection.pragma("journal_mode", "wal")
        connection.close()
    os.rename(beside, place)
    sync_folder(place.parent)


@contextmanager
def _connected(place: Path, access: int) -> Iterator[apsw.Connection]:
    """A connection that is closed again only if the body fails."""
    # SAFETY: SQLite opens what lies beside the log as well, and would wait for the other end of a fifo for ever.
    beside = [place.with_name(place.name + end) for end in _BESIDE]
    if not stat.S_ISREG(os.lstat(place).st_mode) or not all(map(_is_plain_or_gone, beside)):
        raise JournalError(
            "journal.not-plain",
            "the log is a link, or no plain file",
            effect="none",
            where=str(place),
            advice="move it away; nothing was changed",
            retry=False,
        )
    flags = access | apsw.SQLITE_OPEN_EXRESCODE | apsw.SQLITE_OPEN_NOFOLLOW
    connection = apsw.Connection(str(place), flags=flags)
    try:
        _configure(connection)
        yield connection
    except BaseException:
        connection.close()
        raise


def _is_plain_or_gone(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:  # whoever closes the log last removes these, at any moment
        return True


def _configure(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("recursive_triggers", 1)  # without it INSERT OR REPLACE deletes past the triggers
    connection.pragma("trusted_schema", 0)
    connection.pragma("cell_size_check", 1)
    connection.pragma("temp_store", 2)  # nothing of the log in temporary files
    for option in (apsw.SQLITE_DBCONFIG_DQS_DML, apsw.SQLITE_DBCONFIG_DQS_DDL, apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA):
        connection.config(option, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)


def _version(connection: apsw.Connection, path: Path) -> int:
    version = connection.pragma("user_version")
    if connection.pragma("application_id") != APPLICATION_ID or version < 1:
        raise JournalError(
            "journal.foreign",
            "the file is not a log of Astrid",
            effect="none",
            where=str(path),
            advice="move it away; nothing was changed",
            retry=False,
        )
    if version > len(MIGRATIONS):
        raise JournalError(
            "journal.newer",
            "the log was written by a newer Astrid",
            effect="none",
            where=str(path),
            advice="install that version or later",
            retry=False,
        )
    return version


def _migrate(connection: apsw.Connection) -> None:
    """Add what is missing: all of it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Looked at again, now that nobody else can write: another one may have been faster.
        version = connection.pragma("user_version")
        for script in MIGRATIONS[version:]:
            connection.execute(script)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", max(version, len(MIGRATIONS)))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _authorize(operation: int, table: str | None, _two: str | None, _database: str | None, _trigger: str | None) -> int:
    # What lies beside the log may be erased; nothing else is ever taken away or changed.
    erases = operation == apsw.SQLITE_DELETE and table in ("payload", "journal")
    return apsw.SQLITE_OK if erases or operation in _ALLOWED_WHEN_RUNNING else apsw.SQLITE_DENY


@contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """SQLite's and the system's errors as ``JournalError``: which file, what could not be done, whether trying
    again can help.
    """
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise _translation(error, path, doing) from error


def _translation(error: apsw.Error | OSError, path: Path, doing: str) -> JournalError:
    if _is_full(error):
        return JournalError(
            "journal.full",
            f"cannot {doing} the log: the disk is full",
            effect="none",
            where=str(path),
            advice="free some space",
            retry=True,
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return JournalError(
            "journal.locked",
            f"cannot {doing} the log: another process holds it",
            effect="none",
            where=str(path),
            advice="stop the other process",
            retry=True,
        )
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.FormatError):
        return JournalError(
            "journal.corrupt",
            f"the log is damaged: {error}",
            effect="none",
            where=str(path),
            advice="keep the file, and restore a copy of it",
            retry=False,
        )
    # SAFETY: no second try after an error of the disk itself.  What a failed sync left behind only a fresh look can
    # tell, and whoever gives up now reads the log anew from its first record.
    return JournalError(
        "journal.failed",
        f"cannot {doing} the log: {error}",
        effect="maybe" if doing == "write" else "none",
        where=str(path),
        advice="check that the folder exists and may be written",
        retry=False,
    )


def _is_full(error: apsw.Error | OSError) -> bool:
    match error:
        case apsw.FullError():
            return True
        case apsw.IOError():  # the index of the write-ahead log has no room of its own
            return getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
        case OSError():
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        case _:
            return False
