"""``astrid sessions rewind`` and ``restore``: a conversation is what it was after a turn, or before it was summed up.

Never: undoes what tools did.  What they did since is listed, and stays.

Source: architecture 2 (core/turn), 7.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import msgspec
import trio

from astrid.core.conversation import ToolUse
from astrid.core.ids import parse_id, show_id
from astrid.core.risk import EffectClass
from astrid.core.turn_answer import OUTCOME_UNKNOWN, STOPPED_DURING
from astrid.core.turn_cut import rows_up_to
from astrid.core.turn_messages import AnswerRow, AnyRow, FrameRow, ResultRow
from astrid.errors import AstridError, EdgeError, InputError
from astrid.frontends.cli import DONE, counted, plain
from astrid.frontends.cli.exec import model_name
from astrid.frontends.cli.past import read_journal
from astrid.frontends.client import Client, connect
from astrid.home import Home
from astrid.wire import events as e
from astrid.wire import params as p
from astrid.wire import past as w

WITHIN_SECONDS = 60.0
_NOTHING_DONE = frozenset({EffectClass.READ, EffectClass.MODEL})
_HOW_IT_ENDED_IS_UNKNOWN = frozenset({OUTCOME_UNKNOWN, STOPPED_DURING})


class Stays(msgspec.Struct, frozen=True):
    """A call that did something, or may have: its arguments as the model wrote them, and the record of its permit (0
    where nobody knows whether it ran).
    """

    tool: str
    arguments: str
    record: int

    def line(self) -> str:
        """It, for people."""
        known = f"record {self.record}" if self.record else "how it ended is not known"
        return f"  {self.tool} {self.arguments} ({known})"


def what_stays(rows: Sequence[AnyRow], turn: int) -> list[Stays]:
    """What was done after ``turn``, by what tools declare that they do.

    Raises:
        InputError: there is no such turn that ended.
    """
    count, _ = rows_up_to(rows, turn)
    return list(_done_in(rows[count:], _effects(rows)))


def _effects(rows: Sequence[AnyRow]) -> Mapping[str, EffectClass]:
    effects: dict[str, EffectClass] = {}
    for row in rows:
        if isinstance(row, FrameRow):
            effects |= row.setting.effects
    return effects


def _done_in(rows: Sequence[AnyRow], effects: Mapping[str, EffectClass]) -> Iterator[Stays]:
    uses: dict[str, ToolUse] = {}
    for row in rows:
        if isinstance(row, AnswerRow):
            uses |= {part.id: part for part in row.parts if isinstance(part, ToolUse)}
        elif isinstance(row, ResultRow) and row.id in uses:
            use = uses[row.id]
            # The result of a call that ran has the record of its permit as its origin; a refusal has none.
            ran = max(row.label.origins, default=0)
            if (ran or row.content in _HOW_IT_ENDED_IS_UNKNOWN) and effects.get(use.name) not in _NOTHING_DONE:
                yield Stays(use.name, use.arguments, ran)


async def rewind_session(home: Home, args: argparse.Namespace) -> int:
    """Have the conversation be what it was after a turn, and say what stays.

    Raises:
        AstridError: it cannot be.
    """
    name, to = show_id("session", parse_id("session", args.id)), int(args.to)
    async with connect(home, start_daemon=True) as client:
        journal = await read_journal(client, name)
        stays = what_stays(list(journal.rows()), to)
        messages = 0
        if not args.dry_run:
            happened = await _have_done(
                client, name, args.model, "rewindSession", p.RewindSession(session_id=name, to=to)
            )
            messages = happened.messages
    if args.json:
        told = {"session_id": name, "turn": to, "done": not args.dry_run, "messages": messages}
        print(json.dumps({**told, "stays": [msgspec.to_builtins(one) for one in stays]}))
        return DONE
    where = f"after turn {to}" if to else "before its first turn"
    if args.dry_run:
        print(plain(f"{name} would be {where}"))
    else:
        print(plain(f"{name} is {where}: the model sees nothing more of {counted(messages, 'message')}"))
    if stays:
        print("what was done since stays done:")
    for one in stays:
        print(plain(one.line()))
    return DONE


async def restore_session(home: Home, args: argparse.Namespace) -> int:
    """Have the conversation be what it was before it was last summed up, and say what came back.

    Raises:
        AstridError: it cannot be.
    """
    name = show_id("session", parse_id("session", args.id))
    async with connect(home, start_daemon=True) as client:
        happened = await _have_done(client, name, args.model, "restoreSession", p.OfSession(session_id=name))
    tokens = happened.tokens_after if isinstance(happened, e.ContextCompacted) else 0
    told = {"session_id": name, "messages": happened.messages, "tokens": tokens}
    line = f"{counted(happened.messages, 'message')} of {name} put back: about {tokens} tokens now"
    print(json.dumps(told) if args.json else plain(line))
    return DONE


async def _have_done(
    client: Client, name: str, model: str | None, method: str, params: p.Proven
) -> e.ConversationRewound | e.ContextCompacted:
    """Ask a session for something about its conversation; what it says of it.

    Raises:
        AstridError: it cannot be done, or nobody knows whether it was.
    """
    asked = p.ResumeSession(session_id=name, model=model_name(model), interactive=False)
    try:
        there = cast("w.Resumed", await client.call("resumeSession", asked))
    except AstridError as error:
        if error.code != "session.ended":
            raise
        advice = "begin another one with what was said up to a turn: `astrid sessions fork ID --at N`"
        raise InputError("session.ended", error.message, where=name, advice=advice) from error
    if there.running:
        raise InputError("session.busy", "a turn is running", where=name, advice="wait for it or cancel it")
    await client.subscribe(name, after=there.seq)
    await client.call(method, params)
    with trio.move_on_after(WITHIN_SECONDS):
        while True:
            match await client.next_event(name):
                case e.ConversationRewound() | e.ContextCompacted() as happened:
                    return happened
                case e.ErrorRaised() as error:
                    raise _refusal(error, name)
                case e.TurnComplete() | e.SessionEnded():
                    raise InputError(
                        "session.stopped",
                        "the session was told to stop before it was done",
                        where=name,
                        advice="ask again",
                    )
                case _:
                    continue
    raise EdgeError(
        "daemon.no-answer",
        "the session did not say in time what came of it",
        effect="maybe",
        where=name,
        advice="see `astrid sessions show`, and ask again",
    )


def _refusal(error: e.ErrorRaised, name: str) -> InputError:
    match error.code:
        case "turn.not-there":
            return InputError(
                "turn.not-there",
                "the conversation cannot go back to this turn: it did not end, or was rewound away",
                where=name,
                advice="see `astrid sessions show`",
            )
        case "turn.not-compacted":
            return InputError(
                "turn.not-compacted",
                "nothing of the conversation is summed up that could be put back",
                where=name,
                advice="what was summed up before that is gone from it; `astrid sessions show` has all that was said",
            )
        case "turn.no-room":
            return InputError(
                "turn.no-room",
                "with what was summed up the conversation would no longer fit into the model",
                where=name,
                advice="rewind it to an earlier turn, or go on with the summary",
            )
        case _:
            return InputError(
                "session.not-turned-back", f"{error.message} [{error.code}]", where=name, advice=error.advice
            )
