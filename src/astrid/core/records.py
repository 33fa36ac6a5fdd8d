"""What the log records: one body type per kind, and the bytes that go beside them.  Pure data.

A record holds no arguments, results or free text: it holds ``[length, salted commitment]``, and the bytes with their
salt lie in a side table that can be erased without breaking the log.  Nor does it hold a digest of such bytes that
anybody could make again from a guess: records of one call are tied together by numbers and random ids.  Only bytes
encoded here, by the gate or approvals, reach the audit actor.

``Kind`` separates what the runtime itself saw from what a guest asserts (a guest's kinds start at 1000).

Source: protocol N9; architecture 5 ("A permit records what a replay needs"), 7; threats 24, 25, 26.
"""

from __future__ import annotations

import enum
from functools import lru_cache

import msgspec

from astrid.core.canon import U8, U16, U32, U64, Bytes16, Bytes32, Bytes64, Signed, encode
from astrid.core.records_connections import ConnectionEndedRecord, ConnectionRecord
from astrid.core.records_sealed import Payload as Payload
from astrid.core.records_sealed import Sealed as Sealed
from astrid.core.records_sealed import is_sealed as is_sealed
from astrid.core.records_sealed import seal as seal
from astrid.core.records_undo import FilesRewinding, FilesRewound
from astrid.errors import CanonError

MAX_BODY_BYTES = 64 * 1024
NO_SESSION = b""


class Kind(enum.IntEnum):
    """What happened."""

    GENESIS = 1
    BOOT = 2
    STOP = 3
    SESSION_STARTED = 4
    SESSION_ENDED = 5
    PROMPT = 6
    PERMIT = 7
    DENIED = 8
    ASKED = 9
    SETTLED = 10
    OUTCOME = 11
    GRANTED = 12
    REVOKED = 13
    COALESCED = 14
    CLOCK = 15
    DEFERRED = 16
    JOURNAL = 17
    COSIGNED = 18
    SUBAGENT_STARTED = 19
    SESSION_ERASED = 20
    ATTACHED = 21
    OUTCOME_VOUCHED = 22
    CONNECTION = 23
    CONNECTION_ENDED = 24
    FILES_REWINDING = 25
    FILES_REWOUND = 26


class Genesis(Signed, frozen=True, array_like=True):
    """The first record.  ``old_tip`` is zeros, or the tip of a log that was given up for this one."""

    version: U8
    install: Bytes32
    old_tip: Bytes32


class Boot(Signed, frozen=True, array_like=True):
    """The daemon started.  Digests of what it decides with."""

    version: str
    policy: Bytes32
    catalogue: Bytes32
    config: Bytes32


class Stop(Signed, frozen=True, array_like=True):
    """The daemon stopped in order."""

    reason: str


class SessionStarted(Signed, frozen=True, array_like=True):
    """A session began.  ``scripted``: its model follows a script, as every record of it says by the session's id."""

    principal: Bytes32
    workspace: Bytes32
    mode: str
    model: str
    scripted: bool


class SubagentStarted(SessionStarted, frozen=True, array_like=True):
    """A session began that works for the session ``parent``.  What it does is recorded of the session at the top."""

    parent: Bytes16


class SessionEnded(Signed, frozen=True, array_like=True):
    """A session ended.  ``reason`` is a code: ``client`` if a person ended it, ``idle`` if nobody came back to it,
    ``shutdown`` if it was stopped with the daemon or a part of it, ``failed`` if it or what it needs broke, ``done`` if
    it was a sub-agent whose task is over; else what the kernel says of its actor.  Older records say ``shutdown`` of
    the first two as well.
    """

    reason: str


class Prompt(Signed, frozen=True, array_like=True):
    """What a person or a file said to the session; ``integrity`` is the label it got."""

    turn: U32
    integrity: U8
    text: Sealed


class AttachedRecord(Signed, frozen=True, array_like=True):
    """An image that somebody gave, for what they say to the session next."""

    image: Sealed


class ChargeRow(Signed, frozen=True, array_like=True):
    """One block of the permit's chain: (id, +1, micros)."""

    block: Bytes32
    micros: U64


class PermitRecord(Signed, frozen=True, array_like=True):
    """A call may run.  Durable before it does."""

    ref: U64
    host_kind: str
    host_id: str
    tool: str
    tooldef: Bytes32
    principal: Bytes32
    workspace: Bytes32
    token: Bytes32
    risk: U8
    tainted: bool
    now_s: U64
    policy: Bytes32
    epoch: U32
    charges: tuple[ChargeRow, ...]
    micros: U64
    bytes_: Sealed


class DeniedRecord(Signed, frozen=True, array_like=True):
    """A call will not run."""

    ref: U64
    host_kind: str
    tool: str
    principal: Bytes32
    layer: str
    code: str
    detail: Sealed


class AskedRecord(Signed, frozen=True, array_like=True):
    """A question was put.  The side table holds the bytes of ``Q``."""

    ref: U64
    qid: Bytes16
    tool: str
    risk: U8
    expires_s: U64
    body: Sealed


class SettledRecord(Signed, frozen=True, array_like=True):
    """A question was answered, or ended without an answer (``decision`` 0 with no signer).  ``block`` is the token's id
    or zeros."""

    qid: Bytes16
    decision: U8
    block: Bytes32
    signer: Bytes32
    assurance: U8
    reason: str
    answer: Sealed


class OutcomeRecord(Signed, frozen=True, array_like=True):
    """How a permitted call ended.  ``effect`` is none, maybe or done; ``unknown`` marks one that a crash cut off."""

    ref: U64
    permit_seq: U64
    effect: str
    is_error: bool
    unknown: bool
    spent: U64
    sound: bool
    result: Sealed


class VouchedOutcome(OutcomeRecord, frozen=True, array_like=True):
    """One whose result somebody stands behind who is believed; ``chosen`` as in ``labels.Label``.  Without this record,
    nobody does.
    """

    chosen: bool


class GrantedRecord(Signed, frozen=True, array_like=True):
    """A standing token was taken in.  The side table holds its bytes."""

    block: Bytes32
    issuer: Bytes32
    holder: Bytes32
    workspace: Bytes32
    scope: U8
    expires_s: U64
    source: str
    token: Sealed


class RevokedRecord(Signed, frozen=True, array_like=True):
    """A token or key was revoked."""

    target: Bytes32
    kind: str
    signer: Bytes32
    statement: Sealed


class CoalescedRecord(Signed, frozen=True, array_like=True):
    """Denials that were counted instead of recorded one by one."""

    code: str
    count: U64


class ClockRecord(Signed, frozen=True, array_like=True):
    """The wall clock stepped.  ``back`` in whole seconds; positive numbers only."""

    back: bool
    seconds: U64


class DeferredRecord(Signed, frozen=True, array_like=True):
    """Nobody could be asked; the question stays open."""

    ref: U64
    qid: Bytes16


class JournalRecord(Signed, frozen=True, array_like=True):
    """Rows of a session's journal were stored.  The side table holds their digest, so that an edited row is
    noticed."""

    first: U64
    count: U16
    rows: Sealed


class CosignedRecord(Signed, frozen=True, array_like=True):
    """A client states that it saw this log when it had ``size`` records, at second ``time_s``.

    With the log's id and runtime key the cosigned note can be made again from it (``cosignature.cosigned_note``):
    ``stated`` is the runtime's signature on it, ``signature`` that of the client's ``key``.  ``block`` is the id of the
    token by which the user made ``key`` a client; the side table holds its bytes.
    """

    size: U64
    root: Bytes32
    tip: Bytes32
    boot: U32
    stated: Bytes64
    key: Bytes32
    time_s: U64
    signature: Bytes64
    block: Bytes32
    chain: Sealed


class SessionErased(Signed, frozen=True, array_like=True):
    """What a session said and heard was erased, in the commit of this record: so many rows of its journal, and so many
    texts (what was said to it, and what its calls came to) beside the log.
    """

    rows: U64
    texts: U64


BODIES: dict[Kind, type[Signed]] = {
    Kind.GENESIS: Genesis,
    Kind.BOOT: Boot,
    Kind.STOP: Stop,
    Kind.SESSION_STARTED: SessionStarted,
    Kind.SESSION_ENDED: SessionEnded,
    Kind.PROMPT: Prompt,
    Kind.PERMIT: PermitRecord,
    Kind.DENIED: DeniedRecord,
    Kind.ASKED: AskedRecord,
    Kind.SETTLED: SettledRecord,
    Kind.OUTCOME: OutcomeRecord,
    Kind.GRANTED: GrantedRecord,
    Kind.REVOKED: RevokedRecord,
    Kind.COALESCED: CoalescedRecord,
    Kind.CLOCK: ClockRecord,
    Kind.DEFERRED: DeferredRecord,
    Kind.JOURNAL: JournalRecord,
    Kind.COSIGNED: CosignedRecord,
    Kind.SUBAGENT_STARTED: SubagentStarted,
    Kind.SESSION_ERASED: SessionErased,
    Kind.ATTACHED: AttachedRecord,
    Kind.OUTCOME_VOUCHED: VouchedOutcome,
    Kind.CONNECTION: ConnectionRecord,
    Kind.CONNECTION_ENDED: ConnectionEndedRecord,
    Kind.FILES_REWINDING: FilesRewinding,
    Kind.FILES_REWOUND: FilesRewound,
}
_KINDS = {shape: kind for kind, shape in BODIES.items()}


def sealed_in(body: Signed) -> list[Sealed]:
    """The commitments that a body holds, in the order of its fields."""
    return [getattr(body, name) for name in _sealed_fields(type(body))]


@lru_cache(maxsize=64)
def _sealed_fields(shape: type[Signed]) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(shape) if field.type is Sealed)


class JournalRow(msgspec.Struct, frozen=True):
    """One row of a session's journal: its number within the session, from 1, and its bytes."""

    number: int
    data: bytes


class Erasure(msgspec.Struct, frozen=True):
    """The journal of ``session``, and what lies beside the log at these (seq, slot)."""

    session: bytes
    texts: tuple[tuple[int, int], ...]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One record on its way to the log: its encoded body, what goes beside it, and who wants to know when it is
    durable.

    ``ref`` is given back with the sequence number.  ``urgent`` entries are waited for; others may ride with the next
    batch.
    """

    kind: Kind
    session: bytes
    body: bytes
    payloads: tuple[Payload, ...] = ()
    rows: tuple[JournalRow, ...] = ()
    ref: int = 0
    urgent: bool = True
    checkpoint: bool = False  # whether a signed checkpoint must follow
    erases: Erasure | None = None  # what is gone when it is durable


def entry(
    body: Signed,
    *,
    session: bytes = NO_SESSION,
    payloads: tuple[Payload, ...] = (),
    rows: tuple[JournalRow, ...] = (),
    ref: int = 0,
    urgent: bool = True,
    checkpoint: bool = False,
    erases: Erasure | None = None,
) -> Entry:
    """``body`` encoded and checked, ready for the audit actor.

    Raises:
        CanonError: the body cannot be encoded or is too long; the caller denies the call it belongs to.
    """
    data = encode(body)
    if len(data) > MAX_BODY_BYTES:
        raise CanonError("record.too-long", f"a record body is {len(data)} bytes, more than {MAX_BODY_BYTES}")
    return Entry(
        kind=_KINDS[type(body)],
        session=session,
        body=data,
        payloads=payloads,
        rows=rows,
        ref=ref,
        urgent=urgent,
        checkpoint=checkpoint or isinstance(body, Genesis | Stop),  # so that no cut behind either goes unseen
        erases=erases,
    )
