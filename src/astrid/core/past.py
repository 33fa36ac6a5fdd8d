"""What a log says of the past: where it ends, what the gate knew, and which questions and tokens outlive a restart.
Pure.

The side table can be erased, and whoever owns the file can change it.  So what comes from there counts only if it is
what the record beside it commits to; anything else is left out and said (``spoilt``), never tried again, and keeps
nothing else from starting.

Source: architecture 5 (the table of crashes), 7; protocol N9, N11; threats 11, 17, 25, 29.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from astrid.core.answers import Verdict
from astrid.core.approval import Approvals
from astrid.core.chain import Frame, Tip, decode_body
from astrid.core.checkpoint import Checkpoint
from astrid.core.facts import Facts
from astrid.core.records import (
    AskedRecord,
    GrantedRecord,
    Sealed,
    SessionEnded,
    SessionStarted,
    SettledRecord,
    is_sealed,
)
from astrid.core.tiles import TileBuilder
from astrid.core.verify import LogKeys, verify_log
from astrid.errors import CanonError, InputError

Beside = Callable[[int, int], tuple[bytes, bytes] | None]
"""``beside(seq, slot)`` gives salt and bytes beside a record, unless erased or never kept."""


class Kept(msgspec.Struct, frozen=True):
    """Something of interest beside record ``seq``, as that commits to it: a question, a result, or a token, which may
    lie inside a signed answer.
    """

    seq: int
    sealed: Sealed
    in_answer: bool = False
    slot: int = 0


class Past(msgspec.Struct, frozen=True):
    """What the log says: where it ends, how much of it is signed, and what is still of interest."""

    tip: Tip
    tree: TileBuilder
    signed: int
    questions: tuple[Kept, ...]
    tokens: tuple[Kept, ...]
    denials: tuple[tuple[bytes, str], ...]  # session and tool, each time that a person said no to one


def replay_log(
    keys: LogKeys,
    frames: Iterable[bytes],
    notes: Sequence[tuple[int, bytes]],
    witnesses: Sequence[Checkpoint] = (),
    facts: Facts | None = None,
) -> Past:
    """Verify a log from its first record (``verify_log``) and, if given, replay it into ``facts``.

    Raises:
        ChainError: the log does not hold together, or was rolled back.
    """
    replay = _Replay(facts)
    verified = verify_log(keys, frames, notes, witnesses, replay.take)
    questions, tokens = tuple(replay.questions.values()), tuple(replay.tokens)
    denials = tuple((session, tool) for session, tools in replay.denials.items() for tool in tools)
    return Past(verified.chain.tip, verified.chain.tree, verified.signed, questions, tokens, denials)


class _Replay:
    """Collects what outlives a restart while the log is read."""

    def __init__(self, facts: Facts | None) -> None:
        self._facts = facts
        self.questions: dict[bytes, Kept] = {}
        self.tokens: list[Kept] = []
        self.denials: dict[bytes, list[str]] = {}  # of the sessions that have not ended
        self._asked: dict[bytes, tuple[bytes, str]] = {}  # by question: whose it is, and about which tool

    def take(self, frame: Frame) -> None:
        """One record that followed the one before it."""
        body = decode_body(frame)
        if self._facts is not None:
            self._facts.replay(frame, body)
        match body:
            case AskedRecord():
                self.questions[body.qid] = Kept(frame.seq, body.body)
                self._asked[body.qid] = (frame.session, body.tool)
            case SettledRecord():
                self.questions.pop(body.qid, None)
                session, tool = self._asked.pop(body.qid, (b"", ""))
                if body.decision == Verdict.DENY and any(body.signer) and session in self.denials:
                    self.denials[session].append(tool)
                if any(body.block):
                    self.tokens.append(Kept(frame.seq, body.answer, in_answer=True))
            case SessionStarted():
                self.denials[frame.session] = []
            case SessionEnded():
                self.denials.pop(frame.session, None)
            case GrantedRecord():
                self.tokens.append(Kept(frame.seq, body.token))
            case _:
                pass


def recall_questions(beside: Beside, past: Past, machine: Approvals, *, now_s: int) -> list[str]:
    """Have ``machine`` go on where the log shows it: with every open question, and with what people said no to; what is
    spoilt, for people.
    """
    for session, tool in past.denials:
        machine.denied(session, tool)
    spoilt: list[str] = []
    for kept in past.questions:
        try:
            raw = recalled(beside, kept)
            if raw is not None:
                machine.restore(raw, now_s=now_s)
        except InputError as error:
            spoilt.append(f"the question of record {kept.seq} cannot be answered: {error.message}")
    return spoilt


def recalled(beside: Beside, kept: Kept) -> bytes | None:
    """What lies beside the record; nothing if that was erased, as what cannot be read cannot be used.

    Raises:
        CanonError: it is not what the record commits to.
    """
    found = beside(kept.seq, kept.slot)
    if found is None:
        return None
    if not is_sealed(kept.sealed, *found):
        raise CanonError("record.spoilt", "what lies beside it is not what it commits to")
    return found[1]
