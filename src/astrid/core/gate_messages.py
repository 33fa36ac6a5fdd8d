"""What the gate is told and what it wants done.  Pure data; see ``gate`` for the machine.

Whoever sends a message is stamped by the kernel and reaches the machine beside the message, never inside it.

Source: architecture 5.
"""

from __future__ import annotations

import msgspec

from astrid.core.call import Preparation
from astrid.core.records import Entry
from astrid.errors import Effect as WorldEffect


class GateMessage(msgspec.Struct, frozen=True, tag=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything sent to or by the gate."""


# --- what the gate is told


class Propose(GateMessage, frozen=True):
    """A principal wants ``tool`` run with JSON text ``args``, on the strength of ``tokens``.  ``proposal`` is the
    principal's own number for it.
    """

    proposal: int
    tool: str
    args: bytes
    tokens: tuple[bytes, ...]
    tainted: bool
    chosen: bool = False  # see ``labels.Label``


class Cancel(GateMessage, frozen=True):
    """The principal no longer wants the answer to ``proposal``."""

    proposal: int


class Prepared(GateMessage, frozen=True):
    """A host looked at what the call would touch."""

    ref: int
    preparation: Preparation


class Unprepared(GateMessage, frozen=True):
    """A host says that the call makes no sense, or may not be made.  ``reason`` and ``advice`` are for people."""

    ref: int
    layer: str
    code: str
    reason: str
    advice: str


class Executed(GateMessage, frozen=True):
    """A host ran the call, or did not (``effect`` none).  ``untrusted``: it vouches for none of ``content``, whatever
    the tool's definition says of what it gives; ``chosen`` is as in ``labels.Label``.
    """

    ref: int
    permit_seq: int
    content: bytes
    is_error: bool
    effect: WorldEffect
    spent_micros: int
    untrusted: bool = False
    chosen: bool = False


class Progress(GateMessage, frozen=True):
    """Provisional output of a running call; may be dropped."""

    ref: int
    chunk: bytes


class Durable(msgspec.Struct, frozen=True):
    """The record of ``ref`` is durable as number ``seq``, at log time ``time_ns``."""

    ref: int
    seq: int
    time_ns: int


class Put(GateMessage, frozen=True):
    """Approvals has put the question of ``ref`` (``qid``), or will not (``code``).  ``attended``: somebody who can
    answer is there.
    """

    ref: int
    qid: bytes
    code: str
    reason: str
    attended: bool


class Answered(GateMessage, frozen=True):
    """The question that ``refs`` waited for has ended.  ``token`` is empty unless a person said yes."""

    qid: bytes
    block: bytes
    session: bytes
    refs: tuple[int, ...]
    said_no: bool
    token: bytes


# --- what the gate wants done


class Prepare(GateMessage, frozen=True):
    """To the host of a tool: what would this touch?"""

    ref: int
    tool: str
    args: bytes


class Execute(GateMessage, frozen=True):
    """To the host of a tool: run exactly these call bytes, once, under permit ``permit_seq``."""

    ref: int
    permit_seq: int
    call: bytes
    incarnation: int


class Withdraw(GateMessage, frozen=True):
    """To the host of a tool: stop running ``ref``; answer ``Executed`` all the same."""

    ref: int


class Connecting(GateMessage, frozen=True):
    """To the host of a tool: connection ``number`` of a call is recorded, and may begin if ``code`` is empty."""

    ref: int
    number: int
    code: str


class Ask(GateMessage, frozen=True):
    """To approvals: put this question (the bytes of ``Q``)."""

    ref: int
    question: bytes


class Leave(GateMessage, frozen=True):
    """To approvals: ``ref`` waits no longer."""

    ref: int


class PurseLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A purse in micro-dollars, as people are told of it: that of the session, the workspace, or of a token's block."""

    what: str
    block: bytes
    spent: int
    reserved: int
    limit: int


class Booked(GateMessage, frozen=True):
    """To the principal: what its session has spent now that a call was settled, and the purses that this call filled up
    to the mark at which people are warned.
    """

    session: PurseLine
    filled: tuple[PurseLine, ...]


class Outcome(GateMessage, frozen=True):
    """To the principal: the call ran.  ``permit_seq`` is where its output came into the log (its origin); ``booked`` is
    there where money moved.
    """

    proposal: int
    content: bytes
    is_error: bool
    effect: WorldEffect
    unknown: bool  # cut off: neither done nor failed
    first_party: bool
    permit_seq: int
    booked: Booked | None = None
    chosen: bool = False


class Refused(GateMessage, frozen=True):
    """To the principal: the call will not run.  Only ``layer`` and ``code`` may reach a model; ``reason`` and
    ``advice`` are for people.
    """

    proposal: int
    layer: str
    code: str
    reason: str
    advice: str


class Deferred(GateMessage, frozen=True):
    """To the principal: nobody could be asked; question ``qid`` waits."""

    proposal: int
    qid: bytes


class Approved(GateMessage, frozen=True):
    """To the principal: a person said yes and ``token`` is what they signed.  Propose the same call again to use it."""

    proposal: int
    token: bytes


class Minted(GateMessage, frozen=True):
    """To the principal: a person answered a deferred question; ``token`` may cover a fresh proposal."""

    qid: bytes
    token: bytes


class Streamed(GateMessage, frozen=True):
    """To the principal: provisional output of ``proposal``."""

    proposal: int
    chunk: bytes


ToPrincipal = Outcome | Booked | Refused | Deferred | Approved | Minted | Streamed
ToHost = Prepare | Execute | Withdraw | Connecting
ToApprovals = Ask | Leave


# --- effects: plain structs that the shell performs in order


class Record(msgspec.Struct, frozen=True):
    """Make this durable; then ``durable`` is called with the entry's ref."""

    entry: Entry


class Send(msgspec.Struct, frozen=True):
    """Send ``message`` to the actor whose ref id is ``to``.  ``answers`` says that it ends a request."""

    to: int
    message: ToPrincipal | ToHost
    answers: bool = False


class SendApprovals(msgspec.Struct, frozen=True):
    """Send ``message`` to approvals."""

    message: ToApprovals


Effect = Record | Send | SendApprovals
