"""A session's journal, driven through a fresh turn machine: does that write the same rows again?  Pure.

What the machine was told follows from the row that it wrote next and, where a row does not keep all of it (the whole
answer of a model, the whole result of a tool), from what the log says became of the proposal (``replay_log``).  What
cannot be known of it changes no row: of the number that spread a wait, any that gives this wait will do.

Never: asks a model, runs a tool, or has anything written.

Invariant: the rows of a session, whatever happened in it, give no difference.

Source: architecture 2 (core/turn); protocol N9; threat 42.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import msgspec

from astrid.core import turn_answer as texts
from astrid.core.ids import QuestionId
from astrid.core.labels import Integrity, Label
from astrid.core.turn import resume, step
from astrid.core.turn_cut import rows_up_to
from astrid.core.turn_messages import (
    AnyRow,
    AnyTurnEffect,
    AnyTurnInput,
    AskRow,
    CallDeferred,
    CallDenied,
    CallRow,
    CallUnknown,
    Cancel,
    EndRow,
    ForkRow,
    FrameRow,
    InputRow,
    LimitReached,
    ModelFailed,
    ProposeModel,
    ProposeTool,
    Restore,
    RestoreRow,
    ResultRow,
    Rewind,
    RewindRow,
    Save,
    SummaryRow,
    ToolAnswered,
    Undone,
    UserInput,
    Verdict,
    Waited,
    WaitRow,
)
from astrid.core.turn_retry import DIE_BYTES, LONGEST_WAITS_MS, next_attempt
from astrid.core.turn_state import Asking, Calling, OpenCall, Turn, Waiting, apply, new_turn
from astrid.core.verdicts import refused
from astrid.errors import InputError

Heard = Mapping[int, Verdict]
"""By the ref of a proposal, what the log says became of it."""

_DIE_SIDES = 1 << 8 * DIE_BYTES


class Proposed(msgspec.Struct, frozen=True):
    """What the machine proposes, by row number ``row``, the first being 1."""

    row: int
    what: ProposeModel | ProposeTool


class Difference(msgspec.Struct, frozen=True):
    """The first row that comes out otherwise: as the journal has it, and as the machine writes it now.  Nothing, where
    the one ends, or the other writes no row.
    """

    row: int
    was: AnyRow | None
    now: AnyRow | None


def replay(rows: Sequence[AnyRow], heard: Heard) -> Iterator[Proposed | Difference]:
    """What a fresh machine proposes when it lives through ``rows`` again; last, if there is one, the first difference.

    Raises:
        InputError: the rows do not say under which setting the session began, or are not those of a session.
    """
    if not rows:
        return  # nothing was said
    turn, at = _begin(rows)
    while at < len(rows):
        effects = _again(turn, rows, at, heard)
        made = next((effect.rows for effect in effects if isinstance(effect, Save)), ())
        for place in range(max(len(made), 1)):
            was = rows[at + place] if at + place < len(rows) else None
            now = made[place] if place < len(made) else None
            if was != now:
                yield Difference(at + place + 1, was, now)
                return
        refs = {
            row.ref: at + place for place, row in enumerate(made, 1) if isinstance(row, AskRow | SummaryRow | CallRow)
        }
        yield from (Proposed(refs[e.ref], e) for e in effects if isinstance(e, ProposeModel | ProposeTool))
        at += len(made)


def _begin(rows: Sequence[AnyRow]) -> tuple[Turn, int]:
    """The machine that wrote ``rows``, and how many of them it did not write but has from another session."""
    lead = next((row for row in rows if not isinstance(row, Undone)), None)
    if not isinstance(lead, FrameRow):
        raise InputError(
            "replay.no-setting",
            "the journal does not begin with what the session was told to be",
            advice="a session that heard nothing, or of an early version, cannot be replayed",
        )
    turn = new_turn(lead.setting)
    fork = rows[1] if len(rows) > 1 else None
    if not isinstance(fork, ForkRow):
        return turn, 0
    copied = max(2, rows_up_to(rows, fork.turn)[0])
    # What was undone since the last copied turn may have been undone in either session.
    while isinstance(rows[copied - 1], Undone) and rows[copied - 1].at_ns >= lead.at_ns:
        copied -= 1
    for row in rows[:copied]:
        apply(turn, row)
    return turn, copied


def _again(turn: Turn, rows: Sequence[AnyRow], at: int, heard: Heard) -> tuple[AnyTurnEffect, ...]:
    """What ``turn`` wants when it is told again what made it write the row at ``at``."""
    row, phase = rows[at], turn.phase
    if isinstance(phase, Asking) and isinstance(row, AskRow | SummaryRow):
        return resume(turn, (), row.at_ns)  # nobody answered: the daemon died
    if isinstance(phase, Calling) and isinstance(row, CallRow):
        return resume(turn, _known(phase, rows, at, heard), row.at_ns)
    message = _told(turn, rows, at, heard)
    return () if message is None else step(turn, message, row.at_ns)


def _told(turn: Turn, rows: Sequence[AnyRow], at: int, heard: Heard) -> AnyTurnInput | None:
    row = rows[at]
    match turn.phase:
        case Waiting(ref):
            return _stopped(row) or Waited(ref=ref)
        case Asking(ref):
            return _stopped(row) or _of_model(turn, ref, row, heard)
        case Calling(calls):
            call = _named(calls, row)
            if call is None:
                return None
            # Who stops a turn stops all of its calls, and then comes its end.
            return _answer(call.ref, row, heard) or next(filter(None, map(_stopped, rows[at:])), None)
        case _:
            return _of_people(rows, at)


def _of_people(rows: Sequence[AnyRow], at: int) -> AnyTurnInput | None:
    row = rows[at + 1] if isinstance(rows[at], FrameRow) and at + 1 < len(rows) else rows[at]
    match row:
        case InputRow():
            return UserInput(text=row.text, label=row.label, images=row.images)
        case RestoreRow():
            return Restore()
        case RewindRow():
            return Rewind(turn=row.turn)
        case _:
            return None


def _stopped(row: AnyRow) -> Cancel | LimitReached | None:
    """What ended a turn from outside, if it ended by that; a limit of the machine's own it comes to by itself."""
    if not isinstance(row, EndRow) or row.reason not in ("cancelled", "limit") or row.code.startswith("turn."):
        return None
    return Cancel() if row.reason == "cancelled" else LimitReached(code=row.code)


def _of_model(turn: Turn, ref: int, row: AnyRow, heard: Heard) -> Verdict | None:
    verdict = heard.get(ref)
    if isinstance(verdict, ModelFailed):
        return msgspec.structs.replace(verdict, die=_die(turn, verdict, row))
    if verdict is not None or not isinstance(row, EndRow):
        return verdict
    match row.code:
        case "turn.ask-deferred":
            return CallDeferred(ref=ref, question_id=QuestionId(bytes(16)))
        case "turn.ask-unknown":
            return CallUnknown(ref=ref)
        case _:
            return CallDenied(ref=ref, code=row.code, layer="", model_text="")


def _die(turn: Turn, failed: ModelFailed, row: AnyRow) -> int:
    """A number that gives the wait that there was; of a turn that ended, the one after which that is likeliest."""

    def wait(die: int) -> int:
        then = next_attempt(turn, msgspec.structs.replace(failed, die=die))
        return LONGEST_WAITS_MS if then is None else then.wait_ms

    wanted = row.wait_ms if isinstance(row, WaitRow) else LONGEST_WAITS_MS + 1
    return min(bisect_left(range(_DIE_SIDES), wanted, key=wait), _DIE_SIDES - 1)


def _named(calls: Sequence[OpenCall], row: AnyRow) -> OpenCall | None:
    found = (call for call in calls if isinstance(row, ResultRow) and call.use.id == row.id and call.result is None)
    return next(found, None)


def _known(phase: Calling, rows: Sequence[AnyRow], at: int, heard: Heard) -> list[Verdict]:
    """What was known of its proposals when the session went on after a crash: of those that are not made again."""
    again = [row.id for row in rows[at:] if isinstance(row, CallRow)]
    left = {call.use.id: call.ref for call in phase.calls if call.proposed and call.use.id not in again}
    results = [row for row in rows[at:] if isinstance(row, ResultRow) and row.id in left]
    return [found for row in results if (found := _answer(left[row.id], row, heard)) is not None]


def _answer(ref: int, row: AnyRow, heard: Heard) -> Verdict | None:
    """What ended the proposal ``ref`` of a call whose result is ``row``."""
    result, verdict = cast("ResultRow", row), heard.get(ref)
    if isinstance(verdict, ToolAnswered) and verdict.label.integrity is Integrity.UNTRUSTED:
        # An older outcome does not say whether anybody vouches for it.
        label = Label(result.label.integrity, verdict.label.origins, result.label.chosen)
        return msgspec.structs.replace(verdict, label=label)
    if verdict is not None:
        return verdict
    if result.content == texts.OUTCOME_UNKNOWN:
        return CallUnknown(ref=ref)
    if denied := _DENIED.fullmatch(result.content):
        return refused(ref, denied["layer"], denied["code"])
    if deferred := _DEFERRED.fullmatch(result.content):
        return CallDeferred(ref=ref, question_id=QuestionId(bytes.fromhex(deferred["question"])))
    return None


def _pattern(template: str, **fields: str) -> re.Pattern[str]:
    text = re.escape(template)
    for name, pattern in fields.items():
        text = text.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{pattern})")
    return re.compile(text, re.DOTALL)


_DENIED = _pattern(texts.DENIED, layer=r"[^\n]*", code=r"[^\n]*", text=".*")
_DEFERRED = _pattern(texts.DEFERRED.replace("{question}", "question:{question}"), question="(?:[0-9a-f]{2})*")
