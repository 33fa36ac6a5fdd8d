"""May this call run?  The five questions of architecture 6, in order, as one pure function.

1. Policy: is it forbidden, or does it need a person's yes to this very call?
2. Capability: does ONE live token of this principal cover every (resource, permission) at this risk?
3. Budget: does the worst case fit every purse and every use counter on the way up?  What fits no purse of the session
   is refused before a token is looked at, so that nobody is asked about what cannot be paid for.
4. Risk and labels: untrusted text in view raises the level of a sink; what no token covers at that level, a person
   decides.
5. Audit: whatever comes out is durable before it has an effect (that is the gate's part).

Never: verifies a signature (tokens come verified, or as the refusal to), keeps state, or turns an error into a permit.

A token that is expired, revoked, used up or forged covers nothing, and that is all: it neither helps nor spoils what is
presented beside it.  If it spoilt a call, leaving it away would permit that call.  That somebody presented it is told
elsewhere (``gate_decide``).

Invariants:
  Adding a deny rule, a taint, an expiry or a revocation never turns a refusal into a permit.
  Adding a token never takes a permit away, and removing one never gives one; what the others are, and in which order,
  only chooses the token that a permit rests on.
  A permit names one token; its charge covers every block of that token's chain.

Source: architecture 6 ("The decision, in order"); protocol N2 c to e, N3; threats 1, 4, 7, 15, 20, 31, 51.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from astrid.core.budget import Cap, Charge, Ledger
from astrid.core.call import Call, Need
from astrid.core.ids import CallDigest
from astrid.core.policy import Blocked, Fresh, Policy
from astrid.core.risk import NEVER_STANDING, SINK_RISK, Risk, base_risk, is_sink, raised
from astrid.core.tokens import STRONG_ASSURANCES, Grant, Moment, Refusal, Scope, Token, check_live
from astrid.core.tools import ToolSpec


class Permit(msgspec.Struct, frozen=True):
    """The call may run on the strength of ``token`` (its leaf id), once ``charge`` is reserved and the record is
    durable.
    """

    token: bytes
    charge: Charge
    risk: Risk


class Ask(msgspec.Struct, frozen=True):
    """No token covers the call, and a person may.

    ``reason`` says what asks, ``missing`` why the tokens at hand do not do.  ``once_only``: no wider answer can be
    offered.  ``strong``: even once needs a sealed key or a device.
    """

    risk: Risk
    reason: str
    missing: Refusal
    once_only: bool
    strong: bool


class Denied(msgspec.Struct, frozen=True):
    """The call will not run.  The model gets ``code`` and ``layer`` and a constant text; people get the rest."""

    layer: str
    code: str
    reason: str
    advice: str


Decision = Permit | Ask | Denied
_NO_TOKEN = Refusal("token.none", "no token covers this call")


class Limits(msgspec.Struct, frozen=True):
    """The caps around every call of a session, in micro-dollars, and how full a purse is when people are told."""

    per_action_micros: int
    session_micros: int
    workspace_micros: int
    warn_at_percent: int = 80


class Circumstances(msgspec.Struct, frozen=True):
    """Everything a decision depends on besides the call and the tokens."""

    policy: Policy
    ledger: Ledger
    limits: Limits
    moment: Moment
    standing: bool  # whether the clock can be believed; if not, no standing token is
    fresh_reason: str  # why the host wants a person's yes to this very call; empty if it does not


class _Wanted(msgspec.Struct, frozen=True, gc=False):
    """What a token has to satisfy for one call."""

    call: Call
    digest: CallDigest
    risk: Risk
    fresh: bool
    strong: bool


def decide(
    call: Call, digest: CallDigest, spec: ToolSpec, tokens: Sequence[Token | Refusal], around: Circumstances
) -> Decision:
    """The decision on ``call``, whose digest is ``digest``.  In place of a token that did not verify is the refusal.

    Raises:
        PatternError: a need of the call is malformed; the one caller turns any exception into a recorded denial.
    """
    judgement = around.policy.judge(call, spec)
    if isinstance(judgement, Blocked):
        return Denied("policy", judgement.code, judgement.reason, judgement.advice)
    if call.caller_key:
        # SAFETY: the chains of caller and callee must both cover such a call; deciding it on one of them would lend
        # the callee's authority to whoever calls.  No host makes such calls yet.
        return Denied("caller", "caller.unsupported", "calls on behalf of another principal are not made", "")
    unpayable = _unpayable(call, around)
    if unpayable is not None:
        return unpayable
    strong = spec.effect_class in NEVER_STANDING
    fresh = judgement.reason if isinstance(judgement, Fresh) else around.fresh_reason
    wanted = _Wanted(call, digest, risk_of(call, spec), bool(fresh), strong)
    best = _NO_TOKEN
    for token in tokens:
        found = token if isinstance(token, Refusal) else _weigh(token, wanted, around)
        if isinstance(found, Permit):
            return found
        best = max(best, found, key=_telling)
    if best.code.startswith("budget."):
        # A person's yes adds authority, never money that a cap does not have.
        return Denied("budget", best.code, best.reason, "raise the budget or wait for running calls to settle")
    return Ask(wanted.risk, fresh or best.reason, best, once_only=bool(fresh), strong=strong)


def risk_of(call: Call, spec: ToolSpec) -> Risk:
    """The level of a call: what its effect is worth, at least what the host says, one more when a tainted context
    reaches a sink.
    """
    base = base_risk(spec.effect_class)
    risk = base if base >= call.risk else Risk(call.risk)
    # SAFETY: whether a tool that writes stays inside the workspace, only its host can tell, and says so by the level;
    # one that puts a call where every class is a sink has said that it is one.
    return raised(risk, 1) if call.tainted and (is_sink(spec.effect_class) or risk >= SINK_RISK) else risk


def charge_of(call: Call, token: Token, limits: Limits) -> Charge:
    """What a permit for ``call`` under ``token`` takes: one use of every block, and the worst-case money of every
    block, the session and the workspace.
    """
    return Charge(call.max_micros, token.caps + _purses(call, limits), token.uses)


def check_usable(token: Token, around: Moment, *, standing: bool) -> Refusal | None:
    """What may end a token between a decision and its effect: N2 c, and the clock.  ``None`` if it holds."""
    dead = check_live(token, around)
    if dead is None and not standing and not _says_once(token, around):
        return Refusal("token.clock", "the clock was set back, so standing tokens are not believed")
    return dead


def _purses(call: Call, limits: Limits) -> tuple[Cap, ...]:
    return (
        Cap(b"session" + call.session, limits.session_micros, "session"),
        Cap(b"workspace" + call.workspace, limits.workspace_micros, "workspace"),
    )


def _unpayable(call: Call, around: Circumstances) -> Denied | None:
    """Why the call can be paid for under no token at all."""
    if call.max_micros > around.limits.per_action_micros:
        reason = "the call may cost more than one action is allowed to"
        return Denied("budget", "budget.per-action", reason, "ask for less at once")
    short = around.ledger.lack(call.max_micros, _purses(call, around.limits))
    if short is None:
        return None
    return Denied("budget", short.code, short.reason, "raise the budget or wait for running calls to settle")


def _weigh(token: Token, wanted: _Wanted, around: Circumstances) -> Permit | Refusal:
    """What ``token`` is worth for what is wanted."""
    refusal = _refuse(token, wanted, around)
    if refusal is not None:
        return refusal
    charge = charge_of(wanted.call, token, around.limits)
    short = around.ledger.shortage(charge)
    return Permit(token.id, charge, wanted.risk) if short is None else Refusal(short.code, short.reason)


def _refuse(token: Token, wanted: _Wanted, around: Circumstances) -> Refusal | None:
    """Why ``token`` does not authorise what is wanted; ``None`` if it does."""
    leaf = token.leaf
    if leaf.holder != wanted.call.principal_key:
        return Refusal("token.possession", "the token belongs to another principal")
    unusable = check_usable(token, around.moment, standing=around.standing)
    if unusable is not None:
        return unusable
    if leaf.call and leaf.call != wanted.digest:
        return Refusal("token.other-call", "the token was made for another call")
    if wanted.fresh and not _says_once(token, around.moment):
        return Refusal("token.not-fresh", "this call needs an approval of its own")
    if wanted.strong and leaf.assurance not in STRONG_ASSURANCES:
        return Refusal("token.weak-key", "this kind of action needs a sealed key or a device")
    for need in wanted.call.needs:
        covering = token.covering(need.resource)
        for grant in covering:
            if _grants(grant, need, wanted):
                break
        else:
            return _why_not(covering, need)
    return None


def _says_once(token: Token, around: Moment) -> bool:
    """Whether a person said yes to one call with the last block of ``token``.

    SAFETY: any holder may narrow a standing token to a block of scope once, for any call; that is nobody's approval.
    A person's is the first block, or the one that the log names as the answer to its question.
    """
    leaf = token.leaf
    by_a_person = len(token.blocks) == 1 or token.id in around.settled
    return leaf.scope == Scope.ONCE and by_a_person


def _grants(grant: Grant, need: Need, wanted: _Wanted) -> bool:
    """Whether ``grant``, whose pattern covers the resource, is good for what is wanted of it."""
    return (
        not need.permission & ~grant.perms
        and grant.max_risk >= wanted.risk
        and (not grant.tooldef or grant.tooldef == wanted.call.tooldef)
    )


def _why_not(covering: Sequence[Grant], need: Need) -> Refusal:
    if not covering:
        return Refusal("token.resource", f"the token does not cover `{need.resource}`")
    if all(need.permission & ~grant.perms for grant in covering):
        return Refusal("token.permission", f"the token does not allow this use of `{need.resource}`")
    return Refusal(
        "token.level", f"the token does not cover `{need.resource}` at this risk or for this tool definition"
    )


_LACKS = ("token.none", "token.resource", "token.permission", "token.level")


def _telling(refusal: Refusal) -> tuple[bool, int]:
    """How much a person learns from a refusal: money first, then what is special about a token, then what it merely
    lacks.
    """
    rank = _LACKS.index(refusal.code) if refusal.code in _LACKS else len(_LACKS)
    return refusal.code.startswith("budget."), rank
