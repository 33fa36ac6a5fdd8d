"""Gate, approvals and log together: whatever happens, the log alone gives the gate's knowledge back.

Every record of gate and approvals is chained as the audit actor chains it.  After each step the ledger replayed from
the records so far is the living one.  At the end the daemon crashes at *every* record, and what is rebuilt there is
sound: nothing that was reserved is forgotten, nothing that was used can be used again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from astrid.core import approval
from astrid.core.approval import Approvals, Joined, Notify, Refuse, Resolve, Verdict
from astrid.core.budget import Ledger
from astrid.core.canon import Domain
from astrid.core.chain import ChainState, Frame, decode_body, decode_frame, verify_frames
from astrid.core.decide import Limits
from astrid.core.facts import Facts
from astrid.core.gate_admin import revoke, unknown_outcomes
from astrid.core.gate_messages import Approved, Ask, Durable, Leave, Record, SendApprovals
from astrid.core.gate_state import Stage
from astrid.core.install import Revocation, sign_statement
from astrid.core.records import Entry, Kind
from astrid.core.tokens import Scope
from tests.fakes.authority import AUD, HOLDER, NOW, ROOTS, SALT, SESSION, SESSION_KEY, USER, no, token, yes
from tests.fakes.gate_bench import FILES, SECOND, Bench, preparation
from tests.fakes.logs import BOOT, GENESIS, INSTALL, new_state
from tests.fakes.rules import policy

TOKEN = token(holder=SESSION_KEY.public, session=SESSION, scope=Scope.SESSION, uses=30, purse=500)
SEEN = preparation(fresh=True, why="a person has to see it")
PREPARED = (
    SEEN,
    SEEN,
    preparation(),
    preparation(max_micros=20),
    preparation("b.txt", max_micros=50),
    preparation(needs=()),
)
STEPS = ("propose", "propose", "log_writes", "log_writes", "host_has_run", "person_answers", "something_else")


class Town(RuleBasedStateMachine):
    """See the module.  ``whose`` says of each record who hears that it is durable: the ref of a proposal, or the
    question of approvals.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(limits=Limits(60, 600, 600))
        self.approvals = Approvals(roots=ROOTS, keeper=HOLDER.public)
        self.chain = new_state()
        self.frames: list[bytes] = []
        self.whose: list[bytes | int] = []
        self.durable = 0
        self.carried = 0  # of the gate's effects
        self.living: dict[int, tuple[Ledger, set[bytes]]] = {}  # after so many records
        for made in (GENESIS, BOOT):
            self.append(made, 0)

    # --- between gate, approvals and log

    def append(self, made: Entry, whose: bytes | int) -> None:
        self.frames.append(self.chain.append(made, self.bench.now_ns))
        self.whose.append(whose)

    def carry(self) -> None:
        """Perform what the gate wants done, and what that leads to."""
        while self.carried < len(self.bench.effects):
            effect = self.bench.effects[self.carried]
            self.carried += 1
            match effect:
                case Record():
                    self.append(effect.entry, effect.entry.ref)
                case SendApprovals(message=Ask() as asked):
                    self.perform(self.approvals.put(asked.ref, asked.question, SALT))
                case SendApprovals(message=Leave() as left):
                    self.approvals.leave(left.ref)
                case _:
                    pass

    def perform(self, effects: list[approval.Effect]) -> None:
        """Perform what approvals want done."""
        for effect in effects:
            match effect:
                case approval.Record():
                    self.append(effect.entry, effect.qid)
                case Notify():
                    for ref in effect.refs:
                        self.bench.put(ref, qid=effect.qid)
                case Joined():
                    self.bench.put(effect.ref, qid=effect.qid)
                case Refuse():
                    self.bench.put(effect.ref, code=effect.code, reason=effect.reason)
                case Resolve():
                    said = {"qid": effect.qid, "question": effect.question, "block": effect.block}
                    said |= {"token": effect.token, "said_no": effect.verdict is Verdict.DENY}
                    self.bench.answered(*(effect.refs or (10**9,)), **said)
        self.carry()

    def become_durable(self, count: int) -> None:
        for _ in range(min(count, len(self.frames) - self.durable)):
            whose, frame = self.whose[self.durable], decode_frame(self.frames[self.durable])
            self.durable += 1
            self.chain.durable(self.durable)
            if isinstance(whose, bytes):
                self.perform(self.approvals.recorded(whose))
            else:
                gate = self.bench.gate
                self.bench.do(gate.durable(Durable(whose, frame.seq, frame.time_ns), self.bench.now_ns))
            self.carry()

    # --- what happens

    @rule(data=st.data(), what=st.sampled_from(STEPS))
    def step(self, data: st.DataObject, what: str) -> None:
        getattr(self, what)(data)
        self.carry()
        self.living[len(self.frames)] = (self.bench.facts.ledger.copy(), set(self.bench.facts.revoked))

    def pending(self, stage: Stage) -> list[int]:
        return [one.ref for one in self.bench.gate.pending.values() if one.stage is stage]

    def propose(self, data: st.DataObject) -> None:
        approved = [one.token for one in self.bench.sent(Approved)]
        self.bench.propose(data.draw(st.sampled_from(("read_file",) * 4 + ("nonsense",))), TOKEN, *approved[-3:])
        for ref in self.pending(Stage.PREPARING):
            self.bench.prepared(ref, data.draw(st.sampled_from(PREPARED)))

    def log_writes(self, data: st.DataObject) -> None:
        self.become_durable(data.draw(st.sampled_from((10, 3, 1))))

    def host_has_run(self, data: st.DataObject) -> None:
        for ref in self.pending(Stage.RUNNING)[:1]:
            effect = data.draw(st.sampled_from(("done", "maybe", "none")))
            self.bench.executed(ref, effect=effect, spent_micros=data.draw(st.sampled_from((0, 20, 70))))

    def person_answers(self, data: st.DataObject) -> None:
        for qid, one in self.approvals.waiting()[:1]:
            said = data.draw(st.sampled_from((yes, yes, no)))
            self.perform(self.approvals.answer(said(one.raw, qid=qid), now_s=NOW, salt=SALT))

    def something_else(self, data: st.DataObject) -> None:
        match data.draw(st.sampled_from(("gives up", "host dies", "revoked", "nobody comes", "time"))):
            case "gives up":
                self.bench.cancel()
            case "host dies":
                self.bench.restart(FILES)
            case "revoked":
                target = bytes([data.draw(st.integers(0, 3))]) * 32
                raw = sign_statement(Domain.REVOKE, Revocation(AUD, target, "token", NOW, USER.public), USER)
                self.append(revoke(self.bench.facts, raw, salt=SALT), 0)
            case "nobody comes":
                for ref in self.pending(Stage.ASKING)[:1]:
                    self.bench.defer(ref)
            case _:
                self.bench.now_ns += SECOND

    # --- what holds

    @invariant()
    def the_log_gives_the_ledger_back(self) -> None:
        rebuilt, living = replayed(self.frames), self.bench.facts
        assert rebuilt.ledger.purses == living.ledger.purses
        assert rebuilt.ledger.used == living.ledger.used
        assert rebuilt.revoked == living.revoked
        open_permits = {*self.pending(Stage.PERMITTING), *self.pending(Stage.RUNNING)}
        assert set(rebuilt.open_permits) == open_permits

    @invariant()
    def what_is_durable_gives_the_answers_and_the_time_back(self) -> None:
        rebuilt = replayed(self.frames[: self.durable])
        assert rebuilt.settled == self.bench.facts.settled
        assert rebuilt.durable_ns >= self.bench.facts.durable_ns
        assert rebuilt.last_ref < self.bench.gate._next_ref

    def teardown(self) -> None:
        """A crash at every record."""
        for size in range(len(self.frames) + 1):
            rebuilt = replayed(self.frames[:size])
            if size in self.living:
                ledger, revoked = self.living[size]
                assert (rebuilt.ledger.purses, rebuilt.ledger.used) == (ledger.purses, ledger.used)
                assert rebuilt.revoked == revoked
            before = rebuilt.ledger.copy()
            unknown = unknown_outcomes(rebuilt, salt=SALT)
            rebuilt.settle_unknown()
            for key, purse in before.purses.items():
                assert rebuilt.ledger.purses[key].spent == purse.spent + purse.reserved
                assert rebuilt.ledger.purses[key].reserved == 0
            assert rebuilt.ledger.used == before.used
            verified = verify_frames(INSTALL, self.frames[:size])
            state = ChainState(verified.tip, verified.tree)
            more = [state.append(made, self.bench.now_ns) for made in (() if size == 0 else (BOOT, *unknown))]
            again = replayed([*self.frames[:size], *more])
            assert verify_frames(INSTALL, [*self.frames[:size], *more]).size == size + len(more)
            assert (again.ledger.purses, again.open_permits) == (rebuilt.ledger.purses, {})
        self.nothing_that_was_used_can_be_used_again()

    def nothing_that_was_used_can_be_used_again(self) -> None:
        permits = [body for frame, body in map(decoded, self.frames) if frame.kind == Kind.PERMIT]
        used = {permit.token for permit in permits} - {TOKEN.id}
        after = Bench(limits=Limits(60, 600, 600), first_ref=10**6)
        rebuilt = replayed(self.frames)
        rebuilt.settle_unknown()
        after.facts.ledger, after.facts.settled = rebuilt.ledger, rebuilt.settled
        for raw in {one.token for one in self.bench.sent(Approved)}:
            after.propose("read_file", raw)
            after.prepared(made=SEEN)
        assert not used & {permit.token for permit in after.records(Kind.PERMIT)}


@lru_cache(maxsize=4096)
def decoded(data: bytes) -> tuple[Frame, Any]:
    frame = decode_frame(data)
    return frame, decode_body(frame)


def replayed(frames: list[bytes]) -> Facts:
    """What a daemon that starts now knows."""
    facts = Facts(aud=AUD, roots=ROOTS, policy=policy())
    for data in frames:
        facts.replay(*decoded(data))
    return facts


Town.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestGateAndLogTogether = Town.TestCase
