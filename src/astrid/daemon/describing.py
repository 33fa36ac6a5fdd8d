"""Tokens and keys of this install, as a client lists them.

Never: shows anything private; what a token covers is read from its own blocks.

Source: the first Astrid; protocol N1, N3.
"""

from __future__ import annotations

from astrid.core.facts import Facts
from astrid.core.ids import show_id
from astrid.core.tokens import Assurance, Scope, Token, verify_chain
from astrid.errors import AstridError
from astrid.home import read_guarded
from astrid.runtime.boot import World
from astrid.wire import results as r

_SCOPES: dict[Scope, r.ScopeText] = {
    Scope.ONCE: "once",
    Scope.SESSION: "session",
    Scope.WORKSPACE: "workspace",
    Scope.ALWAYS: "always",
}
_ASSURANCES: dict[Assurance, r.AssuranceText] = {
    Assurance.PLAIN: "plain",
    Assurance.SEALED: "sealed",
    Assurance.DEVICE: "device",
    Assurance.RELAYED: "relayed",
}


def describe_token(token: Token, facts: Facts) -> r.TokenInfo:
    """A token, with what was used and spent of it so far."""
    leaf = token.leaf
    purse = facts.ledger.purses.get(token.id)
    return r.TokenInfo(
        token_id=show_id("token", token.id),
        scope=_SCOPES[Scope(leaf.scope)],
        issuer=leaf.issuer,
        holder=leaf.holder,
        assurance=_ASSURANCES[Assurance(leaf.assurance)],
        not_before_s=str(leaf.not_before),
        expires_s=str(leaf.expires),
        uses=leaf.uses,
        used=facts.ledger.used.get(token.id, 0),
        purse_micros=str(leaf.purse),
        spent_micros="0" if purse is None else str(purse.spent),
        revoked=facts.is_revoked(token),
        grants=tuple(
            r.GrantInfo(pattern=one.pattern, perms=one.perms, issuable=one.issuable, max_risk=one.max_risk)
            for one in leaf.grants
        ),
    )


def list_keys(world: World) -> list[r.KeyInfo]:
    """The public keys of this install."""
    keys = [
        r.KeyInfo(role="user", public_key=key, assurance=_ASSURANCES[assurance])
        for key, assurance in world.identity.roots.keys.items()
    ]
    keys.append(r.KeyInfo(role="runtime", public_key=world.runtime_key.public, assurance="none"))
    keys.append(r.KeyInfo(role="holder", public_key=world.holder, assurance="none"))
    try:
        chain = read_guarded(world.home.client_token, what="the client's token")
        client = verify_chain(chain, world.identity.roots)
    except AstridError:
        return keys  # there is no client's key to show; `doctor` says what is wrong with it
    return [*keys, r.KeyInfo(role="client", public_key=client.holder, assurance="none")]
