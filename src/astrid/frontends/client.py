"""A frontend's end of a connection to the daemon: check it, show who we are; then ask and listen.

Never: shows what the daemon says as a question, holds the user's key, or sends anything to a daemon that ``meeting``
has not found to be this home's.

Invariant: each call ends exactly once, also when the connection does.

Source: architecture 2 (``wire/peer``), 4; protocol N2 d, N11; threats 1, 11, 30, 50.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar, cast

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from astrid import __version__
from astrid.core.checkpoint import Checkpoint, check_consistent
from astrid.core.install import Install, install_id
from astrid.errors import AstridError, EdgeError, RemoteProtocolError, plain
from astrid.frontends.meeting import (
    Credentials,
    check_server,
    cosign_stated,
    keep_if_room,
    kept_checkpoint,
    load_credentials,
    load_install,
    stated_checkpoint,
)
from astrid.frontends.noticing import Noticing
from astrid.frontends.reaching import hung_up, not_taken, reach
from astrid.home import Home
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.events import AnyEvent, Event, SessionEnded
from astrid.wire.happenings import Abandoned, Answered, Closed, Complained, Failed, Happening, Noticed
from astrid.wire.jsonrpc import MAX_MESSAGE_BYTES, Id
from astrid.wire.peer import Peer
from astrid.wire.pop import PopSigner
from astrid.wire.states import Role, State

CONNECT_SECONDS = 15.0
CALL_SECONDS = 90.0
COSIGN_SECONDS = 5.0
LEAVE_SECONDS = 2.0
_T = TypeVar("_T")


class _Waiting:
    """One call on its way."""

    __slots__ = ("answer", "done", "error")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.answer: r.Answer | None = None
        self.error: AstridError | None = None


class Client:
    """An open connection.  Made by ``connect``."""

    def __init__(self, home: Home, web: WebSocketConnection) -> None:
        self._home = home
        self._web = web
        self._peer = Peer(Role.CLIENT)
        self._signer: PopSigner | None = None
        self._waiting: dict[Id, _Waiting] = {}
        self._events: dict[str, deque[AnyEvent]] = {}
        self._news = trio.Event()  # replaced each time that something happened
        self._nonce = b""
        self._broken: AstridError | None = None
        self._attended: set[trio.CancelScope] = set()
        self._said_full = False
        self._welcome: r.Welcome | None = None

    @property
    def welcome(self) -> r.Welcome:
        """What the daemon said of itself, checked."""
        if self._welcome is None:
            raise _gone(self._home)
        return self._welcome

    async def call(self, method: str, params: p.Params, *, within: float = CALL_SECONDS) -> r.Answer:
        """What the daemon answers.

        Raises:
            AstridError: what it reports instead, or that it is gone or too slow.
        """
        if self._broken is not None:
            raise self._broken
        if self._peer.state is State.CLOSING:
            raise EdgeError("daemon.stopping", "the daemon is stopping", effect="none", advice="try again")
        if isinstance(params, p.Proven) and self._signer is not None:
            params = self._signer.seal(method, params)
        number, data = self._peer.request(method, params)
        waiting = self._waiting[number] = _Waiting()
        sent = False
        try:
            with trio.move_on_after(within):
                # Nothing is awaited between sealing and this, so proofs leave in the order of their counters.
                await self._send(data)
                sent = True
                await waiting.done.wait()
        finally:
            del self._waiting[number]
            if not sent:  # half a frame may be out: nothing that follows could be understood
                self._end(_gone(self._home))
        if waiting.error is not None:
            raise waiting.error
        if waiting.answer is None:
            raise EdgeError(
                "daemon.no-answer",
                f"the daemon did not answer `{method}` in time",
                effect="maybe",
                advice="see `astrid daemon status`",
            )
        return waiting.answer

    async def subscribe(self, session_id: str, *, after: int = 0, interactive: bool = False) -> None:
        """Have the events of a session kept here for ``events``.

        ``interactive``: somebody here answers questions, so the session waits for that.
        """
        self._events.setdefault(session_id, deque())
        await self.call(
            "subscribeEvents", p.SubscribeEvents(session_id=session_id, after=after, interactive=interactive)
        )

    async def next_event(self, session_id: str) -> AnyEvent:
        """The next event of a session that was subscribed to.  Cancellable at no loss.

        Raises:
            EdgeError: the daemon is gone.
        """
        queue = self._events.setdefault(session_id, deque())
        while not queue:
            if self._broken is not None:
                raise self._broken
            await self._news.wait()
        return queue.popleft()

    async def events(self, session_id: str) -> AsyncIterator[AnyEvent]:
        """The events of a session that was subscribed to, up to its end.

        Raises:
            EdgeError: the daemon is gone before that.
        """
        while True:
            event = await self.next_event(session_id)
            yield event
            if isinstance(event, SessionEnded):
                return

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """What is waited for inside, such as a person's answer, is given up when the daemon goes.

        Raises:
            EdgeError: it went.
        """
        with trio.CancelScope() as scope:
            if self._broken is not None:
                scope.cancel()
            self._attended.add(scope)
            try:
                yield
            finally:
                self._attended.discard(scope)
        if scope.cancelled_caught:
            raise self._broken or _gone(self._home)

    def abandon(self) -> None:
        """Do not say goodbye: there is no time for it."""
        self._end(_gone(self._home))

    async def wait_gone(self) -> None:
        """Return when the daemon has ended the connection."""
        while self._broken is None:
            await self._news.wait()

    # --- how

    async def meet(self, *, authenticate: bool) -> None:
        """The handshake: the daemon shows what it is, and then we do.

        Raises:
            AstridError: it is not this home's daemon, its log does not continue what we saw, or it does not know us.
        """
        with trio.move_on_after(CONNECT_SECONDS):
            while not self._nonce and self._broken is None:
                await self._news.wait()
        if self._broken is not None or not self._nonce:
            raise self._broken or _gone(self._home)
        install = load_install(self._home)
        kept = kept_checkpoint(self._home, install)
        hello = p.Hello(
            client="astrid",
            protocol=p.PROTOCOL_VERSION,
            version=__version__,
            aud=install_id(install),
            checkpoint_size=0 if kept is None else kept.size,
        )
        welcome = await self.call("hello", hello, within=CONNECT_SECONDS)
        if not isinstance(welcome, r.Welcome):
            raise _gone(self._home)
        stated = check_server(install, kept, welcome)
        self._keep_checkpoint(install, stated, welcome.checkpoint)
        self._welcome = welcome
        if authenticate:
            mine = load_credentials(self._home)
            await self.present(mine)
            cosigned = cosign_stated(install, mine, welcome, stated, now_s=int(time.time()))
            if cosigned is not None:
                await self._have_recorded(cosigned)

    def _keep_checkpoint(self, install: Install, stated: Checkpoint, note: bytes) -> None:
        trouble = keep_if_room(self._home, install, stated, note)
        if trouble and not self._said_full:
            sys.stderr.write(f"astrid: {plain(trouble)}\n")
            self._said_full = True

    async def _have_recorded(self, cosigned: bytes) -> None:
        # A log that cannot be written, or a token that does not cover this, keeps nobody from stopping the daemon or
        # revoking a grant.  That it stays away, `astrid doctor` shows; that the daemon is gone, the next call says.
        with contextlib.suppress(AstridError):
            await self.call("auditCosign", p.AuditCosign(note=cosigned), within=COSIGN_SECONDS)

    async def present(self, mine: Credentials) -> None:
        """Show a token, and that we hold its key.

        Raises:
            AstridError: the daemon does not admit it.
        """
        self._signer = PopSigner(mine.key, aud=self.welcome.aud, nonce=self._nonce, id_last=mine.id_last)
        await self.call("authenticate", p.Authenticate(chain=mine.chain), within=CONNECT_SECONDS)

    async def listen(self) -> None:
        """Take what the daemon says, for as long as the connection lives."""
        try:
            while True:
                text = await self._web.get_message()
                if self._broken is not None:
                    return  # it is over on our side; this was on its way already
                for happening in self._peer.receive(text.encode() if isinstance(text, str) else text):
                    self._take(happening)
                self._tell()
        except ConnectionClosed:
            self._end(_gone(self._home))
        except RemoteProtocolError as error:
            self._end(error)

    async def leave(self) -> None:
        """Say goodbye.

        Raises:
            ChainError: the log does not continue what it was when we met.
        """
        with trio.move_on_after(LEAVE_SECONDS), contextlib.suppress(EdgeError):  # it may be gone already
            if self._peer.state is State.AUTHENTICATED:
                await self._keep_up()
            if self._broken is not None:
                return
            if self._peer.state is not State.CLOSING:
                await self._send(self._peer.notify("bye", p.ByeNotice()))
            await self._web.aclose()

    async def _keep_up(self) -> None:
        """Keep the checkpoint that the daemon stands by now, so that what was done on this connection cannot be undone
        unseen.
        """
        install = load_install(self._home)
        begun = stated_checkpoint(install, self.welcome.checkpoint)
        try:
            grown = await self.call("auditConsistency", p.AuditConsistency(from_size=begun.size))
        except AstridError:
            return  # it stops, or cannot write; then the one that was kept at the beginning stays
        if isinstance(grown, r.Consistency):
            stated = stated_checkpoint(install, grown.checkpoint)
            check_consistent(begun, stated, grown.path)
            self._keep_checkpoint(install, stated, grown.checkpoint)

    async def _send(self, data: bytes) -> None:
        try:
            await self._web.send_message(data.decode())
        except ConnectionClosed as error:
            raise _gone(self._home) from error

    def _take(self, happening: Happening) -> None:
        match happening:
            case Answered(id=number, result=answer):
                self._settle(number, answer, None)
            case Failed(id=number, error=error):
                self._settle(number, None, error)
            case Abandoned(id=number):
                self._settle(number, None, self._broken or _gone(self._home))
            case Noticed(params=p.NonceNotice(nonce=nonce)):
                self._nonce = nonce
            case Noticed(params=Event()):
                self._keep(happening.params)
            case Complained(error=error):
                self._end(error)
            case Noticed() | Closed():
                return
            case _:
                raise RemoteProtocolError(
                    "wire.wrong-direction",
                    "the daemon asked something of a client",
                    advice="update the older of the two, the command or the daemon",
                )

    def _keep(self, event: object) -> None:
        if isinstance(event, AnyEvent):
            self._events.setdefault(event.session_id, deque()).append(event)

    def _settle(self, number: Id, answer: r.Answer | None, error: AstridError | None) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None:
            waiting.answer, waiting.error = answer, error
            waiting.done.set()

    def _end(self, error: AstridError) -> None:
        self._broken = self._broken or error
        for happening in self._peer.close():
            self._take(happening)
        for scope in self._attended:
            scope.cancel()
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()


@contextlib.asynccontextmanager
async def connect(home: Home, *, start_daemon: bool = False, authenticate: bool = True) -> AsyncIterator[Client]:
    """A connection to the daemon of ``home``.  ``start_daemon``: start one that ends by itself, if none runs.

    Raises:
        AstridError: there is none, it is not to be trusted, or it does not admit us.
    """
    stream = await reach(home, start=start_daemon)
    failure: AstridError | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                client = Client(home, await _wrap(home, nursery, stream))
                nursery.start_soon(client.listen)
                await client.meet(authenticate=authenticate)
                yield client
                await client.leave()
            except AstridError as error:
                failure = error  # raised below, where no nursery makes a group of it
            nursery.cancel_scope.cancel()
    except* HandshakeError:
        failure = failure or _gone(home)
    finally:
        await trio.aclose_forcefully(stream)
    if failure is not None:
        raise failure


async def _wrap(home: Home, nursery: trio.Nursery, stream: trio.SocketStream) -> WebSocketConnection:
    opening = trio.CancelScope(deadline=trio.current_time() + CONNECT_SECONDS)
    noticing = Noticing(stream, opening.cancel)
    with opening:
        lower = cast("trio.SocketStream", noticing)
        return await wrap_client_stream(nursery, lower, "localhost", "/", max_message_size=MAX_MESSAGE_BYTES)
    raise hung_up(home) if noticing.is_over else not_taken()


def run_client(work: Callable[[], Awaitable[_T]]) -> _T:
    """What ``work`` comes to, in an event loop of its own.

    Raises:
        AstridError, KeyboardInterrupt: as ``work`` does, never in a group.
    """
    try:
        return trio.run(work, restrict_keyboard_interrupt_to_checkpoints=True)
    except* KeyboardInterrupt:
        pass
    raise KeyboardInterrupt


def _gone(home: Home) -> EdgeError:
    return EdgeError(
        "daemon.gone",
        "the daemon ended the connection",
        effect="maybe",
        where=str(home.daemon_log),
        advice="see its log, and `astrid audit list` for what was done",
    )
