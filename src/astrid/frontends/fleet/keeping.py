"""What of a fleet is on the disk, so that a run that died can go on: which tasks began, and how they ended.

    fleet.json      which tasks, and the tokens of the purse; written before anything runs
    started.jsonl   a line a task that began, before it is submitted
    results.jsonl   a line a task that ended
    text/ID.txt     the last thing that it said

Every line is synced before the next step is taken.  A last line without its end was being written when the run died,
and counts as not written.  The folder is for one run at a time.

Source: architecture 5 (durable before it has an effect), here for the frontend's own memory.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from astrid.errors import ConfigError
from astrid.frontends.fleet.engine import Result
from astrid.home.files import sync_folder, write_guarded

_T = TypeVar("_T")


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a folder belongs to."""

    tasks: str  # SHA-256 of the file
    max_micros: int | None
    mode: str
    fleets: dict[str, str]
    agent: str | None = None


class Began(msgspec.Struct, frozen=True):
    """A task that was begun."""

    id: str


class Keeping:
    """See the module.  ``ended`` are the last results so far, ``began`` the ids of all tasks that were ever begun."""

    def __init__(self, folder: Path) -> None:
        """Raises:
        ConfigError: the folder cannot be used, or another run is at it.
        """
        self._folder = folder
        try:
            (folder / "text").mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(folder, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise ConfigError(
                "fleet.running", "another run is at this fleet", where=str(folder), advice="wait for it, or stop it"
            ) from error
        self.began = {one.id for one in self._read("started.jsonl", Began)}
        results = self._read("results.jsonl", Result)
        self.ended = {one.id: one for one in results}
        self.spent_micros = sum(one.spent_micros for one in results)  # also by what was done again later

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._lock)

    def plan(self) -> Plan | None:
        """What the folder belongs to, if that was written.

        Raises:
            ConfigError: it is damaged.
        """
        path = self._folder / "fleet.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Plan)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(path, error) from error
        except msgspec.MsgspecError as error:
            raise _damaged(path) from error

    def keep_plan(self, plan: Plan) -> None:
        """Write what the folder belongs to."""
        write_guarded(self._folder / "fleet.json", msgspec.json.encode(plan), what="the fleet's plan")

    def begin(self, task_id: str) -> None:
        """A task is about to be submitted."""
        self._append("started.jsonl", Began(task_id))
        self.began.add(task_id)

    def end(self, result: Result) -> None:
        """A task ended."""
        write_guarded(
            self._folder / "text" / f"{result.id}.txt", result.text.encode(), what="a task's text", replace=True
        )
        self._append("results.jsonl", result)
        self.ended[result.id] = result
        self.spent_micros += result.spent_micros

    def _append(self, name: str, line: msgspec.Struct) -> None:
        path = self._folder / name
        try:
            new = not path.exists()
            with open(
                os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "ab"
            ) as file:
                file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if new:
                sync_folder(self._folder)
        except OSError as error:
            raise _unusable(path, error) from error

    def _read(self, name: str, shape: type[_T]) -> list[_T]:
        path = self._folder / name
        try:
            data = path.read_bytes() if path.exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                os.truncate(path, len(whole))
            return [msgspec.json.decode(line, type=shape) for line in whole.splitlines()]
        except OSError as error:
            raise _unusable(path, error) from error
        except msgspec.MsgspecError as error:
            raise _damaged(path) from error


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "fleet.folder",
        f"the fleet's folder cannot be used: {error.strerror}",
        where=str(path),
        advice="name another one with --out",
    )


def _damaged(path: Path) -> ConfigError:
    return ConfigError(
        "fleet.damaged", "the file is not one of a fleet's", where=str(path), advice="name another folder with --out"
    )
