"""``glob`` and ``grep``: finding files by name and lines by content.

Never: matches a model's expression inside the daemon, where a hostile one would hold everything up: a matcher is a
process with a deadline (``matcher``).  It is handed descriptors that were opened through handles, so it opens no
path.

Source: the first Astrid (texts, limits); threat 40.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from astrid.adapters.workspace.matcher import SEARCH_SECONDS, Line, Matcher
from astrid.adapters.workspace.observe import MAX_FILE_BYTES
from astrid.adapters.workspace.paths import Locator, Target
from astrid.adapters.workspace.reading import MAX_LINE_BYTES, Telling, check_regular, is_plain
from astrid.adapters.workspace.text import CEILING_BYTES, cut, fit
from astrid.adapters.workspace.walk import Entry, Everything, Walk, shown_path
from astrid.adapters.workspace.wildcard import Wildcard
from astrid.core.visible import visible

MAX_GREP_FILES = 100
BATCH_FILES = 128  # each is an open descriptor while it is searched
BINARY_PROBE_BYTES = 512


def glob(
    locator: Locator, target: Target, pattern: Wildcard, shown_pattern: str, checkpoint: Callable[[], None]
) -> str:
    """The files below ``target`` that ``pattern`` matches, newest first.

    Raises:
        WorkspaceError: the folder cannot be opened.
    """
    walk = Walk(locator, target, checkpoint)
    found = [entry for entry in walk.entries(pattern) if entry.is_file or entry.is_link]
    if not found:
        return "\n".join([f'No files matching "{shown_pattern}" found', *walk.notes()])
    found.sort(key=lambda entry: (-entry.status.st_mtime_ns, entry.parts))
    rows = [shown_path(target, entry) for entry in found]
    return fit(rows, "\n".join([*walk.notes(), f"({len(found)} files matched)"]))


@dataclass(slots=True)
class _Hits:
    """What was found so far."""

    deadline: float
    rows: list[str] = field(default_factory=list[str])
    matches: int = 0
    files: int = 0
    large: int = 0
    room: int = CEILING_BYTES

    @property
    def enough(self) -> bool:
        return self.files >= MAX_GREP_FILES or self.room <= 0


async def grep(
    locator: Locator, target: Target, matcher: Matcher, names: Wildcard | None, checkpoint: Callable[[], None]
) -> str:
    """The lines that ``matcher`` matches: in the file ``target``, or in the files below it whose path ``names``
    matches.

    Raises:
        WorkspaceError: there is nothing to search, the expression is none, or the search took too long.
    """
    walk = Walk(locator, target, checkpoint)
    alone = await trio.to_thread.run_sync(_alone, target)
    entries = [alone] if alone is not None else await trio.to_thread.run_sync(_list_files, walk, names)
    hits = _Hits(deadline=trio.current_time() + SEARCH_SECONDS)
    for start in range(0, len(entries), BATCH_FILES):
        await _search_batch(target, entries[start : start + BATCH_FILES], matcher, hits)
        if hits.enough:
            break
    notes = walk.notes()
    if hits.enough:
        notes.append("(stopped early, there may be more; narrow the search)")
    if hits.large:
        notes.append(f"({hits.large} files larger than 10 MiB were not searched)")
    if not hits.matches:
        nothing = (
            f"No matches found in {target.shown}" if alone else f'No matches for "{visible(matcher.expression)}" found'
        )
        return "\n".join([nothing, *notes])
    return fit(hits.rows, "\n".join([*notes, f"({hits.matches} matches in {hits.files} files)"]))


def _alone(target: Target) -> Entry | None:
    """``target`` itself if it is a file; ``None`` for a folder."""
    with Telling(target):
        descriptor = target.root.open_file(target.parts)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    entry = Entry(target.parts, status)
    if entry.is_folder:
        return None
    check_regular(target, status)
    return entry


def _list_files(walk: Walk, names: Wildcard | None) -> list[Entry]:
    entries = walk.entries(Everything()) if names is None else walk.entries(names)
    return [entry for entry in entries if entry.is_file]


async def _search_batch(target: Target, entries: list[Entry], matcher: Matcher, hits: _Hits) -> None:
    opened = await trio.to_thread.run_sync(_open_texts, target, entries, hits)
    try:
        seconds = max(0.0, hits.deadline - trio.current_time())
        found = await matcher.search([descriptor for descriptor, _ in opened], seconds=seconds)
    finally:
        for descriptor, _ in opened:
            os.close(descriptor)
    for descriptor, entry in opened:
        if lines := found.get(descriptor):
            _take(target, entry, lines, hits, matcher.context)
        if hits.enough:
            return


def _open_texts(target: Target, entries: list[Entry], hits: _Hits) -> list[tuple[int, Entry]]:
    """Descriptors of those ``entries`` that are still plain text files of reasonable size.  The caller closes them."""
    opened: list[tuple[int, Entry]] = []
    for entry in entries:
        try:
            descriptor = target.root.open_file(entry.parts)
        except OSError:  # gone, replaced by a link, or not to be read: there is nothing to search
            continue
        if _is_text(descriptor, hits):
            opened.append((descriptor, entry))
        else:
            os.close(descriptor)
    return opened


def _is_text(descriptor: int, hits: _Hits) -> bool:
    status = os.fstat(descriptor)
    if not is_plain(status):
        return False
    if status.st_size > MAX_FILE_BYTES:
        hits.large += 1
        return False
    try:
        return b"\0" not in os.pread(descriptor, BINARY_PROBE_BYTES, 0)
    except OSError:  # a disk that fails here fails the matcher too
        return False


def _take(target: Target, entry: Entry, lines: list[Line], hits: _Hits, context: int) -> None:
    path = shown_path(target, entry)
    hits.files += 1
    before = 0
    for line in lines:
        if context and hits.rows and line.number != before + 1:
            hits.rows.append("--")
        before = line.number
        mark = ":" if line.matched else "-"
        row = f"{path}{mark}{line.number}{mark}{visible(cut(line.text, MAX_LINE_BYTES))}"
        hits.rows.append(row)
        hits.matches += line.matched
        hits.room -= len(row.encode()) + 1
        if hits.room <= 0:
            return
