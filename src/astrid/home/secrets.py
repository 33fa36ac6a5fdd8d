"""The values of the user's secrets, a file each, which leave this folder at the edge alone.

A secret has a name, its handle: what a configuration, a call or a log says in place of the value.

Never: shows a value, hands one to a model or a tool, or lists more than names.

Source: OpenSSH's rule for key files; threats 26, 41, 46.
"""

from __future__ import annotations

import os
import re

from astrid.core.redact import LEAST_BYTES, MOST_BYTES, Redactor
from astrid.errors import ConfigError, InputError
from astrid.home.files import clear_drafts, read_guarded, sync_folder, write_guarded
from astrid.home.layout import Home

MAX_SECRETS = 256
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


class Secrets:
    """The secrets of one home."""

    def __init__(self, home: Home) -> None:
        self._folder = home.secrets
        self._seen: object = None  # what lay in the folder when the redactor was made
        self._redactor = Redactor({})

    def names(self) -> list[str]:
        """The names of all secrets, in order.

        Raises:
            ConfigError: the folder cannot be read.
        """
        try:
            return sorted(filter(_NAME.fullmatch, os.listdir(self._folder)))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unusable(self._folder, error) from error

    def value(self, name: str) -> bytes:
        """The value behind a name, for whoever stands at the edge.

        Raises:
            InputError: this is no name.
            ConfigError: there is no such secret, or its file is open to others.
        """
        path = self._folder / _checked(name)
        advice = f"run `astrid secrets set {name}`"
        return read_guarded(path, what=f"the secret `{name}`", max_bytes=MOST_BYTES, secret=True, made_by=advice)

    def set(self, name: str, value: bytes) -> bool:
        """Keep a value under a name; whether another one was replaced.

        Raises:
            InputError: this is no name, or no value that could be found again in a text.
            ConfigError: there are too many, or it cannot be written.
        """
        path = self._folder / _checked(name)
        if not LEAST_BYTES <= len(value) <= MOST_BYTES:
            raise InputError(
                "secrets.length",
                f"a secret has {LEAST_BYTES} to {MOST_BYTES} bytes",
                advice="a shorter one cannot be told from other text where it must not be shown",
            )
        known = self.names()
        if name not in known and len(known) >= MAX_SECRETS:
            raise ConfigError("secrets.many", f"there are {MAX_SECRETS} secrets already", advice="remove some")
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unusable(self._folder, error) from error
        clear_drafts(path)
        write_guarded(path, value, what=f"the secret `{name}`", replace=True)
        return name in known

    def remove(self, name: str) -> None:
        """Forget a secret.

        Raises:
            InputError: this is no name.
            ConfigError: there is no such secret, or it cannot be removed.
        """
        path = self._folder / _checked(name)
        try:
            path.unlink()
            sync_folder(self._folder)
        except FileNotFoundError as error:
            raise ConfigError(
                "secrets.unknown", f"there is no secret `{name}`", advice="see `astrid secrets list`"
            ) from error
        except OSError as error:
            raise _unusable(self._folder, error) from error

    def redactor(self) -> Redactor:
        """What takes all of them out of a text, as they are by now.

        Raises:
            ConfigError: one cannot be read, so nobody could tell whether a text holds it.
        """
        lies: tuple[int, list[tuple[str, int]]] = (-1, [])
        try:
            with os.scandir(self._folder) as entries:
                # A value that is set is a new file; the folder's time alone is too coarse for two in a row.
                lies = (os.stat(self._folder).st_mtime_ns, sorted((entry.name, entry.inode()) for entry in entries))
        except FileNotFoundError:
            pass  # then there are none
        except OSError as error:
            raise _unusable(self._folder, error) from error
        if lies != self._seen:
            self._redactor = Redactor({name: self.value(name) for name in self.names()})
            self._seen = lies
        return self._redactor


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise InputError(
            "secrets.name",
            "the name of a secret is a small letter and up to 62 more, digits or hyphens",
            advice="choose a name such as github-token",
        )
    return name


def _unusable(folder: os.PathLike[str], error: OSError) -> ConfigError:
    return ConfigError(
        "secrets.unusable",
        f"the folder of secrets cannot be used: {error.strerror}",
        where=os.fspath(folder),
        advice="check its owner and mode",
    )
