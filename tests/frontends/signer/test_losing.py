"""``audit accept-loss`` in the signer: what may be given up, what the person sees, what is in force afterwards, and
that it can be killed anywhere.  Threats 11, 12.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from astrid.core import keys
from astrid.core.canon import Domain, Signed, encode
from astrid.core.checkpoint import verify_checkpoint
from astrid.core.grants import Mode
from astrid.core.install import NO_LOSS, Install, SignedStatement, install_id, sign_statement, verify_install
from astrid.core.keys import SigningKey, load_public_key
from astrid.core.records import Genesis
from astrid.core.tokens import verify_chain
from astrid.errors import ConfigError, LaunchError, TokenError
from astrid.frontends.signer import losing
from astrid.frontends.signer.passphrases import Handed
from astrid.frontends.signer.protocol import AcceptLoss, LossAccepted
from astrid.home import Home, HomeLock, open_home
from astrid.messages.gate import Failed
from astrid.messages.gateway import AddToken, GiveAnswer
from astrid.runtime.boot import World
from astrid.runtime.trial import try_start
from astrid.runtime.verify import Result, Trust, verify_home
from tests.fakes.clock import FakeEntropy, StillClock
from tests.fakes.home import USER
from tests.fakes.losing import GRANT, LOSSES, YES, live_twice, roll_back
from tests.fakes.runtime import read_records, running, turn
from tests.fakes.signing import PASSPHRASE, Bench, Person, ask, code

AGREES = ("accept the loss", PASSPHRASE.decode())


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lived")
    trio.run(live_twice, folder)
    return folder


@pytest.fixture
def bench(lived: Path, tmp_path: Path) -> Bench:
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    return Bench(tmp_path / "home")


def accept(bench: Bench, *lines: str) -> Signed:
    return ask(bench.service(Person(*(lines or AGREES))), AcceptLoss())


def accepted(told: Signed) -> LossAccepted:
    assert isinstance(told, LossAccepted), told
    return told


def everything(root: Path) -> dict[str, bytes]:
    """Every file of a home but what SQLite keeps while it reads, and the lock."""
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if not name.endswith(("-shm", "-wal", "run/lock"))}


def installed(home: Home) -> Install:
    return verify_install(home.install.read_bytes())


def begins(folder: Path) -> Genesis:
    """The first record, once a daemon has run."""

    async def live() -> None:
        async with running(folder):
            pass

    trio.run(live)
    (_, genesis), *_ = read_records(Home(folder / "home"))
    assert isinstance(genesis, Genesis)
    return genesis


# --- what is in force afterwards


@pytest.mark.parametrize("loss", LOSSES)
def test_a_log_that_a_daemon_refuses_is_given_up_for_another_and_kept(bench: Bench, tmp_path: Path, loss: str) -> None:
    home = bench.home
    LOSSES[loss](home)
    refused = try_start(home.root)
    assert (refused.result, "astrid audit accept-loss" in refused.advice) == (Result.TAMPERED, True), refused
    old, before = installed(home), everything(home.root)
    reply = accepted(accept(bench))
    new = installed(home)
    assert (reply.install, reply.log_id, reply.resumed) == (install_id(new), new.log_id, False)
    assert (new.runtime_key, new.roots) == (old.runtime_key, old.roots)
    assert new.log_id != old.log_id == new.lost.log_id == reply.old_log_id
    kept = Path(os.fsdecode(reply.kept))
    assert verify_install((kept / "install").read_bytes()) == old
    for name, data in before.items():
        if name.startswith("log/"):
            assert (kept / name).read_bytes() == data
        if name.startswith("anchor/"):
            assert (kept / "witnesses" / name.partition("/")[2]).read_bytes() == data
    assert not [path for path in (home.log, home.anchor, home.witness) if path.exists()]
    assert begins(tmp_path) == Genesis(1, install_id(new), new.lost.tip)
    found = verify_home(home.root, Trust(), is_own=True)
    assert (found.result, old.log_id.hex() in found.after) == (Result.SOUND, True)


def test_what_a_client_had_seen_last_is_where_the_old_log_ended(bench: Bench) -> None:
    home = bench.home
    roll_back(home)
    old = installed(home)
    seen = verify_checkpoint(home.witness.read_bytes(), load_public_key(old.runtime_key), old.log_id)
    stale = verify_checkpoint(home.anchor.read_bytes(), load_public_key(old.runtime_key), old.log_id)
    assert stale.size < seen.size
    reply = accepted(accept(bench))
    assert (reply.old_size, reply.old_tip) == (seen.size, seen.tip)
    assert installed(home).lost.tip == seen.tip


def test_of_the_two_checkpoints_the_longer_one_counts(bench: Bench) -> None:
    home = bench.home
    late = home.anchor.read_bytes()
    roll_back(home)
    shutil.copy(home.anchor, home.witness)
    home.anchor.write_bytes(late)
    old = installed(home)
    seen = verify_checkpoint(late, load_public_key(old.runtime_key), old.log_id)
    assert accepted(accept(bench)).old_tip == seen.tip


def test_without_a_checkpoint_nothing_is_said_of_where_the_log_ended(bench: Bench) -> None:
    LOSSES["a bit changed, and no checkpoint left"](bench.home)
    reply = accepted(accept(bench))
    assert (reply.old_size, reply.old_tip) == (0, NO_LOSS.tip)


def test_a_checkpoint_that_nobody_signed_counts_for_nothing_and_is_shown_as_that(bench: Bench) -> None:
    home = bench.home
    home.log.unlink()
    home.witness.write_bytes(home.witness.read_bytes().replace(b"\n", b"0\n", 2))
    seen = verify_checkpoint(home.anchor.read_bytes(), load_public_key(installed(home).runtime_key), b"\x04" * 32)
    person = Person(*AGREES)
    reply = accepted(ask(bench.service(person), AcceptLoss()))
    assert reply.old_size == seen.size
    assert re.search(r'^the command line had seen, on .*: "[a-z ]+', person.text, re.MULTILINE)
    assert re.search(rf"^the daemon had seen, on .*: {seen.size} records$", person.text, re.MULTILINE)


def test_the_clients_token_is_for_the_new_install(bench: Bench) -> None:
    before = bench.home.client_token.read_bytes()
    roll_back(bench.home)
    accepted(accept(bench))
    token = verify_chain(bench.home.client_token.read_bytes(), bench.roots)
    assert (token.leaf.aud, token.holder) == (bench.aud, bench.key(bench.home.client_key).public)
    assert bench.home.client_token.read_bytes() != before


def test_what_is_left_of_the_old_log_verifies_and_its_witness_shows_what_is_missing(bench: Bench) -> None:
    roll_back(bench.home)
    kept = Path(os.fsdecode(accepted(accept(bench)).kept))
    trust = Trust(key=USER.public.hex())
    assert verify_home(kept, trust, is_own=False).result is Result.SOUND
    shown = verify_home(kept, Trust(key=trust.key, witnesses=(kept / "witnesses" / "cli",)), is_own=False)
    assert (shown.result, shown.code) == (Result.TAMPERED, "chain.cut")


def test_a_second_loss_is_accepted_like_the_first_and_nothing_of_either_is_overwritten(
    bench: Bench, tmp_path: Path
) -> None:
    roll_back(bench.home)
    first = accepted(accept(bench))
    kept = everything(Path(os.fsdecode(first.kept)))
    begins(tmp_path)
    bench.home.log.unlink()
    bench.now += 1
    second = accepted(accept(bench))
    assert second.old_log_id == first.log_id
    assert second.kept != first.kept
    assert everything(Path(os.fsdecode(first.kept))) == kept
    assert begins(tmp_path).old_tip == second.old_tip != first.old_tip


# --- what is refused


def unchanged(bench: Bench, act: Callable[[], Signed]) -> str:
    """The code of what was refused, with everything as it was."""
    before = everything(bench.home.root)
    told = code(act())
    assert everything(bench.home.root) == before
    return told


def test_a_log_on_which_a_daemon_starts_is_not_given_up(bench: Bench) -> None:
    assert unchanged(bench, lambda: accept(bench)) == "loss.none"


def test_nothing_is_given_up_where_nothing_ever_was(tmp_path: Path) -> None:
    assert code(accept(Bench(tmp_path / "home").made())) == "loss.none"


def test_what_is_wrong_with_a_files_mode_is_no_loss(bench: Bench) -> None:
    roll_back(bench.home)
    bench.home.witness.chmod(0o644)
    assert unchanged(bench, lambda: accept(bench)) == "loss.unclear"


def test_while_a_daemon_runs_nothing_is_given_up(bench: Bench) -> None:
    roll_back(bench.home)
    lock = HomeLock(bench.home)
    try:
        assert unchanged(bench, lambda: accept(bench)) == "daemon.running"
    finally:
        lock.close()
    accepted(accept(bench))


@pytest.mark.parametrize("word", ["yes", "y", "", "accept", "no"])
def test_only_the_whole_words_agree_to_it(bench: Bench, word: str) -> None:
    roll_back(bench.home)
    assert unchanged(bench, lambda: accept(bench, word, *AGREES)) == "signer.refused"


def test_a_wrong_passphrase_changes_nothing(bench: Bench) -> None:
    roll_back(bench.home)
    assert unchanged(bench, lambda: accept(bench, AGREES[0], "wrong", "wrong", "wrong")) == "key.passphrase"


def test_without_a_terminal_it_takes_the_persons_command_line(bench: Bench) -> None:
    roll_back(bench.home)
    assert unchanged(bench, lambda: ask(bench.service(None), AcceptLoss())) == "signer.no-terminal"
    assert unchanged(bench, lambda: ask(bench.service(None, yes=True), AcceptLoss())) == "signer.no-terminal"
    read, write = os.pipe()
    os.write(write, PASSPHRASE + b"\n")
    os.close(write)
    try:
        accepted(ask(bench.service(None, yes=True, handed=Handed(read)), AcceptLoss()))
    finally:
        os.close(read)


def test_a_key_that_is_not_of_this_install_gives_nothing_up(bench: Bench) -> None:
    roll_back(bench.home)
    bench.home.user_key.write_bytes(b"\x09" * 32)
    assert unchanged(bench, lambda: accept(bench)) == "signer.other-key"


def test_a_verifier_that_says_nothing_is_no_reason_to_give_a_log_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losing, "verify_home", lambda root, *options: (-9, ""))
    with pytest.raises(LaunchError) as caught:
        losing.try_log(bench.home)
    assert caught.value.code == "loss.no-verifier"


def test_a_folder_that_holds_a_log_already_is_not_written_into(bench: Bench) -> None:
    new = losing.successor(installed(bench.home), (), log_id=b"n" * 32, now_s=bench.now)
    place = losing.kept_folder(bench.home, new)
    (place / "log").mkdir(parents=True)
    before = everything(bench.home.root)
    with pytest.raises(ConfigError) as caught:
        losing.change(bench.home, new, b"statement")
    assert (caught.value.code, everything(bench.home.root)) == ("loss.kept", before)


# --- what the person sees


def test_the_person_sees_what_was_there_what_is_there_and_what_it_costs(bench: Bench) -> None:
    roll_back(bench.home)
    left = try_start(bench.home.root).records
    person = Person(*AGREES)
    reply = accepted(ask(bench.service(person), AcceptLoss()))
    assert person.prompts[0] == losing.PROMPT
    shown = person.text
    assert f"log: log.astrid/{reply.old_log_id.hex()}" in shown
    assert f"records that are there: {left} that follow one another, the last of 20" in shown
    assert f": {reply.old_size} records\n" in shown
    assert left < reply.old_size
    assert "every grant and every answer that you signed so far ends" in shown
    assert "what was spent and used is forgotten" in shown
    assert os.fsdecode(reply.kept) in shown
    assert reply.old_tip.hex() in shown


def test_what_a_hostile_file_makes_the_verifier_say_cannot_steer_the_terminal(bench: Bench) -> None:
    home = bench.home
    hostile = losing.Standing(
        result="tampered", says="\x1b[2Jfine", code="x", where="\x1b]0;", advice="", records=0, last_ns=0
    )
    new = losing.successor(installed(home), (), log_id=b"n" * 32, now_s=1)
    text = "".join(losing.describe(home, hostile, (), new))
    assert text.isprintable()
    assert "\\u{1b}[2Jfine" in text


# --- replays


def put_back(home: Home, kept: Path) -> None:
    """Everything of the old home that the daemon reads, and nothing of what a client keeps."""
    shutil.copy(kept / "install", home.install)
    shutil.rmtree(home.log.parent)
    shutil.copytree(kept / "log", home.log.parent)
    shutil.copy(kept / "witnesses" / "daemon", home.anchor)


def test_the_old_home_put_back_is_refused_by_whoever_saw_the_new_log(bench: Bench, tmp_path: Path) -> None:
    roll_back(bench.home)
    kept = Path(os.fsdecode(accepted(accept(bench)).kept))
    begins(tmp_path)
    shutil.copy(bench.home.anchor, bench.home.witness)  # a client looked
    put_back(bench.home, kept)
    assert try_start(bench.home.root).code == "checkpoint.other-log"
    bench.home.witness.unlink()
    assert try_start(bench.home.root).result is Result.SOUND  # so that was what refused it


@pytest.mark.parametrize("anchored", [True, False])
def test_an_old_log_put_back_under_the_new_statement_is_refused(bench: Bench, anchored: bool) -> None:
    roll_back(bench.home)
    kept = Path(os.fsdecode(accepted(accept(bench)).kept))
    new = bench.home.install.read_bytes()
    put_back(bench.home, kept)
    bench.home.install.write_bytes(new)
    if not anchored:
        bench.home.anchor.unlink()
    assert try_start(bench.home.root).code == "checkpoint.other-log"


def test_a_statement_by_somebody_else_is_none_of_this_homes(bench: Bench) -> None:
    stranger = SigningKey.from_seed(b"\x77" * 32)
    mine = installed(bench.home)
    theirs = losing.successor(mine, (), log_id=b"n" * 32, now_s=1)
    forged = encode(SignedStatement(encode(theirs), USER.public, stranger.sign(Domain.INSTALL, encode(theirs))))
    bench.home.install.write_bytes(forged)
    with pytest.raises(TokenError) as caught:
        installed(bench.home)
    assert caught.value.code == "install.signature"


def test_a_statement_for_another_home_is_none_of_this_one(bench: Bench, tmp_path: Path) -> None:
    """Two homes of one user: what they accepted for the one is not in force in the other."""
    other = Bench(tmp_path / "other").made()
    mine = installed(other.home)
    elsewhere = sign_statement(Domain.INSTALL, losing.successor(mine, (), log_id=b"n" * 32, now_s=1), USER)
    bench.home.install.write_bytes(elsewhere)
    with pytest.raises(TokenError) as caught:
        World(bench.home, clock=StillClock(), entropy=FakeEntropy())
    assert caught.value.code.startswith("install.")


async def test_no_grant_and_no_answer_of_before_is_taken(bench: Bench, tmp_path: Path) -> None:
    roll_back(bench.home)
    grant, yes = ((tmp_path / name).read_bytes() for name in (GRANT, YES))
    accepted(accept(bench))
    async with running(tmp_path) as runtime:
        taken = await runtime.by_ticket(lambda number: AddToken(ticket=number, token=grant, source="test"))
        answered = await runtime.by_ticket(lambda number: GiveAnswer(ticket=number, answer=yes))
        assert isinstance(taken, Failed)
        assert isinstance(answered, Failed)
        opened = await runtime.open([turn()], mode="safe")
        assert isinstance(opened, Failed)  # nothing is granted
        await runtime.grant(Mode.SAFE)
        assert not isinstance(await runtime.open([turn()], mode="safe"), Failed)


# --- what an earlier run left


def mark(bench: Bench) -> Path:
    """As if the earlier run had been killed right before its end."""
    left = losing.kept_folder(bench.home, installed(bench.home)) / "unfinished"
    left.write_bytes(bench.aud.hex().encode())
    left.chmod(0o600)
    return left


def test_a_mark_beside_a_log_that_is_in_use_is_taken_away_and_moves_nothing(bench: Bench, tmp_path: Path) -> None:
    roll_back(bench.home)
    accepted(accept(bench))
    begins(tmp_path)
    left = mark(bench)
    before = everything(bench.home.root)
    del before[str(left.relative_to(bench.home.root))]
    assert code(accept(bench)) == "loss.none"
    assert everything(bench.home.root) == before


def test_a_mark_does_not_have_a_later_loss_pass_for_the_earlier_one(bench: Bench, tmp_path: Path) -> None:
    roll_back(bench.home)
    first = accepted(accept(bench))
    begins(tmp_path)
    bench.home.log.unlink()
    mark(bench)
    shutil.rmtree(Path(os.fsdecode(first.kept)) / "log")  # whoever tidied up took the old log away
    assert accepted(accept(bench)).resumed
    assert try_start(bench.home.root).code == "chain.missing"  # the anchor of the new log was not moved away
    bench.now += 1
    second = accepted(accept(bench))
    assert (second.resumed, second.old_log_id, second.old_size > 0) == (False, first.log_id, True)


def test_a_mark_for_another_statement_means_nothing(bench: Bench) -> None:
    roll_back(bench.home)
    accepted(accept(bench))
    mark(bench).write_bytes(b"0" * 64)
    assert code(accept(bench)) == "loss.none"


# --- killed


def mutates(event: str, args: tuple[object, ...]) -> bool:
    """Whether what Python is about to do changes a file."""
    if event == "open":
        return isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir")


def killed(bench: Bench, step: int) -> bool:
    """Whether a signer that dies instead of its change number ``step`` came so far."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads of this process may exist; none is needed
        child = os.fork()
    if child == 0:
        left = step

        def die_at_step(event: str, args: tuple[object, ...]) -> None:
            nonlocal left
            if mutates(event, args):
                if left == 0:
                    os._exit(9)
                left -= 1

        try:
            service = bench.service(Person(*AGREES))
            sys.addaudithook(die_at_step)
            os._exit(0 if isinstance(ask(service, AcceptLoss()), LossAccepted) else 1)
        finally:
            os._exit(2)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, 9), ended
    return ended == 9


@pytest.mark.parametrize("loss", ["rolled back", "gone", "a bit changed, and no checkpoint left"])
def test_killed_at_any_step_no_daemon_starts_or_all_is_done_and_another_run_finishes_it(
    lived: Path, tmp_path: Path, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_stretch", lambda passphrase, salt: hashlib.sha256(passphrase + salt).digest())  # fast
    file = keys.seal(b"\x01" * 32, PASSPHRASE, salt=b"s" * 16, nonce=b"n" * 24)
    step, old_states, new_states, started = 0, 0, 0, 0
    while True:
        folder = tmp_path / str(step)
        shutil.copytree(lived, folder)
        bench = Bench(folder / "home")
        home = bench.home
        home.user_key.write_bytes(file)
        LOSSES[loss](home)
        old, before = installed(home), everything(home.root)
        if not killed(bench, step):
            break
        there = everything(home.root)
        for name, data in before.items():  # nothing of the old log is ever missing
            if name.startswith("log/"):
                assert data in there.values(), (step, name)
        in_force = installed(home) != old
        old_states, new_states = old_states + (not in_force), new_states + in_force
        if try_start(home.root).result is Result.SOUND and home.log.parent.exists():  # a daemon would start
            assert in_force
            assert verify_chain(home.client_token.read_bytes(), bench.roots).leaf.aud == bench.aud
            shutil.copytree(folder, tmp_path / "started")
            begins(tmp_path / "started")
            written = everything(tmp_path / "started" / "home" / "log")
            assert code(accept(Bench(tmp_path / "started" / "home"))) == "loss.none"
            assert everything(tmp_path / "started" / "home" / "log") == written
            shutil.rmtree(tmp_path / "started")
            started += 1
        bench.home = open_home(home.root, make=True)  # as the command line does
        reply = accepted(accept(bench))
        assert reply.resumed == in_force, step
        assert installed(home).lost.log_id == old.log_id
        assert not losing.is_unfinished(home, bench.identity)
        assert (try_start(home.root).result, home.log.exists(), home.anchor.exists()) == (Result.SOUND, False, False)
        kept = everything(Path(os.fsdecode(reply.kept)))
        assert {name: data for name, data in before.items() if name.startswith("log/")}.items() <= kept.items()
        step += 1
        shutil.rmtree(folder)
    assert old_states > 5
    assert new_states > 5
    assert started > 0
