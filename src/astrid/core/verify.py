"""Is this log whole?  Chain, tree, checkpoints and witnesses, in one pass over the records.  Pure.

Never: trusts a key that came with the log.  The install statement (or the runtime key) is given from outside.

What each check stops is named at the check.  A chain alone proves order; only a signed checkpoint kept elsewhere
proves that the end was not cut off or the whole rolled back.

Source: protocol N9 to N11; threats 11, 12, 33, 50.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import msgspec

from astrid.core.canon import encode
from astrid.core.chain import CHECKPOINT_RECORDS, ChainVerifier, Frame, decode_body
from astrid.core.checkpoint import Checkpoint, verify_checkpoint
from astrid.core.cosignature import check_record
from astrid.core.keys import PublicKey
from astrid.core.records import CosignedRecord, Genesis, Kind
from astrid.errors import ChainError

VERSION = 1  # of a log
_COSIGNED = int(Kind.COSIGNED)
_ADVICE = "keep this copy, compare it with others, and go on only with one that verifies"


class LogKeys(msgspec.Struct, frozen=True):
    """Who signs this log: from the user-signed install statement, never from the log's folder alone."""

    install: bytes  # H(install, I)
    log_id: bytes
    runtime_key: PublicKey
    old_tip: bytes = bytes(32)  # where a log ended that the user gave up for this one; zeros if there was none


class Verified(msgspec.Struct, frozen=True):
    """A log that holds together.  ``signed`` is the size that the last checkpoint covers; what lies behind it is
    the unsigned tail.
    """

    size: int
    signed: int
    checkpoints: int
    chain: ChainVerifier

    @property
    def tail(self) -> int:
        """Records behind the last checkpoint."""
        return self.size - self.signed

    @property
    def well_signed(self) -> bool:
        """Whether the unsigned tail is as short as a running daemon leaves it."""
        return self.signed > 0 and self.tail <= CHECKPOINT_RECORDS


def verify_log(
    keys: LogKeys,
    frames: Iterable[bytes],
    notes: Sequence[tuple[int, bytes]],
    witnesses: Sequence[Checkpoint] = (),
    each: Callable[[Frame], None] | None = None,
) -> Verified:
    """Read the whole log.  ``notes`` are its stored checkpoints with their sizes; ``witnesses`` verified ones that
    were kept elsewhere; ``each`` sees every record that followed.

    Raises:
        ChainError: ``where`` names the record or checkpoint, the message what is wrong with it.
    """
    stated = [_note(keys, size, note) for size, note in notes]
    signed = {checkpoint.size: checkpoint for checkpoint in stated}
    expected: dict[int, list[Checkpoint]] = {}
    for checkpoint in (*stated, *witnesses):
        expected.setdefault(checkpoint.size, []).append(checkpoint)
    chain = ChainVerifier(keys.install)
    for data in frames:
        frame = chain.feed(data)
        if frame.seq == 1:
            _check_genesis(keys, frame)
        if frame.kind == _COSIGNED:
            _check_cosigned(keys, frame, signed)
        if each is not None:
            each(frame)
        if frame.seq in expected:
            for checkpoint in expected.pop(frame.seq):
                _check_state(chain, checkpoint)
    if expected:
        # A cut tail, or the whole log rolled back: somebody has signed for more than there is.
        missing = max(expected)
        raise ChainError(
            "chain.cut",
            f"a checkpoint covers {missing} records and the log has {chain.size}",
            where=f"record {chain.size + 1}",
            advice=_ADVICE,
        )
    return Verified(chain.size, max((checkpoint.size for checkpoint in stated), default=0), len(stated), chain)


def _check_genesis(keys: LogKeys, frame: Frame) -> None:
    named = Genesis(VERSION, keys.install, keys.old_tip)
    # A log that forgets, or makes up, what was lost before it: what counts is what the user signed.
    if frame.body == encode(named):
        return
    if frame.body in [encode(msgspec.structs.replace(named, version=later)) for later in range(VERSION + 1, 256)]:
        raise ChainError(
            "chain.newer",
            "the log is of a later version: a newer Astrid began it",
            where="record 1",
            advice="update Astrid",
        )
    raise ChainError(
        "chain.old-tip",
        "the first record does not name this install, and the end of the log that the user gave up for it",
        where="record 1",
        advice=_ADVICE,
    )


def _check_cosigned(keys: LogKeys, frame: Frame, signed: Mapping[int, Checkpoint]) -> None:
    # INVARIANT: a client cosigns a checkpoint that the log holds already, so the tree was compared with it before.
    try:
        body = cast("CosignedRecord", decode_body(frame))
        seen = check_record(body, runtime_key=keys.runtime_key, log_id=keys.log_id)
        if signed.get(seen.size) != seen:  # the client was shown another log, and this record of it was copied in here
            raise ChainError(
                "chain.split-view",
                f"the client {body.key.hex()} has cosigned another log of {seen.size} records than this one",
                advice=_ADVICE,
            )
    except ChainError as error:
        error.where = f"record {frame.seq}"
        raise


def _note(keys: LogKeys, size: int, note: bytes) -> Checkpoint:
    try:
        # A re-signed log: the key is the one from outside, so another key's signature is none.
        checkpoint = verify_checkpoint(note, keys.runtime_key, keys.log_id)
        if checkpoint.size != size:  # two checkpoints swapped
            raise ChainError("chain.checkpoint-size", f"it is about {checkpoint.size} records", advice=_ADVICE)
    except ChainError as error:
        error.where = f"the checkpoint stored for {size} records"
        raise
    return checkpoint


def _check_state(chain: ChainVerifier, checkpoint: Checkpoint) -> None:
    where = f"record {chain.size}"
    if chain.tree.root() != checkpoint.root:  # records were changed and chained anew
        raise ChainError(
            "chain.root", "the records are not those that the checkpoint was signed over", where=where, advice=_ADVICE
        )
    if (chain.prev, chain.boot) != (checkpoint.tip, checkpoint.boot):
        raise ChainError("chain.tip", "the checkpoint names another end of the chain", where=where, advice=_ADVICE)
