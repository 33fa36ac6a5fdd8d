"""The holder key's one use: handing what the user granted on to a session, narrower.

Never: signs a first block, a checkpoint or an answer.

Invariant: the same grant handed on to the same session and key is the same block, byte for byte, for as long as this
wallet lives.  So a session that wakes holds what it held: what was revoked of it stays revoked, and what it used up of
a block's uses and purse stays used up.

Source: protocol, "Keys and who holds them"; threats 5, 15.
"""

from __future__ import annotations

import msgspec

from astrid.core.canon import commitment, encode
from astrid.core.grants import session_block
from astrid.core.keys import SigningKey
from astrid.core.tokens import Grant, Roots, Scope, Token, attenuate, verify_chain
from astrid.ports import Entropy


class HolderWallet:
    """The ``Wallet`` port over ``holder.key``."""

    def __init__(self, key: SigningKey, roots: Roots, entropy: Entropy) -> None:
        self._key = key
        self._roots = roots
        self._secret = entropy.random_bytes(32)

    def narrow(self, raw: bytes, *, holder: bytes, session: bytes, purse_micros: int) -> bytes:
        """``raw`` for ``holder`` in ``session`` alone; a token that is held by another key comes back as it is."""
        token = verify_chain(raw, self._roots)
        if token.holder != self._key.public:
            return raw
        return self.pass_on(token, token.leaf.grants, holder=holder, session=session, purse_micros=purse_micros)

    def pass_on(
        self, token: Token, grants: tuple[Grant, ...], *, holder: bytes, session: bytes, purse_micros: int
    ) -> bytes:
        """``token``, which this key holds, reduced to ``grants`` for one session.

        Raises:
            TokenError: the grants are not within the token's.
        """
        # Not to be guessed: the id of a block is in the log, and must not tell what is in the block.
        nonce = commitment(self._secret, encode((token.id, holder, session)))[:16]
        block = session_block(
            token.leaf, token.id, holder=holder, session=session, purse_micros=purse_micros, nonce=nonce
        )
        return attenuate(
            token, msgspec.structs.replace(block, grants=grants, scope=min(block.scope, Scope.SESSION)), self._key
        )
