"""Walking a tree of folders, and listing one.

Never: follows a link, enters or names what policy hides, or goes on without end.

A folder is opened by its path below the root each time, so what is moved away meanwhile is simply not found.

Source: the first Astrid (list_directory) and huge folders; threat 40.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from astrid.adapters.workspace.handles import Parts, Root
from astrid.adapters.workspace.paths import Locator, Target
from astrid.adapters.workspace.reading import Telling
from astrid.adapters.workspace.text import fit, visible_name
from astrid.errors import WorkspaceError

MAX_FOLDER_ENTRIES = 10_000
MAX_WALKED_ENTRIES = 100_000
_READ_FOLDER = os.O_RDONLY | os.O_DIRECTORY

_S = TypeVar("_S")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a folder.  ``status`` is of the thing itself: a link is a link."""

    parts: Parts
    status: os.stat_result

    @property
    def name(self) -> str:
        """Its own name.  A name that is no UTF-8 is hidden, so this always succeeds."""
        return self.parts[-1].decode()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and no link to one."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a plain file, and no link to one."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


class Filter(Protocol[_S]):
    """Which folders are entered and which names are wanted; ``_S`` is what it knows of the folders on the way."""

    def start(self) -> _S:
        """Where the walk begins."""
        ...

    def advance(self, states: _S, name: str) -> _S:
        """Below the folder ``name``; something false to stay out."""
        ...

    def accepts(self, states: _S, name: str) -> bool:
        """Whether ``name`` is wanted."""
        ...


class Everything:
    """Every name; folders whose name begins with a dot stay closed."""

    def start(self) -> bool:
        """Always."""
        return True

    def advance(self, states: bool, name: str) -> bool:
        """Unless the name begins with a dot."""
        return states and not name.startswith(".")

    def accepts(self, states: bool, name: str) -> bool:
        """Always."""
        return True


class Walk:
    """One walk below a folder, bounded in what it looks at.  ``notes`` says afterwards what was left out."""

    def __init__(self, locator: Locator, target: Target, checkpoint: Callable[[], None]) -> None:
        """``checkpoint`` is called for each folder; it raises when nobody wants the result any more."""
        self._locator = locator
        self._target = target
        self._checkpoint = checkpoint
        self._left = MAX_WALKED_ENTRIES
        self._unreadable = 0

    def entries(self, wanted: Filter[_S]) -> Iterator[Entry]:
        """What ``wanted`` accepts and is no folder, folder by folder, names in order.

        Raises:
            WorkspaceError: the folder itself cannot be opened.
        """
        top = self._target.parts
        todo = [(top, wanted.start())]
        while todo and self._left > 0:
            parts, states = todo.pop()
            self._checkpoint()
            try:
                found, count = (
                    scan_target(self._locator, self._target, limit=self._left)
                    if parts == top
                    else scan(self._locator, self._target.root, parts, limit=self._left)
                )
            except OSError:  # removed, replaced by a link, or not to be read
                self._unreadable += 1
                continue
            self._left -= count
            yield from (entry for entry in found if not entry.is_folder and wanted.accepts(states, entry.name))
            folders = [entry for entry in found if entry.is_folder]
            todo.extend(
                (entry.parts, below) for entry in reversed(folders) if (below := wanted.advance(states, entry.name))
            )

    def notes(self) -> list[str]:
        """What the caller should know about the walk, as lines."""
        notes: list[str] = []
        if self._left <= 0:
            notes.append(f"(stopped after {MAX_WALKED_ENTRIES} entries; name a smaller folder)")
        if self._unreadable:
            notes.append(f"({self._unreadable} folders could not be read)")
        return notes


def scan(locator: Locator, root: Root, parts: Parts, *, limit: int) -> tuple[list[Entry], int]:
    """What policy does not hide among the first ``limit`` entries of the folder ``parts``, in the order of their names,
    and how many entries were looked at.

    Raises:
        OSError: the folder cannot be opened.
    """
    found: list[Entry] = []
    count = 0
    with root.folder(parts, _READ_FOLDER) as descriptor, os.scandir(descriptor) as entries:
        for entry in islice(entries, limit):
            count += 1
            here = (*parts, os.fsencode(entry.name))
            if locator.hides(root, here):
                continue
            try:
                found.append(Entry(here, entry.stat(follow_symlinks=False)))
            except FileNotFoundError:  # removed a moment ago
                continue
    found.sort(key=lambda entry: entry.parts)
    return found, count


def scan_target(locator: Locator, target: Target, *, limit: int) -> tuple[list[Entry], int]:
    """``scan`` of the folder that a call names.

    Raises:
        WorkspaceError: there is no such folder, it is a file, or it cannot be read.
    """
    with Telling(target):
        try:
            return scan(locator, target.root, target.parts, limit=limit)
        except NotADirectoryError as error:
            if target.root.status(target.parts) is None:
                raise
            raise WorkspaceError(
                "workspace.is-file",
                f"{target.shown} is not a directory",
                effect="none",
                advice="use read_file to see what is in it",
            ) from error


def list_directory(locator: Locator, target: Target) -> str:
    """The entries of a folder: folders first, then the others with their size.

    Raises:
        WorkspaceError: there is no such folder, or it holds more than ``MAX_FOLDER_ENTRIES``.
    """
    found, count = scan_target(locator, target, limit=MAX_FOLDER_ENTRIES + 1)
    if count > MAX_FOLDER_ENTRIES:
        raise WorkspaceError(
            "workspace.too-many-entries",
            f"{target.shown} has more than {MAX_FOLDER_ENTRIES} entries",
            effect="none",
            advice="use glob with a pattern",
        )
    if not found:
        return f"{target.shown} is empty"
    folders = [f"{visible_name(entry.parts[-1])}/" for entry in found if entry.is_folder]
    others = [f"{visible_name(entry.parts[-1])} ({_measure(entry)})" for entry in found if not entry.is_folder]
    return fit(folders + others, f"({len(folders)} directories, {len(others)} files)")


def _measure(entry: Entry) -> str:
    if entry.is_file:
        return f"{entry.status.st_size} bytes"
    return "symbolic link" if entry.is_link else "special file"


def shown_path(target: Target, entry: Entry) -> str:
    """The path of ``entry`` as the other tools take it: from the workspace's root inside it, absolute outside."""
    path = b"/".join(entry.parts)
    return visible_name(path if target.inside else b"/" + path)
