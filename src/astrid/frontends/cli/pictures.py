"""Images that a person gives with a task: each is looked at here, and named in the task for the model to read.

The bytes go no other way than those of every file: by a ``read_file`` that the gate decides, out of which an image
comes that is as untrusted as its file.

Source: architecture 5 (one choke point), 6 (labels).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from astrid.core.images import MAX_IMAGE_BYTES, MAX_SIDE, image_of
from astrid.core.visible import visible
from astrid.errors import InputError

LOOK = "Look at this with read_file: {names}"


def with_images(task: str, files: Sequence[Path]) -> str:
    """``task``, and behind it the whole paths of ``files``.

    Raises:
        InputError: one of them is no image that a model could be shown.
    """
    if not files:
        return task
    names = ", ".join(json.dumps(_checked(path), ensure_ascii=False) for path in files)
    return f"{task}\n\n{LOOK.format(names=names)}".strip()


def _checked(path: Path) -> str:
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
    if image_of(data, 0) is None:
        raise _unfit(path, f"it is no PNG or JPEG of at most {MAX_IMAGE_BYTES} bytes and {MAX_SIDE} pixels a side")
    return whole


def _unfit(path: Path, why: str) -> InputError:
    return InputError(
        "exec.image",
        f"a model cannot be shown this file: {why}",
        where=visible(str(path)),
        advice="name a PNG or JPEG of yours, or make a smaller copy of it",
    )
