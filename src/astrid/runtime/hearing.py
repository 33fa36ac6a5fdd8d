"""What somebody says to a session, with the label that it has earned.  Pure.

Never: takes words for the user's that the user did not sign for exactly this turn.

Source: protocol N7; threats 9.
"""

from __future__ import annotations

from astrid.core.facts import Facts
from astrid.core.labels import Integrity
from astrid.core.prompt import PromptStatement, integrity_of
from astrid.messages.gateway import Declined, Input
from astrid.messages.session import Hear


def hear(message: Input, facts: Facts) -> Hear | Declined:
    """What the session is to hear; declined, if it is signed and the signature does not hold."""
    integrity = Integrity.UNTRUSTED
    if message.signature:
        integrity = _integrity(message, facts)
        if integrity is Integrity.UNTRUSTED:
            return Declined(
                code="prompt.signature", reason="the prompt's signature does not verify", advice="send it unsigned"
            )
    return Hear(text=message.text, integrity=integrity)


def _integrity(message: Input, facts: Facts) -> Integrity:
    try:
        text = message.text.encode()
    except UnicodeEncodeError:  # nobody can have signed that
        return Integrity.UNTRUSTED
    statement = PromptStatement(facts.aud, message.session, message.turn, text)
    return integrity_of(statement, message.signer, message.signature, facts.roots)
