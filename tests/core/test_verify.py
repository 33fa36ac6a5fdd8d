"""Is this log whole?  Chain, tree, checkpoints and witnesses against everybody who would have it otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.canon import decode
from astrid.core.chain import CHECKPOINT_RECORDS, Frame, decode_frame
from astrid.core.checkpoint import Checkpoint, sign_checkpoint
from astrid.core.keys import SigningKey
from astrid.core.records import CosignedRecord, Entry, Genesis, Kind, entry
from astrid.core.verify import Verified, verify_log
from astrid.errors import ChainError
from tests.fakes.logs import (
    BOOT,
    GENESIS,
    KEYS,
    OTHER_RUNTIME,
    RUNTIME,
    STOP,
    ZEROS,
    chained_anew,
    changed,
    checkpoint,
    cosigned,
    deferred,
    new_state,
    note,
    note_of,
    some_log,
    write,
)

LOG = some_log()
NOTES = [note(LOG, size) for size in (1, 5, len(LOG))]


def verify(
    frames: Sequence[bytes] = LOG, notes: Sequence[tuple[int, bytes]] = NOTES, witnesses: Sequence[Checkpoint] = ()
) -> Verified:
    return verify_log(KEYS, frames, notes, witnesses)


def refused(
    frames: Sequence[bytes] = LOG, notes: Sequence[tuple[int, bytes]] = NOTES, witnesses: Sequence[Checkpoint] = ()
) -> ChainError:
    with pytest.raises(ChainError) as caught:
        verify(frames, notes, witnesses)
    assert caught.value.where
    return caught.value


# --- a sound log


def test_a_sound_log_says_how_much_of_it_is_signed() -> None:
    verified = verify()
    assert (verified.size, verified.signed, verified.checkpoints, verified.tail) == (len(LOG), len(LOG), 3, 0)
    assert verified.well_signed
    assert verified.chain.tip.size == len(LOG)


def test_an_empty_log_is_sound_and_signed_by_nobody() -> None:
    verified = verify([], [])
    assert (verified.size, verified.signed, verified.checkpoints, verified.well_signed) == (0, 0, 0, False)


def test_a_log_without_a_checkpoint_holds_together_and_is_not_well_signed() -> None:
    verified = verify(LOG, [])
    assert (verified.tail, verified.well_signed) == (len(LOG), False)


@pytest.mark.parametrize(("tail", "well"), [(CHECKPOINT_RECORDS, True), (CHECKPOINT_RECORDS + 1, False)])
def test_a_tail_longer_than_a_running_daemon_leaves_is_not_well_signed(tail: int, well: bool) -> None:
    log = write([GENESIS, *map(note_of, range(tail))])
    verified = verify(log, [note(log, 1)])
    assert (verified.tail, verified.well_signed) == (tail, well)


def test_every_record_is_seen_once_and_in_order() -> None:
    seen: list[Frame] = []
    verify_log(KEYS, LOG, NOTES, (), seen.append)
    assert [frame.seq for frame in seen] == list(range(1, len(LOG) + 1))


def test_the_order_of_the_checkpoints_does_not_matter() -> None:
    assert verify(LOG, [NOTES[2], NOTES[0]]).signed == len(LOG)


def test_witnesses_that_agree_change_nothing() -> None:
    agreeing = [checkpoint(LOG, size) for size in (1, 7, len(LOG))]
    assert verify(LOG, [], agreeing).signed == 0
    assert verify(LOG, NOTES, agreeing).signed == len(LOG)


# --- tampering

FORGED = chained_anew([*LOG[:5], changed(LOG[5], body=b"forged"), *LOG[6:]])
SHORTER = chained_anew([*LOG[:5], *LOG[6:]])


def test_a_changed_past_that_was_chained_anew_has_another_root() -> None:
    error = refused(FORGED)
    assert (error.code, error.where) == ("chain.root", f"record {len(LOG)}")
    assert verify(FORGED, []).size == len(LOG)  # without a checkpoint nobody could tell


def test_the_first_checkpoint_behind_the_change_says_where() -> None:
    assert refused(FORGED, [note(LOG, 5), note(LOG, 7), NOTES[2]]).where == "record 7"


def test_a_record_taken_out_of_the_past_is_missed() -> None:
    assert refused(SHORTER).code == "chain.cut"


@pytest.mark.parametrize("keep", [0, 1, 4, len(LOG) - 1])
def test_a_cut_tail_leaves_a_checkpoint_that_covers_more_than_there_is(keep: int) -> None:
    error = refused(LOG[:keep])
    assert (error.code, error.where) == ("chain.cut", f"record {keep + 1}")
    assert str(len(LOG)) in error.message


def test_a_tail_cut_together_with_its_checkpoints_is_seen_by_a_witness_alone() -> None:
    kept, notes = LOG[:6], NOTES[:2]
    assert verify(kept, notes).signed == 5
    assert refused(kept, notes, [checkpoint(LOG)]).code == "chain.cut"


def test_an_old_copy_that_went_on_growing_is_another_log_to_a_witness() -> None:
    """Rolled back, and then used: as long as before, but not the same."""
    grown = write([GENESIS, BOOT, *map(deferred, range(len(LOG)))])
    error = refused(grown, [note(grown)], [checkpoint(LOG, 9)])
    assert (error.code, error.where) == ("chain.root", "record 9")


def test_two_checkpoints_exchanged_are_not_about_their_records() -> None:
    swapped = [(1, NOTES[1][1]), (5, NOTES[0][1]), NOTES[2]]
    error = refused(LOG, swapped)
    assert (error.code, error.where) == ("chain.checkpoint-size", "the checkpoint stored for 1 records")


def test_a_log_signed_again_with_another_key_is_signed_by_nobody() -> None:
    error = refused(FORGED, [note(FORGED, key=OTHER_RUNTIME)])
    assert error.where == f"the checkpoint stored for {len(LOG)} records"
    # With the key that came with it, all would be well: so the key comes from elsewhere.
    theirs = msgspec.structs.replace(KEYS, runtime_key=OTHER_RUNTIME.public)
    assert verify_log(theirs, FORGED, [note(FORGED, key=OTHER_RUNTIME)]).well_signed


def test_a_checkpoint_of_another_log_is_none_of_this() -> None:
    assert refused(LOG, [note(LOG, log_id=b"M" * 32)]).code == "checkpoint.other-log"


@pytest.mark.parametrize("named", [b"\0" * 32, b"t" * 32, b"u" * 32])
def test_the_first_record_names_what_the_user_signed_of_a_log_that_was_lost(named: bytes) -> None:
    log = write([entry(Genesis(1, KEYS.install, named)), BOOT])
    signed = msgspec.structs.replace(KEYS, old_tip=b"t" * 32)
    if named == signed.old_tip:
        assert verify_log(signed, log, [note(log)]).well_signed
        return
    with pytest.raises(ChainError) as caught:
        verify_log(signed, log, [note(log)])
    assert (caught.value.code, caught.value.where) == ("chain.old-tip", "record 1")


@pytest.mark.parametrize("body", [Genesis(0, KEYS.install, KEYS.old_tip), Genesis(1, b"J" * 32, KEYS.old_tip)])
def test_the_first_record_names_its_own_install(body: Genesis) -> None:
    assert refused(write([entry(body), BOOT]), []).code == "chain.old-tip"


def test_a_log_of_another_install_is_none_of_this() -> None:
    with pytest.raises(ChainError) as caught:
        verify_log(msgspec.structs.replace(KEYS, install=b"J" * 32), LOG, [])
    assert (caught.value.code, caught.value.where) == ("chain.link", "record 1")


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"tip": b"x" * 32}, "chain.tip"), ({"boot": 9}, "chain.tip"), ({"root": b"x" * 32}, "chain.root")],
)
def test_a_checkpoint_that_states_another_end_is_refused(fields: dict[str, Any], code: str) -> None:
    error = refused(LOG, [note(LOG, 5, **fields)])
    assert (error.code, error.where) == (code, "record 5")


def test_two_checkpoints_of_one_size_must_both_be_true() -> None:
    assert refused(LOG, [note(LOG, 5), note(LOG, 5, boot=9)]).code == "chain.tip"


def note_stating(size: int) -> tuple[int, bytes]:
    """A checkpoint over the whole log that claims to cover ``size`` records."""
    return size, sign_checkpoint(msgspec.structs.replace(checkpoint(LOG), size=size), RUNTIME)


def test_a_false_checkpoint_beyond_the_end_is_a_cut() -> None:
    assert refused(LOG, [(99, NOTES[2][1])]).code == "chain.checkpoint-size"
    assert refused(LOG, [note_stating(99)]).code == "chain.cut"
    assert refused(LOG, [], [msgspec.structs.replace(checkpoint(LOG), size=99)]).code == "chain.cut"


@pytest.mark.parametrize("index", range(len(LOG)))
def test_every_bit_of_a_signed_log_is_under_its_checkpoint(index: int) -> None:
    """The last record too, which no other one follows."""
    for bit in range(0, 8 * len(LOG[index]), 5):
        frame = bytearray(LOG[index])
        frame[bit // 8] ^= 1 << bit % 8
        refused([*LOG[:index], bytes(frame), *LOG[index + 1 :]])


def test_every_bit_of_a_checkpoint_is_under_its_signature() -> None:
    size, signed = NOTES[2]
    for bit in range(0, 8 * len(signed), 3):
        forged = bytearray(signed)
        forged[bit // 8] ^= 1 << bit % 8
        refused(LOG, [(size, bytes(forged))])


# --- cosignatures

CLIENT = SigningKey.from_seed(b"\x51" * 32)
FORKED = write([GENESIS, BOOT, *map(deferred, range(6))])  # as long as LOG[:8], and another


def grown(*entries: Entry, of: Sequence[bytes] = LOG[:8]) -> list[bytes]:
    """The log that goes on from ``of``."""
    state = new_state()
    for data in of:
        frame = decode_frame(data)
        state.append(Entry(kind=Kind(frame.kind), session=frame.session, body=frame.body), frame.time_ns)
    return [*of, *(state.append(one, 10**6 + number) for number, one in enumerate(entries))]


def test_what_a_client_cosigned_of_this_log_is_sound() -> None:
    log = grown(cosigned(checkpoint(LOG, 5), CLIENT), STOP)
    assert verify(log, [note(LOG, 1), note(LOG, 5), note(log)]).signed == len(log)


@pytest.mark.parametrize("notes", [[5, 10], [10]], ids=["stated here too", "never stated here"])
def test_two_logs_meet_where_a_client_of_one_has_cosigned_in_the_other(notes: list[int]) -> None:  # threat 50
    """The daemon signed both: the record is as good here as there, but for the log that it is about."""
    log = grown(cosigned(checkpoint(LOG, 5), CLIENT), STOP, of=FORKED)
    error = refused(log, [note(log, size) for size in notes])
    assert (error.code, error.where) == ("chain.split-view", "record 9")
    assert CLIENT.public.hex() in error.message


@pytest.mark.parametrize("fields", [{"root": ZEROS}, {"tip": ZEROS}, {"boot": 2}, {"size": 6}, {"size": 99}])
def test_a_client_that_was_shown_anything_else_is_evidence_against_this_log(fields: dict[str, Any]) -> None:
    shown = msgspec.structs.replace(checkpoint(LOG, 5), **fields)
    log = grown(cosigned(shown, CLIENT), STOP)
    assert refused(log, [note(LOG, 5), note(log)]).code == "chain.split-view"


def test_a_cosignature_whose_signatures_do_not_hold_is_refused() -> None:
    good = decode_frame(grown(cosigned(checkpoint(LOG, 5), CLIENT))[-1])
    body = decode(good.body, CosignedRecord, max_bytes=1000, what="a body")
    for name in ("stated", "signature"):
        forged = entry(msgspec.structs.replace(body, **{name: b"x" * 64}))
        error = refused(grown(forged), [note(LOG, 5)])
        assert (error.code, error.where) == ("checkpoint.bad-signature", "record 9")
    other = cosigned(checkpoint(LOG, 5), CLIENT, key=OTHER_RUNTIME)
    assert refused(grown(other), [note(LOG, 5)]).code == "checkpoint.bad-signature"


def test_a_cosignature_that_is_none_is_refused() -> None:
    garbage = Entry(kind=Kind.COSIGNED, session=b"", body=b"\x90")
    error = refused(grown(garbage), [note(LOG, 5)])
    assert (error.code, error.where) == ("chain.malformed", "record 9")


# --- any log, any change

entries = st.lists(
    st.one_of(st.integers(0, 50).map(note_of), st.integers(0, 50).map(deferred), st.just(BOOT), st.just(STOP)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100)
@given(entries, st.data())
def test_no_change_to_a_signed_log_passes(rest: list, data: st.DataObject) -> None:
    log = write([GENESIS, *rest])
    sizes = data.draw(st.sets(st.integers(1, len(log)), max_size=3)) | {len(log)}
    notes = [note(log, size) for size in sorted(sizes)]
    assert verify(log, notes).signed == len(log)
    at = data.draw(st.integers(0, len(log) - 1))
    other = data.draw(st.integers(0, len(log) - 1))
    kind = data.draw(st.sampled_from(("cut", "drop", "twice", "swap", "body", "anew")))
    match kind:
        case "cut":
            tampered = log[:at]
        case "drop":
            tampered = log[:at] + log[at + 1 :]
        case "twice":
            tampered = log[: at + 1] + log[at:]
        case "swap":
            tampered = list(log)
            tampered[at], tampered[other] = log[other], log[at]
        case "body":
            tampered = [*log[:at], changed(log[at], body=b"forged"), *log[at + 1 :]]
        case _:
            tampered = chained_anew([*log[:at], changed(log[at], body=b"forged"), *log[at + 1 :]])
    if tampered == log:
        return
    if kind == "twice" and at == len(log) - 1:
        # Something behind the signed end, which must not follow either.
        assert refused(tampered, notes).code == "chain.gap"
        return
    refused(tampered, notes)


def test_a_log_of_a_newer_version_is_said_to_be_one() -> None:
    log = write([entry(Genesis(2, KEYS.install, KEYS.old_tip)), BOOT])
    with pytest.raises(ChainError) as caught:
        verify_log(KEYS, log, [])
    assert (caught.value.code, caught.value.advice) == ("chain.newer", "update Astrid")
