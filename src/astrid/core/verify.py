"""Is this log whole?  Chain, tree, checkpoints and witnesses, in one pass over the records.  Pure.

Never: trusts a key that came with the log.  The install statement (or the runtime key) is given from outside.

What each check stops is named at the check.  A chain alone proves order; only a signed checkpoint kept elsewhere
proves that the end was not cut off or the whole rolled back.

Source: protocol N9 to N11; threats 11, 12, 33.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from astrid.core.chain import CHECKPOINT_RECORDS, ChainVerifier, Frame
from astrid.core.checkpoint import Checkpoint, verify_checkpoint
from astrid.core.keys import PublicKey
from astrid.errors import ChainError

_ADVICE = "keep this copy, compare it with others, and go on only with one that verifies"


class LogKeys(msgspec.Struct, frozen=True):
    """Who signs this log: from the user-signed install statement, never from the log's folder alone."""

    install: bytes  # H(install, I)
    log_id: bytes
    runtime_key: PublicKey


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
    expected: dict[int, list[Checkpoint]] = {}
    for checkpoint in (*stated, *witnesses):
        expected.setdefault(checkpoint.size, []).append(checkpoint)
    chain = ChainVerifier(keys.install)
    for data in frames:
        frame = chain.feed(data)
        if each is not None:
            each(frame)
        for checkpoint in expected.pop(chain.size, ()):
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
