"""What approvals want done, and what the gate is told of it.  Pure data; see ``approval`` for the machine.

Source: architecture 5; protocol N5, N6.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from astrid.core.answers import Verdict
from astrid.core.gate_messages import Answered, Put
from astrid.core.records import Entry


class Record(msgspec.Struct, frozen=True):
    """Effect: make this durable, then call ``recorded`` with ``qid``."""

    qid: bytes
    entry: Entry


class Notify(msgspec.Struct, frozen=True):
    """Effect: tell the frontends that a question waits.  Its record is durable."""

    qid: bytes
    raw: bytes
    refs: tuple[int, ...]


class Resolve(msgspec.Struct, frozen=True):
    """Effect: the question has ended, durably.  ``token`` is empty unless somebody said yes; ``verdict`` is ``None``
    when time ran out."""

    qid: bytes
    session: bytes
    refs: tuple[int, ...]
    verdict: Verdict | None
    token: bytes
    block: bytes


class Refuse(msgspec.Struct, frozen=True):
    """Effect: the question is not put; the proposal ``ref`` is denied."""

    ref: int
    code: str
    reason: str


class Joined(msgspec.Struct, frozen=True):
    """Effect: an equal question is open already; ``ref`` waits with it."""

    ref: int
    qid: bytes


Effect = Record | Notify | Resolve | Refuse | Joined


def puts(effect: Notify | Joined | Refuse, *, attended: bool) -> list[Put]:
    """What the gate is told of a question's start.  ``attended``: whether somebody who can answer is there."""
    match effect:
        case Notify():
            return [_put(ref, effect.qid, attended=attended) for ref in effect.refs]
        case Joined():
            return [_put(effect.ref, effect.qid, attended=attended)]
        case Refuse():
            return [Put(ref=effect.ref, qid=b"", code=effect.code, reason=effect.reason, attended=False)]
        case _:
            assert_never(effect)


def answered(effect: Resolve) -> Answered:
    """What the gate is told of a question's end."""
    return Answered(
        qid=effect.qid,
        block=effect.block,
        session=effect.session,
        refs=effect.refs,
        said_no=effect.verdict is Verdict.DENY,
        token=effect.token,
    )


def _put(ref: int, qid: bytes, *, attended: bool) -> Put:
    return Put(ref=ref, qid=qid, code="", reason="", attended=attended)
