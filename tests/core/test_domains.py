"""Nothing signed for one purpose passes for another (threat 13): each verifier, each of the fourteen domains, and what
is signed outside of them: checkpoints and cosignatures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from astrid.core import keys
from astrid.core.answers import Answer, SignedAnswer, decode_answer, verify_answer
from astrid.core.canon import Domain, digest, encode
from astrid.core.checkpoint import Checkpoint, encode_note_body, origin, parse_note_body
from astrid.core.display import display_digest, render_question
from astrid.core.install import (
    NO_LOSS,
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
from astrid.core.note import (
    COSIGNATURE_V1,
    ED25519,
    NoteSignature,
    UnverifiedNote,
    key_id,
    verify_cosigned,
    verify_note,
)
from astrid.core.prompt import PromptStatement, integrity_of
from astrid.core.question import question_digest
from astrid.core.tokens import Assurance, Grant, SignedBlock, verify_chain
from astrid.errors import AstridError
from astrid.wire.params import Pop, ProvenNothing, params_bytes
from astrid.wire.pop import PopStatement, PopVerifier
from astrid.wire.proof import PopAccepted
from tests.fakes.authority import AUD, DAY, HOLDER, NOW, ROOTS, SESSION, USER, ask, block, key
from tests.vectors.protocol import DOMAINS

QUESTION = ask()
INSTALL = Install(1, b"L" * 32, key(9).public, (Root(USER.public, Assurance.SEALED),), NOW, NO_LOSS)
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


POSSESSION = PopStatement(AUD, b"n" * 32, 1, "shutdown", digest(Domain.POP, params_bytes(ProvenNothing())), b"l" * 32)
CHECKPOINT = Checkpoint(log_id=b"L" * 32, size=7, root=b"r" * 32, tip=b"t" * 32, boot=1)
LOG = origin(CHECKPOINT.log_id)
TEXT = encode_note_body(CHECKPOINT)


def check_chain(payload: bytes, signature: bytes) -> None:
    verify_chain(encode((SignedBlock(payload, signature),)), ROOTS)


def check_answer(payload: bytes, signature: bytes) -> None:
    signed, answer = decode_answer(encode(SignedAnswer(payload, signature, b"")))
    verify_answer(signed, answer, QUESTION, ROOTS, HOLDER.public, now_s=NOW)


def check_prompt(payload: bytes, signature: bytes) -> None:
    if integrity_of(PROMPT, USER.public, signature, ROOTS) is not Integrity.SIGNED_USER:
        raise AstridError("test.untrusted", "the prompt is not trusted")


def check_pop(payload: bytes, signature: bytes) -> None:
    verifier = PopVerifier(USER.public, aud=AUD, nonce=b"n" * 32, id_last=b"l" * 32)
    if verifier.check("shutdown", ProvenNothing(pop=Pop(counter=1, signature=signature))) != PopAccepted(1):
        raise AstridError("test.unproven", "the request is not proven")


def check_checkpoint(payload: bytes, signature: bytes) -> None:
    line = NoteSignature(LOG, key_id(LOG, ED25519, USER.public), signature)
    parse_note_body(verify_note(UnverifiedNote(payload, (line,)), USER.public, LOG))


def check_cosignature(payload: bytes, signature: bytes) -> None:
    line = NoteSignature("witness", key_id("witness", COSIGNATURE_V1, USER.public), NOW.to_bytes(8) + signature)
    verify_cosigned(UnverifiedNote(payload, (line,)), USER.public, "witness")
    parse_note_body(payload)


def stated(payload: bytes, signature: bytes) -> bytes:
    return encode(SignedStatement(payload, USER.public, signature))


Check = Callable[[bytes, bytes], object]
# One key signs and is expected everywhere, so that nothing but what is signed tells the statements apart.
STATEMENTS: dict[str, tuple[bytes, Check]] = {
    "block": (encode(block()), check_chain),
    "install": (encode(INSTALL), lambda payload, signature: verify_install(stated(payload, signature))),
    "device": (encode(DEVICE), lambda payload, signature: verify_device(stated(payload, signature), ROOTS, AUD)),
    "revoke": (
        encode(REVOCATION),
        lambda payload, signature: verify_revocation(stated(payload, signature), ROOTS, AUD),
    ),
    "approval": (encode(DENIAL), check_answer),
    "prompt": (encode(PROMPT), check_prompt),
    "pop": (encode(POSSESSION), check_pop),
    "checkpoint": (TEXT, check_checkpoint),
    "cosignature": (TEXT, check_cosignature),
}
SIGNERS: dict[str, Callable[[bytes], bytes]] = {
    **{domain.value: partial(USER.sign, domain) for domain in Domain},
    "checkpoint": USER.sign_raw,
    "cosignature": lambda text: USER.sign_raw(b"cosignature/v1\ntime %d\n" % NOW + text),
}


@pytest.mark.parametrize("signed_as", SIGNERS)
@pytest.mark.parametrize("meant_as", STATEMENTS)
def test_a_statement_counts_only_if_it_was_signed_as_what_it_is(meant_as: str, signed_as: str) -> None:
    payload, check = STATEMENTS[meant_as]
    if signed_as == meant_as:
        check(payload, SIGNERS[signed_as](payload))
    else:
        with pytest.raises(AstridError):
            check(payload, SIGNERS[signed_as](payload))


@pytest.mark.parametrize("presented_as", STATEMENTS)
@pytest.mark.parametrize("meant_as", STATEMENTS)
def test_one_statement_is_not_taken_for_another_even_when_it_is_signed_as_the_other(
    meant_as: str, presented_as: str
) -> None:
    payload, _ = STATEMENTS[meant_as]
    own, check = STATEMENTS[presented_as]
    if payload == own:
        check(payload, SIGNERS[presented_as](payload))
    else:
        with pytest.raises(AstridError):
            check(payload, SIGNERS[presented_as](payload))


@pytest.mark.parametrize("presented_as", STATEMENTS)
@pytest.mark.parametrize("meant_as", STATEMENTS)
def test_a_statement_with_its_signature_is_that_statement_and_no_other(meant_as: str, presented_as: str) -> None:
    """As it is found somewhere and handed in elsewhere: payload and signature together."""
    payload, _ = STATEMENTS[meant_as]
    _, check = STATEMENTS[presented_as]
    if meant_as == presented_as:
        check(payload, SIGNERS[meant_as](payload))
    else:
        with pytest.raises(AstridError):
            check(payload, SIGNERS[meant_as](payload))


@pytest.mark.parametrize("meant_as", ["block", "approval", "prompt", "pop", "install"])
def test_without_contexts_a_signature_made_for_one_purpose_would_count_for_another(
    meant_as: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control removed: what is signed is the payload alone, as a careless tool would have it signed."""
    payload, check = STATEMENTS[meant_as]
    with pytest.raises(AstridError):
        check(payload, USER.sign_raw(payload))
    monkeypatch.setattr(keys, "_SIGN_CONTEXT", dict.fromkeys(Domain, b""))
    check(payload, USER.sign_raw(payload))


@pytest.mark.parametrize("made", Domain, ids=lambda domain: domain.value)
@pytest.mark.parametrize("checked", Domain, ids=lambda domain: domain.value)
def test_no_signature_and_no_digest_crosses_from_one_domain_to_another(made: Domain, checked: Domain) -> None:
    text = b"the same bytes"
    assert verify(USER.public, checked, text, USER.sign(made, text)) is (made is checked)
    assert (digest(made, text) == digest(checked, text)) is (made is checked)


def test_the_matrix_has_every_domain_of_the_protocol() -> None:
    assert [domain.value for domain in Domain] == list(DOMAINS)
