"""Nothing signed for one purpose passes for another (threat 13): each verifier, each of the fourteen domains."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from astrid.core.answers import Answer, SignedAnswer, decode_answer, verify_answer
from astrid.core.canon import Domain, Signed, digest, encode
from astrid.core.display import display_digest, render_question
from astrid.core.install import (
    Device,
    Install,
    Revocation,
    Root,
    SignedStatement,
    verify_device,
    verify_install,
    verify_revocation,
)
from astrid.core.keys import verify
from astrid.core.labels import Integrity
from astrid.core.prompt import PromptStatement, integrity_of
from astrid.core.question import question_digest
from astrid.core.tokens import Assurance, Grant, SignedBlock, verify_chain
from astrid.errors import AstridError
from tests.fakes.authority import AUD, DAY, HOLDER, NOW, ROOTS, SESSION, USER, ask, block, key
from tests.vectors.protocol import DOMAINS

QUESTION = ask()
INSTALL = Install(1, b"L" * 32, key(9).public, (Root(USER.public, Assurance.SEALED),), NOW)
DEVICE = Device(AUD, key(10).public, "phone", Assurance.DEVICE, (Grant("file://w/**", 0, 1, 1, b""),), NOW + DAY)
REVOCATION = Revocation(AUD, b"x" * 32, "token", NOW, USER.public)
PROMPT = PromptStatement(AUD, SESSION, 1, b"tidy up")
DENIAL = Answer(
    1,
    AUD,
    question_digest(QUESTION),
    b"q" * 16,
    0,
    b"",
    display_digest(render_question(QUESTION)),
    Assurance.SEALED,
    NOW,
    USER.public,
)


def check_chain(domain: Domain, payload: bytes) -> None:
    verify_chain(encode((SignedBlock(payload, USER.sign(domain, payload)),)), ROOTS)


def check_answer(domain: Domain, payload: bytes) -> None:
    signed, answer = decode_answer(encode(SignedAnswer(payload, USER.sign(domain, payload), b"")))
    verify_answer(signed, answer, QUESTION, ROOTS, HOLDER.public, now_s=NOW)


def check_prompt(domain: Domain, payload: bytes) -> None:
    if integrity_of(PROMPT, USER.public, USER.sign(domain, payload), ROOTS) is not Integrity.SIGNED_USER:
        raise AstridError("test.untrusted", "the prompt is not trusted")


def stated(domain: Domain, payload: bytes) -> bytes:
    return encode(SignedStatement(payload, USER.public, USER.sign(domain, payload)))


STATEMENTS: dict[Domain, tuple[Signed, Callable[[Domain, bytes], object]]] = {
    Domain.BLOCK: (block(), check_chain),
    Domain.INSTALL: (INSTALL, lambda domain, payload: verify_install(stated(domain, payload))),
    Domain.DEVICE: (DEVICE, lambda domain, payload: verify_device(stated(domain, payload), ROOTS, AUD)),
    Domain.REVOKE: (REVOCATION, lambda domain, payload: verify_revocation(stated(domain, payload), ROOTS, AUD)),
    Domain.APPROVAL: (DENIAL, check_answer),
    Domain.PROMPT: (PROMPT, check_prompt),
}


@pytest.mark.parametrize("signed_as", Domain, ids=lambda domain: domain.value)
@pytest.mark.parametrize("meant_as", STATEMENTS, ids=lambda domain: domain.value)
def test_a_statement_counts_only_if_it_was_signed_as_what_it_is(meant_as: Domain, signed_as: Domain) -> None:
    statement, check = STATEMENTS[meant_as]
    if signed_as is meant_as:
        check(signed_as, encode(statement))
    else:
        with pytest.raises(AstridError):
            check(signed_as, encode(statement))


@pytest.mark.parametrize("presented_as", STATEMENTS, ids=lambda domain: domain.value)
@pytest.mark.parametrize("meant_as", STATEMENTS, ids=lambda domain: domain.value)
def test_one_statement_is_not_taken_for_another_even_when_it_is_signed_as_the_other(
    meant_as: Domain, presented_as: Domain
) -> None:
    statement, _ = STATEMENTS[meant_as]
    _, check = STATEMENTS[presented_as]
    if meant_as is presented_as:
        check(presented_as, encode(statement))
    else:
        with pytest.raises(AstridError):
            check(presented_as, encode(statement))


@pytest.mark.parametrize("made", Domain, ids=lambda domain: domain.value)
@pytest.mark.parametrize("checked", Domain, ids=lambda domain: domain.value)
def test_no_signature_and_no_digest_crosses_from_one_domain_to_another(made: Domain, checked: Domain) -> None:
    text = b"the same bytes"
    assert verify(USER.public, checked, text, USER.sign(made, text)) is (made is checked)
    assert (digest(made, text) == digest(checked, text)) is (made is checked)


def test_the_matrix_has_every_domain_of_the_protocol() -> None:
    assert [domain.value for domain in Domain] == list(DOMAINS)
