"""The standing tokens of this install, as the log has them.  Verified on every load.

Source: architecture 6 ("Stored tokens are verified on every load": the first Astrid believed what it had stored).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from astrid.core.facts import Facts
from astrid.core.grants import Mode, mode_grants
from astrid.core.resources import covers, parse_pattern
from astrid.core.tokens import Grant, Scope, Token, verify_chain
from astrid.errors import TokenError


class Shelved(msgspec.Struct, frozen=True):
    """A token, and the number of the record that took it in."""

    token: Token
    seq: int


class Shelf:
    """Tokens by the id of their last block.  Which of them are live is asked of the gate's facts at each use."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._tokens: dict[bytes, Shelved] = {}

    def put(self, raw: bytes, seq: int) -> None:
        """Take in one token, which record ``seq`` names.

        Raises:
            TokenError: it does not verify.
        """
        token = verify_chain(raw, self._facts.roots)
        self._tokens[token.id] = Shelved(token, seq)

    def all(self) -> Iterable[Shelved]:
        """Every token, dead ones too, oldest first."""
        return sorted(self._tokens.values(), key=lambda shelved: shelved.seq)

    def get(self, identity: bytes) -> Shelved | None:
        """The token whose last block has this id."""
        return self._tokens.get(identity)

    def live(self, holder: bytes, workspace: bytes, time_s: int) -> list[Token]:
        """What ``holder`` may hand on in ``workspace`` now."""
        return [
            token
            for token in (shelved.token for shelved in self.all())
            if token.holder == holder and self._is_live(token, workspace, time_s)
        ]

    def _is_live(self, token: Token, workspace: bytes, time_s: int) -> bool:
        return (
            token.leaf.scope >= Scope.WORKSPACE
            and token.leaf.workspace in (b"", workspace)
            and token.leaf.not_before <= time_s < token.leaf.expires
            and not self._facts.is_revoked(token)
            and (not token.leaf.question or token.id in self._facts.settled)
        )

    def of_fleet(self, identity: bytes, workspace: bytes, time_s: int) -> Token:
        """The token of a fleet, from which its sessions in ``workspace`` are handed theirs.

        Raises:
            TokenError: there is none that is live.
        """
        shelved = self.get(identity)
        if shelved is None or not self._is_live(shelved.token, workspace, time_s):
            raise TokenError(
                "fleet.no-token",
                "the fleet's token is not there, for another workspace, expired or revoked",
                advice="start the fleet anew; `astrid tokens list` shows what there is",
            )
        return shelved.token

    def for_mode(self, tokens: list[Token], mode: Mode, root: str) -> tuple[Token, tuple[Grant, ...]]:
        """The token among ``tokens`` that lets a session work at ``root`` in ``mode``, and the grants of that mode.

        Raises:
            TokenError: none does; the advice says how to sign one.
        """
        wanted = mode_grants(mode, root)
        for token in reversed(tokens):
            if _covers(token, wanted):
                return token, wanted
        raise TokenError(
            "token.no-grant",
            f"nothing that you signed lets Astrid work here in mode `{mode.value}`",
            where=root,
            advice=f"run `astrid tokens grant --workspace {root} --mode {mode.value}`",
        )

    def is_mode(self, token: Token, root: str) -> bool:
        """Whether ``token`` lets a session work at ``root`` in some mode; such a one is handed on only in part."""
        return _covers(token, mode_grants(Mode.SAFE, root))


def _covers(token: Token, wanted: tuple[Grant, ...]) -> bool:
    return all(any(_within(grant, outer) for outer in token.leaf.grants) for grant in wanted)


def _within(inner: Grant, outer: Grant) -> bool:
    return (
        not inner.perms & ~outer.perms
        and inner.max_risk <= outer.max_risk
        and not outer.tooldef
        and covers(parse_pattern(outer.pattern), parse_pattern(inner.pattern))
    )
