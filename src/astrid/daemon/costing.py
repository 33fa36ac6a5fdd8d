"""What a session cost, counted from its records: each model's calls and tokens, the tools that cost, what is open.

Never: guesses.  Money is what permits and outcomes say; tokens are what lies beside an outcome, where that is still
there and is what the record commits to.

Source: architecture 7; protocol N3, N9.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from astrid.core.canon import MAX_U64, Signed
from astrid.core.chain import Frame
from astrid.core.conversation import Usage, decode_answer
from astrid.core.ids import show_id
from astrid.core.records import OutcomeRecord, PermitRecord, is_sealed
from astrid.errors import CanonError
from astrid.wire import results as r
from astrid.wire.fields import MAX_SAFE_INT

RESULT_SLOT = 1
MODEL = "model"
Beside = Callable[[int, int], tuple[bytes, bytes] | None]  # what lies beside a record: salt and bytes


class Line(msgspec.Struct):
    """What one model or one tool took so far."""

    calls: int = 0
    uncounted: int = 0
    input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    spent: int = 0

    def count(self, usage: Usage | None) -> None:
        """Take in what the vendor counted; nothing where there is no figure."""
        if usage is None:
            self.uncounted += 1
            return
        self.input_tokens += usage.input_tokens
        self.cache_write_tokens += usage.cache_write_tokens
        self.cache_read_tokens += usage.cache_read_tokens
        self.output_tokens += usage.output_tokens


class Costs:
    """One session's, record by record, in their order."""

    def __init__(self, session: bytes) -> None:
        self._session = session
        self._open: dict[int, PermitRecord] = {}
        self._lines: dict[tuple[str, str], Line] = {}
        self._unknown = 0
        self._unknown_micros = 0
        self.found = False

    def take(self, frame: Frame, body: Signed, beside: Beside) -> None:
        """Count one record; others' are passed over."""
        if frame.session != self._session:
            return
        self.found = True
        match body:
            case PermitRecord():
                self._open[body.ref] = body
            case OutcomeRecord() if body.ref in self._open:
                self._ended(self._open.pop(body.ref), frame, body, beside)
            case _:
                pass

    def _ended(self, permit: PermitRecord, frame: Frame, body: OutcomeRecord, beside: Beside) -> None:
        line = self._lines.setdefault(_name(permit), Line())
        line.calls += 1
        line.spent += body.spent
        if body.unknown:
            self._unknown += 1
            self._unknown_micros += body.spent
        if permit.host_kind == MODEL:
            line.count(_usage(frame.seq, body, beside))

    def answer(self, cap_micros: int | None) -> r.SessionCost:
        """All of it; ``cap_micros`` is the session's, where that is known."""
        lines = sorted(self._lines.items())
        return r.SessionCost(
            session_id=show_id("session", self._session),
            models=tuple(_model(name, line) for (kind, name), line in lines if kind == MODEL),
            tools=tuple(
                r.ToolCost(tool=name, calls=line.calls, spent_micros=_micros(line.spent))
                for (kind, name), line in lines
                if kind != MODEL and line.spent
            ),
            spent_micros=_micros(sum(line.spent for _, line in lines)),
            reserved_micros=_micros(sum(permit.micros for permit in self._open.values())),
            cap_micros=None if cap_micros is None else _micros(cap_micros),
            unknown_calls=self._unknown,
            unknown_micros=_micros(self._unknown_micros),
        )


def _name(permit: PermitRecord) -> tuple[str, str]:
    if permit.host_kind == MODEL:
        return MODEL, permit.host_id
    return permit.host_kind, permit.tool


def _usage(seq: int, body: OutcomeRecord, beside: Beside) -> Usage | None:
    """What the vendor counted for a model call, if that is in the log."""
    kept = None if body.is_error or body.unknown else beside(seq, RESULT_SLOT)
    if kept is None or not is_sealed(body.result, *kept):
        return None
    try:
        events = decode_answer(kept[1])
    except CanonError:
        return None
    return next((event for event in events if isinstance(event, Usage)), None)


def _model(name: str, line: Line) -> r.ModelCost:
    return r.ModelCost(
        model=name,
        calls=line.calls,
        uncounted=line.uncounted,
        input_tokens=min(line.input_tokens, MAX_SAFE_INT),
        cache_write_tokens=min(line.cache_write_tokens, MAX_SAFE_INT),
        cache_read_tokens=min(line.cache_read_tokens, MAX_SAFE_INT),
        output_tokens=min(line.output_tokens, MAX_SAFE_INT),
        spent_micros=_micros(line.spent),
    )


def _micros(amount: int) -> str:
    return str(min(amount, MAX_U64))
