"""What somebody says to a session, with the label that it has earned.  Pure.

Never: takes words for the user's that the user did not sign for exactly this turn, or an image that they do not name.

Source: protocol N7; threats 9.
"""

from __future__ import annotations

from astrid.core.facts import Facts
from astrid.core.images import MAX_SHOWN_BYTES
from astrid.core.labels import Integrity
from astrid.core.prompt import PromptStatement, integrity_of
from astrid.messages.gateway import Declined, Input
from astrid.messages.session import Hear


def hear(message: Input, facts: Facts) -> Hear | Declined:
    """What the session is to hear; declined, if it is signed and the signature does not hold, or it does not name what
    it brings.
    """
    if why := _objection(message):
        return why
    integrity = Integrity.UNTRUSTED
    if message.signature:
        integrity = _integrity(message, facts)
        if integrity is Integrity.UNTRUSTED:
            return Declined(
                code="prompt.signature", reason="the prompt's signature does not verify", advice="send it unsigned"
            )
    return Hear(text=message.text, integrity=integrity, images=message.images)


def _objection(message: Input) -> Declined | None:
    # SAFETY: what is signed is the text.  An image that it does not name could be anybody's.
    if any(image.digest not in message.text for image in message.images):
        return Declined(
            code="prompt.image-unnamed",
            reason="the text does not name the SHA-256 of an image that comes with it",
            advice="write the digest of each image into the text",
        )
    if sum(image.size_bytes for image in message.images) > MAX_SHOWN_BYTES:
        return Declined(
            code="prompt.images",
            reason=f"the images have more than {MAX_SHOWN_BYTES} bytes together",
            advice="give fewer, or smaller ones",
        )
    return None


def _integrity(message: Input, facts: Facts) -> Integrity:
    try:
        text = message.text.encode()
    except UnicodeEncodeError:  # nobody can have signed that
        return Integrity.UNTRUSTED
    statement = PromptStatement(facts.aud, message.session, message.turn, text)
    return integrity_of(statement, message.signer, message.signature, facts.roots)
