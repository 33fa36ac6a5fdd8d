"""Proof of possession: that whoever sends a request holds the last key of the token it acts under.  Pure.

The signature covers the audience, the connection's nonce, a counter, the method, the parameters and the token's last
block, so a captured proof fits no other daemon, connection, place in the order, request or token.

Invariants:
  One counter is accepted at most once on a connection, and only rising.
  A refused request moves nothing: the next good one is accepted as if the bad one had not been.

Never: says what a key may do.  Imports the signing library, so the command line imports this module only when it signs.

Source: protocol N2.d; threats 1.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from astrid.core.canon import U64, Bytes32, Domain, Signed, digest, encode
from astrid.core.keys import PublicKey, SigningKey, verify
from astrid.errors import CanonError
from astrid.wire.fields import MAX_SAFE_INT
from astrid.wire.params import Pop, Proven, params_bytes
from astrid.wire.proof import PopAccepted, PopFault, PopRefused, PopVerdict

_P = TypeVar("_P", bound=Proven)


class PopStatement(Signed, frozen=True):
    """What a proof signs, in this order."""

    aud: Bytes32
    nonce: Bytes32
    counter: U64
    method: str
    params: Bytes32  # H(pop, params_bytes)
    id_last: Bytes32


def pop_payload(*, aud: bytes, nonce: bytes, counter: int, method: str, params: bytes, id_last: bytes) -> bytes:
    """The canonical bytes that a proof signs; ``params`` are the request's ``params_bytes``.

    Raises:
        CanonError: ``aud``, ``nonce`` or ``id_last`` is not 32 bytes, or the counter is out of range.
    """
    for name, value in (("aud", aud), ("nonce", nonce), ("id_last", id_last)):
        if len(value) != 32:
            raise CanonError("canon.pop-length", f"`{name}` of a proof is 32 bytes, not {len(value)}")
    if not 1 <= counter <= MAX_SAFE_INT:
        raise CanonError("canon.pop-counter", f"the counter `{counter}` of a proof is not in 1 .. 2^53")
    return encode(PopStatement(aud, nonce, counter, method, digest(Domain.POP, params), id_last))


class PopSigner:
    """The client's half: seals requests of one connection, in the order in which they will be sent."""

    __slots__ = ("_aud", "_counter", "_id_last", "_key", "_nonce")

    def __init__(self, key: SigningKey, *, aud: bytes, nonce: bytes, id_last: bytes) -> None:
        self._key = key
        self._aud = aud
        self._nonce = nonce
        self._id_last = id_last
        self._counter = 0

    def seal(self, method: str, params: _P) -> _P:
        """``params`` with the proof for this connection and this place in the order."""
        counter = self._counter + 1
        payload = pop_payload(
            aud=self._aud,
            nonce=self._nonce,
            counter=counter,
            method=method,
            params=params_bytes(params),
            id_last=self._id_last,
        )
        self._counter = counter
        return msgspec.structs.replace(params, pop=Pop(counter=counter, signature=self._key.sign(Domain.POP, payload)))


class PopVerifier:
    """The server's half (a ``proof.Verifier``): one per connection, made for the token that the client presented.

    ``holder`` and ``id_last`` come from the *verified* chain; ``nonce`` is what this connection's server said first.
    """

    __slots__ = ("_aud", "_holder", "_id_last", "_last", "_nonce")

    def __init__(self, holder: PublicKey, *, aud: bytes, nonce: bytes, id_last: bytes) -> None:
        self._holder = holder
        self._aud = aud
        self._nonce = nonce
        self._id_last = id_last
        self._last = 0

    def check(self, method: str, params: Proven) -> PopVerdict:
        """Whether the holder sent this request, on this connection, after all those accepted before."""
        pop = params.pop
        if pop is None:
            return PopRefused(PopFault.MISSING)
        if pop.counter <= self._last:
            return PopRefused(PopFault.COUNTER)
        payload = pop_payload(
            aud=self._aud,
            nonce=self._nonce,
            counter=pop.counter,
            method=method,
            params=params_bytes(params),
            id_last=self._id_last,
        )
        # SAFETY: the counter moves only for a good signature; else a bad request could lock the holder out.
        if not verify(self._holder, Domain.POP, payload, pop.signature):
            return PopRefused(PopFault.SIGNATURE)
        self._last = pop.counter
        return PopAccepted(pop.counter)
