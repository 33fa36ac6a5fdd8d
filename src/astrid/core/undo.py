"""Which files are put back to what they held before a session changed them, and which are left alone.  Pure.

Content is named by its SHA-256; empty is a file that is not there.  A file is put back only if everything that happened
to it is known: each change found what the one before it left, and the file holds now what the last of them left.

Never: has a file put back that holds something which somebody else may have made.

Source: architecture 7; users want changes by tools to be reversible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from astrid.core.blocks import Bytes0or32
from astrid.core.canon import Ascii, Signed

Why = Literal["changed", "unkept", "unreadable"]


class Change(msgspec.Struct, frozen=True):
    """What a call did to the file at ``path``, or, unless it is ``sure``, may have done.  ``None``: nobody knows any
    more what that content was.
    """

    path: str  # as in preconditions
    before: bytes | None
    after: bytes | None
    sure: bool = True


class Undo(Signed, frozen=True, array_like=True):
    """The file at ``path`` holds ``now``, and is to hold ``then``."""

    path: Ascii
    now: Bytes0or32
    then: Bytes0or32


class Left(msgspec.Struct, frozen=True):
    """A file that is left alone: it was ``changed`` by somebody else as well, what it held is ``unkept``, or what it
    holds is ``unreadable``.
    """

    path: str
    why: Why


def plan_undo(changes: Iterable[Change], held: Mapping[str, bytes | None]) -> tuple[list[Undo], list[Left]]:
    """What takes ``changes``, in the order in which they were permitted, back, and what cannot be.  ``held`` is what
    each of their files holds now, ``None`` where that cannot be told.  A file that holds what it should is in neither.
    """
    histories: dict[str, list[Change]] = {}
    for change in changes:
        histories.setdefault(change.path, []).append(change)
    undos: list[Undo] = []
    left: list[Left] = []
    for path, history in histories.items():
        then, now = history[0].before, held[path]
        if now is None:
            left.append(Left(path, "unreadable"))
        elif then is None:
            left.append(Left(path, "unkept"))
        elif now != then:
            why = _obstacle(history, now)
            if why is None:
                undos.append(Undo(path, now, then))
            else:
                left.append(Left(path, why))
    return undos, left


def _obstacle(history: list[Change], now: bytes) -> Why | None:
    """Why a file that holds ``now`` is left alone, going by what is known of its changes."""
    may_hold = {history[0].before}
    for change in history:
        if change.before is None or change.after is None:
            return "unkept"
        if change.before not in may_hold:
            return "changed"
        may_hold = {change.after} if change.sure else {change.before, change.after}
    return None if now in may_hold else "changed"
