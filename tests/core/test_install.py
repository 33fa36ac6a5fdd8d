"""What the user's key signs besides tokens: the install, its devices, revocations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.blocks import Assurance, Grant
from astrid.core.canon import Domain, digest, encode
from astrid.core.install import (
    CODE_BITS,
    MAX_ROOTS,
    MAX_STATEMENT_BYTES,
    NO_LOSS,
    Device,
    Install,
    Lost,
    Revocation,
    Root,
    SignedStatement,
    enrolment_code,
    install_id,
    roots_of,
    sign_statement,
    verify_device,
    verify_install,
    verify_revocation,
)
from astrid.core.keys import PublicKey, SigningKey
from astrid.core.tokens import Enrolled, Roots
from astrid.errors import CanonError, TokenError
from tests.fakes.authority import AUD, DAY, NOW, PLAIN_USER, STRANGER, USER, key

VECTORS = Path(__file__).parent.parent / "vectors"
MODEST = settings(max_examples=60, deadline=None)
RUNTIME, PHONE = key(9), key(10)
ROOTS = (Root(USER.public, Assurance.SEALED), Root(PLAIN_USER.public, Assurance.PLAIN))
INSTALL = Install(1, b"L" * 32, RUNTIME.public, ROOTS, NOW, NO_LOSS)
TIP = b"T" * 32
TRUSTED = roots_of(INSTALL, epoch=3)
ISSUABLE = (Grant("file://w/**", 0, 3, 1, b""),)
DEVICE = Device(AUD, PHONE.public, "phone", Assurance.DEVICE, ISSUABLE, NOW + DAY)
REVOCATION = Revocation(AUD, b"x" * 32, "token", NOW, USER.public)
WEAK = b"\x01" + bytes(31)


def code_of(call: Any, *args: Any) -> str:
    with pytest.raises(TokenError) as refused:
        call(*args)
    return refused.value.code


# --- the install statement


def install(signer: SigningKey = USER, **changes: Any) -> bytes:
    return sign_statement(Domain.INSTALL, msgspec.structs.replace(INSTALL, **changes), signer)


def test_an_install_statement_signed_by_a_root_it_names_verifies() -> None:
    assert verify_install(install()) == verify_install(install(PLAIN_USER)) == INSTALL


def test_the_audience_is_the_digest_of_the_statement_without_its_signature() -> None:
    assert install_id(INSTALL) == digest(Domain.INSTALL, encode(INSTALL))


def test_its_roots_are_those_it_names() -> None:
    expected = Roots({USER.public: Assurance.SEALED, PLAIN_USER.public: Assurance.PLAIN}, 3, {})
    assert roots_of(INSTALL, epoch=3) == expected


def many(count: int) -> tuple[Root, ...]:
    return tuple(Root(key(100 + n).public, Assurance.SEALED) for n in range(count))


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("install.malformed", {"version": 0}),
        ("install.malformed", {"version": 2}),
        ("install.malformed", {"roots": ()}),
        ("install.malformed", {"roots": (*ROOTS, *many(MAX_ROOTS - 1))}),
        ("install.malformed", {"roots": (Root(USER.public, 0),)}),
        ("install.malformed", {"roots": (ROOTS[0], Root(PLAIN_USER.public, 0))}),
        ("install.malformed", {"roots": (Root(USER.public, Assurance.RELAYED),)}),
        ("install.keys", {"roots": (ROOTS[0], Root(USER.public, Assurance.PLAIN))}),
        ("install.keys", {"runtime_key": USER.public}),
        ("statement.key", {"runtime_key": WEAK}),
        ("statement.key", {"roots": (*ROOTS, Root(WEAK, Assurance.SEALED))}),
        ("install.signature", {"roots": (ROOTS[1],)}),
        ("install.malformed", {"lost": Lost(INSTALL.log_id, 1, TIP)}),
        ("install.malformed", {"lost": Lost(b"O" * 32, 0, TIP)}),
        ("install.malformed", {"lost": Lost(b"O" * 32, 1, NO_LOSS.tip)}),
        ("install.malformed", {"lost": Lost(NO_LOSS.log_id, 1, TIP)}),
        ("install.malformed", {"lost": Lost(NO_LOSS.log_id, 0, TIP)}),
        ("install.malformed", {"lost": Lost(NO_LOSS.log_id, 1, NO_LOSS.tip)}),
    ],
    ids=str,
)
def test_a_wrong_install_statement_is_refused(code: str, changes: dict[str, Any]) -> None:
    assert code_of(verify_install, install(**changes)) == code


@pytest.mark.parametrize(
    "roots", [(ROOTS[0],), (Root(USER.public, Assurance.DEVICE),), (ROOTS[0], *many(MAX_ROOTS - 1))]
)
def test_an_install_has_one_to_eight_user_keys_kept_in_any_way_but_relayed(roots: tuple[Root, ...]) -> None:
    assert verify_install(install(roots=roots)).roots == roots


@pytest.mark.parametrize("lost", [NO_LOSS, Lost(b"O" * 32, 1, TIP), Lost(b"O" * 32, 0, NO_LOSS.tip)])
def test_an_install_names_a_log_that_was_lost_or_none_as_part_of_its_identity(lost: Lost) -> None:
    raw = install(lost=lost)
    assert verify_install(raw).lost == lost
    assert (install_id(verify_install(raw)) == install_id(INSTALL)) == (lost == NO_LOSS)


def test_a_log_signed_again_under_another_root_is_another_install() -> None:  # threat 12
    forged = msgspec.structs.replace(INSTALL, roots=(Root(STRANGER.public, Assurance.SEALED),))
    assert verify_install(sign_statement(Domain.INSTALL, forged, STRANGER)) == forged
    assert install_id(forged) != install_id(INSTALL)


def test_a_statement_whose_signature_is_of_another_key_or_other_bytes_is_refused() -> None:
    payload = encode(INSTALL)
    by_other = SignedStatement(payload, USER.public, STRANGER.sign(Domain.INSTALL, payload))
    assert code_of(verify_install, encode(by_other)) == "install.signature"
    later = encode(msgspec.structs.replace(INSTALL, created_s=NOW + 1))
    assert (
        code_of(verify_install, encode(SignedStatement(later, USER.public, by_other.signature))) == "install.signature"
    )


@pytest.mark.parametrize(
    "raw", [b"", b"\xc0", b"\x93", install() + b"\0", install()[:-1], b"\xdc\x00\x03" + install()[1:]]
)
def test_what_is_no_statement_is_refused(raw: bytes) -> None:
    for verify in (
        verify_install,
        lambda raw: verify_device(raw, TRUSTED, AUD),
        lambda raw: verify_revocation(raw, TRUSTED, AUD),
    ):
        assert code_of(verify, raw) == "statement.encoding"


def test_a_statement_that_is_too_long_is_refused() -> None:
    raw = encode(SignedStatement(b"x" * MAX_STATEMENT_BYTES, USER.public, bytes(64)))
    assert code_of(verify_install, raw) == "statement.encoding"


def test_a_statement_with_a_payload_of_another_kind_is_refused() -> None:
    assert code_of(verify_install, sign_statement(Domain.INSTALL, DEVICE, USER)) == "statement.encoding"


# --- devices (threat 18)


def device(signer: SigningKey = USER, **changes: Any) -> bytes:
    return sign_statement(Domain.DEVICE, msgspec.structs.replace(DEVICE, **changes), signer)


@pytest.mark.parametrize("assurance", [Assurance.DEVICE, Assurance.RELAYED])
def test_an_enrolment_signed_by_a_root_verifies(assurance: Assurance) -> None:
    enrolled = verify_device(device(assurance=assurance), TRUSTED, AUD)
    assert enrolled == msgspec.structs.replace(DEVICE, assurance=assurance)
    assert roots_of(INSTALL, epoch=4, devices=(enrolled,)).devices == {PHONE.public: Enrolled(assurance, NOW + DAY)}


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("device.audience", {"aud": b"B" * 32}),
        ("device.key", {"device_key": USER.public}),
        ("statement.key", {"device_key": WEAK}),
        ("device.expiry", {"expires_s": 2**64 - 1}),
        ("device.malformed", {"assurance": Assurance.SEALED}),
        ("device.malformed", {"assurance": 5}),
        ("device.malformed", {"grants": (Grant("file://w/**", 1, 3, 1, b""),)}),
        ("device.malformed", {"grants": (*ISSUABLE, Grant("file://x/**", 1, 3, 1, b""))}),
        ("device.relayed", {"assurance": Assurance.RELAYED, "grants": (*ISSUABLE, Grant("file://x", 0, 3, 2, b""))}),
        ("device.relayed", {"assurance": Assurance.RELAYED, "grants": (Grant("file://w/**", 0, 3, 2, b""),)}),
        ("token.grants", {"grants": ()}),
        ("token.pattern", {"grants": (Grant("file://w/../x", 0, 3, 1, b""),)}),
    ],
    ids=str,
)
def test_a_wrong_enrolment_is_refused(code: str, changes: dict[str, Any]) -> None:
    assert code_of(verify_device, device(**changes), TRUSTED, AUD) == code


def test_a_device_that_is_no_relay_may_issue_what_is_of_high_risk() -> None:
    grants = (Grant("file://w/**", 0, 3, 3, b""),)
    assert verify_device(device(grants=grants), TRUSTED, AUD).grants == grants


def test_only_a_root_enrols_a_device() -> None:
    assert code_of(verify_device, device(STRANGER), TRUSTED, AUD) == "statement.signer"
    assert code_of(verify_device, device(PHONE), TRUSTED, AUD) == "statement.signer"
    payload = encode(DEVICE)
    forged = encode(SignedStatement(payload, USER.public, STRANGER.sign(Domain.DEVICE, payload)))
    assert code_of(verify_device, forged, TRUSTED, AUD) == "statement.signature"


@pytest.mark.parametrize(
    "devices",
    [
        (DEVICE, DEVICE),
        (msgspec.structs.replace(DEVICE, device_key=RUNTIME.public),),
        (msgspec.structs.replace(DEVICE, device_key=USER.public),),
    ],
    ids=("twice", "the runtime key", "a user key"),
)
def test_no_key_has_two_roles(devices: tuple[Device, ...]) -> None:
    with pytest.raises(TokenError) as refused:
        roots_of(INSTALL, epoch=1, devices=devices)
    assert refused.value.code == "install.keys"


def test_the_code_is_the_first_thirty_bits_of_the_digest_of_both_keys() -> None:
    vector = json.loads((VECTORS / "primitives.json").read_text("utf-8"))["enrolment"]
    user, phone = (PublicKey(bytes.fromhex(vector[name])) for name in ("user", "device"))
    assert enrolment_code(user, phone) == vector["code"]


@MODEST
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_both_ends_compute_one_code_and_another_key_another_code(user: bytes, phone: bytes, other: bytes) -> None:
    code = enrolment_code(PublicKey(user), PublicKey(phone))
    assert 0 <= code < 2**CODE_BITS
    if len({user, phone, other}) == 3:
        # Somebody in the middle who gives each end a key of his own shows them two codes.
        assert enrolment_code(PublicKey(user), PublicKey(other)) != code
        assert enrolment_code(PublicKey(other), PublicKey(phone)) != code
        assert enrolment_code(PublicKey(phone), PublicKey(user)) != code


# --- revocation


def revocation(signer: SigningKey = USER, **changes: Any) -> bytes:
    return sign_statement(Domain.REVOKE, msgspec.structs.replace(REVOCATION, **changes), signer)


@pytest.mark.parametrize("kind", ["token", "key"])
def test_a_revocation_signed_by_a_root_verifies(kind: str) -> None:
    target: bytes = PHONE.public if kind == "key" else b"x" * 32
    assert verify_revocation(revocation(kind=kind, target=target), TRUSTED, AUD).kind == kind


@pytest.mark.parametrize("kind", ["", "tokens", "token\n", "key token", "Token"])
def test_nothing_but_tokens_and_keys_is_revoked(kind: str) -> None:
    with pytest.raises(CanonError):
        revocation(kind=kind)


def test_a_revocation_for_another_install_or_by_another_key_is_refused() -> None:
    assert code_of(verify_revocation, revocation(aud=b"B" * 32), TRUSTED, AUD) == "revoke.audience"
    assert code_of(verify_revocation, revocation(PLAIN_USER), TRUSTED, AUD) == "revoke.audience"
    assert code_of(verify_revocation, revocation(STRANGER), TRUSTED, AUD) == "statement.signer"
