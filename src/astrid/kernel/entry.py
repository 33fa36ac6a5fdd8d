"""What stands in a mailbox: a message with who sent it, and one thing that looks like one and is none."""

from __future__ import annotations

from typing import cast

from astrid.kernel.ref import OUTSIDE, Sender
from astrid.kernel.slot import Slot

Entry = tuple[object, Sender, Slot | None]

_NO_SLOT = cast("Slot", object())  # so that a consumer need not ask of every message whether it is one

STOP: Entry = (None, OUTSIDE, _NO_SLOT)
"""Not a message: the consumer is to end."""
