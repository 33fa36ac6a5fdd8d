"""To and from the archive, which reads what the log says of a session that is to wake."""

from __future__ import annotations

from astrid.core.turn_messages import Verdict
from astrid.kernel import Message


class Recall(Message, frozen=True, kw_only=True):
    """Everything of ``session``, which began with record ``first`` and has ``rows`` rows in its journal, as the log
    holds it that the checkpoint ``note`` is of; ``resumes``: with what became of what it had under way.  Answered by
    ``Recalled`` or ``Failed``.
    """

    id: int
    session: bytes
    first: int
    rows: int
    note: bytes
    resumes: bool = False


class Recalled(Message, frozen=True, kw_only=True):
    """What the log says: who the session is, the rows of its journal, and the tokens that people's answers made for
    it; and, if it resumes, what is known of what its last turn had proposed.
    """

    id: int
    key: bytes
    workspace: bytes
    mode: str
    model: str
    rows: tuple[bytes, ...]
    answers: tuple[bytes, ...]
    verdicts: tuple[Verdict, ...] | None = None
