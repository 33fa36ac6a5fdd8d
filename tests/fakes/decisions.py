"""Decisions from a tape of bytes: a call, its tool, tokens, policies and circumstances, each most often in its favour;
and the same with something less in favour of it.

The tokens are chains that no verifier need pass: what ``decide`` says must not lean on that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from astrid.core.budget import Ledger, Purse
from astrid.core.call import Call, Need, call_digest, encode_call
from astrid.core.decide import Ask, Circumstances, Decision, Denied, Limits, Permit, charge_of, decide
from astrid.core.ids import BlockId, CallDigest
from astrid.core.policy import PolicyConfig
from astrid.core.resources import parse_pattern
from astrid.core.tokens import Assurance, Block, Grant, Moment, Refusal, Scope, Token
from astrid.core.tools import ToolSpec
from tests.fakes.authority import AUD, CHILD_KEY, HOLDER, NOW, SESSION, SESSION_KEY, USER, WORKSPACE, block, call
from tests.fakes.chains import Tape
from tests.fakes.naive_decide import naive_decide
from tests.fakes.naive_policy import naive_judge
from tests.fakes.rules import HOME, config, policy, spec

READ, WRITE, DELETE, INVOKE = 1, 2, 8, 16
EVERYTHING = Grant("file://w/**", 0xFF, 0, 3, b"")
RICH = Limits(10**9, 10**9, 10**9)
NEEDS = (
    (Need("file://w/a.txt", WRITE),),
    (Need("file://w/a.txt", READ), Need("file://w/b", WRITE)),
    (Need("file://w/**", READ),),
    (Need("file://w/**", WRITE),),
    (Need("file://etc/x", READ),),
    (Need("file://w/b/c", DELETE),),
    (Need("net://443/com/example/www", INVOKE),),
    (Need("file://w/b", READ), Need("net://80/com/example", INVOKE)),
)
EFFECTS = ("read", "staging", "read", "egress", "fetch", "exec", "contained", "financial")
GRANTS = (
    EVERYTHING,
    Grant("file://w/**", READ | WRITE, 0, 1, b""),
    Grant("file://**", 0xFF, 0, 3, b""),
    Grant("net://**", INVOKE, 0, 3, b""),
    Grant("net://*/com/example/**", INVOKE, 0, 3, b""),
    Grant("file://w/a.txt", READ | WRITE, 0, 2, b""),
    Grant("file://w/a.txt", 0xFF, 0, 0, b"T" * 32),
    Grant("file://w/b", WRITE, 0, 3, b"X" * 32),
    Grant("file://w/*", 0x0F, 0xFF, 3, b""),
)
IDS = tuple(bytes([n]) * 32 for n in range(1, 7))
KEYS = (USER.public, HOLDER.public, SESSION_KEY.public, CHILD_KEY.public)
GOOD = block(holder=SESSION_KEY.public, grants=(EVERYTHING, GRANTS[3]), expires=2**64 - 1)

ENTRIES: dict[str, tuple[Any, ...]] = {
    "blocked_tools": ("write_file", "main", "workspace:write_file", "main:write_file", "builtin:write_file", "other"),
    "approval_required_tools": ("write_file", "other", "main"),
    "denied_paths": ("/w/a.txt", "/etc/**", "/w/*.txt", "/w/b/", "/w/b/c/d", "/w", "/", "~/x", "/w/*/c"),
    "allowed_paths": ("/w", "/", "/w/a*", "/etc", "/w/b/**"),
    "denied_hosts": ("example.com", "*.example.com", "*:443", "www.example.com:80", "*", "other.org"),
    "allowed_hosts": ("*.example.com", "example.com", "*", "*:443", "www.example.com:443"),
    "blocked_plugins": ("main", "other"),
}


class Case(msgspec.Struct, frozen=True):
    """Everything that goes into one decision; ``layers`` are what its policy was made of."""

    call: Call
    digest: CallDigest
    tool: ToolSpec
    tokens: tuple[Token | Refusal, ...]
    around: Circumstances
    layers: tuple[PolicyConfig, ...]

    def decide(self) -> Decision:
        """What the product says."""
        return decide(self.call, self.digest, self.tool, self.tokens, self.around)

    def permitted(self) -> bool:
        """Whether it permits."""
        return isinstance(self.decide(), Permit)

    def expected(self) -> set[str]:
        """What the words of the design say: ask, deny, or the tokens that a permit may rest on."""
        verified = [one for one in self.tokens if isinstance(one, Token)]
        judged = naive_judge(self.layers, HOME, self.call, self.tool)
        return naive_decide(self.call, self.digest, self.tool, verified, self.around, judged)


def check_agrees(case: Case) -> None:
    """The decision is the one that the design spells out, and a permit is charged to all that it rests on."""
    expected, decision = case.expected(), case.decide()
    match decision:
        case Permit():
            assert decision.token.hex() in expected
            rested = [one for one in case.tokens if isinstance(one, Token) and one.id == decision.token]
            assert any(decision.charge == charge_of(case.call, one, case.around.limits) for one in rested)
            assert charged(case, decision.token) <= {cap.key for cap in decision.charge.caps}
            assert case.around.ledger.shortage(decision.charge) is None
        case Ask():
            assert expected == {"ask"}
        case Denied():
            assert expected == {"deny"}


def charged(case: Case, token: bytes) -> set[bytes]:
    """The purses that a permit draws on: of some chain with that leaf every block, and session and workspace."""
    chains = [one.ids for one in case.tokens if isinstance(one, Token) and one.id == token]
    common = set(chains[0]).intersection(*chains)
    return common | {b"session" + case.call.session, b"workspace" + case.call.workspace}


def odd_fields(digest: bytes) -> dict[str, tuple[Any, ...]]:
    """What a block may hold instead of what would do; some of it does, too."""
    return {
        "grants": (*((one,) for one in GRANTS), GRANTS[3:6], tuple(sorted(GRANTS[:2]))),
        "holder": KEYS,
        "issuer": KEYS,
        "aud": (b"B" * 32,),
        "session": (SESSION, b"T" * 16),
        "workspace": (b"", b"V" * 32),
        "scope": tuple(Scope),
        "not_before": (NOW, NOW + 1, 0),
        "expires": (NOW + 1, NOW),
        "uses": (2, 1, 0),
        "purse": (50, 49, 0),
        "tainted_ok": (False,),
        "call": (digest, b"C" * 32),
        "question": (b"Q" * 32, b"R" * 32),
        "assurance": (*Assurance,),
    }


def some_token(tape: Tape, digest: bytes) -> Token:
    """A chain whose blocks would do, but for a field here and there."""
    odd = odd_fields(digest)
    chain: list[Block] = []
    for _ in range(tape.pick((1, 2, 1, 3))):
        made = GOOD
        for _ in range(tape.pick((0, 1, 0, 2, 1))):
            name = tape.pick(tuple(odd))
            made = msgspec.structs.replace(made, **{name: tape.pick(odd[name])})
        chain.append(made)
    if tape.one_in(4):
        kept = tape.pick((Assurance.SEALED, Assurance.PLAIN, Assurance.DEVICE, Assurance.RELAYED))
        once: dict[str, Any] = {"scope": Scope.ONCE, "call": digest, "uses": 1, "assurance": kept}
        once["question"] = tape.pick((b"Q" * 32, b""))  # without, any holder may have written it
        chain[-1] = msgspec.structs.replace(chain[-1], **once)
    start = tape.pick(range(len(IDS) - len(chain) + 1))
    return rebuilt(tuple(chain), IDS[start : start + len(chain)], tape.pick((1,) * 15 + (2,)))


def rebuilt(chain: tuple[Block, ...], ids: Sequence[bytes], epoch: int) -> Token:
    """A token of these blocks, as if somebody had verified it."""
    patterns = tuple((parse_pattern(grant.pattern), grant) for grant in chain[-1].grants)
    return Token(b"", chain, tuple(map(BlockId, ids)), patterns, epoch)


def some_layer(tape: Tape) -> PolicyConfig:
    """A policy that forbids nothing, but for an entry or two."""
    fields: dict[str, Any] = {}
    for _ in range(tape.pick((0, 1, 0, 2))):
        name = tape.pick((*ENTRIES, "max_argument_size", "require_approval_for_delete", "require_approval_for_network"))
        if name in ENTRIES:
            fields[name] = (*fields.get(name, ()), tape.pick(ENTRIES[name]))
        else:
            fields[name] = tape.pick((1000, 16, 15, 1)) if name == "max_argument_size" else True
    return config(**fields)


def some_case(tape: Tape) -> Case:
    """Anything that may be decided."""
    made = call(
        needs=tape.pick(NEEDS),
        max_micros=tape.pick((0, 0, 50, 120)),
        risk=tape.pick((0, 0, 1, 2, 3)),
        tainted=tape.pick((False, True)),
        principal_key=tape.pick((SESSION_KEY.public,) * 15 + (CHILD_KEY.public,)),
        caller_key=tape.pick((b"",) * 15 + (CHILD_KEY.public,)),
        host_kind=tape.pick(("workspace", "workspace", "model", "plugin")),
    )
    digest = call_digest(encode_call(made))
    layers = tuple(some_layer(tape) for _ in range(tape.pick((1, 2))))
    if tape.one_in(6):
        lists = [tape.pick((("/",), ("/w",), ("/w/a*",), ("/etc", "/w/b"))) for _ in range(2)]
        layers = tuple(config(allowed_paths=one) for one in lists)
    ledger = Ledger()
    shared = (b"session" + SESSION, b"workspace" + WORKSPACE)
    for _ in range(tape.pick((0, 0, 1, 2))):
        ledger.purses[tape.pick((*IDS, *shared))] = Purse(tape.pick((0, 1, 50, 10**9, 10**9 + 1)), tape.pick((0, 50)))
        ledger.used[tape.pick(IDS)] = tape.pick((1, 2, 0))
    moment = Moment(
        NOW,
        AUD,
        made.session,
        made.workspace,
        made.tainted,
        1,
        tape.pick((*(frozenset[bytes](),) * 6, frozenset(IDS[:1]), frozenset(IDS[4:5]), frozenset({USER.public}))),
        tape.pick((frozenset(IDS), frozenset[bytes](), frozenset(IDS[:1]), frozenset(IDS[1:2]))),
    )
    around = Circumstances(
        policy=policy(*layers),
        ledger=ledger,
        limits=tape.pick((RICH, RICH, Limits(100, 10**9, 10**9), Limits(10**9, 100, 100))),
        moment=moment,
        standing=not tape.one_in(6),
        fresh_reason=tape.pick(("", "", "", "", "each time")),
    )
    tokens = tuple(some_presented(tape, digest) for _ in range(tape.pick((1, 2, 3, 0))))
    return Case(made, digest, spec(effect=tape.pick(EFFECTS)), tokens, around, layers)


def some_presented(tape: Tape, digest: bytes) -> Token | Refusal:
    """A token, or what there is in place of one that does not verify."""
    if tape.one_in(12):
        return Refusal(tape.pick(("token.signature", "token.root", "token.encoding")), "forged")
    return some_token(tape, digest)


# --- with something less in favour of the call


def _rule(tape: Tape, case: Case) -> Case:
    """One entry more on a list of what is forbidden, or another layer."""
    name = tape.pick([name for name in ENTRIES if not name.startswith("allowed")])
    layer = case.layers[0]
    stricter = msgspec.structs.replace(layer, **{name: (*getattr(layer, name), tape.pick(ENTRIES[name]))})
    layers = (*case.layers, some_layer(tape)) if tape.one_in(3) else (stricter, *case.layers[1:])
    return _under(case, layers)


def _list(tape: Tape, case: Case) -> Case:
    """A list of what alone is allowed, where there was none; or one entry less on it."""
    name, layer = tape.pick(("allowed_paths", "allowed_hosts")), case.layers[0]
    there = getattr(layer, name)
    if len(there) == 1:
        return case  # an empty list is none, which allows more
    kept = there[1:] if there else (tape.pick(ENTRIES[name]),)
    return _under(case, (msgspec.structs.replace(layer, **{name: kept}), *case.layers[1:]))


def _size(tape: Tape, case: Case) -> Case:
    layer = case.layers[0]
    least = min(layer.max_argument_size or 10**9, tape.pick((20, 15, 1)))
    strict = {"max_argument_size": least, "require_approval_for_delete": True, "require_approval_for_network": True}
    return _under(case, (msgspec.structs.replace(layer, **strict), *case.layers[1:]))


def _under(case: Case, layers: tuple[PolicyConfig, ...]) -> Case:
    around = msgspec.structs.replace(case.around, policy=policy(*layers))
    return msgspec.structs.replace(case, layers=layers, around=around)


def _now(case: Case, **fields: Any) -> Case:
    moment = msgspec.structs.replace(case.around.moment, **fields)
    return msgspec.structs.replace(case, around=msgspec.structs.replace(case.around, moment=moment))


def _around(case: Case, **fields: Any) -> Case:
    return msgspec.structs.replace(case, around=msgspec.structs.replace(case.around, **fields))


def _taint(tape: Tape, case: Case) -> Case:
    """Of the context; the bytes of the call say so, but its digest stays the one that tokens are bound to: a call that
    is not the same any more would lose more than this.
    """
    tainted = msgspec.structs.replace(case, call=msgspec.structs.replace(case.call, tainted=True))
    return _now(tainted, tainted=True)


def _revocation(tape: Tape, case: Case) -> Case:
    return _now(case, revoked=case.around.moment.revoked | {tape.pick((*IDS, *KEYS))})


def _unsettled(tape: Tape, case: Case) -> Case:
    return _now(case, settled=frozenset(case.around.moment.settled) - {tape.pick(IDS)})


def _expiry(tape: Tape, case: Case) -> Case:
    """One token ends earlier, or begins later, or every token is over that was not over yet."""
    if tape.one_in(3):
        begun = [one for one in case.tokens if isinstance(one, Refusal) or all(b.not_before <= NOW for b in one.blocks)]
        return _now(msgspec.structs.replace(case, tokens=tuple(begun)), time_s=NOW + tape.pick((1, 10**9)))
    return _token_changed(tape, case, {"expires": min} if tape.one_in(2) else {"not_before": max}, (NOW, NOW + 1))


def _narrower(tape: Tape, case: Case) -> Case:
    """A block has fewer uses, less money, or does not hold under untrusted text."""
    if tape.one_in(3):
        return _token_changed(tape, case, {"tainted_ok": min}, (False,))
    return _token_changed(tape, case, {tape.pick(("uses", "purse")): min}, (1, 0, 49))


def _token_changed(tape: Tape, case: Case, change: dict[str, Callable[[Any, Any], Any]], among: Sequence[Any]) -> Case:
    if not case.tokens:
        return case
    place = tape.pick(range(len(case.tokens)))
    one = case.tokens[place]
    if isinstance(one, Refusal):
        return case
    at, (name, strictest) = tape.pick(range(len(one.blocks))), next(iter(change.items()))
    value = strictest(getattr(one.blocks[at], name), tape.pick(among))
    chain = list(one.blocks)
    chain[at] = msgspec.structs.replace(chain[at], **{name: value})
    made = rebuilt(tuple(chain), one.ids, one.epoch)
    return msgspec.structs.replace(case, tokens=(*case.tokens[:place], made, *case.tokens[place + 1 :]))


def _token_gone(tape: Tape, case: Case) -> Case:
    if not case.tokens:
        return case
    place = tape.pick(range(len(case.tokens)))
    return msgspec.structs.replace(case, tokens=case.tokens[:place] + case.tokens[place + 1 :])


def _poorer(tape: Tape, case: Case) -> Case:
    limits = case.around.limits
    least = Limits(*(min(getattr(limits, name), tape.pick((100, 49, 0))) for name in limits.__struct_fields__))
    return _around(case, limits=least)


def _spent(tape: Tape, case: Case) -> Case:
    """Somebody else has used and spent something meanwhile."""
    ledger = case.around.ledger.copy()
    key = tape.pick((*IDS, b"session" + SESSION, b"workspace" + WORKSPACE))
    purse = ledger.purses.get(key, Purse())
    ledger.purses[key] = Purse(purse.spent + tape.pick((0, 1, 50)), purse.reserved + tape.pick((0, 1, 50)))
    used = tape.pick(IDS)
    ledger.used[used] = ledger.used.get(used, 0) + 1
    return _around(case, ledger=ledger)


def _riskier(tape: Tape, case: Case) -> Case:
    risk = min(case.call.risk + 1, 3)
    return msgspec.structs.replace(case, call=msgspec.structs.replace(case.call, risk=risk))


WORSE: dict[str, Callable[[Tape, Case], Case]] = {
    "a rule that forbids": _rule,
    "a list of what is allowed": _list,
    "a stricter layer": _size,
    "a taint": _taint,
    "a revocation": _revocation,
    "an answer the log does not have": _unsettled,
    "an expiry": _expiry,
    "a narrower token": _narrower,
    "one token less": _token_gone,
    "less money": _poorer,
    "money spent": _spent,
    "a clock that cannot be believed": lambda _, case: _around(case, standing=False),
    "a host that wants a yes": lambda _, case: _around(case, fresh_reason="each time"),
    "other keys": lambda _, case: _now(case, epoch=3),
    "a higher risk": _riskier,
}
"""What takes something away from a case, by name."""
