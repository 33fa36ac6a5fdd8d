"""The folders and files of a home, by name.

Source: the first Astrid; architecture 4; threats 30, 43.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from astrid.errors import ConfigError

_FOLDERS = ("keys", "log", "anchor", "run", "workspaces", "actors")
MAX_SOCKET_PATH_BYTES = 100  # Linux takes 107, macOS 103


class Home(msgspec.Struct, frozen=True):
    """The paths of one home.  ``user_key`` is for the signer alone."""

    root: Path

    @property
    def user_key(self) -> Path:
        """The user's private key, sealed or plain."""
        return self.root / "keys" / "user.key"

    @property
    def runtime_key(self) -> Path:
        """The daemon's key for checkpoints."""
        return self.root / "keys" / "runtime.key"

    @property
    def holder_key(self) -> Path:
        """The daemon's key that holds what the user granted."""
        return self.root / "keys" / "holder.key"

    @property
    def holder_public(self) -> Path:
        """Its public half, for the signer."""
        return self.root / "keys" / "holder.pub"

    @property
    def client_key(self) -> Path:
        """The command line's key."""
        return self.root / "keys" / "client.key"

    @property
    def client_token(self) -> Path:
        """What the user lets the command line ask of the daemon."""
        return self.root / "keys" / "client.token"

    @property
    def install(self) -> Path:
        """The signed install statement."""
        return self.root / "install"

    @property
    def config(self) -> Path:
        """The user's configuration."""
        return self.root / "config.toml"

    @property
    def instructions(self) -> Path:
        """What the user tells every session."""
        return self.root / "ASTRID.md"

    @property
    def skills(self) -> Path:
        """The user's own skills, a folder each."""
        return self.root / "skills"

    @property
    def trusted(self) -> Path:
        """The files that the user trusts, by what they hold."""
        return self.root / "trusted"

    @property
    def log(self) -> Path:
        """The log's database."""
        return self.root / "log" / "audit.db"

    @property
    def anchor(self) -> Path:
        """The last checkpoint that the daemon kept outside the log's folder."""
        return self.root / "anchor" / "daemon"

    @property
    def witness(self) -> Path:
        """The last checkpoint that the command line saw."""
        return self.root / "anchor" / "cli"

    @property
    def lost(self) -> Path:
        """Logs that the user gave up, each in a folder of its own."""
        return self.root / "lost"

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return self.root / "run" / "astridd.sock"

    @property
    def lock(self) -> Path:
        """Held by the one daemon of this home."""
        return self.root / "run" / "lock"

    @property
    def daemon_log(self) -> Path:
        """What the daemon prints."""
        return self.root / "run" / "daemon.log"

    @property
    def workspaces(self) -> Path:
        """The random ids of workspaces."""
        return self.root / "workspaces"

    @property
    def kept(self) -> Path:
        """What files held before tools changed them."""
        return self.root / "kept"

    @property
    def secrets(self) -> Path:
        """The values of secrets, a file each."""
        return self.root / "secrets"

    @property
    def actors(self) -> Path:
        """The user's own definitions."""
        return self.root / "actors"


@cache
def actors_folder() -> Path:
    """Where the built-in definitions are: beside the package in a checkout, under ``share`` when installed."""
    checkout = Path(__file__).resolve().parents[3] / "actors"
    return checkout if checkout.is_dir() else Path(sys.prefix) / "share" / "astrid" / "actors"


def home_folder(environ: Mapping[str, str]) -> Path:
    """``$ASTRID_HOME``, or ``~/.astrid``.  Not checked, and perhaps not there.

    Raises:
        ConfigError: relative, with ``..``, or there is no home at all.
    """
    named = environ.get("ASTRID_HOME")
    if named is not None:
        path = Path(named)
    elif environ.get("HOME"):
        path = Path(environ["HOME"]) / ".astrid"
    else:
        raise ConfigError(
            "home.none", "neither ASTRID_HOME nor HOME is set", advice="set ASTRID_HOME to a folder of your own"
        )
    if not path.is_absolute() or ".." in path.parts:
        raise ConfigError(
            "home.relative", f"`{path}` is not an absolute path without `..`", advice="write the whole path"
        )
    return path


def open_home(root: Path, *, make: bool = False) -> Home:
    """The home at ``root``, checked: ours, for nobody else, not a link.  ``make`` makes what is missing of it.

    Raises:
        ConfigError: says what is wrong and how to mend it.
    """
    try:
        if make:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(root)
        for name in _FOLDERS:
            if make:
                (root / name).mkdir(mode=0o700, exist_ok=True)
            _check(root / name)
    except OSError as error:
        raise ConfigError(
            "home.unusable",
            f"the home cannot be used: {error.strerror}",
            where=str(error.filename or root),
            advice="check its permissions",
        ) from error
    home = Home(root)
    if len(os.fsencode(home.socket)) > MAX_SOCKET_PATH_BYTES:
        raise ConfigError(
            "home.too-deep",
            "the path of the home is too long for a socket",
            where=str(root),
            advice="set ASTRID_HOME to a shorter path",
        )
    return home


def _check(folder: Path) -> None:
    try:
        found = os.lstat(folder)
    except FileNotFoundError as error:
        raise ConfigError(
            "home.missing", "there is no home yet", where=str(folder), advice="run `astrid init`"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(
            "home.not-folder", "this is not a folder", where=str(folder), advice="move it away and run `astrid init`"
        )
    if found.st_uid != os.geteuid():
        raise ConfigError(
            "home.owner", "the folder belongs to another user", where=str(folder), advice="choose another ASTRID_HOME"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(
            "home.open-to-others", "others can get into the folder", where=str(folder), advice=f"chmod 0700 {folder}"
        )
