"""Whose models there are by configuration, and what their vendors know the user by.

A key is read once, when the daemon starts: from a file that only the user can read, from a descriptor that whoever
started the daemon left open, from the user's secrets, or from a variable.  Then no variable holds a key any more, used
or not, so that nothing that is started from here gets one.

Never: prints, logs or records a key, or asks anybody for one.

Source: threats 26, 42, 46.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

import msgspec

from astrid.adapters.llm.catalogue import ANTHROPIC_KEY, PROVIDERS, Provider
from astrid.adapters.llm.openai import PLAIN
from astrid.errors import ConfigError
from astrid.home import read_guarded
from astrid.ports import SecretValues
from astrid.runtime.config import Config, ProviderTable

ANTHROPIC = "anthropic"
MAX_KEY_BYTES = 4096
FD_SECONDS = 10.0  # for whoever holds the other end of a descriptor
_MADE_BY = "write the key into it, and `chmod 600` it"


class VendorKeys:
    """Keys, by the name of their provider.  Nothing that prints this object prints one."""

    def __init__(self, held: Mapping[str, str]) -> None:
        self.of: Callable[[str], str] = lambda provider: held.get(provider, "")


def configured_providers(config: Config) -> dict[str, Provider]:
    """Every provider but Anthropic, which speaks a protocol of its own.

    Raises:
        ConfigError: one that nobody knows has no address.
    """
    return {**PROVIDERS, **{name: _provider(name, table) for name, table in config.providers.items()}}


def key_files(config: Config) -> tuple[str, ...]:
    """Where keys are kept, as it really is: no tool reads there."""
    return tuple(os.path.realpath(_path(table)) for table in config.providers.values() if table.key_file)


def take_keys(config: Config, environment: MutableMapping[str, str], secrets: SecretValues) -> VendorKeys:
    """All keys there are; from then on ``environment`` holds none.

    Raises:
        ConfigError: a key cannot be read from where the configuration says that it is.
    """
    known = {ANTHROPIC: Provider(base_url="", key_variable=ANTHROPIC_KEY), **PROVIDERS}
    named = {**known, **configured_providers(config)}
    said = {name: environment.get(provider.key_variable, "") for name, provider in named.items()}
    for provider in (*known.values(), *named.values()):
        environment.pop(provider.key_variable, None)
    kept = {name: table for name, table in config.providers.items() if _places(table)}
    read = {name: _read(name, table, secrets) for name, table in kept.items()}
    return VendorKeys({**said, **read})


def _provider(name: str, table: ProviderTable) -> Provider:
    known = Provider(base_url="", key_variable=ANTHROPIC_KEY) if name == ANTHROPIC else PROVIDERS.get(name)
    if table.base_url:
        return Provider(base_url=table.base_url, key_variable=table.key_variable, dialect=PLAIN)
    if known is None:
        raise ConfigError(
            "config.invalid",
            f"the provider `{name[:40]}` has no base_url",
            where=f"providers.{name[:40]}",
            advice="give its address up to /chat/completions",
        )
    return msgspec.structs.replace(known, key_variable=table.key_variable or known.key_variable)


def _places(table: ProviderTable) -> int:
    """From how many places its key is to come, beside a variable."""
    return sum(map(bool, (table.key_file, table.key_fd, table.key_secret)))


def _read(name: str, table: ProviderTable, secrets: SecretValues) -> str:
    if _places(table) > 1:
        raise _unusable(name, "is to come from several places", "keep one of key_file, key_fd and key_secret")
    if table.key_file:
        path = _path(table)
        if not path.is_absolute():
            raise _unusable(name, "is in a file without an absolute path", "begin it with / or ~/")
        data = read_guarded(path, what=f"the key of `{name}`", max_bytes=MAX_KEY_BYTES, secret=True, made_by=_MADE_BY)
    elif table.key_secret:
        data = secrets.value(table.key_secret)
    else:
        data = _read_descriptor(name, table.key_fd)
    try:
        key = data.decode("ascii").strip()
    except UnicodeDecodeError:
        key = ""
    if not key:
        raise _unusable(name, "is empty, or not one line of ASCII", "give it as the vendor's console shows it")
    return key


def _path(table: ProviderTable) -> Path:
    return Path(table.key_file).expanduser()


def _read_descriptor(name: str, fd: int) -> bytes:
    """Everything up to its end; nobody reads it a second time."""
    data = b""
    try:
        while len(data) <= MAX_KEY_BYTES:
            if not select.select([fd], [], [], FD_SECONDS)[0]:
                raise _unusable(name, "does not come out of its descriptor", "write it there, and close the other end")
            piece = os.read(fd, MAX_KEY_BYTES + 1)
            if not piece:
                break
            data += piece
        os.close(fd)
    except (OSError, ValueError) as error:
        raise _unusable(
            name, f"cannot be read from descriptor {fd}", "leave it open for `astrid daemon run`, or use key_file"
        ) from error
    return data[:MAX_KEY_BYTES]


def _unusable(name: str, why: str, advice: str) -> ConfigError:
    return ConfigError("model.key-unreadable", f"the key of `{name[:40]}` {why}", advice=advice)
