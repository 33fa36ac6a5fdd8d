"""What a client may ask: its token, verified, and the methods that token covers now.

Never: believes that a client holds a key (the wire's proof of possession shows that), or lets a token act that was made
for one call, one session or one workspace.

Source: protocol N2; threats 1, 30.
"""

from __future__ import annotations

from astrid.core.blocks import UNLIMITED_USES
from astrid.core.facts import Facts
from astrid.core.tokens import Moment, Roots, Token, check_live, lets_ask, verify_chain
from astrid.errors import TokenError

_ADVICE = "remove the file `keys/client.token` of the home and run `astrid init`"


def verify_client(chain: bytes, roots: Roots) -> Token:
    """The token that a client presents.

    Raises:
        TokenError: it does not verify, or is not one for clients.
    """
    token = verify_chain(chain, roots)
    bound = token.leaf.call or token.leaf.session or token.leaf.workspace or token.leaf.question
    # SAFETY: uses are counted by the gate alone, for effects; a token whose uses nobody counts here would never end.
    if bound or any(block.uses != UNLIMITED_USES for block in token.blocks):
        raise TokenError("client.token-kind", "the token is not one that a client may act under", advice=_ADVICE)
    return token


def check_client(token: Token, facts: Facts, now_ns: int) -> None:
    """That ``token`` is live now.

    Raises:
        TokenError: it expired, was revoked, or was made for another install.
    """
    moment = Moment(facts.time_s(now_ns), facts.aud, b"", b"", False, facts.roots.epoch, facts.revoked, facts.settled)
    refusal = check_live(token, moment)
    if refusal is not None:
        raise TokenError("client.token-dead", f"the client's token is of no use: {refusal.reason}", advice=_ADVICE)


def check_method(token: Token, method: str) -> None:
    """That ``token`` covers ``method``.

    Raises:
        TokenError: it does not.
    """
    if not lets_ask(token, method):
        raise TokenError("client.not-covered", f"the client's token does not cover `{method}`", advice=_ADVICE)
