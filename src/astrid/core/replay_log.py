"""What the log has of a session beside its journal: what became of its proposals, and what was decided.  Pure.

The journal says after which row something was proposed, and the log has records in one order with those of the rows.
So a model's answer comes from the permit between the row that asked and the row that heard, and a tool's result from
the permit that the result names.

Never: takes what lies beside a record for more than the record commits to.

Source: protocol N4, N9; architecture 5 ("A permit records what a replay needs").
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import msgspec

from astrid.core.call import Call, Need, call_digest, decode_call, encode_call
from astrid.core.canon import Signed, encode
from astrid.core.conversation import ToolUse, encode_request
from astrid.core.gate_records import SHOWN_BYTES, arguments_of, told_of
from astrid.core.labels import Label
from astrid.core.past import Beside
from astrid.core.question import Question, decode_question
from astrid.core.records import AskedRecord, DeniedRecord, OutcomeRecord, PermitRecord
from astrid.core.replay import Proposed
from astrid.core.resources import model_resource
from astrid.core.tokens import Permission
from astrid.core.turn_messages import (
    AnswerRow,
    AnyRow,
    AskRow,
    CallRow,
    CompactRow,
    EndRow,
    ProposeModel,
    ResultRow,
    SummaryRow,
    Verdict,
    WaitRow,
)
from astrid.core.turn_retry import model_tool
from astrid.core.verdicts import MODEL, OpenProposal, ended, kept

Records = Sequence[tuple[int, Signed]]
"""Records of a session that are about its own calls, with their numbers."""

Rows = Sequence[tuple[int, AnyRow]]
"""Its rows, each with the number of the record that has it."""

_STRAY = "gate.message"  # somebody said what is not taken from them: that was no call


class Decision(msgspec.Struct, frozen=True):
    """What record ``seq`` says was decided: about ``call``, whose arguments are ``size`` bytes long.

    Of a model's call the log has not all of the bytes: here it is one without arguments.  Of a refusal it has no call,
    but how its arguments begin (``start``) and why it was refused.
    """

    seq: int
    body: PermitRecord | DeniedRecord | AskedRecord
    call: Call | None = None
    size: int = 0
    start: bytes = b""
    why: str = ""
    question: Question | None = None


class Said(msgspec.Struct, frozen=True):
    """A proposal of the replayed session: which row makes it, and which record has that.  Of a model's call the
    arguments are not kept, but their beginning is.
    """

    row: int
    since: int
    tool: str
    args: bytes
    size: int
    label: Label


class Unproposed(msgspec.Struct, frozen=True):
    """Record ``seq`` decided about a call of ``tool`` that is not proposed again.  ``was`` is the digest of that call,
    ``now`` of the one that is proposed in its place; empty where there is none.
    """

    seq: int
    tool: str
    was: bytes
    now: bytes


def heard_in(rows: Rows, records: Records, beside: Beside) -> dict[int, Verdict]:
    """What became of each proposal of which the log has an outcome, by its ref.

    Raises:
        CanonError: what lies beside a record is not what that commits to.
        InputError: that was erased.
    """
    outcomes = {body.permit_seq: (seq, body) for seq, body in records if isinstance(body, OutcomeRecord)}
    permits = {seq: body for seq, body in records if isinstance(body, PermitRecord)}
    asked = [seq for seq, body in permits.items() if body.host_kind == MODEL]
    found: list[Verdict] = []
    ask: OpenProposal | None = None
    uses: dict[str, ToolUse] = {}
    refs: dict[str, int] = {}
    for at, row in rows:
        match row:
            case AskRow() | SummaryRow():
                ask = OpenProposal(row.ref, at)
            case AnswerRow() | CompactRow() | WaitRow() | EndRow():
                for seq in asked[bisect_right(asked, at if ask is None else ask.since) : bisect_left(asked, at)]:
                    found += [] if ask is None else ended(ask, seq, outcomes.get(seq), beside)
                ask = None
                uses |= {part.id: part for part in getattr(row, "parts", ()) if isinstance(part, ToolUse)}
            case CallRow():
                refs[row.id] = row.ref
            case ResultRow():
                for seq in permits.keys() & set(row.label.origins):
                    use = OpenProposal(refs[row.id], at, uses[row.id])
                    found += ended(use, seq, outcomes.get(seq), beside)
            case _:
                pass
    return {verdict.ref: verdict for verdict in found}


def decision_of(aud: bytes, session: bytes, seq: int, body: Signed, beside: Beside) -> Decision | None:
    """What record ``seq`` says was decided about a call, if it does; ``session`` is that in whose name it was made.

    Raises:
        CanonError: what lies beside a record is not what that commits to.
        InputError: that was erased.
    """
    match body:
        case PermitRecord() if body.host_kind == MODEL:
            call = _model_call(aud, session, body)
            return Decision(seq, body, call, _size_beside(call, body.bytes_.length))
        case PermitRecord():
            call = decode_call(kept(beside, seq, body.bytes_))
            return Decision(seq, body, call, len(call.args))
        case AskedRecord():
            question, call = decode_question(kept(beside, seq, body.body))
            return Decision(seq, body, call, len(call.args), question=question)
        case DeniedRecord() if body.code != _STRAY:
            detail = kept(beside, seq, body.detail)
            return Decision(seq, body, start=arguments_of(detail), why=told_of(detail)[0])
        case _:
            return None


def _model_call(aud: bytes, session: bytes, body: PermitRecord) -> Call:
    """The call of a model, but for its arguments, as its host prepares it (``hosts.model``)."""
    provider, _, name = body.host_id.partition("/")
    return Call(
        version=1,
        aud=aud,
        session=session,
        workspace=body.workspace,
        principal_key=body.principal,
        caller_key=b"",
        host_kind=body.host_kind,
        host_id=body.host_id,
        tooldef=body.tooldef,
        tool=body.tool,
        needs=(Need(model_resource(provider, name).text, int(Permission.INVOKE)),),
        risk=0,
        tainted=body.tainted,
        cwd_rel="",
        profile=bytes(32),
        pre=(),
        max_micros=body.micros,
        args=b"",
    )


def _size_beside(call: Call, length: int) -> int:
    """How long the arguments are of a call that has ``length`` bytes and otherwise is ``call``; -1 if none can be."""
    size = length - len(encode_call(call))
    # The longer they are, the longer is what says how long they are.
    for more in (0, 1, 3):
        if len(encode(bytes(max(size - more, 0)))) - len(encode(b"")) == size:
            return size - more
    return -1


def said(proposed: Proposed, since: int) -> Said:
    """A proposal, as it is compared; record ``since`` has its row.

    Raises:
        CanonError: it cannot be encoded.
    """
    what = proposed.what
    if isinstance(what, ProposeModel):
        args = encode_request(what.request)
        tool = model_tool(what.place)
        return Said(proposed.row, since, tool, args[:SHOWN_BYTES], len(args), what.label)
    return Said(proposed.row, since, what.name, what.arguments, len(what.arguments), what.label)


def first_unproposed(proposals: Sequence[Said], decisions: Sequence[Decision]) -> Unproposed | None:
    """The first decision about a call that none of ``proposals``, which are in order, was made for."""
    for decided in decisions:
        # A tool that nobody has, has no name in the record of its refusal.
        before = [one for one in proposals if one.since < decided.seq and decided.body.tool in ("", one.tool)]
        if not any(_is_for(decided, one) for one in before):
            return _unproposed(decided, before)
    return None


def _is_for(decided: Decision, one: Said) -> bool:
    call = decided.call
    if call is None:
        return one.args[:SHOWN_BYTES] == decided.start
    # What was chosen by somebody who is not believed counts as tainted where it steers something.
    tainted = call.tainted is one.label.tainted or (call.tainted and one.label.chosen)
    return tainted and one.size == decided.size and (call.host_kind == MODEL or one.args == call.args)


def _unproposed(decided: Decision, before: Sequence[Said]) -> Unproposed:
    call = decided.call
    if call is None or call.host_kind == MODEL:
        return Unproposed(decided.seq, decided.body.tool, b"", b"")
    now = b""
    if before:
        last = before[-1]
        again = msgspec.structs.replace(call, args=last.args, tainted=last.label.tainted)
        now = call_digest(encode_call(again))
    return Unproposed(decided.seq, call.tool, call_digest(encode_call(call)), now)
