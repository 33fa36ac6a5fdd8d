"""Images that a client gives with what it is about to say: taken in pieces, looked at, and kept beside the log.

What is said then refers to each by the number of its record, and names it by its digest (``runtime.hearing``).

Never: keeps an image for a session whose model is shown none, or lets a client refer to one that it did not give here.

Source: architecture 6 ("Labels"); protocol N9; threats 9.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from astrid.core.conversation import Image
from astrid.core.ids import is_scripted, parse_id
from astrid.core.images import MAX_IMAGE_BYTES, MAX_SHOWN, MAX_SIDE, image_of
from astrid.errors import ConfigError, InputError
from astrid.messages.gateway import SessionLine
from astrid.wire.pictures import Attached, AttachImage

Lines = Callable[[bytes], Awaitable[tuple[SessionLine, ...]]]
Keep = Callable[[bytes, bytes], Awaitable[int]]


class Pictures:
    """See the module.  On behalf of one connection: ``lines`` tells of a session, ``shown`` whether a model is shown
    images, ``keep`` has the bytes of one recorded for a session, and gives the record.
    """

    def __init__(self, lines: Lines, shown: Callable[[str], bool], keep: Keep) -> None:
        self._lines = lines
        self._shown = shown
        self._keep = keep
        self._begun = (b"", 0)  # whose the unfinished image is, and how many bytes it is to have
        self._held = bytearray()
        self._given: dict[tuple[bytes, int], Image] = {}  # the latest, by session and record

    async def take(self, asked: AttachImage) -> Attached:
        """The next piece of an image.

        Raises:
            ConfigError: the session's model is shown none.
            InputError: the session hears nothing, the piece is not the next one, or the whole is no image.
            AstridError: it cannot be recorded.
        """
        session = parse_id("session", asked.session_id)
        if asked.offset == 0:
            await self._check(session)
            self._begun = session, asked.size
            self._held.clear()
        end = asked.offset + len(asked.data)
        if self._begun != (session, asked.size) or asked.offset != len(self._held) or end > asked.size:
            raise InputError("image.piece", "this is not the next piece of the image", advice="begin it again")
        self._held += asked.data
        if end < asked.size:
            return Attached(record=0)
        whole = bytes(self._held)
        self._held.clear()
        image = image_of(whole, 0)
        if image is None:
            raise InputError(
                "image.unfit",
                f"it is no PNG or JPEG of at most {MAX_IMAGE_BYTES} bytes and {MAX_SIDE} pixels a side",
                advice="make a smaller copy of it",
            )
        record = await self._keep(session, whole)
        self._given[session, record] = msgspec.structs.replace(image, record=record)
        while len(self._given) > MAX_SHOWN:
            del self._given[next(iter(self._given))]
        return Attached(record=record)

    def given(self, session: bytes, records: tuple[int, ...]) -> tuple[Image, ...]:
        """The images that a client refers to.

        Raises:
            InputError: one of them was not given here.
        """
        missing = [record for record in records if (session, record) not in self._given]
        if missing:
            raise InputError(
                "image.unknown",
                f"no image was given here as record {missing[0]}",
                advice="give it again before the text",
            )
        return tuple(self._given[session, record] for record in records)

    async def _check(self, session: bytes) -> None:
        lines = await self._lines(session)
        if not lines or lines[0].parent:
            raise InputError(
                "image.no-session", "there is no session that would hear of it", advice="see `astrid sessions list`"
            )
        if is_scripted(session) or not self._shown(lines[0].model):
            raise ConfigError(
                "model.no-images",
                f"`{lines[0].model}` is not shown images",
                advice="see `astrid models list`; if it does take them, set models.*.images",
            )
