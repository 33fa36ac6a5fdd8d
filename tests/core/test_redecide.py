"""What the log says was decided is decided again as it was; by another policy, otherwise; and where the log does not
hold enough, that is said.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from astrid.core import decide
from astrid.core.call import Call, Need
from astrid.core.canon import Signed
from astrid.core.chain import Frame
from astrid.core.facts import Facts
from astrid.core.gate_records import SHOWN_BYTES
from astrid.core.policy import Policy
from astrid.core.policy_rules import Layers
from astrid.core.records import AskedRecord, DeniedRecord, Entry, RevokedRecord, Sealed, entry
from astrid.core.redecide import Again, How, Judge, Untold
from astrid.core.replay_log import Decision, decision_of
from astrid.core.risk import Risk
from astrid.core.tokens import Grant, Permission, Scope, Token
from astrid.core.tools import ToolSpec
from tests.fakes.authority import (
    AUD,
    CHILD_KEY,
    HOLDER,
    NOW,
    ROOTS,
    SESSION,
    SESSION_KEY,
    call,
    pass_on,
    question,
    token,
)
from tests.fakes.gate_bench import MODEL, STANDING, TOOLS, Bench, body, preparation
from tests.fakes.rules import HOME, config, spec

DELETE, INVOKE, LIST = int(Permission.DELETE), int(Permission.INVOKE), int(Permission.LIST)
SPECS = tuple(made for made, _ in TOOLS.values())
WRITE_FILE = TOOLS["write_file"][0]


def layers(**fields: Any) -> Layers:
    return Layers((config(**fields),), HOME)


def again_in(bench: Bench, *tokens: Token, specs: tuple[ToolSpec, ...] = SPECS, **fields: Any) -> list[Again]:
    """Each decision in the log of ``bench``, decided again by the policy of ``fields``."""
    beside = {(seq, one.slot): one for seq, made in enumerate(bench.log, 1) for one in made.payloads}

    def recall(seq: int, slot: int) -> tuple[bytes, bytes] | None:
        found = beside.get((seq, slot))
        return None if found is None else (found.salt, found.data)

    made = layers(**fields)
    judge = Judge(made, {bytes(one.tooldef()): one for one in specs}, {one.id: one for one in tokens or (STANDING,)})
    facts = Facts(aud=AUD, roots=ROOTS, policy=made.policy())
    found: list[Again] = []
    for seq, one in enumerate(bench.log, 1):
        said: Signed = body(one)
        decided = decision_of(AUD, SESSION, seq, said, recall)
        found += [] if decided is None else [judge.again(decided, facts)]
        facts.replay(Frame(b"p" * 32, seq, 1, NOW * 10**9, int(one.kind), one.session, one.body), said)
    return found


def written(*tokens: Token, rules: Policy | None = None, args: bytes = b"{}", **fields: Any) -> Bench:
    """A call that writes a file, to where the gate has decided and the log has it."""
    bench = Bench(rules=rules)
    bench.propose("write_file", *tokens, args=args)
    bench.prepared(made=preparation(permission=int(Permission.WRITE), **fields))
    bench.sync()
    return bench


PERMITTED = How("permitted")


# ---- permits


def test_a_permit_comes_out_as_it_was() -> None:
    [found] = again_in(written())
    assert found == Again(1, "write_file", PERMITTED, PERMITTED)
    assert not found.differs


def test_what_another_policy_forbids_or_asks_about_is_told_with_the_entries_that_do() -> None:
    [forbidden] = again_in(written(), blocked_tools=("write_file",), approval_required_tools=("write_file",))
    assert forbidden.differs
    assert isinstance(forbidden.now, How)
    assert (forbidden.now.what, forbidden.now.rules) == ("denied", ("blocked_tools: write_file",))
    assert forbidden.now.why.startswith("[policy.tool] ")
    [asked] = again_in(written(), approval_required_tools=("write_file",))
    reason = "at low risk: policy wants a person to approve each call of this tool"
    assert asked.now == How("asked", reason, ("approval_required_tools: write_file",))
    assert asked.differs


def test_a_decision_that_is_made_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = written()
    [found] = again_in(bench)
    assert not found.differs
    monkeypatch.setattr(decide, "base_risk", lambda _: Risk.HIGH)
    [found] = again_in(bench)
    assert found.now == How("permitted", "on other terms: at risk high, not low")
    assert found.differs


def test_what_was_revoked_before_counts_and_what_is_revoked_later_does_not() -> None:
    bench = written()
    [found] = again_in(bench)
    assert not found.differs
    revoked = Bench()
    revoked.log = [_revoked(STANDING), *bench.log]
    assert [one.now.what for one in again_in(revoked) if isinstance(one.now, How)] == ["asked"]
    revoked.log = [*bench.log, _revoked(STANDING)]
    assert not any(one.differs for one in again_in(revoked))


def _revoked(made: Token) -> Entry:
    return entry(RevokedRecord(made.id, "token", bytes(32), Sealed(0, bytes(32))), session=SESSION)


def test_of_a_grant_that_was_handed_on_the_part_that_the_log_has_is_enough() -> None:
    granted = token(grants=(Grant("file://w/**", 0xFF, 0, 3, b""),))
    session = pass_on(granted, HOLDER, scope=Scope.SESSION, session=SESSION)
    bench = written(session)
    for known in (granted, session):
        assert [(one.now, one.differs) for one in again_in(bench, known)] == [(PERMITTED, False)]
    [found] = again_in(bench, STANDING)
    assert found.now == Untold("the log does not have, or not any more, the grant that it rests on")
    assert not found.differs


def test_a_permit_that_not_even_the_grant_above_gives_is_none() -> None:
    granted = token(grants=(Grant("file://w/**", 0xFF, 0, 3, b""),))
    narrow = token(grants=(Grant("file://w/b.txt", 0xFF, 0, 3, b""),))
    above = pass_on(granted, HOLDER, holder=CHILD_KEY.public)
    child = pass_on(above, CHILD_KEY, holder=SESSION_KEY.public, scope=Scope.SESSION, session=SESSION)
    bench = written(child)
    [found] = again_in(bench, granted)
    assert not found.differs
    [found] = again_in(bench, msgspec.structs.replace(narrow, ids=granted.ids))
    assert found.now == How("asked", "at low risk: no token that was at hand covers it")


def test_a_model_that_was_asked_is_asked_again_though_the_log_has_not_what_it_was_asked() -> None:
    bench = Bench()
    bench.propose("model", args=b'{"long":"conversation"}')
    bench.prepared(made=replace(preparation(), needs=(Need("model://p/m", INVOKE),), max_micros=5), sender=MODEL)
    bench.sync()
    [found] = again_in(bench)
    assert found == Again(1, "model", PERMITTED, PERMITTED)


def test_a_tool_that_is_not_there_any_more_is_not_judged() -> None:
    [found] = again_in(written(), specs=())
    assert found.now == Untold("what the tool was defined as is none of the definitions that there are now")


# ---- questions


def asked(made: Call, **fields: Any) -> Decision:
    about = replace(made, tooldef=bytes(WRITE_FILE.tooldef()))
    record = AskedRecord(1, b"q" * 16, about.tool, 0, NOW, Sealed(0, bytes(32)))
    return Decision(7, record, about, len(about.args), question=question(about, **{"risk": 0, **fields}))


def judged(decided: Decision, *specs: ToolSpec, **fields: Any) -> Again:
    made = layers(**fields)
    judge = Judge(made, {bytes(one.tooldef()): one for one in specs or SPECS}, {})
    assert judge.policy == made.policy().digest
    return judge.again(decided, Facts(aud=AUD, roots=ROOTS, policy=made.policy()))


def test_a_question_comes_out_as_it_was_whatever_the_tokens_lacked() -> None:
    for why in (b"no token covers this call", b"the token is for another file"):
        found = judged(asked(call(), why=why))
        assert found.was == How("asked", "at low risk: no token that was at hand covers it")
        assert not found.differs


def test_what_the_tool_wanted_of_this_call_is_asked_again() -> None:
    found = judged(asked(call(), why=b"it writes hooks", once_only=True))
    assert found.was == How("asked", "at low risk: it writes hooks")
    assert not found.differs


def test_a_question_that_only_policy_wanted_is_left_to_the_tokens_without_it() -> None:
    why = b"policy wants a person to approve each call of this tool"
    decided = asked(call(), why=why, once_only=True)
    assert not judged(decided, approval_required_tools=("write_file",)).differs
    assert judged(decided).now == How("left to tokens")
    assert judged(decided).differs


def test_a_question_about_what_another_policy_forbids_is_a_refusal() -> None:
    found = judged(asked(call()), denied_paths=("/w",))
    assert found.now == How("denied", "[policy.path] policy forbids `file://w/a.txt`", ("denied_paths: /w",))


def test_a_question_about_a_tool_that_is_not_there_any_more_is_not_judged() -> None:
    assert isinstance(judged(asked(call()), spec("another")).now, Untold)


def test_what_another_layer_than_policy_refuses_names_no_entry() -> None:
    facts = Facts(aud=AUD, roots=ROOTS, policy=layers().policy())
    judge = Judge(layers(), {bytes(WRITE_FILE.tooldef()): WRITE_FILE}, {})
    found = judge.again(asked(call(caller_key=b"c" * 32)), facts)
    assert found.now == How("denied", "[caller.unsupported] calls on behalf of another principal are not made")


# ---- denials


def refused(tool: str = "write_file", *, layer: str = "policy", code: str = "policy.path", **fields: Any) -> Decision:
    record = DeniedRecord(1, "workspace", tool, b"p" * 32, layer, code, Sealed(0, bytes(32)))
    told: dict[str, Any] = {"start": b"{}", "why": "policy forbids `file://w/a.txt`", **fields}
    return Decision(7, record, **told)


def test_a_refusal_comes_out_as_it_was_in_the_log_of_a_gate() -> None:
    bench = written(rules=layers(denied_paths=("/w",)).policy())
    [found] = again_in(bench, denied_paths=("/w",))
    assert not found.differs
    assert found.was == How("denied", "[policy.path] policy forbids `file://w/a.txt`")
    assert isinstance(found.now, How)
    assert found.now.rules == ("denied_paths: /w",)
    [found] = again_in(bench)
    assert found.now == How("left to tokens")
    assert found.differs


def test_what_policy_forbade_another_may_have_asked_about() -> None:
    found = judged(refused(), approval_required_tools=("write_file",))
    reason = "policy wants a person to approve each call of this tool"
    assert found.now == How("asked", reason, ("approval_required_tools: write_file",))


@pytest.mark.parametrize(
    ("decided", "why"),
    [
        (refused(layer="approval", code="approval.no"), "the log has no call for what the layer `approval` refused"),
        (refused(start=b"x" * SHOWN_BYTES), "the log has only the beginning of the arguments that policy refused"),
        (refused("nobody_has_it"), "what the tool was defined as is none of the definitions that there are now"),
        (refused(why="policy forbids `file://w/a"), "the log does not name, or not in full, what policy refused"),
    ],
)
def test_of_what_was_refused_is_said_what_the_log_does_not_hold(decided: Decision, why: str) -> None:
    found = judged(decided, denied_paths=("/w",))
    assert found.now == Untold(why)
    assert not found.differs


def test_of_a_folder_is_said_that_the_log_does_not_tell_what_was_wanted_of_it() -> None:
    decided = refused(why="policy forbids `file://w/**`")
    assert judged(decided, denied_paths=("/w/secret",)).now == Untold(
        "the log does not say what was wanted of what policy named"
    )
    assert not judged(decided, denied_paths=("/w",)).differs


def test_a_name_with_a_backtick_is_the_whole_name() -> None:
    decided = refused(why="policy forbids `file://w/a`b`")
    assert not judged(decided, denied_paths=("/w/a`b",)).differs
    assert judged(decided, denied_paths=("/w/a",)).now == How("left to tokens")


def test_a_command_that_was_refused_is_judged_by_its_words() -> None:
    decided = refused(
        "bash",
        code="policy.command",
        start=b'{"command":"touch no"}',
        why="policy blocks the command: it is `touch no`",
    )
    assert judged(decided).now == How("left to tokens")
    found = judged(decided, blocked_tools=("touch no",))
    assert isinstance(found.now, How)
    assert (found.now.what, found.now.rules) == ("denied", ("blocked_tools: touch no",))
