"""``create``: every key once, in an order that survives a crash after each step.  Threats 5, 43."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from astrid.core.canon import MAX_U64
from astrid.core.keys import is_sealed, unseal
from astrid.core.tokens import UNLIMITED_MICROS, UNLIMITED_USES, Assurance, Permission, Scope, verify_chain
from astrid.errors import ConfigError
from astrid.frontends.signer import creation, vault
from astrid.frontends.signer.protocol import Create, Failure, KeyState, Reseal
from astrid.home import Home
from astrid.home import write_guarded as really_write
from tests.fakes.signing import PASSPHRASE, Bench, Person, ask, code

TWICE = (PASSPHRASE.decode(), PASSPHRASE.decode())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home")


def create(bench: Bench, *, plain: bool = True, person: Person | None = None) -> KeyState | Failure:
    told = ask(bench.service(person or Person()), Create(plain))
    assert isinstance(told, KeyState | Failure)
    return told


def files(home: Home) -> dict[str, bytes]:
    """Everything in the home by its path, also what is hidden."""
    return {str(path.relative_to(home.root)): path.read_bytes() for path in home.root.rglob("*") if path.is_file()}


def test_every_file_of_a_home_is_made_and_nobody_else_can_read_one(bench: Bench) -> None:
    create(bench)
    names = {"client.key", "client.token", "holder.key", "holder.pub", "runtime.key", "user.key"}
    assert set(files(bench.home)) == {f"keys/{name}" for name in names} | {"install"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in bench.home.root.rglob("*"))


def test_the_statement_names_the_keys_that_were_made(bench: Bench) -> None:
    state = create(bench)
    assert isinstance(state, KeyState)
    install = bench.identity.install
    assert install.runtime_key == bench.key(bench.home.runtime_key).public
    assert [(root.key, root.assurance) for root in install.roots] == [(state.public, Assurance.PLAIN)]
    assert bench.key(bench.home.user_key).public == state.public


def test_a_sealed_key_opens_with_its_passphrase_and_is_stated_to_be_sealed(bench: Bench) -> None:
    state = create(bench, plain=False, person=Person(*TWICE))
    assert isinstance(state, KeyState)
    file = bench.home.user_key.read_bytes()
    assert is_sealed(file)
    assert len(unseal(file, PASSPHRASE)) == 32
    assert state.assurance == Assurance.SEALED


def test_the_passphrase_is_never_shown(bench: Bench) -> None:
    person = Person(*TWICE)
    create(bench, plain=False, person=person)
    assert PASSPHRASE.decode() not in person.seen


def test_the_clients_token_covers_the_daemons_methods_and_nothing_else(bench: Bench) -> None:
    create(bench)
    token = verify_chain(bench.home.client_token.read_bytes(), bench.roots)
    leaf = token.leaf
    assert token.holder == bench.key(bench.home.client_key).public
    assert [(grant.pattern, grant.perms, grant.issuable, grant.max_risk) for grant in leaf.grants] == [
        ("rpc://*", Permission.INVOKE, 0, 1)
    ]
    assert (leaf.scope, leaf.depth, leaf.tainted_ok) == (Scope.ALWAYS, 0, False)
    assert (leaf.expires, leaf.uses, leaf.purse) == (MAX_U64, UNLIMITED_USES, UNLIMITED_MICROS)


def test_a_whole_home_is_not_made_again(bench: Bench) -> None:
    create(bench)
    before = files(bench.home)
    assert code(create(bench)) == "file.exists"
    assert files(bench.home) == before


def test_nothing_is_made_without_a_passphrase_or_the_word_plain(bench: Bench) -> None:
    assert code(ask(bench.service(None), Create(plain=False))) == "signer.no-terminal"
    assert files(bench.home) == {}


def test_a_person_who_breaks_off_leaves_no_key_behind(bench: Bench) -> None:
    assert code(create(bench, plain=False, person=Person(TWICE[0]))) == "signer.aborted"
    assert files(bench.home) == {}


class CrashError(Exception):
    """The machine stops here."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(7))
def test_a_start_that_broke_off_at_any_step_is_gone_on_with(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: int, after: bool
) -> None:
    done: list[Path] = []

    def write_or_crash(path: Path, data: bytes, **options: Any) -> None:
        if len(done) == step and not after:
            raise CrashError
        really_write(path, data, **options)
        done.append(path)
        if len(done) == step + 1 and after:
            raise CrashError

    for module in (creation, vault):
        monkeypatch.setattr(module, "write_guarded", write_or_crash)
    with pytest.raises(CrashError):
        create(bench)
    left = files(bench.home)
    for module in (creation, vault):
        monkeypatch.setattr(module, "write_guarded", really_write)
    if step == 6 and after:
        assert code(create(bench)) == "file.exists"
    else:
        assert isinstance(create(bench), KeyState)
    made = files(bench.home)
    assert len(made) == 7
    assert left.items() <= made.items()
    assert verify_chain(made["keys/client.token"], bench.roots).holder == bench.key(bench.home.client_key).public


def test_a_sealed_start_that_broke_off_asks_for_the_passphrase_it_was_given(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(path: Path, data: bytes, **options: Any) -> None:
        raise CrashError

    monkeypatch.setattr(creation, "write_guarded", crash)
    with pytest.raises(CrashError):
        create(bench, plain=False, person=Person(*TWICE))
    monkeypatch.setattr(creation, "write_guarded", really_write)
    person = Person("another one", PASSPHRASE.decode())
    assert isinstance(create(bench, plain=False, person=person), KeyState)
    assert [prompt.split()[0] for prompt in person.prompts] == ["Passphrase", "Passphrase"]
    assert "that was another passphrase" in person.seen


@pytest.mark.parametrize("plain", [True, False])
def test_a_key_of_the_other_kind_is_not_gone_on_with(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    monkeypatch.setattr(creation, "write_guarded", lambda *_, **__: (_ for _ in ()).throw(CrashError()))
    with pytest.raises(CrashError):
        create(bench, plain=not plain, person=Person(*TWICE))
    monkeypatch.setattr(creation, "write_guarded", really_write)
    before = files(bench.home)
    assert code(create(bench, plain=plain, person=Person(*TWICE))) == "signer.other-kind"
    assert files(bench.home) == before


def test_what_a_crash_left_beside_the_files_is_removed(bench: Bench) -> None:
    half = bench.home.user_key.with_name(".user.key.0123456789abcdef")
    half.write_bytes(b"half a key")
    unlike = bench.home.user_key.with_name(".mine")
    unlike.write_bytes(b"")
    create(bench)
    assert (half.exists(), unlike.exists()) == (False, True)


@pytest.mark.parametrize("lost", ["user_key", "runtime_key", "holder_key"])
def test_a_key_that_others_rely_on_is_never_replaced(bench: Bench, lost: str) -> None:
    create(bench)
    getattr(bench.home, lost).unlink()
    before = files(bench.home)
    assert code(create(bench)) == "signer.lost-key"
    assert files(bench.home) == before


@pytest.mark.parametrize("lost", ["holder_public", "client_token", "client_key"])
def test_what_can_be_made_anew_is(bench: Bench, lost: str) -> None:
    create(bench)
    getattr(bench.home, lost).unlink()
    assert isinstance(create(bench), KeyState)
    assert len(files(bench.home)) == 7
    assert bench.home.holder_public.read_bytes() == bench.key(bench.home.holder_key).public
    token = verify_chain(bench.home.client_token.read_bytes(), bench.roots)
    assert token.holder == bench.key(bench.home.client_key).public


@pytest.mark.parametrize("stale", ["of another install", "damaged"])
def test_a_token_that_is_of_no_use_is_made_anew(bench: Bench, tmp_path: Path, stale: str) -> None:
    create(bench)
    token = b"damaged"
    if stale == "of another install":  # the same user's, as after a loss
        other = Bench(tmp_path / "other")
        for name in ("user.key", "client.key"):
            shutil.copy(bench.home.user_key.with_name(name), other.home.user_key.with_name(name))
        other.now, other.entropy = bench.now + 1, bench.entropy
        create(other)
        token = other.home.client_token.read_bytes()
    bench.home.client_token.write_bytes(token)
    bench.home.holder_public.unlink()  # whole homes are left alone
    assert isinstance(create(bench), KeyState)
    assert verify_chain(bench.home.client_token.read_bytes(), bench.roots).leaf.aud == bench.aud


def test_another_runtime_key_than_the_statement_names_is_refused(bench: Bench) -> None:
    create(bench)
    bench.home.client_token.unlink()
    bench.home.runtime_key.write_bytes(b"\x11" * 32)
    assert code(create(bench)) == "signer.lost-key"


def test_a_public_half_of_another_key_is_refused(bench: Bench) -> None:
    create(bench)
    bench.home.client_token.unlink()
    bench.home.holder_public.write_bytes(bench.key(bench.home.client_key).public)
    assert code(create(bench)) == "install.keys"


def test_one_key_in_two_roles_is_refused(bench: Bench) -> None:
    create(bench)
    bench.home.client_token.unlink()
    bench.home.client_key.write_bytes(bench.home.holder_key.read_bytes())
    assert code(create(bench)) == "install.keys"


def test_two_starts_at_once_do_not_make_keys_for_one_home(bench: Bench) -> None:
    fd = os.open(bench.home.user_key.parent, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert code(create(bench)) == "signer.busy"
        assert code(ask(bench.service(Person()), Reseal())) == "file.missing"
    finally:
        os.close(fd)
    assert files(bench.home) == {}


def test_a_disk_that_refuses_is_a_clear_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, **options: Any) -> None:
        raise ConfigError("file.unwritable", "no space left")

    monkeypatch.setattr(vault, "write_guarded", full)
    assert code(create(bench)) == "file.unwritable"
    assert files(bench.home) == {}
