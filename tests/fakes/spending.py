"""Agents that spend at once, on a driver: any schedule of calls, ends, deaths, crashes and clocks, beside naive books.

Three sessions share a workspace, and two of them a grant; one has a sub-agent, and that another.  Calls of all are
under way at once, messages overtake each other, what was refused or failed is tried again, hosts bill what they like,
die and repeat themselves, the clock is set, and the daemon crashes anywhere.  What happens next is chosen by whoever
holds the choices: a plain generator, or Hypothesis.

The model (``Books``) counts from the records of the log alone, in their order, and from what hosts said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import msgspec

from astrid.core.blocks import Block
from astrid.core.budget import EMPTY, Purse
from astrid.core.call import Need
from astrid.core.chain import decode_body, decode_frame
from astrid.core.decide import Limits
from astrid.core.driver import Driver, Ending
from astrid.core.facts import Principal
from astrid.core.gate_messages import Execute, Executed, ToHost
from astrid.core.gate_state import Stage
from astrid.core.keys import SigningKey
from astrid.core.records import Kind, OutcomeRecord, PermitRecord
from astrid.core.tokens import Grant, Scope, Token
from tests.fakes.authority import CHILD_KEY, FILES, HOLDER, NOW, SESSION_KEY, WORKSPACE, key, pass_on, token
from tests.fakes.driver_bench import READ_FILE, SETUP, Tool, executed, revocation
from tests.fakes.gate_bench import SECOND, preparation
from tests.fakes.rules import spec

_T = TypeVar("_T")


class Choices(Protocol):
    """Who decides what happens next."""

    def pick(self, options: Sequence[_T]) -> _T:
        """One of ``options``, of which there is at least one."""
        ...


class Agent(msgspec.Struct, frozen=True):
    """Somebody who spends: in which session, with which key, on the strength of which chain."""

    session: bytes
    key: SigningKey
    token: Token


MODEL = spec("model", "model", host_kind="model", host_id="p/m")
GRANTS = (FILES, Grant("model://*/**", 16, 0, 1, b""))
HEAD = token(grants=GRANTS, uses=14, purse=150)
OTHER_HEAD = token(grants=GRANTS, uses=9, purse=80, nonce=b"o" * 16)
SUB_KEY, SUB_SUB_KEY, LAST_KEY = key(20), key(21), key(22)
S, X, Z = b"S" * 16, b"X" * 16, b"Z" * 16


def _session(head: Token, session: bytes, holder: SigningKey, purse: int) -> Token:
    return pass_on(
        head, HOLDER, holder=holder.public, session=session, scope=Scope.SESSION, uses=head.leaf.uses - 5, purse=purse
    )


_OF_S = _session(HEAD, S, SESSION_KEY, 110)
_OF_SUB = pass_on(_OF_S, SESSION_KEY, holder=SUB_KEY.public, uses=7, purse=70)
AGENTS = {
    "session": Agent(S, SESSION_KEY, _OF_S),
    "sub-agent": Agent(S, SUB_KEY, _OF_SUB),
    "sub-agent of it": Agent(S, SUB_SUB_KEY, pass_on(_OF_SUB, SUB_KEY, holder=SUB_SUB_KEY.public, uses=5, purse=50)),
    "other session": Agent(X, CHILD_KEY, _session(HEAD, X, CHILD_KEY, 80)),
    "session of another grant": Agent(Z, LAST_KEY, _session(OTHER_HEAD, Z, LAST_KEY, 70)),
}
LIMITS = Limits(60, 90, 200)
CHAINS: dict[bytes, tuple[bytes, ...]] = {agent.token.id: agent.token.ids for agent in AGENTS.values()}
BLOCKS: dict[bytes, Block] = {one.id: one.leaf for one in (HEAD, OTHER_HEAD, *(each.token for each in AGENTS.values()))}
CAPS: dict[bytes, int] = {
    **{identity: block.purse for identity, block in BLOCKS.items()},
    **{b"session" + session: LIMITS.session_micros for session in (S, X, Z)},
    b"workspace" + WORKSPACE: LIMITS.workspace_micros,
}
USES: dict[bytes, int] = {identity: block.uses for identity, block in BLOCKS.items()}
COSTS = (0, 1, 10, 19, 30, 60, 61, 20)
BILLS = (0, 1, 10, 30, 60, 70, 250, -5)
CLOCKS = tuple(SECOND * seconds for seconds in (1, 1, 61, 3600, -1, -59, -7200))
HAPPENINGS = ("propose", "propose", "deliver", "deliver", "deliver", "write", "ends", "ends", "settle down", "other")
OTHERS = (
    "cancel",
    "cancel",
    "retry",
    "retry",
    "again",
    "host dies",
    "session ends",
    "crash",
    "crash",
    "revoked",
    "time",
)
TOOLS = ("read_file", "model")


class Books:
    """What the records say, counted one after the other."""

    def __init__(self) -> None:
        self.read_so_far = 0
        self.spent: Counter[bytes] = Counter()
        self.reserved: Counter[bytes] = Counter()
        self.used: Counter[bytes] = Counter()
        self.open: dict[int, tuple[PermitRecord, tuple[bytes, ...]]] = {}
        self.permits: dict[int, PermitRecord] = {}
        self.ended: dict[int, OutcomeRecord] = {}

    def read_on(self, frames: Sequence[bytes]) -> None:
        """Count what came since the last time."""
        for frame in frames[self.read_so_far :]:
            self.read(frame)
        self.read_so_far = len(frames)

    def read(self, frame: bytes) -> None:
        """Count one record; whatever it does must have been allowed just then."""
        kind, session, body = decoded(frame)
        if kind == Kind.PERMIT:
            blocks = CHAINS[body.token]
            keys: tuple[bytes, ...]
            assert {row.block: row.micros for row in body.charges} == dict.fromkeys(blocks, body.micros)
            keys = (*blocks, b"session" + session, b"workspace" + body.workspace)
            assert body.micros <= LIMITS.per_action_micros
            for purse in keys:
                assert self.spent[purse] <= CAPS[purse], "a purse that is overdrawn is frozen"
                assert self.spent[purse] + self.reserved[purse] + body.micros <= CAPS[purse]
                self.reserved[purse] += body.micros
            for block in blocks:
                self.used[block] += 1
                assert self.used[block] <= USES[block]
            assert body.ref not in self.permits
            self.permits[body.ref] = body
            self.open[body.ref] = body, keys
        elif kind in (Kind.OUTCOME, Kind.OUTCOME_VOUCHED):
            permit, keys = self.open.pop(body.ref)
            for purse in keys:
                self.reserved[purse] -= permit.micros
                self.spent[purse] += body.spent
            assert not body.unknown or body.spent == permit.micros, "what nobody knows is booked in full"
            self.ended[body.ref] = body


class Proposed(msgspec.Struct, frozen=True):
    """What an agent proposed, as which of the driver's principals, under which number."""

    agent: str
    principal: int
    number: int
    tool: str
    micros: int


class Spending:
    """See the module."""

    def __init__(self) -> None:
        self.live(Driver(SETUP, now_ns=NOW * SECOND))

    def live(self, driver: Driver) -> None:
        """A start of the daemon, with its hosts and agents."""
        self.driver = driver
        self.books = Books()
        self.tools = {name: Tool() for name in TOOLS}
        self.hosts: dict[str, int] = {}
        for name in self.tools:
            self.offer(name)
        self.me = {name: driver.register(principal(agent)) for name, agent in AGENTS.items()}
        self.made: list[Proposed] = []
        self.said: dict[int, list[Executed]] = {}

    def offer(self, name: str) -> None:
        tool = self.tools[name] = Tool()
        tool.silent = True
        self.hosts[name] = self.driver.offer("box", (READ_FILE if name == "read_file" else MODEL,), tool)

    # --- what happens

    def act(self, choices: Choices, what: str) -> None:
        match what:
            case "propose":
                agent, tool = choices.pick(tuple(AGENTS)), choices.pick(TOOLS)
                self.propose(agent, tool, choices.pick(COSTS))
            case "deliver":
                for _ in range(choices.pick((1, 2, 3, 4))):
                    self.deliver(choices)
            case "write":
                self.driver.commit(choices.pick((1, 2, None)))
            case "ends":
                self.ends(choices)
            case "settle down":
                self.driver.run()
            case _:
                self.other(choices, choices.pick(OTHERS))

    def propose(self, agent: str, tool: str, micros: int) -> None:
        for name, host in self.tools.items():
            look = preparation(max_micros=micros)
            host.look = msgspec.structs.replace(look, needs=(Need("model://p/m", 16),)) if name == "model" else look
        number = self.driver.propose(self.me[agent], tool, b"{}", AGENTS[agent].token.raw)
        self.made.append(Proposed(agent, self.me[agent], number, tool, micros))

    def deliver(self, choices: Choices) -> None:
        """The next message of some mailbox: what goes to different ones overtakes each other."""
        post = self.driver.post
        nexts = {(at, isinstance(message, ToHost)): place for place, (at, message) in reversed(list(enumerate(post)))}
        if nexts:
            place = choices.pick(sorted(nexts.values()))
            first = post[place]
            del post[place]
            post.appendleft(first)
            self.driver.step()

    def ends(self, choices: Choices) -> None:
        """A host tells how a call ended, with a bill of its own making."""
        owing = [name for name, tool in self.tools.items() if tool.owed]
        if owing:
            name = choices.pick(owing)
            owed = self.tools[name].owed
            asked = owed.pop(choices.pick(range(len(owed))))
            self.say(name, asked, choices.pick(("done", "maybe", "none")), choices.pick(BILLS))

    def say(self, name: str, asked: Execute, effect: str, bill: int) -> None:
        said = executed(asked, effect=effect, spent_micros=bill)
        self.said.setdefault(asked.ref, []).append(said)
        self.driver.post.append((self.hosts[name], said))

    def other(self, choices: Choices, what: str) -> None:
        driver = self.driver
        match what:
            case "cancel":
                if self.made:
                    gone = choices.pick(self.made)
                    driver.cancel(gone.principal, gone.number)
            case "retry":
                if self.made:
                    before = choices.pick(self.made)
                    self.propose(before.agent, before.tool, before.micros)
            case "again":
                told = [one for many in self.said.values() for one in many]
                if told:
                    driver.post.append((choices.pick(sorted(self.hosts.values())), told[-1]))
            case "host dies":
                name = choices.pick(TOOLS)
                driver.kill_host(self.hosts[name])
                self.offer(name)
            case "session ends":
                self.end_session(choices.pick((S, X, Z)))
            case "crash":
                self.live(driver.crash())
            case "revoked":
                if choices.pick(range(4)) == 0:
                    driver.revoke(revocation(AGENTS[choices.pick(("other session", "sub-agent"))].token.id))
            case _:
                driver.now_ns += choices.pick(CLOCKS)

    def end_session(self, session: bytes) -> None:
        """With all of its agents; then there is one of that name again, which draws on what is left."""
        members = [name for name, agent in AGENTS.items() if agent.session == session]
        for name in members:
            self.driver.end_session(self.me[name])
        for name in members:
            self.me[name] = self.driver.register(principal(AGENTS[name]))

    # --- what holds

    def check(self) -> None:
        """The ledger is what counting the records gives, and each proposal ended once at most."""
        books, ledger = self.books, self.driver.facts.ledger
        books.read_on([*self.driver.disk.frames(), *(frame for frame, _, _ in self.driver.unwritten)])
        for purse in CAPS:
            assert ledger.purses.get(purse, EMPTY) == Purse(books.spent[purse], books.reserved[purse])
        for block in USES:
            assert ledger.used.get(block, 0) == books.used[block]
        gate = self.driver.gate.pending.values()
        assert set(books.open) == {one.ref for one in gate if one.stage in (Stage.PERMITTING, Stage.RUNNING)}
        for ref, ended in books.ended.items():
            if not ended.unknown and ref in self.said:
                assert ended.spent == true_cost(books.permits[ref], self.said[ref][0])
        ends = [message.proposal for _, message in self.driver.told if isinstance(message, Ending)]
        assert len(ends) == len(set(ends))

    def finish(self) -> None:
        """Everybody says how it ended, or dies; then nothing is set aside, here and after a crash."""
        self.driver.run()
        for name, tool in self.tools.items():
            for asked in tool.owed:
                self.say(name, asked, "done", 10)
        self.driver.run()
        for name in list(self.tools):
            self.driver.kill_host(self.hosts[name])
        self.driver.run()
        self.check()
        for driver in (self.driver, self.driver.crash()):
            driver.run()
            assert not driver.gate.pending
            assert all(purse.reserved == 0 for purse in driver.facts.ledger.purses.values())


def play(choices: Choices, happenings: Iterable[str]) -> Spending:
    """A schedule from its first call to its end, looked at after each thing that happens."""
    spending = Spending()
    for what in happenings:
        spending.act(choices, what)
        spending.check()
    spending.finish()
    return spending


def principal(agent: Agent) -> Principal:
    return Principal(
        key=agent.key.public,
        session=agent.session,
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
