"""A home that a daemon and a command line can use, with keys that a test knows."""

from __future__ import annotations

import time
from pathlib import Path

from astrid.core.canon import MAX_U64, Domain
from astrid.core.grants import Mode
from astrid.core.install import Revocation, sign_statement
from astrid.core.keys import SigningKey
from astrid.core.tokens import (
    NO_PARENT,
    UNLIMITED_MICROS,
    UNLIMITED_USES,
    Assurance,
    Block,
    Grant,
    Permission,
    Scope,
    block_id,
    issue,
)
from astrid.home import Home, write_guarded
from tests.fakes.home import HOLDER, USER, grant_workspace, make_home

CLIENT = SigningKey.from_seed(b"\x05" * 32)
STRANGER = SigningKey.from_seed(b"\x06" * 32)


def client_block(aud: bytes, *, holder: bytes = CLIENT.public, pattern: str = "rpc://*", **changes: object) -> Block:
    """What the user lets the command line ask."""
    fields: dict[str, object] = {
        "version": 1,
        "algorithm": 1,
        "parent": NO_PARENT,
        "nonce": b"\x07" * 16,
        "issuer": USER.public,
        "holder": holder,
        "aud": aud,
        "session": b"",
        "workspace": b"",
        "scope": Scope.ALWAYS,
        "grants": (Grant(pattern, Permission.INVOKE, 0, 1, b""),),
        "not_before": 0,
        "expires": MAX_U64,
        "uses": UNLIMITED_USES,
        "purse": UNLIMITED_MICROS,
        "depth": 0,
        "tainted_ok": False,
        "call": b"",
        "question": b"",
        "assurance": Assurance.SEALED,
    }
    return Block(**{**fields, **changes})  # type: ignore[arg-type]


def make_client_home(
    root: Path, *, token: bytes | None = None, assurance: Assurance = Assurance.SEALED
) -> tuple[Home, bytes]:
    """A home with everything that ``astrid init`` makes but a sealed ``user.key``; and its install id."""
    home, aud = make_home(root, assurance=assurance)
    write_guarded(home.holder_public, HOLDER.public, what="holder")
    write_guarded(home.client_key, b"\x05" * 32, what="client")
    write_guarded(home.client_token, token or issue(client_block(aud, assurance=assurance), USER), what="token")
    if assurance == Assurance.PLAIN:
        write_guarded(home.user_key, b"\x01" * 32, what="user")
    return home, aud


def revocation(aud: bytes, target: bytes) -> bytes:
    """The user revokes a token."""
    statement = Revocation(aud, target, "token", int(time.time()), USER.public)
    return sign_statement(Domain.REVOKE, statement, USER)


__all__ = [
    "CLIENT",
    "STRANGER",
    "Mode",
    "block_id",
    "client_block",
    "grant_workspace",
    "make_client_home",
    "revocation",
]
