"""Reading the log for clients, beside its writer: pages, single records, proofs, figures, and why something happened.

Every look at the disk is a short one in a thread, with a reader of its own, so that a client who leaves is not waited
for and none reads for ever.

Never: writes, and never answers from anything but what is stored.

Source: architecture 7; protocol N9 to N11.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from astrid.adapters.store.journal import SqliteReader
from astrid.core.canon import MAX_U64, Signed
from astrid.core.chain import Frame, decode_body, decode_frame
from astrid.core.checkpoint import parse_note_body
from astrid.core.gate_records import told_of
from astrid.core.ids import parse_id, show_id
from astrid.core.merkle import Hash
from astrid.core.note import parse_note
from astrid.core.records import DeniedRecord, Kind, Sealed, is_sealed
from astrid.daemon.costing import Costs
from astrid.daemon.explaining import explain, mentions
from astrid.daemon.summaries import is_called, kind_name, summarize, tool_of
from astrid.errors import InputError
from astrid.ports import LogReader
from astrid.runtime.proofs import prove_consistency, prove_inclusion
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.typed import encode

PAGE = 2000
MAX_PAGES = 50  # that one request looks through
MAX_LIST_BYTES = 512 * 1024
MAX_PAYLOAD_BYTES = 256 * 1024  # shown of all payloads of one record
MAX_SLOTS = 8
MAX_EXPLAINED = 50
READERS = 4
_T = TypeVar("_T")


class Books:
    """The log of one home."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._limiter = trio.CapacityLimiter(READERS)
        self._counted = 0
        self._kinds: Counter[int] = Counter()
        self._bytes = 0
        self._first_ns = 0
        self._last_ns = 0

    async def read(self, work: Callable[[LogReader], _T]) -> _T:
        """What ``work`` makes of a reader.

        Raises:
            JournalError: the log cannot be read.
        """

        def look() -> _T:
            reader = SqliteReader(self._log)
            try:
                return work(reader)
            finally:
                reader.close()

        return await trio.to_thread.run_sync(look, limiter=self._limiter)

    async def newest_checkpoint(self) -> tuple[int, bytes] | None:
        """The last signed checkpoint and its size."""
        note = await self.read(lambda reader: reader.checkpoint())
        return None if note is None else (parse_note_body(parse_note(note).text).size, note)

    async def consistency(self, old: int, new: int) -> tuple[Hash, ...]:
        """That the first ``new`` records begin with the first ``old``; nothing where there is nothing to show."""
        if not 0 < old <= new:
            return ()
        return tuple(await self.read(lambda reader: prove_consistency(reader, old, new)))

    async def size(self) -> int:
        """The number of records."""
        return await self.read(lambda reader: reader.size())

    async def list(self, wanted: p.AuditList) -> r.AuditRecords:
        """Records after ``after_seq`` that pass every filter.  A page may be short and still not the last."""
        session = parse_id("session", wanted.session_id) if wanted.session_id is not None else None
        since_ns = int(wanted.since_ns) if wanted.since_ns is not None else 0
        found: list[r.AuditRecord] = []
        at, room = wanted.after_seq, MAX_LIST_BYTES

        def passes(frame: Frame) -> bool:
            return (
                (session is None or frame.session == session)
                and (wanted.kind is None or is_called(frame.kind, wanted.kind))
                and frame.time_ns >= since_ns
                and (wanted.tool is None or tool_of(decode_body(frame)) == wanted.tool)
            )

        for _ in range(MAX_PAGES):
            first = at + 1
            page = await self.read(lambda reader, first=first: _frames(reader, first))
            if not page:
                return r.AuditRecords(records=tuple(found), after_seq=None)
            for frame in page:
                line = summarize(frame) if passes(frame) else None
                if line is not None and wanted.decision in (None, line.decision):
                    room -= len(encode(line))
                    if room < 0 or len(found) == wanted.limit:
                        return r.AuditRecords(records=tuple(found), after_seq=at)
                    found.append(line)
                at = frame.seq
            await trio.lowlevel.checkpoint()
        return r.AuditRecords(records=tuple(found), after_seq=at)

    async def show(self, seq: int) -> r.AuditShown:
        """One record in full."""
        raw, payloads = await self.read(lambda reader: (_raw(reader, seq), _payloads(reader, seq)))
        return r.AuditShown(record=summarize(decode_frame(raw)), frame=raw, payloads=payloads)

    async def prove(self, seq: int, size: int, note: bytes) -> r.AuditProof:
        """That record ``seq`` is under the checkpoint ``note`` of ``size`` records."""
        frame, path = await self.read(lambda reader: (_raw(reader, seq), tuple(prove_inclusion(reader, seq, size))))
        return r.AuditProof(seq=seq, size=size, frame=frame, path=path, checkpoint=note)

    async def stats(self) -> r.AuditStats:
        """The log in numbers; what was counted once is not counted again."""
        while page := await self.read(lambda reader: reader.frames(self._counted + 1, PAGE)):
            # The first of two counts under way wins: both read the same page.
            for raw in page:
                frame = decode_frame(raw)
                if frame.seq == self._counted + 1:
                    self._count(frame, len(raw))
            await trio.lowlevel.checkpoint()
        decisions = {"permit": Kind.PERMIT, "ask": Kind.ASKED, "deny": Kind.DENIED}
        return r.AuditStats(
            records=self._counted,
            log_bytes=self._bytes,
            first_ns=str(self._first_ns),
            last_ns=str(self._last_ns),
            kinds=tuple(r.Tally(name=kind_name(kind), count=count) for kind, count in sorted(self._kinds.items())),
            decisions=tuple(r.Tally(name=name, count=self._kinds[kind]) for name, kind in decisions.items()),
        )

    async def explain(self, name: str) -> r.Explanation:
        """What the log says about anything that has a printed identifier.

        Raises:
            InputError: it is no identifier, or the log does not mention it.
        """
        kind = name.partition(":")[0]
        if kind not in ("session", "question", "token", "call"):
            raise InputError(
                "audit.no-such-kind",
                f"`{name[:80]}` is nothing that the log tells about",
                advice="name a session, a question, a token or a call, as `astrid audit list` prints it",
            )
        wanted = parse_id(kind, name)
        found: list[tuple[Frame, Signed]] = []
        seen, first = 0, 1
        while page := await self.read(lambda reader, first=first: _frames(reader, first)):
            for frame in page:
                body = decode_body(frame)
                if mentions(kind, wanted, frame, body, found):
                    seen += 1
                    found = [*found[:1], *found[1:][-(MAX_EXPLAINED - 2) :], (frame, body)]
            first = page[-1].seq + 1
            await trio.lowlevel.checkpoint()
        if not found:
            raise InputError("audit.unknown-id", f"the log does not mention `{name}`", advice="see `astrid audit list`")
        denied = [(frame.seq, body.detail) for frame, body in found if isinstance(body, DeniedRecord)]
        told = await self.read(lambda reader: {seq: _told(reader, seq, detail) for seq, detail in denied})
        lines = explain(kind, found, told)
        if seen > len(found):
            lines = [f"{seen} records mention it; the first and the last {len(found) - 1} are these", *lines]
        return r.Explanation(lines=tuple(lines), records=tuple(summarize(frame) for frame, _ in found))

    async def cost(self, session: bytes, cap_micros: int | None) -> r.SessionCost:
        """What a session cost; ``cap_micros`` is its cap, where that is known.

        Raises:
            InputError: the log does not mention it.
        """
        costs, first = Costs(session), 1
        while last := await self.read(lambda reader, first=first: _count_costs(reader, costs, session, first)):
            first = last + 1
            await trio.lowlevel.checkpoint()
        if not costs.found:
            name = show_id("session", session)
            raise InputError("audit.unknown-id", f"the log does not mention `{name}`", advice="see `astrid audit list`")
        return costs.answer(cap_micros)

    def _count(self, frame: Frame, size_bytes: int) -> None:
        self._counted = frame.seq
        self._kinds[frame.kind] += 1
        self._bytes += size_bytes
        self._first_ns = self._first_ns or frame.time_ns
        self._last_ns = min(frame.time_ns, MAX_U64)


def _frames(reader: LogReader, first: int) -> list[Frame]:
    return [decode_frame(raw) for raw in reader.frames(first, PAGE)]


def _count_costs(reader: LogReader, costs: Costs, session: bytes, first: int) -> int:
    """Count a page of a session's records; the number of its last one, 0 where there is none."""
    frames = [decode_frame(raw) for raw in reader.frames_of(session, first, PAGE)]
    for frame in frames:
        costs.take(frame, decode_body(frame), reader.payload)
    return frames[-1].seq if frames else 0


def _raw(reader: LogReader, seq: int) -> bytes:
    frames = reader.frames(seq, 1)
    if not frames or decode_frame(frames[0]).seq != seq:
        raise InputError("audit.no-record", f"the log has no record {seq}", advice="see `astrid audit list`")
    return frames[0]


def _told(reader: LogReader, seq: int, detail: Sealed) -> str:
    """Reason and advice of a denial; empty where that was erased, or is not what the record commits to."""
    beside = reader.payload(seq, 0)
    if beside is None or not is_sealed(detail, *beside):
        return ""
    return "; ".join(filter(None, told_of(beside[1])))


def _payloads(reader: LogReader, seq: int) -> tuple[r.PayloadBytes, ...]:
    shown: list[r.PayloadBytes] = []
    room = MAX_PAYLOAD_BYTES
    for slot in range(MAX_SLOTS):
        sealed = reader.payload(seq, slot)
        if sealed is not None:
            salt, data = sealed
            shown.append(r.PayloadBytes(slot=slot, salt=salt, length=len(data), data=data[:room]))
            room -= len(shown[-1].data)
    return tuple(shown)
