"""What is answered about files that are put back to what they held after a turn of a session.

Paths and arguments may have come from a model, as in ``results``.

Source: architecture 7.
"""

from __future__ import annotations

from typing import Literal

from astrid.wire.fields import Bytes32, Line, Safe, SessionText, Wire
from astrid.wire.results import Answer


class UndoneFile(Wire, frozen=True, kw_only=True):
    """A file that gets back what it held (``restore``), is there again (``make``), or is taken away (``remove``)."""

    path: Line
    does: Literal["restore", "make", "remove"]


class LeftFile(Wire, frozen=True, kw_only=True):
    """A file that is left alone: somebody else ``changed`` it as well, what it held is ``unkept``, what it holds is
    ``unreadable``, or putting it back was ``refused``; ``said`` says more of that.
    """

    path: Line
    why: Literal["changed", "unkept", "unreadable", "refused"]
    said: Line = ""


class StayedCall(Wire, frozen=True, kw_only=True):
    """A call that cannot be taken back, with the record of its permit and the start of its arguments: it was ``done``,
    how it ended is ``unknown``, or its file lies ``outside`` the workspace.
    """

    record: Safe
    tool: Line
    arguments: Line
    why: Literal["done", "unknown", "outside"]


class FilesRewound(Answer, frozen=True, kw_only=True):
    """What was put back, or would be, unless ``done``, and what stays.  ``plan`` is the digest of all of it that would
    be; ``not_listed`` is how many files and calls are too many to be listed.  ``forked_at``: what was done in turns up
    to that one, if any of it is after the turn, was done in another session, and stays.  ``in_view``: the conversation
    can go back to that turn as well; it cannot to one that was rewound away.
    """

    session_id: SessionText
    turn: Safe
    done: bool
    plan: Bytes32
    files: tuple[UndoneFile, ...]
    left: tuple[LeftFile, ...]
    stays: tuple[StayedCall, ...]
    not_listed: Safe
    forked_at: Safe
    in_view: bool
