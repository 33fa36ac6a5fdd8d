"""What the gate knows, and how it is rebuilt from the log.  Pure; owned by the gate.

Invariant: replaying the log from its first record gives the ledger, revocations, settled questions, and of every
session that has not ended its share of the log and its last journal row, that the gate had when the last record left
it, with every permit that has no outcome still reserved.  Of that share two things are not in the log: how long journal
rows are, and what forged tokens cost.

Source: protocol N2 c and d, N3, N11; architecture 5 (the table of crashes), 7; threats 15, 17, 24, 31.
"""

from __future__ import annotations

import msgspec

from astrid.core.budget import Cap, Charge, Ledger, Use
from astrid.core.call import Call
from astrid.core.canon import MAX_U64, Signed
from astrid.core.chain import Frame
from astrid.core.cosignature import Cosignatures
from astrid.core.decide import Limits
from astrid.core.policy import Policy
from astrid.core.question import DEFERRED_SECONDS
from astrid.core.records import (
    NO_SESSION,
    AskedRecord,
    AttachedRecord,
    CoalescedRecord,
    CosignedRecord,
    DeferredRecord,
    DeniedRecord,
    Entry,
    JournalRecord,
    OutcomeRecord,
    PermitRecord,
    Prompt,
    RevokedRecord,
    SessionEnded,
    SessionStarted,
    SettledRecord,
    SubagentStarted,
    entry,
    sealed_in,
)
from astrid.core.records_connections import ConnectionEndedRecord, ConnectionRecord
from astrid.core.tokens import UNLIMITED_USES, Moment, Roots, Token
from astrid.core.tools import ToolSpec
from astrid.errors import ChainError

LOG_BYTES_PER_SESSION = 64 * 1024 * 1024
DENIAL_BYTES_PER_SESSION = 4 * 1024 * 1024
LAST_BYTES_PER_SESSION = 4 * 1024 * 1024  # beyond its share, for how its last turn ends
SALT_BYTES = 32
_NS = 10**9


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a ref is: the key that the kernel's owner registered for it when it was spawned.

    ``toolboxes`` are the sets of tools it may propose, first match wins; ``asks``: whether its questions may be put
    to a person; ``ending``: who is ending its session, as the record of that will say, once somebody is.

    ``session`` is the one in whose name it acts, on whose purse and share of the log: for a sub-agent the session at
    the top, as in its tokens.  A sub-agent's own, under which its journal is kept, is ``child``, and ``parent`` the one
    that started it.
    """

    key: bytes
    session: bytes
    workspace: bytes
    toolboxes: tuple[str, ...]
    limits: Limits
    asks: bool
    ending: str = ""
    child: bytes = b""
    parent: bytes = b""

    @property
    def own(self) -> bytes:
        """The session that it is, and no other principal."""
        return self.child or self.session


class Tool(msgspec.Struct, frozen=True):
    """A tool as it is installed now: its definition, its toolbox, the ref of its host, and which start of that host
    this is.
    """

    toolbox: str
    spec: ToolSpec
    tooldef: bytes
    host: int
    incarnation: int


class Open(msgspec.Struct, frozen=True):
    """A permit in the log without an outcome."""

    seq: int
    session: bytes
    record: PermitRecord
    charge: Charge


class Quota:
    """What a session may write into the log.  A denial costs its author nothing, so denials have a smaller share.

    Above its share a session is paused: it gets no further than a denial, and denials are counted, not recorded one by
    one.  What must be recorded all the same (outcomes, revocations, a session's end) is.  What a session has to say
    itself (its journal, what it heard) is still taken for as long as its last turn needs to end.
    """

    __slots__ = ("_bytes", "_counts", "_denial_bytes")

    def __init__(self) -> None:
        self._bytes: dict[bytes, int] = {}
        self._denial_bytes: dict[bytes, int] = {}
        self._counts: dict[tuple[bytes, str], int] = {}

    def begin(self, session: bytes) -> None:
        """The session has started; principals may share one, and its share."""
        self._bytes.setdefault(session, 0)

    def knows(self, session: bytes) -> bool:
        """Whether ``session`` has started and not ended."""
        return session in self._bytes

    def spent(self, session: bytes) -> bool:
        """Whether ``session`` has used up its share."""
        return (
            self._bytes.get(session, 0) >= LOG_BYTES_PER_SESSION
            or self._denial_bytes.get(session, 0) >= DENIAL_BYTES_PER_SESSION
        )

    def has_room(self, session: bytes, size_bytes: int) -> bool:
        """Whether ``session`` may still say ``size_bytes`` for its journal."""
        return self._bytes.get(session, 0) + size_bytes <= LOG_BYTES_PER_SESSION + LAST_BYTES_PER_SESSION

    def wrote(self, session: bytes, size_bytes: int, *, denial: bool = False) -> None:
        """A record of ``session`` took ``size_bytes``."""
        self._bytes[session] = self._bytes.get(session, 0) + size_bytes
        if denial:
            self._denial_bytes[session] = self._denial_bytes.get(session, 0) + size_bytes

    def count(self, session: bytes, code: str) -> list[Entry]:
        """Count one denial more.  A record is made each time that the count has doubled."""
        count = self._counts[session, code] = self._counts.get((session, code), 0) + 1
        return [] if count & (count - 1) else [_coalesced(session, code, count)]

    def end(self, session: bytes) -> list[Entry]:
        """The session has ended: what was counted and not yet recorded."""
        self._bytes.pop(session, None)
        self._denial_bytes.pop(session, None)
        counted = {code: self._counts.pop((of, code)) for of, code in list(self._counts) if of == session}
        return [_coalesced(session, code, count) for code, count in counted.items() if count & (count - 1)]

    def replay(self, frame: Frame, body: Signed) -> None:
        """Count a record of the log as it was counted when it was written."""
        match body:
            case (
                PermitRecord()
                | OutcomeRecord()
                | DeniedRecord()
                | DeferredRecord()
                | Prompt()
                | AttachedRecord()
                | ConnectionRecord()
                | ConnectionEndedRecord()
                | JournalRecord()
            ):
                # What comes after a session's end (an outcome) is counted to nobody.
                if frame.session in self._bytes or frame.session == NO_SESSION:
                    self.wrote(frame.session, _size_of(frame, body), denial=isinstance(body, DeniedRecord))
            case SessionStarted():
                self.begin(frame.session)
            case SessionEnded():
                self.end(frame.session)
            case CoalescedRecord():
                self._counts[frame.session, body.code] = body.count
            case _:
                pass


def _size_of(frame: Frame, body: Signed) -> int:
    """What a record took on the disk, as ``gate_records.size_of`` counted it when it was made."""
    if isinstance(body, PermitRecord) and body.host_kind == "model":
        return len(frame.body)  # nothing lies beside it
    size = len(frame.body)
    for sealed in sealed_in(body):
        size += sealed.length + SALT_BYTES
    return size


def _coalesced(session: bytes, code: str, count: int) -> Entry:
    return entry(CoalescedRecord(code, count), session=session)


class Facts:
    """Everything a decision looks at.  Machine-owned dicts with frozen leaves."""

    __slots__ = (
        "aud",
        "cosigned",
        "durable_ns",
        "keys",
        "last_ref",
        "ledger",
        "open_permits",
        "orphans",
        "policy",
        "principals",
        "question_seconds",
        "quota",
        "revoked",
        "roots",
        "rows",
        "settled",
        "standing",
        "tools",
    )

    def __init__(self, *, aud: bytes, roots: Roots, policy: Policy, question_seconds: int = DEFERRED_SECONDS) -> None:
        self.aud = aud
        self.roots = roots
        self.policy = policy
        self.question_seconds = question_seconds
        self.ledger = Ledger()
        self.principals: dict[int, Principal] = {}  # by the ref of its actor; ``admit`` and ``dismiss`` change it
        self.keys: set[bytes] = set()  # the principals'
        self.tools: dict[tuple[str, str], Tool] = {}
        self.revoked: set[bytes] = set()
        self.settled: set[bytes] = set()  # the blocks that are the answers to questions
        self.cosigned = Cosignatures()
        self.open_permits: dict[int, Open] = {}
        self.orphans: dict[bytes, None] = {}  # sub-agents of the past whose end no record says, in order
        self.durable_ns = 0
        self.standing = True  # whether the clock can be believed, and so a standing token
        self.last_ref = 0
        self.rows: dict[bytes, int] = {}  # the last row of each session's journal
        self.quota = Quota()

    def admit(self, ref: int, principal: Principal) -> None:
        """The actor ``ref`` is ``principal`` from now on."""
        self.principals[ref] = principal
        self.keys.add(principal.key)

    def dismiss(self, ref: int) -> None:
        """The actor ``ref`` is no principal any more, if it was one."""
        principal = self.principals.pop(ref, None)
        if principal is not None:
            self.keys.remove(principal.key)

    def tool(self, principal: Principal, name: str) -> Tool | None:
        """The tool that ``principal`` means by ``name``."""
        for toolbox in principal.toolboxes:
            tool = self.tools.get((toolbox, name))
            if tool is not None:
                return tool
        return None

    def time_s(self, now_ns: int) -> int:
        """The gate's time in whole seconds: never before the last durable record."""
        return max(now_ns, self.durable_ns) // _NS

    def moment(self, call: Call, now_ns: int) -> Moment:
        """The present, as ``call``'s tokens see it."""
        return Moment(
            self.time_s(now_ns),
            self.aud,
            call.session,
            call.workspace,
            call.tainted,
            self.roots.epoch,
            self.revoked,
            self.settled,
        )

    def settle_unknown(self) -> None:
        """Book every open permit of the past in full, as ``gate_admin.unknown_outcomes`` records it."""
        for opened in self.open_permits.values():
            self.ledger.settle(opened.charge, opened.record.micros)
        self.open_permits.clear()

    def is_revoked(self, token: Token) -> bool:
        """Whether a block or key of ``token`` was revoked."""
        return not self.revoked.isdisjoint(token.names)

    def replay(self, frame: Frame, body: Signed) -> None:
        """Take in one record of the log, in order.

        Raises:
            ChainError: a permit or an outcome that no gate wrote there.
        """
        self.durable_ns = frame.time_ns
        self.quota.replay(frame, body)
        match body:
            case PermitRecord() if body.ref not in self.open_permits:
                charge = _charge(frame, body)
                self.ledger.retake(charge)
                self.open_permits[body.ref] = Open(frame.seq, frame.session, body, charge)
                self.last_ref = max(self.last_ref, body.ref)
            case OutcomeRecord() if body.ref in self.open_permits:
                self.ledger.settle(self.open_permits.pop(body.ref).charge, body.spent)
            case PermitRecord() | OutcomeRecord():
                raise ChainError(
                    "chain.replay",
                    f"call {body.ref} is permitted twice, or ends without a permit",
                    where=f"record {frame.seq}",
                )
            case SettledRecord() if any(body.block):
                self.settled.add(body.block)
            case RevokedRecord():
                self.revoked.add(body.target)
            case CosignedRecord():
                self.cosigned.put(body)
            case DeniedRecord() | AskedRecord() | DeferredRecord():
                self.last_ref = max(self.last_ref, body.ref)
            case JournalRecord():
                self.rows[frame.session] = body.first + body.count - 1
            case SubagentStarted():
                self.orphans[frame.session] = None
            case SessionEnded():
                self.rows.pop(frame.session, None)
                self.orphans.pop(frame.session, None)
            case _:
                pass


def _charge(frame: Frame, body: PermitRecord) -> Charge:
    """The charge as it was reserved.  Limits are not part of a permit: what was granted then is not judged again
    now.
    """
    caps = [Cap(row.block, MAX_U64, "token") for row in body.charges]
    caps += [
        Cap(b"session" + frame.session, MAX_U64, "session"),
        Cap(b"workspace" + body.workspace, MAX_U64, "workspace"),
    ]
    return Charge(body.micros, tuple(caps), tuple(Use(row.block, UNLIMITED_USES) for row in body.charges))
