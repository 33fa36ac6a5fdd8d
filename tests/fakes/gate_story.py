"""The gate in any order of events: what was promised of each call holds after every one of them.

The machine plays everybody around the gate: principals that propose and give up, hosts that answer, lie, die and come
back, a log that is slow or fails, a person, a clock, and whoever revokes.  The model is the log itself, what each
principal said and was told, and what was revoked; the gate is not asked whether it may do what it does.
"""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from astrid.core import gate_decide
from astrid.core.budget import EMPTY
from astrid.core.call import Need, Preparation
from astrid.core.decide import Limits
from astrid.core.gate_messages import Durable, Propose, Record, Send
from astrid.core.gate_state import Stage
from astrid.core.records import Kind, PermitRecord, is_sealed
from astrid.core.tokens import Block, Scope, Token
from tests.fakes.authority import CHILD_KEY, DAY, NOW, SESSION, SESSION_KEY, WORKSPACE, pass_on, token
from tests.fakes.gate_bench import (
    CHILD,
    FILES,
    MODEL,
    PARENT,
    SECOND,
    STANDING,
    TOOLS,
    Ask,
    Bench,
    Execute,
    body,
    preparation,
)
from tests.fakes.naive_chain import read, revocable

LIMITS = Limits(60, 300, 400)
FEW = token(holder=SESSION_KEY.public, session=SESSION, scope=Scope.SESSION, uses=4, purse=120)
CHILDS = pass_on(FEW, SESSION_KEY, holder=CHILD_KEY.public, uses=3, purse=80)
TOKENS: dict[str, tuple[Token, ...]] = {
    "standing": (STANDING,),
    "few": (FEW,),
    "child": (CHILDS,),
    "both": (FEW, STANDING),
    "none": (),
}
CAPS = {
    b"session" + SESSION: LIMITS.session_micros,
    b"workspace" + WORKSPACE: LIMITS.workspace_micros,
    STANDING.id: STANDING.leaf.purse,
    FEW.id: 120,
    CHILDS.id: 80,
}
USES = {FEW.id: 4, CHILDS.id: 3}
PREPARED: tuple[Preparation, ...] = (
    preparation(),
    preparation(max_micros=50),
    preparation(max_micros=70),
    preparation(fresh=True, why="a person has to see it"),
    preparation(needs=(Need("file://v/x", 1),)),
    preparation(needs=()),
    preparation(needs=(Need("model://p/m", 16),), max_micros=20),
)
KEYS = {PARENT: SESSION_KEY.public, CHILD: CHILD_KEY.public}
DISTURBANCES = (
    *("give_up", "give_up", "die_and_come_back", "host_refuses", "host_restarts", "definition_changes"),
    *("somebody_forges", "somebody_forges", "log_fails_or_recovers", "log_repeats_itself", "revocation"),
    *("time_passes", "clock_is_set", "decision_has_a_bug"),
)


class Story(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(limits=LIMITS)
        self.gate = self.bench.gate
        self.seen = 0  # of the effects
        self.given_up: set[tuple[int, int]] = set()
        self.silenced: set[tuple[int, int]] = set()  # given up while the gate still had it in hand
        self.made: dict[tuple[int, int], Propose] = {}
        self.chains: dict[bytes, list[tuple[bytes, Block]]] = {}  # of everything presented, by the id of the last block
        self.revoked: set[bytes] = set()
        self.executed: set[int] = set()
        self.booked = 0  # of the log
        self.permits: dict[int, PermitRecord] = {}
        self.spent: Counter[bytes] = Counter()
        self.reserved: Counter[bytes] = Counter()

    # --- what a call lives through, in its natural order

    # One rule for everything: of several, Hypothesis leaves out some at random, and a life lacks none of its stages.
    @rule(data=st.data(), what=st.sampled_from(("propose", "propose", *("life_goes_on",) * 6, "something_happens")))
    def step(self, data: st.DataObject, what: str) -> None:
        getattr(self, what)(data)

    def propose(self, data: st.DataObject) -> None:
        sender = data.draw(st.sampled_from((PARENT, PARENT, CHILD)))
        tool = data.draw(st.sampled_from((*("read_file",) * 4, "write_file", "model", "bash", "nonsense")))
        mine = ("standing", "few", "both", "none") if sender == PARENT else ("child", "few")
        which = data.draw(st.sampled_from(mine))
        raws = tuple(one.raw for one in TOKENS[which]) + data.draw(st.sampled_from(((), (), (b"junk",))))
        tainted = data.draw(st.booleans())
        self.say(sender, Propose(proposal=0, tool=tool, args=b'{"command":"ls"}', tokens=raws, tainted=tainted))

    def say(self, sender: int, message: Propose) -> None:
        self.bench.proposals += 1
        message = msgspec.structs.replace(message, proposal=self.bench.proposals)
        self.made[sender, message.proposal] = message
        for chain in [read(raw) for raw in message.tokens if raw != b"junk"]:
            self.chains[chain[-1][0]] = chain
        self.bench.do(self.gate.propose(sender, message))

    def life_goes_on(self, data: st.DataObject) -> None:
        possible = [self.log_writes] if self.bench.synced < len(self.bench.log) and not self.gate.suspended else []
        for stage, happens in (
            (Stage.PREPARING, self.host_looks),
            (Stage.RUNNING, self.host_has_run),
            (Stage.ASKING, self.person_answers),
        ):
            if self.pending(stage):
                possible.append(happens)
        if possible:
            data.draw(st.sampled_from(possible))(data)

    def host_looks(self, data: st.DataObject) -> None:
        ref = data.draw(st.sampled_from(self.pending(Stage.PREPARING)))
        made = data.draw(st.sampled_from(PREPARED))
        self.bench.prepared(ref, made, sender=self.gate.pending[ref].tool.host)

    def log_writes(self, data: st.DataObject) -> None:
        self.bench.sync(data.draw(st.integers(1, len(self.bench.log) - self.bench.synced)))

    def host_has_run(self, data: st.DataObject) -> None:
        ref = data.draw(st.sampled_from(self.pending(Stage.RUNNING)))
        host = self.gate.pending[ref].tool.host
        effect = data.draw(st.sampled_from(("done", "maybe", "none")))
        spent = data.draw(st.sampled_from((0, 0, 10, 10, 50, 90, -5)))
        self.bench.progress(ref, sender=host)
        self.bench.executed(ref, sender=host, effect=effect, spent_micros=spent)

    def person_answers(self, data: st.DataObject) -> None:
        ref = data.draw(st.sampled_from(self.pending(Stage.ASKING)))
        how = data.draw(st.sampled_from(("yes", "yes", "there", "alone", "not put", "nobody came", "no", "late")))
        match how:
            case "yes":
                self.say_yes(ref)
            case "there" | "alone":
                self.bench.put(ref, attended=how == "there")
            case "not put":
                self.bench.put(ref, code="approval.too-many")
            case "nobody came":
                self.bench.defer(ref)
            case _:
                self.bench.answered(ref, token=b"", said_no=how == "no")

    def say_yes(self, ref: int) -> None:
        """A person signs, and the principal proposes the same call again, twice: one yes is one call."""
        question = next(asked.question for asked in self.bench.sent(Ask) if asked.ref == ref)
        pending = self.gate.pending[ref]
        raw = self.bench.say_yes(question, ref)
        again = msgspec.structs.replace(pending.proposal, tokens=(*pending.proposal.tokens, raw))
        made = next(one for one in PREPARED if one.fresh)
        for _ in range(2):
            self.say(pending.sender, again)
            for ref in self.pending(Stage.PREPARING):
                if self.gate.pending[ref].proposal.proposal == self.bench.proposals:
                    self.bench.prepared(ref, made, sender=pending.tool.host)

    # --- what happens beside it

    def something_happens(self, data: st.DataObject) -> None:
        getattr(self, data.draw(st.sampled_from(DISTURBANCES)))(data)

    def give_up(self, data: st.DataObject) -> None:
        if self.made:
            sender, number = data.draw(st.sampled_from(tuple(self.made)))
            self.gives_up({(sender, number)})
            self.bench.cancel(number, sender=sender)

    def die_and_come_back(self, data: st.DataObject) -> None:
        sender = data.draw(st.sampled_from((PARENT, CHILD)))
        self.gives_up({one for one in self.made if one[0] == sender})
        self.bench.gone(sender)
        self.bench.register(sender, KEYS[sender], limits=LIMITS)

    def gives_up(self, whose: set[tuple[int, int]]) -> None:
        """Nobody waits for these any more.  What the gate has still in hand ends without a word; a denial that is on
        its way is told when it is durable.
        """
        self.given_up |= whose - self.answered()
        self.silenced |= whose & {(one.sender, one.proposal.proposal) for one in self.gate.pending.values()}

    def host_refuses(self, data: st.DataObject) -> None:
        for ref in self.pending(Stage.PREPARING)[:1]:
            self.bench.unprepared(ref, sender=self.gate.pending[ref].tool.host)

    def host_restarts(self, data: st.DataObject) -> None:
        self.bench.restart(data.draw(st.sampled_from((FILES, MODEL))))

    def definition_changes(self, data: st.DataObject) -> None:
        made, host = TOOLS[data.draw(st.sampled_from(("read_file", "model")))]
        text = data.draw(st.sampled_from((b"one", b"two")))
        self.bench.install(msgspec.structs.replace(made, description=text), host)

    def somebody_forges(self, data: st.DataObject) -> None:
        """A host that was not asked, a permit that is another's, a call that is at another stage or none."""
        bench, ref = self.bench, data.draw(st.sampled_from((*self.pending(*Stage), 0, 999)))
        pending = self.gate.pending.get(ref)
        before = None if pending is None else pending.stage
        stranger = MODEL if pending is None or pending.tool.host == FILES else FILES
        assert bench.prepared(ref, sender=stranger) == bench.unprepared(ref, sender=stranger) == []
        assert bench.executed(ref, sender=stranger) == bench.progress(ref, sender=stranger) == []
        assert bench.executed(ref, sender=FILES, permit_seq=10**6) == []
        if before is not Stage.ASKING:
            assert bench.put(ref) == bench.defer(ref) == bench.answered(ref, token=b"") == []
        assert bench.cancel(10**6) == []
        stray = bench.do(self.gate.strayed(data.draw(st.sampled_from((PARENT, CHILD, FILES))), "nonsense"))
        assert all(isinstance(one, Record) for one in stray)
        assert (before is None) == (ref not in self.gate.pending)

    def log_fails_or_recovers(self, data: st.DataObject) -> None:
        self.gate.suspended = "" if self.gate.suspended else "the disk is full"

    def log_repeats_itself(self, data: st.DataObject) -> None:
        for made in self.bench.log[max(self.bench.synced - 3, 0) : self.bench.synced]:
            if made.ref not in self.pending(Stage.PERMITTING):
                assert self.gate.durable(Durable(made.ref, 1, 0), self.bench.now_ns) == []

    def revocation(self, data: st.DataObject) -> None:
        what = data.draw(st.sampled_from((FEW.id, CHILDS.id, CHILD_KEY.public)))
        self.revoked.add(what)
        self.bench.facts.revoked.add(what)
        self.bench.do(self.gate.withdraw_revoked())

    def time_passes(self, data: st.DataObject) -> None:
        self.bench.now_ns = min(self.bench.now_ns + 3600 * SECOND, (NOW + DAY - 1) * SECOND)

    def clock_is_set(self, data: st.DataObject) -> None:
        self.bench.facts.standing = data.draw(st.booleans())
        self.gate.clock_trouble = data.draw(st.sampled_from(("", "", "a day ahead")))

    def decision_has_a_bug(self, data: st.DataObject) -> None:
        def broken(*_: object) -> None:
            raise RecursionError("a bug")

        for ref in self.pending(Stage.PREPARING)[:1]:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(gate_decide, "decide", broken)
                self.bench.prepared(ref, sender=self.gate.pending[ref].tool.host)

    def pending(self, *stages: Stage) -> list[int]:
        return [one.ref for one in self.gate.pending.values() if one.stage in stages]

    # --- what holds

    def answered(self) -> set[tuple[int, int]]:
        return {
            (one.to, one.message.proposal)  # type: ignore[union-attr]
            for one in self.bench.effects
            if isinstance(one, Send) and one.answers
        }

    @invariant()
    def no_proposal_ends_twice(self) -> None:
        told = [
            (one.to, one.message.proposal)  # type: ignore[union-attr]
            for one in self.bench.effects
            if isinstance(one, Send) and one.answers
        ]
        assert len(told) == len(set(told))
        assert set(told) <= set(self.made)

    @invariant()
    def what_was_given_up_ends_without_a_word(self) -> None:
        assert not self.silenced & self.answered()

    @invariant()
    def what_starts_was_permitted_and_is_still_wanted(self) -> None:
        fresh, self.seen = self.bench.effects[self.seen :], len(self.bench.effects)
        for one in fresh:
            if not isinstance(one, Send) or not isinstance(one.message, Execute):
                continue
            execute = one.message
            assert execute.permit_seq <= self.bench.synced
            record = self.bench.log[execute.permit_seq - 1]
            permit = body(record)
            assert (record.kind, permit.ref) == (Kind.PERMIT, execute.ref)
            assert permit.bytes_.length == len(execute.call)
            # Nothing lies beside a model call's permit, and so nobody here has its salt.
            assert all(is_sealed(permit.bytes_, one.salt, execute.call) for one in record.payloads)
            assert bool(record.payloads) == (permit.host_kind != "model")
            assert execute.permit_seq not in self.executed
            self.executed.add(execute.permit_seq)
            pending = self.gate.pending[execute.ref]
            assert pending.stage is Stage.RUNNING
            said = self.made[pending.sender, pending.proposal.proposal]
            assert (pending.sender, said.proposal) not in self.given_up
            assert pending.sender in self.bench.facts.principals
            assert self.gate.suspended + self.gate.clock_trouble == ""
            chain = self.chains[permit.token]
            leaf = chain[-1][1]
            assert chain in [read(raw) for raw in said.tokens if raw != b"junk"], "it rests on what was not presented"
            assert self.revoked.isdisjoint(revocable(chain))
            assert leaf.holder == permit.principal == KEYS[pending.sender]
            assert leaf.tainted_ok or not said.tainted
            assert self.bench.offers.get(said.tool) == (one.to, execute.incarnation)
            tool = self.bench.facts.tools[pending.tool.toolbox, pending.tool.spec.name]
            assert (tool.host, tool.incarnation, tool.tooldef) == (one.to, execute.incarnation, permit.tooldef)
            assert self.bench.facts.standing or leaf.scope == Scope.ONCE

    @invariant()
    def a_denied_call_goes_no_further_and_a_permitted_one_ends_once(self) -> None:
        kinds = (Kind.PERMIT, Kind.DENIED, Kind.OUTCOME)
        refs = {kind: [one.ref for one in self.bench.records(kind)] for kind in kinds}
        for found in refs.values():
            assert len(found) == len(set(found))
        assert not set(refs[Kind.DENIED]) & set(refs[Kind.PERMIT])
        assert set(refs[Kind.OUTCOME]) <= set(refs[Kind.PERMIT])
        open_permits = set(refs[Kind.PERMIT]) - set(refs[Kind.OUTCOME])
        assert open_permits == set(self.pending(Stage.PERMITTING, Stage.RUNNING))

    @invariant()
    def the_ledger_is_what_the_log_says_and_no_cap_is_broken_but_by_an_overrun(self) -> None:
        permits = {one.ref: one for one in self.bench.records(Kind.PERMIT)}
        outcomes = {one.ref: one for one in self.bench.records(Kind.OUTCOME)}
        keys = {ref: {row.block for row in permit.charges} for ref, permit in permits.items()}
        shared = {b"session" + SESSION, b"workspace" + WORKSPACE}
        overrun = sum(max(one.spent - permits[one.ref].micros, 0) for one in outcomes.values())
        for key, limit in CAPS.items():
            on = [ref for ref in permits if key in keys[ref] | shared]
            purse = self.bench.facts.ledger.purses.get(key, EMPTY)
            assert purse.spent == sum(outcomes[ref].spent for ref in on if ref in outcomes)
            assert purse.reserved == sum(permits[ref].micros for ref in on if ref not in outcomes)
            assert purse.spent + purse.reserved <= limit + overrun
        for key, limit in USES.items():
            used = sum(key in keys[ref] for ref in permits)
            assert self.bench.facts.ledger.used.get(key, 0) == used
            assert used <= limit
        for permit in permits.values():
            # A token that a person made for one call is in one permit.
            once = [one for one in permits.values() if one.token == permit.token and permit.token not in CAPS]
            assert len(once) <= 1

    @invariant()
    def a_permit_fits_when_it_is_given_and_only_what_did_not_happen_is_paid_back(self) -> None:
        fresh, self.booked = self.bench.log[self.booked :], len(self.bench.log)
        for one in [body(made) for made in fresh if made.kind in (Kind.PERMIT, Kind.OUTCOME, Kind.OUTCOME_VOUCHED)]:
            permit = self.permits.setdefault(one.ref, one)
            for key in {row.block for row in permit.charges} | {b"session" + SESSION, b"workspace" + WORKSPACE}:
                if isinstance(one, PermitRecord):
                    ids = [identity for identity, _ in self.chains[permit.token]]
                    assert {row.block: row.micros for row in permit.charges} == dict.fromkeys(ids, permit.micros)
                    assert self.spent[key] + self.reserved[key] + permit.micros <= CAPS.get(key, permit.micros)
                    self.reserved[key] += permit.micros
                else:
                    assert one.effect == "none" or permit.host_kind == "model" or one.spent >= permit.micros
                    self.reserved[key] -= permit.micros
                    self.spent[key] += one.spent

    @invariant()
    def whoever_waits_is_counted(self) -> None:
        counted = sorted(ref for refs in self.gate._of.values() for ref in refs)
        assert counted == sorted(self.gate.pending)
        assert all(self.gate._of.values())

    def teardown(self) -> None:
        """Everything comes to an end, and then nothing is owed."""
        gate, bench = self.gate, self.bench
        gate.suspended = gate.clock_trouble = ""
        for ref in self.pending(Stage.PREPARING):
            bench.unprepared(ref, sender=gate.pending[ref].tool.host)
        for ref in self.pending(Stage.ASKING):
            bench.defer(ref)
        bench.sync()
        self.what_starts_was_permitted_and_is_still_wanted()
        for ref in self.pending(Stage.RUNNING):
            bench.executed(ref, sender=gate.pending[ref].tool.host, effect="none")
        bench.sync()
        assert not gate.pending
        assert not gate._denials._held
        assert not gate._denials._on_way
        assert not gate._of
        assert set(self.made) - self.answered() <= self.given_up
        self.a_denied_call_goes_no_further_and_a_permitted_one_ends_once()
        self.the_ledger_is_what_the_log_says_and_no_cap_is_broken_but_by_an_overrun()
        assert all(purse.reserved == 0 for purse in bench.facts.ledger.purses.values())
