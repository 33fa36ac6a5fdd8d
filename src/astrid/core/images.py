"""Images that a model is shown: what bytes are one, what it is called in words, and which of many are shown.  Pure.

Only what begins as no text does can be one, so that a result is never both.  The size in pixels is read from the
header, where whoever decodes the image reads it too.

Never: decodes an image, or keeps its bytes: an ``Image`` names the record by which they are found beside the log.

Source: PNG (third edition) 5.2, 11.2.1; ITU-T T.81, annex B; the vendors' limits on images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from astrid.core.conversation import Image, Message, Picture, ToolResult

# The vendors take 5 MiB of an image as it is sent, and base64 makes four bytes of three.
MAX_IMAGE_BYTES = 5 * 1024 * 1024 // 4 * 3
MAX_SIDE = 8_000
MAX_SHOWN = 20  # in one request: with more of them, vendors take smaller ones only
MAX_SHOWN_BYTES = 16 * 1024 * 1024  # of all of them together
PIXELS_PER_TOKEN = 750  # about

TOLD = "[{media_type}, {width} x {height} pixels, {size_bytes} bytes, sha256 {digest}]"
NOT_TAKEN = "[This model takes no images, so it is not shown.]"
LEFT_OUT = "[There are too many images, so it is not shown any more. Read the file again, or ask for it, to see it.]"
GONE = "[It is not kept for this session any more, so it is not shown. Read the file again, or ask for it, to see it.]"

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a header that tells the size
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length


def is_image(content: bytes) -> bool:
    """Whether ``content`` begins as an image does, and so as no text can."""
    return content.startswith((_PNG, _JPEG))


def image_of(content: bytes, record: int) -> Image | None:
    """The image that ``content`` is, found again beside record ``record``; ``None`` if it is none that can be shown:
    another format, broken, too long or too large.
    """
    if not is_image(content) or len(content) > MAX_IMAGE_BYTES:
        return None
    png = content.startswith(_PNG)
    width, height = _png_size(content) if png else _jpeg_size(content)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        return None
    media_type: Literal["image/png", "image/jpeg"] = "image/png" if png else "image/jpeg"
    return Image(
        media_type=media_type,
        width=width,
        height=height,
        size_bytes=len(content),
        digest=fingerprint(content),
        record=record,
    )


def fingerprint(content: bytes) -> str:
    """By which an image is known again."""
    return hashlib.sha256(content).hexdigest()


def told(image: Image) -> str:
    """What stands in a conversation beside the image, and for it where it cannot be shown."""
    return TOLD.format(
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        size_bytes=image.size_bytes,
        digest=image.digest[:16],
    )


def images_in(messages: Iterable[Message]) -> list[Image]:
    """All of them, in their order."""
    parts = [part for message in messages for part in message.parts if isinstance(part, ToolResult | Picture)]
    return [part.image for part in parts if part.image is not None]


def shown(messages: Iterable[Message]) -> frozenset[int]:
    """The records of the images that are shown: the latest ones, as many as a vendor takes."""
    room, found = MAX_SHOWN_BYTES, list[int]()
    for image in reversed(images_in(messages)):
        room -= image.size_bytes
        if room < 0 or len(found) >= MAX_SHOWN:
            break
        found.append(image.record)
    return frozenset(found)


def _png_size(content: bytes) -> tuple[int, int]:
    """Width and height; zero where there is no header."""
    if content[8:16] != b"\0\0\0\x0dIHDR" or len(content) < 24:
        return 0, 0
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Width and height of the first frame; zero where there is none before the image itself begins."""
    at = 2
    while content[at : at + 1] == b"\xff" and at + 9 <= len(content):
        marker = content[at + 1]
        if marker in _FRAMES:
            return int.from_bytes(content[at + 7 : at + 9]), int.from_bytes(content[at + 5 : at + 7])
        if marker == 0xFF:  # one may be filled up in front
            at += 1
        elif marker in _BARE:
            at += 2
        else:
            length = int.from_bytes(content[at + 2 : at + 4])
            if marker == 0xDA or length < 2:  # SAFETY: decoders may differ in where a broken segment ends
                break
            at += 2 + length
    return 0, 0
