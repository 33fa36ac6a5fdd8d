"""What every method of the wire does: the one place where requests of a client become messages to actors.

A connection has checked who asks and that the client's token covers the method.  Nothing here decides about effects,
grants or questions; what a client hands over is verified by those who act on it.

Source: the first Astrid (names); architecture 4; protocol N5 to N7, N11.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar, cast

import trio

from astrid import __version__
from astrid.core.answers import SignedAnswer
from astrid.core.canon import encode
from astrid.core.ids import parse_id, show_id
from astrid.core.question import decode_question
from astrid.core.records import Erasure
from astrid.core.tokens import SignedBlock, Token, verify_chain
from astrid.daemon.checkup import check_up
from astrid.daemon.describing import describe_token, list_keys
from astrid.daemon.fleets import mint_fleet
from astrid.daemon.greeting import Greeting
from astrid.daemon.histories import Histories
from astrid.daemon.listing import session_info
from astrid.daemon.offering import list_models
from astrid.daemon.pictures import Pictures
from astrid.daemon.rewinding import Rewinding
from astrid.daemon.shared import Actors, Shared
from astrid.errors import AstridError, EdgeError, InternalError, TokenError
from astrid.kernel import KernelError, Message, Posted
from astrid.messages import gateway as g
from astrid.messages.approvals import ListOpen, OpenQuestion
from astrid.messages.gate import Done, Failed
from astrid.messages.log import Checkpointed
from astrid.runtime.gateway import Answer as Answered
from astrid.runtime.shelf import Shelved
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.errors import ErrorData, ErrorObject, from_wire, number_of
from astrid.wire.pictures import AttachImage
from astrid.wire.typed import encode as encode_answer

GATEWAY = "root/gateway"
APPROVALS = "root/approvals"
ASK_SECONDS = 10.0
MAX_LIST_BYTES = 512 * 1024  # of sessions
_REFUSALS = frozenset({"approval", "canon", "question", "token"})  # families of what is wrong with an answer
_T = TypeVar("_T")


class Service:
    """The methods, on behalf of one connection."""

    def __init__(self, shared: Shared, actors: Actors) -> None:
        self._shared = shared
        self._world = shared.world
        self._books = shared.books
        self._actors = actors
        self._greeting = Greeting(shared.world, shared.books, self._checkpoint)
        self._histories = Histories(
            shared.world, self._fresh_checkpoint, self._lines, self._ask_session, self._open, self._erase
        )
        self._rewinding = Rewinding(shared.world, self._histories, self._lines, self._note)
        self._pictures = Pictures(self._lines, shared.world.catalogue.shows_images, self._keep_image)

    async def answer(self, method: str, params: p.Params) -> r.Answer:
        """What ``method`` answers.

        Raises:
            AstridError: it failed; the code says how.
        """
        try:
            return await self._answer(method, params)
        except KernelError as error:
            raise EdgeError(
                "daemon.busy", "the daemon is restarting or has too much to do", effect="maybe", advice="try again"
            ) from error

    async def _answer(self, method: str, params: p.Params) -> r.Answer:
        match params:
            case p.Hello():
                return await self._greeting.welcome(params, self._mode())
            case p.CreateSession():
                return await self._create_session(params)
            case p.CreateFleet():
                return await self._add_token(mint_fleet(self._world, params), "fleet")
            case p.ListSessions():
                return await self._list_sessions(params.workspace)
            case p.OfSession() if method == "sessionCost":
                return await self._cost(parse_id("session", params.session_id))
            case p.ListPast() | p.JournalOf() | p.ResumeSession() | p.ForkSession() | p.DeleteSession():
                return await self._histories.answer(params)
            case AttachImage():
                return await self._pictures.take(params)
            case p.PlanRewind() | p.RewindFiles():
                return await self._rewinding.answer(params)
            case p.SendInput():
                return r.TurnStarted(turn=await self._send_input(params))
            case p.OfSession() if method == "cancelTurn":
                await self._ask_session(g.CancelTurn(session=parse_id("session", params.session_id)))
                return r.Done()
            case p.OfSession() if method == "endSession":
                await self._ask_session(g.EndSession(session=parse_id("session", params.session_id), reason="asked"))
                return r.Done()
            case p.RewindSession():
                return await self._turn_back(params.session_id, params.to)
            case p.OfSession() if method == "restoreSession":
                return await self._turn_back(params.session_id, None)
            case p.ListApprovals():
                return await self._list_approvals(params)
            case p.GetApproval():
                return r.QuestionBytes(question=await self._question(params.question_id))
            case p.ApprovalResponse():
                return await self._respond(params)
            case p.TokensShow():
                shelved = self._token(parse_id("token", params.token_id))
                return r.TokenShown(info=describe_token(shelved.token, self._world.facts), chain=shelved.token.raw)
            case p.TokensAdd():
                return await self._add_token(params.token, params.source)
            case p.TokensRevoke():
                return await self._revoke(params)
            case p.AuditList():
                return await self._books.list(params)
            case p.AuditRecordOf() if method == "auditShow":
                return await self._books.show(params.seq)
            case p.AuditRecordOf() if method == "auditProve":
                return await self._prove(params.seq)
            case p.AuditConsistency():
                size, note = await self._fresh_checkpoint()  # over all that its caller has seen done
                path = await self._books.consistency(params.from_size, size)
                return r.Consistency(from_size=params.from_size, size=size, path=path, checkpoint=note)
            case p.AuditExplain():
                return await self._books.explain(params.id)
            case _:
                return await self._answer_plain(method)

    async def _answer_plain(self, method: str) -> r.Answer:
        match method:
            case "status":
                return await self._status()
            case "doctor":
                return r.Findings(findings=tuple(await check_up(self._world, self._books)))
            case "keysShow":
                return r.Keys(keys=tuple(list_keys(self._world)))
            case "listModels":
                return list_models(self._world.catalogue, self._world.config)
            case "auditCheckpoint":
                return r.Checkpoint(checkpoint=(await self._checkpoint())[1])
            case "auditStats":
                return await self._books.stats()
            case "tokensList":
                return r.Tokens(
                    tokens=tuple(describe_token(one.token, self._world.facts) for one in self._world.shelf.all())
                )
            case "shutdown":
                self._shared.stop()
                return r.Done()
            case _:
                raise InternalError("service.method", f"nobody serves `{method}`")

    # --- who we are

    async def cosign(self, note: bytes, token: Token) -> r.Done:
        """Record what the client cosigned that ``token`` admits.

        Raises:
            AstridError: it is not recorded; the code says why.
        """
        await self._request(self._greeting.take(note, token), Done)
        return r.Done()

    async def _status(self) -> r.Status:
        lines = await self._lines()
        return r.Status(
            version=__version__,
            mode=self._mode(),
            uptime_ns=str(int((trio.current_time() - self._shared.began) * 1e9)),
            active_connections=self._shared.connections(),
            active_sessions=sum(line.state != "asleep" for line in lines),
            pending_approvals=len(await self._open_questions()),
            log_size=await self._books.size(),
            mcp_servers_configured=0,
            mcp_servers_running=0,
            plugins_loaded=0,
        )

    def _mode(self) -> r.DaemonMode:
        return "ephemeral" if self._shared.ephemeral else "persistent"

    # --- sessions

    async def _create_session(self, params: p.CreateSession) -> r.SessionInfo:
        options = params.options

        def opening(ticket: int) -> g.OpenSession:
            return g.OpenSession(
                ticket=ticket,
                workspace=params.workspace,
                mode=params.mode,
                model=params.model or "",
                budget_micros=int(options.budget_micros or 0),
                max_turns=options.max_turns or 0,
                interactive=options.interactive,
                fleet=b"" if options.fleet is None else parse_id("token", options.fleet),
                agent=options.agent or "",
            )

        session = await self._open(opening)
        for line in await self._lines(session):
            return session_info(line, 0, self._world.facts)
        raise EdgeError("session.gone", "the session ended as soon as it began", effect="done", advice="try again")

    async def _open(self, opening: Callable[[int], g.OpenSession]) -> bytes:
        return (await self._request(opening, g.SessionOpened)).session

    async def _erase(self, erasure: Erasure, rows: int) -> None:
        await self._request(lambda ticket: g.EraseSession(ticket=ticket, erasure=erasure, rows=rows), Done)

    async def _keep_image(self, session: bytes, image: bytes) -> int:
        kept = await self._request(lambda ticket: g.AttachImage(ticket=ticket, session=session, image=image), Done)
        return kept.seq

    async def _note(self, rewinding: Callable[[int], g.RewindFiles]) -> int:
        return (await self._request(rewinding, Done)).seq

    async def _list_sessions(self, workspace: str | None) -> r.Sessions:
        asked = Counter(question.session for question in await self._open_questions())
        lines = [line for line in await self._lines() if workspace in (None, line.workspace)]
        listed: list[r.SessionInfo] = []
        room = MAX_LIST_BYTES
        for line in lines:
            info = session_info(line, asked[line.session], self._world.facts)
            room -= len(encode_answer(info))
            if room < 0:
                break
            listed.append(info)
        return r.Sessions(sessions=tuple(listed), left_out=len(lines) - len(listed))

    async def _lines(self, only: bytes = b"") -> tuple[g.SessionLine, ...]:
        answer = await self._actors.ask(GATEWAY, g.ListSessions(session=only), ASK_SECONDS)
        return cast("tuple[g.SessionLine, ...]", answer)

    async def _cost(self, session: bytes) -> r.SessionCost:
        limits = self._world.catalogue.limits
        caps = [limits(line.budget_micros).session_micros for line in await self._lines(session)]
        return await self._books.cost(session, caps[0] if caps else None)

    async def has_session(self, session: bytes) -> bool:
        """Whether there is such a session now."""
        return bool(await self._lines(session))

    async def _send_input(self, params: p.SendInput) -> int:
        prompt, session = params.prompt, parse_id("session", params.session_id)
        return await self._ask_session(
            g.Input(
                session=session,
                turn=params.turn,
                text=params.input,
                signer=b"" if prompt is None else prompt.signer,
                signature=b"" if prompt is None else prompt.signature,
                images=self._pictures.given(session, params.images),
            )
        )

    async def _turn_back(self, name: str, to: int | None) -> r.Done:
        await self._ask_session(g.TurnConversation(session=parse_id("session", name), to=to))
        return r.Done()

    async def _ask_session(self, message: Message) -> int:
        match await self._actors.ask(GATEWAY, message, ASK_SECONDS):
            case g.Taken(number=number):
                return number
            case g.Declined() as declined:
                raise reported(declined.code, declined.reason, declined.where, declined.advice)
            case other:
                raise InternalError("service.answer", f"the gateway answered with a `{type(other).__name__}`")

    def attend(self, session: bytes, *, present: bool) -> None:
        """Tell approvals whether somebody listens to ``session`` who can answer questions."""
        self._actors.post(GATEWAY, g.Attended(session=session, present=present))

    # --- questions

    async def _open_questions(self) -> tuple[OpenQuestion, ...]:
        answer = await self._actors.ask(APPROVALS, ListOpen(), ASK_SECONDS)
        return cast("tuple[OpenQuestion, ...]", answer)

    async def _list_approvals(self, params: p.ListApprovals) -> r.Approvals:
        wanted = None if params.session_id is None else parse_id("session", params.session_id)
        listed: list[r.OpenQuestion] = []
        for one in await self._open_questions():
            if wanted in (None, one.session):
                question, _ = decode_question(one.question)
                listed.append(
                    r.OpenQuestion(
                        question_id=show_id("question", one.qid),
                        session_id=show_id("session", one.session),
                        asked_s=question.asked,
                        expires_s=question.expires,
                    )
                )
        return r.Approvals(questions=tuple(listed))

    async def _question(self, name: str) -> bytes:
        wanted = parse_id("question", name)
        for one in await self._open_questions():
            if one.qid == wanted:
                return one.question
        raise TokenError(
            "approval.unknown", "the question is not open (any more)", advice="see `astrid approvals list`"
        )

    async def _respond(self, params: p.ApprovalResponse) -> r.Settled:
        token = b""
        if params.payload or params.token_signature:
            token = encode((SignedBlock(params.payload, params.token_signature),))
        answer = encode(SignedAnswer(params.statement, params.signature, token))
        try:
            await self._request(lambda ticket: g.GiveAnswer(ticket=ticket, answer=answer), Done)
        except AstridError as error:
            if error.code.partition(".")[0] not in _REFUSALS:
                raise
            return r.Settled(outcome=_outcome(error.code), reason=error.message)
        return r.Settled(outcome="settled")

    # --- tokens

    def _token(self, identity: bytes) -> Shelved:
        shelved = self._world.shelf.get(identity)
        if shelved is None:
            raise TokenError("token.unknown", "there is no such token", advice="see `astrid tokens list`")
        return shelved

    async def _add_token(self, raw: bytes, source: str) -> r.TokenAdded:
        token = verify_chain(raw, self._world.identity.roots)
        await self._request(lambda ticket: g.AddToken(ticket=ticket, token=token.raw, source=source), Done)
        return r.TokenAdded(token_id=show_id("token", token.id))

    async def _revoke(self, params: p.TokensRevoke) -> r.TokensRevoked:
        before = self._dead()
        await self._request(lambda ticket: g.RevokeToken(ticket=ticket, statement=params.statement), Done)
        return r.TokensRevoked(revoked=len(self._dead() - before))

    def _dead(self) -> set[bytes]:
        facts = self._world.facts
        return {one.token.id for one in self._world.shelf.all() if facts.is_revoked(one.token)}

    # --- the log

    async def _checkpoint(self) -> tuple[int, bytes]:
        """The newest checkpoint; a fresh one if there is none yet."""
        return await self._books.newest_checkpoint() or await self._fresh_checkpoint()

    async def _fresh_checkpoint(self) -> tuple[int, bytes]:
        made = await self._request(lambda ticket: g.AskCheckpoint(ticket=ticket), Checkpointed)
        return made.size, made.note

    async def _prove(self, seq: int) -> r.AuditProof:
        size, note = await self._checkpoint()
        if seq > size:
            size, note = await self._fresh_checkpoint()
        return await self._books.prove(seq, size, note)

    # --- asking the gateway for what takes long

    async def _request(self, make: Callable[[int], Message], wanted: type[_T]) -> _T:
        ticket = self._world.desk.take()
        if self._actors.post(GATEWAY, make(ticket.number)) is not Posted.ACCEPTED:
            self._world.desk.drop(ticket.number)
            raise EdgeError("daemon.busy", "the daemon has too much to do", effect="none", advice="try again")
        answer: Answered = await ticket.wait_answer()
        if isinstance(answer, Failed):
            raise reported(answer.code, answer.reason, "", answer.advice)
        if not isinstance(answer, wanted):
            raise InternalError("service.answer", f"the gateway answered with a `{type(answer).__name__}`")
        return answer


def reported(code: str, message: str, where: str, advice: str) -> AstridError:
    """What an actor said in place of doing what was asked, as the error that the client gets."""
    data = ErrorData(code=code, message=message, where=where, advice=advice)
    return from_wire(ErrorObject(code=number_of(code), message=message, data=data))


def _outcome(code: str) -> r.SettledAs:
    match code:
        case "approval.settled":
            return "already-settled"
        case "approval.expired":
            return "expired"
        case _:
            return "refused"
