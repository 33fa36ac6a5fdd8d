"""INVARIANT: no edit of a log and its checkpoints passes unseen, and the answer says where the first damage is.

Edits are those of somebody who may write the files: flip bits, cut, take out, put in, double, exchange, chain
everything anew, sign with another key, exchange or move checkpoints, put an older copy in its place.  A witness is a
checkpoint that was kept elsewhere.  Where the answer must lie is computed from the bytes alone: not before the first
record that differs, and not behind the first place at which that can show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from astrid.core.chain import decode_frame
from astrid.core.verify import LogKeys, Verified, verify_log
from astrid.errors import ChainError
from tests.fakes.logs import (
    BOOT,
    GENESIS,
    KEYS,
    OTHER_RUNTIME,
    STOP,
    chained_anew,
    changed,
    checkpoint,
    deferred,
    note,
    note_of,
    write,
)

Note = tuple[int, bytes]


@dataclass(frozen=True)
class Log:
    """A sound log: its records, and its checkpoints with their sizes."""

    frames: tuple[bytes, ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Edit:
    """What somebody made of a log.  ``chained``: the records follow each other, whatever they say."""

    says: str
    frames: tuple[bytes, ...]
    notes: tuple[Note, ...]
    chained: bool = False


def make(kinds: list[int], sizes: set[int]) -> Log:
    entries = [GENESIS, *((note_of, deferred)[kind % 2](kind) if kind > 1 else (BOOT, STOP)[kind] for kind in kinds)]
    frames = write(entries)
    notes = tuple(note(frames, size) for size in sorted({*sizes, len(frames)}) if 0 < size <= len(frames))
    return Log(tuple(frames), notes)


def flipped(data: bytes, bit: int) -> bytes:
    changed_bytes = bytearray(data)
    changed_bytes[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed_bytes)


def put(items: tuple, at: int, *new: object, instead_of: int = 0) -> tuple:
    return (*items[:at], *new, *items[at + instead_of :])


def record_edits(log: Log, at: int, other: int, bit: int) -> Iterator[Edit]:
    """Everything that can be done to record ``at`` (counted from 0), with ``other`` as the second place or record."""
    frames, notes = log.frames, log.notes
    yield Edit("a bit flipped", put(frames, at, flipped(frames[at], bit), instead_of=1), notes)
    yield Edit("cut off", frames[:at], notes)
    yield Edit("taken out", put(frames, at, instead_of=1), notes)
    yield Edit("doubled", put(frames, at, frames[at]), notes)
    yield Edit("another put in", put(frames, at, frames[other]), notes)
    swapped = list(frames)
    swapped[at], swapped[other] = frames[other], frames[at]
    yield Edit("exchanged", tuple(swapped), notes)
    yield Edit("shortened", put(frames, at, frames[at][: bit % len(frames[at])], instead_of=1), notes)
    yield Edit("lengthened", put(frames, at, frames[at] + bytes([bit % 256]), instead_of=1), notes)
    if at + 1 < len(frames):
        whole = frames[at] + frames[at + 1]
        cut = bit % (len(whole) - 1) + 1
        yield Edit("the border moved", put(frames, at, whole[:cut], whole[cut:], instead_of=2), notes)
    forged = changed(frames[at], body=b"forged")
    yield Edit("forged", put(frames, at, forged, instead_of=1), notes)
    if at > 0:  # the first record is the genesis; another one in its place never is
        rewritten = {
            "forged and chained anew": put(frames, at, forged, instead_of=1),
            "taken out and chained anew": put(frames, at, instead_of=1),
            "doubled and chained anew": put(frames, at, frames[at]),
        }
        for says, made in rewritten.items():
            if boots_in_order(made):
                yield Edit(says, tuple(chained_anew(list(made))), notes, chained=True)


def boots_in_order(frames: tuple[bytes, ...]) -> bool:
    """Whether the starts are numbered one after the other, as whoever forges would see to."""
    decoded = [decode_frame(data) for data in frames]
    numbers = [0, *(frame.boot for frame in decoded)]
    return all(
        frame.boot == before + (frame.kind == BOOT.kind) for before, frame in zip(numbers[:-1], decoded, strict=True)
    )


def note_edits(log: Log, at: int, other: int, bit: int) -> Iterator[Edit]:
    """Everything that can be done to checkpoint ``at``, with ``other`` as the second one."""
    frames, notes = log.frames, log.notes
    size, signed = notes[at]
    yield Edit("its note flipped", frames, put(notes, at, (size, flipped(signed, bit)), instead_of=1))
    yield Edit("its note cut", frames, put(notes, at, (size, signed[: bit % len(signed)]), instead_of=1))
    yield Edit("another size", frames, put(notes, at, ((size + bit) % 99 + 1, signed), instead_of=1))
    yield Edit("another note", frames, put(notes, at, (size, notes[other][1]), instead_of=1))
    stranger = note(list(frames), size, key=OTHER_RUNTIME)
    yield Edit("signed by another key", frames, put(notes, at, stranger, instead_of=1))
    told: dict[str, Any] = {"tip": {"tip": bytes([bit % 256]) * 32}, "boot": {"boot": 99}, "root": {"root": bytes(32)}}
    for says, fields in told.items():  # the runtime itself was made to sign it
        yield Edit(f"states another {says}", frames, put(notes, at, note(list(frames), size, **fields), instead_of=1))
    covered = log.frames[:size]
    if size > 1:
        forged = tuple(chained_anew([*covered[:-1], changed(covered[-1], body=b"forged")]))
        resigned = note(list(forged), key=OTHER_RUNTIME)
        yield Edit("forged and signed anew", (*forged, *frames[size:]), put(notes, at, resigned, instead_of=1))
        yield Edit(
            "signed by the runtime for other records", frames, put(notes, at, note(list(forged)), instead_of=1), True
        )


def check(log: Log, edit: Edit, keys: LogKeys = KEYS) -> None:
    """The edit is refused, and the place is right; or it changed nothing."""
    if (edit.frames, edit.notes) == (log.frames, log.notes):
        return
    try:
        verified = verify_log(keys, edit.frames, edit.notes)
    except ChainError as error:
        check_place(log, edit, error)
        return
    passes_only_unsigned(log, edit, verified)


def passes_only_unsigned(log: Log, edit: Edit, verified: Verified) -> None:
    """What passes has left every record under a checkpoint as it was, and says how much is under none."""
    signed = max((size for size, _ in edit.notes), default=0)
    assert edit.frames[:signed] == log.frames[:signed], edit.says
    assert set(edit.notes) <= set(log.notes), edit.says
    assert (verified.signed, verified.size) == (signed, len(edit.frames)), edit.says


def check_place(log: Log, edit: Edit, error: ChainError) -> None:
    stored = re.fullmatch(r"the checkpoint stored for (\d+) records", error.where)
    if stored:
        first = next(new for new, _old in zip_longest(edit.notes, log.notes) if new != _old)
        assert int(stored[1]) == first[0], f"{edit.says}: {error.where}"
        return
    named = re.fullmatch(r"record (\d+)", error.where)
    assert named, f"{edit.says}: the place is `{error.where}`"
    pairs = enumerate(zip_longest(edit.frames, log.frames), 1)
    differs = next((seq for seq, (new, old) in pairs if new != old), None)
    sizes = sorted(size for size, _ in edit.notes)
    if differs is None:  # only checkpoints were touched, and one is signed by the runtime
        assert int(named[1]) in sizes, edit.says
        return
    # A record that is changed shows at once, or in the link of the next one, or else under the next checkpoint.
    shows = next((size for size in sizes if size >= differs), len(edit.frames) + 1)
    latest = shows if edit.chained else min(differs + 1, max(shows, differs))
    if len(edit.frames) < shows:  # there is no such record any more: the answer is where it is missing
        latest = max(latest if not edit.chained else 0, len(edit.frames) + 1)
    assert differs <= int(named[1]) <= latest, f"{edit.says}: {error.where}, not {differs} to {latest}"


kinds = st.lists(st.integers(0, 60), max_size=9)
logs = st.builds(make, kinds, st.sets(st.integers(1, 10), max_size=3))
places = st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 2000))


@given(logs, places)
def test_no_edit_of_a_record_passes_and_each_is_located(log: Log, place: tuple[int, int, int]) -> None:
    at, other, bit = place
    for edit in record_edits(log, at % len(log.frames), other % len(log.frames), bit):
        check(log, edit)


@given(logs, places)
def test_no_edit_of_a_checkpoint_passes_and_each_is_located(log: Log, place: tuple[int, int, int]) -> None:
    at, other, bit = place
    for edit in note_edits(log, at % len(log.notes), other % len(log.notes), bit):
        check(log, edit)


@given(logs, st.lists(places, min_size=2, max_size=3))
def test_edits_on_edits_do_not_hide_each_other(log: Log, several: list[tuple[int, int, int]]) -> None:
    """Each further edit is made on what the one before left; the answer names a place at or behind the first."""
    made = Edit("", log.frames, log.notes)
    for at, other, bit in several:
        now = Log(made.frames, made.notes)
        if not now.frames:
            break
        edits = list(record_edits_of_anything(now, at % len(now.frames), other % len(now.frames), bit))
        made = edits[bit % len(edits)]
    if (made.frames, made.notes) == (log.frames, log.notes):
        return
    try:
        verified = verify_log(KEYS, made.frames, made.notes)
    except ChainError as error:
        pairs = enumerate(zip_longest(made.frames, log.frames), 1)
        differs = next(seq for seq, (new, old) in pairs if new != old)
        assert re.fullmatch(r"record (\d+)", error.where), error.where
        assert int(error.where.removeprefix("record ")) >= differs
    else:
        passes_only_unsigned(log, made, verified)


def record_edits_of_anything(log: Log, at: int, other: int, bit: int) -> Iterator[Edit]:
    """Edits that need no readable record."""
    frames, notes = log.frames, log.notes
    if frames[at]:
        yield Edit("a bit flipped", put(frames, at, flipped(frames[at], bit), instead_of=1), notes)
    yield Edit("cut off", frames[:at], notes)
    yield Edit("taken out", put(frames, at, instead_of=1), notes)
    yield Edit("doubled", put(frames, at, frames[at]), notes)
    yield Edit("another put in", put(frames, at, frames[other]), notes)
    yield Edit("lengthened", put(frames, at, frames[at] + b"\0", instead_of=1), notes)


@given(logs, st.integers(0, 99), st.integers(0, 99))
def test_an_older_copy_is_missed_by_whoever_saw_more(log: Log, keep: int, seen: int) -> None:
    """The tail is cut together with its checkpoints: within the files nothing is wrong, but a witness knows."""
    kept = keep % (len(log.frames) + 1)
    witness = checkpoint(list(log.frames), seen % len(log.frames) + 1)
    frames, notes = log.frames[:kept], tuple(stored for stored in log.notes if stored[0] <= kept)
    assert verify_log(KEYS, frames, notes).size == kept
    try:
        verify_log(KEYS, frames, notes, [witness])
    except ChainError as error:
        assert (error.code, error.where) == ("chain.cut", f"record {kept + 1}")
        assert witness.size > kept
    else:
        assert witness.size <= kept


@given(kinds, kinds.filter(bool), st.integers(0, 99))
def test_an_older_copy_that_went_on_is_another_log_to_a_witness(had: list[int], rest: list[int], keep: int) -> None:
    """The runtime itself was made to sign what became of the copy: nothing within the files is wrong."""
    log, grown = make(had, set()), make([*had[: keep % (len(had) + 1)], *rest], set())
    if grown.frames[: len(log.frames)] == log.frames:
        return
    assert verify_log(KEYS, grown.frames, grown.notes).well_signed
    witness = checkpoint(list(log.frames))
    try:
        verify_log(KEYS, grown.frames, grown.notes, [witness])
    except ChainError as error:
        cut = witness.size > len(grown.frames)
        assert error.code == ("chain.cut" if cut else "chain.root")
        assert error.where == f"record {len(grown.frames) + 1 if cut else witness.size}"
    else:
        raise AssertionError("a witness of another log agreed")
