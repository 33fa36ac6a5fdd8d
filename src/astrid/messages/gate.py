"""To and from the interceptor, beside what the gate's own machine defines (``core.gate_messages``).

``Register``, ``Release``, ``Ending``, ``Finish``, ``TakeIn``, ``Attach``, ``Erase``, ``Rewind``, ``Cosign`` and
``Revoke`` are obeyed from the gateway alone, ``Offer`` from tool hosts alone; the kernel's stamp says who it is.
"""

from __future__ import annotations

from typing import ClassVar

from astrid.core.decide import Limits
from astrid.core.records import Erasure, JournalRow
from astrid.core.records_undo import FilesRewound
from astrid.core.tools import ToolSpec
from astrid.core.undo import Undo
from astrid.kernel import Lane, Message, Overflow


class Offer(Message, frozen=True, kw_only=True):
    """A tool host is up and runs these tools, for whoever may use ``toolbox``."""

    toolbox: str
    specs: tuple[ToolSpec, ...]


class Register(Message, frozen=True, kw_only=True):
    """The actor with ref ``ref`` is a session whose key is ``key``.  Answered by ``Done`` when the session's start
    is durable.  A session that ``wakes`` has started before: nothing is recorded, and the answer comes at once.
    ``child`` and ``parent`` are those of a sub-agent (``core.facts.Principal``).  ``inherits`` are rows of another
    session with which this one's journal begins; those of a batch share a record, and all are durable with its start.
    """

    id: int
    ref: int
    key: bytes
    session: bytes
    workspace: bytes
    toolboxes: tuple[str, ...]
    mode: str
    model: str
    scripted: bool
    asks: bool
    limits: Limits
    wakes: bool = False
    child: bytes = b""
    parent: bytes = b""
    inherits: tuple[tuple[bytes, ...], ...] = ()


class Release(Message, frozen=True, kw_only=True):
    """The actor with ref ``ref`` goes to sleep and is no principal any more.  Answered at once: by ``Done`` (with no
    record's number, for there is none), or by ``Failed`` if something of it is under way.
    """

    id: int
    ref: int


class Ending(Message, frozen=True, kw_only=True):
    """``session``, which is awake, is being stopped for ``reason``, a code of ``SessionEnded``.  On the lane of the
    news that it has stopped, so that it is there before that.
    """

    lane: ClassVar[Lane] = Lane.CONTROL

    session: bytes
    reason: str


class Finish(Message, frozen=True, kw_only=True):
    """``session``, which sleeps, is over for ``reason``, a code of ``SessionEnded``.  Of one that is awake or over
    already this changes nothing.
    """

    session: bytes
    reason: str


class TakeIn(Message, frozen=True, kw_only=True):
    """A person signed this standing token; ``source`` says how it came.  Answered by ``Done`` or ``Failed``."""

    id: int
    token: bytes
    source: str


class Attach(Message, frozen=True, kw_only=True):
    """Somebody gave ``session`` this image.  Answered by ``Done`` with the record that has it, or ``Failed``."""

    id: int
    session: bytes
    image: bytes


class Erase(Message, frozen=True, kw_only=True):
    """Have a session's ``rows`` rows and these texts be gone.  Answered by ``Done`` when they are, or ``Failed``."""

    id: int
    erasure: Erasure
    rows: int


class Rewind(Message, frozen=True, kw_only=True):
    """Files of ``session`` are about to be put back to what they held after ``turn``, or, once it is known, were
    (``rewound``).  Answered by ``Done`` when that is durable, or ``Failed``.
    """

    id: int
    session: bytes
    turn: int
    undos: tuple[Undo, ...] = ()
    rewound: FilesRewound | None = None


class Cosign(Message, frozen=True, kw_only=True):
    """The client with ``key``, admitted by the token ``chain``, cosigned the checkpoint ``note`` of this log.  Answered
    by ``Done`` or ``Failed``.
    """

    id: int
    key: bytes
    note: bytes
    chain: bytes


class Revoke(Message, frozen=True, kw_only=True):
    """A person signed this revocation.  It acts at once; answered by ``Done`` when durable, or ``Failed``."""

    lane: ClassVar[Lane] = Lane.CONTROL

    id: int
    statement: bytes


class Save(Message, frozen=True, kw_only=True):
    """Rows of the sender's journal.  Answered by ``Done`` when they are durable.  Those that are not ``urgent`` may go
    with what the sender does next.
    """

    id: int
    rows: tuple[JournalRow, ...]
    urgent: bool = True


class Prompted(Message, frozen=True, kw_only=True):
    """What somebody said to the sender's session, with the label it got.  Answered by ``Done`` when durable."""

    id: int
    turn: int
    integrity: int
    text: bytes


class Strayed(Message, frozen=True, kw_only=True):
    """From the guard, the gateway and tool hosts: the actor with ref ``ref`` said something to them that they do not
    take from it; ``what`` is for people.
    """

    ref: int
    what: str


class Done(Message, frozen=True, kw_only=True):
    """What was asked is durable, as record ``seq``."""

    id: int
    seq: int


class Failed(Message, frozen=True, kw_only=True):
    """What was asked is refused."""

    id: int
    code: str
    reason: str
    advice: str


class StreamedText(Message, frozen=True, kw_only=True):
    """Provisional output of a running call, for the principal; dropped where there is no room."""

    overflow: ClassVar[Overflow] = Overflow.DROP

    proposal: int
    chunk: bytes
