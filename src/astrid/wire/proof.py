"""What checking a proof of possession can say, and who is asked.  Types only, so that ``peer`` needs no cryptography.

Source: protocol N2.d; ``pop`` has the implementation.
"""

from __future__ import annotations

import enum
from typing import Protocol, TypeAlias

from msgspec import Struct

from astrid.wire.params import Proven


class PopFault(enum.Enum):
    """Why a proof was refused.  For the log; the other end hears ``wire.unproven`` whatever it was."""

    MISSING = "the request carries no proof"
    COUNTER = "the counter does not rise"
    SIGNATURE = "the signature is not the holder's over this request"


class PopAccepted(Struct, frozen=True):
    """The sender holds the key."""

    counter: int


class PopRefused(Struct, frozen=True):
    """The sender did not show that it holds the key; the request must not be acted on."""

    fault: PopFault


PopVerdict: TypeAlias = PopAccepted | PopRefused


class Verifier(Protocol):
    """Judges the requests of one connection, each once and in the order in which they came."""

    def check(self, method: str, params: Proven) -> PopVerdict:
        """Whether the holder sent this request, on this connection, after all those accepted before."""
        ...
