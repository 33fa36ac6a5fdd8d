"""Who plays the session: connects, grants, asks for work, answers, revokes; and remembers every word of the daemon.

What was said to a person is a promise: after any crash it must still be true.  So each word is noted at the moment it
arrives, and the judge looks for the record that it rests on.

Never: touches the daemon's files.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import trio

from astrid.core.answers import MAX_ANSWER_BYTES, Answer, Verdict
from astrid.core.canon import Domain, decode, encode
from astrid.core.display import display_digest, render_question
from astrid.core.ids import parse_id
from astrid.core.prompt import PromptStatement, sign_prompt
from astrid.core.question import answer_block, decode_question, question_digest
from astrid.core.tokens import Assurance, Scope, SignedBlock, issue
from astrid.errors import AstridError, InternalError
from astrid.frontends.answering import answer_question
from astrid.frontends.client import Client, connect
from astrid.frontends.signing import SignedReply
from astrid.wire import params as p
from astrid.wire import past as w
from astrid.wire import results as r
from astrid.wire.events import (
    AnyEvent,
    ApprovalNeeded,
    ApprovalSettled,
    Deferred,
    Denied,
    ErrorRaised,
    FinalMessage,
    SessionEnded,
    ToolCallResult,
    TurnComplete,
)
from astrid.wire.fields import Mode
from tests.crash.scene import Scene
from tests.fakes.daemon_home import revocation
from tests.fakes.home import HOLDER, USER

PLAY_SECONDS = 120.0  # far more than a session takes; a case fails by it
LOOK_SECONDS = 0.01
BUDGET = 20_000_000


@dataclass
class Told:
    """What the daemon said."""

    sessions: set[bytes] = field(default_factory=set)
    granted: set[bytes] = field(default_factory=set)
    revoked: set[bytes] = field(default_factory=set)
    asked: set[bytes] = field(default_factory=set)
    settled: set[bytes] = field(default_factory=set)
    verdicts: dict[bytes, Verdict] = field(default_factory=dict)  # of the answers that counted
    results: int = 0  # of tools
    messages: int = 0  # of the model
    denied: int = 0
    deferred: set[bytes] = field(default_factory=set)
    codes: Counter[str] = field(default_factory=Counter)  # of denials and errors, for whoever reads a complaint
    through: bool = False  # the whole play was played

    def add(self, other: Told) -> None:
        """What was said later."""
        for name in ("sessions", "granted", "revoked", "asked", "settled", "deferred", "verdicts"):
            getattr(self, name).update(getattr(other, name))
        self.results += other.results
        self.messages += other.messages
        self.denied += other.denied


@dataclass
class Found:
    """What the daemon said of its state when it was started again, and what came of trying everything once more."""

    open: set[bytes] = field(default_factory=set)
    answered: set[bytes] = field(default_factory=set)
    refused: set[bytes] = field(default_factory=set)  # answered a second time, and told that it does not count
    sessions: int = 0
    used: dict[bytes, int] = field(default_factory=dict)
    spent: dict[bytes, int] = field(default_factory=dict)
    uses: dict[bytes, int] = field(default_factory=dict)
    revoked: set[bytes] = field(default_factory=set)
    turn: str = ""
    reopened: bool = False  # a session was given on a grant that had been there before
    doctor: list[str] = field(default_factory=list)


class Signing:
    """A signer that says the same to every question."""

    def __init__(self, aud: bytes, verdict: Verdict) -> None:
        self._aud = aud
        self._verdict = verdict

    async def answer(self, question: bytes, checkpoint: bytes, proof: tuple[bytes, ...]) -> SignedReply:
        """The signed answer."""
        asked, _ = decode_question(question)
        payload = signature = b""
        if self._verdict is not Verdict.DENY:
            block = answer_block(
                question,
                Scope(self._verdict - 1),
                issuer=USER.public,
                assurance=Assurance.PLAIN,
                keeper=HOLDER.public,
                nonce=os.urandom(16),
            )
            [signed] = decode(issue(block, USER), tuple[SignedBlock, ...], max_bytes=MAX_ANSWER_BYTES, what="a token")
            payload, signature = signed.payload, signed.signature
        statement = encode(
            Answer(
                1,
                self._aud,
                question_digest(question),
                asked.qid,
                self._verdict,
                payload,
                display_digest(render_question(question)),
                Assurance.PLAIN,
                int(time.time()),
                USER.public,
            )
        )
        return SignedReply(statement, USER.sign(Domain.APPROVAL, statement), payload, signature)


class Person:
    """Somebody with the command line's key and the user's."""

    def __init__(self, scene: Scene, client: Client, told: Told) -> None:
        self.scene = scene
        self._client = client
        self.told = told

    async def add(self, token: bytes) -> bytes:
        """Hand over a grant; its id."""
        added = cast("r.TokenAdded", await self._client.call("tokensAdd", p.TokensAdd(token=token)))
        block = parse_id("token", added.token_id)
        self.told.granted.add(block)
        return block

    async def open(self, model: str, *, mode: Mode = "safe", interactive: bool = True, there: bool = True) -> str:
        """A new session that is listened to; ``there``: by somebody who answers what it asks."""
        asked = p.CreateSession(
            workspace=str(self.scene.workspace),
            mode=mode,
            model=model,
            options=p.SessionOptions(budget_micros=str(BUDGET), interactive=interactive),
        )
        info = cast("r.SessionInfo", await self._client.call("createSession", asked))
        self.told.sessions.add(parse_id("session", info.session_id))
        await self._client.subscribe(info.session_id, interactive=interactive and there)
        return info.session_id

    async def resume(self, session: str) -> bool:
        """Have a session go on that was cut off, and listen to it; whether it is at work now."""
        there = cast("w.Resumed", await self._client.call("resumeSession", p.ResumeSession(session_id=session)))
        await self._client.subscribe(session, after=there.seq)
        return there.running

    async def say(self, session: str, text: str, *, turn: int = 1) -> None:
        """Words to a session, signed."""
        statement = PromptStatement(self.scene.aud, parse_id("session", session), turn, text.encode())
        prompt = p.PromptSignature(signer=USER.public, signature=sign_prompt(statement, USER))
        await self._client.call("sendInput", p.SendInput(session_id=session, turn=turn, input=text, prompt=prompt))

    async def leave(self, session: str) -> None:
        """Listen to a session no more."""
        await self._client.call("unsubscribeEvents", p.OfSession(session_id=session))

    async def listen(self, session: str) -> None:
        """Listen to it again."""
        await self._client.subscribe(session)

    async def state(self, session: str) -> str:
        """What a session is doing, as it is listed."""
        listed = cast("r.Sessions", await self._client.call("listSessions", p.ListSessions()))
        return next(one.state for one in listed.sessions if one.session_id == session)

    async def answer(self, question: str, verdict: Verdict) -> str:
        """Answer; what became of that."""
        signing = Signing(self.scene.aud, verdict)
        settled = await answer_question(self._client, signing, self.scene.home, question)
        if settled.outcome == "settled":
            self.told.verdicts[parse_id("question", question)] = verdict
        return settled.outcome

    async def follow(self, session: str, verdicts: list[Verdict], *, there: bool = True) -> str:
        """Watch a turn, answering what is asked; how it ended, or the question to which there is no answer (yet).  If
        nobody is ``there``, the turn goes on without one.
        """
        while True:
            event = await self._client.next_event(session)
            self._hear(event)
            match event:
                case ApprovalNeeded() if there:
                    if not verdicts:
                        return event.question_id
                    await self.answer(event.question_id, verdicts.pop(0))
                case TurnComplete():
                    return event.stop_reason
                case SessionEnded():
                    return "ended"
                case _:
                    continue

    def _hear(self, event: AnyEvent) -> None:
        told = self.told
        match event:
            case ApprovalNeeded():
                told.asked.add(parse_id("question", event.question_id))
            case ApprovalSettled():
                told.settled.add(parse_id("question", event.question_id))
            case Deferred():
                told.deferred.add(parse_id("question", event.question_id))
            case ToolCallResult():
                told.results += 1
            case FinalMessage():
                told.messages += 1
            case Denied():
                # What is denied because nothing can be written, is not written either.
                told.denied += event.code != "audit.suspended"
                told.codes[event.code] += 1
            case ErrorRaised():
                told.codes[event.code] += 1
            case _:
                pass

    async def end(self, session: str) -> None:
        """End a session, and hear what it says to that."""
        await self._client.call("endSession", p.OfSession(session_id=session))
        while not isinstance(event := await self._client.next_event(session), SessionEnded):
            self._hear(event)

    async def revoke(self, block: bytes) -> None:
        """Take a grant back."""
        await self._client.call("tokensRevoke", p.TokensRevoke(statement=revocation(self.scene.aud, block)))
        self.told.revoked.add(block)

    # --- the play

    async def live(self, told: Told) -> None:
        """All that a session can come to, once."""
        granted = await self.add(self.scene.grant())
        session = await self.open(self.scene.life)
        await self.say(session, "go")
        waiting = await self.follow(session, [Verdict.ONCE, Verdict.DENY, Verdict.ONCE, Verdict.WORKSPACE])
        await self.end(session)
        session = await self.open(self.scene.alone)
        await self.say(session, "go")
        await self.follow(session, [Verdict.ONCE])
        await self.end(session)
        if waiting.startswith("question:"):
            await self.answer(waiting, Verdict.ONCE)  # late
        session = await self.open(self.scene.alone)
        await self.say(session, "go")
        await self.follow(session, [])  # and this one nobody answers
        await self.revoke(granted)
        told.through = True

    async def work(self) -> None:
        """A small task, on a grant of its own: it goes on."""
        await self.add(self.scene.grant())
        session = await self.open(self.scene.again, interactive=False)
        await self.say(session, "go on")
        ended = await self.follow(session, [])
        if ended != "end_turn":
            raise InternalError("crash.turn", f"a turn ended with `{ended}` {dict(self.told.codes)}")
        await self.end(session)

    async def look(self, found: Found) -> None:
        """After the restart: what is there, and whether anything can be had twice."""
        client = self._client
        listed = cast("r.Approvals", await client.call("listApprovals", p.ListApprovals()))
        found.open = {parse_id("question", one.question_id) for one in listed.questions}
        found.sessions = len(cast("r.Sessions", await client.call("listSessions", p.ListSessions())).sessions)
        for one in cast("r.Tokens", await client.call("tokensList", p.ProvenNothing())).tokens:
            block = parse_id("token", one.token_id)
            found.used[block], found.uses[block], found.spent[block] = one.used, one.uses, int(one.spent_micros)
            if one.revoked:
                found.revoked.add(block)
        for line in listed.questions:
            block = parse_id("question", line.question_id)
            if await self.answer(line.question_id, Verdict.ONCE) == "settled":
                found.answered.add(block)
        for block in self.told.verdicts:
            if await self._is_refused(block):
                found.refused.add(block)
        try:
            session = await self.open(self.scene.again, interactive=False)
            found.reopened = True
        except AstridError as error:
            if error.code not in ("token.no-grant", "token.revoked"):
                raise
            await self.add(self.scene.grant())
            session = await self.open(self.scene.again, interactive=False)
        await self.say(session, "again")
        found.turn = await self.follow(session, [])
        await self.end(session)

    async def _is_refused(self, question: bytes) -> bool:
        try:
            return await self.answer(f"question:{question.hex()}", Verdict.ONCE) != "settled"
        except AstridError as error:
            if error.code != "approval.unknown":
                raise
            return True


async def meet(scene: Scene, alive: Callable[[], bool], told: Told, play: Callable[[Person], Awaitable[None]]) -> str:
    """Connect as soon as the daemon serves and have ``play`` played; why it broke off, empty if it did not.

    Raises:
        trio.TooSlowError: it hangs.
    """
    with trio.fail_after(PLAY_SECONDS):
        while not await _serves(scene):
            if not alive():
                return "daemon.did-not-start"
            await trio.sleep(LOOK_SECONDS)
        try:
            async with connect(scene.home) as client:
                await play(Person(scene, client, told))
        except AstridError as error:
            return error.message if error.code == "crash.turn" else error.code
    return ""


async def _serves(scene: Scene) -> bool:
    """Whether somebody at the socket answers; a daemon that puts its parts up again hangs up on whoever comes."""
    try:
        stream = await trio.open_unix_socket(str(scene.home.socket))
    except OSError:
        return False
    async with stream:
        try:
            await stream.send_all(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return bool(await stream.receive_some())
        except trio.BrokenResourceError:
            return False
