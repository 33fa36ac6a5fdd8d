"""Two ends of a connection without a transport, in any state; proofs are judged by a fake that does as it is told."""

from __future__ import annotations

from msgspec import structs

from astrid.wire.happenings import Happening, Requested
from astrid.wire.jsonrpc import Id, Request, write_message
from astrid.wire.methods import METHODS
from astrid.wire.params import PROTOCOL_VERSION, ByeNotice, Hello, NonceNotice, Params, Pop, Proven
from astrid.wire.peer import Peer
from astrid.wire.proof import PopAccepted, PopFault, PopRefused, PopVerdict
from astrid.wire.results import Answer
from astrid.wire.states import Role, State
from astrid.wire.typed import encode
from tests.fakes.wire_values import smallest

NONCE = NonceNotice(protocol=PROTOCOL_VERSION, nonce=bytes(32))
POP = Pop(counter=1, signature=bytes(64))
BYE = ByeNotice(reason="enough")


class FakeVerifier:
    """Accepts every proof until told otherwise, and remembers what it was asked."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.accepts = accepts
        self.asked: list[str] = []

    def check(self, method: str, params: Proven) -> PopVerdict:
        self.asked.append(method)
        if params.pop is None:
            return PopRefused(PopFault.MISSING)
        return PopAccepted(params.pop.counter) if self.accepts else PopRefused(PopFault.SIGNATURE)


def asked(method: str) -> Params:
    """Parameters that ``method`` takes, with something in the place of a proof where it needs one."""
    params: Params = smallest(METHODS[method].params)
    if isinstance(params, Hello):
        return structs.replace(params, protocol=PROTOCOL_VERSION)
    return structs.replace(params, pop=POP) if isinstance(params, Proven) else params


def answered(method: str) -> Answer:
    """An answer that ``method`` gives."""
    return smallest(METHODS[method].result)


def frame(method: str, id_: Id = 1, params: Params | None = None) -> bytes:
    """A request as a client would write it that keeps no rules about when."""
    return write_message(Request(id_, method, encode(asked(method) if params is None else params)))


class Pair:
    """A client and a server; whatever one says is handed to the other at once."""

    def __init__(self, **limits: int) -> None:
        self.client = Peer(Role.CLIENT, **limits)
        self.server = Peer(Role.SERVER, **limits)
        self.verifier = FakeVerifier()

    def greet(self) -> None:
        """The server's first word."""
        self.client.receive(self.server.notify("nonce", NONCE))

    def ask(self, method: str) -> Id:
        """The client asks, the server hears; nothing is answered."""
        id_, data = self.client.request(method, asked(method))
        (heard,) = self.server.receive(data)
        assert heard == Requested(id_, method, asked(method))
        return id_

    def answer(self, id_: Id, method: str) -> list[Happening]:
        """The server answers well, the client hears."""
        if method == "authenticate":
            return self.client.receive(self.server.admit(id_, self.verifier)[1])
        return self.client.receive(self.server.respond(id_, answered(method)))

    def shake(self, *methods: str) -> None:
        """Asks and answers, in turn."""
        for method in methods:
            self.answer(self.ask(method), method)


def pair_in(state: State, **limits: int) -> Pair:
    """Both ends in ``state``, with nothing under way; in CLOSING after a bye of the server."""
    pair = Pair(**limits)
    if state is State.FRESH:
        return pair
    pair.greet()
    if state in (State.GREETED, State.AUTHENTICATED, State.CLOSING):
        pair.shake("hello")
    if state in (State.AUTHENTICATED, State.CLOSING):
        pair.shake("authenticate")
    if state is State.CLOSING:
        pair.client.receive(pair.server.notify("bye", BYE))
    return pair
