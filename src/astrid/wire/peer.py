"""The machine of one connection, either end: frames in, happenings out; calls in, frames out.  Pure.

It knows who may say what when (``states``, ``methods``), who owes whom an answer, and nothing else.  A shell feeds it
each frame it reads, sends each frame it gives, and calls ``close`` when the connection is over, however it ended.

What is wrong decides who hears of it:
  a request that is understood but not served: ``Refused``; the answer is written, the connection goes on;
  anything else they do wrong: RemoteProtocolError; the peer is BROKEN, ``complain`` may be sent, then ``close``;
  a call of ours that would be wrong: LocalProtocolError; nothing was written and nothing has changed.

Invariants:
  Each request ends exactly once: ``Answered``, ``Failed`` or ``Abandoned``; and each ``Requested`` takes exactly one
  ``respond`` or ``fail``, unless ``Closed`` lists it as owed.
  An id is in use at most once in each direction; both numbers are bounded.
  No request that needs a proof becomes ``Requested`` before a verifier has accepted it, but ``authenticate``, which is
  answered by ``admit`` alone.
  ``receive`` raises RemoteProtocolError and nothing else, whatever the bytes, until the peer is BROKEN or CLOSED.

Source: h11 (sans I/O); JSON-RPC 2.0; architecture section 2, the table's last line; the first Astrid.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from astrid.errors import AstridError, LocalProtocolError, RemoteProtocolError, WireError
from astrid.wire import jsonrpc, typed
from astrid.wire.errors import from_wire, to_wire
from astrid.wire.fields import Wire
from astrid.wire.happenings import (
    Abandoned,
    Answered,
    Closed,
    Complained,
    Failed,
    Happening,
    Noticed,
    Refused,
    Requested,
)
from astrid.wire.jsonrpc import MAX_MESSAGE_BYTES, Id
from astrid.wire.methods import GREETED_ON, METHODS, NOTICES, Method
from astrid.wire.params import PROTOCOL_VERSION, Authenticate, Hello, NonceNotice, Params, Proven
from astrid.wire.proof import PopAccepted, PopVerdict, Verifier
from astrid.wire.results import Answer, Done
from astrid.wire.states import Role, Standing, State

MAX_STRANGER_BYTES = 64 * 1024
MAX_OWED = 64
MAX_OUTSTANDING = 256

_RESTART = "restart the daemon, so that both ends are of one version"


class Peer:
    """One end of one connection."""

    def __init__(self, role: Role, *, max_owed: int = MAX_OWED, max_outstanding: int = MAX_OUTSTANDING) -> None:
        self.role = role
        self._standing = Standing()
        self._max_owed = max_owed
        self._max_outstanding = max_outstanding
        self._owed: dict[Id, Method] = {}
        self._outstanding: dict[Id, Method] = {}
        self._asked = 0
        self._may_complain = False
        self._presented: tuple[Id, Authenticate] | None = None
        self._verifier: Verifier | None = None

    @property
    def state(self) -> State:
        """How far this connection has come."""
        return self._standing.state

    @property
    def owed(self) -> int:
        """How many of their requests wait for us."""
        return len(self._owed)

    @property
    def outstanding(self) -> int:
        """How many of our requests wait for them."""
        return len(self._outstanding)

    @property
    def drained(self) -> bool:
        """Whether a closing connection has nothing left to say, so that the transport may be closed."""
        return self.state is State.CLOSING and not self._owed and not self._outstanding

    @property
    def max_frame_bytes(self) -> int:
        """How long the next frame from them may be.  A client that has shown nothing yet gets little room."""
        stranger = self.role is Role.SERVER and self._standing.judged_by is not State.AUTHENTICATED
        return MAX_STRANGER_BYTES if stranger else MAX_MESSAGE_BYTES

    # -- what they say

    def receive(self, frame: bytes) -> list[Happening]:
        """What one frame (one JSON text, without a line's end) means.

        Raises:
            RemoteProtocolError: they broke the protocol; the peer is BROKEN.
            LocalProtocolError: the peer was already BROKEN or CLOSED.
        """
        self._need_alive()
        try:
            return [self._understand(jsonrpc.read_message(frame, max_bytes=self.max_frame_bytes))]
        except RemoteProtocolError:
            self._may_complain = True
            self._standing.breach()
            raise

    def _understand(self, message: jsonrpc.Message) -> Happening:
        match message:
            case jsonrpc.Request():
                return self._on_request(message)
            case jsonrpc.Notice():
                return self._on_notice(message)
            case jsonrpc.Result(id_, text):
                method = self._waiting(id_)
                try:
                    result = typed.read(method.result, text)
                except msgspec.ValidationError as error:
                    raise RemoteProtocolError(
                        "wire.bad-result", f"the answer to `{method.name}` is none: {error}", advice=_RESTART
                    ) from error
                self._end(self._outstanding, id_, good=True, heard=True)
                return Answered(id_, method.name, result)
            case jsonrpc.Complaint(error):
                self._standing.breach()
                return Complained(from_wire(error))
            case jsonrpc.Failure(id_, error):
                method = self._waiting(id_)
                self._end(self._outstanding, id_, good=False, heard=True)
                return Failed(id_, method.name, from_wire(error))
            case _:
                assert_never(message)

    def _on_request(self, asked: jsonrpc.Request) -> Requested | Refused:
        if self.role is Role.CLIENT:
            advice = "connect to a daemon, not to another client"
            raise RemoteProtocolError("wire.wrong-direction", f"`{asked.method}` was asked of a client", advice=advice)
        if asked.id in self._owed:
            advice = "give each request an id of its own"
            raise RemoteProtocolError("wire.duplicate-id", f"the id `{asked.id}` is still unanswered", advice=advice)
        method = METHODS.get(asked.method)
        legal = GREETED_ON if method is None else method.legal
        repeats = method is not None and self._repeats(method, self._owed)
        if repeats or self._standing.judged_by not in legal:
            raise RemoteProtocolError(
                "wire.wrong-state",
                f"`{asked.method}` cannot be asked while the connection is {self.state.value}",
                advice="after the nonce say hello, then authenticate, waiting for each answer; after bye ask nothing",
            )
        if method is None:
            unknown = f"there is no method `{asked.method}`"
            return self._refuse(asked, None, WireError("wire.unknown-method", unknown, advice="update the daemon"))
        if self.state is State.CLOSING:
            closing = WireError("daemon.shutting-down", "no new requests are taken here", advice="connect again later")
            return self._refuse(asked, method, closing)
        if len(self._owed) >= self._max_owed:
            busy = f"{self._max_owed} requests are already open"
            return self._refuse(
                asked, method, WireError("wire.busy", busy, advice="wait for an answer, then ask again")
            )
        try:
            params = typed.read(method.params, asked.params)
        except msgspec.ValidationError as error:
            advice = "client and daemon should be of one version"
            return self._refuse(
                asked, method, WireError("wire.invalid-params", f"`{method.name}`: {error}", advice=advice)
            )
        if isinstance(params, Hello) and params.protocol != PROTOCOL_VERSION:
            return self._refuse(
                asked, method, WireError("wire.version", _other_version(params.protocol), advice=_RESTART)
            )
        if isinstance(params, Authenticate):
            self._presented = asked.id, params
        elif isinstance(params, Proven):
            # SAFETY: here, in the order of the frames, and before anybody can act on it; counters must rise.
            verdict = None if self._verifier is None else self._verifier.check(method.name, params)
            if not isinstance(verdict, PopAccepted):
                return self._refuse(asked, method, _unproven(method.name, verdict))
        self._owed[asked.id] = method
        return Requested(asked.id, method.name, params)

    def _refuse(self, asked: jsonrpc.Request, method: Method | None, error: AstridError) -> Refused:
        data = jsonrpc.write_message(jsonrpc.Failure(asked.id, to_wire(error)))
        if method is not None and method.signs is not None:
            self._standing.say(method.signs[1])
        return Refused(asked.id, asked.method, error, data)

    def _on_notice(self, told: jsonrpc.Notice) -> Noticed:
        notice = NOTICES.get(told.method)
        if notice is None:
            unknown = f"there is no notification `{told.method}`"
            raise RemoteProtocolError("wire.bad-notice", unknown, advice=_RESTART)
        if _other(self.role) not in notice.speakers:
            raise RemoteProtocolError(
                "wire.wrong-direction", f"the {_other(self.role).value} never says `{told.method}`"
            )
        if self._standing.heard_bye or self._standing.judged_by not in notice.legal:
            raise RemoteProtocolError(
                "wire.wrong-state", f"`{told.method}` cannot be said while the connection is {self.state.value}"
            )
        try:
            params = typed.read(notice.params, told.params)
        except msgspec.ValidationError as error:
            raise RemoteProtocolError("wire.bad-notice", f"`{told.method}`: {error}") from error
        if isinstance(params, NonceNotice) and params.protocol != PROTOCOL_VERSION:
            raise RemoteProtocolError("wire.version", _other_version(params.protocol), advice=_RESTART)
        if notice.sign is not None:
            self._standing.hear(notice.sign)
        return Noticed(notice.name, params)

    def _waiting(self, id_: Id) -> Method:
        method = self._outstanding.get(id_)
        if method is None:
            advice = "answer each request once, with its own id"
            raise RemoteProtocolError("wire.unknown-id", f"no request has the id `{id_}`", advice=advice)
        return method

    # -- what we say

    def request(self, method: str, params: Params) -> tuple[Id, bytes]:
        """Asks; the id comes back with the one event that ends this request.  A proof must already be in ``params``.

        Raises:
            LocalProtocolError: not ours to ask, not now, not with these parameters, or too much is open.
        """
        self._need_alive()
        line = METHODS.get(method)
        if self.role is Role.SERVER or line is None:
            raise LocalProtocolError("wire.unknown-method", f"the {self.role.value} has no method `{method}` to ask")
        if self.state not in line.legal or self._repeats(line, self._outstanding):
            raise LocalProtocolError(
                "wire.wrong-state", f"`{method}` cannot be asked while the connection is {self.state.value}"
            )
        if len(self._outstanding) >= self._max_outstanding:
            raise LocalProtocolError("wire.busy", f"{self._max_outstanding} requests are already open")
        if isinstance(params, Proven) and params.pop is None:
            raise LocalProtocolError("wire.unproven", f"`{method}` needs proof of possession")
        id_ = self._asked + 1
        stranger = self.state is not State.AUTHENTICATED
        data = jsonrpc.write_message(
            jsonrpc.Request(id_, method, typed.write(line.params, params)),
            max_bytes=MAX_STRANGER_BYTES if stranger else MAX_MESSAGE_BYTES,
        )
        self._asked = id_
        self._outstanding[id_] = line
        return id_, data

    def notify(self, method: str, params: Wire) -> bytes:
        """Tells: ``nonce`` (the server's first word), ``event``, or ``bye``.

        Raises:
            LocalProtocolError: not ours to say, not now, or not with these parameters.
        """
        self._need_alive()
        notice = NOTICES.get(method)
        if notice is None or self.role not in notice.speakers:
            raise LocalProtocolError("wire.bad-notice", f"the {self.role.value} has no notification `{method}` to say")
        if self._standing.said_bye or self.state not in notice.legal:
            raise LocalProtocolError(
                "wire.wrong-state", f"`{method}` cannot be said while the connection is {self.state.value}"
            )
        data = jsonrpc.write_message(jsonrpc.Notice(method, typed.write(notice.params, params)))
        if notice.sign is not None:
            self._standing.say(notice.sign)
        return data

    def respond(self, id_: Id, result: Answer) -> bytes:
        """The good end of their request.

        Raises:
            LocalProtocolError: nothing with this id is owed, or the answer is not of the method's type; then it is
            still owed.
        """
        if self._presented is not None and self._presented[0] == id_:
            raise LocalProtocolError("wire.unproven", "`authenticate` is answered by judging its proof: use `admit`")
        return self._respond(id_, result)

    def admit(self, id_: Id, verifier: Verifier) -> tuple[PopVerdict, bytes]:
        """Judges the proof in the ``authenticate`` with this id, and answers it.

        From an accepted one on, ``verifier`` judges each request that needs a proof.  It is made for the holder of the
        presented chain, which the caller has verified.

        Raises:
            LocalProtocolError: no ``authenticate`` with this id is owed an answer.
        """
        self._owing(id_)
        if self._presented is None or self._presented[0] != id_:
            raise LocalProtocolError("wire.unknown-id", f"the request with the id `{id_}` presents no token")
        verdict = verifier.check("authenticate", self._presented[1])
        if not isinstance(verdict, PopAccepted):
            return verdict, self.fail(id_, _unproven("authenticate", verdict))
        self._verifier = verifier
        self._presented = None
        return verdict, self._respond(id_, Done())

    def _respond(self, id_: Id, result: Answer) -> bytes:
        method = self._owing(id_)
        data = jsonrpc.write_message(jsonrpc.Result(id_, typed.write(method.result, result)))
        self._end(self._owed, id_, good=True, heard=False)
        return data

    def fail(self, id_: Id, error: AstridError) -> bytes:
        """The bad end of their request; it can always be said.

        Raises:
            LocalProtocolError: nothing with this id is owed.
        """
        self._owing(id_)
        data = jsonrpc.write_message(jsonrpc.Failure(id_, to_wire(error)))
        self._end(self._owed, id_, good=False, heard=False)
        return data

    def complain(self, error: RemoteProtocolError) -> bytes:
        """A last word to whoever broke the protocol: what was wrong, with the id ``null``.  Once, and only in BROKEN.

        Raises:
            LocalProtocolError: nobody broke anything, or it was said already, or it was us who broke it.
        """
        if not self._may_complain:
            raise LocalProtocolError("wire.wrong-state", "there is nothing to complain about")
        self._may_complain = False
        return jsonrpc.write_message(jsonrpc.Complaint(to_wire(error)))

    def close(self) -> list[Happening]:
        """The connection is over: the end of everything that still waits, then ``Closed``; nothing the second time."""
        if self.state is State.CLOSED:
            return []
        ends: list[Happening] = [Abandoned(id_, method.name) for id_, method in self._outstanding.items()]
        ends.append(Closed(owed=tuple(self._owed)))
        self._outstanding.clear()
        self._owed.clear()
        self._may_complain = False
        self._standing.end()
        return ends

    # -- where we are

    def _need_alive(self) -> None:
        if self.state in (State.BROKEN, State.CLOSED):
            raise LocalProtocolError("wire.wrong-state", f"the connection is {self.state.value}")

    def _owing(self, id_: Id) -> Method:
        self._need_alive()
        method = self._owed.get(id_)
        if method is None:
            raise LocalProtocolError("wire.unknown-id", f"no answer is owed to the id `{id_}`")
        return method

    def _repeats(self, method: Method, waiting: dict[Id, Method]) -> bool:
        """Whether a handshake is asked while one is still unanswered."""
        return method.signs is not None and any(other.signs is not None for other in waiting.values())

    def _end(self, waiting: dict[Id, Method], id_: Id, *, good: bool, heard: bool) -> None:
        signs = waiting.pop(id_).signs
        if signs is not None:
            sign = signs[0 if good else 1]
            if heard:
                self._standing.hear(sign)
            else:
                self._standing.say(sign)


def _other(role: Role) -> Role:
    return Role.SERVER if role is Role.CLIENT else Role.CLIENT


def _unproven(method: str, verdict: PopVerdict | None) -> WireError:
    return WireError(
        "wire.unproven",
        f"`{method}` is not proven to come from the token's holder",
        advice="authenticate with a token whose key is at hand, and sign requests in the order they are sent",
        verdict=verdict,
    )


def _other_version(theirs: int) -> str:
    return f"they speak version {theirs} of the protocol, this is version {PROTOCOL_VERSION}"
