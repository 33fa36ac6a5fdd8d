"""The id of a workspace: a random secret of this home, bound to the folder that is really there.

The same path with another folder behind it, or the same folder at another path, is another workspace: a grant does
not follow.

Source: protocol N1 (``workspace``).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from astrid.core.canon import commitment, encode
from astrid.core.ids import WorkspaceId
from astrid.errors import ConfigError, WorkspaceError
from astrid.home.files import read_guarded, write_guarded
from astrid.home.layout import Home

_NAME_SALT = b"astrid workspace name".ljust(32, b"\0")


class WorkspaceIdentity(msgspec.Struct, frozen=True):
    """A folder: its real path, and which one it is."""

    path: str
    dev: int
    ino: int


def identify_workspace(folder: Path, home: Home) -> WorkspaceIdentity:
    """The workspace at ``folder``.

    Raises:
        WorkspaceError: missing, not a folder, or the home lies in it (or it in the home): the agent could rewrite
        its own keys and rules.
    """
    try:
        real = Path(os.path.realpath(folder, strict=True))
        found = os.stat(real)
    except (OSError, ValueError) as error:  # a name may hold what no path can
        raise WorkspaceError(
            "workspace.missing",
            f"the workspace cannot be opened: {getattr(error, 'strerror', 'no folder has such a name')}",
            effect="none",
            where=ascii(str(folder))[1:-1],
            advice="name a folder",
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise WorkspaceError(
            "workspace.not-folder", "the workspace is a file", effect="none", where=str(folder), advice="name a folder"
        )
    inside = Path(os.path.realpath(home.root))
    if inside.is_relative_to(real) or real.is_relative_to(inside):
        raise WorkspaceError(
            "workspace.home-inside",
            "the home and the workspace lie in each other",
            effect="none",
            where=str(home.root),
            advice="work in another folder, or set ASTRID_HOME to a folder outside the workspace",
        )
    return WorkspaceIdentity(str(real), found.st_dev, found.st_ino)


def workspace_id(identity: WorkspaceIdentity, home: Home, *, fresh: bytes | None = None) -> WorkspaceId:
    """The id by which grants name this workspace.  ``fresh`` is 32 random bytes for one that is not known yet.

    Raises:
        ConfigError: it is not known and no ``fresh`` bytes are given, or its secret is damaged.
    """
    place = home.workspaces / commitment(_NAME_SALT, os.fsencode(identity.path)).hex()
    if fresh is not None and not place.exists():
        try:
            write_guarded(place, fresh, what="the id of the workspace")
        except ConfigError as error:
            if error.code != "file.exists":  # another process was faster; its id is the id
                raise
    secret = read_guarded(place, what="the id of the workspace", max_bytes=32)
    if len(secret) != 32:
        raise ConfigError(
            "file.damaged",
            "the id of the workspace is damaged",
            where=str(place),
            advice="remove the file and grant anew",
        )
    return WorkspaceId(commitment(secret, encode((identity.dev, identity.ino, os.fsencode(identity.path)))))
