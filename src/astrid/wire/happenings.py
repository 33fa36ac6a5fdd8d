"""What ``Peer`` tells its shell: the things that happen on a connection.  Data only.

Source: architecture section 2 (wire/peer: Send, Deliver, Close); h11 (events).
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from astrid.errors import AstridError
from astrid.wire.fields import Wire
from astrid.wire.jsonrpc import Id
from astrid.wire.params import Params
from astrid.wire.results import Answer


class Requested(Struct, frozen=True):
    """They want an answer: ``respond`` or ``fail`` once with this id.

    ``params`` are of the method's type, and proven where the method needs it.  Only ``authenticate`` is not judged yet:
    verify its chain, make a verifier for the chain's holder, and answer with ``admit``.
    """

    id: Id
    method: str
    params: Params


class Noticed(Struct, frozen=True):
    """They told us something; a bye too, after which nothing new may be asked."""

    method: str
    params: Wire


class Answered(Struct, frozen=True):
    """The good end of our request; ``result`` is of the method's type."""

    id: Id
    method: str
    result: Answer


class Failed(Struct, frozen=True):
    """The bad end of our request."""

    id: Id
    method: str
    error: AstridError


class Refused(Struct, frozen=True):
    """They asked what cannot be served, and the answer is already written: send ``data``."""

    id: Id
    method: str
    error: AstridError
    data: bytes


class Complained(Struct, frozen=True):
    """They say that we broke the protocol.  Nothing more can be said: ``close``."""

    error: AstridError


class Abandoned(Struct, frozen=True):
    """The end of our request when the connection ended first: whether it was acted on is not known."""

    id: Id
    method: str


class Closed(Struct, frozen=True):
    """The last event.  ``owed`` are requests of theirs that nobody waits for any more."""

    owed: tuple[Id, ...]


Happening: TypeAlias = Requested | Noticed | Answered | Failed | Refused | Complained | Abandoned | Closed
