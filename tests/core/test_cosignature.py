"""What clients cosign can be read back from the log by anybody, and nobody else's word passes for a client's."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core import gate_admin
from astrid.core.canon import decode, encode
from astrid.core.chain import Frame
from astrid.core.checkpoint import MAX_BOOT, Checkpoint, cosign, encode_note_body, origin, sign_checkpoint
from astrid.core.cosignature import (
    DUE_RECORDS,
    MAX_HANDED_OUT,
    METHOD,
    Cosignatures,
    Seen,
    check_client,
    check_record,
    client_name,
    cosigned_note,
    is_due,
    read_cosigned,
    record_of,
)
from astrid.core.facts import Facts
from astrid.core.keys import SigningKey
from astrid.core.merkle import MAX_LEAVES
from astrid.core.note import MAX_TIMESTAMP_S, UnverifiedNote, encode_note, parse_note, sign_text
from astrid.core.records import CosignedRecord, Kind, seal
from astrid.core.tokens import Grant, Permission, Scope, Token
from astrid.errors import AstridError, ChainError
from tests.fakes.authority import AUD, HOLDER, ROOTS, SALT, STRANGER, USER, key, pass_on, token
from tests.fakes.rules import policy

MODEST = settings(max_examples=100, deadline=None)
RUNTIME, OTHER_RUNTIME = key(0x42), key(0x43)
CLIENT, PHONE = key(0x51), key(0x52)
LOG, OTHER_LOG = b"L" * 32, b"M" * 32
STATE = Checkpoint(log_id=LOG, size=7, root=b"r" * 32, tip=b"t" * 32, boot=2)
NOW = 1_790_000_000
ASKS = Grant("rpc://*", Permission.INVOKE, 0, 1, b"")


def client_token(client: SigningKey = CLIENT, **fields: Any) -> Token:
    given = {"holder": client.public, "workspace": b"", "scope": Scope.ALWAYS, "tainted_ok": False, "grants": (ASKS,)}
    return token(USER, **(given | fields))


def note(client: SigningKey = CLIENT, state: Checkpoint = STATE, *, runtime: SigningKey = RUNTIME) -> bytes:
    return cosigned(sign_checkpoint(state, runtime), client, state.log_id, runtime)


def cosigned(stated: bytes, client: SigningKey, log_id: bytes = LOG, runtime: SigningKey = RUNTIME) -> bytes:
    return cosign(stated, client, client_name(client.public), NOW, runtime_key=runtime.public, log_id=log_id)


def record(client: SigningKey = CLIENT, state: Checkpoint = STATE, **fields: Any) -> CosignedRecord:
    held = client_token(client)
    made = record_of(note(client, state), held, seal(held.raw, SALT)[0])
    return msgspec.structs.replace(made, **fields)


def read(data: bytes, client: bytes = CLIENT.public) -> Seen:
    return read_cosigned(data, client, runtime_key=RUNTIME.public, log_id=LOG)


def check(made: CosignedRecord) -> Checkpoint:
    return check_record(made, runtime_key=RUNTIME.public, log_id=LOG)


def refusal(data: bytes, client: bytes = CLIENT.public) -> str:
    with pytest.raises(ChainError) as caught:
        read(data, client)
    return caught.value.code


def test_a_cosigned_checkpoint_says_what_was_seen_and_when() -> None:
    assert read(note()) == Seen(STATE, NOW)


def test_the_note_can_be_made_again_from_the_record_byte_for_byte() -> None:
    assert cosigned_note(record(), runtime_key=RUNTIME.public, log_id=LOG) == note()
    assert check(record()) == STATE


def test_a_record_names_the_token_that_made_its_key_a_clients() -> None:
    made = record()
    assert (made.key, made.block) == (CLIENT.public, client_token().id)
    assert decode(encode(made), CosignedRecord, max_bytes=1000, what="a body") == made


@MODEST
@given(
    size=st.integers(1, MAX_LEAVES),
    root=st.binary(min_size=32, max_size=32),
    boot=st.integers(0, MAX_BOOT),
    time_s=st.integers(0, MAX_TIMESTAMP_S),
)
def test_whatever_a_client_cosigns_comes_back_from_the_record(size: int, root: bytes, boot: int, time_s: int) -> None:
    state = msgspec.structs.replace(STATE, size=size, root=root, boot=boot)
    stated = sign_checkpoint(state, RUNTIME)
    data = cosign(stated, CLIENT, client_name(CLIENT.public), time_s, runtime_key=RUNTIME.public, log_id=LOG)
    held = client_token()
    made = record_of(data, held, seal(held.raw, SALT)[0])
    assert (check(made), made.time_s) == (state, time_s)
    assert cosigned_note(made, runtime_key=RUNTIME.public, log_id=LOG) == data


class TestRefused:
    """Notes that show nothing."""

    def test_one_that_another_client_cosigned(self) -> None:
        assert refusal(note(PHONE)) == "checkpoint.unsigned"

    def test_one_that_names_us_over_another_clients_signature(self) -> None:
        theirs, ours = parse_note(note(PHONE)), parse_note(note())
        line = msgspec.structs.replace(ours.signatures[1], signature=theirs.signatures[1].signature)
        assert refusal(encode_note(UnverifiedNote(ours.text, (ours.signatures[0], line)))) == "checkpoint.bad-signature"

    def test_one_that_nobody_cosigned(self) -> None:
        assert refusal(sign_checkpoint(STATE, RUNTIME)) == "checkpoint.unsigned"

    def test_one_that_the_runtime_did_not_state(self) -> None:
        assert refusal(note(runtime=OTHER_RUNTIME)) == "checkpoint.unsigned"

    def test_one_of_another_log(self) -> None:
        assert refusal(note(state=msgspec.structs.replace(STATE, log_id=OTHER_LOG))) == "checkpoint.other-log"

    def test_one_of_the_runtimes_own_key(self) -> None:
        assert refusal(note(RUNTIME), RUNTIME.public) == "cosign.own-key"

    @pytest.mark.parametrize("weak", [b"", b"\0" * 32, b"\1" + b"\0" * 31, b"x" * 31])
    def test_one_of_a_key_that_is_none(self, weak: bytes) -> None:
        assert refusal(note(), weak) == "cosign.key"

    def test_one_that_carries_somebody_elses_signature_too(self) -> None:
        assert refusal(cosigned(note(), PHONE)) == "cosign.lines"

    def test_one_whose_signatures_are_exchanged(self) -> None:
        good = parse_note(note())
        assert refusal(encode_note(UnverifiedNote(good.text, good.signatures[::-1]))) == "cosign.lines"

    def test_a_plain_signature_of_the_clients_key(self) -> None:
        """It could have been asked for as something else: a cosignature has a header and a time under it."""
        good = parse_note(note())
        plain = sign_text(good.text, CLIENT, client_name(CLIENT.public))
        assert refusal(encode_note(UnverifiedNote(good.text, (good.signatures[0], plain)))) == "checkpoint.unsigned"

    def test_one_with_any_bit_changed(self) -> None:
        good = note()
        for bit in range(0, 8 * len(good), 3):
            forged = bytearray(good)
            forged[bit // 8] ^= 1 << bit % 8
            refusal(bytes(forged))


FORGED: dict[str, dict[str, Any]] = {
    "size": {"size": 8},
    "no records": {"size": 0},
    "a size beyond any log": {"size": 2**64 - 1},
    "root": {"root": b"x" * 32},
    "tip": {"tip": b"x" * 32},
    "boot": {"boot": 3},
    "the runtime's signature": {"stated": b"x" * 64},
    "key": {"key": PHONE.public},
    "no key": {"key": b"\0" * 32},
    "time": {"time_s": NOW + 1},
    "a time beyond any": {"time_s": 2**64 - 1},
    "signature": {"signature": b"x" * 64},
}


@pytest.mark.parametrize("fields", FORGED.values(), ids=FORGED)
def test_a_record_with_any_field_changed_shows_nothing(fields: dict[str, Any]) -> None:
    with pytest.raises(ChainError):
        check(record(**fields))


def test_a_record_of_another_log_shows_nothing_about_this_one() -> None:
    with pytest.raises(ChainError):
        check_record(record(), runtime_key=RUNTIME.public, log_id=OTHER_LOG)


@pytest.mark.parametrize(
    "data",
    [sign_checkpoint(STATE, RUNTIME), note(PHONE), cosigned(note(), PHONE)],
    ids=["not cosigned", "by another", "by two"],
)
def test_what_could_not_be_made_again_is_not_recorded(data: bytes) -> None:
    held = client_token()
    with pytest.raises(ChainError) as caught:
        record_of(data, held, seal(held.raw, SALT)[0])
    assert caught.value.code == "cosign.lines"


class TestClients:
    """Whose cosignature counts."""

    def refused(self, holder: bytes, chain: bytes, aud: bytes = AUD) -> None:
        with pytest.raises(ChainError) as caught:
            check_client(holder, chain, ROOTS, aud)
        assert caught.value.code == "cosign.no-client"

    def test_the_key_that_the_user_let_ask(self) -> None:
        held = client_token()
        assert check_client(CLIENT.public, held.raw, ROOTS, AUD).id == held.id

    def test_not_a_key_to_which_a_client_handed_that_on(self) -> None:
        """It could make as many as it likes."""
        handed_on = pass_on(client_token(depth=3), CLIENT, holder=PHONE.public, scope=Scope.ALWAYS, depth=1)
        self.refused(PHONE.public, handed_on.raw)
        self.refused(CLIENT.public, handed_on.raw)

    def test_not_a_key_that_the_token_is_not_for(self) -> None:
        self.refused(PHONE.public, client_token().raw)

    def test_not_the_daemons_own_with_the_grant_of_a_workspace(self) -> None:
        self.refused(HOLDER.public, token().raw)

    def test_not_one_that_may_ask_for_something_else_alone(self) -> None:
        only = Grant("rpc://listSessions", Permission.INVOKE, 0, 1, b"")
        self.refused(CLIENT.public, client_token(grants=(only,)).raw)
        exactly = Grant(f"rpc://{METHOD}", Permission.INVOKE, 0, 1, b"")
        held = client_token(grants=(exactly,))
        assert check_client(CLIENT.public, held.raw, ROOTS, AUD).id == held.id

    def test_not_one_of_another_install(self) -> None:
        self.refused(CLIENT.public, client_token().raw, b"B" * 32)

    def test_not_one_that_a_stranger_made_a_client(self) -> None:
        made = token(USER).raw  # the shape is right ...
        self.refused(CLIENT.public, made[:-1] + bytes([made[-1] ^ 1]))  # ... and the signature is not
        self.refused(CLIENT.public, b"\x90")

    def test_not_the_user(self) -> None:
        self.refused(USER.public, client_token().raw)


@pytest.mark.parametrize(
    ("size", "boot", "due"),
    [
        (7, 2, False),
        (6 + DUE_RECORDS, 2, False),
        (7 + DUE_RECORDS, 2, True),
        (8, 3, True),
        (7 + DUE_RECORDS, 1, True),
        (5, 1, False),
        (1, 2, False),
    ],
)
def test_a_client_cosigns_again_after_a_start_or_many_records(size: int, boot: int, due: bool) -> None:
    assert is_due(STATE, msgspec.structs.replace(STATE, size=size, boot=boot)) == due


def test_a_client_that_never_did_cosigns_whatever_is_stated() -> None:
    assert is_due(None, msgspec.structs.replace(STATE, size=1, boot=0))


class TestGate:
    """How it gets into the log, and out of it again at the next start."""

    def facts(self) -> Facts:
        return Facts(aud=AUD, roots=ROOTS, policy=policy())

    def refused(self, facts: Facts, data: bytes, trouble: str = "", chain: bytes = b"") -> str:
        with pytest.raises(AstridError) as caught:
            gate_admin.cosign(facts, CLIENT.public, data, chain or client_token().raw, trouble=trouble, salt=SALT)
        assert facts.cosigned.newest() == ()
        return caught.value.code

    def test_the_record_holds_it_all_and_the_token_lies_beside(self) -> None:
        facts, held = self.facts(), client_token()
        made = gate_admin.cosign(facts, CLIENT.public, note(), held.raw, trouble="", salt=SALT)
        sealed, payload = seal(held.raw, SALT)
        assert (made.kind, made.session, made.payloads) == (Kind.COSIGNED, b"", (payload,))
        assert decode(made.body, CosignedRecord, max_bytes=1000, what="a body") == record(chain=sealed)
        assert facts.cosigned.newest() == (record(),)

    def test_a_replay_of_the_log_knows_what_was_known(self) -> None:
        facts = self.facts()
        made = gate_admin.cosign(facts, CLIENT.public, note(), client_token().raw, trouble="", salt=SALT)
        again = self.facts()
        again.replay(Frame(b"p" * 32, 9, 2, 5, int(made.kind), b"", made.body), record())
        assert again.cosigned.newest() == facts.cosigned.newest()
        with pytest.raises(ChainError):
            gate_admin.cosign(again, CLIENT.public, note(), client_token().raw, trouble="", salt=SALT)

    def test_nothing_is_recorded_twice(self) -> None:
        facts = self.facts()
        gate_admin.cosign(facts, CLIENT.public, note(), client_token().raw, trouble="", salt=SALT)
        with pytest.raises(ChainError) as caught:
            gate_admin.cosign(facts, CLIENT.public, note(), client_token().raw, trouble="", salt=b"S" * 32)
        assert caught.value.code == "cosign.not-due"

    def test_a_client_does_not_wait_for_a_log_that_cannot_be_written(self) -> None:
        assert self.refused(self.facts(), note(), trouble="the disk is full") == "cosign.not-now"

    def test_nobody_but_a_client_gets_anything_in(self) -> None:
        assert self.refused(self.facts(), note(), chain=client_token(PHONE).raw) == "cosign.no-client"
        assert self.refused(self.facts(), note(PHONE)) == "cosign.lines"
        assert self.refused(self.facts(), b"nonsense") == "checkpoint.malformed"

    def test_a_signature_of_another_length_has_no_record(self) -> None:
        good = parse_note(note())
        short = msgspec.structs.replace(good.signatures[1], signature=b"x" * 71)
        assert self.refused(self.facts(), encode_note(UnverifiedNote(good.text, (good.signatures[0], short)))) == (
            "canon.no-encoding"
        )


class TestNewest:
    """What the daemon knows of it."""

    def test_a_cosignature_that_is_not_due_is_refused_and_changes_nothing(self) -> None:
        known = Cosignatures()
        known.add(record())
        for state in (STATE, msgspec.structs.replace(STATE, size=6 + DUE_RECORDS)):
            with pytest.raises(ChainError) as caught:
                known.add(record(state=state))
            assert caught.value.code == "cosign.not-due"
        assert known.newest() == (record(),)
        known.add(record(PHONE))
        assert known.newest() == (record(PHONE), record())

    def test_the_newest_of_each_client_is_kept_the_newest_first(self) -> None:
        known = Cosignatures()
        later = msgspec.structs.replace(STATE, size=9, boot=3)
        for made in (record(), record(PHONE), record(state=later)):
            known.add(made)
        assert known.newest() == (record(state=later), record(PHONE))

    def test_only_so_many_are_handed_out(self) -> None:
        known = Cosignatures()
        clients = [key(number) for number in range(0x60, 0x60 + MAX_HANDED_OUT + 4)]
        for client in clients:
            known.put(record(client))
        assert [made.key for made in known.newest()] == [client.public for client in clients[:3:-1]]

    @MODEST
    @given(st.lists(st.tuples(st.booleans(), st.integers(1, 5000), st.integers(0, 5)), max_size=30))
    def test_no_order_of_cosigning_makes_a_client_fill_the_log(self, tried: list[tuple[bool, int, int]]) -> None:
        """A client sees sizes and starts rise; it gets in once for each start and each thousand records."""
        known, taken = Cosignatures(), {True: 0, False: 0}
        rising = sorted((boot, size, phone) for phone, size, boot in tried)
        size = 0
        for boot, more, phone in rising:
            size += more
            made = record(state=msgspec.structs.replace(STATE, size=size, boot=boot), key=bytes([phone]) * 32)
            try:
                known.add(made)
                taken[phone] += 1
            except ChainError:
                continue
        starts = len({boot for boot, _, _ in rising})
        assert max(taken.values()) <= starts + size // DUE_RECORDS


def test_its_name_is_the_key_so_that_no_client_speaks_for_another() -> None:
    assert client_name(b"\x0f" * 32) == "client.astrid/" + "0f" * 32
    assert client_name(CLIENT.public) not in (client_name(PHONE.public), client_name(STRANGER.public))
    assert encode_note_body(STATE).startswith(origin(LOG).encode())
