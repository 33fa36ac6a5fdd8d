"""What a person changes about the gate: who is a session, which standing tokens there are, what is revoked.  Pure.

Each function changes the gate's facts and gives the record that makes the change durable; the shell answers when it is.

Never: changes anything when it raises, or takes a person's word without their signature.

Source: protocol N2 c, N7; threats 15, 48.
"""

from __future__ import annotations

import msgspec

from astrid.core.canon import commitment, encode
from astrid.core.facts import Facts, Open, Principal
from astrid.core.install import verify_revocation
from astrid.core.records import (
    Entry,
    GrantedRecord,
    JournalRecord,
    JournalRow,
    OutcomeRecord,
    Prompt,
    RevokedRecord,
    SessionEnded,
    SessionStarted,
    entry,
    seal,
)
from astrid.core.tokens import Scope, Token, verify_chain
from astrid.errors import TokenError

NO_WORKSPACE = b"\0" * 32
_ROWS_SALT = b"astrid journal rows".ljust(32, b"\0")


class Opening(msgspec.Struct, frozen=True):
    """What is recorded of a session's start."""

    mode: str
    model: str
    scripted: bool


def register(facts: Facts, ref: int, principal: Principal, opening: Opening) -> Entry:
    """Make the actor ``ref`` a principal.

    Raises:
        TokenError: the key or the ref is taken; two principals with one key would be one.
        CanonError: the start cannot be recorded; nobody is registered.
    """
    taken = any(other.key == principal.key for other in facts.principals.values())
    if taken or ref in facts.principals or principal.key in facts.roots.keys:
        raise TokenError(
            "gate.principal-taken", "the principal is registered already", advice="give each principal its own key"
        )
    body = SessionStarted(principal.key, principal.workspace, opening.mode, opening.model, opening.scripted)
    made = entry(body, session=principal.session)
    facts.principals[ref] = principal
    return made


def ended(facts: Facts, session: bytes, reason: str) -> list[Entry]:
    """The session is over: the denials of it that were only counted, and its end."""
    return [*facts.quota.end(session), entry(SessionEnded(reason), session=session)]


def take_in(facts: Facts, raw: bytes, source: str, *, now_s: int, salt: bytes) -> tuple[Token, Entry]:
    """A standing token that a person signed beforehand, or in an answer.

    Raises:
        TokenError: it does not verify, is for another install, or has no business being kept.
    """
    token = verify_chain(raw, facts.roots)
    leaf = token.leaf
    if leaf.aud != facts.aud:
        raise TokenError("token.audience", "the token was made for another install")
    if leaf.scope < Scope.WORKSPACE:
        raise TokenError(
            "token.scope", "only workspace and standing tokens are kept", advice="answer the question instead"
        )
    if now_s >= leaf.expires:
        raise TokenError("token.expired", "the token has expired", advice="sign a new one")
    if facts.is_revoked(token):
        raise TokenError("token.revoked", "the token or a key in its chain was revoked", advice="sign a new one")
    sealed, payload = seal(raw, salt)
    body = GrantedRecord(
        block=token.id,
        issuer=leaf.issuer,
        holder=leaf.holder,
        workspace=leaf.workspace or NO_WORKSPACE,
        scope=leaf.scope,
        expires_s=leaf.expires,
        source=source,
        token=sealed,
    )
    return token, entry(body, payloads=(payload,), checkpoint=True)


def revoke(facts: Facts, raw: bytes, *, salt: bytes) -> Entry:
    """Revoke a token or a key, from this moment on.

    Raises:
        TokenError: not signed by a user key of this install.
    """
    revocation = verify_revocation(raw, facts.roots, facts.aud)
    sealed, payload = seal(raw, salt)
    body = RevokedRecord(revocation.target, revocation.kind, revocation.signer, sealed)
    made = entry(body, payloads=(payload,), checkpoint=True)
    facts.revoked.add(revocation.target)
    return made


def save(principal: Principal, rows: tuple[JournalRow, ...]) -> Entry:
    """Rows of a session's journal, with their digest in the log.

    Raises:
        CanonError: too many rows at once.
    """
    body = JournalRecord(rows[0].number if rows else 0, len(rows), rows_digest(rows))
    return entry(body, session=principal.session, rows=rows)


def rows_digest(rows: tuple[JournalRow, ...]) -> bytes:
    """What the log keeps of journal rows, so that an edited row is noticed when it is read back."""
    return commitment(_ROWS_SALT, encode(tuple((row.number, row.data) for row in rows)))


def prompted(principal: Principal, turn: int, integrity: int, text: bytes, *, salt: bytes) -> Entry:
    """What somebody said to a session."""
    sealed, payload = seal(text, salt)
    return entry(Prompt(turn, integrity, sealed), session=principal.session, payloads=(payload,))


def unknown_outcomes(facts: Facts, *, salt: bytes) -> list[Entry]:
    """After a restart: every permit without an outcome is settled in full and recorded as unknown; it is never run
    again.
    """
    return [_unknown(ref, opened, salt) for ref, opened in sorted(facts.open_permits.items())]


def _unknown(ref: int, opened: Open, salt: bytes) -> Entry:
    sealed, payload = seal(b"", commitment(salt, encode(ref)), slot=1)
    body = OutcomeRecord(
        ref=ref,
        permit_seq=opened.seq,
        call=opened.record.call,
        effect="maybe",
        is_error=True,
        unknown=True,
        spent=opened.record.micros,
        sound=True,
        result=sealed,
    )
    return entry(body, session=opened.session, payloads=(payload,), ref=ref)
