"""Gate, approvals and log together, run by the driver: in any order of steps each promise holds, and the log alone
gives back what the gate knew.

After each step the log verifies, and the ledger replayed from its records is the living one; when all is quiet, a new
start finds everything that the running one knows.  The daemon crashes on the way and goes on.  At the end it crashes at
*every* record, and what is rebuilt there is sound: nothing that was reserved is forgotten, nothing that was used can be
used again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from astrid.core.budget import EMPTY
from astrid.core.chain import Frame, decode_body, decode_frame
from astrid.core.decide import Limits
from astrid.core.driver import Driver, Ending
from astrid.core.driver_disk import Disk
from astrid.core.facts import Facts
from astrid.core.gate_messages import Approved, Minted
from astrid.core.gate_state import Stage
from astrid.core.records import Kind, is_sealed
from astrid.core.tokens import Scope
from tests.fakes.authority import AUD, ROOTS, SESSION, SESSION_KEY, WORKSPACE, no, token, yes
from tests.fakes.driver_bench import ASKS, SETUP, Bench, executed, principal, revocation
from tests.fakes.gate_bench import SECOND, preparation
from tests.fakes.rules import policy

LIMITS = Limits(60, 600, 600)
TOKEN = token(holder=SESSION_KEY.public, session=SESSION, scope=Scope.SESSION, uses=30, purse=500)
CAPS = {b"session" + SESSION: 600, b"workspace" + WORKSPACE: 600, TOKEN.id: 500}
LOOKS = (ASKS, ASKS, ASKS, preparation(), preparation(max_micros=20), preparation("b.txt", max_micros=50))
ACTIONS = (
    *("propose", "propose", "post_comes", "post_comes", "log_writes", "log_writes", "all_is_done", "all_is_done"),
    *("host_has_run", "person_answers", "person_answers", "something_else", "something_else"),
)
HAPPENINGS = ("gives up", "host dies", "revoked", "nobody comes", "session ends", "crash", "crash", "time")


class Town(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.permits_used: set[int] = set()  # by hosts, in all lives
        self.tokens: dict[bytes, None] = {}  # that people gave, in all lives
        self.live(Bench(limits=LIMITS))

    def live(self, bench: Bench) -> None:
        """A new start of the daemon."""
        self.bench = bench
        self.made: list[int] = []
        self.given_up: set[int] = set()
        self.seen = 0

    @property
    def driver(self) -> Driver:
        return self.bench.driver

    @property
    def frames(self) -> list[bytes]:
        """Everything that was recorded, durable or not."""
        return [*self.driver.disk.frames(), *(frame for frame, _, _ in self.driver.unwritten)]

    @property
    def endings(self) -> list[int]:
        """The proposals whose end was told."""
        return [message.proposal for _, message in self.driver.told if isinstance(message, Ending)]

    # --- what happens

    # One rule for everything: of several, Hypothesis leaves out some at random, and a life lacks none of its parts.
    @rule(data=st.data(), what=st.sampled_from(ACTIONS))
    def act(self, data: st.DataObject, what: str) -> None:
        tool = self.bench.tool
        tool.look = data.draw(st.sampled_from(LOOKS))
        tool.silent = data.draw(st.integers(0, 2)) == 0
        tool.fields = {"spent_micros": data.draw(st.sampled_from((0, 20, 70)))}
        getattr(self, what)(data)
        given = (message for _, message in self.driver.told if isinstance(message, Approved | Minted))
        self.tokens.update((one.token, None) for one in given)

    def propose(self, data: st.DataObject) -> None:
        tool = data.draw(st.sampled_from(("read_file",) * 7 + ("nonsense",)))
        self.made.append(self.driver.propose(self.bench.me, tool, b"{}", TOKEN.raw, *list(self.tokens)[-3:]))

    def post_comes(self, data: st.DataObject) -> None:
        for _ in range(data.draw(st.integers(1, 4))):
            self.driver.step()

    def log_writes(self, data: st.DataObject) -> None:
        self.driver.commit(data.draw(st.sampled_from((10, 3, 1))))

    def all_is_done(self, data: st.DataObject) -> None:
        self.driver.run()

    def host_has_run(self, data: st.DataObject) -> None:
        if self.bench.tool.owed:
            effect = data.draw(st.sampled_from(("done", "maybe", "none")))
            said = executed(self.bench.tool.owed.pop(0), effect=effect, **self.bench.tool.fields)
            self.driver.post.append((self.bench.host, said))

    def person_answers(self, data: st.DataObject) -> None:
        for qid, one in self.driver.approvals.waiting()[:1]:
            said = data.draw(st.sampled_from((yes, yes, no)))
            self.driver.answer(said(one.raw, qid=qid))

    def something_else(self, data: st.DataObject) -> None:
        match data.draw(st.sampled_from(HAPPENINGS)):
            case "gives up":
                for number in self.made[-1:]:
                    self.given_up |= {number} - set(self.endings)
                    self.driver.cancel(self.bench.me, number)
            case "host dies":
                self.bench.restart_tool()
                self.seen = 0
            case "revoked":
                self.driver.revoke(revocation(bytes([data.draw(st.integers(0, 3))]) * 32))
            case "nobody comes":
                self.driver.nobody_came()
            case "session ends":
                self.given_up |= set(self.made) - set(self.endings)
                self.driver.end_session(self.bench.me)
                self.bench.me = self.driver.register(principal(limits=LIMITS))
            case "crash":
                self.live(self.bench.crash())
            case _:
                self.driver.now_ns += SECOND

    # --- what holds

    @invariant()
    def what_runs_has_an_earlier_durable_permit_over_those_bytes_and_runs_once(self) -> None:
        for execute in self.bench.tool.ran[self.seen :]:
            raw, made = self.driver.disk.records[execute.permit_seq - 1]
            frame, permit = decoded(raw)
            assert (frame.kind, permit.ref) == (Kind.PERMIT, execute.ref)
            assert is_sealed(permit.bytes_, made.payloads[0].salt, execute.call)
            assert execute.permit_seq not in self.permits_used
            self.permits_used.add(execute.permit_seq)
        self.seen = len(self.bench.tool.ran)

    @invariant()
    def no_proposal_ends_twice(self) -> None:
        assert len(self.endings) == len(set(self.endings))
        assert set(self.endings) <= set(self.made)

    @invariant()
    def no_cap_is_broken_but_by_an_overrun(self) -> None:
        said = [(frame.kind, body) for frame, body in map(decoded, self.frames)]
        reserved = {body.ref: body.micros for kind, body in said if kind == Kind.PERMIT}
        ended = [body for kind, body in said if kind in (Kind.OUTCOME, Kind.OUTCOME_VOUCHED)]
        overrun = sum(max(body.spent - reserved[body.ref], 0) for body in ended)
        ledger = self.driver.facts.ledger
        for key, limit in CAPS.items():
            purse = ledger.purses.get(key, EMPTY)
            assert purse.spent + purse.reserved <= limit + overrun
        assert all(used <= 1 for block, used in ledger.used.items() if block != TOKEN.id)

    @invariant()
    def the_log_verifies(self) -> None:
        disk = self.driver.disk
        assert SETUP.verify(disk).size == len(disk.records)

    @invariant()
    def the_log_gives_the_ledger_back(self) -> None:
        rebuilt, living = replayed(self.frames), self.driver.facts
        assert rebuilt.ledger.purses == living.ledger.purses
        assert rebuilt.ledger.used == living.ledger.used
        assert rebuilt.revoked == living.revoked
        pending = self.driver.gate.pending.values()
        permitted = {one.ref for one in pending if one.stage in (Stage.PERMITTING, Stage.RUNNING)}
        assert set(rebuilt.open_permits) == permitted
        assert rebuilt.last_ref < self.driver.gate._next_ref

    @invariant()
    def when_all_is_quiet_a_new_start_finds_what_the_running_one_knows(self) -> None:
        running = self.driver
        if running.post or running.unwritten:
            return
        facts, _ = SETUP.read(running.disk)
        assert facts.settled == running.facts.settled
        assert facts.revoked == running.facts.revoked
        assert facts.durable_ns >= running.facts.durable_ns
        found = running.crash().approvals.waiting()
        assert [(qid, one.raw) for qid, one in found] == [(qid, one.raw) for qid, one in running.approvals.waiting()]

    def teardown(self) -> None:
        """Everything comes to an end; then there is a crash at every record."""
        self.bench.tool.silent = False
        for asked in self.bench.tool.owed:
            self.driver.post.append((self.bench.host, executed(asked)))
        self.driver.run()
        self.driver.nobody_came()
        self.driver.run()
        assert self.driver.gate.pending == {}
        assert set(self.made) - set(self.endings) <= self.given_up
        assert all(purse.reserved == 0 for purse in self.driver.facts.ledger.purses.values())
        for size in range(len(self.frames) + 1):
            self.crash_at(size)
        self.nothing_that_was_used_can_be_used_again()

    def crash_at(self, size: int) -> None:
        disk = self.driver.disk
        before = replayed(disk.frames()[:size])
        cut = Disk(disk.records[:size], {}, [(at, note) for at, note in disk.notes if at <= size])
        after = Driver(SETUP, cut, now_ns=self.driver.now_ns)
        after.run()
        for key, purse in before.ledger.purses.items():
            assert after.facts.ledger.purses[key].spent == purse.spent + purse.reserved
            assert after.facts.ledger.purses[key].reserved == 0
        assert after.facts.ledger.used == before.ledger.used
        again, _ = SETUP.read(after.disk)
        assert (again.ledger.purses, again.open_permits) == (after.facts.ledger.purses, {})

    def nothing_that_was_used_can_be_used_again(self) -> None:
        permits = [body for frame, body in map(decoded, self.frames) if frame.kind == Kind.PERMIT]
        used = {permit.token for permit in permits} - {TOKEN.id}
        after = self.bench.crash()
        after.tool.look = ASKS
        for raw in self.tokens:
            after.call(raw)
        later = [body for frame, body in map(decoded, after.driver.disk.frames()) if frame.kind == Kind.PERMIT]
        assert not used & {permit.token for permit in later[len(permits) :]}


@lru_cache(maxsize=4096)
def decoded(data: bytes) -> tuple[Frame, Any]:
    frame = decode_frame(data)
    return frame, decode_body(frame)


def replayed(frames: list[bytes]) -> Facts:
    """What these records say, in a log that nobody has verified yet."""
    facts = Facts(aud=AUD, roots=ROOTS, policy=policy())
    for data in frames:
        facts.replay(*decoded(data))
    return facts


Town.TestCase.settings = settings(max_examples=30, stateful_step_count=50, deadline=None)
TestGateAndLogTogether = Town.TestCase
