"""The install statement, device enrolment and revocation: what else the user's key signs.  Pure.

Source: protocol N7, and N2 c for revocation; threats 12, 18, 48.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from astrid.core.blocks import check_grants
from astrid.core.canon import MAX_U64, U8, U64, Ascii, Bytes32, Bytes64, Domain, Signed, decode, digest, encode
from astrid.core.ids import InstallId
from astrid.core.keys import PublicKey, SigningKey, load_public_key, verify
from astrid.core.risk import Risk
from astrid.core.tokens import Assurance, Enrolled, Grant, Roots
from astrid.errors import CanonError, KeyFormatError, TokenError

MAX_STATEMENT_BYTES = 16 * 1024
MAX_ROOTS = 8
CODE_BITS = 30
_NOTHING = bytes(32)
_RESTORE = "restore the file `install` of the home from a backup"
_T = TypeVar("_T")


class Root(Signed, frozen=True, array_like=True, order=True):
    """A user key and how well it is kept."""

    key: Bytes32
    assurance: U8


class Lost(Signed, frozen=True, array_like=True):
    """A log that the user gave up: its id, and how long it was and where it ended, as far as a checkpoint shows that
    was kept outside it.
    """

    log_id: Bytes32
    size: U64
    tip: Bytes32


NO_LOSS = Lost(_NOTHING, 0, _NOTHING)


class Install(Signed, frozen=True, array_like=True):
    """``I`` of N7: the log, the key that signs its checkpoints, the keys that may grant, and the log before this one,
    if that was lost (N11).
    """

    version: U8
    log_id: Bytes32
    runtime_key: Bytes32
    roots: tuple[Root, ...]
    created_s: U64
    lost: Lost


class SignedStatement(Signed, frozen=True, array_like=True):
    """A statement, who signed it, and the signature."""

    payload: bytes
    signer: Bytes32
    signature: Bytes64


class Device(Signed, frozen=True, array_like=True):
    """An enrolment of N7: how well a device key is kept, what it may issue, and until when."""

    aud: Bytes32
    device_key: Bytes32
    kind: Ascii
    assurance: U8
    grants: tuple[Grant, ...]
    expires_s: U64


class Revocation(Signed, frozen=True, array_like=True):
    """Revokes a block id or a key (32 bytes); durable, immediate, for the whole subtree."""

    aud: Bytes32
    target: Bytes32
    kind: Annotated[str, msgspec.Meta(pattern=r"^(?:token|key)\Z")]
    asked_s: U64
    signer: Bytes32


def sign_statement(domain: Domain, statement: Signed, key: SigningKey) -> bytes:
    """The bytes of a signed statement of ``domain``.

    Raises:
        CanonError: a field has no canonical form.
    """
    payload = encode(statement)
    return encode(SignedStatement(payload, key.public, key.sign(domain, payload)))


def install_id(install: Install) -> InstallId:
    """H(install, I): the audience of everything signed for this install."""
    return InstallId(digest(Domain.INSTALL, encode(install)))


def verify_install(raw: bytes) -> Install:
    """The install statement in ``raw``, signed by one of the roots it names.

    It proves only that the holder of that root said so; whether it is *this* user's root, a caller knows from
    elsewhere.

    Raises:
        TokenError: malformed, or not signed by one of its own roots.
    """
    signed = _statement(raw)
    install = _decode(signed.payload, Install, "an install statement")
    keys = [root.key for root in install.roots]
    if install.version != 1 or not 1 <= len(keys) <= MAX_ROOTS:
        raise TokenError(
            "install.malformed", "an install statement of version 1 names 1 to 8 user keys", advice=_RESTORE
        )
    if any(not Assurance.PLAIN <= root.assurance <= Assurance.DEVICE for root in install.roots):
        raise TokenError("install.malformed", "a user key is plain, sealed or a device", advice=_RESTORE)
    if len({*keys, install.runtime_key}) != len(keys) + 1:
        raise TokenError("install.keys", "the keys of an install are pairwise distinct", advice=_RESTORE)
    if not _makes_sense(install.lost, install.log_id):
        raise TokenError(
            "install.malformed", "an install statement names another, whole log as lost, or none", advice=_RESTORE
        )
    for key in (*keys, install.runtime_key):
        _key(key)
    if signed.signer not in keys or not verify(_key(signed.signer), Domain.INSTALL, signed.payload, signed.signature):
        raise TokenError("install.signature", "the install statement is not signed by a key it names", advice=_RESTORE)
    return install


def _makes_sense(lost: Lost, log_id: bytes) -> bool:
    """One spelling for no loss, and one for a log of which no checkpoint was found."""
    if lost.log_id == _NOTHING:
        return lost == NO_LOSS
    return lost.log_id != log_id and (lost.size == 0) == (lost.tip == _NOTHING)


def roots_of(install: Install, *, epoch: int, devices: Sequence[Device] = ()) -> Roots:
    """The roots that an install statement names, and the ``devices`` whose enrolment was verified.

    Raises:
        TokenError: a key has two roles.
    """
    keys = {root.key: Assurance(root.assurance) for root in install.roots}
    enrolled = {device.device_key: Enrolled(Assurance(device.assurance), device.expires_s) for device in devices}
    if len({*keys, *enrolled, install.runtime_key}) != len(keys) + len(devices) + 1:
        raise TokenError("install.keys", "the keys of an install and of its devices are pairwise distinct")
    return Roots(keys, epoch, enrolled)


def verify_device(raw: bytes, roots: Roots, aud: bytes) -> Device:
    """An enrolment signed by a root for this install.

    What the device may issue binds through the first block of its chain, which the user signs with the enrolment;
    here it is only checked to make sense.

    Raises:
        TokenError: malformed, for another install, or signed by another key.
    """
    signed = _statement(raw)
    device = _decode(signed.payload, Device, "a device enrolment")
    _by_root(signed, Domain.DEVICE, roots)
    if device.aud != aud:
        raise TokenError("device.audience", "the enrolment was made for another install")
    if _key(device.device_key) in roots.keys:
        raise TokenError("device.key", "a device has a key of its own")
    if device.expires_s == MAX_U64:
        raise TokenError("device.expiry", "an enrolment has an end")
    check_grants(device.grants)
    if device.assurance not in (Assurance.DEVICE, Assurance.RELAYED) or any(grant.perms for grant in device.grants):
        raise TokenError("device.malformed", "an enrolment lets a device issue, and use nothing itself")
    if device.assurance == Assurance.RELAYED and any(grant.max_risk > Risk.MEDIUM for grant in device.grants):
        raise TokenError("device.relayed", "a relayed yes is good for medium risk at most")
    return device


def verify_revocation(raw: bytes, roots: Roots, aud: bytes) -> Revocation:
    """A revocation signed by a root for this install.

    Raises:
        TokenError: malformed, for another install, or signed by another key.
    """
    signed = _statement(raw)
    revocation = _decode(signed.payload, Revocation, "a revocation")
    _by_root(signed, Domain.REVOKE, roots)
    if revocation.aud != aud or revocation.signer != signed.signer:
        raise TokenError("revoke.audience", "the revocation was made for another install or by another key")
    if revocation.kind == "key":
        _key(revocation.target)  # of what can be nobody's key it would revoke nothing, and say that it did
    return revocation


def enrolment_code(user_key: PublicKey, device_key: PublicKey) -> int:
    """The 30-bit code that a person compares on both ends before a device is enrolled."""
    return int.from_bytes(digest(Domain.DEVICE, encode((user_key, device_key)))[:4], "big") >> (32 - CODE_BITS)


def _by_root(signed: SignedStatement, domain: Domain, roots: Roots) -> None:
    if signed.signer not in roots.keys:
        raise TokenError("statement.signer", "the statement is not signed by a user key of this install")
    if not verify(_key(signed.signer), domain, signed.payload, signed.signature):
        raise TokenError("statement.signature", "the statement's signature does not verify")


def _statement(raw: bytes) -> SignedStatement:
    return _decode(raw, SignedStatement, "a signed statement")


def _decode(raw: bytes, shape: type[_T], what: str) -> _T:
    try:
        return decode(raw, shape, max_bytes=MAX_STATEMENT_BYTES, what=what)
    except CanonError as error:
        raise TokenError("statement.encoding", error.message) from error


def _key(raw: bytes) -> PublicKey:
    try:
        return load_public_key(raw)
    except KeyFormatError as error:
        raise TokenError("statement.key", error.message) from error
