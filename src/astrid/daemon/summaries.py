"""Records of the log in one line each, for people who look through it.

Never: shows what lies beside the log (arguments, results, prompts).  The name of a tool may be one that a model made
up: whoever prints a line escapes it.

Source: architecture 7; protocol N9.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from astrid.core import records as r
from astrid.core.canon import MAX_U64, Signed
from astrid.core.chain import Frame, decode_body
from astrid.core.ids import is_scripted, show_call, show_id
from astrid.core.labels import Integrity
from astrid.core.money import Micros, format_usd
from astrid.core.records import Kind
from astrid.core.records_connections import ConnectionEndedRecord, ConnectionRecord
from astrid.core.records_undo import FilesRewinding, FilesRewound
from astrid.core.risk import Risk
from astrid.core.tokens import Scope
from astrid.wire.fields import DecisionText
from astrid.wire.results import AuditRecord

MAX_SUMMARY = 240
SCRIPTED = ", scripted"  # what every record of a scripted session says at its end
_DECISIONS: dict[int, DecisionText] = {Kind.PERMIT: "permit", Kind.ASKED: "ask", Kind.DENIED: "deny"}
_RISKS, _INTEGRITIES, _SCOPES = frozenset(Risk), frozenset(Integrity), frozenset(Scope)
_ANSWERS = ("no", "yes, once", "yes, for the session", "yes, for the workspace", "yes, always")


def summarize(frame: Frame) -> AuditRecord:
    """``frame`` as a line of a list.

    Raises:
        ChainError: its body is not one of its kind.
    """
    return AuditRecord(
        seq=frame.seq,
        boot=frame.boot,
        time_ns=str(frame.time_ns),
        kind=kind_name(frame.kind),
        session_id=show_id("session", frame.session) if frame.session else None,
        decision=_DECISIONS.get(frame.kind),
        scripted=is_scripted(frame.session),
        summary=_say(decode_body(frame))[:MAX_SUMMARY] + (SCRIPTED if is_scripted(frame.session) else ""),
    )


def kind_name(kind: int) -> str:
    """How a kind of record is spelt for people."""
    return Kind(kind).name.lower().replace("_", "-")


def is_called(kind: int, name: str) -> bool:
    """Whether a record of ``kind`` is of the kind spelt ``name``, or of one that says the same and more."""
    shape = r.BODIES[Kind(kind)]
    return any(kind_name(wider) == name for wider, body in r.BODIES.items() if issubclass(shape, body))


def tool_of(body: Signed) -> str:
    """The tool that a record is about; empty for none."""
    return body.tool if isinstance(body, r.PermitRecord | r.DeniedRecord | r.AskedRecord) else ""


def _say(body: Signed) -> str:
    match body:
        case r.Genesis():
            after = f", after one that was given up at {body.old_tip.hex()}" if any(body.old_tip) else ""
            return f"the log of {show_id('install', body.install)} begins{after}"
        case r.Boot():
            return f"astrid {body.version} started"
        case r.Stop():
            return f"the daemon stopped: {body.reason}"
        case r.SessionStarted():
            works_for = f", for {show_id('session', body.parent)}" if isinstance(body, r.SubagentStarted) else ""
            return f"mode {body.mode}, model {body.model}, {show_id('workspace', body.workspace)}{works_for}"
        case r.SessionEnded():
            return f"ended: {body.reason}"
        case r.SessionErased():
            return f"erased: {body.rows} rows, {body.texts} texts"
        case FilesRewinding():
            return f"{body.files} files are put back to what they held after turn {body.turn}"
        case FilesRewound():
            return f"begun by record {body.began}: {body.restored} files put back, {body.left} left"
        case r.Prompt():
            return f"turn {body.turn}: {body.text.length} bytes, {_integrity(body.integrity)}"
        case r.AttachedRecord():
            return f"an image was given: {body.image.length} bytes"
        case r.JournalRecord():
            return f"{body.count} rows from row {body.first} on"
        case r.CoalescedRecord():
            return f"{body.code}: {body.count} times by now"
        case r.ClockRecord():
            return f"the clock went {'back' if body.back else 'ahead'} by {body.seconds} s"
        case _:
            return _say_of_call(body)


def _say_of_call(body: Signed) -> str:
    match body:
        case ConnectionRecord():
            why = f", refused: {body.code}" if body.code else ""
            return f"of permit {body.permit_seq}: connection {body.number} to port {body.port}{why}"
        case ConnectionEndedRecord():
            cut = f", {body.code}" if body.code else ""
            carried = f"{body.sent} bytes out, {body.received} in"
            return f"of permit {body.permit_seq}: connection {body.number} ended, {carried}{cut}"
        case r.PermitRecord():
            money = f", at most {format_usd(Micros(body.micros))}" if body.micros else ""
            tainted = ", untrusted text in view" if body.tainted else ""
            return f"{body.tool}: risk {_risk(body.risk)}{money}{tainted}, {show_call(body.ref)}"
        case r.DeniedRecord():
            return f"{body.tool or 'a call'}: {body.code} ({body.layer})"
        case r.AskedRecord():
            return f"{body.tool}: risk {_risk(body.risk)}, {show_id('question', body.qid)}"
        case r.DeferredRecord():
            return f"nobody was there to answer {show_id('question', body.qid)}"
        case r.SettledRecord():
            who = f" by {body.signer.hex()[:16]}" if any(body.signer) else ""
            said = _ANSWERS[body.decision] if who and body.decision < len(_ANSWERS) else body.reason
            return f"{show_id('question', body.qid)}: {said}{who}"
        case r.OutcomeRecord():
            spent = f", {format_usd(Micros(body.spent))}" if body.spent else ""
            if body.unknown:
                return f"of permit {body.permit_seq}: unknown{spent}, the daemon ended before it did"
            said = f"effect {body.effect}{', an error' if body.is_error else ''}"
            said += ", vouched for" if isinstance(body, r.VouchedOutcome) else ""
            return f"of permit {body.permit_seq}: {said}{spent}, {body.result.length} bytes"
        case r.GrantedRecord():
            until = "without end" if body.expires_s == MAX_U64 else f"until {_time(body.expires_s)}"
            scope = Scope(body.scope).name.lower() if body.scope in _SCOPES else str(body.scope)
            return f"{show_id('token', body.block)}: {scope}, {until}, from {body.source}"
        case r.CosignedRecord():
            return f"the client {body.key.hex()[:16]} saw the log of {body.size} records"
        case r.RevokedRecord():
            return f"the {body.kind} {body.target.hex()}"
        case _:
            return ""


def _time(seconds: int) -> str:
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:  # beyond the year 9999
        return f"second {seconds}"


def _risk(level: int) -> str:
    return Risk(level).name.lower() if level in _RISKS else str(level)


def _integrity(level: int) -> str:
    return Integrity(level).name.lower().replace("_", " ") if level in _INTEGRITIES else str(level)
