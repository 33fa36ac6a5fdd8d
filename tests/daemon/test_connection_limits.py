"""How long a connection waits, what it does when one side is too slow, and what it leaves behind; in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock
from trio_websocket import ConnectionClosed, wrap_client_stream

from astrid.core.tokens import verify_chain
from astrid.daemon import connection as c
from astrid.errors import AstridError, EdgeError, InternalError
from astrid.frontends.client import Client
from astrid.messages.gateway import Attended, ListSessions
from astrid.runtime import hub as hubs
from astrid.wire import params as p
from astrid.wire.events import MAX_EVENT_BYTES, SessionSaved, TextDelta, encode_event
from tests.fakes.connection_bench import NAME, NEVER, SESSION, Bench, bench, client_on, one_session
from tests.fakes.daemons import settled


def saved(made: Bench) -> None:
    """One more event of the session."""
    number = made.world.hub.number(SESSION) + 1
    made.world.hub.publish(SESSION, encode_event(SessionSaved(session_id=NAME, seq=number)))


async def test_whoever_does_not_finish_the_handshake_is_cut_off(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with bench(tmp_path) as (made, stream):
        began = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - began == pytest.approx(c.HANDSHAKE_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        assert made.left == [made.connection]


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100 + b"\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9999],
    ids=["plain", "noise", "long"],
)
async def test_what_is_no_websocket_is_let_go_of_at_once(
    autojump_clock: MockClock, tmp_path: Path, said: bytes
) -> None:
    async with bench(tmp_path) as (made, stream):
        began = trio.current_time()
        await stream.send_all(said)
        await settled(lambda: bool(made.left), every=1)
        assert made.left == [made.connection]
        assert trio.current_time() - began < c.HANDSHAKE_SECONDS / 2


async def test_whoever_hangs_up_before_the_handshake_is_let_go_of_at_once(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as (made, stream):
        began = trio.current_time()
        await stream.aclose()
        await settled(lambda: bool(made.left), every=1)
        assert made.left == [made.connection]
        assert trio.current_time() - began < c.HANDSHAKE_SECONDS / 2


async def test_a_stranger_is_heard_for_so_long_and_no_longer(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with bench(tmp_path) as (_, stream), trio.open_nursery() as nursery:
        began = trio.current_time()
        web = await wrap_client_stream(nursery, stream, "localhost", "/")  # type: ignore[arg-type]
        assert "nonce" in str(await web.get_message())
        with pytest.raises(ConnectionClosed):
            await web.get_message()
        assert trio.current_time() - began == pytest.approx(c.STRANGER_SECONDS)


async def test_an_admitted_client_may_be_silent_for_ever(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with bench(tmp_path) as (made, stream), client_on(made, stream) as client:
        await trio.sleep(100 * c.STRANGER_SECONDS)
        await client.call("listSessions", p.ListSessions())


async def test_a_client_that_does_not_read_is_cut_off_and_counts_as_gone(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    pipe = trio.testing.lockstep_stream_pair()  # it takes what is written only when the other end reads
    async with bench(tmp_path, streams=pipe) as (made, stream):
        async with trio.open_nursery() as nursery:
            web = await wrap_client_stream(nursery, stream, "localhost", "/")  # type: ignore[arg-type]
            client = Client(made.world.home, web)
            nursery.start_soon(client.listen)
            await client.meet(authenticate=True)
            await client.subscribe(NAME, interactive=True)
            nursery.cancel_scope.cancel()  # nobody reads any more, and the stream stays open
        began = trio.current_time()
        saved(made)
        await settled(lambda: bool(made.left), every=1)
        assert trio.current_time() - began == pytest.approx(c.WRITE_SECONDS, abs=2)
        assert made.attended == [True, False]
        assert made.world.hub.listeners(SESSION) == 0


async def test_events_that_did_not_fit_are_sent_again_from_what_is_kept(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "QUEUE_EVENTS", 4)
    async with bench(tmp_path) as (made, stream), client_on(made, stream) as client:
        await client.subscribe(NAME)
        for _ in range(20):  # at once, so that the queue overflows before the connection gets to run
            saved(made)
        seen = [await client.next_event(NAME) for _ in range(20)]
        assert [event.seq for event in seen] == list(range(1, 21))


async def test_when_the_end_of_a_session_is_lost_the_connection_ends_so_that_nobody_waits_for_it(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "QUEUE_EVENTS", 4)
    async with bench(tmp_path) as (made, stream), client_on(made, stream) as client:
        await client.subscribe(NAME)
        for _ in range(20):
            saved(made)
        made.world.hub.forget(SESSION)
        await client.wait_gone()
        await trio.testing.wait_all_tasks_blocked()
        assert made.left


async def test_an_event_that_is_too_long_to_be_sent_is_named_instead(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with bench(tmp_path) as (made, stream), client_on(made, stream) as client:
        await client.subscribe(NAME)
        empty = len(encode_event(TextDelta(session_id=NAME, seq=0, text="")))
        longest = TextDelta(session_id=NAME, seq=0, text="x" * (MAX_EVENT_BYTES - empty))
        made.world.hub.publish(SESSION, encode_event(longest), provisional=True)
        event = await client.next_event(NAME)
        assert getattr(event, "code", "") == "event.too-long"


async def test_a_client_whose_token_was_revoked_hears_no_more_events(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with bench(tmp_path) as (made, stream), client_on(made, stream) as client:
        await client.subscribe(NAME)
        token = verify_chain(made.world.home.client_token.read_bytes(), made.world.identity.roots)
        made.world.facts.revoked.add(token.id)
        saved(made)
        await client.wait_gone()
        assert not client._events[NAME]


async def test_a_request_that_takes_too_long_gets_an_answer_that_says_so(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astrid.daemon.service.ASK_SECONDS", 10_000.0)

    def answer(message: object) -> object:
        return NEVER if isinstance(message, ListSessions) else one_session(message)

    async with bench(tmp_path, answer=answer) as (made, stream), client_on(made, stream) as client:
        with pytest.raises(AstridError) as caught:
            await client.call("listSessions", p.ListSessions())
        assert caught.value.code == "daemon.slow"


async def test_an_actor_that_does_not_answer_is_a_busy_daemon(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with (
        bench(tmp_path, answer=lambda message: NEVER if isinstance(message, ListSessions) else ()) as (made, stream),
        client_on(made, stream) as client,
    ):
        with pytest.raises(AstridError) as caught:
            await client.call("listSessions", p.ListSessions())
        assert caught.value.code == "daemon.busy"


async def test_a_bug_met_by_one_request_is_told_and_reported_and_the_connection_goes_on(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as (made, stream), client_on(made, stream) as client:
        with pytest.raises(AstridError) as caught:
            await client.call("cancelTurn", p.OfSession(session_id=NAME))  # the fake gateway answers with nothing
        assert caught.value.code == "service.answer"
        await client.call("listSessions", p.ListSessions())
        assert "request-failed" in made.world.home.daemon_log.read_text()


async def test_only_the_first_who_comes_and_the_last_who_goes_change_whether_a_session_is_attended(
    autojump_clock: MockClock,
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as (made, stream), client_on(made, stream) as client:
        await client.subscribe(NAME)
        assert made.attended == []
        await client.subscribe(NAME, interactive=True)
        await client.subscribe(NAME, interactive=True)
        await client.call("unsubscribeEvents", p.OfSession(session_id=NAME))
        await trio.testing.wait_all_tasks_blocked()
        assert made.attended == [True, False]


async def test_who_has_a_session_go_on_is_there_for_what_it_asks_at_once_and_until_the_client_goes(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    resume = p.ResumeSession(session_id=NAME, interactive=True)
    async with bench(tmp_path) as (made, stream):
        async with client_on(made, stream) as client:
            await client.call("resumeSession", resume)
            heard = [type(one) for one in made.gateway.got if isinstance(one, Attended | ListSessions)]
            assert heard == [Attended, ListSessions]  # before the session can be there
            await client.subscribe(NAME, interactive=True)
            await trio.testing.wait_all_tasks_blocked()
            assert made.attended == [True]
        await stream.aclose()
        await settled(lambda: bool(made.left), every=1)
        assert made.attended == [True, False]


async def test_nobody_is_there_for_a_session_that_does_not_go_on(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with bench(tmp_path) as (made, stream), client_on(made, stream) as client:
        with pytest.raises(AstridError):
            await client.call("resumeSession", p.ResumeSession(session_id="session:" + "0" * 32, interactive=True))
        await trio.testing.wait_all_tasks_blocked()
        assert made.attended == [True, False]


async def test_who_can_answer_nothing_has_a_session_go_on_without_being_there(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with bench(tmp_path) as (made, stream), client_on(made, stream) as client:
        await client.call("resumeSession", p.ResumeSession(session_id=NAME, interactive=False))
        await trio.testing.wait_all_tasks_blocked()
        assert made.attended == []


async def test_a_goodbye_lets_what_is_owed_be_answered(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with bench(tmp_path) as (made, stream), client_on(made, stream) as client:
        made.connection.leave_soon()
        await client.wait_gone()
        with pytest.raises(EdgeError):
            await client.call("listSessions", p.ListSessions())
        await trio.testing.wait_all_tasks_blocked()
        assert made.left == [made.connection]


async def test_a_message_that_is_not_its_own_ends_the_connection(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with bench(tmp_path) as (made, _):
        with pytest.raises(InternalError):
            await made.connection.receive("hello", made.ref)  # type: ignore[arg-type]
