"""Identifiers: what they are made of, how they are printed, how they are read back.  Pure; whoever mints one brings the
random bytes.

An identifier prints as ``kind:<lower-case hex>`` and is read back only from exactly that spelling.

A session's id says whether it is scripted, and with it every record, token and call that names the session.

Source: protocol N1, N5, N9; threat 42; the first Astrid (names).
"""

from __future__ import annotations

import re
from typing import NewType

from astrid.errors import InputError

SessionId = NewType("SessionId", bytes)  # 16 random bytes, but for their first bit (``session_id``)
QuestionId = NewType("QuestionId", bytes)  # 16 random bytes
BlockId = NewType("BlockId", bytes)  # 32 bytes: the digest of a token block's payload
WorkspaceId = NewType("WorkspaceId", bytes)  # 32 bytes
InstallId = NewType("InstallId", bytes)  # 32 bytes: H(install, I), the audience of everything signed for this install
CallDigest = NewType("CallDigest", bytes)  # 32 bytes: H(call, C)

_SIZES = {"session": 16, "question": 16, "token": 32, "workspace": 32, "install": 32, "call": 8}
SCRIPTED_BIT = 0x80  # of the first byte of a session's id
_SPELLING = re.compile(r"([a-z]+):([0-9a-f]+)")


def session_id(entropy: bytes, *, scripted: bool) -> SessionId:
    """The id of a new session, out of 16 random bytes.  ``scripted``: its model follows a script."""
    first = entropy[0] | SCRIPTED_BIT if scripted else entropy[0] & ~SCRIPTED_BIT
    return SessionId(bytes((first,)) + entropy[1:])


def is_scripted(session: bytes) -> bool:
    """Whether ``session`` is the id of a scripted session; no session is not."""
    return session[:1] >= bytes((SCRIPTED_BIT,))


def show_id(kind: str, value: bytes) -> str:
    """The printed form of an identifier, such as ``session:00ff...``."""
    return f"{kind}:{value.hex()}"


def show_call(ref: int) -> str:
    """The printed form of the number under which records name a call.

    SAFETY: never its digest.  A digest of short arguments tells whoever guesses right.
    """
    return show_id("call", ref.to_bytes(8, "big"))


def parse_id(kind: str, text: str) -> bytes:
    """The bytes of an identifier of ``kind`` (one of session, question, token, workspace, install, call).

    Raises:
        InputError: another kind, another length, or another spelling.
    """
    match = _SPELLING.fullmatch(text)
    if match is None or match[1] != kind or len(match[2]) != 2 * _SIZES[kind]:
        raise InputError(
            "id.malformed",
            f"`{text[:80]}` is not a {kind} id",
            advice=f"write it as {kind}:<{2 * _SIZES[kind]} lower-case hex digits>, as it was printed",
        )
    return bytes.fromhex(match[2])
