"""The connections of calls that run: each recorded before it is made, and again when it has ended.  Pure.

A call names the hosts that it reaches among its needs, so its permit is theirs as well.  Who runs it asks here before
it dials; the answer waits until the record is durable.

Never: lets a connection begin that its call does not name, or whose record is not durable.

Invariants:
  Of each connection that may begin there is one record before it does, and at most one of its end.
  The log grows by connections as far as their session's share of it goes, and no further but by their ends.

Source: architecture 6 and 7; threats 24, 26, 32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from astrid.core.canon import MAX_U64, decode, encode
from astrid.core.decide import Denied
from astrid.core.facts import Facts
from astrid.core.gate_denials import PAUSED, Denials
from astrid.core.gate_messages import Connecting, Effect, GateMessage, Record, Send
from astrid.core.gate_records import size_of
from astrid.core.gate_state import Pending, Salts
from astrid.core.records import Entry, entry, seal
from astrid.core.records_connections import ConnectionEndedRecord, ConnectionRecord
from astrid.core.resources import net_resource
from astrid.core.tokens import Permission
from astrid.errors import PatternError

MAX_NUMBER = 1_000_000
MAX_ADDRESSES = 8
MAX_CHARS = 255  # of a host, an address or a code


class Connect(GateMessage, frozen=True):
    """What a call started wants to connect to ``host``, at one of ``addresses``; or was refused, and ``code`` says why.
    ``number`` rises with each one of a call.
    """

    ref: int
    permit_seq: int
    number: int
    host: str
    port: int
    addresses: tuple[str, ...]
    code: str


class Disconnected(GateMessage, frozen=True):
    """How a connection of a call ended.  ``dialled`` is which of its addresses, from 1; 0 is none."""

    ref: int
    permit_seq: int
    number: int
    dialled: int
    sent_bytes: int
    received_bytes: int
    code: str


@dataclass(slots=True)
class _OfCall:
    """The connections of one call: the last number, and how many addresses each has that has not ended."""

    last: int = 0
    open: dict[int, int] = field(default_factory=dict[int, int])


class Connections:
    """Those of all calls that run."""

    __slots__ = ("_calls", "_denials", "_facts", "_salts")

    def __init__(self, facts: Facts, salts: Salts, denials: Denials) -> None:
        self._facts = facts
        self._salts = salts
        self._denials = denials
        self._calls: dict[int, _OfCall] = {}

    def take(
        self, pending: Pending, message: Connect | Disconnected, take_ref: Callable[[], int], trouble: Denied | None
    ) -> list[Effect]:
        """What a host says of a call that runs.  ``trouble`` is why nothing may begin just now."""
        if isinstance(message, Disconnected):
            return self._ended(pending, message)
        return self._wanted(pending, message, take_ref, trouble)

    def forget(self, ref: int) -> None:
        """The call has ended, and nothing more is heard of its connections."""
        self._calls.pop(ref, None)

    def _wanted(
        self, pending: Pending, message: Connect, take_ref: Callable[[], int], trouble: Denied | None
    ) -> list[Effect]:
        session = pending.permit.call.session
        if trouble is not None:
            return [_answer(pending, message, trouble.code)]
        if self._facts.quota.spent(session):
            counted = self._facts.quota.count(session, PAUSED.code)
            return [*map(Record, counted), _answer(pending, message, PAUSED.code)]
        if self._denials.crowded(session):
            return [_answer(pending, message, "gate.too-many")]
        of_call = self._calls.setdefault(pending.ref, _OfCall())
        # SAFETY: a number that does not rise is that of another connection, whose record this one would pass for.
        if not of_call.last < message.number <= MAX_NUMBER or not _is_sound(message):
            return [_answer(pending, message, "egress.request")]
        of_call.last = message.number
        code = message.code or _barred(pending, message)
        if not code:
            of_call.open[message.number] = len(message.addresses)
        ref = take_ref()
        made = _began(pending, message, code, ref, self._salts.take())
        self._facts.quota.wrote(session, size_of(made))
        self._denials.hold(ref, session, _answer(pending, message, code))
        return [Record(made)]

    def _ended(self, pending: Pending, message: Disconnected) -> list[Effect]:
        addresses = self._calls.get(pending.ref, _OfCall()).open.pop(message.number, None)
        counts = (message.sent_bytes, message.received_bytes)
        if addresses is None or not 0 <= message.dialled <= addresses or not all(0 <= n <= MAX_U64 for n in counts):
            return []  # of a connection that never began or has ended, or no number of bytes
        made = _has_ended(pending, message)
        self._facts.quota.wrote(pending.permit.call.session, size_of(made))
        return [Record(made)]


def _is_sound(message: Connect) -> bool:
    """Whether it can be recorded as it is."""
    return (
        0 <= message.port < 1 << 16
        and len(message.addresses) <= MAX_ADDRESSES
        and all(len(text) <= MAX_CHARS and text.isascii() for text in (message.host, message.code, *message.addresses))
    )


def _barred(pending: Pending, message: Connect) -> str:
    """Why the call may not connect there; empty if it may.

    SAFETY: asked of the permit's own call, whatever the proxy believes to be on its list.
    """
    try:
        place = net_resource(message.host, message.port).text
    except PatternError:
        return "egress.not-permitted"
    needs = pending.permit.call.needs
    named = any(need.resource == place and need.permission & Permission.INVOKE for need in needs)
    return "" if named and message.addresses and not pending.cancelled else "egress.not-permitted"


def _began(pending: Pending, said: Connect, code: str, ref: int, salt: bytes) -> Entry:
    """The record that must be durable before the connection is made; ``code`` says why it is not, if so."""
    sealed, payload = seal(encode((said.host, said.addresses)), salt)
    body = ConnectionRecord(pending.permit_seq, said.number, said.port, code, sealed)
    return entry(body, session=pending.permit.call.session, payloads=(payload,), ref=ref)


def _has_ended(pending: Pending, said: Disconnected) -> Entry:
    """The record of how it ended, which nobody waits for."""
    code = said.code if len(said.code) <= MAX_CHARS and said.code.isascii() else "egress.stopped"
    body = ConnectionEndedRecord(
        permit_seq=pending.permit_seq,
        number=said.number,
        dialled=said.dialled,
        sent=said.sent_bytes,
        received=said.received_bytes,
        code=code,
    )
    return entry(body, session=pending.permit.call.session, urgent=False)


def place_of(data: bytes) -> tuple[str, tuple[str, ...]]:
    """The host of a connection and its addresses, out of what lies beside its record.

    Raises:
        CanonError: it is not that.
    """
    return decode(data, tuple[str, tuple[str, ...]], max_bytes=16 * MAX_CHARS, what="a connection")


def _answer(pending: Pending, message: Connect, code: str) -> Send:
    return Send(pending.tool.host, Connecting(ref=message.ref, number=message.number, code=code))
