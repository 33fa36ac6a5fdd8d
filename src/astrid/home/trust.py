"""The files that the user trusts: each by its place and by the digest of what it holds.

The list is one file of the home, which no tool of an agent reads or writes.  It is not signed: whoever can write it can
write the user's configuration beside it.

Never: decides what a file may say.  A file that changed, or was moved, is trusted no more.

Source: threats 27, 44.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from astrid.core.quoting import quote
from astrid.errors import ConfigError
from astrid.home.files import read_guarded, write_guarded
from astrid.home.layout import Home

_WHAT = "the list of trusted files"
MAX_ENTRIES = 1000


def content_digest(data: bytes) -> str:
    """SHA-256 of ``data`` in hex: what ``sha256sum`` says of a file."""
    return hashlib.sha256(data).hexdigest()


class TrustList:
    """What the user trusts, as it was when this was read."""

    def __init__(self, home: Home) -> None:
        """
        Raises:
            ConfigError: the list is damaged, or open to others.
        """
        self._home = home
        self._entries = _read(home)

    def holds(self, path: bytes, data: bytes) -> bool:
        """Whether the user trusts the file at ``path``, an absolute path without links, to hold ``data``."""
        return self._entries.get(quote(path)) == content_digest(data)

    def names(self, path: bytes) -> bool:
        """Whether the user trusts anything at ``path``."""
        return quote(path) in self._entries

    def add(self, files: Iterable[tuple[bytes, bytes]]) -> None:
        """Trust each path to hold these bytes from now on, and nothing else.

        Raises:
            ConfigError: too many, or the list cannot be written.
        """
        self._write(self._entries | {quote(path): content_digest(data) for path, data in files})

    def remove(self, paths: Iterable[bytes]) -> None:
        """Trust nothing at these paths any more.

        Raises:
            ConfigError: the list cannot be written.
        """
        gone = {quote(path) for path in paths}
        self._write({place: found for place, found in self._entries.items() if place not in gone})

    def _write(self, entries: dict[str, str]) -> None:
        if len(entries) > MAX_ENTRIES:
            raise ConfigError(
                "trust.too-many",
                f"more than {MAX_ENTRIES} files would be trusted",
                where=str(self._home.trusted),
                advice="take some away with `astrid instructions untrust FILE`",
            )
        text = "".join(f"{found} {place}\n" for place, found in sorted(entries.items()))
        write_guarded(self._home.trusted, text.encode(), what=_WHAT, replace=True)
        self._entries = entries


def _read(home: Home) -> dict[str, str]:
    if not os.path.lexists(home.trusted):
        return {}
    entries: dict[str, str] = {}
    # Quoted paths are plain text on one line each, so that nothing in a name can add an entry.
    for line in read_guarded(home.trusted, what=_WHAT).decode(errors="replace").splitlines():
        found, blank, place = line.partition(" ")
        if len(found) != 64 or not blank or not place.startswith('"'):
            raise ConfigError(
                "trust.damaged",
                f"{_WHAT} has a line that is no entry",
                where=str(home.trusted),
                advice="remove the file, and trust anew with `astrid instructions trust`",
            )
        entries[place] = found
    return entries
