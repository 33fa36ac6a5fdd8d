"""Where a session's journal is cut, so that what is left is a conversation up to and including one of its turns.  Pure.

Never: cuts inside a turn, for then a call of the model's would have no result.

Source: architecture 2 (core/turn).
"""

from __future__ import annotations

from collections.abc import Sequence

from astrid.core.turn_messages import AnyRow, EndRow, InputRow
from astrid.errors import InputError


def rows_up_to(rows: Sequence[AnyRow], turn: int | None = None) -> tuple[int, int]:
    """How many of ``rows`` are everything up to and including number ``turn`` (0: nothing), and that number.

    Without a number it is the last turn that ended.  What happened between that turn and the next one belongs to it.

    Raises:
        InputError: the journal has no such turn, or that did not end.
    """
    begins = [place for place, row in enumerate(rows) if isinstance(row, InputRow)]
    ended = len(begins)
    if begins and not any(isinstance(row, EndRow) for row in rows[begins[-1] :]):
        ended -= 1
    wanted = ended if turn is None else turn
    if not 0 <= wanted <= ended:
        raise InputError(
            "session.no-such-turn",
            f"the session has no turn {wanted} that ended",
            advice=f"name one from 0 (nothing) to {ended}",
        )
    if not wanted:
        return 0, 0
    return (begins[wanted] if wanted < len(begins) else len(rows)), wanted
