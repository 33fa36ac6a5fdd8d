"""A typed prompt counts where and when it was typed, and nowhere else (threat 9)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from astrid.core.canon import Domain, encode
from astrid.core.labels import Integrity
from astrid.core.prompt import PromptStatement, integrity_of, sign_prompt
from astrid.errors import CanonError
from tests.fakes.authority import AUD, DEVICE_KEY, HOLDER, PLAIN_USER, ROOTS, SESSION, STRANGER, USER

STATEMENT = PromptStatement(AUD, SESSION, 1, b"mail the report to Ann")
SIGNATURE = sign_prompt(STATEMENT, USER)


def test_what_the_user_signed_is_theirs() -> None:
    assert integrity_of(STATEMENT, USER.public, SIGNATURE, ROOTS) is Integrity.SIGNED_USER


@pytest.mark.parametrize(
    "change",
    [
        {"aud": b"B" * 32},
        {"session": b"T" * 16},
        {"turn": 2},
        {"text": b"mail the report to Bob"},
        {"text": b"mail the report to Ann "},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_signature_says_nothing_of_another_prompt(change: dict[str, Any]) -> None:
    other = msgspec.structs.replace(STATEMENT, **change)
    assert integrity_of(other, USER.public, SIGNATURE, ROOTS) is Integrity.UNTRUSTED
    assert integrity_of(other, USER.public, sign_prompt(other, USER), ROOTS) is Integrity.SIGNED_USER


@pytest.mark.parametrize("signer", [HOLDER, DEVICE_KEY, STRANGER])
def test_a_key_that_is_no_user_key_earns_no_trust(signer: Any) -> None:
    assert integrity_of(STATEMENT, signer.public, sign_prompt(STATEMENT, signer), ROOTS) is Integrity.UNTRUSTED


def test_another_user_key_does_not_vouch_for_this_one() -> None:
    assert integrity_of(STATEMENT, PLAIN_USER.public, SIGNATURE, ROOTS) is Integrity.UNTRUSTED


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, SIGNATURE[:-1], SIGNATURE + b"\0"])
def test_what_is_no_signature_earns_no_trust(signature: bytes) -> None:
    assert integrity_of(STATEMENT, USER.public, signature, ROOTS) is Integrity.UNTRUSTED


@pytest.mark.parametrize("domain", [domain for domain in Domain if domain is not Domain.PROMPT])
def test_what_was_signed_for_another_purpose_is_no_prompt(domain: Domain) -> None:
    signature = USER.sign(domain, encode(STATEMENT))
    assert integrity_of(STATEMENT, USER.public, signature, ROOTS) is Integrity.UNTRUSTED


def test_a_prompt_that_has_no_one_encoding_is_not_signed() -> None:
    with pytest.raises(CanonError):
        sign_prompt(msgspec.structs.replace(STATEMENT, session=b"short"), USER)
