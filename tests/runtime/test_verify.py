"""A log that was touched anywhere does not verify, and a copy is not believed because of what came with it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from astrid.core.canon import Domain, encode
from astrid.core.chain import decode_frame, frame_digest, genesis_tip
from astrid.core.checkpoint import Checkpoint, sign_checkpoint
from astrid.core.grants import Mode
from astrid.core.install import NO_LOSS, Install, Root, install_id, sign_statement
from astrid.core.keys import SigningKey
from astrid.core.merkle import CompactRange, leaf_hash
from astrid.core.records import Genesis, Kind
from astrid.core.tokens import Assurance
from astrid.home import Home
from astrid.runtime.verify import Finding, Result, Trust, verify_home
from tests.fakes.home import LOG_ID, RUNTIME, USER
from tests.fakes.runtime import running

OTHER = SigningKey.from_seed(b"\x55" * 32)
SCRIPT = [
    {"text": "look", "tool_calls": [{"id": "t1", "name": "read_file", "arguments": {"file_path": "a.txt"}}]},
    {"text": "done"},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a runtime that did something and stopped in order."""
    folder = tmp_path_factory.mktemp("made")

    async def work() -> None:
        async with running(folder) as runtime:
            (runtime.workspace / "a.txt").write_text("hello\n")
            await runtime.grant(Mode.GUIDED)
            await runtime.open(SCRIPT)
            await runtime.say("go")
            await runtime.until("turn_complete")

    trio.run(work)
    return folder / "home"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Home:
    shutil.copytree(made, tmp_path / "copy")
    return Home(tmp_path / "copy")


def verify(home: Home, trust: Trust | None = None, *, is_own: bool = True) -> Finding:
    return verify_home(home.root, trust or Trust(), is_own=is_own)


def edit(home: Home, *statements: tuple[str, tuple[object, ...]]) -> None:
    """Change the database as somebody who owns the file can."""
    base = sqlite3.connect(home.log)
    for trigger in ("log_no_update", "log_no_delete", "log_gapless"):
        base.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    for statement in statements:
        assert base.execute(*statement).rowcount != 0, statement
    base.commit()
    base.close()


def frames(home: Home) -> list[bytes]:
    base = sqlite3.connect(home.log)
    rows = [row[0] for row in base.execute("SELECT frame FROM log ORDER BY seq")]
    base.close()
    return rows


def keep(home: Home, name: str, data: bytes) -> Path:
    path = home.root.parent / name
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_a_log_in_its_own_home_is_sound(copy: Home) -> None:
    found = verify(copy)
    assert (found.result, found.records, found.signed) == (Result.SOUND, len(frames(copy)), len(frames(copy)))
    assert found.runtime_key == RUNTIME.public.hex()
    assert json.loads(found.to_json())["result"] == "sound"
    assert found.to_text().startswith("sound: the log is whole")


def flip(home: Home) -> None:
    raw = bytearray(frames(home)[4])
    raw[-1] ^= 1
    edit(home, ("UPDATE log SET frame = ? WHERE seq = 5", (bytes(raw),)))


def cut(home: Home) -> None:
    edit(home, ("DELETE FROM log WHERE seq > 9", ()), ("DELETE FROM checkpoint WHERE size > 9", ()))


def swap(home: Home) -> None:
    all_ = frames(home)
    edit(
        home,
        ("UPDATE log SET frame = ? WHERE seq = 5", (all_[5],)),
        ("UPDATE log SET frame = ? WHERE seq = 6", (all_[4],)),
    )


def leave_out(home: Home) -> None:
    edit(home, ("DELETE FROM log WHERE seq = 7", ()))


def change_payload(home: Home) -> None:
    edit(
        home,
        ("UPDATE payload SET sealed = CAST(sealed || x'00' AS BLOB) WHERE key = (SELECT min(key) FROM payload)", ()),
    )


def change_salt(home: Home) -> None:
    edit(home, ("UPDATE payload SET sealed = x'00' WHERE key = (SELECT min(key) FROM payload)", ()))


def change_row(home: Home) -> None:
    edit(home, ("UPDATE journal SET row = CAST(row || x'00' AS BLOB) WHERE key = (SELECT min(key) FROM journal)", ()))


def erase_what_proves_rows(home: Home) -> None:
    edit(home, ("DELETE FROM payload", ()))


def change_checkpoint(home: Home) -> None:
    edit(home, ("UPDATE checkpoint SET note = CAST(replace(note, 'boot 1', 'boot 2') AS BLOB)", ()))


def change_install(home: Home) -> None:
    data = bytearray(home.install.read_bytes())
    data[-1] ^= 1
    home.install.write_bytes(bytes(data))


DAMAGES: dict[str, Callable[[Home], None]] = {
    "chain.": flip,
    "chain.cut": cut,
    "chain.gap": swap,
    "chain.gap ": leave_out,
    "chain.payload": change_payload,
    "chain.payload ": change_salt,
    "chain.rows": change_row,
    "chain.rows ": erase_what_proves_rows,
    "checkpoint.": change_checkpoint,
    "install.signature": change_install,
}


@pytest.mark.parametrize("code", DAMAGES)
def test_whatever_was_touched_is_found_and_named(copy: Home, code: str) -> None:
    DAMAGES[code](copy)
    found = verify(copy)
    assert (found.result, found.code.startswith(code.strip())) == (Result.TAMPERED, True), found
    assert found.advice, found


def test_what_lies_beside_the_log_may_be_erased(copy: Home) -> None:
    edit(copy, ("DELETE FROM payload", ()), ("DELETE FROM journal", ()))
    assert verify(copy).result is Result.SOUND


class TestForged:
    """The whole log signed anew, by somebody who owns the copy."""

    def forge(self, home: Home) -> None:
        """A record is left out; the rest is chained and signed with a key of the forger's own."""
        forger = SigningKey.from_seed(b"\x56" * 32)
        install = Install(1, LOG_ID, OTHER.public, (Root(forger.public, Assurance.SEALED),), 1, NO_LOSS)
        home.install.write_bytes(sign_statement(Domain.INSTALL, install, forger))
        prev: bytes = genesis_tip(install_id(install))
        seq, tree, boot = 0, CompactRange(), 0
        made: list[bytes] = []
        for raw in frames(home):
            frame = decode_frame(raw)
            if frame.kind == Kind.PERMIT:
                continue
            seq += 1
            body = frame.body if seq > 1 else encode(Genesis(1, install_id(install), install.lost.tip))
            again = encode(type(frame)(prev, seq, frame.boot, frame.time_ns, frame.kind, frame.session, body))
            made.append(again)
            prev, boot = frame_digest(again), frame.boot
            tree.append(leaf_hash(again))
        note = sign_checkpoint(Checkpoint(log_id=LOG_ID, size=seq, root=tree.root(), tip=prev, boot=boot), OTHER)
        edit(
            home,
            ("DELETE FROM log", ()),
            ("DELETE FROM checkpoint", ()),
            ("DELETE FROM payload", ()),
            ("DELETE FROM journal", ()),
            *(("INSERT INTO log VALUES(?, ?)", (number, raw)) for number, raw in enumerate(made, 1)),
            ("INSERT INTO checkpoint VALUES(?, ?)", (seq, note)),
        )
        home.anchor.unlink()

    def test_by_itself_it_holds_together_and_is_not_believed(self, copy: Home) -> None:
        self.forge(copy)
        found = verify(copy, is_own=False)
        assert (found.result, found.code) == (Result.UNKNOWN, ""), found

    @pytest.mark.parametrize("key", [USER.public, RUNTIME.public])
    def test_a_key_from_elsewhere_finds_it_out(self, copy: Home, key: bytes) -> None:
        self.forge(copy)
        found = verify(copy, Trust(key=key.hex()), is_own=False)
        assert (found.result, found.code) == (Result.TAMPERED, "verify.other-key")

    def test_the_statement_from_elsewhere_finds_it_out(self, copy: Home, made: Path) -> None:
        self.forge(copy)
        assert verify(copy, Trust(install=Home(made).install), is_own=False).result is Result.TAMPERED

    def test_a_verifier_that_believed_the_key_beside_the_log_would_call_it_sound(self, copy: Home) -> None:
        """Threat 12.  The control removed: the forger's own statement counts as one from elsewhere."""
        self.forge(copy)
        assert verify(copy, Trust(install=copy.install), is_own=False).result is Result.SOUND

    def test_a_checkpoint_from_elsewhere_finds_it_out(self, copy: Home, made: Path) -> None:
        self.forge(copy)
        assert verify(copy, Trust(witnesses=(Home(made).anchor,)), is_own=False).result is Result.TAMPERED

    def test_to_name_the_users_key_in_a_statement_of_ones_own_does_not_help(self, copy: Home) -> None:
        forger = SigningKey.from_seed(b"\x56" * 32)
        roots = tuple(sorted((Root(forger.public, Assurance.SEALED), Root(USER.public, Assurance.SEALED))))
        install = Install(1, LOG_ID, RUNTIME.public, roots, 1, NO_LOSS)
        copy.install.write_bytes(sign_statement(Domain.INSTALL, install, forger))
        found = verify(copy, Trust(key=USER.public.hex()), is_own=False)
        assert (found.result, found.code) == (Result.TAMPERED, "verify.other-key")


class TestCannotTell:
    """Neither sound nor tampered."""

    def test_a_home_in_which_nothing_was_recorded(self, copy: Home) -> None:
        shutil.rmtree(copy.log.parent)
        copy.anchor.unlink()
        assert verify(copy).result is Result.UNKNOWN

    def test_a_home_without_its_statement(self, copy: Home) -> None:
        copy.install.unlink()
        assert (verify(copy).result, verify(copy).code) == (Result.UNKNOWN, "file.missing")

    def test_a_log_of_which_nothing_is_signed(self, copy: Home) -> None:
        edit(copy, ("DELETE FROM checkpoint", ()))
        copy.anchor.unlink()
        assert verify(copy).result is Result.UNKNOWN

    @pytest.mark.parametrize("key", ["", "xyz", "00" * 31])
    def test_a_key_that_is_none(self, copy: Home, key: str) -> None:
        assert verify(copy, Trust(key=key)).code == "verify.key"
        assert verify(copy, Trust(key=key)).result is Result.UNKNOWN

    def test_a_checkpoint_that_is_not_there(self, copy: Home) -> None:
        found = verify(copy, Trust(witnesses=(copy.root / "nowhere",)))
        assert (found.result, found.code) == (Result.UNKNOWN, "verify.witness")


@pytest.mark.parametrize("key", [USER.public, RUNTIME.public])
def test_a_copy_is_believed_for_the_sake_of_a_key_from_elsewhere(copy: Home, key: bytes) -> None:
    assert verify(copy, is_own=False).result is Result.UNKNOWN
    found = verify(copy, Trust(key=key.hex()), is_own=False)
    assert (found.result, "key that was given" in found.trusts) == (Result.SOUND, True)


def test_more_unsigned_records_than_a_daemon_leaves_are_not_sound(copy: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(copy, ("DELETE FROM checkpoint WHERE size > 3", ()))
    copy.anchor.unlink()
    assert verify(copy).result is Result.SOUND
    monkeypatch.setattr("astrid.core.verify.CHECKPOINT_RECORDS", 4)
    found = verify(copy)
    assert (found.result, "are not signed" in found.says) == (Result.TAMPERED, True)


def test_a_log_that_is_gone_while_a_checkpoint_remembers_it_was_tampered_with(copy: Home) -> None:
    shutil.rmtree(copy.log.parent)
    assert (verify(copy).result, verify(copy).code) == (Result.TAMPERED, "chain.missing")


def test_a_file_that_is_no_database_was_tampered_with(copy: Home) -> None:
    copy.log.write_bytes(b"hello" * 1000)
    for suffix in ("-wal", "-shm"):
        copy.log.with_name(copy.log.name + suffix).unlink(missing_ok=True)
    assert verify(copy).result is Result.TAMPERED


def test_a_checkpoint_of_a_longer_log_shows_that_this_one_was_set_back(copy: Home) -> None:
    later = Checkpoint(log_id=LOG_ID, size=10_000, root=b"\0" * 32, tip=b"\0" * 32, boot=9)
    witness = keep(copy, "later", sign_checkpoint(later, RUNTIME))
    found = verify(copy, Trust(witnesses=(witness,)))
    assert (found.result, found.code) == (Result.TAMPERED, "chain.cut")
    assert "at record" in found.to_text()


def beside(home: Home) -> tuple[bytes, bytes]:
    """The key of something that lies beside a record, and what it is."""
    base = sqlite3.connect(home.log)
    found = base.execute("SELECT key, sealed FROM payload ORDER BY key LIMIT 1").fetchone()
    base.close()
    return found


def test_what_lies_beside_a_record_in_any_place_is_what_it_commits_to(copy: Home) -> None:
    key, sealed = beside(copy)
    edit(copy, ("INSERT INTO payload VALUES(?, ?)", (key[:8] + b"\xff", sealed[:-1] + b"~")))
    assert verify(copy).code == "chain.payload"


def test_nothing_lies_beside_a_record_that_commits_to_nothing(copy: Home) -> None:
    edit(copy, ("INSERT INTO payload VALUES(?, ?)", ((1).to_bytes(8, "big") + b"\0", beside(copy)[1])))
    found = verify(copy)
    assert (found.result, found.code, found.where) == (Result.TAMPERED, "chain.payload", "record 1")


@pytest.mark.parametrize("spelling", [b"", b"\0\0"])
def test_a_row_under_another_spelling_of_a_key_stands_in_for_none(copy: Home, spelling: bytes) -> None:
    key, sealed = beside(copy)
    assert key[8:] == b"\0"
    edit(
        copy,
        ("UPDATE payload SET sealed = ? WHERE key = ?", (sealed[:-1] + bytes([sealed[-1] ^ 1]), key)),
        ("INSERT INTO payload VALUES(?, ?)", (key[:8] + spelling, sealed)),
    )
    assert verify(copy).code == "chain.payload"
