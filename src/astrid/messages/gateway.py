"""To and from the gateway: what a connection asks on behalf of a client whose proof of possession it has checked."""

from __future__ import annotations

from typing import ClassVar, Literal

from astrid.core.conversation import Image
from astrid.core.records import Erasure
from astrid.core.records_undo import FilesRewound
from astrid.core.turn_fork import Origin
from astrid.core.turn_messages import AnyRow
from astrid.core.undo import Undo
from astrid.errors import Effect
from astrid.kernel import Lane, Message


class Forked(Message, frozen=True, kw_only=True):
    """What a new session goes on from: another one, which was in the folder with this identity, and its rows up to and
    including the turn that is named.
    """

    origin: Origin
    workspace: bytes
    rows: tuple[AnyRow, ...]


class OpenSession(Message, frozen=True, kw_only=True):
    """Start a session, perhaps with what was said in another one; the ticket gets ``SessionOpened`` or ``Failed``."""

    ticket: int
    workspace: str
    mode: str
    model: str
    budget_micros: int  # 0: the configured one
    max_turns: int  # model calls an input, 0: the configured number
    interactive: bool
    fleet: bytes = b""  # the id of its fleet's token
    agent: str = ""  # the sub-agents' definition that it is to follow
    forks: Forked | None = None


class SessionOpened(Message, frozen=True, kw_only=True):
    """The session is there and its start is durable."""

    session: bytes


class Declined(Message, frozen=True, kw_only=True):
    """What was asked is refused; a code and texts for people."""

    code: str
    reason: str
    where: str = ""
    advice: str = ""


class Input(Message, frozen=True, kw_only=True):
    """Somebody says ``text`` to ``session``, and gives ``images``; asked, answered by ``Taken`` or ``Declined``.

    ``statement`` is the signed prompt (bytes of a ``SignedStatement``), or empty: then the text is untrusted.
    """

    session: bytes
    turn: int
    text: str
    signer: bytes
    signature: bytes
    images: tuple[Image, ...] = ()


class Taken(Message, frozen=True, kw_only=True):
    """It was taken; ``number`` says more where there is more to say (a turn, a record)."""

    number: int


class Revive(Message, frozen=True, kw_only=True):
    """Have a session be there again that was cut off with the daemon it ran in, as the log tells of it; asked, answered
    by ``Taken`` with the number of its last turn, or ``Declined``.  ``unfinished``: that turn did not end, and goes on.
    """

    session: bytes
    first: int  # the record that says that it started
    created_ns: int
    workspace: str
    mode: str
    model: str  # as it is asked for
    name: str  # as it is called
    budget_micros: int
    interactive: bool
    fleet: bytes
    agent: str
    turns: int
    unfinished: bool


class TurnConversation(Message, frozen=True, kw_only=True):
    """Have the conversation of ``session`` be what it was after turn number ``to``, or, where that is nothing, before
    it was last summed up; asked, answered by ``Taken`` or ``Declined``.  What came of it is said by an event:
    ``ConversationRewound``, ``ContextCompacted``, ``ErrorRaised``, or, if it could not be woken, ``TurnComplete``.
    """

    session: bytes
    to: int | None


class CancelTurn(Message, frozen=True, kw_only=True):
    """Stop the running turn of ``session``; asked."""

    session: bytes


class EndSession(Message, frozen=True, kw_only=True):
    """End ``session``, because somebody asked for it or nobody came back to it; asked."""

    session: bytes
    reason: Literal["asked", "idle"]


class AttachImage(Message, frozen=True, kw_only=True):
    """Keep an image for what somebody says to ``session`` next.  The ticket gets ``Done`` with its record, or
    ``Failed``.
    """

    ticket: int
    session: bytes
    image: bytes


class EraseSession(Message, frozen=True, kw_only=True):
    """Have what a session said and heard be gone: ``rows`` rows, and these texts.  The ticket gets ``Done`` or
    ``Failed``.
    """

    ticket: int
    erasure: Erasure
    rows: int


class RewindFiles(Message, frozen=True, kw_only=True):
    """Have it recorded that files of ``session`` are about to be put back to what they held after ``turn``, or that
    they were (``rewound``).  The ticket gets ``Done`` or ``Failed``.
    """

    ticket: int
    session: bytes
    turn: int
    undos: tuple[Undo, ...] = ()
    rewound: FilesRewound | None = None


class ListSessions(Message, frozen=True, kw_only=True):
    """Asked: a tuple of ``SessionLine``, of all sessions or of the one that is named."""

    session: bytes = b""


class SessionLine(Message, frozen=True, kw_only=True):
    """One session, awake or asleep.  ``parent``, ``agent`` and ``purse`` are those of a sub-agent: whose, which, and
    the block on which all that it costs is counted.
    """

    session: bytes
    workspace: str
    mode: str
    model: str
    state: str
    created_ns: int
    turns: int
    deferred: int
    budget_micros: int = 0  # 0: the configured one
    parent: bytes = b""
    agent: str = ""
    purse: bytes = b""


class Delegate(Message, frozen=True, kw_only=True):
    """From the host of ``task``, of a permitted call: have a sub-agent of the session with key ``principal`` do what
    ``args`` say.  Answered under ``id`` by ``Delegated``.  ``tainted``: whether untrusted text was in view when it was
    asked for.
    """

    # In the lane of ``TakeBack``: that would overtake it, and nobody would end what begins behind it.
    lane: ClassVar[Lane] = Lane.CONTROL

    id: int
    principal: bytes
    args: bytes
    tainted: bool


class TakeBack(Message, frozen=True, kw_only=True):
    """From the host of ``task``: nobody waits for the sub-agent of ``id`` any more; end it."""

    lane: ClassVar[Lane] = Lane.CONTROL

    id: int


class Delegated(Message, frozen=True, kw_only=True):
    """What a task came to.  ``untrusted``: the sub-agent had untrusted text in view, and could say what it liked;
    ``chosen``: it had, and could only choose among few values.
    """

    id: int
    content: bytes
    is_error: bool
    untrusted: bool
    effect: Effect
    chosen: bool = False


class Attended(Message, frozen=True, kw_only=True):
    """Whether a client that can answer questions listens to ``session``."""

    session: bytes
    present: bool


class GiveAnswer(Message, frozen=True, kw_only=True):
    """Bytes of a ``SignedAnswer``.  Answered with ``id`` by ``Done`` or ``Failed``."""

    ticket: int
    answer: bytes


class AddToken(Message, frozen=True, kw_only=True):
    """A standing token that the user signed."""

    ticket: int
    token: bytes
    source: str


class RevokeToken(Message, frozen=True, kw_only=True):
    """Bytes of a signed revocation."""

    ticket: int
    statement: bytes


class TakeCosignature(Message, frozen=True, kw_only=True):
    """What the client with ``key``, admitted by the token ``chain``, cosigned: a checkpoint of this log.  Answered with
    ``id`` by ``Done`` or ``Failed``.
    """

    ticket: int
    key: bytes
    note: bytes
    chain: bytes


class AskCheckpoint(Message, frozen=True, kw_only=True):
    """A checkpoint over everything up to now."""

    ticket: int
