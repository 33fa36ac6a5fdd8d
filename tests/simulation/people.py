"""The people: who signs, and how they answer what they are asked, honestly or not.

What a person signs by their own hand is told to the checker before it is sent; a forged answer is told as one that must
not count.

Source: protocol N5, N6; threats 6, 16, 17.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from astrid.core.answers import Answer, SignedAnswer, Verdict
from astrid.core.blocks import Assurance, Scope
from astrid.core.canon import Domain, encode
from astrid.core.display import display_digest, render_question
from astrid.core.grants import GrantTerms, Mode, workspace_grant
from astrid.core.install import NO_LOSS, Install, Revocation, Root, install_id, sign_statement
from astrid.core.keys import SigningKey
from astrid.core.question import answer_block, decode_question, question_digest
from astrid.core.tokens import UNLIMITED_MICROS, issue
from astrid.errors import TokenError
from astrid.ports import Entropy
from tests.fakes.home import HOLDER, LOG_ID, RUNTIME, USER
from tests.simulation.edges import START_NS
from tests.simulation.records import Records

STRANGER = SigningKey.from_seed(b"\x09" * 32)
WORKSPACE = b"w" * 32
ROOT_PATH = "/sim/work"
INSTALL = Install(1, LOG_ID, RUNTIME.public, (Root(USER.public, Assurance.SEALED),), START_NS // 10**9, NO_LOSS)
AUD = install_id(INSTALL)
_VERDICTS = {
    "deny": Verdict.DENY,
    "session": Verdict.SESSION,
    "workspace": Verdict.WORKSPACE,
    "always": Verdict.ALWAYS,
}


class People:
    """See the module.  ``open`` are the questions that reached somebody, by id, with what they are about."""

    def __init__(self, manners: Sequence[str], records: Records, entropy: Entropy) -> None:
        self.given: list[bytes] = []
        self.asked: dict[bytes, bytes] = {}
        self._manners = manners
        self._records = records
        self._entropy = entropy
        self._questions = 0

    def manner(self) -> str:
        """How the next question will be answered."""
        self._questions += 1
        return self._manners[(self._questions - 1) % len(self._manners)]

    def replies(self, question: bytes, manner: str, now_s: int) -> list[tuple[float, bytes]]:
        """What is answered, and how many seconds after the last answer."""
        match manner:
            case "sleep":
                return []
            case "late":
                return [(90.0, self.answer(question, Verdict.ONCE, now_s))]
            case "twice":
                return [(0.5, self.answer(question, Verdict.ONCE, now_s)) for _ in range(2)]
            case "yes-no":
                return [(0.5, self.answer(question, verdict, now_s)) for verdict in (Verdict.ONCE, Verdict.DENY)]
            case "no-yes":
                return [(0.0, self.answer(question, verdict, now_s)) for verdict in (Verdict.DENY, Verdict.ONCE)]
            case "forged" | "other" | "shown" | "wider" | "relabelled" | "expired":
                honest = (3.0, self.answer(question, Verdict.ONCE, now_s))
                return [(0.5, self._forged(question, manner, now_s)), honest]
            case "replay":
                return [(0.2, old) for old in self.given[-3:]]
            case _:
                verdict = _VERDICTS.get(manner, Verdict.ONCE)
                return [(0.4, self.answer(question, verdict, now_s))]

    def answer(self, question: bytes, verdict: Verdict, now_s: int) -> bytes:
        """An honest answer; once, where more is not offered."""
        if verdict is not Verdict.DENY:
            offered = {choice.scope for choice in decode_question(question)[0].choices}
            verdict = verdict if verdict - 1 in offered else Verdict.ONCE
        try:
            return self._signed(question, verdict, now_s, USER, honest=True)
        except TokenError:
            return self._signed(question, Verdict.DENY, now_s, USER, honest=True)

    def _forged(self, question: bytes, manner: str, now_s: int) -> bytes:
        """A yes that must not count."""
        match manner:
            case "forged":
                return self._signed(question, Verdict.ONCE, now_s, STRANGER, honest=False)
            case "other":
                another = next((one for one in self.asked.values() if one != question), None)
                if another is not None:
                    return self._signed(another, Verdict.ONCE, now_s, USER, honest=False, qid_of=question)
                return self._signed(question, Verdict.ONCE, now_s, USER, honest=False, aud=b"z" * 32)
            case "shown":
                return self._signed(question, Verdict.ONCE, now_s, USER, honest=False, shown=b"s" * 32)
            case "wider":
                return self._signed(question, Verdict.ONCE, now_s, USER, honest=False, uses=2)
            case "relabelled":  # a yes to one call, said to be one to all
                return self._signed(question, Verdict.ONCE, now_s, USER, honest=False, decision=Verdict.ALWAYS)
            case _:
                return self._signed(question, Verdict.ONCE, now_s, USER, honest=False, decision=9)

    def _signed(
        self,
        question: bytes,
        verdict: Verdict,
        now_s: int,
        key: SigningKey,
        *,
        honest: bool,
        qid_of: bytes = b"",
        aud: bytes = AUD,
        shown: bytes = b"",
        uses: int = 0,
        decision: int = -1,
    ) -> bytes:
        token, payload = b"", b""
        if verdict is not Verdict.DENY:
            scope, nonce = Scope(verdict - 1), self._entropy.random_bytes(16)
            block = answer_block(
                question, scope, issuer=key.public, assurance=Assurance.SEALED, keeper=HOLDER.public, nonce=nonce
            )
            if uses:
                block = msgspec.structs.replace(block, expires=block.expires + 10**6)
            token, payload = issue(block, key), encode(block)
            if honest:
                self._records.authority.learn(token, by_the_user=True)
        asked, _ = decode_question(qid_of or question)
        made = encode(
            Answer(
                1,
                aud,
                question_digest(question),
                asked.qid,
                verdict if decision < 0 else decision,
                payload,
                shown or display_digest(render_question(question)),
                Assurance.SEALED,
                now_s,
                key.public,
            )
        )
        raw = encode(SignedAnswer(made, key.sign(Domain.APPROVAL, made), token))
        self._records.answers[raw] = honest
        self.given.append(raw)
        return raw

    def grant(self, kind: str, now_s: int, mode: Mode = Mode.AUTONOMOUS) -> bytes:
        """A workspace grant that the user signs; ``kind`` says what is special about it."""
        terms = GrantTerms(
            issuer=USER.public,
            holder=HOLDER.public,
            aud=AUD,
            workspace=WORKSPACE,
            root=ROOT_PATH,
            not_before_s=now_s - 1,
            expires_s=now_s + (2 if kind == "short" else 20 * 86_400),
            purse_micros=25_000 if kind == "purse" else UNLIMITED_MICROS,
            assurance=Assurance.SEALED,
            nonce=self._entropy.random_bytes(16),
        )
        block = workspace_grant(mode, terms)
        if kind == "clean":
            block = msgspec.structs.replace(block, tainted_ok=False)
        if kind == "uses":
            block = msgspec.structs.replace(block, uses=3)
        token = issue(block, USER)
        self._records.authority.learn(token, by_the_user=True)
        return token

    def revocation(self, target: bytes, kind: str, now_s: int) -> bytes:
        """The user revokes a block or a key."""
        return sign_statement(Domain.REVOKE, Revocation(AUD, target, kind, now_s, USER.public), USER)
