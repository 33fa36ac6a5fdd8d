"""Ed25519 against published vectors; keys that are refused when loaded; key files under a passphrase."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import nacl.bindings as sodium
import nacl.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.pwhash import argon2id

from astrid.core import keys
from astrid.core.canon import Domain, digest
from astrid.core.keys import (
    SEALED_BYTES,
    PublicKey,
    SigningKey,
    is_sealed,
    load_public_key,
    seal,
    unseal,
    verify,
    verify_raw,
)
from astrid.errors import KeyFormatError

MODEST = settings(max_examples=60, deadline=None)
VECTORS = Path(__file__).parent.parent / "vectors"
KEY = SigningKey.from_seed(bytes(range(32)))
OTHER = SigningKey(b"o" * 32)
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493

# Points that a lenient verifier takes for keys: every point of small order, and second spellings of some.
FIELD = 2**255 - 19
SMALL_ORDER = {
    "the neutral element": 1,
    "order 2": FIELD - 1,
    "order 4": 0,
    "order 4, other sign": 1 << 255,
    "order 8": 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
    "order 8, other sign": 0xFA03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
    "order 8, another": 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    "order 8, another, other sign": 0x85FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
}
NON_CANONICAL = {
    "zero as p": FIELD,
    "one as p + 1": FIELD + 1,
    "the neutral element with a sign": 1 | 1 << 255,
    "all ones": 2**256 - 1,
}
NOT_ON_THE_CURVE = {"two": 2}


def raw(value: int) -> bytes:
    return value.to_bytes(32, "little")


BAD_KEYS = {name: raw(value) for name, value in (SMALL_ORDER | NON_CANONICAL | NOT_ON_THE_CURVE).items()}


def wycheproof() -> list[dict[str, Any]]:
    content = json.loads((VECTORS / "ed25519_wycheproof.json").read_text("utf-8"))
    assert content["count"] == len(content["vectors"]) == 151
    return content["vectors"]


@pytest.mark.parametrize("vector", wycheproof(), ids=lambda vector: str(vector["tcId"]))
def test_signatures_are_judged_as_the_published_vectors_say(vector: dict[str, Any]) -> None:
    data, signature = bytes.fromhex(vector["msg"]), bytes.fromhex(vector["sig"])
    try:
        key = load_public_key(bytes.fromhex(vector["publicKeyHex"]))
    except KeyFormatError:
        accepted = False
    else:
        accepted = verify_raw(key, data, signature)
    assert accepted is (vector["result"] == "valid")


@pytest.mark.parametrize("bad", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_a_weak_or_malformed_key_is_refused_when_it_is_loaded(bad: bytes) -> None:
    with pytest.raises(KeyFormatError) as refused:
        load_public_key(bad)
    assert refused.value.code == "key.weak"
    assert bad.hex() in refused.value.message


def test_a_key_outside_the_prime_order_group_is_refused() -> None:
    # A good key plus a point of order 8: its multiples by 8 are those of the good key, so signatures may be shared.
    mixed = sodium.crypto_core_ed25519_add(KEY.public, raw(SMALL_ORDER["order 8"]))
    with pytest.raises(KeyFormatError) as refused:
        load_public_key(mixed)
    assert refused.value.code == "key.weak"


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(KeyFormatError) as refused:
        load_public_key(b"k" * size)
    assert refused.value.code == "key.length"
    with pytest.raises(KeyFormatError):
        SigningKey(b"k" * size)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_nothing_verifies_under_a_key_of_another_length(size: int) -> None:
    assert not verify_raw(PublicKey((KEY.public + b"\0")[:size]), b"x", KEY.sign_raw(b"x"))


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_of_another_length_does_not_verify(size: int) -> None:
    signature = KEY.sign_raw(b"x")
    assert not verify_raw(KEY.public, b"x", (signature + b"\0")[:size])


def test_the_end_of_a_signature_cannot_be_moved_into_the_data() -> None:
    signature = KEY.sign_raw(b"xyz")
    assert verify_raw(KEY.public, b"xyz", signature)
    assert not verify_raw(KEY.public, b"yz", signature + b"x")
    assert not verify_raw(KEY.public, signature[-1:] + b"xyz", signature[:-1])


def test_a_signature_with_its_scalar_raised_by_the_group_order_does_not_verify() -> None:
    signature = KEY.sign(Domain.BLOCK, b"x")
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    assert not verify(KEY.public, Domain.BLOCK, b"x", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("signed_as", Domain, ids=lambda domain: domain.value)
def test_a_signature_verifies_in_its_own_domain_and_in_no_other(signed_as: Domain) -> None:
    signature = KEY.sign(signed_as, b"statement")
    assert [domain for domain in Domain if verify(KEY.public, domain, b"statement", signature)] == [signed_as]
    assert not verify_raw(KEY.public, b"statement", signature)


def test_what_is_signed_is_the_context_a_nul_and_the_data() -> None:
    for domain in Domain:
        context = f"astrid/{domain.value}/v1".encode()
        assert verify_raw(KEY.public, context + b"\0" + b"x", KEY.sign(domain, b"x"))


@MODEST
@given(st.binary(max_size=200), st.binary(max_size=200), st.sampled_from(Domain))
def test_a_signature_is_good_for_its_data_and_its_key_only(data: bytes, other: bytes, domain: Domain) -> None:
    signature = KEY.sign(domain, data)
    assert verify(KEY.public, domain, data, signature)
    assert verify(KEY.public, domain, other, signature) is (data == other)
    assert not verify(OTHER.public, domain, data, signature)


def test_a_signing_key_shows_only_its_public_half() -> None:
    assert repr(KEY) == f"<signing key of {KEY.public.hex()[:16]}>"
    assert not hasattr(KEY, "__dict__")
    assert load_public_key(KEY.public) == KEY.public
    for leak in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(KeyFormatError) as refused:
            leak(KEY)
        assert refused.value.code == "key.not-serialisable"


PRIMITIVES: dict[str, Any] = json.loads((VECTORS / "primitives.json").read_text("utf-8"))


@pytest.mark.parametrize("vector", PRIMITIVES["domains"], ids=lambda vector: vector["domain"])
def test_digest_and_signature_of_each_domain_are_those_of_the_protocol(vector: dict[str, str]) -> None:
    domain, text = Domain(vector["domain"]), bytes.fromhex(PRIMITIVES["text"])
    key = SigningKey.from_seed(bytes.fromhex(PRIMITIVES["seed"]))
    assert key.public.hex() == PRIMITIVES["public"]
    assert digest(domain, text).hex() == vector["digest"]
    assert key.sign(domain, text).hex() == vector["signature"]


# --- key files

SEED, SALT, NONCE = b"e" * 32, b"s" * 16, b"n" * 24
SEALED = seal(SEED, b"correct horse", salt=SALT, nonce=NONCE)


def test_a_sealed_key_opens_with_its_passphrase() -> None:
    assert is_sealed(SEALED)
    assert len(SEALED) == SEALED_BYTES
    assert SEED not in SEALED
    assert unseal(SEALED, b"correct horse") == SEED


def test_a_key_file_of_another_program_opens() -> None:
    vector = {name: bytes.fromhex(value) for name, value in PRIMITIVES["sealed_key"].items()}
    seed = bytes.fromhex(PRIMITIVES["seed"])
    assert unseal(vector["file"], vector["passphrase"]) == seed
    assert seal(seed, vector["passphrase"], salt=vector["salt"], nonce=vector["nonce"]) == vector["file"]


def test_a_sealed_key_is_the_box_that_the_format_says() -> None:
    stretched = argon2id.kdf(32, b"correct horse", SALT, opslimit=2, memlimit=64 * 1024 * 1024)
    assert b"astrid-sealed-key-v1\n" + SALT + NONCE + sodium.crypto_secretbox(SEED, NONCE, stretched) == SEALED


@pytest.mark.parametrize("passphrase", [b"correct horsf", b""])
def test_another_passphrase_does_not_open_it(passphrase: bytes) -> None:
    with pytest.raises(KeyFormatError) as refused:
        unseal(SEALED, passphrase)
    assert refused.value.code == "key.passphrase"


@pytest.mark.parametrize("place", [21, 36, 37, 60, 61, 92, SEALED_BYTES - 1])
def test_a_changed_byte_is_found_wherever_it_is(place: int) -> None:
    damaged = SEALED[:place] + bytes([SEALED[place] ^ 1]) + SEALED[place + 1 :]
    with pytest.raises(KeyFormatError) as refused:
        unseal(damaged, b"correct horse")
    assert refused.value.code == "key.passphrase"


@pytest.mark.parametrize(
    "file", [b"", b"e" * 32, SEALED[:-1], SEALED + b"\0", SEALED[1:], b"A" + SEALED[1:], SEALED[:21]], ids=len
)
def test_what_is_not_a_sealed_key_is_not_opened(file: bytes) -> None:
    with pytest.raises(KeyFormatError) as refused:
        unseal(file, b"correct horse")
    assert refused.value.code == "key.not-sealed"


@pytest.mark.parametrize(
    ("seed", "salt", "nonce"), [(b"e" * 31, SALT, NONCE), (SEED, b"s" * 15, NONCE), (SEED, SALT, b"n" * 23)]
)
def test_a_key_is_not_sealed_with_parts_that_cannot_be_opened_again(seed: bytes, salt: bytes, nonce: bytes) -> None:
    with pytest.raises(KeyFormatError) as refused:
        seal(seed, b"correct horse", salt=salt, nonce=nonce)
    assert refused.value.code == "key.length"


def test_an_empty_passphrase_seals_nothing() -> None:
    with pytest.raises(KeyFormatError) as refused:
        seal(SEED, b"", salt=SALT, nonce=NONCE)
    assert refused.value.code == "key.no-passphrase"


def test_a_lack_of_memory_is_not_taken_for_a_wrong_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> bytes:
        raise nacl.exceptions.RuntimeError("no memory")

    monkeypatch.setattr(keys.argon2id, "kdf", exhausted)
    with pytest.raises(KeyFormatError) as refused:
        unseal(SEALED, b"correct horse")
    assert refused.value.code == "key.no-memory"


def test_a_derived_key_is_told_by_its_maker_and_its_label_alone() -> None:
    made = {SigningKey.from_seed(seed).derive(label).public for seed in (b"a" * 32, b"b" * 32) for label in (b"", b"x")}
    assert len(made) == 4
    assert SigningKey.from_seed(b"a" * 32).derive(b"x").public == SigningKey.from_seed(b"a" * 32).derive(b"x").public
    assert SigningKey.from_seed(b"a" * 32).public not in made
