"""What a decision has to be, written from the words of the design alone and without a thought for speed.

It shares with ``core.decide`` the types and the inclusion of patterns, which is tried against brute force by itself
(``fuzz/covers``); every other rule is spelt out again, one a line, in the order of the text.  What policy says is an
argument: ``naive_policy`` reads it from the administrator's tables.

Source: architecture 6 ("The decision, in order"); protocol N2 c to e, N3; threats 31, 51.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from astrid.core.budget import Ledger
from astrid.core.call import Call
from astrid.core.decide import Circumstances
from astrid.core.resources import covers, parse_pattern
from astrid.core.tokens import Token
from astrid.core.tools import ToolSpec
from tests.fakes.naive_policy import NEVER_STANDING, Judged

SINKS = {"fetch", "write", "exec", "destructive", "egress", "grant", "account", "financial"}
LEVEL = {
    "read": 0,
    "model": 0,
    "staging": 0,
    "contained": 1,
    "fetch": 1,
    "write": 2,
    "exec": 2,
    "destructive": 2,
    "egress": 2,
    "grant": 2,
    "account": 3,
    "financial": 3,
}
ONCE, SEALED, DEVICE, HIGH = 0, 2, 3, 2


def naive_decide(
    call: Call, digest: bytes, spec: ToolSpec, tokens: Sequence[Token], around: Circumstances, judged: Judged
) -> set[str]:
    """``{"ask"}``, ``{"deny"}``, or the hex ids of the tokens that a permit may rest on."""
    if judged == "blocked" or call.caller_key or not payable(call, around):
        return {"deny"}
    fresh = judged == "fresh" or bool(around.fresh_reason)
    covering = [token for token in tokens if not any(broken(call, digest, spec, token, around, fresh=fresh))]
    unused = [token for token in covering if has_uses_left(token, around.ledger)]
    paid = [token for token in unused if has_money_left(call, token, around.ledger)]
    if paid:
        return {token.id.hex() for token in paid}
    return {"deny"} if unused else {"ask"}


def payable(call: Call, around: Circumstances) -> bool:
    """Whether the action and the purses of session and workspace have room for the worst case."""
    session, workspace = b"session" + call.session, b"workspace" + call.workspace
    return (
        call.max_micros <= around.limits.per_action_micros
        and room(around.ledger, session, around.limits.session_micros, call.max_micros)
        and room(around.ledger, workspace, around.limits.workspace_micros, call.max_micros)
    )


def broken(
    call: Call, digest: bytes, spec: ToolSpec, token: Token, around: Circumstances, *, fresh: bool
) -> Iterable[bool]:
    """One truth value for each rule that ``token`` breaks for ``call``."""
    now, leaf = around.moment, token.blocks[-1]
    person = leaf.scope == ONCE and (len(token.blocks) == 1 or token.ids[-1] in now.settled)
    level = max(LEVEL[spec.effect], call.risk)
    risk = min(3, level + (call.tainted and (spec.effect in SINKS or level >= HIGH)))
    yield token.epoch != now.epoch
    yield leaf.holder != call.principal_key
    yield any(not block.not_before <= now.time_s < block.expires for block in token.blocks)
    yield any({identity, block.issuer, block.holder} & set(now.revoked) for identity, block in chain(token))
    yield any(identity not in now.settled for identity, _ in answering(token))
    yield leaf.aud != now.aud
    yield leaf.session not in (b"", now.session)
    yield leaf.workspace not in (b"", now.workspace)
    yield now.tainted and not leaf.tainted_ok
    yield leaf.call not in (b"", digest)
    yield fresh and not person
    yield not around.standing and not person
    yield spec.effect in NEVER_STANDING and leaf.assurance not in (SEALED, DEVICE)
    for need in call.needs:
        yield not any(
            grant.perms & need.permission == need.permission
            and grant.max_risk >= risk
            and grant.tooldef in (b"", call.tooldef)
            and covers(parse_pattern(grant.pattern), parse_pattern(need.resource))
            for grant in leaf.grants
        )


def has_uses_left(token: Token, ledger: Ledger) -> bool:
    """Whether no block of the chain is used up."""
    return all(ledger.used.get(identity, 0) < block.uses for identity, block in chain(token))


def has_money_left(call: Call, token: Token, ledger: Ledger) -> bool:
    """Whether every block of the chain has room for the worst case."""
    return all(room(ledger, identity, block.purse, call.max_micros) for identity, block in chain(token))


def room(ledger: Ledger, key: bytes, limit: int, micros: int) -> bool:
    """Whether a purse that is not overdrawn takes ``micros`` more."""
    purse = ledger.purses.get(key)
    if purse is None:
        return micros <= limit
    return purse.spent <= limit and purse.spent + purse.reserved + micros <= limit


def chain(token: Token) -> Iterable:
    """Ids and blocks, first to last."""
    return zip(token.ids, token.blocks, strict=True)


def answering(token: Token) -> Iterable:
    """The blocks that answer a question themselves; what is below such a block carries the question on."""
    above = b""
    for identity, block in chain(token):
        if block.question != above:
            yield identity, block
        above = block.question
