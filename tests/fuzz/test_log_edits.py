"""One small log, and everything that can be done to each bit, record, place and checkpoint of it."""

from __future__ import annotations

import pytest

from astrid.errors import ChainError
from fuzz.log_mutation import Edit, check, check_place, flipped, make, note_edits, put, record_edits

LOG = make([0, 2, 3, 0, 5], {1, 3})  # six records with two starts, checkpoints over 1, 3 and 6
RECORDS, NOTES = range(len(LOG.frames)), range(len(LOG.notes))


@pytest.mark.parametrize("at", RECORDS)
def test_each_bit_of_each_record_is_missed_and_located(at: int) -> None:
    for bit in range(8 * len(LOG.frames[at])):
        check(LOG, Edit("a bit flipped", put(LOG.frames, at, flipped(LOG.frames[at], bit), instead_of=1), LOG.notes))


@pytest.mark.parametrize("at", NOTES)
def test_each_bit_of_each_checkpoint_is_missed_and_located(at: int) -> None:
    size, signed = LOG.notes[at]
    for bit in range(8 * len(signed)):
        check(LOG, Edit("a bit flipped", LOG.frames, put(LOG.notes, at, (size, flipped(signed, bit)), instead_of=1)))


@pytest.mark.parametrize("at", RECORDS)
def test_each_record_cut_taken_out_doubled_exchanged_or_written_anew_is_missed_and_located(at: int) -> None:
    seen: set[str] = set()
    for other in RECORDS:
        for length in range(0, 200, 7):
            for edit in record_edits(LOG, at, other, length):
                seen.add(edit.says)
                check(LOG, edit)
    assert {"cut off", "taken out", "doubled", "exchanged", "another put in", "forged"} <= seen
    if at in (2, 3, 5):  # neither the genesis nor a start: those cannot be left out and be numbered right
        assert {"forged and chained anew", "taken out and chained anew"} <= seen


@pytest.mark.parametrize("at", NOTES)
def test_each_checkpoint_exchanged_moved_or_signed_anew_is_missed_and_located(at: int) -> None:
    seen: set[str] = set()
    for other in NOTES:
        for length in range(0, 400, 7):
            for edit in note_edits(LOG, at, other, length):
                seen.add(edit.says)
                check(LOG, edit)
    assert {"another size", "another note", "signed by another key"} <= seen


def test_an_answer_that_names_another_place_fails_the_check() -> None:
    broken = put(LOG.frames, 2, flipped(LOG.frames[2], 400), instead_of=1)
    elsewhere = ChainError("chain.link", "a message", where="record 5")
    with pytest.raises(AssertionError, match="record 5, not 3 to"):
        check_place(LOG, Edit("a bit flipped", broken, LOG.notes), elsewhere)


def test_an_edit_that_passes_unseen_fails_the_check() -> None:
    cut = LOG.frames[:3], LOG.notes[:2]  # the tail, together with its checkpoint: only a witness could know
    check(LOG, Edit("cut off", *cut))
    with pytest.raises(AssertionError):
        check(make([1, 2, 3, 0, 5], {1, 3}), Edit("another log altogether", *cut))
