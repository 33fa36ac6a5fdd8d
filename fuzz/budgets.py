"""INVARIANT: no schedule of calls, cancels, deaths and crashes exceeds a cap or leaves a reservation behind.

Two sessions share a workspace and a grant; calls of both are under way at once, messages overtake each other, hosts
bill what they like, die and repeat themselves, and the daemon crashes anywhere.  The model counts from the records of
the log alone, in their order, and from what hosts said; what the ledger holds is compared with it after each step.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from astrid.core.budget import EMPTY, Purse
from astrid.core.call import Need
from astrid.core.chain import decode_body, decode_frame
from astrid.core.decide import Limits
from astrid.core.driver import Driver, Ending
from astrid.core.facts import Principal
from astrid.core.gate_messages import Execute, Executed, ToHost
from astrid.core.gate_state import Stage
from astrid.core.records import Kind, OutcomeRecord, PermitRecord
from astrid.core.tokens import Grant, Scope
from tests.fakes.authority import CHILD_KEY, FILES, HOLDER, NOW, SESSION_KEY, WORKSPACE, pass_on, token
from tests.fakes.driver_bench import READ_FILE, SETUP, Tool, executed, revocation
from tests.fakes.gate_bench import SECOND, preparation
from tests.fakes.rules import spec

MODEL = spec("model", "model", host_kind="model", host_id="p/m")
GRANTS = (FILES, Grant("model://*/**", 16, 0, 1, b""))
HEAD = token(grants=GRANTS, uses=14, purse=150)
SESSIONS = {b"S" * 16: SESSION_KEY, b"X" * 16: CHILD_KEY}
TOKENS = {
    session: pass_on(HEAD, HOLDER, holder=one.public, session=session, scope=Scope.SESSION, uses=9, purse=110)
    for session, one in SESSIONS.items()
}
LIMITS = Limits(60, 90, 200)
CHAINS = {one.id: one.ids for one in TOKENS.values()}
SHARED = {HEAD.id: 150, b"workspace" + WORKSPACE: 200}
CAPS = SHARED | {one.id: 110 for one in TOKENS.values()} | {b"session" + session: 90 for session in SESSIONS}
USES = {HEAD.id: 14} | {one.id: 9 for one in TOKENS.values()}
COSTS = (0, 10, 30, 60, 61, 20)
BILLS = (0, 10, 30, 60, 70, 250, -5)
HAPPENINGS = ("propose", "propose", "deliver", "deliver", "deliver", "write", "ends", "ends", "settle down", "other")
OTHERS = ("cancel", "cancel", "again", "host dies", "session ends", "crash", "crash", "revoked", "time")


class Books:
    """What the records say, counted one after the other."""

    def __init__(self) -> None:
        self.spent: Counter[bytes] = Counter()
        self.reserved: Counter[bytes] = Counter()
        self.used: Counter[bytes] = Counter()
        self.open: dict[int, tuple[PermitRecord, tuple[bytes, ...]]] = {}
        self.permits: dict[int, PermitRecord] = {}
        self.ended: dict[int, OutcomeRecord] = {}

    def read(self, frame: bytes) -> None:
        """Count one record; whatever it does must have been allowed just then."""
        kind, session, body = decoded(frame)
        if kind == Kind.PERMIT:
            blocks = CHAINS[body.token]
            assert {row.block: row.micros for row in body.charges} == dict.fromkeys(blocks, body.micros)
            keys = (*blocks, b"session" + session, b"workspace" + body.workspace)
            assert body.micros <= LIMITS.per_action_micros
            for key in keys:
                assert self.spent[key] <= CAPS[key], "a purse that is overdrawn is frozen"
                assert self.spent[key] + self.reserved[key] + body.micros <= CAPS[key]
                self.reserved[key] += body.micros
            for block in blocks:
                self.used[block] += 1
                assert self.used[block] <= USES[block]
            assert body.ref not in self.permits
            self.permits[body.ref] = body
            self.open[body.ref] = body, keys
        elif kind == Kind.OUTCOME:
            permit, keys = self.open.pop(body.ref)
            for key in keys:
                self.reserved[key] -= permit.micros
                self.spent[key] += body.spent
            assert not body.unknown or body.spent == permit.micros, "what nobody knows is booked in full"
            self.ended[body.ref] = body


class Budgets(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.live(Driver(SETUP, now_ns=NOW * SECOND))

    def live(self, driver: Driver) -> None:
        """A start of the daemon, with its hosts and sessions."""
        self.driver = driver
        self.tools = {"read_file": Tool(), "model": Tool()}
        self.hosts: dict[str, int] = {}
        for name in self.tools:
            self.offer(name)
        self.me = {session: driver.register(principal(session)) for session in SESSIONS}
        self.made: list[tuple[int, int]] = []
        self.said: dict[int, list[Executed]] = {}

    def offer(self, name: str) -> None:
        tool = self.tools[name] = Tool()
        tool.silent = True
        self.hosts[name] = self.driver.offer("box", (READ_FILE if name == "read_file" else MODEL,), tool)

    @rule(data=st.data(), what=st.sampled_from(HAPPENINGS))
    def act(self, data: st.DataObject, what: str) -> None:
        match what:
            case "propose":
                self.propose(data)
            case "deliver":
                for _ in range(data.draw(st.integers(1, 4))):
                    self.deliver(data)
            case "write":
                self.driver.commit(data.draw(st.sampled_from((1, 2, None))))
            case "ends":
                self.ends(data)
            case "settle down":
                self.driver.run()
            case _:
                self.other(data, data.draw(st.sampled_from(OTHERS)))

    def propose(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(sorted(SESSIONS)))
        name = data.draw(st.sampled_from(("read_file", "read_file", "model")))
        for tool in self.tools.values():
            look = preparation(max_micros=data.draw(st.sampled_from(COSTS)))
            tool.look = msgspec.structs.replace(look, needs=(Need("model://p/m", 16),)) if name == "model" else look
        number = self.driver.propose(self.me[session], name, b"{}", TOKENS[session].raw)
        self.made.append((self.me[session], number))

    def deliver(self, data: st.DataObject) -> None:
        """The next message of some mailbox: what goes to different ones overtakes each other."""
        post = self.driver.post
        nexts = {(at, isinstance(message, ToHost)): place for place, (at, message) in reversed(list(enumerate(post)))}
        if nexts:
            place = data.draw(st.sampled_from(sorted(nexts.values())))
            first = post[place]
            del post[place]
            post.appendleft(first)
            self.driver.step()

    def ends(self, data: st.DataObject) -> None:
        """A host tells how a call ended, with a bill of its own making."""
        owing = [name for name, tool in self.tools.items() if tool.owed]
        if owing:
            name = data.draw(st.sampled_from(owing))
            asked = self.tools[name].owed.pop(data.draw(st.integers(0, len(self.tools[name].owed) - 1)))
            self.say(
                name, asked, data.draw(st.sampled_from(("done", "maybe", "none"))), data.draw(st.sampled_from(BILLS))
            )

    def say(self, name: str, asked: Execute, effect: str, bill: int) -> None:
        said = executed(asked, effect=effect, spent_micros=bill)
        self.said.setdefault(asked.ref, []).append(said)
        self.driver.post.append((self.hosts[name], said))

    def other(self, data: st.DataObject, what: str) -> None:
        driver = self.driver
        match what:
            case "cancel":
                if self.made:
                    driver.cancel(*data.draw(st.sampled_from(self.made)))
            case "again":
                told = [one for many in self.said.values() for one in many]
                if told:
                    driver.post.append((data.draw(st.sampled_from(sorted(self.hosts.values()))), told[-1]))
            case "host dies":
                name = data.draw(st.sampled_from(sorted(self.tools)))
                driver.kill_host(self.hosts[name])
                self.offer(name)
            case "session ends":
                session = data.draw(st.sampled_from(sorted(SESSIONS)))
                driver.end_session(self.me[session])
                self.me[session] = driver.register(principal(session))
            case "crash":
                self.live(driver.crash())
            case "revoked":
                if data.draw(st.integers(0, 3)) == 0:
                    driver.revoke(revocation(TOKENS[b"X" * 16].id))
            case _:
                driver.now_ns += SECOND

    # --- what holds

    def books(self) -> Books:
        books = Books()
        for frame in (*self.driver.disk.frames(), *(frame for frame, _, _ in self.driver.unwritten)):
            books.read(frame)
        return books

    @invariant()
    def the_ledger_is_what_counting_the_records_gives(self) -> None:
        books, ledger = self.books(), self.driver.facts.ledger
        for key in CAPS:
            assert ledger.purses.get(key, EMPTY) == Purse(books.spent[key], books.reserved[key])
        for block in USES:
            assert ledger.used.get(block, 0) == books.used[block]
        gate = self.driver.gate.pending.values()
        assert set(books.open) == {one.ref for one in gate if one.stage in (Stage.PERMITTING, Stage.RUNNING)}
        for ref, ended in books.ended.items():
            if not ended.unknown and ref in self.said:
                assert ended.spent == true_cost(books.permits[ref], self.said[ref][0])

    @invariant()
    def no_proposal_ends_twice(self) -> None:
        ended = [message.proposal for _, message in self.driver.told if isinstance(message, Ending)]
        assert len(ended) == len(set(ended))

    def teardown(self) -> None:
        """Everybody says how it ended, or dies; then nothing is set aside, here and after a crash."""
        self.driver.run()
        for name, tool in self.tools.items():
            for asked in tool.owed:
                self.say(name, asked, "done", 10)
        self.driver.run()
        for name in list(self.tools):
            self.driver.kill_host(self.hosts[name])
        self.driver.run()
        self.the_ledger_is_what_counting_the_records_gives()
        for driver in (self.driver, self.driver.crash()):
            driver.run()
            assert not driver.gate.pending
            assert all(purse.reserved == 0 for purse in driver.facts.ledger.purses.values())


def principal(session: bytes) -> Principal:
    return Principal(
        key=SESSIONS[session].public,
        session=session,
        workspace=WORKSPACE,
        toolboxes=("box",),
        limits=LIMITS,
        asks=False,
    )


def true_cost(permit: PermitRecord, said: Executed) -> int:
    """N3: nothing lowers what was reserved but that nothing happened, or the bill of a model that is complete."""
    believed = said.effect == "none" or (permit.host_kind == "model" and said.effect == "done")
    return max(said.spent_micros, 0 if believed else permit.micros)


@lru_cache(maxsize=4096)
def decoded(data: bytes) -> tuple[int, bytes, Any]:
    frame = decode_frame(data)
    return frame.kind, frame.session, decode_body(frame)


Budgets.TestCase.settings = settings(stateful_step_count=60)
TestBudgets = Budgets.TestCase
