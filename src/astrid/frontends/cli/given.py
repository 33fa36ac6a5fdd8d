"""What a person gives ``astrid exec`` in files beside the task: text to work on, and tokens in place of answers.

Source: the first Astrid; threats 41.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from astrid.errors import ConfigError
from astrid.home import read_guarded
from astrid.wire.params import MAX_INPUT_CHARS

_MAKE_TOKENS = "make one with `astrid tokens grant --out FILE`"


def read_text(name: str) -> str:
    """The text in a file, or in the standard input for ``-``; no more than just too much.

    Raises:
        ConfigError: it cannot be read, or is no text.
    """
    try:
        with open(0 if name == "-" else name, "rb", closefd=name != "-") as file:
            data = file.read(4 * MAX_INPUT_CHARS + 1)
        return data.decode()
    except OSError as error:
        raise ConfigError(
            "exec.input", f"the input cannot be read: {error.strerror}", where=name, advice="name a text file of yours"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            "exec.input", "the input is not UTF-8 text", where=name, advice="name a text file of yours"
        ) from error


def read_tokens(path: Path, workspace: str) -> tuple[bytes, ...]:
    """The tokens in a file, read once: one as ``astrid tokens grant --out`` wrote it, or one in base64 on each line.

    Raises:
        ConfigError, KeyFormatError: the file is open to others, lies in the workspace, or holds no token.
    """
    if path.resolve().is_relative_to(workspace):
        # SAFETY: what works there could write itself the answers.
        raise ConfigError(
            "exec.approve-inside",
            "the file with tokens lies in the workspace",
            where=str(path),
            advice="keep it elsewhere",
        )
    data = read_guarded(path, what="the file with tokens", made_by=_MAKE_TOKENS)
    if data[:1] and 0x91 <= data[0] <= 0x98:  # a token: an array of one to eight blocks
        return (data,)
    try:
        lines = [line for line in data.split() if line]
        tokens = tuple(base64.b64decode(line, validate=True) for line in lines)
    except binascii.Error as error:
        raise _no_tokens(path) from error
    if not tokens or not all(tokens):
        raise _no_tokens(path)
    return tokens


def _no_tokens(path: Path) -> ConfigError:
    return ConfigError(
        "exec.approve-file",
        "the file holds no tokens",
        where=str(path),
        advice=_MAKE_TOKENS,
    )
