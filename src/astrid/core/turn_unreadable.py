"""Why a row of a session's journal cannot be read: a newer version wrote it, or nobody did.  Pure.

Never: has any of such a row believed.  What may be left out of it, an older version cannot know.

Source: architecture 2 (core/turn); protocol N9.
"""

from __future__ import annotations

import msgspec

from astrid.errors import CanonError


def unreadable(error: Exception) -> CanonError:
    """What to tell of a row that failed to decode with ``error``."""
    text = str(error)
    # A kind of row, or a part of one, that this version does not have.
    unknown = (text.startswith("Invalid value ") and text.endswith(" - at `$.row`")) or "unknown field" in text
    if isinstance(error, msgspec.ValidationError) and unknown:
        return CanonError(
            "canon.newer-row", f"a newer Astrid wrote a row of a session's journal: {text}", advice="update Astrid"
        )
    return CanonError("canon.turn-row", f"not a row of a session's journal: {text}")
