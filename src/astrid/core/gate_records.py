"""What the gate writes: records and questions, built from what it knows.  Pure functions, no state.

Never: puts arguments, results or free text into a record; those go beside it, under a salted commitment.

Source: protocol N5, N9; architecture 5 ("A permit records what a replay needs"); threats 24, 25, 26.
"""

from __future__ import annotations

import msgspec

from astrid.core.call import Call, Preparation
from astrid.core.canon import decode, encode
from astrid.core.decide import Ask, Denied, Permit
from astrid.core.facts import Facts, Principal, Tool
from astrid.core.gate_messages import Executed
from astrid.core.question import Control, Question, choices_for, question_bytes
from astrid.core.records import (
    ChargeRow,
    DeniedRecord,
    Entry,
    OutcomeRecord,
    PermitRecord,
    VouchedOutcome,
    entry,
    seal,
)
from astrid.errors import Effect

SHOWN_BYTES = 4096  # of the arguments, the reason and the advice of a denial
WORD_CHARS = 64


class End(msgspec.Struct, frozen=True):
    """How a permitted call ended, for its record."""

    effect: Effect
    is_error: bool
    unknown: bool
    spent_micros: int
    sound: bool
    permit_seq: int
    content: bytes
    vouched: bool = False
    chosen: bool = False


def permitted(facts: Facts, ref: int, call: Call, call_bytes: bytes, permit: Permit, now_ns: int, salt: bytes) -> Entry:
    """The record that must be durable before the call runs.

    Raises:
        CanonError: it cannot be encoded.
    """
    sealed, payload = seal(call_bytes, salt)
    body = PermitRecord(
        ref=ref,
        host_kind=call.host_kind,
        host_id=call.host_id,
        tool=call.tool,
        tooldef=call.tooldef,
        principal=call.principal_key,
        workspace=call.workspace,
        token=permit.token,
        risk=permit.risk,
        tainted=call.tainted,
        now_s=facts.time_s(now_ns),
        policy=facts.policy.digest,
        epoch=facts.roots.epoch,
        charges=tuple([ChargeRow(use.block, permit.charge.micros) for use in permit.charge.uses]),
        micros=permit.charge.micros,
        bytes_=sealed,
    )
    # A model call's bytes are the whole conversation, which the session's journal holds already.
    payloads = () if call.host_kind == "model" else (payload,)
    return entry(body, session=call.session, payloads=payloads, ref=ref)


def worth(tool: Tool, said: Executed | None) -> tuple[bool, bool]:
    """Whether somebody who is believed stands behind what a host said, and whether that was chosen among few."""
    if said is None:
        return False, False
    return bool(tool.spec.output_trust) and not said.untrusted, said.chosen


def settled(ref: int, session: bytes, end: End, salt: bytes) -> Entry:
    """The record of how a call of ``session`` ended."""
    sealed, payload = seal(end.content, salt, slot=1)
    body: OutcomeRecord = OutcomeRecord(
        ref=ref,
        permit_seq=end.permit_seq,
        effect=end.effect,
        is_error=end.is_error,
        unknown=end.unknown,
        spent=end.spent_micros,
        sound=end.sound,
        result=sealed,
    )
    if end.vouched:
        body = VouchedOutcome(**msgspec.structs.asdict(body), chosen=end.chosen)
    return entry(body, session=session, payloads=(payload,), ref=ref, urgent=False)


def refused(principal: Principal, ref: int, tool: Tool | None, denied: Denied, args: bytes, salt: bytes) -> Entry:
    """The record of a denial.  The side table holds reason, advice and the start of the arguments.

    It can always be encoded: what a host said may be any text, and a denial that failed to be one would be a crash.
    """
    sealed, payload = seal(encode((_text(denied.reason), _text(denied.advice), args[:SHOWN_BYTES])), salt)
    body = DeniedRecord(
        ref=ref,
        host_kind=tool.spec.host_kind if tool is not None else "",
        tool=tool.spec.name if tool is not None else "",
        principal=principal.key,
        layer=_word(denied.layer),
        code=_word(denied.code),
        detail=sealed,
    )
    return entry(body, session=principal.session, payloads=(payload,), ref=ref)


def told_of(data: bytes) -> tuple[str, str]:
    """Reason and advice of a denial, out of what lies beside its record.

    Raises:
        CanonError: it is not that.
    """
    reason, advice, _ = _beside_denial(data)
    return reason.decode("utf-8", "replace"), advice.decode("utf-8", "replace")


def arguments_of(data: bytes) -> bytes:
    """The start of the arguments that were denied, out of what lies beside the record.

    Raises:
        CanonError: it is not that.
    """
    return _beside_denial(data)[2]


def _beside_denial(data: bytes) -> tuple[bytes, bytes, bytes]:
    return decode(data, tuple[bytes, bytes, bytes], max_bytes=4 * SHOWN_BYTES, what="a denial")


def question_for(
    facts: Facts, call: Call, call_bytes: bytes, ask: Ask, preparation: Preparation, qid: bytes, now_ns: int
) -> bytes:
    """The bytes of ``Q`` about ``call``.

    Raises:
        CanonError: a field has no canonical form.
    """
    asked = facts.time_s(now_ns)
    expires = asked + facts.question_seconds
    provenance = "untrusted text in view" if call.tainted else "trusted context"
    controls = tuple(
        Control(name, value.encode("utf-8", "surrogateescape"), provenance, 0) for name, value in preparation.controls
    )
    question = Question(
        version=1,
        aud=facts.aud,
        qid=qid,
        asked=asked,
        expires=expires,
        call=call_bytes,
        why=ask.reason.encode(),
        risk=ask.risk,
        once_only=ask.once_only,
        strong=ask.strong,
        controls=controls,
        choices=choices_for(call, ask.risk, asked, expires, once_only=ask.once_only),
    )
    return question_bytes(question)


def size_of(made: Entry) -> int:
    """The bytes that a record adds to the disk, side table included."""
    size = len(made.body)
    for payload in made.payloads:
        size += len(payload.data) + len(payload.salt)
    return size


def _text(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")[:SHOWN_BYTES]


def _word(text: str) -> str:
    return text[:WORD_CHARS].encode("ascii", "replace").decode()
