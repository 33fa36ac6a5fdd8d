"""Decisions: every question by example, the answers of a naive reading of the design, and never wider by accident."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core import decide as module
from astrid.core.blocks import UNLIMITED_USES
from astrid.core.budget import Cap, Charge, Ledger, Purse, Use
from astrid.core.call import Call, Need, Pre, call_digest, encode_call
from astrid.core.decide import Ask, Circumstances, Decision, Denied, Limits, Permit, charge_of, check_usable, decide
from astrid.core.risk import SINK_RISK, EffectClass, Risk, base_risk, is_sink
from astrid.core.tokens import Assurance, Grant, Permission, Refusal, Scope, Token
from astrid.core.tools import ToolSpec
from astrid.errors import PatternError
from tests.fakes.authority import (
    CHILD_KEY,
    DAY,
    DEVICE_KEY,
    HOLDER,
    NOW,
    PLAIN_USER,
    READ,
    SESSION,
    SESSION_KEY,
    USER,
    WORKSPACE,
    WRITE,
    call,
    device_token,
    moment,
    pass_on,
    token,
)
from tests.fakes.chains import Tape
from tests.fakes.decisions import WORSE, check_agrees, some_case, some_presented
from tests.fakes.rules import PERMISSIVE, config, policy, spec

DELETE = int(Permission.DELETE)
RICH = Limits(10**9, 10**9, 10**9)
OPEN = policy()
EVERYTHING = Grant("file://w/**", 0xFF, 0, 3, b"")


def around(**fields: Any) -> Circumstances:
    """Nothing is forbidden, everything is affordable, the clock is right."""
    made: dict[str, Any] = {
        "policy": OPEN,
        "ledger": Ledger(),
        "limits": RICH,
        "moment": moment(),
        "standing": True,
        "fresh_reason": "",
    }
    return Circumstances(**(made | fields))


def session_token(**fields: Any) -> Token:
    """The workspace grant, handed on to the session."""
    return pass_on(token(grants=(EVERYTHING,)), HOLDER, scope=Scope.SESSION, session=SESSION, **fields)


def once_token(made: Call, *, signer: Any = USER, **fields: Any) -> Token:
    """What a person signs when they say yes to ``made``, without a question."""
    given_fields = {
        "holder": SESSION_KEY.public,
        "scope": Scope.ONCE,
        "session": SESSION,
        "grants": tuple(sorted(Grant(need.resource, need.permission, 0, 3, b"") for need in made.needs)),
        "uses": 1,
        "depth": 0,
        "call": call_digest(encode_call(made)),
    } | fields
    return token(signer, **given_fields)


STANDING = session_token()


def judge(made: Call, tokens: Sequence[Token | Refusal], tool: ToolSpec | None = None, **fields: Any) -> Decision:
    if "moment" not in fields:
        fields["moment"] = moment(tainted=made.tainted)
    return decide(made, call_digest(encode_call(made)), tool or spec(), tokens, around(**fields))


def code(decision: Decision) -> str:
    """What decided."""
    if isinstance(decision, Permit):
        return "permit"
    return decision.missing.code if isinstance(decision, Ask) else decision.code


# --- 1. policy


def test_a_covered_call_is_permitted_on_the_token_that_covers_it() -> None:
    decision = judge(call(), [STANDING])
    assert isinstance(decision, Permit)
    assert decision.token == STANDING.id
    assert decision.risk is Risk.LOW


def test_what_policy_forbids_no_token_allows() -> None:
    blocked = policy(config(denied_paths=("/w",)))
    decision = judge(call(), [STANDING, once_token(call())], policy=blocked)
    assert isinstance(decision, Denied)
    assert (decision.layer, decision.code) == ("policy", "policy.path")


def test_a_call_on_behalf_of_another_is_not_decided_on_one_chain() -> None:
    """Threat 4: until both chains are looked at, a caller would borrow what the callee holds."""
    made = call(caller_key=CHILD_KEY.public)
    decision = judge(made, [STANDING, once_token(made)])
    assert isinstance(decision, Denied)
    assert decision.layer == "caller"


@pytest.mark.parametrize("by", ["policy", "host"])
def test_a_standing_token_is_not_enough_where_a_fresh_yes_is_wanted(by: str) -> None:
    fields: dict[str, Any] = {"fresh_reason": "it writes hooks"}
    if by == "policy":
        fields = {"policy": policy(config(approval_required_tools=("write_file",)))}
    decision = judge(call(), [STANDING], **fields)
    assert isinstance(decision, Ask)
    assert (decision.missing.code, decision.once_only, decision.strong) == ("token.not-fresh", True, False)
    assert decision.reason == ("it writes hooks" if by == "host" else decision.reason)
    assert isinstance(judge(call(), [STANDING, once_token(call())], **fields), Permit)
    assert isinstance(judge(call(), [STANDING]), Permit)


# --- a person's once, and nobody else's


def test_a_once_token_that_the_session_made_itself_is_no_fresh_yes() -> None:
    """Any holder may narrow a standing token to one call; that is nobody's approval."""
    made = call(principal_key=CHILD_KEY.public)
    own = once_below(STANDING, made)
    assert isinstance(judge(made, [own]), Permit)
    assert code(judge(made, [own], fresh_reason="it writes hooks")) == "token.not-fresh"


def test_a_once_token_made_below_a_session_answer_is_no_fresh_yes() -> None:
    """The log names the block that the person signed, not what its holder made of it."""
    made = call(principal_key=CHILD_KEY.public)
    question = b"Q" * 32
    answer = token(
        holder=SESSION_KEY.public, scope=Scope.SESSION, session=SESSION, question=question, grants=(EVERYTHING,)
    )
    own = once_below(answer, made)
    settled = moment(settled={answer.id})
    assert isinstance(judge(made, [own], moment=settled), Permit)
    assert code(judge(made, [own], moment=settled, fresh_reason="it writes hooks")) == "token.not-fresh"


def test_a_device_that_answered_is_a_person() -> None:
    made = call()
    question = b"Q" * 32
    answer = pass_on(
        device_token(),
        DEVICE_KEY,
        holder=SESSION_KEY.public,
        session=SESSION,
        scope=Scope.ONCE,
        grants=(Grant("file://w/a.txt", WRITE, 0, 1, b""),),
        uses=1,
        depth=0,
        tainted_ok=False,
        call=call_digest(encode_call(made)),
        question=question,
        assurance=Assurance.DEVICE,
    )
    fields: dict[str, Any] = {"moment": moment(settled={answer.id}), "fresh_reason": "it writes hooks"}
    assert isinstance(judge(made, [answer], **fields), Permit)
    fields["moment"] = moment(settled={b"x" * 32})
    assert code(judge(made, [answer], **fields)) == "token.unsettled"


def test_without_the_person_a_holder_would_approve_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    made = call(principal_key=CHILD_KEY.public)
    monkeypatch.setattr(module, "_says_once", lambda one, _: one.leaf.scope == Scope.ONCE)
    assert isinstance(judge(made, [once_below(STANDING, made)], fresh_reason="it writes hooks"), Permit)


def once_below(parent: Token, made: Call) -> Token:
    return pass_on(
        parent,
        SESSION_KEY,
        holder=CHILD_KEY.public,
        scope=Scope.ONCE,
        uses=1,
        depth=0,
        call=call_digest(encode_call(made)),
    )


# --- 2. capability: possession (threat 1)


def test_a_token_of_another_principal_is_nobody_s() -> None:
    child = call(principal_key=CHILD_KEY.public)
    assert code(judge(child, [STANDING])) == "token.possession"


def test_the_shorter_prefix_of_one_s_own_chain_is_the_parent_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut by one block, the chain holds everything its narrower end gave up."""
    child = call(principal_key=CHILD_KEY.public, needs=(Need("file://w/secret", READ),))
    narrow = pass_on(STANDING, SESSION_KEY, holder=CHILD_KEY.public, grants=(Grant("file://w/open", READ, 0, 0, b""),))
    assert code(judge(child, [narrow])) == "token.resource"
    assert code(judge(child, [narrow, STANDING])) == "token.possession"
    # The control removed: the check of who holds the token.
    monkeypatch.setattr(module, "_refuse", lambda one, wanted, circumstances: None)
    assert isinstance(judge(child, [STANDING]), Permit)


# --- 2. capability: coverage (threat 20)


@pytest.mark.parametrize("dropped", range(3))
def test_one_grant_less_and_a_call_of_several_needs_is_not_covered(dropped: int) -> None:
    needs = (Need("file://w/a", READ), Need("file://w/b", WRITE), Need("file://w/c/**", READ))
    made = call(needs=needs)
    grants = tuple(Grant(need.resource, need.permission, 0, 1, b"") for need in needs)
    assert isinstance(judge(made, [session_token(grants=grants)]), Permit)
    fewer = session_token(grants=grants[:dropped] + grants[dropped + 1 :])
    assert code(judge(made, [fewer])) == "token.resource"


def test_two_tokens_do_not_cover_a_call_together() -> None:
    needs = (Need("file://w/a", READ), Need("file://w/b", WRITE))
    halves = [session_token(grants=(Grant(need.resource, need.permission, 0, 1, b""),)) for need in needs]
    assert code(judge(call(needs=needs), halves)) == "token.resource"


def test_two_grants_do_not_cover_one_need_together() -> None:
    halves = (Grant("file://w/a", READ, 0, 1, b""), Grant("file://w/a", WRITE, 0, 1, b""))
    made = call(needs=(Need("file://w/a", READ | WRITE),))
    assert code(judge(made, [session_token(grants=halves)])) == "token.permission"


@pytest.mark.parametrize(
    ("grant", "missing"),
    [
        (Grant("file://w/a.txt", WRITE, 0, 0, b""), "permit"),
        (Grant("file://w/b.txt", WRITE, 0, 0, b""), "token.resource"),
        (Grant("file://w/*/**", WRITE, 0, 0, b""), "permit"),
        (Grant("file://w/a.txt/**", WRITE, 0, 0, b""), "permit"),
        (Grant("file://w/a.txt/*", WRITE, 0, 0, b""), "token.resource"),
        (Grant("file://w/a.txt", READ, 0, 3, b""), "token.permission"),
        (Grant("file://w/a.txt", READ, WRITE, 3, b""), "token.permission"),
        (Grant("file://w/a.txt", WRITE, 0, 3, b"X" * 32), "token.level"),
        (Grant("file://w/a.txt", WRITE, 0, 3, b"T" * 32), "permit"),
    ],
    ids=str,
)
def test_a_grant_covers_exactly_what_it_says(grant: Grant, missing: str) -> None:
    handed_on = token(holder=SESSION_KEY.public, grants=(grant,))
    assert code(judge(call(), [handed_on])) == missing


@pytest.mark.parametrize("risk", list(Risk))
@pytest.mark.parametrize("highest", list(Risk))
def test_a_grant_covers_up_to_its_level(risk: Risk, highest: Risk) -> None:
    handed_on = token(holder=SESSION_KEY.public, grants=(Grant("file://w/**", WRITE, 0, highest, b""),))
    expected = "permit" if risk <= highest else "token.level"
    assert code(judge(call(risk=risk), [handed_on])) == expected


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"time_s": NOW + DAY}, "token.expired"),
        ({"time_s": NOW - 11}, "token.not-yet"),
        ({"aud": b"B" * 32}, "token.audience"),
        ({"session": b"T" * 16}, "token.session"),
        ({"workspace": b"V" * 32}, "token.workspace"),
        ({"epoch": 2}, "token.epoch"),
        ({"revoked": {USER.public}}, "token.revoked"),
        ({"revoked": {HOLDER.public}}, "token.revoked"),
        ({"revoked": {SESSION_KEY.public}}, "token.revoked"),
        ({"revoked": {STANDING.ids[0]}}, "token.revoked"),
        ({"revoked": {STANDING.ids[1]}}, "token.revoked"),
    ],
    ids=str,
)
def test_a_token_that_does_not_live_now_covers_nothing(changed: dict[str, Any], missing: str) -> None:
    assert code(judge(call(), [STANDING], moment=moment(**changed))) == missing


def test_without_tokens_a_person_is_asked() -> None:
    decision = judge(call(), [])
    assert isinstance(decision, Ask)
    assert (decision.missing.code, decision.once_only, decision.strong) == ("token.none", False, False)
    assert decision.reason == decision.missing.reason


# --- 2. a yes to one call is a yes to that call (threat 7)

VARIED: dict[str, Any] = {
    "aud": b"B" * 32,
    "session": b"T" * 16,
    "workspace": b"V" * 32,
    "principal_key": CHILD_KEY.public,
    "host_kind": "mcp",
    "host_id": "other",
    "tooldef": b"U" * 32,
    "tool": "write_files",
    "needs": (Need("file://w/a.txt", WRITE | READ),),
    "risk": 1,
    "tainted": True,
    "cwd_rel": "sub",
    "profile": b"Q" * 32,
    "pre": (Pre("w/a.txt", 1, 2, b""),),
    "max_micros": 1,
    "args": b'{"path":"b.txt"}',
}


def test_every_field_of_a_call_is_varied_below() -> None:
    assert set(Call.__struct_fields__) - set(VARIED) == {"version", "caller_key"}


@pytest.mark.parametrize("field", VARIED)
def test_a_yes_is_to_that_very_call_and_to_no_other(field: str) -> None:
    made = call()
    yes = once_token(made, grants=(Grant("file://w/a.txt", 0xFF, 0, 3, b""),), tainted_ok=True)
    assert isinstance(judge(made, [yes]), Permit)
    other = call(**{field: VARIED[field]})
    decision = judge(other, [yes])
    assert isinstance(decision, Ask)
    assert decision.missing.code == ("token.possession" if field == "principal_key" else "token.other-call")


def test_a_yes_that_named_only_tool_and_arguments_would_be_good_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a digest of less than the whole call lets through."""
    made, elsewhere = call(), call(cwd_rel="sub")
    yes = once_token(made, grants=(Grant("file://w/a.txt", 0xFF, 0, 3, b""),))
    decision = decide(elsewhere, call_digest(encode_call(made)), spec(), [yes], around())
    assert isinstance(decision, Permit)


# --- 2. the clock (threat 31)


def test_a_standing_token_is_not_believed_while_the_clock_is_back() -> None:
    assert code(judge(call(), [STANDING], standing=False)) == "token.clock"
    decision = judge(call(), [STANDING, once_token(call())], standing=False)
    assert isinstance(decision, Permit)
    assert decision.token != STANDING.id


@pytest.mark.parametrize("scope", [Scope.SESSION, Scope.WORKSPACE, Scope.ALWAYS])
def test_no_scope_but_once_is_believed_while_the_clock_is_back(scope: Scope) -> None:
    standing = token(holder=SESSION_KEY.public, scope=scope, session=SESSION, tainted_ok=False, expires=2**64 - 1)
    assert isinstance(judge(call(), [standing]), Permit)
    assert code(judge(call(), [standing], standing=False)) == "token.clock"


def test_a_standing_token_narrowed_to_one_call_is_not_believed_either() -> None:
    made = call(principal_key=CHILD_KEY.public)
    assert code(judge(made, [once_below(STANDING, made)], standing=False)) == "token.clock"


def test_a_token_that_is_dead_anyway_is_told_to_be_dead() -> None:
    refusal = check_usable(STANDING, moment(time_s=NOW + DAY), standing=False)
    assert refusal is not None
    assert refusal.code == "token.expired"
    assert check_usable(STANDING, moment(), standing=True) is None


# --- 3. budget


def test_a_permit_charges_the_session_the_workspace_and_every_block_of_the_chain() -> None:
    decision = judge(call(max_micros=7), [STANDING])
    assert isinstance(decision, Permit)
    first, second = STANDING.ids
    assert decision.charge == Charge(
        7,
        (
            Cap(first, 10**9, "token"),
            Cap(second, 10**9, "token"),
            Cap(b"session" + SESSION, 10**9, "session"),
            Cap(b"workspace" + WORKSPACE, 10**9, "workspace"),
        ),
        (Use(first, UNLIMITED_USES), Use(second, UNLIMITED_USES)),
    )
    assert decision.charge == charge_of(call(max_micros=7), STANDING, RICH)


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        (Limits(6, 10, 10), "budget.per-action"),
        (Limits(7, 6, 10), "budget.exceeded"),
        (Limits(7, 10, 6), "budget.exceeded"),
        (Limits(7, 7, 7), "permit"),
    ],
)
def test_what_does_not_fit_a_budget_is_denied_whether_or_not_a_token_covers_it(limits: Limits, found: str) -> None:
    decision = judge(call(max_micros=7), [STANDING], limits=limits)
    assert code(decision) == found
    alone = judge(call(max_micros=7), [], limits=limits)
    assert isinstance(alone, Ask if found == "permit" else Denied)
    if isinstance(alone, Denied):
        assert alone.layer == "budget"


def test_a_block_whose_purse_is_empty_is_denied_and_not_asked_about() -> None:
    ledger = Ledger()
    ledger.purses[STANDING.ids[0]] = Purse(10**9 - 6, 0)
    decision = judge(call(max_micros=7), [STANDING], ledger=ledger)
    assert isinstance(decision, Denied)
    assert (decision.layer, decision.code) == ("budget", "budget.exceeded")
    assert isinstance(judge(call(max_micros=6), [STANDING], ledger=ledger), Permit)


def test_a_purse_that_was_overdrawn_lets_nothing_through_that_is_free_either() -> None:
    ledger = Ledger()
    ledger.purses[b"session" + SESSION] = Purse(10**9 + 1, 0)
    assert code(judge(call(), [STANDING], ledger=ledger)) == "budget.frozen"


def test_a_token_that_is_used_up_leads_to_a_question() -> None:
    ledger = Ledger()
    yes = once_token(call())
    ledger.reserve(charge_of(call(), yes, RICH))
    assert code(judge(call(), [yes], ledger=ledger)) == "token.used"


def test_another_token_pays_where_the_first_cannot() -> None:
    poor, rich = session_token(purse=6, nonce=b"1" * 16), session_token(nonce=b"2" * 16)
    decision = judge(call(max_micros=7), [poor, rich])
    assert isinstance(decision, Permit)
    assert decision.token == rich.id


def test_uses_counted_by_chain_would_let_siblings_multiply_them() -> None:
    """Threats 2 and 3: what charging the leaf alone would let through."""
    ledger = Ledger()
    parent = token(uses=1, grants=(EVERYTHING,))
    children = [
        pass_on(parent, HOLDER, scope=Scope.SESSION, session=SESSION, uses=1, nonce=bytes([n]) * 16) for n in (1, 2)
    ]
    first, second = (judge(call(), [child], ledger=ledger) for child in children)
    assert isinstance(first, Permit)
    assert isinstance(second, Permit)
    ledger.reserve(first.charge)
    assert code(judge(call(), [children[1]], ledger=ledger)) == "token.used"
    leaf_only = Ledger()
    leaf_only.reserve(Charge(0, (), first.charge.uses[-1:]))
    assert isinstance(judge(call(), [children[1]], ledger=leaf_only), Permit)


# --- 4. risk and labels (threat 51)


@pytest.mark.parametrize("effect", [one.value for one in EffectClass])
def test_taint_raises_the_level_of_a_sink_and_of_nothing_else(effect: str) -> None:
    clean = module.risk_of(call(), spec(effect=effect))
    tainted = module.risk_of(call(tainted=True), spec(effect=effect))
    raised = effect not in ("read", "model", "staging", "contained") and clean < Risk.CRITICAL
    assert tainted - clean == raised


@pytest.mark.parametrize(
    ("effect", "host", "clean", "tainted"),
    [
        ("staging", Risk.LOW, Risk.LOW, Risk.LOW),  # in the workspace
        ("staging", Risk.HIGH, Risk.HIGH, Risk.CRITICAL),  # outside, or a protected file: a write like any other
        ("write", Risk.LOW, Risk.HIGH, Risk.CRITICAL),
        ("read", Risk.LOW, Risk.LOW, Risk.LOW),
        ("read", Risk.MEDIUM, Risk.MEDIUM, Risk.MEDIUM),  # outside: looking there sends nothing
        ("read", Risk.HIGH, Risk.HIGH, Risk.CRITICAL),
        ("model", Risk.CRITICAL, Risk.CRITICAL, Risk.CRITICAL),
    ],
)
def test_a_host_that_puts_a_call_at_the_level_of_a_sink_has_made_it_one(
    effect: str, host: Risk, clean: Risk, tainted: Risk
) -> None:
    assert module.risk_of(call(risk=host), spec(effect=effect)) is clean
    assert module.risk_of(call(risk=host, tainted=True), spec(effect=effect)) is tainted


@pytest.mark.parametrize("effect", list(EffectClass))
def test_every_class_at_the_level_of_sinks_is_a_sink_already(effect: EffectClass) -> None:
    assert is_sink(effect) or base_risk(effect) < SINK_RISK


def test_a_grant_for_a_clean_write_outside_does_not_cover_a_tainted_one() -> None:
    """Threat 51: as for a tool that declares that it writes outside."""
    outside = Grant("file://elsewhere/**", 0xFF, 0, Risk.HIGH, b"")
    grant = token(holder=SESSION_KEY.public, grants=(outside,), session=SESSION, scope=Scope.SESSION)
    write = call(needs=(Need("file://elsewhere/a", WRITE),), risk=Risk.HIGH)
    assert isinstance(judge(write, [grant], spec(effect="staging")), Permit)
    found = judge(msgspec.structs.replace(write, tainted=True), [grant], spec(effect="staging"))
    assert isinstance(found, Ask)
    assert (found.risk, found.missing.code) == (Risk.CRITICAL, "token.level")


def test_a_host_raises_the_level_and_never_lowers_it() -> None:
    assert module.risk_of(call(risk=3), spec(effect="read")) is Risk.CRITICAL
    assert module.risk_of(call(risk=0), spec(effect="destructive")) is Risk.HIGH


def test_a_grant_for_ever_does_not_cover_a_tainted_sink() -> None:
    always = token(
        holder=SESSION_KEY.public,
        scope=Scope.ALWAYS,
        tainted_ok=False,
        expires=2**64 - 1,
        grants=(Grant("file://w/**", 0xFF, 0, 3, b""),),
    )
    assert isinstance(judge(call(), [always], spec(effect="exec")), Permit)
    decision = judge(call(tainted=True), [always], spec(effect="exec"))
    assert isinstance(decision, Ask)
    assert decision.missing.code == "token.tainted"
    assert decision.risk is Risk.CRITICAL


def test_a_standing_grant_at_the_clean_level_does_not_reach_a_tainted_sink() -> None:
    grants = (Grant("file://w/**", 0xFF, 0, int(Risk.HIGH), b""),)
    standing = token(holder=SESSION_KEY.public, grants=grants, tainted_ok=True)
    assert isinstance(judge(call(), [standing], spec(effect="exec")), Permit)
    assert code(judge(call(tainted=True), [standing], spec(effect="exec"))) == "token.level"


@pytest.mark.parametrize("effect", ["egress", "grant", "account", "financial"])
def test_the_four_kinds_need_a_person_with_a_well_kept_key_each_time(effect: str) -> None:
    made, tool = call(), spec(effect=effect)
    decision = judge(made, [STANDING], tool)
    assert isinstance(decision, Ask)
    assert (decision.once_only, decision.strong) == (True, True)
    assert isinstance(judge(made, [once_token(made)], tool), Permit)
    plain = once_token(made, signer=PLAIN_USER, assurance=Assurance.PLAIN)
    assert code(judge(made, [plain], tool)) == "token.weak-key"
    assert isinstance(judge(made, [plain], spec(effect="exec")), Permit)


# --- what is told


def test_a_person_learns_what_is_special_about_a_token_rather_than_what_another_lacks() -> None:
    expired = session_token(expires=NOW - 1, not_before=NOW - 9)
    elsewhere = session_token(grants=(Grant("file://w/b", WRITE, 0, 1, b""),))
    unfit = session_token(grants=(Grant("file://w/a.txt", READ, 0, 1, b""),))
    low = session_token(grants=(Grant("file://w/a.txt", WRITE, 0, 0, b""),))
    made = call(risk=1)
    for tokens, told in (
        ([elsewhere], "token.resource"),
        ([elsewhere, unfit], "token.permission"),
        ([unfit, elsewhere, low], "token.level"),
        ([low, expired, unfit], "token.expired"),
    ):
        assert code(judge(made, tokens)) == told


def test_money_is_told_before_everything_else() -> None:
    poor = session_token(purse=0)
    expired = session_token(expires=NOW - 1, not_before=NOW - 9)
    for tokens in ([poor, expired], [expired, poor]):
        assert code(judge(call(max_micros=1), tokens)) == "budget.exceeded"


def test_a_need_that_is_no_resource_is_an_error_and_no_permit() -> None:
    with pytest.raises(PatternError):
        decide(call(needs=(Need("nonsense", 1),)), call_digest(b""), spec(), [STANDING], around())


# --- agreement with the words of the design; nothing that only takes away ever gives

tapes = st.binary(min_size=80, max_size=80).map(Tape)


@settings(max_examples=400)
@given(tapes)
def test_the_decision_is_the_one_that_the_design_spells_out(tape: Tape) -> None:
    check_agrees(some_case(tape))


@settings(max_examples=300)
@given(tapes, st.sampled_from(sorted(WORSE)))
def test_taking_something_away_never_permits(tape: Tape, what: str) -> None:
    case = some_case(tape)
    assert case.permitted() or not WORSE[what](tape, case).permitted()


@settings(max_examples=200)
@given(tapes)
def test_whatever_is_presented_beside_it_takes_no_permit_away(tape: Tape) -> None:
    """Expired, revoked, used up, another's or forged: and so leaving anything away never permits."""
    case = some_case(tape)
    presented = list(case.tokens)
    for _ in range(tape.pick((1, 2, 4))):
        presented.insert(tape.pick(range(len(presented) + 1)), some_presented(tape, case.digest))
    crowded = msgspec.structs.replace(case, tokens=tuple(presented))
    assert crowded.permitted() or not case.permitted()


def test_what_a_forged_token_says_of_itself_is_never_believed() -> None:
    """Its refusal is told where nothing else is special; it is no reason to deny what a person may allow."""
    found = judge(call(), [Refusal("token.signature", "it does not verify")])
    assert isinstance(found, Ask)
    assert (found.missing.code, found.reason) == ("token.signature", "it does not verify")


def test_the_permissive_policy_is_the_one_that_the_examples_lean_on() -> None:
    assert policy(PERMISSIVE).digest == OPEN.digest
