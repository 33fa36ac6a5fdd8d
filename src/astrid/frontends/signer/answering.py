"""The answer to a question: shown, chosen, signed; over the question's own bytes and nothing said beside them.

The order is the argument: everything that can be refused is refused before the person sees anything; the person sees
the whole text before they can choose; the key is opened only after they chose.

Never: takes a digest, a text or a block from outside; offers a choice that the question's own call does not give rise
to.

Source: protocol N5, N6, N8, N11; threats 6, 7, 16, 37, 51.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from astrid.core.answers import Answer, Verdict
from astrid.core.blocks import check_block
from astrid.core.canon import Domain, decode, encode
from astrid.core.display import display_digest, render_question, too_long_for_standing
from astrid.core.keys import PublicKey, SigningKey, load_public_key
from astrid.core.question import Question, answer_block, check_asked, decode_question, question_digest
from astrid.core.tokens import MAX_CHAIN_BYTES, Block, Scope, SignedBlock, issue
from astrid.errors import TokenError
from astrid.frontends.signer.identity import Identity
from astrid.frontends.signer.protocol import SignedReply

_KEYS = {"o": Scope.ONCE, "s": Scope.SESSION, "w": Scope.WORKSPACE, "a": Scope.ALWAYS}
_DENY = "d"
_MEANINGS = {
    Scope.ONCE: "this one call and nothing else",
    Scope.SESSION: 'all that "session" above covers, as often as it likes, until this session ends',
    Scope.WORKSPACE: 'all that "workspace" above covers, in every session in this folder, for 30 days',
    Scope.ALWAYS: 'all that "always" above covers, in every folder, until you revoke it',
}


class Display(Protocol):
    """A person's terminal."""

    def say(self, text: str, *, strong: bool = False) -> None:
        """Show one line."""
        ...

    def show(self, text: str, *, until_s: float | None = None) -> None:
        """Show all of a text, a screen at a time."""
        ...

    def ask(self, prompt: str, *, secret: bool = False, until_s: float | None = None) -> bytes:
        """One typed line."""
        ...


class Asked(msgspec.Struct, frozen=True):
    """A question that holds together, its text, and which answers this install's keys can give."""

    raw: bytes
    question: Question
    shown: str
    offered: tuple[Scope, ...]
    withheld: tuple[tuple[Scope, str], ...]


def examine(raw: bytes, identity: Identity, keeper: PublicKey, now_s: int) -> Asked:
    """Question ``raw`` before anybody sees it.

    Raises:
        CanonError, KeyFormatError, TokenError: it is not to be shown, and nothing is signed.
    """
    question, call = decode_question(raw)
    if question.aud != identity.aud:
        raise TokenError(
            "signer.other-install",
            "the question was made for another install",
            advice="nothing was signed; check that ASTRID_HOME is the home of the daemon that asks",
        )
    principal = load_public_key(call.principal_key)
    if principal in (keeper, identity.install.runtime_key, *(root.key for root in identity.install.roots)):
        raise TokenError(
            "signer.principal",
            "the question is asked for somebody who is no session",
            advice="stop the daemon, which asks for one of the install's own keys, and run `astrid audit verify`",
        )
    check_asked(question, now_s)
    shown = render_question(raw)
    offered: list[Scope] = []
    withheld: list[tuple[Scope, str]] = []
    for choice in question.choices:
        scope = Scope(choice.scope)
        reason = _why_not(raw, scope, shown, identity, keeper)
        if reason:
            withheld.append((scope, reason))
        else:
            offered.append(scope)
    return Asked(raw, question, shown, tuple(offered), tuple(withheld))


def _why_not(raw: bytes, scope: Scope, shown: str, identity: Identity, keeper: PublicKey) -> str:
    if scope != Scope.ONCE and too_long_for_standing(shown):
        return "a question this long can only be answered once"
    issuer, nonce = identity.install.roots[0].key, b"\0" * 16
    try:
        check_block(answer_block(raw, scope, issuer=issuer, assurance=identity.assurance, keeper=keeper, nonce=nonce))
    except TokenError as error:
        return error.message
    return ""


def choose(asked: Asked, display: Display, home: str) -> Verdict:
    """What the person says, after they have seen all of the question.

    Raises:
        InputError: they broke off, or time is up.
        EdgeError: the terminal is gone or too small.
    """
    until_s = float(asked.question.expires)
    display.say("Astrid signer: may this happen? Your answer is signed with your key.", strong=True)
    display.say(f"home: {home}")
    display.show(asked.shown, until_s=until_s)
    keys = {key: scope for key, scope in _KEYS.items() if scope in asked.offered}
    for key, scope in keys.items():
        display.say(f"  {key} {scope.name.lower():<10} {_MEANINGS[scope]}")
    display.say(f"  {_DENY} {'deny':<10} it does not happen")
    for scope, reason in asked.withheld:
        display.say(f"  - {scope.name.lower():<10} not offered: {reason}")
    while True:
        typed = display.ask(f"Your answer ({'/'.join((*keys, _DENY))}) and Enter:", until_s=until_s)
        word = typed.strip().lower().decode("ascii", "replace")
        if word in (_DENY, "deny"):
            return Verdict.DENY
        for key, scope in keys.items():
            if word in (key, scope.name.lower()):
                return Verdict(scope + 1)


def sign_answer(
    asked: Asked,
    verdict: Verdict,
    *,
    identity: Identity,
    keeper: PublicKey,
    open_key: Callable[[], SigningKey],
    now_s: Callable[[], int],
    nonce: bytes,
) -> SignedReply:
    """The person's answer, signed: the statement A, and the token's block unless they said no.

    Raises:
        TokenError: the key is too weak for the answer, or time is up.
        ConfigError, KeyFormatError, InputError: the key cannot be opened.
    """
    key = open_key()
    assurance = identity.assurance_of(key)
    block: Block | None = None
    if verdict is not Verdict.DENY:
        scope = Scope(verdict - 1)
        block = answer_block(asked.raw, scope, issuer=key.public, assurance=assurance, keeper=keeper, nonce=nonce)
    answered = now_s()
    check_asked(asked.question, answered)
    signed = sign_block(block, key) if block is not None else None
    answer = Answer(
        version=1,
        aud=identity.aud,
        question=question_digest(asked.raw),
        qid=asked.question.qid,
        decision=verdict,
        payload=signed.payload if signed is not None else b"",
        shown=display_digest(asked.shown),
        assurance=assurance,
        answered=answered,
        signer=key.public,
    )
    statement = encode(answer)
    return SignedReply(
        statement=statement,
        signature=key.sign(Domain.APPROVAL, statement),
        payload=answer.payload,
        token_signature=signed.signature if signed is not None else b"",
    )


def sign_block(block: Block, key: SigningKey) -> SignedBlock:
    """``block`` as the one block of a chain, signed.

    Raises:
        TokenError, CanonError: no verifier would take it.
    """
    (signed,) = decode(issue(block, key), tuple[SignedBlock, ...], max_bytes=MAX_CHAIN_BYTES, what="a token")
    return signed
