"""Where a turn stops by itself.  Pure data.

Source: architecture 2 (core/turn).
"""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a turn stops by itself."""

    asks_per_input: int = 50  # model calls
    asks_per_session: int = 1_000
    calls_per_answer: int = 64  # tool calls; those beyond are answered with an error
    side_by_side: int = 8  # tool calls proposed and not yet answered
    input_bytes: int = 1024 * 1024
    answer_bytes: int = 4 * 1024 * 1024
    argument_bytes: int = 1024 * 1024
    result_bytes: int = 32 * 1024  # longer results are cut; what is left out can be read by a handle
    same_rounds: int = 10  # of the same calls with the same results, one after the other
