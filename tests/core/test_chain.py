"""The log as a chain: written, read back, and every way to tamper with it found at the record where it happened."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.canon import encode
from astrid.core.chain import (
    CHECKPOINT_NS,
    CHECKPOINT_RECORDS,
    MAX_FRAME_BYTES,
    ChainState,
    ChainVerifier,
    Tip,
    decode_body,
    decode_frame,
    frame_digest,
    genesis_tip,
    verify_frames,
)
from astrid.core.merkle import CompactRange, leaf_hash
from astrid.core.records import BODIES, CoalescedRecord, Entry, Kind, Stop
from astrid.core.tiles import TILE_WIDTH
from astrid.errors import CanonError, ChainError, InternalError
from tests.fakes.logs import (
    BOOT,
    GENESIS,
    INSTALL,
    STOP,
    chained_anew,
    changed,
    deferred,
    new_state,
    note_of,
    some_log,
    write,
)

LOG = some_log()


def refused(frames: list[bytes]) -> ChainError:
    with pytest.raises(ChainError) as caught:
        verify_frames(INSTALL, frames)
    return caught.value


# --- what is written is what is read


def test_a_written_log_verifies_and_ends_where_the_writer_stands() -> None:
    state = new_state()
    frames = [state.append(one, 7) for one in (GENESIS, BOOT, note_of(1), STOP)]
    state.durable(4)
    verified = verify_frames(INSTALL, frames)
    assert verified.tip == state.tip == state.durable_tip
    assert verified.tip == Tip(4, frame_digest(frames[-1]), 1, 7)
    assert verified.tree.root() == state.tree.root()


def test_an_empty_log_is_sound_and_has_nothing() -> None:
    assert verify_frames(INSTALL, []).tip == Tip(0, genesis_tip(INSTALL), 0, 0)


def test_records_are_numbered_from_one_and_hold_what_they_were_given() -> None:
    frames = [decode_frame(data) for data in LOG]
    assert [frame.seq for frame in frames] == list(range(1, len(LOG) + 1))
    assert decode_body(frames[1]) == decode_body(decode_frame(LOG[1]))
    assert frames[0].kind == Kind.GENESIS
    last = decode_frame(write([GENESIS, note_of(4, b"S" * 16)])[-1])
    assert (last.session, decode_body(last)) == (b"S" * 16, CoalescedRecord("tool.unknown", 4))


def test_the_start_counts_up_by_one_with_each_start() -> None:
    frames = write([GENESIS, BOOT, note_of(1), BOOT, BOOT, STOP])
    assert [decode_frame(data).boot for data in frames] == [0, 1, 1, 2, 3, 3]


def test_the_time_of_the_log_never_falls_whatever_the_clock_says() -> None:
    frames = write([GENESIS, BOOT, note_of(1), note_of(2)], [50, 20, 70, 0])
    assert [decode_frame(data).time_ns for data in frames] == [50, 50, 70, 70]
    verify_frames(INSTALL, frames)


def test_a_log_of_another_install_does_not_start_here() -> None:
    with pytest.raises(ChainError) as caught:
        verify_frames(b"J" * 32, LOG)
    assert (caught.value.code, caught.value.where) == ("chain.link", "record 1")


def test_what_cannot_be_a_record_leaves_the_writer_as_it_was() -> None:
    state = new_state()
    state.append(GENESIS, 1)
    before = state.tip
    with pytest.raises(CanonError):
        state.append(Entry(kind=Kind.STOP, session=b"S" * 16, body="no bytes"), 2)  # type: ignore[arg-type]
    assert state.tip == before


# --- what is durable


def test_only_durable_records_are_in_the_tree() -> None:
    state = new_state()
    frames = [state.append(one, 1) for one in (GENESIS, BOOT, STOP)]
    state.durable(2)
    tree = CompactRange()
    for data in frames[:2]:
        tree.append(leaf_hash(data))
    assert state.tree.root() == tree.root()
    assert (state.durable_tip.size, state.tip.size) == (2, 3)
    assert state.durable(2) == []


@pytest.mark.parametrize("size", [1, 4])
def test_no_more_and_no_less_becomes_durable_than_was_appended(size: int) -> None:
    state = new_state()
    for one in (GENESIS, BOOT, STOP):
        state.append(one, 1)
    state.durable(2)
    with pytest.raises(InternalError, match="more records"):
        state.durable(size)
    assert state.durable_tip.size == 2


def test_a_full_tile_is_given_out_with_the_record_that_fills_it() -> None:
    state = new_state()
    for one in (GENESIS, *map(note_of, range(TILE_WIDTH))):
        state.append(one, 1)
    assert state.durable(TILE_WIDTH - 1) == []
    (tile,) = state.durable(TILE_WIDTH)
    assert (tile.level, tile.index, len(tile.hashes)) == (0, 0, 32 * TILE_WIDTH)


# --- when a checkpoint is due


def state_of(durable: int, appended: int = 0) -> ChainState:
    state = new_state()
    for one in (GENESIS, *map(note_of, range(durable + appended - 1))):
        state.append(one, 1)
    state.durable(durable)
    return state


def test_a_checkpoint_is_due_after_a_minute_if_there_is_anything_new() -> None:
    state = state_of(2)
    state.checkpointed(1, 0)
    assert not state.checkpoint_due(CHECKPOINT_NS - 1)
    assert state.checkpoint_due(CHECKPOINT_NS)
    state.checkpointed(2, CHECKPOINT_NS)
    assert not state.checkpoint_due(10 * CHECKPOINT_NS)


def test_a_minute_is_counted_from_the_last_checkpoint() -> None:
    state = state_of(2)
    state.checkpointed(1, 5 * CHECKPOINT_NS)
    assert not state.checkpoint_due(6 * CHECKPOINT_NS - 1)
    assert state.checkpoint_due(6 * CHECKPOINT_NS)
    assert (CHECKPOINT_RECORDS, CHECKPOINT_NS) == (1000, 60 * 10**9)


def test_a_checkpoint_is_due_after_a_thousand_durable_records() -> None:
    state = state_of(CHECKPOINT_RECORDS, appended=1)
    state.checkpointed(1, 0)
    assert not state.checkpoint_due(0)
    state.durable(CHECKPOINT_RECORDS + 1)
    assert state.checkpoint_due(0)


def test_the_first_checkpoint_of_a_start_is_due_at_once() -> None:
    assert state_of(1).checkpoint_due(CHECKPOINT_NS)
    assert not new_state().checkpoint_due(CHECKPOINT_NS)


# --- tampering, one kind at a time

AT = 5  # the record that is tampered with


@pytest.mark.parametrize(
    ("frames", "code", "at"),
    [
        pytest.param(LOG[:AT] + LOG[AT + 1 :], "chain.gap", AT + 1, id="one is left out"),
        pytest.param(LOG[:AT] + LOG[AT - 1 :], "chain.gap", AT + 1, id="one is there twice"),
        pytest.param([*LOG[:AT], LOG[AT + 1], LOG[AT], *LOG[AT + 2 :]], "chain.gap", AT + 1, id="two are swapped"),
        pytest.param(LOG[1:], "chain.gap", 1, id="the first is left out"),
        pytest.param([*LOG[:AT], *LOG], "chain.gap", AT + 1, id="the log starts again in the middle"),
        pytest.param([*LOG[:AT], b"", *LOG[AT:]], "chain.malformed", AT + 1, id="one is empty"),
        pytest.param([*LOG[:AT], LOG[AT][:-1], *LOG[AT + 1 :]], "chain.malformed", AT + 1, id="one is cut short"),
        pytest.param([*LOG[:AT], LOG[AT] + b"\0", *LOG[AT + 1 :]], "chain.malformed", AT + 1, id="one is longer"),
        pytest.param(
            [*LOG[:AT], changed(LOG[AT], body=b"x"), *LOG[AT + 1 :]], "chain.link", AT + 2, id="a body is changed"
        ),
        pytest.param(
            [*LOG[:AT], changed(LOG[AT], prev=b"x" * 32), *LOG[AT + 1 :]], "chain.link", AT + 1, id="a link is changed"
        ),
        pytest.param(
            [*LOG[:AT], changed(LOG[AT], kind=int(Kind.BOOT)), *LOG[AT + 1 :]], "chain.boot", AT + 1, id="a kind"
        ),
        pytest.param([*LOG[:AT], changed(LOG[AT], boot=0), *LOG[AT + 1 :]], "chain.boot", AT + 1, id="a start falls"),
        pytest.param([*LOG[:AT], changed(LOG[AT], boot=9), *LOG[AT + 1 :]], "chain.boot", AT + 1, id="a start jumps"),
        pytest.param([*LOG[:AT], changed(LOG[AT], time_ns=1), *LOG[AT + 1 :]], "chain.time", AT + 1, id="time falls"),
        pytest.param([*LOG[:AT], changed(LOG[AT], session=b"x"), *LOG[AT + 1 :]], "chain.malformed", AT + 1, id="half"),
        pytest.param([changed(LOG[0], kind=int(Kind.STOP))], "chain.genesis", 1, id="no genesis"),
        pytest.param(chained_anew([*LOG[:AT], changed(LOG[0], time_ns=99, boot=1)]), "chain.genesis", AT + 1, id="two"),
    ],
)
def test_what_was_tampered_with_is_found_at_its_record(frames: list[bytes], code: str, at: int) -> None:
    error = refused(frames)
    assert (error.code, error.where) == (code, f"record {at}")


def test_what_was_changed_and_chained_anew_follows_and_only_a_checkpoint_tells() -> None:
    """What a chain alone cannot do; ``test_verify`` has the rest."""
    forged = chained_anew([*LOG[:AT], changed(LOG[AT], body=LOG[2]), *LOG[AT + 2 :]])
    assert verify_frames(INSTALL, forged).size == len(LOG) - 1
    assert verify_frames(INSTALL, LOG[:AT]).size == AT


@settings(max_examples=200)
@given(st.integers(0, len(LOG) - 2), st.data())
def test_every_bit_of_a_record_that_another_one_follows_is_under_the_chain(index: int, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(LOG[index]) - 1))
    frame = bytearray(LOG[index])
    frame[bit // 8] ^= 1 << bit % 8
    error = refused([*LOG[:index], bytes(frame), *LOG[index + 1 :]])
    assert error.where in (f"record {index + 1}", f"record {index + 2}")


def test_every_single_bit_of_a_whole_short_log_is_under_the_chain() -> None:
    log = write([GENESIS, BOOT, note_of(1), STOP])
    for index, data in enumerate(log[:-1]):
        for bit in range(8 * len(data)):
            frame = bytearray(data)
            frame[bit // 8] ^= 1 << bit % 8
            refused([*log[:index], bytes(frame), *log[index + 1 :]])


entries = st.lists(
    st.one_of(st.integers(0, 50).map(note_of), st.integers(0, 50).map(deferred), st.just(BOOT), st.just(STOP)),
    max_size=15,
)
times = st.integers(0, 100)


@settings(max_examples=100)
@given(entries, st.data())
def test_every_log_that_was_written_verifies_and_so_does_every_beginning_of_it(
    rest: list[Entry], data: st.DataObject
) -> None:
    log = write([GENESIS, *rest], data.draw(st.lists(times, min_size=len(rest) + 1, max_size=len(rest) + 1)))
    cut = data.draw(st.integers(0, len(log)))
    assert verify_frames(INSTALL, log[:cut]).size == cut


@settings(max_examples=200)
@given(entries, st.data())
def test_no_other_order_choice_or_number_of_the_same_records_verifies(rest: list[Entry], data: st.DataObject) -> None:
    log = write([GENESIS, BOOT, *rest])
    shuffled = data.draw(st.lists(st.sampled_from(log), min_size=1, max_size=len(log) + 2))
    if shuffled == log[: len(shuffled)]:
        assert verify_frames(INSTALL, shuffled).size == len(shuffled)
    else:
        refused(shuffled)


def test_a_reader_that_refused_stands_where_it_stood() -> None:
    verifier = ChainVerifier(INSTALL)
    for data in LOG[:AT]:
        verifier.feed(data)
    before = (verifier.tip, verifier.tree.root())
    for wrong in (LOG[AT + 1], b"", changed(LOG[AT], prev=b"x" * 32)):
        with pytest.raises(ChainError):
            verifier.feed(wrong)
    assert (verifier.tip, verifier.tree.root()) == before
    assert verifier.feed(LOG[AT]).seq == AT + 1


# --- frames and bodies


def test_a_frame_has_one_spelling() -> None:
    data = LOG[3]
    longer_headers = (b"\xdc\x00\x07" + data[1:], data[:1] + b"\xc5\x00\x20" + data[3:])
    for other in (*longer_headers, data + data, data[:-1]):
        with pytest.raises(ChainError):
            decode_frame(other)


def test_a_frame_that_is_too_long_is_not_decoded() -> None:
    with pytest.raises(ChainError, match="bytes"):
        decode_frame(b"\0" * (MAX_FRAME_BYTES + 1))


def test_a_body_is_of_its_kind_or_refused() -> None:
    stop = decode_frame(write([GENESIS, STOP])[1])
    assert decode_body(stop) == Stop("ordered")
    for kind, body, code in (
        (999, stop.body, "chain.kind"),
        (int(Kind.COSIGNED), stop.body, "chain.malformed"),
        (int(Kind.BOOT), stop.body, "chain.malformed"),
        (int(Kind.STOP), stop.body + b"\0", "chain.malformed"),
    ):
        frame = decode_frame(changed(encode(stop), kind=kind, body=body))
        with pytest.raises(ChainError) as caught:
            decode_body(frame)
        assert caught.value.code == code
    assert Kind.STOP in BODIES


def test_a_record_of_a_newer_version_is_said_to_be_one() -> None:
    stop = encode(decode_frame(write([GENESIS, STOP])[1]))
    with pytest.raises(ChainError) as caught:
        decode_body(decode_frame(changed(stop, kind=999)))
    assert "of kind 999, which this version does not know: a newer Astrid wrote it" in caught.value.message
    assert "update Astrid" in caught.value.advice
