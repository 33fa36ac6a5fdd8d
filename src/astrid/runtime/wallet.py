"""The holder key's one use: handing what the user granted on, narrower: to a session, and from there to sub-agents; or
to a fleet, and from there to its sessions.

A session's key follows from the holder key and the session's id, so a session that wakes can still hand on what it has.

Never: signs a first block, a checkpoint or an answer, or shows a private key.

Invariant: the same grant handed on to the same session and key is the same block, byte for byte, for as long as this
wallet lives.  So a session that wakes holds what it held: what was revoked of it stays revoked, and what it used up of
a block's uses and purse stays used up.

Source: protocol, "Keys and who holds them"; threats 1, 3, 5, 15.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from astrid.core.canon import commitment, encode
from astrid.core.delegation import child_block
from astrid.core.gate_state import TokenCache
from astrid.core.grants import fleet_block, session_block
from astrid.core.keys import PublicKey, SigningKey
from astrid.core.subagents import Subagent
from astrid.core.tokens import Grant, Roots, Scope, Token, attenuate
from astrid.ports import Entropy

_SESSION_KEY = b"astrid session key v1\x00"
_FLEET_KEY = b"astrid fleet key v1\x00"


class HolderWallet:
    """The ``Wallet`` port over ``holder.key``.  ``known`` are the chains that it found to verify."""

    def __init__(self, key: SigningKey, roots: Roots, entropy: Entropy) -> None:
        self.known = TokenCache()
        self._key = key
        self._roots = roots
        self._entropy = entropy
        self._secret = entropy.random_bytes(32)

    def key_of(self, session: bytes) -> PublicKey:
        """The public half of a session's key: its principal's name."""
        return self._session_key(session).public

    def _session_key(self, session: bytes) -> SigningKey:
        return self._key.derive(_SESSION_KEY + session)

    def narrow(self, raw: bytes, *, holder: bytes, session: bytes, purse_micros: int) -> bytes:
        """``raw`` for ``holder`` in ``session`` alone; a token that is held by another key comes back as it is."""
        token = self.verified(raw)
        if token.holder != self._key.public:
            return raw
        return self.pass_on(token, token.leaf.grants, holder=holder, session=session, purse_micros=purse_micros)

    def pass_on(
        self, token: Token, grants: tuple[Grant, ...], *, holder: bytes, session: bytes, purse_micros: int
    ) -> bytes:
        """``token``, which this key holds, or that of a fleet, reduced to ``grants`` for one session.

        Raises:
            TokenError: the grants are not within the token's.
        """
        nonce = self._nonce(token, holder, session)
        block = session_block(
            token.leaf, token.id, holder=holder, session=session, purse_micros=purse_micros, nonce=nonce
        )
        signer = self._key if token.holder == self._key.public else self._fleet_key(token.leaf.nonce)
        return attenuate(
            token, msgspec.structs.replace(block, grants=grants, scope=min(block.scope, Scope.SESSION)), signer
        )

    def fleet(self, token: Token, grants: tuple[Grant, ...], *, purse_micros: int) -> bytes:
        """``token``, which this key holds, reduced to ``grants`` and a purse for a fleet: many sessions, each with a
        block of its own below this one.  Its key follows from the block, so that a later start can hand it on, too.

        Raises:
            TokenError: the grants are not within the token's, or it may not be passed on.
        """
        nonce = self._entropy.random_bytes(16)
        holder = self._fleet_key(nonce).public
        block = fleet_block(token.leaf, token.id, holder=holder, purse_micros=purse_micros, nonce=nonce)
        return attenuate(token, msgspec.structs.replace(block, grants=grants), self._key)

    def _fleet_key(self, nonce: bytes) -> SigningKey:
        return self._key.derive(_FLEET_KEY + nonce)

    def delegate(
        self,
        raw: bytes,
        *,
        parent: bytes,
        child: bytes,
        agent: Subagent,
        tooldefs: Mapping[str, bytes],
        purse_micros: int,
        expires_s: int,
    ) -> bytes:
        """``raw``, which the session ``parent`` holds, with one block more: for the session ``child``, and of it only
        what ``agent`` asks for.

        Raises:
            TokenError: ``parent`` does not hold it, it may not be handed on any further, or nothing of it is asked for.
        """
        token, holder = self.verified(raw), self.key_of(child)
        nonce = self._nonce(token, holder, child)
        block = child_block(
            token.leaf,
            token.id,
            holder=holder,
            nonce=nonce,
            agent=agent,
            tooldefs=tooldefs,
            purse_micros=purse_micros,
            expires_s=expires_s,
        )
        return attenuate(token, block, self._session_key(parent))

    def verified(self, raw: bytes) -> Token:
        """The token that ``raw`` proves.

        Raises:
            TokenError: it does not verify.
        """
        return self.known.verified(raw, self._roots)

    def _nonce(self, token: Token, holder: bytes, session: bytes) -> bytes:
        # Not to be guessed: the id of a block is in the log, and must not tell what is in the block.
        return commitment(self._secret, encode((token.id, holder, session)))[:16]
