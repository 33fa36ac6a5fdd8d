"""Why something was allowed, asked or refused, from the records that mention it.  Pure.

Never: guesses.  Each line rests on one record and names it.

Source: architecture 7 (``explain``); protocol N9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from astrid.core import records as r
from astrid.core.answers import Verdict
from astrid.core.canon import Signed
from astrid.core.chain import Frame
from astrid.core.ids import show_id
from astrid.core.records_connections import ConnectionEndedRecord, ConnectionRecord
from astrid.daemon.summaries import kind_name, summarize

MAX_LINE = 1000
Found = Sequence[tuple[Frame, Signed]]


def mentions(kind: str, wanted: bytes, frame: Frame, body: Signed, before: Found) -> bool:
    """Whether a record is about ``wanted``; ``before`` are those before it that are."""
    match kind:
        case "session":
            return frame.session == wanted
        case "question":
            return isinstance(body, r.AskedRecord | r.SettledRecord | r.DeferredRecord) and body.qid == wanted
        case "call":
            return _mentions_call(int.from_bytes(wanted, "big"), body, before)
        case _:
            return _mentions_token(wanted, body)


def _mentions_call(ref: int, body: Signed, before: Found) -> bool:
    """A yes to one call makes its session propose it again, under another number."""
    match body:
        case r.AskedRecord() | r.DeferredRecord() | r.DeniedRecord():
            return body.ref == ref
        case r.SettledRecord():
            return any(isinstance(asked, r.AskedRecord) and asked.qid == body.qid for _, asked in before)
        case r.PermitRecord():
            said = {one.block for _, one in before if isinstance(one, r.SettledRecord) and one.decision == Verdict.ONCE}
            return body.ref == ref or body.token in said
        case r.OutcomeRecord():
            return any(isinstance(permit, r.PermitRecord) and permit.ref == body.ref for _, permit in before)
        case ConnectionRecord() | ConnectionEndedRecord():
            return any(isinstance(one, r.PermitRecord) and frame.seq == body.permit_seq for frame, one in before)
        case _:
            return False


def _mentions_token(wanted: bytes, body: Signed) -> bool:
    match body:
        case r.GrantedRecord() | r.SettledRecord() | r.CosignedRecord():
            return body.block == wanted
        case r.RevokedRecord():
            return body.target == wanted
        case r.PermitRecord():
            return any(row.block == wanted for row in body.charges)
        case _:
            return False


def explain(kind: str, found: Found, told: Mapping[int, str]) -> list[str]:
    """A line for each record that decided something, oldest first; ``told`` is what lies beside some of them, by
    number.
    """
    whys = [(frame.seq, _why(body) or _plainly(frame), told.get(frame.seq, "")) for frame, body in found]
    lines = [f"record {seq}: {why}{': ' if more else ''}{more}"[:MAX_LINE] for seq, why, more in whys]
    last = found[-1][1]
    if kind == "question" and isinstance(last, r.AskedRecord | r.DeferredRecord):
        lines.append("it is still open, or the log ended before its answer")
    return lines


def _why(body: Signed) -> str:
    match body:
        case r.DeniedRecord():
            what = f"`{body.tool}`" if body.tool else "a call"
            return f"{what} did not run: the layer `{body.layer}` refused it with `{body.code}`"
        case r.AskedRecord():
            return f"`{body.tool}` needs a person's yes, so {show_id('question', body.qid)} was put"
        case r.PermitRecord():
            return (
                f"`{body.tool}` was allowed: policy has nothing against it, {show_id('token', body.token)} covers it, "
                "and the budgets had room"
            )
        case r.OutcomeRecord() if body.unknown:
            return f"the daemon ended before the call of permit {body.permit_seq} did; how far it came is not known"
        case r.OutcomeRecord():
            return f"the call of permit {body.permit_seq} ended; effect: {body.effect}"
        case r.DeferredRecord():
            return "nobody was there to answer, so the session went on without"
        case _:
            return ""


def _plainly(frame: Frame) -> str:
    line = summarize(frame)
    return f"{kind_name(frame.kind)}: {line.summary}"
