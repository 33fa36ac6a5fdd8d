"""What is changed about the gate from outside: who is a session, which tools and standing tokens there are, what is
revoked, what clients cosigned.  Pure.

Each function changes the gate's facts and gives the record that makes the change durable, if it has to be; the shell
answers when it is.

Never: changes anything when it raises, or takes a person's word without their signature.

Source: protocol N2 c, N7, N11; threats 15, 48, 50.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from astrid.core.canon import commitment, encode, salts
from astrid.core.cosignature import check_client, record_of
from astrid.core.facts import LOG_BYTES_PER_SESSION, Facts, Open, Principal, Tool
from astrid.core.gate_records import size_of
from astrid.core.ids import is_scripted
from astrid.core.install import verify_revocation
from astrid.core.records import (
    AttachedRecord,
    Boot,
    Entry,
    Erasure,
    Genesis,
    GrantedRecord,
    JournalRecord,
    JournalRow,
    OutcomeRecord,
    Prompt,
    RevokedRecord,
    SessionEnded,
    SessionErased,
    SessionStarted,
    SubagentStarted,
    entry,
    seal,
)
from astrid.core.tokens import Scope, Token, verify_chain
from astrid.core.tools import ToolSpec
from astrid.core.verify import LogKeys
from astrid.errors import CanonError, InternalError, JournalError, TokenError

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
        InternalError: the session's id does not say what is to be recorded: that it is scripted, or is not.
        CanonError: the start cannot be recorded; nobody is registered.
    """
    _require_free(facts, ref, principal)
    if is_scripted(principal.own) is not opening.scripted:
        raise InternalError("gate.session-mark", "the id of a session does not say whether it is scripted")
    told = (principal.key, principal.workspace, opening.mode, opening.model, opening.scripted)
    body = SubagentStarted(*told, principal.parent) if principal.parent else SessionStarted(*told)
    made = entry(body, session=principal.own)
    facts.admit(ref, principal)
    facts.quota.begin(principal.own)
    return made


def release(facts: Facts, ref: int, *, owing: bool) -> None:
    """The actor ``ref`` goes to sleep: it is no principal any more, and its session goes on.  Nothing is recorded, for
    nothing changes about what the log says: the session's share, its rows and its principal's name stay.

    SAFETY: not while anything of it is under way (``owing``).  An outcome that comes later would be booked to nobody,
    and a row that is not durable would be missing when it wakes.

    Raises:
        TokenError: it is no principal, or something of it is under way.
    """
    if ref not in facts.principals:
        raise TokenError("gate.unknown-principal", "the sender is not registered", advice="start a session")
    if owing:
        raise TokenError("gate.under-way", "something of the session is under way", advice="wait for it")
    facts.dismiss(ref)


def readmit(facts: Facts, ref: int, principal: Principal) -> None:
    """The actor ``ref`` is from now on the principal that ``release`` let go, by the same name.

    SAFETY: by the same name (``principal.key``), for a revocation may be of that; and only of a session that the log
    does not show as ended, for with its end its share of the log and its rows were forgotten.

    Raises:
        TokenError: its session is over, or the key or the ref is taken.
    """
    _require_free(facts, ref, principal)
    if not facts.quota.knows(principal.session):
        raise TokenError("gate.session-over", "the session is over", advice="start another one")
    facts.admit(ref, principal)


def _require_free(facts: Facts, ref: int, principal: Principal) -> None:
    if principal.key in facts.keys or ref in facts.principals or principal.key in facts.roots.keys:
        raise TokenError(
            "gate.principal-taken", "the principal is registered already", advice="give each principal its own key"
        )


def offer(facts: Facts, toolbox: str, specs: Iterable[ToolSpec], *, host: int, incarnation: int) -> None:
    """The actor ``host``, in this start of it, has these tools; what it offers again replaces what it offered.

    Raises:
        InternalError: another host has a tool of that name in ``toolbox``.
    """
    tools = [Tool(toolbox, spec, spec.tooldef(), host, incarnation) for spec in specs]
    for tool in tools:
        present = facts.tools.get((toolbox, tool.spec.name))
        if present is not None and present.host != host:
            raise InternalError("tool.name-taken", f"two hosts offer the tool `{tool.spec.name}`")
    facts.tools.update(((toolbox, tool.spec.name), tool) for tool in tools)


def ending(facts: Facts, session: bytes, reason: str) -> None:
    """Somebody ends ``session``, if it is awake: to whoever watches it, its end will look like any other stop."""
    for ref, principal in list(facts.principals.items()):
        if principal.own == session:
            facts.principals[ref] = msgspec.structs.replace(principal, ending=reason)


def ended(facts: Facts, session: bytes, reason: str) -> list[Entry]:
    """The session is over: the denials of it that were only counted, and its end."""
    facts.rows.pop(session, None)
    return [*facts.quota.end(session), entry(SessionEnded(reason), session=session)]


def finish(facts: Facts, session: bytes, reason: str) -> list[Entry]:
    """As ``ended``, of a session that sleeps.  Nothing, if it is awake (its end is told by who watches it) or over."""
    awake = any(principal.own == session for principal in facts.principals.values())
    return ended(facts, session, reason) if facts.quota.knows(session) and not awake else []


def erase(facts: Facts, erasure: Erasure, rows: int, texts: int) -> list[Entry]:
    """What a session said and heard is to be gone, with the record that says so.  One that was cut off is over by it.

    Raises:
        TokenError: it, or a sub-agent of it, is awake.
    """
    session = erasure.session
    if any(session in (principal.own, principal.session) for principal in facts.principals.values()):
        raise TokenError("gate.session-awake", "the session is awake", advice="end it first")
    over = finish(facts, session, "client")
    return [entry(SessionErased(rows, texts), session=session, erases=erasure), *over]


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


def cosign(facts: Facts, key: bytes, note: bytes, chain: bytes, *, trouble: str, salt: bytes) -> Entry:
    """What the client with ``key`` cosigned, under the token ``chain``.  The connection has judged the note.

    ``trouble`` says why the log cannot be written just now: a client must not wait for this.

    Raises:
        ChainError: it is no client, it has cosigned as much already, or the note is none.
        CanonError: it cannot be recorded.
        JournalError: there is trouble.
    """
    if trouble:
        raise JournalError("cosign.not-now", f"nothing is cosigned just now: {trouble}", effect="none")
    token = check_client(key, chain, facts.roots, facts.aud)
    sealed, payload = seal(chain, salt)
    record = record_of(note, token, sealed)
    made = entry(record, payloads=(payload,))
    facts.cosigned.add(record)
    return made


def save(
    facts: Facts, principal: Principal, rows: tuple[JournalRow, ...], *, salt: bytes, urgent: bool = True
) -> Entry:
    """The next rows of a session's journal, with their digest beside the log.  Unless they are ``urgent`` they may go
    with the next record that somebody waits for.

    SAFETY: the log itself commits to that digest under ``salt``.  Rows hold what people and tools said; whoever gets
    the log after they were erased must not be able to guess them from it.

    Raises:
        CanonError: not the next rows, too many at once, or the session has had its share of the log.
    """
    last = facts.rows.get(principal.own, 0)
    if [row.number for row in rows] != list(range(last + 1, last + 1 + len(rows))):
        # SAFETY: a row that is there already cannot be stored; the log's writer would end with it, and everything that
        # stands on the log.
        raise CanonError(
            "record.rows", f"the next row of the session's journal is number {last + 1}", advice="report this"
        )
    made = _rows_entry(principal.own, last + 1, rows, salt, urgent=urgent)
    _take_share(facts, made)
    facts.rows[principal.own] = last + len(rows)
    return made


def inherited(session: bytes, batches: Sequence[Sequence[bytes]], *, salt: bytes) -> list[Entry]:
    """The rows that ``session``, which is about to begin, has from another one: a record for each of ``batches``, to be
    written with its start (``inherit``), so that it never has a part of them.

    Raises:
        CanonError: they are more than a session may say.
    """
    made: list[Entry] = []
    last = 0
    for batch, one in zip(batches, salts(salt, 0, len(batches)), strict=True):
        rows = tuple(JournalRow(number, data) for number, data in enumerate(batch, last + 1))
        made.append(_rows_entry(session, last + 1, rows, one, urgent=True))
        last += len(rows)
    if sum(map(_share_of, made)) > LOG_BYTES_PER_SESSION:
        raise CanonError(
            "record.inherited", "the conversation is longer than a session may be", advice="go on from an earlier turn"
        )
    return made


def inherit(facts: Facts, made: Iterable[Entry]) -> None:
    """``made`` is written with the start of the session."""
    for one in made:
        facts.quota.wrote(one.session, _share_of(one))
        facts.rows[one.session] = one.rows[-1].number


def _rows_entry(session: bytes, first: int, rows: tuple[JournalRow, ...], salt: bytes, *, urgent: bool) -> Entry:
    sealed, payload = seal(rows_digest(rows), salt)
    body = JournalRecord(first, len(rows), sealed)
    return entry(body, session=session, payloads=(payload,), rows=rows, urgent=urgent)


def rows_digest(rows: tuple[JournalRow, ...]) -> bytes:
    """What lies beside the log about journal rows, so that an edited row is noticed when it is read back."""
    return commitment(_ROWS_SALT, encode(tuple((row.number, row.data) for row in rows)))


def prompted(facts: Facts, principal: Principal, turn: int, integrity: int, text: bytes, *, salt: bytes) -> Entry:
    """What somebody said to a session.

    Raises:
        CanonError: it cannot be recorded, or the session has had its share of the log.
    """
    sealed, payload = seal(text, salt)
    made = entry(Prompt(turn, integrity, sealed), session=principal.own, payloads=(payload,))
    _take_share(facts, made)
    return made


def attach(facts: Facts, session: bytes, image: bytes, *, salt: bytes) -> Entry:
    """An image for what somebody says to ``session`` next.

    Raises:
        TokenError: the session is over.
        CanonError: it has had its share of the log.
    """
    if not facts.quota.knows(session):
        raise TokenError("gate.session-over", "the session is over", advice="start another one")
    sealed, payload = seal(image, salt)
    made = entry(AttachedRecord(sealed), session=session, payloads=(payload,))
    _take_share(facts, made)
    return made


def _take_share(facts: Facts, made: Entry) -> None:
    """Count what a session says of itself, unless it has had its share and more."""
    size = _share_of(made)
    if not facts.quota.has_room(made.session, size):
        raise CanonError("record.share", "the session has filled its share of the log", advice="start another one")
    facts.quota.wrote(made.session, size)


def _share_of(made: Entry) -> int:
    return size_of(made) + sum(len(row.data) for row in made.rows)


def begin(facts: Facts, keys: LogKeys, boot: Boot, *, size: int, salt: bytes) -> list[Entry]:
    """A start on a log of ``size`` records: what is recorded before anything else.  What the last run left open is
    settled now, and its sub-agents, for whom nobody waits any more, are over.
    """
    first = [] if size else [entry(Genesis(1, keys.install, keys.old_tip))]
    unsettled = unknown_outcomes(facts, salt=salt)
    facts.settle_unknown()
    over = [made for session in facts.orphans for made in ended(facts, session, "shutdown")]
    facts.orphans.clear()
    return [*first, entry(boot), *unsettled, *over]


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
        effect="maybe",
        is_error=True,
        unknown=True,
        spent=opened.record.micros,
        sound=True,
        result=sealed,
    )
    return entry(body, session=opened.session, payloads=(payload,), ref=ref)
