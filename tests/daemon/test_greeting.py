"""What clients say they saw is recorded once, and only if it is what they were shown."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import trio
import trio.testing

from astrid.adapters.store.journal import SqliteReader
from astrid.core.chain import decode_body, decode_frame
from astrid.core.checkpoint import Checkpoint, cosign, sign_checkpoint, verify_checkpoint
from astrid.core.cosignature import SKEW_SECONDS, Cosignatures, check_record, client_name
from astrid.core.keys import PublicKey, SigningKey
from astrid.core.records import CosignedRecord
from astrid.core.tokens import block_id, issue
from astrid.errors import AstridError
from astrid.frontends.client import COSIGN_SECONDS, Client, connect
from astrid.frontends.meeting import Credentials, kept_checkpoint, load_install
from astrid.home import Home
from astrid.messages.gateway import TakeCosignature
from astrid.wire import params as p
from astrid.wire import results as r
from tests.fakes.connection_bench import bench, client_on
from tests.fakes.daemon_home import CLIENT, client_block, make_client_home, revocation
from tests.fakes.daemons import LIMIT_SECONDS, InProcess, daemon_in, daemon_of
from tests.fakes.home import HOLDER, LOG_ID, RUNTIME, USER, Mode, grant_workspace

PHONE = SigningKey.from_seed(b"\x66" * 32)
OTHER_RUNTIME = SigningKey.from_seed(b"\x67" * 32)


def recorded(home: Home) -> list[CosignedRecord]:
    """What the log says that clients saw."""
    reader = SqliteReader(home.log)
    try:
        bodies = [decode_body(decode_frame(raw)) for raw in reader.frames(1, 10_000)]
    finally:
        reader.close()
    return [body for body in bodies if isinstance(body, CosignedRecord)]


async def size_of(client: Client) -> int:
    return cast("r.Status", await client.call("status", p.Nothing())).log_size


def credentials(aud: bytes, key: SigningKey = CLIENT, **fields: Any) -> Credentials:
    chain = issue(client_block(aud, holder=key.public, **fields), USER)
    return Credentials(chain, block_id(msgspec.msgpack.decode(chain)[0][0]), key)


@asynccontextmanager
async def client_with(daemon: InProcess, mine: Credentials | None = None) -> AsyncIterator[Client]:
    """A client that is admitted and has cosigned nothing."""
    with trio.fail_after(LIMIT_SECONDS):
        async with connect(daemon.home, authenticate=False) as client:
            await client.present(mine or credentials(daemon.aud))
            yield client


def shown(client: Client) -> Checkpoint:
    return verify_checkpoint(client.welcome.checkpoint, PublicKey(RUNTIME.public), LOG_ID)


def cosigned(
    stated: bytes, key: SigningKey = CLIENT, *, log_id: bytes = LOG_ID, runtime: SigningKey = RUNTIME, time_s: int = 0
) -> bytes:
    at, name = time_s or int(time.time()), client_name(key.public)
    return cosign(stated, key, name, at, runtime_key=runtime.public, log_id=log_id)


async def refusal(client: Client, note: bytes) -> str:
    with pytest.raises(AstridError) as caught:
        await client.call("auditCosign", p.AuditCosign(note=note))
    return caught.value.code


async def test_a_client_cosigns_what_it_is_shown_and_the_log_has_it(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        async with connect(daemon.home) as client:
            stated = shown(client)
            assert client.welcome.cosigned == ()
        [record] = recorded(daemon.home)
        assert check_record(record, runtime_key=RUNTIME.public, log_id=LOG_ID) == stated
        assert (record.key, abs(record.time_s - time.time()) < 3600) == (CLIENT.public, True)


async def test_what_one_client_cosigned_every_other_is_handed_with_a_proof(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        async with connect(daemon.home) as client:
            await client.call("tokensAdd", p.TokensAdd(token=daemon.grant()))
            await client.call("auditProve", p.AuditRecordOf(seq=await size_of(client)))  # a checkpoint over all of it
        async with connect(daemon.home, authenticate=False) as client:
            [seen] = client.welcome.cosigned
            assert (seen.key, len(seen.consistency) > 0) == (CLIENT.public, True)


async def test_asking_again_and_again_does_not_make_the_log_grow(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        sizes: list[int] = []
        for _ in range(6):
            async with connect(daemon.home) as client:
                await client.call("auditList", p.AuditList())
                sizes.append(await size_of(client))
        assert len(set(sizes[1:])) == 1, sizes
        assert len(recorded(daemon.home)) <= 2


async def test_a_client_cosigns_once_for_each_start_of_the_daemon(tmp_path: Path) -> None:
    home, _ = make_client_home(tmp_path / "home")
    for _ in range(4):
        async with daemon_of(home):
            for _ in range(3):
                async with connect(home):
                    pass
    boots = [record.boot for record in recorded(home)]
    assert boots == sorted(set(boots))
    assert {1, 2, 3} <= set(boots)


class TestHostileClients:
    """Whatever else they hand in, the log does not get it."""

    async def expect(self, client: Client, note: bytes, code: str) -> None:
        before = await size_of(client)
        assert await refusal(client, note) == code
        assert await size_of(client) == before

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"root": b"x" * 32}, "cosign.other-note"),
            ({"tip": b"x" * 32}, "cosign.other-note"),
            ({"boot": 7}, "cosign.other-note"),
            ({"size": 10_000}, "cosign.other-note"),
            ({"log_id": b"M" * 32}, "checkpoint.other-log"),
        ],
        ids=["another root", "another tip", "another start", "beyond the log", "another log"],
    )
    async def test_another_checkpoint_even_with_a_stolen_runtime_key(
        self, tmp_path: Path, changes: dict[str, Any], code: str
    ) -> None:
        async with daemon_in(tmp_path) as daemon, client_with(daemon) as client:
            forged = msgspec.structs.replace(shown(client), **changes)
            await self.expect(client, cosigned(sign_checkpoint(forged, RUNTIME), log_id=forged.log_id), code)

    async def test_an_older_checkpoint_of_this_log(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon:
            async with client_with(daemon) as client:
                older = client.welcome.checkpoint
                await client.call("tokensAdd", p.TokensAdd(token=daemon.grant()))
                await client.call("auditProve", p.AuditRecordOf(seq=await size_of(client)))
            async with client_with(daemon) as client:
                await self.expect(client, cosigned(older), "cosign.other-note")

    async def test_another_clients_cosignature(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon, client_with(daemon) as client:
            await self.expect(client, cosigned(client.welcome.checkpoint, PHONE), "checkpoint.unsigned")

    async def test_a_checkpoint_that_the_daemon_did_not_sign(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon, client_with(daemon) as client:
            forged = sign_checkpoint(shown(client), OTHER_RUNTIME)
            await self.expect(client, cosigned(forged, runtime=OTHER_RUNTIME), "checkpoint.unsigned")

    async def test_a_checkpoint_without_a_cosignature_or_with_two(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon, client_with(daemon) as client:
            note = client.welcome.checkpoint
            await self.expect(client, note, "checkpoint.unsigned")
            await self.expect(client, cosigned(cosigned(note), PHONE), "cosign.lines")
            await self.expect(client, b"nonsense", "checkpoint.malformed")

    @pytest.mark.parametrize("off_s", [-2 * SKEW_SECONDS, 2 * SKEW_SECONDS])
    async def test_a_time_that_is_not_now(self, tmp_path: Path, off_s: int) -> None:
        async with daemon_in(tmp_path) as daemon, client_with(daemon) as client:
            await self.expect(
                client, cosigned(client.welcome.checkpoint, time_s=int(time.time()) + off_s), "cosign.time"
            )

    async def test_one_that_is_sent_again(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon:
            async with client_with(daemon) as client:
                note = cosigned(client.welcome.checkpoint)
                assert await client.call("auditCosign", p.AuditCosign(note=note)) == r.Done()
                await self.expect(client, note, "cosign.not-due")
            async with client_with(daemon) as client:  # the log has grown by it, and was stated anew
                await self.expect(client, note, "cosign.other-note")

    async def test_a_flood(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon, client_with(daemon) as client:
            before, now = await size_of(client), int(time.time())
            for number in range(50):
                note = cosigned(client.welcome.checkpoint, time_s=now - number)
                if number:
                    assert await refusal(client, note) == "cosign.not-due"
                else:
                    await client.call("auditCosign", p.AuditCosign(note=note))
            assert await size_of(client) == before + 1

    @pytest.mark.parametrize(("key", "code"), [(HOLDER, "cosign.own-key"), (RUNTIME, "cosign.own-key")])
    async def test_a_key_of_the_daemon_itself(self, tmp_path: Path, key: SigningKey, code: str) -> None:
        """Should the user ever be brought to sign for one of them."""
        async with daemon_in(tmp_path) as daemon, client_with(daemon, credentials(daemon.aud, key)) as client:
            await self.expect(client, cosigned(client.welcome.checkpoint, key), code)

    async def test_a_token_that_does_not_let_it(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon:
            narrow = credentials(daemon.aud, PHONE, pattern="rpc://listSessions")
            async with client_with(daemon, narrow) as client:
                await self.expect(client, cosigned(client.welcome.checkpoint, PHONE), "client.not-covered")

    async def test_a_token_that_was_revoked(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon, connect(daemon.home) as other:
            mine = credentials(daemon.aud, PHONE)
            async with client_with(daemon, mine) as client:
                await other.call("tokensRevoke", p.TokensRevoke(statement=revocation(daemon.aud, mine.id_last)))
                await self.expect(client, cosigned(client.welcome.checkpoint, PHONE), "client.token-dead")


async def test_a_client_that_may_not_cosign_works_all_the_same(tmp_path: Path) -> None:
    home, aud = make_client_home(tmp_path / "home", token=b"later")
    home.client_token.write_bytes(issue(client_block(aud, pattern="rpc://listSessions"), USER))
    async with daemon_of(home):
        for _ in range(2):
            async with connect(home) as client:
                assert await client.call("listSessions", p.ListSessions()) == r.Sessions(sessions=(), left_out=0)
    assert recorded(home) == []


async def test_a_daemon_that_does_not_get_to_it_keeps_a_client_waiting_for_a_moment_only(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A grant must be revocable, and the daemon stoppable, when the log hangs."""
    async with bench(tmp_path) as (made, stream):
        began = trio.current_time()
        async with client_on(made, stream) as client:
            assert trio.current_time() - began < COSIGN_SECONDS + 1
            [asked] = [message for message in made.gateway.got if isinstance(message, TakeCosignature)]
            assert (asked.key, asked.chain) == (CLIENT.public, made.world.home.client_token.read_bytes())
            assert isinstance(await client.call("listSessions", p.ListSessions()), r.Sessions)


class Fork:
    """One of two logs that a daemon keeps: their keys are the same, and their past up to some point."""

    def __init__(self, home: Home, aud: bytes) -> None:
        self.home = home
        self.aud = aud

    async def grow(self, grants: int) -> None:
        """The log gets longer, and a checkpoint over all of it is signed, shown to this home's client and cosigned."""
        workspace = self.home.root.parent / "ws"
        workspace.mkdir(exist_ok=True)
        for _ in range(2):
            async with connect(self.home) as client:
                for _ in range(grants):
                    token = grant_workspace(self.home, self.aud, workspace, Mode.GUIDED)
                    await client.call("tokensAdd", p.TokensAdd(token=token))
                await client.call("auditProve", p.AuditRecordOf(seq=await size_of(client)))

    def newest(self) -> CosignedRecord:
        return recorded(self.home)[-1]


async def two_logs(root: Path) -> tuple[Fork, Fork]:
    """One home and its copy, the copy with another client, who knows nothing of what happened before."""
    home, aud = make_client_home(root / "first" / "home")
    async with daemon_of(home):
        pass
    shutil.copytree(home.root, root / "second" / "home")
    other = Home(root / "second" / "home")
    other.client_key.write_bytes(b"\x66" * 32)
    other.client_token.write_bytes(issue(client_block(aud, holder=PHONE.public), USER))
    return Fork(home, aud), Fork(other, aud)


@pytest.mark.parametrize(("first", "second"), [(1, 5), (5, 1), (2, 2)], ids=["longer", "shorter", "as long"])
async def test_a_daemon_that_shows_two_logs_is_found_out_by_the_second_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, second: int
) -> None:
    """Threat 50: both logs are signed, and each client saw its own grow as it should."""
    one, other = await two_logs(tmp_path)
    async with daemon_of(one.home):
        await one.grow(first)
    seen = one.newest()
    async with daemon_of(other.home):
        await other.grow(second)
        install = load_install(other.home)
        kept, told = kept_checkpoint(other.home, install), other.home.daemon_log.read_text()
        assert kept is not None
        assert kept.boot == seen.boot == 2  # both went on from the same past
        # ... until one of them is told what the other said.
        monkeypatch.setattr(Cosignatures, "newest", lambda _: (seen,))
        with trio.fail_after(LIMIT_SECONDS), pytest.raises(AstridError) as caught:
            async with connect(other.home):
                pytest.fail("it was trusted")
        assert (caught.value.code, CLIENT.public.hex() in caught.value.message) == ("client.split-view", True)
        assert "client-judged" not in other.home.daemon_log.read_text()[len(told) :], "something was signed"
        assert kept_checkpoint(other.home, install) == kept


async def test_two_clients_of_one_log_agree(tmp_path: Path) -> None:
    """The same, with one log: what the other cosigned is no reason to distrust anybody."""
    one, other = await two_logs(tmp_path)
    shutil.rmtree(other.home.log.parent)
    shutil.rmtree(other.home.socket.parent)
    for name in ("log", "run"):
        (other.home.root / name).symlink_to(one.home.root / name)
    async with daemon_of(one.home):
        for fork in (one, other, one, other):
            await Fork(fork.home, fork.aud).grow(1)
    assert {record.key for record in recorded(one.home)} == {CLIENT.public, PHONE.public}
