"""Checkpoints: one text each, one key, and every way in which a later one can betray an earlier one."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.checkpoint import (
    MAX_BOOT,
    Checkpoint,
    check_consistent,
    cosign,
    encode_note_body,
    origin,
    parse_note_body,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from astrid.core.keys import SigningKey
from astrid.core.merkle import MAX_LEAVES, Hash, leaf_hash
from astrid.core.note import UnverifiedNote, encode_note, parse_note, sign_text
from astrid.core.tiles import TileBuilder, consistency_proof
from astrid.errors import ChainError

MODEST = settings(max_examples=150, deadline=None)
RUNTIME = SigningKey.from_seed(b"r" * 32)
WITNESS = SigningKey.from_seed(b"w" * 32)
STRANGER = SigningKey.from_seed(b"s" * 32)
LOG = b"\x1f" * 32
OTHER_LOG = b"\x2f" * 32
RECORDS = [b"record %d" % number for number in range(12)]


def tree(records: list[bytes]) -> TileBuilder:
    builder = TileBuilder()
    for record in records:
        assert builder.append(leaf_hash(record)) == ()
    return builder


def state(records: list[bytes], *, boot: int = 1, log_id: bytes = LOG) -> Checkpoint:
    tip = leaf_hash(records[-1])  # any function of the last record will do
    return Checkpoint(log_id=log_id, size=len(records), root=tree(records).root(), tip=tip, boot=boot)


def proof(old: int, records: list[bytes]) -> tuple[Hash, ...]:
    return consistency_proof(old, len(records), tree(records).reader(nothing_stored))


def nothing_stored(level: int, index: int) -> bytes:
    raise AssertionError(f"no tile {level}/{index} is stored")


CHECKPOINT = state(RECORDS[:5])
NOTE = sign_checkpoint(CHECKPOINT, RUNTIME)

CHECKPOINTS = st.builds(
    Checkpoint,
    log_id=st.binary(min_size=32, max_size=32),
    size=st.integers(1, MAX_LEAVES),
    root=st.binary(min_size=32, max_size=32),
    tip=st.binary(min_size=32, max_size=32),
    boot=st.integers(0, MAX_BOOT),
)


def refusal(note: bytes, key: SigningKey = RUNTIME, log_id: bytes = LOG) -> str:
    with pytest.raises(ChainError) as caught:
        verify_checkpoint(note, key.public, log_id)
    return caught.value.code


def test_the_text_is_the_five_lines_that_the_protocol_names() -> None:
    checkpoint = Checkpoint(log_id=bytes(range(32)), size=7, root=b"\x00" * 32, tip=b"\xff" * 32, boot=3)
    assert encode_note_body(checkpoint) == (
        b"log.astrid/000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
        b"7\n"
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        b"tip //////////////////////////////////////////8=\n"
        b"boot 3\n"
    )


def test_a_note_of_the_first_version_is_written_and_read_as_ever() -> None:
    note = (
        "log.astrid/1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f\n"
        "5\n"
        "q1uiQNXF9m1XxD/D6UjYe+ylGdTaiwKLbFgv2nu/mbQ=\n"
        "tip 4/xhsimX2iSB/tWu1E/YKdvUyNH5pt75w0DiEhlhg+k=\n"
        "boot 1\n"
        "\n"
        "— log.astrid/1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f "
        "/IUuW/Qo9gE6CzsiaplvVS15JJU5jFdEHZxIzp3GDqMOZHfS4/wdNhYJvsPt15+2mvWUTakxPj7HyyppwAxDdJ112Ak=\n"
    ).encode()
    assert note == NOTE
    assert verify_checkpoint(note, RUNTIME.public, LOG) == CHECKPOINT


@MODEST
@given(CHECKPOINTS)
def test_every_checkpoint_is_read_back_as_it_was_written(checkpoint: Checkpoint) -> None:
    assert parse_note_body(encode_note_body(checkpoint)) == checkpoint
    assert verify_checkpoint(sign_checkpoint(checkpoint, RUNTIME), RUNTIME.public, checkpoint.log_id) == checkpoint


def test_the_largest_log_and_the_last_boot_have_a_checkpoint() -> None:
    checkpoint = msgspec.structs.replace(CHECKPOINT, size=2**63 - 1, boot=2**32 - 1)
    assert verify_checkpoint(sign_checkpoint(checkpoint, RUNTIME), RUNTIME.public, LOG) == checkpoint


@MODEST
@given(st.data())
def test_no_two_texts_are_the_same_checkpoint(data: st.DataObject) -> None:
    text = bytearray(encode_note_body(CHECKPOINT))
    place = data.draw(st.integers(0, len(text)))
    end = min(len(text), place + data.draw(st.integers(0, 2)))
    text[place:end] = data.draw(st.sampled_from([b"", b"0", b"9", b"\n", b"\r", b" ", b"=", b"A", b"B", b"f", b"F"]))
    try:
        checkpoint = parse_note_body(bytes(text))
    except ChainError:
        return
    assert encode_note_body(checkpoint) == text


@MODEST
@given(st.integers(0, len(NOTE) - 1), st.integers(0, 7))
def test_no_bit_of_a_signed_note_can_be_changed(place: int, bit: int) -> None:
    changed = NOTE[:place] + bytes((NOTE[place] ^ 1 << bit,)) + NOTE[place + 1 :]
    assert refusal(changed).startswith("checkpoint.")


BODY = encode_note_body(CHECKPOINT)
LINES = BODY.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(b"", "checkpoint.malformed", id="nothing"),
        pytest.param(BODY[:-1], "checkpoint.malformed", id="no newline at the end"),
        pytest.param(BODY + b"\n", "checkpoint.malformed", id="an empty line more"),
        pytest.param(BODY.replace(b"\n", b"\r\n"), "checkpoint.malformed", id="carriage returns"),
        pytest.param(b"".join(LINES[:4]), "checkpoint.malformed", id="no boot"),
        pytest.param(b"".join([*LINES[:3], LINES[4]]), "checkpoint.malformed", id="no tip"),
        pytest.param(b"".join([*LINES, LINES[4]]), "checkpoint.malformed", id="boot twice"),
        pytest.param(b"".join([*LINES[:4], *LINES[3:]]), "checkpoint.malformed", id="tip twice"),
        pytest.param(b"".join([*LINES[:3], LINES[4], LINES[3]]), "checkpoint.malformed", id="another order"),
        pytest.param(BODY + b"more 1\n", "checkpoint.malformed", id="an unknown line"),
        pytest.param(BODY.replace(b"\n5\n", b"\n05\n"), "checkpoint.malformed", id="a leading zero"),
        pytest.param(BODY.replace(b"\n5\n", b"\n0\n"), "checkpoint.malformed", id="an empty log"),
        pytest.param(BODY.replace(b"\n5\n", b"\n+5\n"), "checkpoint.malformed", id="a sign"),
        pytest.param(BODY.replace(b"\n5\n", "\n٥\n".encode()), "checkpoint.malformed", id="a digit of another script"),
        pytest.param(BODY.replace(b"\n5\n", b"\n9223372036854775808\n"), "checkpoint.out-of-range", id="too many"),
        pytest.param(BODY.replace(b"boot 1", b"boot 4294967296"), "checkpoint.out-of-range", id="too many boots"),
        pytest.param(BODY.replace(b"boot 1", b"boot 01"), "checkpoint.malformed", id="a leading zero in boot"),
        pytest.param(BODY.replace(b"1f1f1f", b"1F1F1F", 1), "checkpoint.malformed", id="upper case"),
        pytest.param(b"log.other" + BODY[10:], "checkpoint.malformed", id="another origin"),
        pytest.param(BODY.replace(b"tip ", b"tip  "), "checkpoint.malformed", id="two spaces"),
    ],
)
def test_another_spelling_of_a_checkpoint_is_refused(text: bytes, code: str) -> None:
    with pytest.raises(ChainError) as caught:
        parse_note_body(text)
    assert caught.value.code == code


def test_a_root_with_spare_bits_set_is_refused_even_when_signed() -> None:
    root = base64.b64encode(CHECKPOINT.root)
    twin = root[:-2] + bytes((root[-2] + 1, root[-1]))
    assert base64.b64decode(twin) == CHECKPOINT.root
    text = BODY.replace(root, twin)
    note = encode_note(UnverifiedNote(text, (sign_text(text, RUNTIME, origin(LOG)),)))
    assert refusal(note) == "checkpoint.second-spelling"


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": -1},
        {"size": 2**63},
        {"boot": -1},
        {"boot": 2**32},
        {"log_id": b"short"},
        {"root": b"short"},
        {"tip": b"short"},
    ],
    ids=str,
)
def test_a_checkpoint_out_of_range_is_never_signed(change: dict[str, int | bytes]) -> None:
    with pytest.raises(ChainError) as caught:
        sign_checkpoint(msgspec.structs.replace(CHECKPOINT, **change), RUNTIME)
    assert caught.value.code == "checkpoint.out-of-range"


def test_a_checkpoint_signed_by_another_key_is_refused() -> None:
    assert refusal(sign_checkpoint(CHECKPOINT, STRANGER)) == "checkpoint.unsigned"


def test_a_forged_line_that_carries_the_right_key_id_is_refused() -> None:
    true, false = parse_note(NOTE).signatures[0], parse_note(sign_checkpoint(CHECKPOINT, STRANGER)).signatures[0]
    posed = msgspec.structs.replace(false, key_id=true.key_id)
    assert refusal(encode_note(UnverifiedNote(BODY, (posed,)))) == "checkpoint.bad-signature"


def test_a_signature_does_not_move_to_another_checkpoint() -> None:
    moved = UnverifiedNote(encode_note_body(state(RECORDS[:6])), parse_note(NOTE).signatures)
    assert refusal(encode_note(moved)) == "checkpoint.bad-signature"


def test_a_checkpoint_of_another_log_is_refused_though_the_same_key_signed_it() -> None:
    note = sign_checkpoint(state(RECORDS[:5], log_id=OTHER_LOG), RUNTIME)
    assert refusal(note) == "checkpoint.other-log"


def test_a_cosigned_checkpoint_still_verifies_and_tells_when_it_was_seen() -> None:
    noted = cosign(NOTE, WITNESS, "phone.example", 1_700_000_000, runtime_key=RUNTIME.public, log_id=LOG)
    assert verify_checkpoint(noted, RUNTIME.public, LOG) == CHECKPOINT
    assert verify_cosignature(noted, WITNESS.public, "phone.example") == 1_700_000_000
    assert parse_note(noted).text == BODY


def test_several_witnesses_cosign_one_note_and_each_only_once() -> None:
    once = cosign(NOTE, WITNESS, "phone.example", 5, runtime_key=RUNTIME.public, log_id=LOG)
    twice = cosign(once, STRANGER, "cli.example", 6, runtime_key=RUNTIME.public, log_id=LOG)
    assert verify_cosignature(twice, WITNESS.public, "phone.example") == 5
    assert verify_cosignature(twice, STRANGER.public, "cli.example") == 6
    with pytest.raises(ChainError) as caught:
        cosign(twice, WITNESS, "phone.example", 7, runtime_key=RUNTIME.public, log_id=LOG)
    assert caught.value.code == "checkpoint.duplicate-signature"


def test_nobody_cosigns_what_the_log_did_not_sign() -> None:
    for note, code in (
        (sign_checkpoint(CHECKPOINT, STRANGER), "checkpoint.unsigned"),
        (sign_checkpoint(state(RECORDS[:5], log_id=OTHER_LOG), RUNTIME), "checkpoint.other-log"),
        (encode_note(UnverifiedNote(b"pay\n", (sign_text(b"pay\n", RUNTIME, "x"),))), "checkpoint.other-log"),
    ):
        with pytest.raises(ChainError) as caught:
            cosign(note, WITNESS, "phone.example", 5, runtime_key=RUNTIME.public, log_id=LOG)
        assert caught.value.code == code


def test_a_cosignature_alone_does_not_make_a_checkpoint() -> None:
    noted = cosign(NOTE, WITNESS, origin(LOG), 5, runtime_key=RUNTIME.public, log_id=LOG)
    only = UnverifiedNote(BODY, parse_note(noted).signatures[1:])
    assert refusal(encode_note(only)) == "checkpoint.unsigned"
    assert refusal(encode_note(only), WITNESS) == "checkpoint.unsigned"


def test_every_honest_continuation_is_consistent() -> None:
    for new in range(1, len(RECORDS) + 1):
        for old in range(1, new + 1):
            check_consistent(state(RECORDS[:old], boot=1), state(RECORDS[:new], boot=2), proof(old, RECORDS[:new]))


def test_a_restart_without_a_record_is_consistent() -> None:
    check_consistent(state(RECORDS, boot=1), state(RECORDS, boot=2), ())


OLD = state(RECORDS[:8], boot=3)
FORGED = [b"forged", *RECORDS[1:]]


@pytest.mark.parametrize(
    ("new", "path", "code"),
    [
        pytest.param(
            state(RECORDS, boot=3, log_id=OTHER_LOG), proof(8, RECORDS), "checkpoint.other-log", id="another log"
        ),
        pytest.param(state(RECORDS[:5], boot=3), (), "checkpoint.rollback", id="the end cut off"),
        pytest.param(state(RECORDS[:5], boot=4), (), "checkpoint.rollback", id="cut off, then started again"),
        pytest.param(state(RECORDS, boot=2), proof(8, RECORDS), "checkpoint.restored", id="an old copy that grew"),
        pytest.param(state(RECORDS[:8], boot=2), (), "checkpoint.restored", id="an old copy of the same length"),
        pytest.param(state(FORGED[:8], boot=3), (), "checkpoint.fork", id="the same length, another log"),
        pytest.param(
            state(FORGED, boot=3), proof(8, FORGED), "checkpoint.split-view", id="the past written again, its own proof"
        ),
        pytest.param(
            state(FORGED, boot=3), proof(8, RECORDS), "checkpoint.split-view", id="the past written again, true proof"
        ),
        pytest.param(state(RECORDS, boot=3), (), "checkpoint.split-view", id="no proof"),
        pytest.param(state(RECORDS, boot=3), proof(7, RECORDS), "checkpoint.split-view", id="another size's proof"),
        pytest.param(
            state(RECORDS[:8], boot=3), proof(7, RECORDS), "checkpoint.split-view", id="a proof where none is needed"
        ),
        pytest.param(
            msgspec.structs.replace(OLD, tip=b"\x00" * 32), (), "checkpoint.false-tip", id="two digests of one record"
        ),
    ],
)
def test_each_attack_on_the_log_is_called_by_its_name(new: Checkpoint, path: tuple[Hash, ...], code: str) -> None:
    with pytest.raises(ChainError) as caught:
        check_consistent(OLD, new, path)
    assert caught.value.code == code
    assert caught.value.advice


@MODEST
@given(st.data())
def test_no_changed_record_survives_the_check(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, len(RECORDS)))
    old = data.draw(st.integers(1, new))
    place = data.draw(st.integers(0, old - 1))
    changed = [*RECORDS[:place], b"forged", *RECORDS[place + 1 : new]]
    path = data.draw(st.sampled_from([proof(old, changed), proof(old, RECORDS[:new])]))
    with pytest.raises(ChainError):
        check_consistent(state(RECORDS[:old]), state(changed), path)
