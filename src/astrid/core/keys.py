"""Ed25519 keys and signatures: the only module that signs or checks.  Pure: seeds and salts come from the caller.

Never: generates randomness, opens a file, prints a secret.  Public keys are refused when they are *loaded*, not when
they are used, unless they are canonical points of the prime-order group: a small-order key would make one signature fit
many messages.

Invariants:
  A signature made for one domain verifies in no other (the context string is under the signature).
  Keys are compared whole.

A sealed key file is ``magic | salt 16 | nonce 24 | secretbox(seed)``, the box under Argon2id(passphrase, salt).  Magic
and length are exact; a change of any other byte fails like a wrong passphrase.

Source: protocol N0, "Keys and who holds them"; RFC 8032; RFC 9106 (Argon2id) and NaCl secretbox for sealed files.
"""

from __future__ import annotations

from typing import NewType

import nacl.bindings as sodium
import nacl.exceptions
from nacl.pwhash import argon2id

from astrid.core.canon import Domain, commitment
from astrid.core.memo import Memo
from astrid.errors import KeyFormatError

PublicKey = NewType("PublicKey", bytes)

KEY_BYTES = 32
SIGNATURE_BYTES = 64
SEAL_SALT_BYTES = 16
SEAL_NONCE_BYTES = 24
_SEAL_MAGIC = b"astrid-sealed-key-v1\n"
_SALT_END = len(_SEAL_MAGIC) + SEAL_SALT_BYTES
_NONCE_END = _SALT_END + SEAL_NONCE_BYTES
SEALED_BYTES = _NONCE_END + KEY_BYTES + sodium.crypto_secretbox_MACBYTES
POINTS = 1024
# Keys that are points.  To ask costs nearly as much as a verification, and the same few come in every chain.  The
# answer follows from the bytes for ever and gives nobody anything: there is no revocation that this could outlive.
_POINTS: Memo[bytes, None] = Memo(POINTS)
_SIGN_CONTEXT = {domain: b"astrid/" + domain.value.encode() + b"/v1\x00" for domain in Domain}


def load_public_key(raw: bytes) -> PublicKey:
    """``raw`` as a public key, checked.

    Raises:
        KeyFormatError: not 32 bytes, not a canonical point, or of small order.
    """
    if len(raw) != KEY_BYTES:
        raise KeyFormatError("key.length", f"a public key is 32 bytes, not {len(raw)}")
    if raw not in _POINTS:
        if not sodium.crypto_core_ed25519_is_valid_point(raw):
            raise KeyFormatError("key.weak", f"`{raw.hex()}` is not a valid point of the prime-order group")
        _POINTS.keep(raw, None)
    return PublicKey(raw)


class SigningKey:
    """A private Ed25519 key.  It shows only its public half; it cannot be printed, compared or pickled."""

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise KeyFormatError("key.length", f"a key seed is 32 bytes, not {len(seed)}")
        public, self._secret = sodium.crypto_sign_seed_keypair(seed)
        self.public = PublicKey(public)
        _POINTS.keep(public, None)  # a multiple of the base point

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The key whose 32-byte seed is ``seed``."""
        return cls(seed)

    def derive(self, label: bytes) -> SigningKey:
        """The key that only whoever has this one can make, another for each ``label``."""
        return SigningKey(commitment(self._secret[:KEY_BYTES], label))

    def __repr__(self) -> str:
        return f"<signing key of {self.public.hex()[:16]}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise KeyFormatError("key.not-serialisable", "a signing key never leaves its process")

    def sign(self, domain: Domain, data: bytes) -> bytes:
        """S(k, c, b): 64 bytes over the domain's context, a NUL and ``data``."""
        return self.sign_raw(_SIGN_CONTEXT[domain] + data)

    def sign_raw(self, data: bytes) -> bytes:
        """A plain Ed25519 signature.  Only checkpoints use it, whose text carries its own context."""
        return sodium.crypto_sign(data, self._secret)[:SIGNATURE_BYTES]


def verify(key: PublicKey, domain: Domain, data: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is ``key``'s over ``data`` in ``domain``."""
    return verify_raw(key, _SIGN_CONTEXT[domain] + data, signature)


def verify_raw(key: PublicKey, data: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is ``key``'s plain Ed25519 signature over ``data``."""
    # SAFETY: the library hands a key's address on without its length; a short one would be read beyond its end.
    if len(signature) != SIGNATURE_BYTES or len(key) != KEY_BYTES:
        return False
    try:
        sodium.crypto_sign_open(signature + data, key)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


def seal(seed: bytes, passphrase: bytes, *, salt: bytes, nonce: bytes) -> bytes:
    """The key file that holds ``seed`` under a passphrase: Argon2id (two passes over 64 MiB) and secretbox.

    ``salt`` is 16 and ``nonce`` 24 fresh random bytes.

    Raises:
        KeyFormatError: a part has another length, or the passphrase is empty.
    """
    if (len(seed), len(salt), len(nonce)) != (KEY_BYTES, SEAL_SALT_BYTES, SEAL_NONCE_BYTES):
        raise KeyFormatError("key.length", "a sealed key is made of a 32-byte seed, a 16-byte salt and a 24-byte nonce")
    if not passphrase:
        # SAFETY: such a file would count as sealed, and anybody opens it.
        raise KeyFormatError("key.no-passphrase", "an empty passphrase seals nothing", advice="choose a passphrase")
    return _SEAL_MAGIC + salt + nonce + sodium.crypto_secretbox(seed, nonce, _stretch(passphrase, salt))


def is_sealed(file: bytes) -> bool:
    """Whether a key file needs a passphrase."""
    return file.startswith(_SEAL_MAGIC)


def unseal(file: bytes, passphrase: bytes) -> bytes:
    """The 32-byte seed inside a sealed key file.

    Raises:
        KeyFormatError: the file is damaged or the passphrase is wrong; past its length the two cannot be told apart.
    """
    if not is_sealed(file) or len(file) != SEALED_BYTES:
        raise KeyFormatError("key.not-sealed", "the file is not a sealed key", advice="restore it from a backup")
    salt, nonce, box = file[len(_SEAL_MAGIC) : _SALT_END], file[_SALT_END:_NONCE_END], file[_NONCE_END:]
    # Outside the `try`: running out of memory is not a wrong passphrase.
    key = _stretch(passphrase, salt)
    try:
        return sodium.crypto_secretbox_open(box, nonce, key)
    except nacl.exceptions.CryptoError as error:
        raise KeyFormatError("key.passphrase", "the passphrase does not open the key", advice="try again") from error


def _stretch(passphrase: bytes, salt: bytes) -> bytes:
    try:
        return argon2id.kdf(
            KEY_BYTES, passphrase, salt, opslimit=argon2id.OPSLIMIT_INTERACTIVE, memlimit=argon2id.MEMLIMIT_INTERACTIVE
        )
    except nacl.exceptions.RuntimeError as error:
        raise KeyFormatError(
            "key.no-memory", "there is not enough memory to open or seal a key", advice="free 64 MiB and try again"
        ) from error
