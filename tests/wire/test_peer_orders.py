"""Two honest ends, with a slow wire between them, in any order of asking, answering, telling, closing and delivering.

The model is naive: it counts.  What it holds the machines to: honest ends never see a breach, whatever crosses what;
each request ends exactly once; each request that was heard is answered, or listed as owed when the connection is over.
"""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from astrid.errors import AstridError, LocalProtocolError
from astrid.wire.events import SessionSaved
from astrid.wire.happenings import Abandoned, Answered, Closed, Failed, Noticed, Refused, Requested
from astrid.wire.jsonrpc import Id
from astrid.wire.methods import METHODS
from astrid.wire.peer import Peer
from astrid.wire.states import Role, State
from tests.fakes.wire_peers import BYE, NONCE, FakeVerifier, answered, asked

MAX_OWED = 3
MAX_OUTSTANDING = 5
EVENT = SessionSaved(session_id="session:" + "0" * 32, seq=1)


class Wire(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.peers = {role: Peer(role, max_owed=MAX_OWED, max_outstanding=MAX_OUTSTANDING) for role in Role}
        self.under_way: dict[Role, deque[bytes]] = {role: deque() for role in Role}  # by who will hear it
        self.asked: dict[Id, str] = {}
        self.ends: Counter[Id] = Counter()
        self.heard: dict[Id, str] = {}
        self.answered: set[Id] = set()
        # What the client knows, from what it did and heard.
        self.knows: set[str] = set()
        self.told = self.got = 0

    @initialize(steps=st.sampled_from([0, 1, 2, 3, 3, 3]))
    def begin(self, steps: int) -> None:
        """Most of what can cross happens once the connection is made, so begin there more often than not."""
        for method in ("nonce", "hello", "authenticate")[:steps]:
            if method == "nonce":
                self.greet()
            else:
                self.ask(method)
            self.settle()

    @property
    def client(self) -> Peer:
        return self.peers[Role.CLIENT]

    @property
    def server(self) -> Peer:
        return self.peers[Role.SERVER]

    def waiting(self) -> list[str]:
        return [method for id_, method in self.asked.items() if not self.ends[id_]]

    def may_ask(self, method: str) -> bool:
        open_now = self.waiting()
        if (
            self.knows & {"bye said", "bye heard", "hello failed", "authenticate failed"}
            or len(open_now) >= MAX_OUTSTANDING
        ):
            return False
        handshaking = bool({"hello", "authenticate"} & set(open_now))
        greeted, trusted = "hello answered" in self.knows, "authenticate answered" in self.knows
        match method:
            case "hello":
                return "nonce" in self.knows and not greeted and not handshaking
            case "authenticate":
                return greeted and not trusted and not handshaking
            case _:
                return trusted if METHODS[method].needs_proof else greeted

    @rule(method=st.sampled_from(["hello", "authenticate", "status", "shutdown"]))
    def ask(self, method: str) -> None:
        allowed = self.may_ask(method)
        try:
            id_, frame = self.client.request(method, asked(method))
        except LocalProtocolError:
            assert not allowed
        else:
            assert allowed
            assert id_ not in self.asked
            self.asked[id_] = method
            self.under_way[Role.SERVER].append(frame)

    @rule(data=st.data(), good=st.booleans(), accepts=st.booleans())
    @precondition(lambda self: self.heard)
    def answer(self, data: st.DataObject, good: bool, accepts: bool) -> None:
        id_ = data.draw(st.sampled_from(list(self.heard)))
        self.finish(id_, good=good, accepts=accepts)

    def finish(self, id_: Id, *, good: bool, accepts: bool) -> None:
        method = self.heard.pop(id_)
        if not good:
            frame = self.server.fail(id_, AstridError("a.b", "no"))
        elif method == "authenticate":
            _, frame = self.server.admit(id_, FakeVerifier(accepts=accepts))
        else:
            frame = self.server.respond(id_, answered(method))
        self.answered.add(id_)
        self.under_way[Role.CLIENT].append(frame)

    @rule()
    @precondition(lambda self: self.server.state is State.FRESH)
    def greet(self) -> None:
        self.under_way[Role.CLIENT].append(self.server.notify("nonce", NONCE))

    @rule()
    @precondition(lambda self: self.server.state is State.AUTHENTICATED)
    def tell(self) -> None:
        self.under_way[Role.CLIENT].append(self.server.notify("event", EVENT))
        self.told += 1

    @rule(role=st.sampled_from(Role), chance=st.integers(0, 5))
    def say_bye(self, role: Role, chance: int) -> None:
        if chance or self.peers[role]._standing.said_bye:  # rare, so that there is something to say bye to
            return
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        self.under_way[other].append(self.peers[role].notify("bye", BYE))
        if role is Role.CLIENT:
            self.knows.add("bye said")

    @rule(role=st.sampled_from(Role), frames=st.integers(1, 4))
    def deliver(self, role: Role, frames: int) -> None:
        for _ in range(min(frames, len(self.under_way[role]))):
            self.hear(role)

    def hear(self, role: Role) -> None:
        for happening in self.peers[role].receive(self.under_way[role].popleft()):
            match happening:
                case Requested(id_, method):
                    assert self.asked[id_] == method
                    self.heard[id_] = method
                case Refused(id_, method, _, frame):
                    self.answered.add(id_)
                    self.under_way[Role.CLIENT].append(frame)
                case Answered(id_, method) | Failed(id_, method):
                    assert id_ in self.answered
                    self.ends[id_] += 1
                    if METHODS[method].signs:
                        self.knows.add(f"{method} {'answered' if isinstance(happening, Answered) else 'failed'}")
                case Noticed("event"):
                    self.got += 1
                case Noticed("bye") if role is Role.CLIENT:
                    self.knows.add("bye heard")
                case Noticed("nonce"):
                    self.knows.add("nonce")
                case Noticed():
                    pass
                case _:
                    raise AssertionError(f"{happening} between honest ends")

    @invariant()
    def both_ends_count_alike(self) -> None:
        assert self.client.outstanding == len(self.waiting())
        assert self.server.owed == len(self.heard)
        assert self.server.owed <= MAX_OWED

    @invariant()
    def nobody_is_drained_who_still_has_to_speak_or_to_hear(self) -> None:
        for peer in self.peers.values():
            assert peer.drained == (peer.state is State.CLOSING and not peer.owed and not peer.outstanding)

    @rule()
    def settle(self) -> None:
        """Once everything is delivered and answered, nothing is open."""
        while self.heard or any(self.under_way.values()):
            for role in Role:
                while self.under_way[role]:
                    self.hear(role)
            for id_ in list(self.heard):
                self.finish(id_, good=True, accepts=True)
        assert self.waiting() == []
        assert self.got == self.told
        assert (self.client.state is State.CLOSING) == (self.server.state is State.CLOSING)

    def teardown(self) -> None:
        *abandoned, closed = self.client.close()
        assert isinstance(closed, Closed)
        for one in abandoned:
            assert isinstance(one, Abandoned)
            self.ends[one.id] += 1
        assert self.ends == Counter(dict.fromkeys(self.asked, 1))
        assert self.server.close() == [Closed(owed=tuple(self.heard))]
        assert not self.answered & set(self.heard)


Wire.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTwoHonestEndsNeverSeeABreach = Wire.TestCase
