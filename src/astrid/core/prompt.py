"""A prompt that a person typed: signed over audience, session, turn and text, so that it counts there and nowhere
else.  Pure.

Source: architecture 6 ("Labels"); threats 9.
"""

from __future__ import annotations

from astrid.core.canon import U32, Bytes16, Bytes32, Domain, Signed, encode
from astrid.core.keys import PublicKey, SigningKey, verify
from astrid.core.labels import Integrity
from astrid.core.tokens import Roots


class PromptStatement(Signed, frozen=True, array_like=True):
    """What a person signs when they type."""

    aud: Bytes32
    session: Bytes16
    turn: U32
    text: bytes


def sign_prompt(statement: PromptStatement, key: SigningKey) -> bytes:
    """The signature over a prompt."""
    return key.sign(Domain.PROMPT, encode(statement))


def integrity_of(statement: PromptStatement, signer: bytes, signature: bytes, roots: Roots) -> Integrity:
    """The label that a prompt has earned: ``SIGNED_USER`` if a user key of this install signed exactly it, else
    ``UNTRUSTED``.
    """
    known = signer in roots.keys and verify(PublicKey(signer), Domain.PROMPT, encode(statement), signature)
    return Integrity.SIGNED_USER if known else Integrity.UNTRUSTED
