"""A home as ``astrid init`` makes it, with keys that a test knows."""

from __future__ import annotations

import os
import time
from pathlib import Path

from astrid.core.canon import Domain
from astrid.core.grants import GrantTerms, Mode, workspace_grant
from astrid.core.install import NO_LOSS, Install, Root, install_id, sign_statement
from astrid.core.keys import SigningKey
from astrid.core.tokens import UNLIMITED_MICROS, Assurance, issue
from astrid.home import Home, identify_workspace, open_home, workspace_id, write_guarded

USER = SigningKey.from_seed(b"\x01" * 32)
RUNTIME = SigningKey.from_seed(b"\x02" * 32)
HOLDER = SigningKey.from_seed(b"\x03" * 32)
LOG_ID = b"\x04" * 32


def make_home(root: Path, *, assurance: Assurance = Assurance.SEALED, now_s: int | None = None) -> tuple[Home, bytes]:
    """A home at ``root`` and its install id."""
    home = open_home(root, make=True)
    created = int(time.time()) if now_s is None else now_s
    install = Install(1, LOG_ID, RUNTIME.public, (Root(USER.public, assurance),), created, NO_LOSS)
    write_guarded(home.install, sign_statement(Domain.INSTALL, install, USER), what="install")
    write_guarded(home.runtime_key, b"\x02" * 32, what="key")
    write_guarded(home.holder_key, b"\x03" * 32, what="key")
    return home, install_id(install)


def grant_workspace(
    home: Home,
    aud: bytes,
    folder: Path,
    mode: Mode,
    *,
    assurance: Assurance = Assurance.SEALED,
    now_s: int | None = None,
) -> bytes:
    """A workspace grant for ``folder``, signed by the user."""
    identity = identify_workspace(folder, home)
    now = int(time.time()) if now_s is None else now_s
    terms = GrantTerms(
        issuer=USER.public,
        holder=HOLDER.public,
        aud=aud,
        workspace=workspace_id(identity, home, fresh=os.urandom(32)),
        root=identity.path,
        not_before_s=now - 1,
        expires_s=now + 86400,
        purse_micros=UNLIMITED_MICROS,
        assurance=assurance,
        nonce=os.urandom(16),
    )
    return issue(workspace_grant(mode, terms), USER)
