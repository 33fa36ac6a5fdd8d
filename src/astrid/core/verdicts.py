"""What became of a proposal, as the turn machine is told it: when it ends, or out of the log after a crash.  Pure.

After a crash the journal shows what was proposed and not answered.  A row is in the log before the permit of what it
proposes, so a permit or a denial of the same bytes after it, which no earlier answer came from, is about that.

Never: takes what lies beside a record for more than the record commits to, or guesses where it was erased.

Invariants:
  What has a permit is never without a verdict, but for what the log says had no effect, and for a model call whose
  outcome nobody knows: that is settled in full, and another one does no harm.
  What a model is told of a refusal is constant, so that nothing can be asked out of it.

Source: architecture 5 (the table of crashes); protocol N9; threats 15, 25, 40.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from astrid.core.call import decode_call
from astrid.core.canon import Signed
from astrid.core.conversation import Done, ToolUse, Usage, decode_answer
from astrid.core.gate_records import SHOWN_BYTES, arguments_of
from astrid.core.labels import Integrity, Label
from astrid.core.past import Beside, Kept, recalled
from astrid.core.records import DeniedRecord, OutcomeRecord, PermitRecord, Sealed, VouchedOutcome
from astrid.core.turn_answer import answer_parts
from astrid.core.turn_messages import (
    AnswerRow,
    AnyRow,
    AskRow,
    CallDenied,
    CallRow,
    CallUnknown,
    ModelAnswered,
    ModelFailed,
    ResultRow,
    SummaryRow,
    ToolAnswered,
    Verdict,
)
from astrid.core.turn_retry import read_failure
from astrid.errors import InputError, InternalError

MODEL = "model"  # the kind of host
_OUTCOME_SLOT = 1
_TO_MODEL = {
    "policy": "A rule of the administrator forbids it. Do not try to reach the same in another way.",
    "capability": "Nothing that the person signed covers it. Go on without it.",
    "budget": "It does not fit the budget. Go on with something cheaper, or stop.",
    "approval": "A person was asked and did not agree. Go on without it.",
    "workspace": "The file tools do not reach it. Work on files inside the workspace.",
    "command": "The command is not plain enough to be judged. Write it more simply, or put it into a script.",
    "input": "The arguments make no sense to the tool. Correct them, or go on without it.",
    "tool": "The tool is not available just now.",
    "audit": "Nothing can be recorded just now, so nothing runs.",
}
_TO_MODEL_OTHERWISE = "It was refused. Go on without it."


class OpenProposal(msgspec.Struct, frozen=True):
    """What a journal shows as proposed and not answered, by a row that record ``since`` has.  ``use`` is nothing where
    the model itself was asked.
    """

    ref: int
    since: int
    use: ToolUse | None = None


def refused(ref: int, layer: str, code: str) -> CallDenied:
    """The gate said no."""
    return CallDenied(ref=ref, code=code, layer=layer, model_text=_TO_MODEL.get(layer, _TO_MODEL_OTHERWISE))


def model_failed(ref: int, content: bytes, *, die: int = 0) -> ModelFailed:
    """A model's host could not get an answer, and says why."""
    code, retry_after_ms = read_failure(content)
    return ModelFailed(ref=ref, code=code, retry_after_ms=retry_after_ms, die=die)


def model_answered(ref: int, content: bytes) -> ModelAnswered:
    """A model's answer.

    Raises:
        InternalError: none that a model's host gives.
    """
    events = decode_answer(content)
    end = events[-1]
    if not isinstance(end, Done):
        raise InternalError("session.answer", "a model's answer has no end")
    usage = next((event for event in events if isinstance(event, Usage)), None)
    return ModelAnswered(ref=ref, parts=answer_parts(events), stop_reason=end.stop_reason, usage=usage)


def open_proposals(rows: Iterable[tuple[int, AnyRow]]) -> tuple[list[OpenProposal], set[int]]:
    """What ``rows``, each with the record that has it, leave proposed; and the records that their results came from."""
    found: dict[str, OpenProposal] = {}
    uses: dict[str, ToolUse] = {}
    heard: set[int] = set()
    for seq, row in rows:
        match row:
            case AskRow() | SummaryRow():
                found[""] = OpenProposal(row.ref, seq)
            case AnswerRow():
                found.clear()
                uses = {part.id: part for part in row.parts if isinstance(part, ToolUse)}
            case CallRow():
                found[row.id] = OpenProposal(row.ref, seq, uses[row.id])
            case ResultRow():
                found.pop(row.id, None)
                heard.update(row.label.origins)
            case _:  # a turn began or ended, or a summary was taken: nothing is open
                found.clear()
    return sorted(found.values(), key=lambda one: one.ref), heard


def find_verdicts(
    proposals: Sequence[OpenProposal], heard: set[int], records: Sequence[tuple[int, Signed]], beside: Beside
) -> tuple[Verdict, ...]:
    """What ``records``, all of the session since the first of ``proposals``, say became of these.

    Raises:
        CanonError: what lies beside one is not what it commits to.
        InputError: what lies beside one was erased, and nobody can tell what it was about.
    """
    outcomes = {body.ref: (seq, body) for seq, body in records if isinstance(body, OutcomeRecord)}
    left = [(seq, body) for seq, body in records if isinstance(body, PermitRecord | DeniedRecord) and seq not in heard]
    found: list[Verdict] = []
    for one in proposals:
        about = (record for record in left if record[0] > one.since and _is_about(one, *record, beside))
        decided = next(about, None)
        if decided is None:
            continue
        left.remove(decided)
        seq, body = decided
        if isinstance(body, DeniedRecord):
            found.append(refused(one.ref, body.layer, body.code))
        else:
            found += ended(one, seq, outcomes.get(body.ref), beside)
    return tuple(found)


def _is_about(one: OpenProposal, seq: int, body: PermitRecord | DeniedRecord, beside: Beside) -> bool:
    if one.use is None or body.host_kind == MODEL:
        return one.use is None and body.host_kind == MODEL
    arguments = one.use.arguments.encode()
    if isinstance(body, PermitRecord):
        return body.tool == one.use.name and decode_call(kept(beside, seq, body.bytes_)).args == arguments
    if body.tool not in ("", one.use.name):  # a tool that nobody has, has no name there
        return False
    return arguments_of(kept(beside, seq, body.detail)) == arguments[:SHOWN_BYTES]


def ended(
    one: OpenProposal, permit_seq: int, outcome: tuple[int, OutcomeRecord] | None, beside: Beside
) -> list[Verdict]:
    """How the call of permit ``permit_seq`` ended, at most one; nothing, if it may be proposed again.

    Raises:
        CanonError: what lies beside the outcome is not what it commits to.
        InputError: that was erased.
    """
    if outcome is None or outcome[1].unknown:
        # SAFETY: a tool that was allowed may have run.
        return [] if one.use is None else [CallUnknown(ref=one.ref)]
    seq, body = outcome
    if body.effect == "none" and body.is_error and not body.result.length:
        return []  # what was allowed was no longer so when it was to begin
    content = kept(beside, seq, body.result, slot=_OUTCOME_SLOT)
    if one.use is None:
        return [model_failed(one.ref, content) if body.is_error else model_answered(one.ref, content)]
    # SAFETY: older outcomes do not say whether anybody vouched, and of those nobody did.
    vouched = isinstance(body, VouchedOutcome)
    label = Label(Integrity.TOOL if vouched else Integrity.UNTRUSTED, (permit_seq,), vouched and body.chosen)
    return [ToolAnswered(ref=one.ref, content=content, is_error=body.is_error, label=label)]


def kept(beside: Beside, seq: int, sealed: Sealed, *, slot: int = 0) -> bytes:
    """What lies beside record ``seq``, as that commits to it.

    Raises:
        CanonError: it is something else.
        InputError: it was erased.
    """
    found = recalled(lambda of, _: beside(of, slot), Kept(seq, sealed))
    if found is None:
        raise InputError(
            "session.call-erased",
            "what a call of the session was about was erased from the log",
            where=f"record {seq}",
            advice="start another session",
        )
    return found
