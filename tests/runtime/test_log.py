"""Reading the past: a log that was rolled back, cut or changed is refused, and what lies beside it is not believed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from astrid.adapters.store import tamper
from astrid.adapters.store.journal import SqliteReader
from astrid.core.approval import Approvals
from astrid.core.grants import Mode
from astrid.core.keys import SigningKey
from astrid.core.past import Past, recall_questions
from astrid.errors import AstridError, ChainError
from astrid.home import Home, write_guarded
from astrid.kernel import TooManyRestarts
from astrid.messages.gateway import AskCheckpoint
from astrid.runtime.boot import World
from astrid.runtime.log import read_frames, read_past
from astrid.runtime.recall import recall_tokens
from astrid.runtime.shelf import Shelf
from tests.fakes.clock import FakeEntropy, StillClock
from tests.fakes.home import HOLDER, LOG_ID, make_home
from tests.fakes.runtime import Runtime, call, running, turn


async def _live(folder: Path) -> None:
    async with running(folder) as runtime:
        await runtime.grant(Mode.SAFE)
        await ask(runtime)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lived")
    trio.run(_live, folder)
    return folder


@pytest.fixture
def past_life(lived: Path, tmp_path: Path) -> World:
    """A home whose daemon ran, took in a grant, asked a question that is still open, and stopped in order."""
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    return World(Home(tmp_path / "home"), clock=StillClock(), entropy=FakeEntropy())


async def ask(runtime: Runtime) -> None:
    await runtime.open([turn(call("write_file", file_path="a", content="1")), turn()], mode="safe")
    await runtime.say("write")
    await runtime.until("turn_complete")


def refusal(world: World) -> AstridError:
    with pytest.raises(AstridError) as caught:
        read_past(world.home, world.keys)
    return caught.value


def only(copy: Path, log: Path) -> None:
    """Put a database without what belongs to another one beside it."""
    for beside in log.parent.glob(f"{log.name}*"):
        beside.unlink()
    shutil.copy(copy, log)


# ---- a sound log


def test_a_home_that_never_ran_has_an_empty_past(tmp_path: Path) -> None:
    home, _ = make_home(tmp_path / "home")
    world = World(home, clock=StillClock(), entropy=FakeEntropy())
    past = read_past(home, world.keys)
    assert (past.tip.size, past.signed, past.questions, past.tokens) == (0, 0, (), ())
    assert not home.log.exists()


def test_a_sound_log_gives_its_end_and_what_is_still_of_interest(past_life: World) -> None:
    past = read_past(past_life.home, past_life.keys)
    assert past.tip.size == past.signed > 5
    assert (len(past.questions), len(past.tokens)) == (1, 1)
    reader = SqliteReader(past_life.home.log)
    assert len(list(read_frames(reader))) == past.tip.size
    reader.close()


# ---- a log that is not what it was


def test_a_log_that_is_gone_is_a_rollback(past_life: World) -> None:
    past_life.home.log.unlink()
    assert refusal(past_life).code == "chain.missing"


@pytest.mark.parametrize("witness", ["anchor", "witness"])
def test_either_checkpoint_kept_elsewhere_tells_that_the_log_is_gone(past_life: World, witness: str) -> None:
    home = past_life.home
    shutil.copy(home.anchor, home.witness)
    (home.witness if witness == "anchor" else home.anchor).unlink()
    home.log.unlink()
    assert refusal(past_life).code == "chain.missing"


async def test_an_older_copy_of_the_log_is_refused(past_life: World, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    shutil.copy(past_life.home.log, copy)
    async with running(tmp_path) as runtime:
        await runtime.by_ticket(lambda number: AskCheckpoint(ticket=number))
    only(copy, past_life.home.log)
    assert refusal(past_life).code == "chain.cut"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda log, key: tamper.flip_bit(log, 3), {"chain.link", "chain.malformed", "chain.root"}),
        (lambda log, key: tamper.cut_tail(log, 5), {"chain.cut"}),
        (lambda log, key: tamper.swap(log, 3, 4), {"chain.gap"}),
        (lambda log, key: tamper.rewrite(log, key[0], LOG_ID, 4, key[1]), {"chain.root", "chain.cut", "chain.boot"}),
        (
            lambda log, key: tamper.rewrite(log, key[0], LOG_ID, 4, SigningKey.from_seed(b"x" * 32)),
            {"note.unsigned", "note.bad-signature", "note.unknown-key", "checkpoint.unsigned"},
        ),
    ],
    ids=["a bit", "the end", "two records", "rewritten by the daemon", "rewritten by a stranger"],
)
def test_a_damaged_log_is_refused(past_life: World, damage: Callable[..., None], code: set[str]) -> None:
    damage(past_life.home.log, (past_life.keys.install, past_life.runtime_key))
    error = refusal(past_life)
    assert isinstance(error, ChainError)
    assert error.code in code or error.code.startswith("note.")


# ---- a witness that is not what it was


@pytest.mark.parametrize("which", ["anchor", "witness"])
def test_an_edited_witness_is_refused(past_life: World, which: str) -> None:
    path = getattr(past_life.home, which)
    note = past_life.home.anchor.read_bytes()
    size = read_past(past_life.home, past_life.keys).tip.size
    for edited in (note.replace(b"%d\n" % size, b"%d\n" % (size - 1), 1), note[:-10], b"", b"nonsense"):
        write_guarded(path, edited, what="it", replace=True)
        with pytest.raises(ChainError):
            read_past(past_life.home, past_life.keys)


def test_a_witness_of_another_log_is_refused(past_life: World, tmp_path: Path) -> None:
    other = past_life.home.anchor.read_bytes().replace(LOG_ID.hex().encode(), b"5" * 64)
    write_guarded(past_life.home.anchor, other, what="it", replace=True)
    assert isinstance(refusal(past_life), ChainError)


def test_a_witness_that_others_can_write_is_refused(past_life: World) -> None:
    past_life.home.anchor.chmod(0o666)
    assert refusal(past_life).code == "file.open-to-others"


def test_an_older_witness_is_no_objection(past_life: World) -> None:
    reader = SqliteReader(past_life.home.log)
    first = reader.checkpoints()[0][1]
    reader.close()
    write_guarded(past_life.home.anchor, first, what="it", replace=True)
    assert read_past(past_life.home, past_life.keys).tip.size > 1


async def test_a_daemon_does_not_start_on_a_log_that_was_rolled_back(
    autojump_clock: MockClock, past_life: World, tmp_path: Path
) -> None:
    tamper.cut_tail(past_life.home.log, 4)
    before = past_life.home.log.read_bytes()
    with pytest.raises(TooManyRestarts) as caught:
        async with running(tmp_path, broken=True):
            pytest.fail("it started")
    assert isinstance(caught.value.__cause__, ChainError)
    assert past_life.home.log.read_bytes() == before


# ---- what lies beside the log


def recalled(world: World, past: Past | None = None) -> tuple[Shelf, Approvals, list[str]]:
    past = past or read_past(world.home, world.keys)
    shelf = Shelf(world.facts)
    machine = Approvals(roots=world.identity.roots, keeper=HOLDER.public)
    reader = SqliteReader(world.home.log)
    spoilt = recall_tokens(reader.payload, past, shelf) + recall_questions(reader.payload, past, machine, now_s=0)
    reader.close()
    return shelf, machine, spoilt


def replace_payload(world: World, seq: int, change: Callable[[bytes], bytes | None]) -> None:
    connection = tamper._open(world.home.log)
    key = seq.to_bytes(8, "big") + b"\0"
    sealed = connection.execute("SELECT sealed FROM payload WHERE key = ?", (key,)).get
    changed = change(sealed)
    connection.execute("DELETE FROM payload WHERE key = ?", (key,))
    if changed is not None:
        connection.execute("INSERT INTO payload VALUES(?, ?)", (key, changed))
    connection.close()


def test_tokens_and_questions_come_back_as_they_were(past_life: World) -> None:
    shelf, machine, spoilt = recalled(past_life)
    assert (len(list(shelf.all())), len(machine.open), spoilt) == (1, 1, [])


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit": lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]),
    "cut": lambda sealed: sealed[:-1],
    "nothing": lambda sealed: sealed[:32],
    "nonsense": lambda sealed: sealed[:32] + b"nonsense",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", ["tokens", "questions"])
async def test_what_was_changed_is_left_out_and_said_and_keeps_nothing_else_from_starting(
    past_life: World, tmp_path: Path, what: str, damage: str
) -> None:
    [kept] = getattr(read_past(past_life.home, past_life.keys), what)
    replace_payload(past_life, kept.seq, DAMAGES[damage])
    shelf, machine, spoilt = recalled(past_life)
    assert [f"record {kept.seq} " in text for text in spoilt] == [True]
    assert (len(list(shelf.all())), len(machine.open)) == ((0, 1) if what == "tokens" else (1, 0))
    async with running(tmp_path) as runtime:
        assert runtime.world.spoilt == spoilt


@pytest.mark.parametrize("what", ["tokens", "questions"])
def test_what_was_erased_is_gone_and_nothing_is_wrong(past_life: World, what: str) -> None:
    [kept] = getattr(read_past(past_life.home, past_life.keys), what)
    replace_payload(past_life, kept.seq, lambda sealed: None)
    shelf, machine, spoilt = recalled(past_life)
    assert (len(list(shelf.all())), len(machine.open)) == ((0, 1) if what == "tokens" else (1, 0))
    assert spoilt == []


async def test_one_token_does_not_stand_in_for_another(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.grant(Mode.AUTONOMOUS)
    world = runtime.world
    narrow, wide = read_past(world.home, world.keys).tokens
    sealed: list[bytes] = []
    replace_payload(world, wide.seq, lambda found: sealed.append(found) or found)
    replace_payload(world, narrow.seq, lambda found: sealed[0])
    shelf, _, spoilt = recalled(world)
    assert [one.seq for one in shelf.all()] == [wide.seq]
    assert len(spoilt) == 1
