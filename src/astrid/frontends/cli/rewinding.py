"""``astrid sessions rewind`` and ``restore``: a conversation is what it was after a turn, or before it was summed up;
with ``rewind`` the files that its tools wrote are as well.

Never: changes a file that nobody agreed to, or that somebody else changed.  What cannot be taken back is listed.

Source: architecture 2 (core/turn), 7.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import cast

import msgspec
import trio

from astrid.core.ids import parse_id, show_id
from astrid.errors import AstridError, EdgeError, InputError
from astrid.frontends.cli import DENIED, DONE, counted, plain
from astrid.frontends.cli.erase import agreed
from astrid.frontends.cli.exec import model_name
from astrid.frontends.client import Client, connect
from astrid.home import Home
from astrid.wire import events as e
from astrid.wire import params as p
from astrid.wire import past as w
from astrid.wire import undone as u

WITHIN_SECONDS = 60.0
_DOES = {"restore": "restored", "make": "made again", "remove": "removed"}
_WHY = {
    "changed": "somebody else changed it as well",
    "unkept": "what it held is not kept any more",
    "unreadable": "what it holds cannot be read",
    "refused": "it could not be put back",
}
_HOW = {"done": "", "unknown": ", how it ended is not known", "outside": ", not in the workspace"}


async def rewind_session(home: Home, args: argparse.Namespace) -> int:
    """Have the conversation and the files be what they were after a turn, and say what stays.

    Raises:
        AstridError: it cannot be.
    """
    name, to = show_id("session", parse_id("session", args.id)), int(args.to)
    speaks, writes = args.only != "files", args.only != "conversation"
    messages = 0
    async with connect(home, start_daemon=True) as client:
        # What the conversation refuses is refused before a file is touched.
        seq = await _ready(client, name, args.model) if speaks and not args.dry_run else 0
        told = await _plan(client, name, to)
        if speaks and not told.in_view:
            raise _refusal("turn.not-there", "", "", name)
        if not args.dry_run:
            if writes and told.files and not args.yes and not agreed(_file_lines(told, "is to be "), "rewind"):
                return DENIED
            if writes:
                wanted = p.RewindFiles(session_id=name, to=to, plan=told.plan)
                told = cast("u.FilesRewound", await client.call("rewindFiles", wanted))
            if speaks:
                asked = p.RewindSession(session_id=name, to=to)
                messages = (await _have_done(client, name, seq, "rewindSession", asked)).messages
    if args.json:
        fields = {"session_id": name, "turn": to, "done": not args.dry_run, "messages": messages}
        files = {key: msgspec.to_builtins(getattr(told, key)) for key in ("files", "left", "stays", "not_listed")}
        print(json.dumps({**fields, "files_done": told.done, **files, "forked_at": told.forked_at}))
        return DONE
    for line in (*_said(name, to, messages, speaks=speaks, dry_run=args.dry_run), *_files_said(told, writes=writes)):
        print(plain(line))
    return DONE


async def _plan(client: Client, name: str, to: int) -> u.FilesRewound:
    return cast("u.FilesRewound", await client.call("planRewind", p.PlanRewind(session_id=name, to=to)))


def _said(name: str, to: int, messages: int, *, speaks: bool, dry_run: bool) -> Iterator[str]:
    """What became of the conversation."""
    where = f"after turn {to}" if to else "before its first turn"
    if not speaks:
        yield f"{name} itself stays where it is"
    elif dry_run:
        yield f"{name} would be {where}"
    else:
        yield f"{name} is {where}: the model sees nothing more of {counted(messages, 'message')}"


def _files_said(told: u.FilesRewound, *, writes: bool) -> Iterator[str]:
    """What became of the files, and what stays."""
    if told.files:
        yield "put back:" if told.done else "would be put back:" if writes else "not put back, but can be:"
    yield from _file_lines(told, "" if told.done else "to be ")
    if told.left:
        yield "left alone:"
    for one in told.left:
        yield f"  {one.path}: {one.said or _WHY[one.why]}"
    if told.stays or told.forked_at:
        yield "what was done since stays done:"
    for call in told.stays:
        yield f"  {call.tool} {call.arguments} (record {call.record}{_HOW[call.why]})"
    if told.forked_at:
        yield f"  what the session did that this one goes on from, up to turn {told.forked_at}"
    if told.not_listed:
        yield f"and {told.not_listed} more"


def _file_lines(told: u.FilesRewound, verb: str) -> Iterator[str]:
    for one in told.files:
        yield f"  {one.path} {verb}{_DOES[one.does]}"


async def restore_session(home: Home, args: argparse.Namespace) -> int:
    """Have the conversation be what it was before it was last summed up, and say what came back.

    Raises:
        AstridError: it cannot be.
    """
    name = show_id("session", parse_id("session", args.id))
    async with connect(home, start_daemon=True) as client:
        seq = await _ready(client, name, args.model)
        happened = await _have_done(client, name, seq, "restoreSession", p.OfSession(session_id=name))
    tokens = happened.tokens_after if isinstance(happened, e.ContextCompacted) else 0
    told = {"session_id": name, "messages": happened.messages, "tokens": tokens}
    line = f"{counted(happened.messages, 'message')} of {name} put back: about {tokens} tokens now"
    print(json.dumps(told) if args.json else plain(line))
    return DONE


async def _ready(client: Client, name: str, model: str | None) -> int:
    """Have a session be there, with no turn running; the number of its last event.

    Raises:
        AstridError: it has ended, a turn is running, or it cannot be there.
    """
    asked = p.ResumeSession(session_id=name, model=model_name(model), interactive=False)
    try:
        there = cast("w.Resumed", await client.call("resumeSession", asked))
    except AstridError as error:
        if error.code != "session.ended":
            raise
        advice = (
            "begin another one with what was said up to a turn: `astrid sessions fork ID --at N`; its files can be "
        )
        advice += "put back: `astrid sessions rewind ID --to N --only files`"
        raise InputError("session.ended", error.message, where=name, advice=advice) from error
    if there.running:
        raise InputError("session.busy", "a turn is running", where=name, advice="wait for it or cancel it")
    return there.seq


async def _have_done(
    client: Client, name: str, seq: int, method: str, params: p.Proven
) -> e.ConversationRewound | e.ContextCompacted:
    """Ask a session, whose last event was ``seq``, for something about its conversation; what it says of it.

    Raises:
        AstridError: it cannot be done, or nobody knows whether it was.
    """
    await client.subscribe(name, after=seq)
    await client.call(method, params)
    with trio.move_on_after(WITHIN_SECONDS):
        while True:
            match await client.next_event(name):
                case e.ConversationRewound() | e.ContextCompacted() as happened:
                    return happened
                case e.ErrorRaised() as error:
                    raise _refusal(error.code, error.message, error.advice, name)
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


def _refusal(code: str, message: str, advice: str, name: str) -> InputError:
    match code:
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
            return InputError("session.not-turned-back", f"{message} [{code}]", where=name, advice=advice)
