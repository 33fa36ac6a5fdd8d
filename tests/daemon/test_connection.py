"""What a connection lets a client do, and what it does to one that breaks the rules."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionRejected

from astrid.adapters.system import SystemEntropy
from astrid.core.tokens import issue, verify_chain
from astrid.daemon import server
from astrid.frontends.client import connect
from astrid.runtime.boot import load_identity
from astrid.wire import params as p
from tests.fakes.daemon_home import STRANGER, client_block, revocation
from tests.fakes.daemons import LIMIT_SECONDS, InProcess, Raw, daemon_in, raw_client, settled
from tests.fakes.home import USER

SESSION = "session:" + "0" * 32


def code(heard: dict[str, Any] | None) -> str:
    """The stable code of a failed answer."""
    assert heard is not None, "the connection ended without an answer"
    return heard["error"]["data"]["code"]


async def gone(client: Raw) -> bool:
    """Whether the connection has ended, after whatever is still said."""
    while (heard := await client.hear()) is not None:
        assert "error" in heard or heard.get("method") == "bye", heard
    return True


async def admitted(client: Raw, daemon: InProcess) -> None:
    await client.greet()
    answer = await client.authenticate(daemon.home, daemon.aud)
    assert answer is not None
    assert "result" in answer, answer


async def test_the_daemon_speaks_first_with_a_nonce_that_is_new_each_time(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        nonces: set[str] = set()
        for _ in range(3):
            async with raw_client(daemon.home) as client:
                heard = await client.hear()
                assert heard is not None
                assert heard["method"] == "nonce"
                nonces.add(heard["params"]["nonce"])
    assert len(nonces) == 3


async def test_a_client_with_the_token_and_its_key_is_served(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        await admitted(client, daemon)
        answer = await client.prove("listSessions", p.ListSessions())
        assert answer is not None
        assert answer["result"] == {"sessions": [], "left_out": 0}


async def test_without_a_token_there_is_only_what_any_process_may_know(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        await client.greet()
        for method in ("status", "doctor", "keysShow", "auditCheckpoint"):
            answer = await client.ask(method, p.Nothing())
            assert answer is not None
            assert "result" in answer
        await client.say(json.dumps({"jsonrpc": "2.0", "id": 9, "method": "listSessions", "params": {}}))
        assert code(await client.hear()) == "wire.wrong-state"
        assert await gone(client)


@pytest.mark.parametrize("method", ["createSession", "shutdown", "tokensAdd", "approvalResponse"])
async def test_whoever_did_not_authenticate_is_cut_off_when_they_ask_for_more(tmp_path: Path, method: str) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        await client.greet()
        await client.say(json.dumps({"jsonrpc": "2.0", "id": 9, "method": method, "params": {}}))
        assert code(await client.hear()) == "wire.wrong-state"
        assert await gone(client)
        async with connect(daemon.home) as other:  # and the daemon goes on
            await other.call("status", p.Nothing())


async def test_a_token_without_its_key_is_of_no_use(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        await client.greet()
        assert code(await client.authenticate(daemon.home, daemon.aud, key=STRANGER)) == "wire.unproven"
        assert await gone(client)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"session": b"\1" * 16}, "client.token-kind"),
        ({"workspace": b"\1" * 32}, "client.token-kind"),
        ({"uses": 5}, "client.token-kind"),
        ({"expires": 10}, "client.token-dead"),
        ({"not_before": 2**62}, "client.token-dead"),
        ({"aud": b"\2" * 32}, "client.token-dead"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
async def test_a_token_that_is_none_for_clients_is_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    changes = dict(changes)
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        daemon.home.client_token.write_bytes(issue(client_block(changes.pop("aud", daemon.aud), **changes), USER))
        await client.greet()
        assert code(await client.authenticate(daemon.home, daemon.aud)) == expected
        assert await gone(client)


async def test_a_token_that_the_user_did_not_sign_is_refused(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        forged = issue(client_block(daemon.aud, issuer=STRANGER.public), STRANGER)
        daemon.home.client_token.write_bytes(forged)
        await client.greet()
        assert code(await client.authenticate(daemon.home, daemon.aud)) == "token.root"


async def test_a_token_for_some_methods_covers_no_others(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        narrow = issue(client_block(daemon.aud, pattern="rpc://auditList"), USER)
        daemon.home.client_token.write_bytes(narrow)
        await client.greet()
        await client.authenticate(daemon.home, daemon.aud)
        answer = await client.prove("auditList", p.AuditList())
        assert answer is not None
        assert "result" in answer
        for method, params in (("listSessions", p.ListSessions()), ("shutdown", p.ProvenNothing())):
            assert code(await client.prove(method, params)) == "client.not-covered"
        assert (
            code(await client.prove("subscribeEvents", p.SubscribeEvents(session_id=SESSION))) == "client.not-covered"
        )


async def test_a_captured_handshake_does_not_open_another_connection(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        async with raw_client(daemon.home) as client:
            await admitted(client, daemon)
            captured = client.sent[-1]
        async with raw_client(daemon.home) as thief:
            await thief.greet()
            await thief.say(captured)
            assert code(await thief.hear()) == "wire.unproven"
            assert await gone(thief)


async def test_a_daemon_that_greets_everybody_alike_would_let_the_captured_handshake_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat 1.  The control removed: a nonce of its own for each connection."""
    monkeypatch.setattr(SystemEntropy, "random_bytes", lambda self, count: b"\1" * count)
    async with daemon_in(tmp_path) as daemon:
        async with raw_client(daemon.home) as client:
            await admitted(client, daemon)
            captured = client.sent[-1]
        async with raw_client(daemon.home) as thief:
            await thief.greet()
            await thief.say(captured)
            answer = await thief.hear()
            assert answer is not None
            assert "result" in answer


async def test_a_captured_request_does_not_count_twice_nor_elsewhere(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        async with raw_client(daemon.home) as client:
            await admitted(client, daemon)
            await client.prove("listSessions", p.ListSessions())
            captured = client.sent[-1]
            await client.say(captured)
            assert code(await client.hear()) == "wire.unproven"
        async with raw_client(daemon.home) as thief:
            await admitted(thief, daemon)
            await thief.say(captured)
            assert code(await thief.hear()) == "wire.unproven"


async def test_a_revoked_token_is_refused_on_the_connection_that_is_open_already(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        await admitted(client, daemon)
        token = verify_chain(daemon.home.client_token.read_bytes(), load_identity(daemon.home).roots)
        answer = await client.prove("tokensRevoke", p.TokensRevoke(statement=revocation(daemon.aud, token.id)))
        assert answer is not None
        assert "result" in answer
        assert code(await client.prove("listSessions", p.ListSessions())) == "client.token-dead"
        async with raw_client(daemon.home) as another:
            await another.greet()
            assert code(await another.authenticate(daemon.home, daemon.aud)) == "client.token-dead"


async def test_a_client_of_another_install_is_told_so(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        assert code(await client.greet(aud=b"\x09" * 32)) == "client.other-install"


@pytest.mark.parametrize("said", ["hello?", "[]", '{"jsonrpc":"2.0"}', '{"a":1,"a":2}', "\x00", "x" * 70_000])
async def test_what_is_no_message_ends_the_connection_with_a_complaint(tmp_path: Path, said: str) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        await client.hear()
        await client.say(said)
        assert code(await client.hear()).startswith("wire.")
        assert await gone(client)


async def test_bytes_instead_of_text_and_messages_without_end_end_the_connection(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        for said in (b"{}", "x" * (2 * 1024 * 1024)):
            async with raw_client(daemon.home) as client:
                await client.hear()
                await client.say(said)
                assert await gone(client)


async def test_a_web_page_is_no_client(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        with pytest.RaisesGroup(ConnectionRejected):
            async with raw_client(daemon.home, extra_headers=[(b"Origin", b"http://evil.example")]):
                pytest.fail("it was let in")
        with pytest.RaisesGroup(ConnectionRejected):
            async with raw_client(daemon.home, path="/elsewhere"):
                pytest.fail("it was let in")


@pytest.mark.parametrize(
    "said",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9999],
    ids=["nothing", "plain", "noise", "long"],
)
async def test_what_is_no_websocket_holds_nothing_up(tmp_path: Path, said: bytes) -> None:
    async with daemon_in(tmp_path) as daemon, await trio.open_unix_socket(str(daemon.home.socket)) as stream:
        with suppress(trio.BrokenResourceError):  # cut off before all of it was said
            await stream.send_all(said)
        async with connect(daemon.home) as client:  # while whoever said it has not hung up
            await client.call("status", p.Nothing())


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def test_there_is_a_limit_to_how_many_are_connected_and_it_is_given_back(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        async with trio.open_nursery() as nursery:
            ready = trio.Event()
            count = 0

            async def hold() -> None:
                nonlocal count
                async with raw_client(daemon.home) as client:
                    await admitted(client, daemon)
                    count += 1
                    if count == server.MAX_CONNECTIONS:
                        ready.set()
                    await trio.sleep_forever()

            for _ in range(server.MAX_CONNECTIONS):
                nursery.start_soon(hold)
            with trio.fail_after(LIMIT_SECONDS):
                await ready.wait()
            stream = await trio.open_unix_socket(str(daemon.home.socket))
            async with stream:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(HANDSHAKE)  # whoever is let in hears an answer to this
                    assert await stream.receive_some() == b""
            nursery.cancel_scope.cancel()
        await settled(lambda: daemon.daemon._server is not None and not daemon.daemon._server.connections())
        async with connect(daemon.home) as client:
            await client.call("status", p.Nothing())


async def test_a_second_handshake_on_one_connection_is_a_breach(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        await admitted(client, daemon)
        assert code(await client.ask("hello", p.Hello(client="raw", protocol=1, version="0"))) == "wire.wrong-state"
        assert await gone(client)


async def test_an_open_connection_hears_that_the_daemon_stops(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, raw_client(daemon.home) as client:
        await admitted(client, daemon)
        daemon.daemon._stop()
        heard = await client.hear()
        assert heard is not None
        assert heard["method"] == "bye"
        assert await gone(client)


async def test_what_a_client_did_wrong_is_reported_by_code_alone(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        async with raw_client(daemon.home) as client:
            await client.greet()
            await client.say('{"canary-7f3a": 1}')
            await gone(client)
        reported = daemon.home.daemon_log.read_text()
    assert "client-broke-protocol" in reported
    assert "canary" not in reported
