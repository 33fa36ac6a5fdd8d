"""One client's connection, as an actor: frames in, requests to the service, answers and events out.

An actor, so that what goes wrong with one client ends that connection and nothing else.

Invariants:
  Nothing that needs a proof is acted on before the wire has found it proven, the token live and the method covered.
  Whoever does not read is cut off; whoever does not show who they are has only so long.
  When it ends, however it ends, its stream is closed and nobody counts as attended through it.

Source: architecture 2 (``wire/peer``), 4; protocol N2 d; threats 1, 30.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_server_stream

from astrid.core.ids import parse_id
from astrid.core.tokens import Token
from astrid.daemon.admission import check_client, check_method, verify_client
from astrid.daemon.attendance import Attendance, Attending
from astrid.daemon.report import Report
from astrid.daemon.service import Service
from astrid.daemon.shared import Shared
from astrid.daemon.watched import Watched
from astrid.errors import AstridError, EdgeError, InputError, InternalError, LocalProtocolError, RemoteProtocolError
from astrid.kernel import Actor, Lane, Message, Posted, Reason, Ref, Sender
from astrid.runtime.hub import Subscription
from astrid.wire.events import AnyEvent, ErrorRaised, decode_event
from astrid.wire.happenings import Happening, Noticed, Refused, Requested
from astrid.wire.jsonrpc import MAX_MESSAGE_BYTES
from astrid.wire.methods import METHODS
from astrid.wire.params import (
    PROTOCOL_VERSION,
    AuditCosign,
    Authenticate,
    ByeNotice,
    NonceNotice,
    OfSession,
    ResumeSession,
    SubscribeEvents,
)
from astrid.wire.peer import Peer
from astrid.wire.pop import PopVerifier
from astrid.wire.proof import PopAccepted
from astrid.wire.results import Answer, Done, Subscribed
from astrid.wire.states import Role, State

RANK = 60
HANDSHAKE_SECONDS = 10.0
STRANGER_SECONDS = 30.0
ANSWER_SECONDS = 60.0
WRITE_SECONDS = 20.0
GOODBYE_SECONDS = 2.0
_OVER = (State.BROKEN, State.CLOSED)
Start = Callable[..., None]  # a nursery's ``start_soon``


class Serve(Message, frozen=True, kw_only=True):
    """To itself: begin."""

    lane: ClassVar[Lane] = Lane.CONTROL


class Connection(Actor):
    """See the module.  ``proven`` is called when the client has shown who it is; ``left`` once, at the end."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        shared: Shared,
        attendance: Attendance,
        refs: Mapping[str, Ref],
        report: Report,
        *,
        proven: Callable[[Connection], None],
        left: Callable[[Connection], None],
    ) -> None:
        self._stream = stream
        self._world = shared.world
        self._refs = refs
        self._report = report
        self._proven = proven
        self._left = left
        self._service = Service(shared, self)
        self._peer = Peer(Role.SERVER)
        self._nonce = shared.world.entropy.random_bytes(32)
        self._presented: Token | None = None  # good in itself, and not yet shown to be this client's
        self._token: Token | None = None
        self._subscriptions: dict[bytes, Subscription] = {}
        self._attending = Attending(attendance, self._service.attend)
        self._all = trio.CancelScope()  # around everything of this connection
        self._opening = trio.CancelScope()  # around the handshake
        self._reading = trio.CancelScope()  # around waiting for the client
        self._goodbye = trio.Event()

    # --- as an actor

    async def started(self) -> None:
        """Begin with the first message, so that whoever started this need not wait."""
        self.ctx.post(self.ctx.ref, Serve())

    async def receive(self, message: object, sender: Sender) -> object:
        """The one message."""
        if not isinstance(message, Serve) or sender.id != self.ctx.ref.id:
            raise InternalError("connection.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
        with self._all:
            await self._serve()
        self.ctx.stop()
        return None

    async def stopping(self, reason: Reason) -> None:
        """Let go of everything."""
        for session in list(self._subscriptions):
            self._unsubscribe(session)
        self._attending.end_all()
        await self.close_stream()
        self._left(self)

    async def close_stream(self) -> None:
        """Close what lies under the connection, at once."""
        await trio.aclose_forcefully(self._stream)

    async def cut_off(self) -> None:
        """End without a word: there is no place for it any more."""
        self._all.cancel()
        await self.close_stream()

    def leave_soon(self) -> None:
        """Say goodbye, give the answers that are owed, and end."""
        self._opening.cancel()
        self._goodbye.set()

    def post(self, path: str, message: Message) -> Posted:
        """To the actor at ``path``, from this connection."""
        return self.ctx.post(self._refs[path], message)

    async def ask(self, path: str, message: Message, within: float) -> object:
        """As ``post``, and wait for the answer."""
        return await self.ctx.ask(self._refs[path], message, within)

    # --- the conversation

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            with self._opening:
                self._opening.deadline = trio.current_time() + HANDSHAKE_SECONDS
                watched = Watched(self._stream, self._opening.cancel)  # no use waiting for whoever has left already
                request = await wrap_server_stream(nursery, watched, 1, MAX_MESSAGE_BYTES)
                try:
                    # SAFETY: a web page cannot open a Unix socket; what claims to be one is not a client of ours.
                    if request.path != "/" or any(name == b"origin" for name, _ in request.headers):
                        await request.reject(403)
                        nursery.cancel_scope.cancel()
                        return
                    self._web = await request.accept()
                except (ConnectionClosed, HandshakeError):
                    nursery.cancel_scope.cancel()
                    return
            if not self._opening.cancelled_caught:
                nursery.start_soon(self._say_goodbye)
                with self._reading:
                    self._reading.deadline = trio.current_time() + STRANGER_SECONDS
                    await self._listen(nursery.start_soon)
                await self._close(self._web)
            nursery.cancel_scope.cancel()
        self._peer.close()

    async def _listen(self, start: Start) -> None:
        await self._send(self._peer.notify("nonce", NonceNotice(protocol=PROTOCOL_VERSION, nonce=self._nonce)))
        while not self._peer.drained:
            try:
                text = await self._web.get_message()
            except ConnectionClosed:
                return
            if not isinstance(text, str):
                return  # JSON is text
            try:
                happenings = self._peer.receive(text.encode())
            except RemoteProtocolError as error:
                self._report.note("client-broke-protocol", code=error.code)
                await self._send(self._peer.complain(error))
                return
            for happening in happenings:
                await self._take(happening, start)

    async def _take(self, happening: Happening, start: Start) -> None:
        match happening:
            case Requested():
                start(self._handle, happening)
            case Refused():
                self._report.note("request-refused", code=happening.error.code)
                await self._send(happening.data)
            case Noticed():
                return  # their goodbye: the peer knows
            case _:
                raise InternalError("connection.happening", f"a client cannot cause a `{type(happening).__name__}`")

    async def _say_goodbye(self) -> None:
        await self._goodbye.wait()
        if self._peer.state not in (State.CLOSING, State.BROKEN, State.CLOSED):
            await self._send(self._peer.notify("bye", ByeNotice(reason="the daemon stops")))
        self._reading.deadline = trio.current_time() + GOODBYE_SECONDS
        self._leave_if_done()

    async def _close(self, web: WebSocketConnection) -> None:
        with trio.move_on_after(GOODBYE_SECONDS):
            await web.aclose()

    async def _send(self, data: bytes) -> None:
        """Write, or end the connection.  Frames leave in the order in which they were made."""
        with trio.move_on_after(WRITE_SECONDS) as writing:
            try:
                await self._web.send_message(data.decode())
            except ConnectionClosed:
                self._reading.cancel()
        if writing.cancelled_caught:
            self._report.note("client-does-not-read")
            self._all.cancel()  # half a frame may be out: nothing that follows could be understood

    def _leave_if_done(self) -> None:
        if self._peer.drained:
            self._reading.cancel()

    # --- requests

    async def _handle(self, asked: Requested) -> None:
        """One request, to its one end."""
        subscription: tuple[Subscription, int] | None = None
        try:
            with trio.fail_after(ANSWER_SECONDS):
                if isinstance(asked.params, SubscribeEvents):
                    subscription = await self._subscribe(asked.params)
                    answer: Answer = Subscribed(after=subscription[1])
                else:
                    answer = await self._answer(asked)
            data = self._finish(asked, answer)
        except AstridError as error:
            data = self._fail(asked, error)
        except trio.TooSlowError:
            slow = EdgeError("daemon.slow", "the daemon did not get to it in time", effect="maybe", advice="try again")
            data = self._fail(asked, slow)
        if data:
            await self._send(data)
        self._leave_if_done()
        if subscription is not None:
            await self._feed(*subscription)

    async def _answer(self, asked: Requested) -> Answer:
        match asked.params:
            case Authenticate() as presented:
                self._present(presented)
                return Done()
            case AuditCosign(note=note) if self._token is not None:
                self._check(asked.method)
                return await self._service.cosign(note, self._token)
            case OfSession() as named if asked.method == "unsubscribeEvents":
                self._check(asked.method)
                session = parse_id("session", named.session_id)
                self._unsubscribe(session)
                self._attending.end(session)
                return Done()
            case ResumeSession(interactive=True) as wanted:
                self._check(asked.method)
                return await self._resume(wanted)
            case _:
                self._check(asked.method)
                return await self._service.answer(asked.method, asked.params)

    async def _resume(self, wanted: ResumeSession) -> Answer:
        # A turn that was cut off goes on at once, and may ask before its client can have subscribed.
        session = parse_id("session", wanted.session_id)
        began = self._attending.begin(session)
        try:
            return await self._service.answer("resumeSession", wanted)
        except BaseException:
            if began:
                self._attending.end(session)
            raise

    def _finish(self, asked: Requested, answer: Answer) -> bytes:
        """The good end of a request, or nothing if nobody can be told any more."""
        if self._peer.state in _OVER:
            return b""
        if self._presented is None or asked.method != "authenticate":
            return self._peer.respond(asked.id, answer)
        token, self._presented = self._presented, None
        check = PopVerifier(token.holder, aud=self._world.keys.install, nonce=self._nonce, id_last=token.id)
        verdict, data = self._peer.admit(asked.id, check)
        if isinstance(verdict, PopAccepted):
            self._token = token
            self._reading.deadline = math.inf
            self._proven(self)
        self._report.note("client-judged", verdict=type(verdict).__name__)
        return data

    def _fail(self, asked: Requested, error: AstridError) -> bytes:
        """The bad end."""
        if isinstance(error, InternalError | LocalProtocolError):
            self._report.failed("request-failed", error, method=asked.method)
        self._report.note("request-failed", method=asked.method, code=error.code)
        return b"" if self._peer.state in _OVER else self._peer.fail(asked.id, error)

    def _present(self, presented: Authenticate) -> None:
        """Judge the token itself; that the client holds its key is judged where this is answered."""
        token = verify_client(presented.chain, self._world.identity.roots)
        check_client(token, self._world.facts, self._world.clock.now_ns())
        self._presented = token

    def _check(self, method: str) -> None:
        if not METHODS[method].needs_proof:
            return
        if self._token is None:
            raise InternalError("connection.unproven", f"`{method}` got here without a token")
        # On each request: a revocation acts at once, on connections too.
        check_client(self._token, self._world.facts, self._world.clock.now_ns())
        check_method(self._token, method)

    # --- events

    async def _subscribe(self, params: SubscribeEvents) -> tuple[Subscription, int]:
        """Begin to listen; after which event is answered, and from there on ``_feed`` sends what comes."""
        self._check("subscribeEvents")
        session = parse_id("session", params.session_id)
        if not await self._service.has_session(session):
            raise InputError("session.unknown", "there is no such session", advice="see `astrid sessions list`")
        self._unsubscribe(session)
        subscription, after = self._world.hub.subscribe(session, params.after)
        self._subscriptions[session] = subscription
        if params.interactive:
            self._attending.begin(session)
        else:
            self._attending.end(session)
        return subscription, after

    async def _feed(self, subscription: Subscription, last: int) -> None:
        session, hub = subscription.session, self._world.hub
        while events := await subscription.wait_events():
            for raw in events:
                event = decode_event(raw)
                if event.seq > last + 1 and subscription.lost:
                    break  # some did not fit: what is still kept is sent again
                if self._peer.state is not State.AUTHENTICATED or not self._still_admitted():
                    return
                await self._send(self._event(event))
                last = event.seq
            if subscription.lost:
                hub.unsubscribe(subscription)
                if not hub.number(session):  # over, and its end is lost with the rest: the client must notice
                    self._reading.cancel()
                    return
                subscription, last = hub.subscribe(session, last)
                self._subscriptions[session] = subscription
        if self._subscriptions.get(session) is subscription:
            self._unsubscribe(session)
            self._attending.end(session)

    def _event(self, event: AnyEvent) -> bytes:
        try:
            return self._peer.notify("event", event)
        except LocalProtocolError:
            said = ErrorRaised(
                session_id=event.session_id,
                seq=event.seq,
                code="event.too-long",
                message="an event is too long to be sent; the log has it",
            )
            return self._peer.notify("event", said)

    def _still_admitted(self) -> bool:
        try:
            self._check("subscribeEvents")
        except AstridError as error:
            self._report.note("client-refused", code=error.code)
            self._reading.cancel()
            return False
        return True

    def _unsubscribe(self, session: bytes) -> None:
        subscription = self._subscriptions.pop(session, None)
        if subscription is not None:
            self._world.hub.unsubscribe(subscription)
