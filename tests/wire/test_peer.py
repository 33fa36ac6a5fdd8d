"""The machine of a connection: who may say what, when, and what becomes of everything that was asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from astrid.core.keys import SigningKey
from astrid.errors import AstridError, LocalProtocolError, RemoteProtocolError
from astrid.wire.errors import ErrorObject, from_wire
from astrid.wire.events import SessionSaved
from astrid.wire.fields import Wire
from astrid.wire.happenings import (
    Abandoned,
    Answered,
    Closed,
    Complained,
    Failed,
    Noticed,
    Refused,
    Requested,
)
from astrid.wire.jsonrpc import (
    MAX_MESSAGE_BYTES,
    Complaint,
    Failure,
    Notice,
    Request,
    Result,
    read_message,
    write_message,
)
from astrid.wire.methods import METHODS, NOTICES
from astrid.wire.params import PROTOCOL_VERSION, Authenticate, ByeNotice, Hello, Nothing, OfSession
from astrid.wire.peer import MAX_STRANGER_BYTES, Peer
from astrid.wire.pop import PopSigner, PopVerifier
from astrid.wire.proof import PopAccepted, PopFault, PopRefused
from astrid.wire.results import Done, Status
from astrid.wire.states import TRANSITIONS, Role, Sign, State
from astrid.wire.typed import encode
from tests.fakes.wire_peers import BYE, NONCE, POP, FakeVerifier, Pair, answered, asked, frame, pair_in
from tests.fakes.wire_values import values_of

SESSION = "session:" + "0" * 32
EVENT = SessionSaved(session_id=SESSION, seq=1)
OPEN_STATES = [State.FRESH, State.CHALLENGED, State.GREETED, State.AUTHENTICATED]
LIVE_STATES = [*OPEN_STATES, State.CLOSING]
TELLS: dict[str, Wire] = {"nonce": NONCE, "event": EVENT, "bye": BYE}


def breach(peer: Peer, data: bytes) -> str:
    """The code with which ``peer`` breaks off on hearing ``data``; it is then broken."""
    with pytest.raises(RemoteProtocolError) as caught:
        peer.receive(data)
    assert peer.state is State.BROKEN
    return caught.value.code


def mistake(call: Callable[[], object]) -> str:
    """The code with which a call of ours is refused."""
    with pytest.raises(LocalProtocolError) as caught:
        call()
    return caught.value.code


def refused(peer: Peer, data: bytes) -> AstridError:
    """The error with which ``peer`` answers ``data`` by itself, as the other end reads it."""
    (happening,) = peer.receive(data)
    assert isinstance(happening, Refused)
    message = read_message(happening.data)
    assert isinstance(message, Failure)
    told = from_wire(message.error)
    assert (message.id, told.code) == (happening.id, happening.error.code)
    return told


def notice(name: str, params: Wire) -> bytes:
    return write_message(Notice(name, encode(params)))


class TestTheTable:
    """Every transition of the drawn table is made by a real peer."""

    @staticmethod
    def moved(role: Role, before: State, sign: Sign) -> Peer | None:
        """A peer that went through this transition, or ``None`` where this end cannot."""
        handshake = {Sign.HELLO_ANSWERED: "hello", Sign.HELLO_FAILED: "hello"}.get(sign, "authenticate")
        closing = before is State.CLOSING
        match sign:
            case Sign.NONCE:
                pair = pair_in(State.FRESH)
                peer = pair.client if role is Role.CLIENT else pair.server
                if closing and role is Role.SERVER:
                    return None  # whoever said bye says nothing new
                if closing:
                    peer.notify("bye", BYE)
                assert peer.state is before
                data = pair.server.notify("nonce", NONCE)
                if role is Role.CLIENT:
                    peer.receive(data)
            case Sign.BYE | Sign.BREACH | Sign.END:
                pair = pair_in(before if before in LIVE_STATES else State.FRESH)
                peer = pair.client if role is Role.CLIENT else pair.server
                if before is State.BROKEN:
                    breach(peer, b"[]")
                assert peer.state is before
                if sign is Sign.END:
                    peer.close()
                elif sign is Sign.BREACH:
                    breach(peer, b"[]")
                elif closing and role is Role.SERVER:
                    peer.receive(notice("bye", BYE))
                else:
                    peer.notify("bye", BYE)
            case _:
                pair = pair_in(State.CHALLENGED if handshake == "hello" else State.GREETED)
                peer = pair.client if role is Role.CLIENT else pair.server
                id_ = pair.ask(handshake)
                if closing:
                    peer.notify("bye", BYE)
                assert peer.state is before
                if sign in (Sign.HELLO_ANSWERED, Sign.AUTHENTICATE_ANSWERED):
                    pair.answer(id_, handshake)
                else:
                    pair.client.receive(pair.server.fail(id_, AstridError("a.b", "no")))
        return peer

    @pytest.mark.parametrize(
        ("before", "sign", "after"),
        [(before, sign, after) for before, row in TRANSITIONS.items() for sign, after in row.items()],
        ids=str,
    )
    def test_every_transition_is_made_as_drawn(self, before: State, sign: Sign, after: State) -> None:
        made = [peer.state for role in Role if (peer := self.moved(role, before, sign)) is not None]
        assert made
        assert set(made) == {after}

    @pytest.mark.parametrize("state", LIVE_STATES, ids=str)
    @pytest.mark.parametrize("method", METHODS)
    def test_a_client_asks_exactly_what_is_legal_in_its_state(self, method: str, state: State) -> None:
        client = pair_in(state).client
        if state in METHODS[method].legal:
            assert client.request(method, asked(method))[0] == client._asked
        else:
            assert mistake(lambda: client.request(method, asked(method))) == "wire.wrong-state"
            assert client.state is state

    @pytest.mark.parametrize("state", OPEN_STATES, ids=str)
    @pytest.mark.parametrize("method", METHODS)
    def test_a_server_hears_exactly_what_is_legal_in_its_state(self, method: str, state: State) -> None:
        server = pair_in(state).server
        if state in METHODS[method].legal:
            assert server.receive(frame(method, "x")) == [Requested("x", method, asked(method))]
        else:
            assert breach(server, frame(method, "x")) == "wire.wrong-state"

    @pytest.mark.parametrize("role", Role, ids=str)
    @pytest.mark.parametrize("state", OPEN_STATES, ids=str)
    @pytest.mark.parametrize("name", NOTICES)
    def test_each_end_says_its_own_notices_and_only_when_they_are_legal(
        self, name: str, state: State, role: Role
    ) -> None:
        pair = pair_in(state)
        speaker, listener = (pair.client, pair.server) if role is Role.CLIENT else (pair.server, pair.client)
        if role not in NOTICES[name].speakers:
            assert mistake(lambda: speaker.notify(name, TELLS[name])) == "wire.bad-notice"
            assert breach(listener, notice(name, TELLS[name])) == "wire.wrong-direction"
        elif state not in NOTICES[name].legal:
            assert mistake(lambda: speaker.notify(name, TELLS[name])) == "wire.wrong-state"
            assert breach(listener, notice(name, TELLS[name])) == "wire.wrong-state"
        else:
            assert listener.receive(speaker.notify(name, TELLS[name])) == [Noticed(name, TELLS[name])]


class TestAsking:
    """Requests and their ends."""

    def test_a_good_answer_arrives_with_its_type_and_its_id(self) -> None:
        pair = pair_in(State.GREETED)
        id_ = pair.ask("status")
        assert pair.answer(id_, "status") == [Answered(id_, "status", answered("status"))]
        assert (pair.client.outstanding, pair.server.owed) == (0, 0)

    def test_a_bad_answer_arrives_with_its_code_and_its_advice(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        id_ = pair.ask("endSession")
        data = pair.server.fail(id_, AstridError("session.unknown", "no such session", where="here", advice="look"))
        (failed,) = pair.client.receive(data)
        assert isinstance(failed, Failed)
        assert (failed.id, failed.method) == (id_, "endSession")
        error = failed.error
        assert (error.code, error.message, error.where, error.advice) == (
            "session.unknown",
            "no such session",
            "here",
            "look",
        )

    def test_answers_may_come_in_any_order(self) -> None:
        pair = pair_in(State.GREETED)
        first, second = pair.ask("status"), pair.ask("doctor")
        assert pair.answer(second, "doctor") == [Answered(second, "doctor", answered("doctor"))]
        assert pair.answer(first, "status") == [Answered(first, "status", answered("status"))]

    def test_no_id_is_used_twice(self) -> None:
        pair = pair_in(State.GREETED)
        ids = [pair.ask("status") for _ in range(5)]
        for id_ in ids:
            pair.answer(id_, "status")
        assert pair.ask("status") not in ids

    def test_a_request_is_answered_once(self) -> None:
        pair = pair_in(State.GREETED)
        id_ = pair.ask("status")
        pair.server.respond(id_, answered("status"))
        assert mistake(lambda: pair.server.respond(id_, answered("status"))) == "wire.unknown-id"
        assert mistake(lambda: pair.server.fail(id_, AstridError("a.b", "x"))) == "wire.unknown-id"

    def test_an_answer_to_what_nobody_asked_is_a_breach(self) -> None:
        for message in (Result(7, b"{}"), Failure("7", ErrorObject(code=1, message=""))):
            assert breach(pair_in(State.GREETED).client, write_message(message)) == "wire.unknown-id"
            assert breach(pair_in(State.GREETED).server, write_message(message)) == "wire.unknown-id"

    def test_an_answer_under_an_id_of_the_other_kind_is_a_breach(self) -> None:
        pair = pair_in(State.GREETED)
        id_ = pair.ask("status")
        assert breach(pair.client, write_message(Result(str(id_), encode(answered("status"))))) == "wire.unknown-id"

    def test_a_second_answer_is_a_breach(self) -> None:
        pair = pair_in(State.GREETED)
        data = pair.server.respond(pair.ask("status"), answered("status"))
        pair.client.receive(data)
        assert breach(pair.client, data) == "wire.unknown-id"

    def test_a_second_request_under_an_open_id_is_a_breach(self) -> None:
        server = pair_in(State.GREETED).server
        server.receive(frame("status", "a"))
        assert breach(server, frame("doctor", "a")) == "wire.duplicate-id"

    def test_an_id_may_come_again_once_it_was_answered(self) -> None:
        server = pair_in(State.GREETED).server
        for _ in range(2):
            assert server.receive(frame("status", "a")) == [Requested("a", "status", Nothing())]
            server.respond("a", answered("status"))

    @pytest.mark.parametrize("result", [b"{}", b"1", b"null", b'{"version":1}'])
    def test_an_answer_of_another_shape_is_a_breach_and_its_request_still_ends(self, result: bytes) -> None:
        pair = pair_in(State.GREETED)
        id_ = pair.ask("status")
        assert breach(pair.client, write_message(Result(id_, result))) == "wire.bad-result"
        assert pair.client.close() == [Abandoned(id_, "status"), Closed(owed=())]

    def test_an_answer_of_another_type_is_not_sent_and_the_request_stays_owed(self) -> None:
        pair = pair_in(State.GREETED)
        id_ = pair.ask("status")
        assert mistake(lambda: pair.server.respond(id_, Done())) == "wire.unsayable"
        assert pair.server.owed == 1
        assert pair.client.receive(pair.server.fail(id_, AstridError("a.b", "x")))

    def test_parameters_of_another_type_are_not_sent(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        wrong = OfSession(session_id=SESSION, pop=POP)
        assert mistake(lambda: pair.client.request("sendInput", wrong)) == "wire.unsayable"
        assert mistake(lambda: pair.client.request("status", wrong)) == "wire.unsayable"
        assert pair.client.outstanding == 0

    def test_a_server_asks_nothing(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        assert mistake(lambda: pair.server.request("status", Nothing())) == "wire.unknown-method"
        assert breach(pair.client, frame("status")) == "wire.wrong-direction"

    def test_a_client_does_not_ask_what_is_in_no_table(self) -> None:
        assert mistake(lambda: pair_in(State.GREETED).client.request("nope", Nothing())) == "wire.unknown-method"

    @pytest.mark.parametrize("state", [State.GREETED, State.AUTHENTICATED], ids=str)
    def test_an_unknown_method_is_answered_and_the_connection_goes_on(self, state: State) -> None:
        server = pair_in(state).server
        data = write_message(Request(9, "fromTheFuture", b'{"a":1}'))
        assert refused(server, data).code == "wire.unknown-method"
        assert (server.state, server.owed) == (state, 0)

    @pytest.mark.parametrize("state", [State.FRESH, State.CHALLENGED], ids=str)
    def test_an_unknown_method_before_the_hello_is_a_breach(self, state: State) -> None:
        assert breach(pair_in(state).server, write_message(Request(9, "nope", b"{}"))) == "wire.wrong-state"

    @pytest.mark.parametrize("params", [b'{"from_size":"1"}', b"{}", b'{"from_size":1,"more":1}', b'{"from_size":-1}'])
    def test_parameters_that_do_not_fit_are_answered_and_the_connection_goes_on(self, params: bytes) -> None:
        server = pair_in(State.GREETED).server
        assert refused(server, write_message(Request(9, "auditConsistency", params))).code == "wire.invalid-params"
        assert (server.state, server.owed) == (State.GREETED, 0)

    def test_no_more_requests_are_taken_than_the_limit_and_the_next_after_an_answer(self) -> None:
        pair = pair_in(State.GREETED, max_owed=2)
        first, _ = pair.ask("status"), pair.ask("status")
        (_, third) = pair.client.request("status", Nothing())
        assert refused(pair.server, third).code == "wire.busy"
        pair.answer(first, "status")
        assert pair.ask("status")

    def test_no_more_is_asked_than_the_limit(self) -> None:
        pair = pair_in(State.GREETED, max_outstanding=1)
        id_ = pair.ask("status")
        assert mistake(lambda: pair.client.request("status", Nothing())) == "wire.busy"
        pair.answer(id_, "status")
        assert pair.ask("status")

    def test_a_notification_in_no_table_is_a_breach(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        assert mistake(lambda: pair.server.notify("gossip", BYE)) == "wire.bad-notice"
        assert breach(pair.client, notice("gossip", BYE)) == "wire.bad-notice"

    def test_a_notification_of_another_shape_is_neither_said_nor_heard(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        assert mistake(lambda: pair.server.notify("event", BYE)) == "wire.unsayable"
        assert breach(pair.client, notice("event", BYE)) == "wire.bad-notice"


class TestHandshake:
    """Nothing is served before it, and it happens once."""

    def test_a_connection_is_made_by_nonce_hello_and_authenticate(self) -> None:
        pair = Pair()
        seen = [pair.client.state]
        pair.greet()
        for method in ("hello", "authenticate"):
            seen.append(pair.client.state)
            pair.shake(method)
        assert [*seen, pair.client.state] == OPEN_STATES
        assert pair.server.state is State.AUTHENTICATED

    @pytest.mark.parametrize(("state", "method"), [(State.CHALLENGED, "hello"), (State.GREETED, "authenticate")])
    def test_only_one_handshake_is_under_way_at_a_time(self, state: State, method: str) -> None:
        pair = pair_in(state)
        pair.ask(method)
        assert mistake(lambda: pair.client.request(method, asked(method))) == "wire.wrong-state"
        assert breach(pair.server, frame(method, "again")) == "wire.wrong-state"

    def test_what_is_open_to_all_may_be_asked_beside_the_authentication(self) -> None:
        pair = pair_in(State.GREETED)
        token, status = pair.ask("authenticate"), pair.ask("status")
        pair.answer(token, "authenticate")
        assert pair.answer(status, "status") == [Answered(status, "status", answered("status"))]

    @pytest.mark.parametrize(("state", "method"), [(State.CHALLENGED, "hello"), (State.GREETED, "authenticate")])
    def test_a_handshake_that_does_not_fit_is_answered_and_is_the_end(self, state: State, method: str) -> None:
        pair = pair_in(state)
        pair.client.request(method, asked(method))
        (happening,) = pair.server.receive(write_message(Request(pair.client._asked, method, b'{"x":1}')))
        assert isinstance(happening, Refused)
        assert pair.server.state is State.CLOSING
        (failed,) = pair.client.receive(happening.data)
        assert isinstance(failed, Failed)
        assert (pair.client.state, pair.client.drained, pair.server.drained) == (State.CLOSING, True, True)

    def test_a_client_of_another_version_is_told_so(self) -> None:
        pair = pair_in(State.CHALLENGED)
        hello = asked("hello")
        assert isinstance(hello, Hello)
        other = structs.replace(hello, protocol=PROTOCOL_VERSION + 1)
        error = refused(pair.server, pair.client.request("hello", other)[1])
        assert (error.code, bool(error.advice)) == ("wire.version", True)
        assert pair.server.state is State.CLOSING

    def test_a_server_of_another_version_is_told_so(self) -> None:
        client = Pair().client
        other = structs.replace(NONCE, protocol=PROTOCOL_VERSION + 1)
        assert breach(client, notice("nonce", other)) == "wire.version"

    def test_a_second_nonce_is_a_breach(self) -> None:
        pair = pair_in(State.CHALLENGED)
        assert mistake(lambda: pair.server.notify("nonce", NONCE)) == "wire.wrong-state"
        assert breach(pair.client, notice("nonce", NONCE)) == "wire.wrong-state"


class TestProof:
    """No request that needs a proof reaches the shell without one that was accepted."""

    def test_an_accepted_token_opens_the_connection(self) -> None:
        pair = pair_in(State.GREETED)
        verdict, data = pair.server.admit(pair.ask("authenticate"), pair.verifier)
        assert verdict == PopAccepted(1)
        assert pair.client.receive(data) == [Answered(2, "authenticate", Done())]
        assert pair.server.state is pair.client.state is State.AUTHENTICATED

    def test_a_refused_token_is_the_end_of_the_connection(self) -> None:
        pair = pair_in(State.GREETED)
        verdict, data = pair.server.admit(pair.ask("authenticate"), FakeVerifier(accepts=False))
        assert verdict == PopRefused(PopFault.SIGNATURE)
        (failed,) = pair.client.receive(data)
        assert isinstance(failed, Failed)
        assert failed.error.code == "wire.unproven"
        assert pair.server.state is pair.client.state is State.CLOSING

    def test_a_token_cannot_be_accepted_without_judging_its_proof(self) -> None:
        pair = pair_in(State.GREETED)
        id_ = pair.ask("authenticate")
        assert mistake(lambda: pair.server.respond(id_, Done())) == "wire.unproven"
        assert pair.server.state is State.GREETED

    def test_a_token_without_a_proof_is_refused(self) -> None:
        server = pair_in(State.GREETED).server
        server.receive(frame("authenticate", 5, Authenticate(chain=b"x")))
        assert server.admit(5, FakeVerifier())[0] == PopRefused(PopFault.MISSING)

    def test_only_an_authentication_is_admitted(self) -> None:
        pair = pair_in(State.GREETED)
        id_ = pair.ask("status")
        assert mistake(lambda: pair.server.admit(id_, pair.verifier)) == "wire.unknown-id"
        other = pair.ask("authenticate")
        assert mistake(lambda: pair.server.admit(id_, pair.verifier)) == "wire.unknown-id"
        assert mistake(lambda: pair.server.admit(99, pair.verifier)) == "wire.unknown-id"
        pair.answer(other, "authenticate")
        assert pair.verifier.asked == ["authenticate"]

    def test_an_authentication_that_failed_cannot_be_admitted_afterwards(self) -> None:
        pair = pair_in(State.GREETED)
        id_ = pair.ask("authenticate")
        pair.server.fail(id_, AstridError("token.expired", "too old"))
        assert mistake(lambda: pair.server.admit(id_, pair.verifier)) == "wire.unknown-id"

    @pytest.mark.parametrize(
        "method", [name for name, method in METHODS.items() if method.legal == {State.AUTHENTICATED}]
    )
    def test_a_request_whose_proof_is_refused_never_becomes_a_request(self, method: str) -> None:
        pair = pair_in(State.AUTHENTICATED)
        pair.verifier.accepts = False
        assert refused(pair.server, frame(method, "x")).code == "wire.unproven"
        assert (pair.server.state, pair.server.owed) == (State.AUTHENTICATED, 0)
        assert pair.verifier.asked[-1] == method

    def test_the_other_end_does_not_learn_what_was_wrong_with_its_proof(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        missing = refused(pair.server, frame("shutdown", 1, structs.replace(asked("shutdown"), pop=None)))
        pair.verifier.accepts = False
        wrong = refused(pair.server, frame("shutdown", 1))
        assert (missing.code, missing.message, missing.advice) == (wrong.code, wrong.message, wrong.advice)

    def test_proofs_are_judged_once_each_in_the_order_of_the_frames(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        for method in ("listSessions", "tokensList", "status", "shutdown"):
            pair.ask(method)
        assert pair.verifier.asked == ["authenticate", "listSessions", "tokensList", "shutdown"]

    def test_a_request_beyond_the_limit_does_not_use_up_a_counter(self) -> None:
        pair = pair_in(State.AUTHENTICATED, max_owed=1)
        pair.ask("shutdown")
        assert refused(pair.server, frame("shutdown", "y")).code == "wire.busy"
        assert pair.verifier.asked == ["authenticate", "shutdown"]

    def test_a_client_does_not_send_what_it_forgot_to_prove(self) -> None:
        client = pair_in(State.AUTHENTICATED).client
        assert mistake(lambda: client.request("endSession", OfSession(session_id=SESSION))) == "wire.unproven"

    def test_real_proofs_pass_and_a_replayed_frame_does_not(self) -> None:
        key = SigningKey.from_seed(bytes(range(32)))
        aud, last = b"a" * 32, b"l" * 32
        signer = PopSigner(key, aud=aud, nonce=NONCE.nonce, id_last=last)
        pair = pair_in(State.GREETED)
        token, data = pair.client.request("authenticate", signer.seal("authenticate", Authenticate(chain=b"x")))
        pair.server.receive(data)
        verifier = PopVerifier(key.public, aud=aud, nonce=NONCE.nonce, id_last=last)
        verdict, answer = pair.server.admit(token, verifier)
        assert verdict == PopAccepted(1)
        pair.client.receive(answer)
        id_, data = pair.client.request("endSession", signer.seal("endSession", OfSession(session_id=SESSION)))
        (heard,) = pair.server.receive(data)
        assert isinstance(heard, Requested)
        pair.server.respond(id_, Done())
        assert refused(pair.server, data).code == "wire.unproven"


class TestClosing:
    """After a bye only what is owed is said; when the connection is over, everything has ended."""

    @pytest.mark.parametrize("role", Role, ids=str)
    def test_after_a_bye_the_open_requests_are_still_answered(self, role: Role) -> None:
        pair = pair_in(State.AUTHENTICATED)
        id_ = pair.ask("status")
        speaker, listener = (pair.client, pair.server) if role is Role.CLIENT else (pair.server, pair.client)
        assert listener.receive(speaker.notify("bye", BYE)) == [Noticed("bye", BYE)]
        assert not pair.client.drained
        assert not pair.server.drained
        assert pair.answer(id_, "status") == [Answered(id_, "status", answered("status"))]
        assert pair.client.drained
        assert pair.server.drained

    @pytest.mark.parametrize("role", Role, ids=str)
    @pytest.mark.parametrize("state", OPEN_STATES, ids=str)
    def test_whoever_said_bye_says_nothing_new(self, role: Role, state: State) -> None:
        pair = pair_in(state)
        speaker, listener = (pair.client, pair.server) if role is Role.CLIENT else (pair.server, pair.client)
        listener.receive(speaker.notify("bye", BYE))
        for name in NOTICES:
            if role in NOTICES[name].speakers:
                assert mistake(lambda name=name: speaker.notify(name, TELLS[name])) == "wire.wrong-state"
        assert breach(listener, notice("bye", BYE)) == "wire.wrong-state"

    def test_a_client_that_said_bye_asks_nothing_and_is_not_heard_if_it_does(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        pair.server.receive(pair.client.notify("bye", BYE))
        assert mistake(lambda: pair.client.request("status", Nothing())) == "wire.wrong-state"
        assert breach(pair.server, frame("status")) == "wire.wrong-state"

    def test_a_request_that_crossed_the_servers_bye_is_refused_in_peace(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        id_, crossing = pair.client.request("listSessions", asked("listSessions"))
        bye = pair.server.notify("bye", BYE)
        (happening,) = pair.server.receive(crossing)
        assert isinstance(happening, Refused)
        assert happening.error.code == "daemon.shutting-down"
        pair.client.receive(bye)
        (failed,) = pair.client.receive(happening.data)
        assert isinstance(failed, Failed)
        assert (failed.id, failed.error.code) == (id_, "daemon.shutting-down")
        assert pair.verifier.asked == ["authenticate"]

    def test_a_hello_that_crossed_the_servers_bye_is_refused_in_peace(self) -> None:
        pair = pair_in(State.CHALLENGED)
        _, crossing = pair.client.request("hello", asked("hello"))
        bye = pair.server.notify("bye", BYE)
        (happening,) = pair.server.receive(crossing)
        assert isinstance(happening, Refused)
        pair.client.receive(bye)
        (failed,) = pair.client.receive(happening.data)
        assert isinstance(failed, Failed)
        assert pair.client.state is pair.server.state is State.CLOSING

    def test_what_was_never_legal_is_a_breach_also_while_closing(self) -> None:
        pair = pair_in(State.GREETED)
        pair.server.notify("bye", BYE)
        assert breach(pair.server, frame("shutdown")) == "wire.wrong-state"

    def test_an_event_that_crossed_the_clients_bye_is_heard(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        pair.client.notify("bye", BYE)
        assert pair.client.receive(pair.server.notify("event", EVENT)) == [Noticed("event", EVENT)]

    def test_an_event_that_follows_an_authentication_across_the_clients_bye_is_heard(self) -> None:
        pair = pair_in(State.GREETED)
        id_ = pair.ask("authenticate")
        pair.client.notify("bye", BYE)
        pair.answer(id_, "authenticate")
        assert pair.client.state is State.CLOSING
        assert pair.client.receive(pair.server.notify("event", EVENT)) == [Noticed("event", EVENT)]

    def test_an_event_to_a_client_that_was_never_authenticated_is_a_breach_also_while_closing(self) -> None:
        pair = pair_in(State.GREETED)
        pair.client.notify("bye", BYE)
        assert breach(pair.client, notice("event", EVENT)) == "wire.wrong-state"

    def test_byes_may_cross(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        ours, theirs = pair.client.notify("bye", BYE), pair.server.notify("bye", ByeNotice(reason="too"))
        assert pair.client.receive(theirs) == [Noticed("bye", ByeNotice(reason="too"))]
        assert pair.server.receive(ours) == [Noticed("bye", BYE)]
        assert pair.client.drained
        assert pair.server.drained

    def test_a_bye_may_be_answered_with_one(self) -> None:
        pair = pair_in(State.CLOSING)
        assert pair.server.receive(pair.client.notify("bye", BYE)) == [Noticed("bye", BYE)]

    @pytest.mark.parametrize("state", LIVE_STATES, ids=str)
    def test_closing_ends_what_is_open_and_does_so_once(self, state: State) -> None:
        pair = pair_in(state)
        assert pair.client.close() == [Closed(owed=())]
        assert pair.client.close() == []
        assert pair.client.state is State.CLOSED

    def test_closing_names_every_request_that_will_have_no_answer(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        first, second = pair.ask("status"), pair.ask("shutdown")
        assert pair.client.close() == [Abandoned(first, "status"), Abandoned(second, "shutdown"), Closed(owed=())]
        assert pair.server.close() == [Closed(owed=(first, second))]
        assert mistake(lambda: pair.server.respond(first, answered("status"))) == "wire.wrong-state"

    @pytest.mark.parametrize("over", ["broken", "closed"])
    def test_nothing_is_said_or_heard_when_it_is_over(self, over: str) -> None:
        pair = pair_in(State.AUTHENTICATED)
        id_ = pair.ask("status")
        for peer in (pair.client, pair.server):
            if over == "closed":
                peer.close()
            else:
                breach(peer, b"nonsense")
        calls: list[Callable[[], object]] = [
            lambda: pair.client.request("status", Nothing()),
            lambda: pair.client.receive(notice("bye", BYE)),
            lambda: pair.client.notify("bye", BYE),
            lambda: pair.server.respond(id_, answered("status")),
            lambda: pair.server.fail(id_, AstridError("a.b", "x")),
            lambda: pair.server.admit(id_, pair.verifier),
        ]
        assert [mistake(call) for call in calls] == ["wire.wrong-state"] * len(calls)


class TestComplaints:
    """Whoever breaks the protocol may be told, once."""

    def test_the_other_end_learns_what_it_did_wrong(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        with pytest.raises(RemoteProtocolError) as caught:
            pair.server.receive(b"[]")
        (heard,) = pair.client.receive(pair.server.complain(caught.value))
        assert isinstance(heard, Complained)
        assert (heard.error.code, pair.client.state) == ("wire.batch", State.BROKEN)

    def test_a_complaint_is_made_once_and_only_about_them(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        error = RemoteProtocolError("wire.batch", "x")
        assert mistake(lambda: pair.server.complain(error)) == "wire.wrong-state"
        breach(pair.server, b"[]")
        complaint = pair.server.complain(error)
        assert mistake(lambda: pair.server.complain(error)) == "wire.wrong-state"
        pair.client.receive(complaint)
        assert mistake(lambda: pair.client.complain(error)) == "wire.wrong-state"

    def test_nobody_complains_into_a_closed_connection(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        breach(pair.server, b"[]")
        pair.server.close()
        assert mistake(lambda: pair.server.complain(RemoteProtocolError("wire.batch", "x"))) == "wire.wrong-state"

    def test_after_a_complaint_the_open_requests_end_with_the_connection(self) -> None:
        pair = pair_in(State.GREETED)
        id_ = pair.ask("status")
        pair.client.receive(write_message(Complaint(ErrorObject(code=-32600, message="what?"))))
        assert pair.client.close() == [Abandoned(id_, "status"), Closed(owed=())]


class TestLimits:
    """How long a frame may be."""

    @pytest.mark.parametrize("state", [State.FRESH, State.CHALLENGED, State.GREETED], ids=str)
    def test_a_client_that_has_shown_nothing_gets_little_room(self, state: State) -> None:
        pair = pair_in(state)
        assert pair.server.max_frame_bytes == MAX_STRANGER_BYTES
        assert pair.client.max_frame_bytes == MAX_MESSAGE_BYTES
        assert breach(pair.server, b" " * (MAX_STRANGER_BYTES + 1)) == "wire.too-long"

    def test_an_authenticated_client_gets_all_of_it_and_keeps_it_while_the_server_closes(self) -> None:
        pair = pair_in(State.AUTHENTICATED)
        assert pair.server.max_frame_bytes == MAX_MESSAGE_BYTES
        pair.server.notify("bye", BYE)
        assert pair.server.max_frame_bytes == MAX_MESSAGE_BYTES
        assert breach(pair.server, b" " * (MAX_MESSAGE_BYTES + 1)) == "wire.too-long"

    def test_a_client_does_not_send_more_than_it_may(self) -> None:
        pair = pair_in(State.GREETED)
        line = structs.replace(asked("authenticate"), chain=bytes(48 * 1024))
        assert mistake(lambda: pair.client.request("authenticate", line)) == "wire.unsayable"

    def test_the_longest_legal_chain_can_be_presented(self) -> None:
        pair = pair_in(State.GREETED)
        line = structs.replace(asked("authenticate"), chain=bytes(16 * 1024))
        (heard,) = pair.server.receive(pair.client.request("authenticate", line)[1])
        assert isinstance(heard, Requested)

    def test_a_refusal_can_be_told_however_long_and_strange_the_mistake(self) -> None:
        server = pair_in(State.AUTHENTICATED).server
        name = "\\u0001" * 100_000
        assert refused(server, b'{"jsonrpc":"2.0","id":1,"method":"status","params":{"%s":1}}' % name.encode())


MODEST = settings(max_examples=150, deadline=None)
METHOD_NAMES = st.sampled_from([*METHODS, *NOTICES, "nope"])
FRAMES = st.one_of(
    st.binary(max_size=40),
    st.builds(frame, st.sampled_from(list(METHODS)), st.sampled_from([1, 2, "a"])),
    st.builds(lambda id_, name: write_message(Request(id_, name, b"{}")), st.integers(0, 3), METHOD_NAMES),
    st.builds(lambda name: write_message(Notice(name, b"{}")), METHOD_NAMES),
    st.builds(notice, st.sampled_from(list(NOTICES)), st.sampled_from(list(TELLS.values()))),
    st.builds(lambda id_: write_message(Result(id_, encode(answered("status")))), st.integers(0, 4)),
    st.builds(lambda id_, error: write_message(Failure(id_, error)), st.integers(0, 4), values_of(ErrorObject)),
    st.builds(lambda error: write_message(Complaint(error)), values_of(ErrorObject)),
)


@MODEST
@given(
    state=st.sampled_from(LIVE_STATES), role=st.sampled_from(Role), frames=st.lists(FRAMES, max_size=6), data=st.data()
)
def test_whatever_a_hostile_end_sends_only_a_remote_error_is_raised_and_everything_ends(
    state: State, role: Role, frames: list[bytes], data: st.DataObject
) -> None:
    pair = pair_in(state)
    if state is State.GREETED:
        pair.client.request("status", Nothing())
    peer = pair.client if role is Role.CLIENT else pair.server
    waiting, ended = peer.outstanding, 0
    for sent in frames:
        cut = data.draw(st.just(len(sent)) | st.integers(0, len(sent)))
        try:
            happened = peer.receive(sent[:cut])
        except RemoteProtocolError as error:
            assert error.code.startswith("wire.")
            assert peer.complain(error)
        else:
            ended += sum(isinstance(one, Answered | Failed) for one in happened)
        if peer.state is State.BROKEN:
            break
    assert (peer.owed == 0) or role is Role.SERVER
    closing = peer.close()
    assert ended + sum(isinstance(one, Abandoned) for one in closing) == waiting
    assert isinstance(closing[-1], Closed)


def test_a_status_is_what_the_table_says() -> None:
    assert isinstance(answered("status"), Status)
