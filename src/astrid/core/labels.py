"""Where text came from.  A label travels with every part of a conversation and only ever loses trust.  Pure.

Invariants:
  join is commutative, associative and idempotent, and never more trusted than either side.
  Text derived from labelled text (a summary, a title, an error) carries the join of what it was made from.

Source: architecture 6 ("Labels"); threats 9, 28, 49.
"""

from __future__ import annotations

import enum

import msgspec

MAX_ORIGINS = 64


class Integrity(enum.IntEnum):
    """How much a text may be believed, most trusted last.  Joining takes the smallest."""

    UNTRUSTED = 0  # tool results, files, web pages, standard input, pasted blocks, anything unmarked
    TOOL = 1  # produced by a tool whose installer declared its output first-party
    CAPABILITY = 2  # a literal that a signed token or plan names
    SIGNED_USER = 3  # typed by a person at a terminal or given as the literal task, and signed


class Label(msgspec.Struct, frozen=True):
    """``origins`` are log sequence numbers of the records that brought the text in, ascending.  Of more than 64 the
    first 64 are kept and the text is ``UNTRUSTED``: a text from everywhere is from nowhere.

    ``chosen``: among so few values that were offered that it is believed, somebody who is not believed chose this one.
    It steers nothing that matters (``tools.is_steered``).
    """

    integrity: Integrity
    origins: tuple[int, ...] = ()
    chosen: bool = False

    @property
    def tainted(self) -> bool:
        """Whether a decision made with this text in view counts as made under hostile influence."""
        return self.integrity is Integrity.UNTRUSTED


SIGNED_USER = Label(Integrity.SIGNED_USER)
UNTRUSTED = Label(Integrity.UNTRUSTED)
# What a person stands behind, but did not say: as far as what a first-party tool says, and no further.
VOUCHED = Label(Integrity.TOOL)
RUNTIME = Label(Integrity.SIGNED_USER)  # constant templates of the runtime itself


def join(*labels: Label) -> Label:
    """The label of a text made from texts with ``labels``; of nothing, the runtime's own."""
    integrity = min((label.integrity for label in labels), default=Integrity.SIGNED_USER)
    chosen = any(label.chosen for label in labels)
    origins = sorted({origin for label in labels for origin in label.origins})
    if len(origins) > MAX_ORIGINS:
        # The first 64 of a union do not depend on the order of joining; dropping them all would.
        return Label(Integrity.UNTRUSTED, tuple(origins[:MAX_ORIGINS]), chosen)
    return Label(integrity, tuple(origins), chosen)
