"""The user's key file: opened here and nowhere else, late, and once.

A sealed file is opened with the passphrase that the person types at the terminal, or that a descriptor hands over which
they opened for it.  The key stays in this process until it ends.

Never: gives the seed away, or keeps a passphrase.

Source: protocol, "Keys and who holds them"; threats 5, 46.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from astrid.core.keys import KEY_BYTES, SEAL_NONCE_BYTES, SEAL_SALT_BYTES, SigningKey, is_sealed, seal, unseal
from astrid.core.tokens import Assurance
from astrid.errors import ConfigError, InputError, KeyFormatError
from astrid.frontends.signer.identity import Identity
from astrid.frontends.signer.passphrases import Passphrases
from astrid.home import Home, read_guarded, write_guarded

WHAT = "the user key"
MOST_FILE_BYTES = 1024


class Vault:
    """The user's key, of one home."""

    def __init__(self, home: Home, passphrases: Callable[[], Passphrases], entropy: Callable[[int], bytes]) -> None:
        self._home = home
        self._passphrases = passphrases
        self._entropy = entropy
        self._key: SigningKey | None = None

    @property
    def unlocked(self) -> bool:
        """Whether the key is open."""
        return self._key is not None

    @property
    def exists(self) -> bool:
        """Whether there is a key file."""
        return os.path.lexists(self._home.user_key)

    def open(self, identity: Identity, *, ask: bool = True) -> SigningKey:
        """The key, one of ``identity``; without ``ask`` nobody is asked for a passphrase.

        Raises:
            ConfigError, KeyFormatError: missing, open to others, damaged, or not kept as stated.
            TokenError: no key of this install.
            InputError: no or a wrong passphrase.
        """
        if self._key is None:
            file = self._read()
            if is_sealed(file) and not ask:
                raise InputError("signer.locked", "the user key is locked", advice="unlock it first")
            key = SigningKey.from_seed(self._seed(file))
            # SAFETY: what a plain key signs must not be recorded as if a passphrase had stood before it.
            if identity.assurance_of(key) == Assurance.SEALED and not is_sealed(file):
                raise KeyFormatError(
                    "signer.not-sealed",
                    "the install statement says that the user key is sealed, and it is not",
                    where=str(self._home.user_key),
                    advice="find out who replaced it, and seal it with `astrid keys generate --seal`",
                )
            self._key = key
        return self._key

    def make(self, *, plain: bool) -> tuple[SigningKey, bool]:
        """The key of a new install, made if it is missing, and whether it is sealed.

        Raises:
            InputError: no passphrase was chosen.
            ConfigError: the file cannot be written.
            KeyFormatError: a key that is there already is kept in another way than ``plain`` says.
        """
        if self.exists:
            file = self._read()
            if is_sealed(file) == plain:
                raise KeyFormatError(
                    "signer.other-kind",
                    f"an earlier start left a user key that is {'sealed' if plain else 'plain'}",
                    where=str(self._home.user_key),
                    advice="go on with that kind, or remove the file: nothing was signed with it yet",
                )
            seed = self._seed(file)
        else:
            seed = self._entropy(KEY_BYTES)
            self._write(seed if plain else self._sealed(seed, self._passphrases().fresh()), replace=False)
        self._key = SigningKey.from_seed(seed)
        return self._key, not plain

    def reseal(self, identity: Identity) -> SigningKey:
        """The key, now under a new passphrase, whether or not it had one.

        Raises:
            InputError: no or a wrong passphrase.
            TokenError: no key of this install.
            ConfigError: the file cannot be read or written; the old one is still there.
        """
        source = self._passphrases()
        seed = self._seed(self._read(), source)
        key = SigningKey.from_seed(seed)
        identity.assurance_of(key)
        self._write(self._sealed(seed, source.fresh()), replace=True)
        self._key = key
        return key

    def unseal(self, identity: Identity) -> SigningKey:
        """The key, from now on without a passphrase, by the one that it is under.

        Raises:
            InputError: no or a wrong passphrase, or there is none.
            KeyFormatError: the install statement says that this key is sealed.
            TokenError: no key of this install.
            ConfigError: the file cannot be read or written; the old one is still there.
        """
        file = self._read()
        if not is_sealed(file):
            raise InputError("signer.no-seal", "the user key is under no passphrase", advice="nothing was changed")
        seed = self._seed(file)
        key = SigningKey.from_seed(seed)
        # SAFETY: grants of such a key are recorded as those of a sealed one, and it would be refused when it is plain.
        if identity.assurance_of(key) == Assurance.SEALED:
            raise KeyFormatError(
                "signer.stays-sealed",
                "the install statement says that the user key is sealed, so it stays so",
                where=str(self._home.user_key),
                advice="for a key without a passphrase make a new home",
            )
        self._write(seed, replace=True)
        self._key = key
        return key

    def _read(self) -> bytes:
        return read_guarded(self._home.user_key, what=WHAT, max_bytes=MOST_FILE_BYTES, secret=True)

    def _write(self, file: bytes, *, replace: bool) -> None:
        write_guarded(self._home.user_key, file, what=WHAT, replace=replace)

    def _seed(self, file: bytes, source: Passphrases | None = None) -> bytes:
        if not is_sealed(file):
            if len(file) != KEY_BYTES:
                raise ConfigError(
                    "signer.damaged-key",
                    "the user key is damaged",
                    where=str(self._home.user_key),
                    advice="restore it from a backup",
                )
            return file
        source = source or self._passphrases()
        attempt = 1
        while True:
            try:
                return unseal(file, source.current())
            except KeyFormatError as error:
                if error.code != "key.passphrase" or attempt == source.attempts:
                    raise
                attempt += 1

    def _sealed(self, seed: bytes, passphrase: bytes) -> bytes:
        return seal(seed, passphrase, salt=self._entropy(SEAL_SALT_BYTES), nonce=self._entropy(SEAL_NONCE_BYTES))
