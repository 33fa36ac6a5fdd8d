"""Whom we met: that a daemon is the one of this home, that its log continues the one we last saw, and who we are to it.

Invariant: the checkpoint that is kept only ever moves forward along one log.

Source: protocol N7, N10, N11; threats 11, 12, 50.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

import msgspec

from astrid.core.canon import decode
from astrid.core.checkpoint import Checkpoint, check_consistent, cosign, verify_checkpoint
from astrid.core.cosignature import client_name, is_due, read_cosigned
from astrid.core.install import Install, install_id, verify_install
from astrid.core.keys import KEY_BYTES, SigningKey, load_public_key
from astrid.core.tokens import MAX_CHAIN_BYTES, MAX_PAYLOAD_BYTES, Block, SignedBlock, block_id
from astrid.errors import ChainError, ConfigError, KeyFormatError, TokenError
from astrid.home import Home, clear_drafts, read_guarded, write_guarded
from astrid.wire.results import Cosigned, Welcome

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class Credentials(msgspec.Struct, frozen=True):
    """What this client presents: its token, and the key that the token names as its holder."""

    chain: bytes
    id_last: bytes
    key: SigningKey


def load_install(home: Home) -> Install:
    """The install statement of this home, its signature verified.

    Raises:
        ConfigError, TokenError: missing, or not what the user signed.
    """
    return verify_install(read_guarded(home.install, what="the install statement"))


def load_credentials(home: Home) -> Credentials:
    """The client's key and token.

    Raises:
        ConfigError, KeyFormatError, CanonError, TokenError: one is missing, or the two do not belong together.
    """
    seed = read_guarded(home.client_key, what="the client key", secret=True)
    if len(seed) != KEY_BYTES:
        raise KeyFormatError(
            "key.length",
            f"the client key is {len(seed)} bytes, not {KEY_BYTES}",
            where=str(home.client_key),
            advice="remove it and run `astrid init`",
        )
    key = SigningKey.from_seed(seed)
    chain = read_guarded(home.client_token, what="the client token")
    signed = decode(chain, tuple[SignedBlock, ...], max_bytes=MAX_CHAIN_BYTES, what="the client token")
    last = decode(signed[-1].payload if signed else b"", Block, max_bytes=MAX_PAYLOAD_BYTES, what="the client token")
    if last.holder != key.public:
        raise TokenError(
            "client.other-key",
            "the client token was made for another key",
            where=str(home.client_token),
            advice="remove it and run `astrid init`",
        )
    return Credentials(chain, block_id(signed[-1].payload), key)


def kept_checkpoint(home: Home, install: Install) -> Checkpoint | None:
    """The last checkpoint that a frontend of this user kept.

    Raises:
        ConfigError, ChainError: it is there and is not what it should be.
    """
    try:
        note = read_guarded(home.witness, what="the last checkpoint seen")
    except ConfigError as error:
        if error.code != "file.missing":
            raise
        return None
    return stated_checkpoint(install, note)


def stated_checkpoint(install: Install, note: bytes) -> Checkpoint:
    """What the daemon of ``install`` states by ``note``.

    Raises:
        ChainError: it is not its note.
    """
    return verify_checkpoint(note, load_public_key(install.runtime_key), install.log_id)


def check_server(install: Install, kept: Checkpoint | None, welcome: Welcome) -> Checkpoint:
    """The checkpoint that the daemon stands by, which continues ``kept`` and what other clients cosigned.

    SAFETY: with a log that was set back, spent grants and revoked tokens would be live again; so nothing is sent to a
    daemon that cannot show that its log only grew.

    Raises:
        TokenError: it is the daemon of another install.
        ChainError: named after the attack.
    """
    if welcome.aud != install_id(install):
        raise TokenError(
            "client.other-daemon",
            "the daemon belongs to another install than this home",
            advice="stop it, and check ASTRID_HOME",
        )
    stated = stated_checkpoint(install, welcome.checkpoint)
    if kept is not None:
        check_consistent(kept, stated, welcome.consistency)
    for one in welcome.cosigned:
        _check_other(_seen(install, one), stated, one)
    return stated


def _check_other(seen: Checkpoint, stated: Checkpoint, one: Cosigned) -> None:
    try:
        check_consistent(seen, stated, one.consistency)
    except ChainError as error:
        raise ChainError(
            "client.split-view",
            f"the client {one.key.hex()} was shown another log than this one: {error.message}",
            advice="sign nothing; compare both logs by `astrid audit verify`",
        ) from error


def _seen(install: Install, one: Cosigned) -> Checkpoint:
    runtime_key = load_public_key(install.runtime_key)
    return read_cosigned(one.note, one.key, runtime_key=runtime_key, log_id=install.log_id).checkpoint


def cosign_stated(
    install: Install, mine: Credentials, welcome: Welcome, stated: Checkpoint, *, now_s: int
) -> bytes | None:
    """The checkpoint that ``check_server`` found good, cosigned, for the daemon to record; ``None`` if this client has
    done that of late, so that asking again and again does not make the log grow.
    """
    own = [_seen(install, one) for one in welcome.cosigned if one.key == mine.key.public]
    if not is_due(own[0] if own else None, stated):
        return None
    runtime_key, name = load_public_key(install.runtime_key), client_name(mine.key.public)
    return cosign(welcome.checkpoint, mine.key, name, now_s, runtime_key=runtime_key, log_id=install.log_id)


def keep_checkpoint(home: Home, install: Install, stated: Checkpoint, note: bytes) -> None:
    """Remember ``note``, unless another client has meanwhile seen more of the log.

    Raises:
        ConfigError, ChainError: what is there cannot be read, or the new one cannot be written.
    """
    with _alone(home):
        kept = kept_checkpoint(home, install)
        if kept is None or kept.size < stated.size:
            clear_drafts(home.witness)  # of a command line that was killed while it did this
            write_guarded(home.witness, note, what="the last checkpoint seen", replace=True)


def keep_if_room(home: Home, install: Install, stated: Checkpoint, note: bytes) -> str:
    """As ``keep_checkpoint``; on a full disk, why it was not done: that keeps nobody from revoking a grant.

    The one that was kept before stays, and the log is measured by that the next time.

    Raises:
        ConfigError, ChainError: anything else is in the way.
    """
    try:
        keep_checkpoint(home, install, stated, note)
    except ConfigError as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in _NO_ROOM:
            raise
        return error.render()
    return ""


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    descriptor = os.open(home.witness.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for a moment only
        yield
    finally:
        os.close(descriptor)
