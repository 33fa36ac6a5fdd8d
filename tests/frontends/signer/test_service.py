"""Grants, revocations, prompts and the key itself, as the signer does them.  Threats 5, 9, 51."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from astrid.core.canon import Domain, Signed, encode
from astrid.core.grants import MAX_GRANT_SECONDS, Mode, mode_grants
from astrid.core.install import Root, sign_statement, verify_revocation
from astrid.core.keys import SigningKey, is_sealed, unseal
from astrid.core.labels import Integrity
from astrid.core.prompt import PromptStatement, integrity_of
from astrid.core.tokens import Assurance, Scope
from astrid.errors import AstridError
from astrid.frontends.signer.passphrases import Handed
from astrid.frontends.signer.protocol import (
    HEADER_BYTES,
    Failure,
    GrantPatterns,
    GrantWorkspace,
    KeyState,
    Request,
    Reseal,
    Revoke,
    Show,
    SignedReply,
    SignPrompt,
    Unlock,
    Unseal,
    pack,
)
from tests.fakes.authority import DAY, NOW
from tests.fakes.signing import PASSPHRASE, Bench, Person, ask, code

YES = "yes"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "project").mkdir()
    return Bench(tmp_path / "home").made()


@pytest.fixture
def sealed(tmp_path: Path) -> Bench:
    (tmp_path / "project").mkdir()
    return Bench(tmp_path / "home").made(sealed=True)


@pytest.fixture
def folder(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "project")


def signed(told: Signed) -> SignedReply:
    assert isinstance(told, SignedReply), told
    return told


def handed(*lines: bytes) -> Handed:
    """A descriptor with these lines; the test's process closes it when it ends."""
    read, write = os.pipe()
    os.write(write, b"\n".join(lines) + b"\n" if lines else b"")
    os.close(write)
    return Handed(read)


PATTERNS = GrantPatterns(
    patterns=("file://home/me/notes/**",),
    perms=1,
    risk=1,
    days=7,
    uses=3,
    purse=10**6,
    folder=b"",
    tainted_ok=False,
)

# --- a workspace


def test_a_workspace_grant_is_that_of_its_mode_for_the_days_it_was_asked_for(bench: Bench, folder: bytes) -> None:
    person = Person(YES)
    reply = signed(ask(bench.service(person), GrantWorkspace(folder, "guided", 30, 10**6)))
    leaf = bench.token(reply).leaf
    assert leaf.grants == mode_grants(Mode.GUIDED, os.fsdecode(folder))
    assert (leaf.scope, leaf.expires, leaf.purse) == (Scope.WORKSPACE, NOW + MAX_GRANT_SECONDS, 10**6)
    assert leaf.holder == bench.key(bench.home.holder_key).public


def test_the_person_sees_folder_mode_permissions_end_and_purse(bench: Bench, folder: bytes) -> None:
    person = Person(YES)
    ask(bench.service(person), GrantWorkspace(folder, "guided", 30, 10**6))
    for text in (
        f'folder: "{os.fsdecode(folder)}"',
        "mode: guided",
        "read+write+execute+list+create",
        "until: 2026-10-21",
        "$1.00",
        "while untrusted text is in view: yes",
    ):
        assert text in person.text


def test_a_folder_with_a_name_that_plays_tricks_is_not_granted(bench: Bench, tmp_path: Path) -> None:
    tricky = tmp_path / "a\n\x1b[2Kmode: safe"
    tricky.mkdir()
    person = Person(YES)
    assert (
        code(ask(bench.service(person), GrantWorkspace(os.fsencode(tricky), "guided", 30, 0))) == "pattern.suspicious"
    )
    assert person.seen == ""


def test_a_folder_whose_name_mixes_alphabets_is_pointed_out(bench: Bench, tmp_path: Path) -> None:
    mixed = tmp_path / "p\N{CYRILLIC SMALL LETTER A}y"
    mixed.mkdir()
    person = Person(YES)
    ask(bench.service(person), GrantWorkspace(os.fsencode(mixed), "guided", 30, 0))
    assert "careful: a word here mixes letters of several alphabets" in person.seen


@pytest.mark.parametrize("word", ["no", "", "n", "yess", "o"])
def test_anything_but_yes_signs_nothing(bench: Bench, folder: bytes, word: str) -> None:
    assert code(ask(bench.service(Person(word)), GrantWorkspace(folder, "safe", 1, 0))) == "signer.refused"


def test_a_no_does_not_even_ask_for_the_passphrase(sealed: Bench, folder: bytes) -> None:
    person = Person("no")
    ask(sealed.service(person), GrantWorkspace(folder, "safe", 1, 0))
    assert len(person.prompts) == 1


def test_a_mode_that_does_not_exist_is_refused(bench: Bench, folder: bytes) -> None:
    assert code(ask(bench.service(Person(YES)), GrantWorkspace(folder, "yolo", 1, 0))) == "signer.mode"


@pytest.mark.parametrize("days", [0, 31, 65535])
def test_a_workspace_grant_lasts_at_most_thirty_days(bench: Bench, folder: bytes, days: int) -> None:
    assert code(ask(bench.service(Person(YES)), GrantWorkspace(folder, "safe", days, 0))) == "signer.days"


def test_the_home_is_no_workspace(bench: Bench) -> None:
    told = ask(bench.service(Person(YES)), GrantWorkspace(os.fsencode(bench.home.root), "safe", 1, 0))
    assert code(told) == "workspace.home-inside"


def test_two_grants_of_one_folder_are_for_one_workspace(bench: Bench, folder: bytes) -> None:
    service = bench.service(Person(YES, YES))
    tokens = [bench.token(signed(ask(service, GrantWorkspace(folder, "safe", 1, 0)))) for _ in range(2)]
    assert tokens[0].leaf.workspace == tokens[1].leaf.workspace
    assert tokens[0].id != tokens[1].id


# --- patterns


def test_a_standing_grant_says_what_was_asked_for(bench: Bench) -> None:
    leaf = bench.token(signed(ask(bench.service(Person(YES)), PATTERNS))).leaf
    assert [(grant.pattern, grant.perms, grant.issuable, grant.max_risk) for grant in leaf.grants] == [
        ("file://home/me/notes/**", 1, 0, 1)
    ]
    assert (leaf.scope, leaf.workspace, leaf.expires) == (Scope.ALWAYS, b"", NOW + 7 * DAY)
    assert (leaf.uses, leaf.purse, leaf.tainted_ok) == (3, 10**6, False)


def test_a_grant_in_a_folder_holds_in_its_workspace_only(bench: Bench, folder: bytes) -> None:
    asked = msgspec.structs.replace(PATTERNS, folder=folder, tainted_ok=True)
    person = Person(YES)
    leaf = bench.token(signed(ask(bench.service(person), asked))).leaf
    assert (leaf.scope, len(leaf.workspace), leaf.tainted_ok) == (Scope.WORKSPACE, 32, True)
    assert os.fsdecode(folder) in person.text


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"perms": 0}, "signer.permissions"),
        ({"perms": 256}, "signer.permissions"),
        ({"risk": 4}, "signer.risk"),
        ({"days": 0}, "signer.days"),
        ({"days": 367}, "signer.days"),
        ({"patterns": ()}, "token.grants"),
        ({"patterns": ("file://a/../b",)}, "pattern.dots"),
        ({"tainted_ok": True}, "token.tainted-always"),
        ({"risk": 2}, "token.weak-key"),
        ({"patterns": tuple(f"file://w/{number}" for number in range(65))}, "token.grants"),
    ],
)
def test_a_grant_that_no_verifier_would_take_is_not_shown(
    bench: Bench, fields: dict[str, object], refusal: str
) -> None:
    person = Person(YES)
    told = ask(bench.service(person), msgspec.structs.replace(PATTERNS, **fields))
    assert (code(told), person.prompts) == (refusal, [])


def test_a_sealed_key_may_grant_high_risk(sealed: Bench) -> None:
    asked = msgspec.structs.replace(PATTERNS, risk=2)
    reply = signed(ask(sealed.service(Person(YES, PASSPHRASE.decode())), asked))
    assert sealed.token(reply).leaf.assurance == Assurance.SEALED


def test_a_longer_list_of_patterns_is_shown_to_its_end(bench: Bench) -> None:
    patterns = tuple(f"file://w/{number:03}" for number in range(64))
    person = Person(YES)
    ask(bench.service(person), msgspec.structs.replace(PATTERNS, patterns=patterns))
    assert all(f'"{pattern}"' in person.text for pattern in patterns)


# --- nobody there


def test_without_a_terminal_a_grant_needs_the_word_of_the_command_line(bench: Bench) -> None:
    assert code(ask(bench.service(None), PATTERNS)) == "signer.no-terminal"
    signed(ask(bench.service(None, yes=True), PATTERNS))


def test_without_a_terminal_a_sealed_key_needs_a_passphrase_that_is_handed_over(sealed: Bench) -> None:
    assert code(ask(sealed.service(None, yes=True), PATTERNS)) == "signer.no-terminal"
    reply = signed(ask(sealed.service(None, yes=True, handed=handed(PASSPHRASE)), PATTERNS))
    assert sealed.token(reply).leaf.assurance == Assurance.SEALED


def test_with_the_word_of_the_command_line_the_text_is_still_shown(bench: Bench) -> None:
    person = Person()
    signed(ask(bench.service(person, yes=True), PATTERNS))
    assert "file://home/me/notes/**" in person.seen


@pytest.mark.parametrize(
    ("lines", "refusal"),
    [
        ((b"another passphrase",), "key.passphrase"),
        ((), "signer.no-passphrase"),
        ((b"x" * 4096,), "signer.passphrase-fd"),
    ],
)
def test_a_passphrase_that_is_handed_over_is_tried_once(sealed: Bench, lines: tuple[bytes, ...], refusal: str) -> None:
    assert code(ask(sealed.service(None, yes=True, handed=handed(*lines)), PATTERNS)) == refusal


def test_a_descriptor_that_is_not_open_is_a_clear_error(sealed: Bench) -> None:
    assert code(ask(sealed.service(None, yes=True, handed=Handed(987)), PATTERNS)) == "signer.passphrase-fd"


# --- revocations


def test_a_revocation_names_its_target_and_the_gate_takes_it(bench: Bench) -> None:
    person = Person(YES)
    reply = signed(ask(bench.service(person), Revoke(b"t" * 32, "token")))
    revocation = verify_revocation(reply.statement, bench.roots, bench.aud)
    assert (revocation.target, revocation.kind, revocation.asked_s) == (b"t" * 32, "token", NOW)
    assert (b"t" * 32).hex() in person.seen


def test_a_revocation_of_what_is_neither_token_nor_key_is_refused(bench: Bench) -> None:
    assert code(ask(bench.service(Person(YES)), Revoke(b"t" * 32, "world"))) == "canon.no-encoding"


def test_a_no_revokes_nothing(bench: Bench) -> None:
    assert code(ask(bench.service(Person("no")), Revoke(b"t" * 32, "key"))) == "signer.refused"


# --- prompts


def prompt(bench: Bench, text: bytes = b"do it", **fields: object) -> SignPrompt:
    return msgspec.structs.replace(SignPrompt(bench.aud, b"s" * 16, 1, text), **fields)


def test_a_signed_prompt_counts_in_its_session_and_turn_only(bench: Bench) -> None:
    reply = signed(ask(bench.service(None), prompt(bench)))
    signer = reply.payload

    def integrity(session: bytes, turn: int, text: bytes) -> Integrity:
        return integrity_of(PromptStatement(bench.aud, session, turn, text), signer, reply.signature, bench.roots)

    assert integrity(b"s" * 16, 1, b"do it") is Integrity.SIGNED_USER
    assert integrity(b"s" * 16, 2, b"do it") is Integrity.UNTRUSTED
    assert integrity(b"r" * 16, 1, b"do it") is Integrity.UNTRUSTED
    assert integrity(b"s" * 16, 1, b"do that") is Integrity.UNTRUSTED


def test_a_prompt_for_another_install_is_not_signed(bench: Bench) -> None:
    assert code(ask(bench.service(None), prompt(bench, aud=b"x" * 32))) == "signer.other-install"


def test_a_locked_key_signs_no_prompt_and_asks_nobody(sealed: Bench) -> None:
    person = Person(PASSPHRASE.decode())
    assert code(ask(sealed.service(person), prompt(sealed))) == "signer.locked"
    assert person.prompts == []


def test_an_unlocked_key_signs_prompts_without_asking_again(sealed: Bench) -> None:
    person = Person(PASSPHRASE.decode())
    service = sealed.service(person)
    state = ask(service, Unlock())
    assert isinstance(state, KeyState)
    assert state.unlocked
    signed(ask(service, prompt(sealed)))
    assert len(person.prompts) == 1


def test_a_prompt_that_spells_a_token_block_is_still_only_a_prompt(bench: Bench) -> None:
    block = bench.token(signed(ask(bench.service(Person(YES)), PATTERNS))).raw
    reply = signed(ask(bench.service(None), prompt(bench, block)))
    user = bench.key(bench.home.user_key)
    assert reply.signature != user.sign(Domain.BLOCK, block)
    assert (reply.payload, reply.token_signature) == (user.public, b"")


# --- the key


def test_show_opens_nothing(sealed: Bench) -> None:
    expected = sealed.identity.install.roots[0].key
    sealed.home.user_key.unlink()
    assert ask(sealed.service(None), Show()) == KeyState(expected, Assurance.SEALED, unlocked=False)


def test_a_wrong_passphrase_may_be_typed_three_times(sealed: Bench) -> None:
    person = Person("one wrong", "two wrong", "three wrong", PASSPHRASE.decode())
    assert code(ask(sealed.service(person), Unlock())) == "key.passphrase"
    assert len(person.prompts) == 3


def test_a_new_passphrase_opens_the_key_and_the_old_one_no_longer_does(sealed: Bench) -> None:
    seed = unseal(sealed.home.user_key.read_bytes(), PASSPHRASE)
    assert isinstance(
        ask(sealed.service(Person(PASSPHRASE.decode(), "battery staple", "battery staple")), Reseal()), KeyState
    )
    file = sealed.home.user_key.read_bytes()
    assert unseal(file, b"battery staple") == seed
    with pytest.raises(AstridError):
        unseal(file, PASSPHRASE)


def test_a_plain_key_that_is_sealed_later_stays_stated_as_plain(bench: Bench) -> None:
    seed = bench.home.user_key.read_bytes()
    state = ask(bench.service(Person("battery staple", "battery staple")), Reseal())
    assert isinstance(state, KeyState)
    assert state.assurance == Assurance.PLAIN
    assert unseal(bench.home.user_key.read_bytes(), b"battery staple") == seed
    reply = signed(ask(bench.service(Person(YES, "battery staple")), PATTERNS))
    assert bench.token(reply).leaf.assurance == Assurance.PLAIN


def test_the_passphrase_of_a_key_that_was_sealed_late_can_be_taken_off_by_who_knows_it(bench: Bench) -> None:
    seed = bench.home.user_key.read_bytes()
    ask(bench.service(Person("battery staple", "battery staple")), Reseal())
    file = bench.home.user_key.read_bytes()
    person = Person("one wrong", "two wrong", "three wrong")
    assert code(ask(bench.service(person), Unseal())) == "key.passphrase"
    assert bench.home.user_key.read_bytes() == file
    state = ask(bench.service(Person("battery staple")), Unseal())
    assert isinstance(state, KeyState)
    assert bench.home.user_key.read_bytes() == seed
    assert bench.home.user_key.stat().st_mode & 0o777 == 0o600
    signed(ask(bench.service(Person(YES)), PATTERNS))


def test_the_passphrase_of_a_key_that_is_stated_as_sealed_stays(sealed: Bench) -> None:
    before = sealed.home.user_key.read_bytes()
    assert code(ask(sealed.service(Person(PASSPHRASE.decode())), Unseal())) == "signer.stays-sealed"
    assert sealed.home.user_key.read_bytes() == before


def test_where_there_is_no_passphrase_none_is_taken_off(bench: Bench) -> None:
    before = bench.home.user_key.read_bytes()
    assert code(ask(bench.service(None), Unseal())) == "signer.no-seal"
    assert bench.home.user_key.read_bytes() == before


def test_nobody_takes_a_passphrase_off_without_knowing_it(bench: Bench) -> None:
    ask(bench.service(Person("battery staple", "battery staple")), Reseal())
    file = bench.home.user_key.read_bytes()
    assert code(ask(bench.service(None, yes=True), Unseal())) == "signer.no-terminal"
    assert bench.home.user_key.read_bytes() == file


def test_passphrases_can_be_changed_without_a_terminal(sealed: Bench) -> None:
    told = ask(sealed.service(None, handed=handed(PASSPHRASE, b"battery staple")), Reseal())
    assert isinstance(told, KeyState)
    assert unseal(sealed.home.user_key.read_bytes(), b"battery staple")


@pytest.mark.parametrize(
    "typed",
    [("short", "short", "short"), ("long enough", "not the same") * 3, ("", "", "")],
    ids=["short", "other", "empty"],
)
def test_a_bad_new_passphrase_changes_nothing(bench: Bench, typed: tuple[str, ...]) -> None:
    before = bench.home.user_key.read_bytes()
    assert code(ask(bench.service(Person(*typed)), Reseal())) == "signer.no-passphrase"
    assert bench.home.user_key.read_bytes() == before
    assert not is_sealed(before)


def test_a_short_passphrase_that_is_handed_over_changes_nothing(bench: Bench) -> None:
    assert code(ask(bench.service(None, handed=handed(b"short")), Reseal())) == "key.short-passphrase"
    assert not is_sealed(bench.home.user_key.read_bytes())


def test_a_key_of_another_home_is_not_sealed(bench: Bench) -> None:
    bench.home.user_key.write_bytes(b"\x77" * 32)
    assert code(ask(bench.service(Person("battery staple", "battery staple")), Reseal())) == "signer.other-key"


@pytest.mark.parametrize(
    ("damage", "refusal"),
    [(b"", "signer.damaged-key"), (b"x" * 31, "signer.damaged-key"), (b"x" * 2000, "file.too-long")],
)
def test_a_damaged_key_file_is_a_clear_error(bench: Bench, damage: bytes, refusal: str) -> None:
    bench.home.user_key.write_bytes(damage)
    assert code(ask(bench.service(Person()), Unlock())) == refusal


def test_a_key_file_behind_a_link_is_refused(bench: Bench) -> None:
    moved = bench.home.user_key.rename(bench.home.root / "elsewhere")
    bench.home.user_key.symlink_to(moved)
    assert code(ask(bench.service(Person()), Unlock())) == "file.unreadable"


# --- the service itself


def test_a_request_that_is_none_ends_the_service(bench: Bench) -> None:
    with pytest.raises(AstridError):
        bench.service(Person()).serve(encode(Request("sign", b"\xc4\x01x")))


def test_after_a_failure_the_next_request_is_served(bench: Bench, folder: bytes) -> None:
    service = bench.service(Person("no", YES))
    assert code(ask(service, GrantWorkspace(folder, "safe", 1, 0))) == "signer.refused"
    signed(ask(service, GrantWorkspace(folder, "safe", 1, 0)))


def test_the_terminal_is_let_go_after_each_request(bench: Bench, folder: bytes) -> None:
    person = Person("no", YES)
    service = bench.service(person)
    for _ in range(2):
        ask(service, GrantWorkspace(folder, "safe", 1, 0))
    assert person.closed == 2


def test_a_system_that_refuses_is_answered_and_not_died_of(bench: Bench) -> None:
    class Broken(Person):
        def ask(self, prompt: str, *, secret: bool = False, until_s: float | None = None) -> bytes:
            raise OSError(5, "input/output error")

    told = ask(bench.service(Broken()), PATTERNS)
    assert isinstance(told, Failure)
    assert (told.code, "input/output error" in told.message) == ("signer.system", True)


def test_a_failure_with_a_name_that_is_no_text_can_be_told(bench: Bench, tmp_path: Path) -> None:
    told = ask(bench.service(Person()), GrantWorkspace(os.fsencode(tmp_path) + b"/\xff\x1b", "safe", 1, 0))
    assert code(told) == "workspace.missing"
    assert len(pack(Show())) > HEADER_BYTES


# --- an install with two user keys


@pytest.fixture
def second(bench: Bench) -> Bench:
    """The key file holds the second of the two keys that the statement names."""
    first, other = bench.key(bench.home.user_key), SigningKey.from_seed(b"\x42" * 32)
    roots = (Root(first.public, Assurance.SEALED), Root(other.public, Assurance.PLAIN))
    install = msgspec.structs.replace(bench.identity.install, roots=roots)
    bench.home.install.write_bytes(sign_statement(Domain.INSTALL, install, first))
    bench.home.user_key.write_bytes(b"\x42" * 32)
    return bench


def test_a_grant_that_was_shown_for_one_key_is_not_signed_by_another(second: Bench) -> None:
    assert code(ask(second.service(Person(YES)), PATTERNS)) == "signer.other-key"


def test_the_assurance_is_that_of_the_key_that_signs_not_of_the_best(second: Bench) -> None:
    state = ask(second.service(Person()), Unlock())
    assert isinstance(state, KeyState)
    assert state.assurance == Assurance.PLAIN
