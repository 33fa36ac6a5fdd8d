"""What a daemon stands on: keys and statements that belong together, or no daemon."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from astrid.core.canon import Domain
from astrid.core.chain import decode_body, decode_frame
from astrid.core.install import NO_LOSS, Install, Root, sign_statement
from astrid.core.keys import SigningKey
from astrid.core.records import Boot, Genesis, Kind
from astrid.core.resources import file_resource
from astrid.core.tokens import Assurance
from astrid.errors import AstridError
from astrid.home import Home, open_home, write_guarded
from astrid.runtime.boot import World, account_secrets, load_identity
from tests.fakes.clock import FakeEntropy, StillClock
from tests.fakes.home import HOLDER, LOG_ID, RUNTIME, USER, make_home
from tests.fakes.journal import FakeStore


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")[0]


def refusal(home: Home) -> AstridError:
    with pytest.raises(AstridError) as caught:
        load_identity(home)
    assert caught.value.advice or caught.value.code.startswith(("install.", "statement."))
    return caught.value


def put(path: Path, data: bytes) -> None:
    write_guarded(path, data, what="it", replace=True)


def world(home: Home, store: FakeStore | None = None) -> World:
    return World(home, clock=StillClock(), entropy=FakeEntropy(), store=store)


# ---- keys and statements


def test_an_identity_is_what_the_user_signed_and_the_daemons_two_keys(home: Home) -> None:
    identity = load_identity(home)
    assert (identity.runtime_key.public, identity.holder_key.public) == (RUNTIME.public, HOLDER.public)
    assert identity.roots.keys == {USER.public: Assurance.SEALED}
    assert (identity.keys.log_id, identity.keys.runtime_key) == (LOG_ID, RUNTIME.public)


def test_the_users_key_is_not_looked_for(home: Home) -> None:
    assert not home.user_key.exists()
    world(home)


@pytest.mark.parametrize("name", ["install", "runtime_key", "holder_key"])
def test_a_missing_file_is_named(home: Home, name: str) -> None:
    path: Path = getattr(home, name)
    path.unlink()
    error = refusal(home)
    assert (error.code, error.where) == ("file.missing", str(path))


@pytest.mark.parametrize("name", ["install", "runtime_key", "holder_key"])
def test_a_file_that_others_can_read_is_refused(home: Home, name: str) -> None:
    getattr(home, name).chmod(0o644)
    assert refusal(home).code == "file.open-to-others"


@pytest.mark.parametrize("name", ["runtime_key", "holder_key"])
@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(home: Home, name: str, length: int) -> None:
    put(getattr(home, name), b"k" * length)
    assert refusal(home).code == "key.length"


def test_another_runtime_key_than_the_user_signed_is_refused(home: Home) -> None:
    put(home.runtime_key, b"\x09" * 32)
    assert refusal(home).code == "install.runtime-key"


@pytest.mark.parametrize("seed", [b"\x01" * 32, b"\x02" * 32], ids=["the user's", "the runtime's"])
def test_a_holder_key_with_another_role_is_refused(home: Home, seed: bytes) -> None:
    put(home.holder_key, seed)
    assert refusal(home).code == "install.keys"


def install(signer: SigningKey = USER, **fields: object) -> bytes:
    stated = {"version": 1, "log_id": LOG_ID, "runtime_key": RUNTIME.public, "created_s": 1, "lost": NO_LOSS} | fields
    roots = (Root(USER.public, Assurance.SEALED),)
    return sign_statement(Domain.INSTALL, Install(**({"roots": roots} | stated)), signer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "statement",
    [
        b"",
        b"nonsense",
        install(SigningKey.from_seed(b"\x09" * 32)),
        install(version=2),
        install(roots=()),
        install(runtime_key=USER.public),
        install()[:-1],
    ],
)
def test_a_statement_that_the_user_did_not_sign_like_this_is_refused(home: Home, statement: bytes) -> None:
    put(home.install, statement)
    assert refusal(home).code.partition(".")[0] in ("install", "statement")


# ---- the world


@pytest.mark.parametrize("what", ["open_gate", "open_questions"])
def test_nothing_is_rebuilt_from_a_log_that_was_not_read(home: Home, what: str) -> None:
    with pytest.raises(AstridError) as caught:
        getattr(world(home, FakeStore()), what)()
    assert caught.value.code == "boot.order"


async def test_a_first_start_begins_a_log_and_a_later_one_goes_on(home: Home) -> None:
    store = FakeStore()
    first = world(home, store)
    chain, journal = first.open_log()
    _, entries = first.open_gate()
    assert [entry.kind for entry in entries] == [Kind.GENESIS, Kind.BOOT]
    frames = [chain.append(entry, 1) for entry in entries]
    genesis, boot = (decode_body(decode_frame(frame)) for frame in frames)
    assert isinstance(genesis, Genesis)
    assert genesis.install == first.keys.install
    assert isinstance(boot, Boot)
    assert boot.policy == first.policy.digest
    assert len({boot.policy, boot.catalogue, boot.config, b"\0" * 32}) == 4
    await journal.aclose()
    store.log.log += frames
    second = world(home, store)
    second.open_log()
    assert [entry.kind for entry in second.open_gate()[1]] == [Kind.BOOT]


async def test_another_configuration_is_another_record(home: Home) -> None:
    def boot() -> Boot:
        made = world(home, FakeStore())
        chain, _ = made.open_log()
        body = decode_body(decode_frame([chain.append(entry, 1) for entry in made.open_gate()[1]][1]))
        assert isinstance(body, Boot)
        return body

    before = boot()
    put(home.config, b"[budget]\nsession_max_usd = 5\n")
    after = boot()
    assert (before.config != after.config, before.policy == after.policy) == (True, True)
    put(home.config, b"[security.policy]\nallowed_hosts = ['example.com']\n")
    assert boot().policy != before.policy


@pytest.mark.parametrize("through_link", [False, True])
def test_no_tool_sees_the_home_however_it_is_named(tmp_path: Path, through_link: bool) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    home, _ = make_home((tmp_path / "link" if through_link else real) / "home")
    made = world(home)
    for path in (real / "home" / "keys" / "user.key", real / "home" / "log" / "audit.db", real / "home"):
        assert made.policy.hides(file_resource(os.fspath(path)).text)
    assert not made.policy.hides(file_resource(os.fspath(real / "elsewhere")).text)


def test_the_users_secrets_are_hidden_where_they_really_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real" / ".ssh").mkdir(parents=True)
    (tmp_path / "user").symlink_to("real")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    made = world(make_home(tmp_path / "home")[0])
    assert made.policy.hides(file_resource(os.fspath(tmp_path / "real" / ".ssh" / "id_ed25519")).text)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda home: home.config.write_text("nonsense = 1"),
        lambda home: home.config.write_text("[security.policy]\nallowed_paths = ['relative']"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_no_world(home: Home, spoil: Callable[[Home], object]) -> None:
    spoil(home)
    with pytest.raises(AstridError) as caught:
        world(home)
    assert caught.value.code.startswith("config.")


def test_a_home_that_others_can_enter_is_never_opened(home: Home) -> None:
    home.root.chmod(0o755)
    with pytest.raises(AstridError):
        open_home(home.root)


def test_another_home_in_the_environment_opens_none_of_the_secrets_of_the_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "account"
    account.mkdir()
    known = pwd.struct_passwd(("u", "x", os.geteuid(), os.getegid(), "", str(account), "/bin/sh"))
    monkeypatch.setattr("astrid.runtime.boot.pwd.getpwuid", {os.geteuid(): known}.__getitem__)
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    hides = world(make_home(tmp_path / "astrid")[0]).policy.hides
    for home in (account, tmp_path / "elsewhere"):
        assert hides(file_resource(os.fspath(home / ".ssh" / "id_ed25519")).text)
    assert not hides(file_resource(os.fspath(account / "notes")).text)
    monkeypatch.setattr("astrid.runtime.boot.pwd.getpwuid", dict[int, pwd.struct_passwd]().__getitem__)
    assert account_secrets() == ()
