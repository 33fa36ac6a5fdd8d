"""From a prepared proposal to what follows from it: the call's bytes are made here, tokens verified, ``decide`` asked,
and what has to be written down is written.  Pure.

One of the two broad catches outside the supervisor is here: whatever goes wrong up to the finished record is a denial
of that call.  Nothing is changed before it, so there is nothing to undo.

Source: architecture 3 ("around the pure decide"), 5; protocol N2 c, N4; threats 8, 15, 25.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from astrid.core.call import MAX_CALL_BYTES, Call, Preparation, call_digest, encode_call
from astrid.core.decide import Ask, Circumstances, Denied, Permit, check_usable, decide
from astrid.core.facts import Facts, Principal
from astrid.core.gate_records import permitted, question_for
from astrid.core.gate_state import Pending, Permitted, Salts, TokenCache
from astrid.core.question import decode_question
from astrid.core.records import Entry
from astrid.core.tokens import Refusal, Token
from astrid.core.tools import is_steered
from astrid.errors import AstridError, CanonError, TokenError

ASKS_EACH_TIME = "this tool asks each time"
QID_BYTES = 16


class Granted(msgspec.Struct, frozen=True):
    """The call of these bytes may run once the charge of ``permit`` is reserved and ``record`` durable."""

    permit: Permitted
    call_bytes: bytes
    record: Entry
    forged: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True):
    """A person is asked; ``raw`` are the bytes of ``Q``."""

    raw: bytes
    forged: tuple[str, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """The call will not run."""

    denied: Denied
    forged: tuple[str, ...] = ()


Verdict = Granted | Question | Rejected
"""Each with the codes of the tokens that were presented and do not verify.  They change nothing about the decision, and
are told apart from it: whoever presents one is broken, out of date, or an attacker.
"""


_ADVISE_GRANT = "grant it beforehand or let a person be asked"
_ADVICE = {
    "token.not-fresh": "let a person be asked: this cannot be granted beforehand",
    "token.tainted": "grant it for untrusted text, too (`--workspace DIR --tainted-ok`), or let a person be asked",
    "token.weak-key": "use a home whose key was made under a passphrase",
}


def consider(
    pending: Pending,
    principal: Principal,
    preparation: Preparation,
    facts: Facts,
    cache: TokenCache,
    salts: Salts,
    now_ns: int,
) -> Verdict:
    """What follows from a proposal that its host has looked at.  Never raises."""
    forged: tuple[str, ...] = ()
    try:
        call = make_call(pending, principal, preparation, facts)
        call_bytes = encode_call(call)
        if len(call_bytes) > MAX_CALL_BYTES:
            raise CanonError("call.too-long", f"a call is {len(call_bytes)} bytes, more than {MAX_CALL_BYTES}")
        tokens = [_verified(raw, facts, cache) for raw in pending.proposal.tokens]
        forged = tuple([one.code for one in tokens if isinstance(one, Refusal)])
        spec = pending.tool.spec
        fresh = (preparation.why or ASKS_EACH_TIME) if preparation.fresh or spec.fresh else ""
        moment = facts.moment(call, now_ns)
        around = Circumstances(facts.policy, facts.ledger, principal.limits, moment, facts.standing, fresh)
        decision = decide(call, call_digest(call_bytes), spec, tokens, around)
        match decision:
            case Permit():
                [token, *_] = [one for one in tokens if isinstance(one, Token) and one.id == decision.token]
                record = permitted(facts, pending.ref, call, call_bytes, decision, now_ns, salts.take())
                return Granted(Permitted(call, token, decision.charge), call_bytes, record, forged)
            case Ask() if principal.key in facts.revoked:
                # No yes could help: what it makes would be held by that key, and whoever says yes would be asked
                # again and again.
                reason = "the key of this session was revoked"
                denied = Denied("capability", "token.revoked", reason, "start another session")
            case Ask() if principal.asks:
                raw = question_for(facts, call, call_bytes, decision, preparation, salts.take()[:QID_BYTES], now_ns)
                decode_question(raw)  # what cannot be read must not be asked
                return Question(raw, forged)
            case Ask():
                code, reason = decision.missing.code, decision.missing.reason
                denied = Denied("capability", code, reason, _ADVICE.get(code, _ADVISE_GRANT))
            case Denied():
                denied = decision
            case _:
                assert_never(decision)
    except AstridError as error:
        denied = Denied("input", error.code, error.message, error.advice or "propose it differently")
    except Exception as error:  # noqa: BLE001
        # SAFETY: a bug met while deciding is a recorded denial of this call; letting it escape would let one call, sent
        # again after each restart, stop the daemon.
        denied = Denied("gate", "gate.bug", f"deciding failed: {type(error).__name__}", "report this")
    return Rejected(denied, forged)


def _verified(raw: bytes, facts: Facts, cache: TokenCache) -> Token | Refusal:
    """The token that ``raw`` proves, or why it proves none."""
    try:
        return cache.verified(raw, facts.roots)
    except TokenError as error:
        return Refusal(error.code, "a token that was presented does not verify")


def stale(pending: Pending, facts: Facts, now_ns: int) -> Denied | None:
    """What changed while the permit was being written: the wish itself, the tool, N2 c.  ``None`` if nothing did."""
    if pending.cancelled:
        return Denied("session", "gate.cancelled", "the call was cancelled", "")
    if facts.tools.get((pending.tool.toolbox, pending.tool.spec.name)) != pending.tool:
        return Denied("tool", "tool.changed", "the tool changed or restarted since the decision", "propose it again")
    moment = facts.moment(pending.permit.call, now_ns)
    refusal = check_usable(pending.permit.token, moment, standing=facts.standing)
    return None if refusal is None else Denied("capability", refusal.code, refusal.reason, "ask for a new approval")


def make_call(pending: Pending, principal: Principal, preparation: Preparation, facts: Facts) -> Call:
    """``C`` of protocol N4 for a prepared proposal."""
    spec = pending.tool.spec
    return Call(
        version=1,
        aud=facts.aud,
        session=principal.session,
        workspace=principal.workspace,
        principal_key=principal.key,
        caller_key=b"",
        host_kind=spec.host_kind,
        host_id=spec.host_id,
        tooldef=pending.tool.tooldef,
        tool=spec.name,
        needs=preparation.needs,
        risk=preparation.risk,
        # SAFETY: what a poisoned sub-agent chose, if only among few values, decides over no control argument.
        tainted=pending.proposal.tainted or (pending.proposal.chosen and is_steered(spec)),
        cwd_rel=preparation.cwd_rel,
        profile=spec.profile,
        pre=preparation.pre,
        max_micros=preparation.max_micros,
        args=pending.proposal.args,
    )
