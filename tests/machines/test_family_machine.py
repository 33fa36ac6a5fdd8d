"""Threat 3: a parent and as many descendants as it likes, in any order of handing on, proposing, running and ending.

What all of them together take from a block, of uses and of money, is never more than that block has.  The model is the
log: which permits there are and how they ended; the ledger is not looked at.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from astrid.core import decide as decide_module
from astrid.core.gate_state import Stage
from astrid.core.keys import SigningKey
from astrid.core.records import Kind
from astrid.core.tokens import Scope, Token
from tests.fakes.authority import SESSION, SESSION_KEY, pass_on, token
from tests.fakes.gate_bench import PARENT, Bench, preparation

USES, PURSE = 9, 100


class Family(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(asks=False)
        head = token(uses=USES, purse=PURSE, holder=SESSION_KEY.public, session=SESSION, scope=Scope.SESSION)
        self.members: list[tuple[int, SigningKey, Token]] = [(PARENT, SESSION_KEY, head)]
        self.tokens = {head.id: head}

    def member(self, data: st.DataObject) -> tuple[int, SigningKey, Token]:
        return data.draw(st.sampled_from(self.members))

    @rule(data=st.data(), less=st.booleans())
    def hand_on(self, data: st.DataObject, less: bool) -> None:
        _, key, mine = self.member(data)
        if mine.leaf.depth == 0 or len(self.members) > 20:
            return
        number = len(self.members)
        child = SigningKey.from_seed(b"a descendant".ljust(31, b".") + bytes([number]))
        uses = data.draw(st.integers(1, mine.leaf.uses)) if less else mine.leaf.uses
        purse = data.draw(st.integers(0, mine.leaf.purse)) if less else mine.leaf.purse
        made = pass_on(mine, key, holder=child.public, uses=uses, purse=purse, nonce=bytes([number]) * 16)
        self.bench.register(1000 + number, child.public, asks=False)
        self.members.append((1000 + number, child, made))
        self.tokens[made.id] = made

    @rule(data=st.data(), micros=st.sampled_from((0, 0, 5, 30, 70)))
    def propose(self, data: st.DataObject, micros: int) -> None:
        sender, _, mine = self.member(data)
        self.bench.propose("read_file", mine, sender=sender)
        looked_at = [one.ref for one in self.bench.gate.pending.values() if one.stage is Stage.PREPARING]
        for ref in looked_at:
            self.bench.prepared(ref, preparation(max_micros=micros))

    @rule(data=st.data())
    def log_writes(self, data: st.DataObject) -> None:
        waiting = len(self.bench.log) - self.bench.synced
        if waiting:
            self.bench.sync(data.draw(st.integers(1, waiting)))

    @rule(data=st.data(), effect=st.sampled_from(("done", "maybe", "none")))
    def ends(self, data: st.DataObject, effect: str) -> None:
        running = [one for one in self.bench.gate.pending.values() if one.stage is Stage.RUNNING]
        if running:
            one = data.draw(st.sampled_from(running))
            spent = data.draw(st.integers(0, one.permit.charge.micros))
            self.bench.executed(one.ref, effect=effect, spent_micros=spent)

    @invariant()
    def together_they_take_no_more_than_each_block_has(self) -> None:
        ended = {one.ref: one.spent for one in self.bench.records(Kind.OUTCOME)}
        permits = self.bench.records(Kind.PERMIT)
        for identity, mine in self.tokens.items():
            below = [one for one in permits if identity in self.tokens[one.token].ids]
            assert len(below) <= mine.leaf.uses
            assert sum(ended.get(one.ref, one.micros) for one in below) <= mine.leaf.purse


Family.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestAFamilyTakesNoMoreThanItsHeadHas = Family.TestCase


def test_a_family_that_is_charged_by_its_youngest_block_alone_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = decide_module.charge_of

    def leaf_alone(call: Any, verified: Token, limits: Any) -> Any:
        charge = original(call, verified, limits)
        caps = tuple(cap for cap in charge.caps if cap.key not in verified.ids[:-1])
        return msgspec.structs.replace(charge, caps=caps, uses=charge.uses[-1:])

    monkeypatch.setattr(decide_module, "charge_of", leaf_alone)
    quick = settings(
        max_examples=200,
        stateful_step_count=50,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        derandomize=True,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Family, settings=quick)
