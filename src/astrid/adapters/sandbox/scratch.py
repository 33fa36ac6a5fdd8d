"""A folder for one program's temporary files and home, where there is no root of its own to hold them.

Never: follows a link when it removes one: everything in it was made by the program.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from astrid.errors import LaunchError


def make_scratch(below: Path) -> Path:
    """A new empty folder, for nobody else.

    Raises:
        LaunchError: none can be made.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="astrid-run-", dir=below)).resolve()
    except OSError as error:
        raise LaunchError(
            "sandbox.no-scratch",
            f"there is no folder for temporary files: {error.strerror}",
            effect="none",
            where=str(below),
            advice="make room, or make the folder writable",
        ) from error


def remove_empty(folder: Path) -> bool:
    """Remove it if nothing is in it, as after most programs; whether it is gone."""
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def remove_scratch(folder: Path) -> None:
    """Remove it with all that is in it, also in folders that were made unreadable.  Nothing may run in it any more."""
    for at, names, _ in os.walk(folder):
        for name in names:
            inside = os.path.join(at, name)
            with suppress(OSError):  # what then cannot be removed, the removal below says
                if not os.path.islink(inside):
                    os.chmod(inside, 0o700)
    shutil.rmtree(folder)
