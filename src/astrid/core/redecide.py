"""Deciding again what the log says was decided, with what the gate knew then, by the policy of then or another.  Pure.

    permit    the recorded call, on the strength of the blocks that it was charged to
    question  the recorded call, without a token: which ones were at hand, no record says
    denial    by policy alone, and of what it named: of a call that was refused, no record has the bytes, nor what else
              it needed

Of a session's token the log has the blocks that people signed, and of those below only the ids: they can only be
narrower.  So a permit that not even the blocks above give is none.  Of money it has what was spent and not the limits.
What a person answered is taken as they answered it, and the clock is taken for right.

Never: says that something comes out as it was where the log does not hold enough to tell; that is ``Untold``.

Source: architecture 5 ("A permit records what a replay needs"), 6 ("The decision, in order"); protocol N2 to N5, N9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from astrid.core.call import Call, Need, call_digest, encode_call
from astrid.core.canon import MAX_U64
from astrid.core.decide import Ask, Circumstances, Denied, Limits, Permit, decide
from astrid.core.facts import Facts
from astrid.core.gate_decide import ASKS_EACH_TIME
from astrid.core.gate_records import SHOWN_BYTES
from astrid.core.ids import BlockId, CallDigest
from astrid.core.policy import FRESH_REASONS, Allowed, Fresh
from astrid.core.policy_rules import Layers, rules_behind
from astrid.core.question import Question
from astrid.core.records import DeniedRecord, PermitRecord
from astrid.core.replay_log import Decision
from astrid.core.risk import Risk
from astrid.core.tokens import Moment, Permission, Scope, Token
from astrid.core.tools import ToolSpec

PERMITTED, ASKED, DENIED = "permitted", "asked", "denied"
LEFT_TO_TOKENS = "left to tokens"  # policy does not, or not any more, have anything against it that the log tells of
_UNLIMITED = Limits(MAX_U64, MAX_U64, MAX_U64)
_NAMED = re.compile(r"policy (?:forbids|does not list) `(.+)`", re.DOTALL)
_NAMES = ("policy.path", "policy.host")  # what is refused by these codes, the reason names
_NO_SPEC = "what the tool was defined as is none of the definitions that there are now"
_OF_TOKENS = "no token that was at hand covers it"


class How(msgspec.Struct, frozen=True):
    """A decision: one of the words above, and why; ``rules`` are the entries of policy behind it."""

    what: str
    why: str = ""
    rules: tuple[str, ...] = ()


class Untold(msgspec.Struct, frozen=True):
    """The log does not hold enough to decide it again; ``why`` is for people."""

    why: str


class Again(msgspec.Struct, frozen=True):
    """What record ``seq`` says was decided about a call of ``tool``, and how that is decided now."""

    seq: int
    tool: str
    was: How
    now: How | Untold

    @property
    def differs(self) -> bool:
        """Whether it can be told that it comes out otherwise."""
        return isinstance(self.now, How) and (self.now.what, self.now.why) != (self.was.what, self.was.why)


class Judge:
    """Decides again, by the policy of ``layers``.  ``specs`` are the definitions of tools that there are, by their
    digests, ``tokens`` the chains that the log has, by the id of their last block.  Who reads the log adds to both.
    """

    def __init__(self, layers: Layers, specs: Mapping[bytes, ToolSpec], tokens: Mapping[bytes, Token]) -> None:
        self._layers = layers
        self._policy = layers.policy()
        self._specs = specs
        self._tokens = tokens

    @property
    def policy(self) -> bytes:
        """The digest of the policy."""
        return self._policy.digest

    def again(self, decided: Decision, facts: Facts) -> Again:
        """``decided``, and how it is decided on ``facts``, which are those of all records before it."""
        was, now = self._both(decided, facts)
        return Again(decided.seq, decided.body.tool, was, now)

    def _both(self, decided: Decision, facts: Facts) -> tuple[How, How | Untold]:
        body, call, question = decided.body, decided.call, decided.question
        if isinstance(body, DeniedRecord):
            return How(DENIED, f"[{body.code}] {decided.why}"), self._refuse(body, decided)
        assert call is not None  # noqa: S101 - a decision that is no refusal is about a call
        spec = self._specs.get(call.tooldef)
        if isinstance(body, PermitRecord):
            return How(PERMITTED), Untold(_NO_SPEC) if spec is None else self._permit(body, call, spec, facts)
        assert question is not None  # noqa: S101 - it comes with the record
        was = How(ASKED, _asks(question.risk, question.why.decode(), once_only=question.once_only))
        return was, Untold(_NO_SPEC) if spec is None else self._ask(question, call, spec, facts)

    # --- permits

    def _permit(self, body: PermitRecord, call: Call, spec: ToolSpec, facts: Facts) -> How | Untold:
        token = self._chain(body, call)
        if token is None:
            return Untold("the log does not have, or not any more, the grant that it rests on")
        # Of a model's call not all bytes are there; a yes to one was to these, or the log's own token would not say so.
        leaf = token.leaf
        digest = CallDigest(leaf.call) if leaf.call and not call.args else call_digest(encode_call(call))
        moment = _moment(call, body.now_s, body.epoch, facts)
        fresh = ASKS_EACH_TIME if spec.fresh else ""
        around = Circumstances(self._policy, facts.ledger, _UNLIMITED, moment, standing=True, fresh_reason=fresh)
        decision = decide(call, digest, spec, (token,), around)
        if not isinstance(decision, Permit):
            return self._how(decision, call, spec)
        blocks, charged = [use.block for use in decision.charge.uses], [row.block for row in body.charges]
        terms = (decision.token, decision.risk, decision.charge.micros, blocks)
        same = terms == (body.token, body.risk, body.micros, charged)
        return How(PERMITTED, "" if same else f"on other terms: at risk {_risk(decision.risk)}, not {_risk(body.risk)}")

    def _chain(self, body: PermitRecord, call: Call) -> Token | None:
        """The chain that a permit was charged to: as the log has it, or as wide as it can have been at most."""
        ids = [BlockId(row.block) for row in body.charges]
        known = next((one for one in (self._tokens.get(each) for each in reversed(ids)) if one is not None), None)
        if known is None:
            return None
        blocks = list(known.blocks)
        for identity in ids[len(blocks) :]:
            above = blocks[-1]
            # SAFETY: a stand-in, which nobody signed and nothing is permitted by: what there was is within it.
            last = identity == ids[-1]
            below = msgspec.structs.replace(
                above,
                issuer=above.holder,
                holder=call.principal_key if last else identity,
                session=call.session,
                scope=min(above.scope, Scope.SESSION),
            )
            blocks.append(below)
        return msgspec.structs.replace(known, blocks=tuple(blocks), ids=tuple(ids))

    # --- questions

    def _ask(self, question: Question, call: Call, spec: ToolSpec, facts: Facts) -> How:
        why = question.why.decode()
        # What policy wanted, policy is asked again; what the tool wanted of this call, only the question says.
        of_tool = question.once_only and why not in FRESH_REASONS
        moment = _moment(call, question.asked, facts.roots.epoch, facts)
        around = Circumstances(
            self._policy, facts.ledger, _UNLIMITED, moment, standing=True, fresh_reason=why * of_tool
        )
        decision = decide(call, call_digest(question.call), spec, (), around)
        assert not isinstance(decision, Permit)  # noqa: S101 - nothing is permitted without a token
        if isinstance(decision, Ask) and question.once_only and not decision.once_only:
            return How(LEFT_TO_TOKENS)
        return self._how(decision, call, spec)

    # --- denials

    def _refuse(self, body: DeniedRecord, decided: Decision) -> How | Untold:
        if body.layer != "policy":
            return Untold(f"the log has no call for what the layer `{body.layer}` refused")
        if len(decided.start) >= SHOWN_BYTES:
            return Untold("the log has only the beginning of the arguments that policy refused")
        named = (body.host_kind, body.tool)
        spec = next((one for one in self._specs.values() if (one.host_kind, one.name) == named), None)
        if spec is None:
            return Untold(_NO_SPEC)
        resource = _NAMED.fullmatch(decided.why)
        if resource is None and body.code in _NAMES:
            return Untold("the log does not name, or not in full, what policy refused")
        needed = "" if resource is None else resource[1]
        # Which permission was wanted, no record says.  To look at a tree is judged otherwise than to change it.
        wanted = (Permission.READ, Permission.WRITE)
        calls = [_outline(spec, decided.start, needed, permission) for permission in wanted]
        looked, changed = [self._policy.judge(call, spec) for call in calls]
        if type(looked) is not type(changed):
            return Untold("the log does not say what was wanted of what policy named")
        if isinstance(changed, Allowed):
            return How(LEFT_TO_TOKENS)
        rules = rules_behind(self._layers, calls[1], spec)
        if isinstance(changed, Fresh):
            return How(ASKED, changed.reason, rules)
        return How(DENIED, f"[{changed.code}] {changed.reason}", rules)

    def _how(self, decision: Ask | Denied, call: Call, spec: ToolSpec) -> How:
        rules = rules_behind(self._layers, call, spec)
        if isinstance(decision, Denied):
            return How(DENIED, f"[{decision.code}] {decision.reason}", rules if decision.layer == "policy" else ())
        return How(ASKED, _asks(decision.risk, decision.reason, once_only=decision.once_only), rules)


def _asks(risk: int, reason: str, *, once_only: bool) -> str:
    # Unless it is asked about each time, the reason is what the tokens lacked that were at hand then.
    return f"at {_risk(risk)} risk: {reason if once_only else _OF_TOKENS}"


def _risk(risk: int) -> str:
    return Risk(risk).name.lower()


def _moment(call: Call, now_s: int, epoch: int, facts: Facts) -> Moment:
    return Moment(now_s, call.aud, call.session, call.workspace, call.tainted, epoch, facts.revoked, facts.settled)


def _outline(spec: ToolSpec, args: bytes, resource: str, permission: Permission) -> Call:
    """As much of a call that policy refused as the log has: the tool, the arguments, and what policy named of what it
    needed.
    """
    return Call(
        version=1,
        aud=bytes(32),
        session=bytes(16),
        workspace=bytes(32),
        principal_key=bytes(32),
        caller_key=b"",
        host_kind=spec.host_kind,
        host_id=spec.host_id,
        tooldef=bytes(spec.tooldef()),
        tool=spec.name,
        needs=(Need(resource, int(permission)),) if resource else (),
        risk=0,
        tainted=False,
        cwd_rel="",
        profile=spec.profile,
        pre=(),
        max_micros=0,
        args=args,
    )
