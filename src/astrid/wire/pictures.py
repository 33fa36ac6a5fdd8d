"""Images that a client gives with what it is about to say: asked and answered, a piece at a time.

Source: architecture 6 ("Labels"); protocol N9; threats 9.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from astrid.core.images import MAX_IMAGE_BYTES
from astrid.wire.fields import Safe, SessionText
from astrid.wire.params import Proven
from astrid.wire.results import Answer

MAX_PIECE_BYTES = 512 * 1024  # as base64 it fits into a message


class AttachImage(Proven, frozen=True, kw_only=True):
    """The bytes from ``offset`` on of an image that has ``size`` of them; 0 begins anew.  The pieces come in order."""

    session_id: SessionText
    size: Annotated[int, Meta(ge=1, le=MAX_IMAGE_BYTES)]
    offset: Annotated[int, Meta(ge=0, le=MAX_IMAGE_BYTES)]
    data: Annotated[bytes, Meta(min_length=1, max_length=MAX_PIECE_BYTES)]


class Attached(Answer, frozen=True, kw_only=True):
    """The record that has the image, by which ``sendInput`` names it; 0 while pieces of it are missing."""

    record: Safe
