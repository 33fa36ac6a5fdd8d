"""A proposal on its way through the gate, and the cache of verified tokens.  Pure data and one bounded memory.

Source: architecture 5; protocol N2 (cache); threats 47.
"""

from __future__ import annotations

import enum
from collections import OrderedDict

import msgspec

from astrid.core.budget import Charge
from astrid.core.call import Call
from astrid.core.canon import salts
from astrid.core.facts import Tool
from astrid.core.gate_messages import Propose
from astrid.core.tokens import Roots, Token, check_length, verify_chain

CACHED_TOKENS = 4096
SALTS_AT_ONCE = 64


class Stage(enum.Enum):
    """Where a proposal stands, and so what it waits for."""

    PREPARING = "preparing"  # for its host, to look
    PERMITTING = "permitting"  # for its permit, to be durable
    RUNNING = "running"  # for its host, to act
    ASKING = "asking"  # for a person


class Permitted(msgspec.Struct, frozen=True):
    """The permit of a proposal: what it rests on, and what it reserved."""

    call: Call
    token: Token
    charge: Charge


class Pending(msgspec.Struct, frozen=True):
    """One proposal on its way.

    ``permitted`` is set at PERMITTING and RUNNING, ``permit_seq`` at RUNNING; ``call_bytes``, which the host gets, only
    at PERMITTING.  ``cancelled``: nobody waits for it.
    """

    ref: int
    sender: int
    proposal: Propose
    stage: Stage
    tool: Tool
    permitted: Permitted | None = None
    call_bytes: bytes = b""
    permit_seq: int = 0
    cancelled: bool = False

    @property
    def permit(self) -> Permitted:
        """The permit of a proposal that has one."""
        assert self.permitted is not None  # noqa: S101 - the stage says so
        return self.permitted


class Salts:
    """Salts that nobody can guess and none of which comes twice; from one secret, which is known to nobody else and
    never stored.
    """

    __slots__ = ("_made", "_secret", "_waiting")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._made = 0
        self._waiting: list[bytes] = []

    def take(self) -> bytes:
        """The next one: 32 bytes."""
        if not self._waiting:
            self._waiting = salts(self._secret, self._made, SALTS_AT_ONCE)
            self._made += 1
        return self._waiting.pop()


class TokenCache:
    """Chains that verified, by all their bytes, signatures included; what never changes about a token is verified once.

    What may change (time, revocation, uses) is no business of this cache.  Failures are not kept; the oldest goes
    first; a token dies with the roots it was verified under.
    """

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens: OrderedDict[bytes, Token] = OrderedDict()

    def verified(self, raw: bytes, roots: Roots) -> Token:
        """The token that ``raw`` proves.

        Raises:
            TokenError: it does not verify.
        """
        check_length(raw)
        token = self._tokens.get(raw)
        if token is None or token.epoch != roots.epoch:
            token = self._tokens[raw] = verify_chain(raw, roots, self._tokens)
        self._tokens.move_to_end(raw)
        if len(self._tokens) > CACHED_TOKENS:
            self._tokens.popitem(last=False)
        return token
