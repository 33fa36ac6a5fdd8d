"""Who this install is, as the signer sees it: the user-signed statement, and the daemon's holder key.

Nothing here is secret, and nothing is taken from the daemon: it is read from the home, and cross-checked.

Source: protocol N6, N7, N11; threats 6, 11.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from astrid.core.checkpoint import check_consistent, verify_checkpoint
from astrid.core.ids import InstallId
from astrid.core.install import Install, install_id, verify_install
from astrid.core.keys import PublicKey, SigningKey, load_public_key
from astrid.core.tokens import STRONG_ASSURANCES, Assurance
from astrid.errors import ConfigError, TokenError
from astrid.home import Home, read_guarded


class Identity(msgspec.Struct, frozen=True):
    """The install statement, verified, and its id."""

    install: Install
    aud: InstallId

    @property
    def assurance(self) -> Assurance:
        """The best assurance that a key of this install has: what can be offered before the key is opened."""
        stated = [Assurance(root.assurance) for root in self.install.roots]
        return next((one for one in stated if one in STRONG_ASSURANCES), stated[0])

    def assurance_of(self, key: SigningKey) -> Assurance:
        """What the install statement says of ``key``.

        Raises:
            TokenError: it is no user key of this install.
        """
        for root in self.install.roots:
            if root.key == key.public:
                return Assurance(root.assurance)
        raise TokenError(
            "signer.other-key",
            "the key file holds a key that the install statement does not name",
            advice="restore the key that belongs to this home",
        )


def load_identity(home: Home) -> Identity:
    """The identity of ``home``.

    Raises:
        ConfigError, TokenError: missing, open to changes by others, or not a statement that holds together.
    """
    install = verify_install(read_guarded(home.install, what="the install statement"))
    return Identity(install, install_id(install))


def load_keeper(home: Home, install: Install) -> PublicKey:
    """The public key of the daemon's holder key, to which what outlives a session is granted.

    Raises:
        ConfigError, KeyFormatError: missing or no public key.
        TokenError: the key has another role already.
    """
    keeper = load_public_key(read_guarded(home.holder_public, what="the holder's public key", private=False))
    if keeper in (install.runtime_key, *(root.key for root in install.roots)):
        raise TokenError(
            "install.keys",
            "the holder key has another role already",
            where=str(home.holder_public),
            advice="restore the file that belongs to this home",
        )
    return keeper


def check_log(home: Home, install: Install, note: bytes, proof: Sequence[bytes]) -> None:
    """Nothing, if ``note`` is the log's checkpoint and continues the last one that this user's frontends kept.

    SAFETY: with a daemon that was set back to an older log, spent once-grants, revoked tokens and empty purses would be
    live again; whoever signs is the last who can notice.

    Raises:
        ChainError: named after the attack.
        ConfigError: the kept checkpoint cannot be read.
    """
    runtime_key = load_public_key(install.runtime_key)
    stated = verify_checkpoint(note, runtime_key, install.log_id)
    try:
        kept = read_guarded(home.witness, what="the last checkpoint seen")
    except ConfigError as error:
        if error.code != "file.missing":
            raise
        return  # the first meeting
    check_consistent(verify_checkpoint(kept, runtime_key, install.log_id), stated, proof)
