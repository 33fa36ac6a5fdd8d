"""What clients cosigned stays in the log: verified with it, counted by whose word it is, evidence against a fork."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
import trio
import trio.testing

from astrid.adapters.store.journal import SqliteReader, payload_key
from astrid.adapters.system import SystemEntropy
from astrid.core.canon import decode
from astrid.core.chain import decode_frame
from astrid.core.checkpoint import cosign
from astrid.core.cosignature import client_name, cosigned_note, record_of
from astrid.core.gate import Gate
from astrid.core.grants import Mode
from astrid.core.keys import SigningKey
from astrid.core.records import CosignedRecord, Entry, Kind, entry, seal
from astrid.core.tokens import issue, verify_chain
from astrid.errors import ChainError
from astrid.guard import interceptor
from astrid.home import Home
from astrid.messages.gate import Cosign, Done, Failed
from astrid.messages.gateway import AskCheckpoint, TakeCosignature
from astrid.messages.log import Checkpointed
from astrid.runtime.boot import World
from astrid.runtime.verify import Finding, Result, Trust, verify_home
from tests.fakes.clock import StillClock
from tests.fakes.daemon_home import CLIENT, STRANGER, client_block
from tests.fakes.home import LOG_ID, RUNTIME, USER
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.runtime import Runtime, running
from tests.fakes.strict import StrictCodec

PHONE = SigningKey.from_seed(b"\x66" * 32)
TIME_S = 1_790_000_000


def cosigned(note: bytes, client: SigningKey = CLIENT) -> bytes:
    name = client_name(client.public)
    return cosign(note, client, name, TIME_S, runtime_key=RUNTIME.public, log_id=LOG_ID)


async def stated(runtime: Runtime) -> bytes:
    answer = await runtime.by_ticket(lambda number: AskCheckpoint(ticket=number))
    assert isinstance(answer, Checkpointed)
    return answer.note


async def hand_in(
    runtime: Runtime, note: bytes, client: SigningKey = CLIENT, chain: bytes | None = None
) -> Done | Failed:
    """What a connection passes on once it has judged the note."""
    token = issue(client_block(runtime.aud, holder=client.public), USER) if chain is None else chain
    return await runtime.by_ticket(
        lambda number: TakeCosignature(ticket=number, key=client.public, note=note, chain=token)
    )


async def live(folder: Path, *clients: SigningKey, grants: int = 1) -> None:
    """A start of the runtime, in which these clients cosign its end."""
    async with running(folder) as runtime:
        for _ in range(grants):
            await runtime.grant(Mode.GUIDED)
        note = await stated(runtime)
        for client in clients:
            assert isinstance(await hand_in(runtime, cosigned(note, client), client), Done)


def verify(folder: Path, *, is_own: bool = True) -> Finding:
    return verify_home(folder / "home", Trust(), is_own=is_own)


def records(folder: Path) -> list[tuple[int, CosignedRecord]]:
    reader = SqliteReader(Home(folder / "home").log)
    try:
        frames = [decode_frame(raw) for raw in reader.frames(1, 10_000)]
    finally:
        reader.close()
    return [
        (frame.seq, decode(frame.body, CosignedRecord, max_bytes=1000, what="a body"))
        for frame in frames
        if frame.kind == Kind.COSIGNED
    ]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lived")

    async def work() -> None:
        await live(folder, CLIENT)
        await live(folder, CLIENT, PHONE)

    trio.run(work)
    return folder


@pytest.fixture
def copy(lived: Path, tmp_path: Path) -> Path:
    shutil.copytree(lived, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_log_says_how_many_cosignatures_of_how_many_clients_it_has(copy: Path) -> None:
    found = verify(copy)
    assert (found.result, found.cosignatures, found.cosigners, found.unattributed) == (Result.SOUND, 3, 2, 0)
    assert "3 cosignatures by 2 clients" in found.to_text()
    said = json.loads(found.to_json())
    assert (said["cosignatures"], said["cosigners"], said["unattributed"]) == (3, 2, 0)


def test_a_cosignature_whose_token_was_erased_counts_for_nobody(copy: Path) -> None:
    """What is left verifies; but that its key is not one that the daemon made up, nothing shows any more."""
    seq, _ = records(copy)[-1]
    base = sqlite3.connect(Home(copy / "home").log)
    assert base.execute("DELETE FROM payload WHERE key = ?", (payload_key(seq, 0),)).rowcount == 1
    base.commit()
    base.close()
    found = verify(copy)
    assert (found.result, found.cosignatures, found.cosigners, found.unattributed) == (Result.SOUND, 2, 1, 1)
    assert "2 cosignatures by 1 clients; 1 whose token was erased" in found.to_text()


@pytest.mark.parametrize("whose", ["nobody's", "another client's", "a stranger's", "of the same client, another"])
async def test_a_key_that_the_user_did_not_make_a_clients_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """A daemon that vouches for its own log: its gate records whatever it likes."""

    def record(gate: Gate, message: object, **_: object) -> list[Entry]:
        assert isinstance(message, Cosign)
        held = verify_chain(issue(client_block(gate.facts.aud), USER), gate.facts.roots)
        sealed, payload = seal(message.chain, b"s" * 32)
        return [entry(record_of(message.note, held, sealed), payloads=(payload,))]

    async with running(tmp_path) as runtime:
        chain = {
            "nobody's": b"\x90",
            "another client's": issue(client_block(runtime.aud, holder=PHONE.public), USER),
            "a stranger's": issue(client_block(runtime.aud, issuer=STRANGER.public), STRANGER),
            "of the same client, another": issue(client_block(runtime.aud, nonce=b"n" * 16), USER),
        }[whose]
        note = cosigned(await stated(runtime))
        monkeypatch.setattr(interceptor, "change", record)
        assert isinstance(await hand_in(runtime, note, chain=chain), Done)
    found = verify(tmp_path)
    code = "chain.payload" if whose.startswith("of the same") else "cosign.no-client"
    assert (found.result, found.code, found.where) == (Result.TAMPERED, code, f"record {records(tmp_path)[0][0]}")


async def test_nobody_gets_in_without_the_users_word(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        note = cosigned(await stated(runtime), STRANGER)
        own = issue(client_block(runtime.aud, holder=PHONE.public, issuer=STRANGER.public), STRANGER)
        for chain in (own, issue(client_block(runtime.aud), USER)):
            answer = await hand_in(runtime, note, STRANGER, chain)
            assert (isinstance(answer, Failed), getattr(answer, "code", "")) == (True, "cosign.no-client")
        assert runtime.world.facts.cosigned.newest() == ()


async def test_a_start_goes_on_from_what_was_cosigned_before(lived: Path, tmp_path: Path) -> None:
    shutil.copytree(lived, tmp_path / "copy")
    async with running(tmp_path / "copy") as runtime:
        known = runtime.world.facts.cosigned.newest()
        assert [record.key for record in known] == [PHONE.public, CLIENT.public]
        again = cosigned_note(known[-1], runtime_key=RUNTIME.public, log_id=LOG_ID)
        answer = await hand_in(runtime, again)
        assert (isinstance(answer, Failed), getattr(answer, "code", "")) == (True, "cosign.not-due")


async def test_while_the_log_cannot_be_written_no_client_waits_for_it(tmp_path: Path) -> None:
    log = FakeLog()
    async with running(tmp_path, store=FakeStore(log, ballast_bytes=200_000)) as runtime:
        note = cosigned(await stated(runtime))
        log.free_bytes = 0
        await runtime.grant(Mode.GUIDED)  # what a person orders is still written, and finds that there is no room
        await trio.testing.wait_all_tasks_blocked()
        answer = await hand_in(runtime, note)
        assert (isinstance(answer, Failed), getattr(answer, "code", "")) == (True, "cosign.not-now")


async def test_it_travels_as_bytes_between_actors(tmp_path: Path) -> None:
    codec = StrictCodec()
    async with running(tmp_path, strict=codec) as runtime:
        assert isinstance(await hand_in(runtime, cosigned(await stated(runtime))), Done)
    assert {"TakeCosignature", "Cosign"} <= codec.kinds


@pytest.mark.parametrize("grants", [1, 4], ids=["as long", "longer"])
async def test_a_fork_into_which_a_cosignature_of_the_other_log_was_copied_does_not_verify(
    tmp_path: Path, grants: int
) -> None:
    """Threat 50: the daemon's key signed both logs, so only what a client saw tells them apart."""
    one, other = tmp_path / "one", tmp_path / "other"
    await live(one)
    shutil.copytree(one, other)
    await live(one, CLIENT)
    [(_, seen)] = records(one)
    assert verify(one).result is Result.SOUND
    note = cosigned_note(seen, runtime_key=RUNTIME.public, log_id=LOG_ID)
    async with running(other) as runtime:
        for _ in range(grants):
            await runtime.grant(Mode.GUIDED)
        await stated(runtime)
        assert isinstance(await hand_in(runtime, note), Done)
    [(seq, _)] = records(other)
    found = verify(other)
    assert (found.result, found.code, found.where) == (Result.TAMPERED, "chain.split-view", f"record {seq}")
    assert CLIENT.public.hex() in found.to_text()


async def test_a_daemon_does_not_start_on_such_a_fork(tmp_path: Path) -> None:
    """It would hand a proof against itself to every client."""
    one, other = tmp_path / "one", tmp_path / "other"
    await live(one)
    shutil.copytree(one, other)
    async with running(one) as runtime:
        await runtime.grant(Mode.GUIDED)
        note = cosigned(await stated(runtime))
    async with running(other) as runtime:
        assert isinstance(await hand_in(runtime, note), Done)
    again = World(Home(other / "home"), clock=StillClock(), entropy=SystemEntropy())
    with pytest.raises(ChainError) as caught:
        again.open_log()
    assert caught.value.code == "chain.split-view"


def test_the_log_is_seen_as_it_was_at_one_moment(copy: Path) -> None:
    """A checkpoint that is stored while the records are read must not be missed among the checkpoints read before."""
    path = Home(copy / "home").log
    reader = SqliteReader(path)
    try:
        reader.hold()
        size, notes = reader.size(), reader.checkpoints()
        trio.run(live, copy, CLIENT)
        assert (reader.size(), reader.checkpoints()) == (size, notes)
    finally:
        reader.close()
    after = SqliteReader(path)
    try:
        assert after.size() > size
    finally:
        after.close()
