"""Images that a person gives with a task: each is read and looked at here, named in the task, and handed over.

The task, which the person signs, names each image by its digest; so the daemon knows that these are the person's.

Source: architecture 6 (labels); threats 9.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import msgspec

from astrid.core.conversation import Image
from astrid.core.images import MAX_IMAGE_BYTES, MAX_SHOWN, MAX_SHOWN_BYTES, MAX_SIDE, image_of
from astrid.core.visible import visible
from astrid.errors import InputError
from astrid.frontends.client import Client
from astrid.wire import pictures as i

NAMED = "Image {path}: {media_type}, {width} x {height} pixels, SHA-256 {digest}"


class Given(msgspec.Struct, frozen=True):
    """An image as it was read: how the task names it, and its bytes."""

    name: str
    data: bytes


def read_images(files: Sequence[Path]) -> tuple[Given, ...]:
    """The images in ``files``.

    Raises:
        InputError: one of them is no image that a model could be shown, or they are too many.
    """
    given = tuple(map(_read, files))
    if len(given) > MAX_SHOWN or sum(len(one.data) for one in given) > MAX_SHOWN_BYTES:
        raise InputError(
            "exec.images",
            f"a model is shown at most {MAX_SHOWN} images of {MAX_SHOWN_BYTES} bytes together",
            advice="give fewer, or smaller ones",
        )
    return given


def with_images(task: str, images: Iterable[Given]) -> str:
    """``task``, and behind it the names of ``images``."""
    names = "\n".join(one.name for one in images)
    return f"{task}\n\n{names}".strip() if names else task


async def attach(client: Client, session: str, images: Iterable[Given]) -> tuple[int, ...]:
    """Hand ``images`` over for what is said to a session next; their records.

    Raises:
        AstridError: they are not taken.
    """
    return tuple([await _attach(client, session, one.data) for one in images])


async def _attach(client: Client, session: str, data: bytes) -> int:
    record = 0
    for at in range(0, len(data), i.MAX_PIECE_BYTES):
        piece = data[at : at + i.MAX_PIECE_BYTES]
        asked = i.AttachImage(session_id=session, size=len(data), offset=at, data=piece)
        record = cast("i.Attached", await client.call("attachImage", asked)).record
    return record


def _read(path: Path) -> Given:
    whole = str(path.resolve())
    # SAFETY: a name becomes a part of the person's own words, so nothing may hide in it or begin another line.
    if visible(whole) != whole or not whole.isprintable():
        raise _unfit(path, "its name holds what cannot be seen")
    try:
        # Without waiting, since the other end of a pipe may never come.
        with open(os.open(whole, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError as error:
        raise _unfit(path, error.strerror or "it cannot be read") from error
    image = image_of(data, 0)
    if image is None:
        raise _unfit(path, f"it is no PNG or JPEG of at most {MAX_IMAGE_BYTES} bytes and {MAX_SIDE} pixels a side")
    return Given(_name(whole, image), data)


def _name(path: str, image: Image) -> str:
    return NAMED.format(
        path=json.dumps(path, ensure_ascii=False),
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        digest=image.digest,
    )


def _unfit(path: Path, why: str) -> InputError:
    return InputError(
        "exec.image",
        f"a model cannot be shown this file: {why}",
        where=visible(str(path)),
        advice="name a PNG or JPEG of yours, or make a smaller copy of it",
    )
