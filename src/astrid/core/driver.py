"""The guard in one plain object: gate, approvals and log on a desk, run by hand, without an event loop.  Pure.

    driver = Driver(setup, now_ns=...)
    driver.offer("box", specs, host)                      # a host is one function: what it is asked -> what it says
    me = driver.register(principal)
    ending = driver.call(me, "read_file", b"{}", token)   # None while a person is asked
    again = driver.crash()                                # another start, from what is durable

For tests, fuzzers, the simulation, a replay and a reader who wants to follow one call.  It feeds the machines what the
shells in ``guard`` feed them, in the same order, and does with their effects what those do.

Nothing goes on by itself.  What is said from outside changes the gate at once; what follows from it waits, messages in
``post`` and records in ``unwritten``.  ``step`` delivers one message, ``commit`` makes records durable, ``run`` does
both until all is quiet.  So whatever may come between two steps of the daemon can be put between two of these.

Never: guards anything real.  Its time is what it is told, and whoever knows ``seed`` knows its salts.

Invariants:
  The same setup, disk, times and words give the same bytes.
  A crash loses everything but ``disk``.

Source: architecture 2 ("machine and shell"), 5 (the table of crashes), 10; protocol N9 to N11.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import assert_never

from astrid.core import approval_messages as questions
from astrid.core import gate_admin
from astrid.core import gate_messages as messages
from astrid.core.approval import Approvals
from astrid.core.canon import commitment, encode
from astrid.core.chain import ChainState
from astrid.core.checkpoint import sign_checkpoint
from astrid.core.driver_disk import Disk, Setup
from astrid.core.facts import Principal
from astrid.core.gate import Gate
from astrid.core.gate_connections import Connect, Disconnected
from astrid.core.ids import is_scripted
from astrid.core.past import recall_questions
from astrid.core.records import Boot, Entry
from astrid.core.tokens import Token
from astrid.core.tools import ToolSpec

FromHost = messages.Prepared | messages.Unprepared | messages.Executed | messages.Progress | Connect | Disconnected
Host = Callable[[messages.ToHost], FromHost | None]
"""What it is asked to what it says; ``None``: nothing, or nothing yet (``post`` takes what it says later)."""
Ending = messages.Outcome | messages.Refused | messages.Deferred | messages.Approved
Post = messages.ToHost | FromHost | messages.ToApprovals | messages.Put | messages.Answered

APPROVALS = 0  # in the place of a host's number
_NONE = b"\0" * 32


class Driver:
    """See the module.  ``now_ns`` and ``attended`` (whether somebody is there who can answer) are for whoever drives to
    set.  ``told`` is everything that principals were told, each with the number of the one who was.
    """

    def __init__(self, setup: Setup, disk: Disk | None = None, *, now_ns: int) -> None:
        """A start of the daemon on what is durable.  Its first records wait to be written.

        Raises:
            ChainError: the log does not hold together, or is not whole.
        """
        self.setup = setup
        self.disk = Disk() if disk is None else disk
        self.now_ns = now_ns
        self.attended = True
        self.told: list[tuple[int, messages.ToPrincipal]] = []
        self.post: deque[tuple[int, Post]] = deque()  # with the host that it goes to or comes from
        self.unwritten: deque[tuple[bytes, Entry, bytes]] = deque()  # with the question, if approvals wait for it
        self._hosts: dict[int, Host] = {}
        self._actors = self._proposals = self._salts = 0
        self.facts, past = setup.read(self.disk)
        self._boot = past.tip.boot
        self.chain = ChainState(past.tip, past.tree)
        self.approvals = Approvals(roots=setup.roots, keeper=setup.keeper)
        self.spoilt = recall_questions(self.disk.beside, past, self.approvals, now_s=self.facts.time_s(now_ns))
        self.gate = Gate(self.facts, secret=self._salt(), first_ref=self.facts.last_ref + 1)
        boot = Boot("driver", setup.policy.digest, _NONE, _NONE)
        for made in gate_admin.begin(self.facts, setup.keys, boot, size=past.tip.size, salt=self._salt()):
            self.record(made)

    def crash(self) -> Driver:
        """Another start, on a copy of what is durable."""
        return Driver(self.setup, self.disk.copy(), now_ns=self.now_ns)

    # --- who is there

    def register(self, principal: Principal) -> int:
        """The number of a new principal.

        Raises:
            TokenError: its key is taken.
        """
        self._actors += 1
        opening = gate_admin.Opening("driver", "none", is_scripted(principal.session))
        self.record(gate_admin.register(self.facts, self._actors, principal, opening))
        return self._actors

    def end_session(self, sender: int) -> None:
        """The principal ``sender`` is gone, and its session over."""
        session = self.facts.principals[sender].session
        self._perform(self.gate.principal_gone(sender))
        for made in gate_admin.ended(self.facts, session, "asked"):
            self.record(made)
        self.approvals.forget(session)

    def offer(self, toolbox: str, specs: Iterable[ToolSpec], host: Host) -> int:
        """The number of a new host, whose tools are on offer now.

        Raises:
            InternalError: another host has a tool of that name.
        """
        self._actors += 1
        gate_admin.offer(self.facts, toolbox, specs, host=self._actors, incarnation=1)
        self._hosts[self._actors] = host
        return self._actors

    def kill_host(self, host: int) -> None:
        """The host is gone; what is on its way to it is lost."""
        del self._hosts[host]
        self._perform(self.gate.host_gone(host))

    # --- what principals say

    def propose(self, sender: int, tool: str, args: bytes, *tokens: bytes, tainted: bool = False) -> int:
        """Propose a call; the number of the proposal."""
        self._proposals += 1
        message = messages.Propose(proposal=self._proposals, tool=tool, args=args, tokens=tokens, tainted=tainted)
        self._perform(self.gate.propose(sender, message))
        return message.proposal

    def cancel(self, sender: int, proposal: int) -> None:
        """The principal no longer wants the answer."""
        self._perform(self.gate.cancel(sender, messages.Cancel(proposal=proposal)))

    def call(self, sender: int, tool: str, args: bytes, *tokens: bytes, tainted: bool = False) -> Ending | None:
        """A call from its proposal to how it ended; ``None`` if it waits for a person, or for a host that is silent."""
        proposal = self.propose(sender, tool, args, *tokens, tainted=tainted)
        self.run()
        return self.ending(proposal)

    def ending(self, proposal: int) -> Ending | None:
        """How a proposal ended, if it has."""
        ends = (message for _, message in self.told if isinstance(message, Ending))
        return next((end for end in ends if end.proposal == proposal), None)

    # --- what people say

    def take_in(self, raw: bytes, source: str = "driver") -> Token:
        """Keep a standing token.

        Raises:
            TokenError: it is not to be kept.
        """
        now_s = self.facts.time_s(self.now_ns)
        token, made = gate_admin.take_in(self.facts, raw, source, now_s=now_s, salt=self._salt())
        self.record(made)
        return token

    def answer(self, raw: bytes) -> None:
        """Somebody answered a question; ``approvals.waiting()`` has those that may be.

        Raises:
            TokenError: the answer is not accepted.
        """
        self._perform(self.approvals.answer(raw, now_s=self.facts.time_s(self.now_ns), salt=self._salt()))

    def expire(self) -> None:
        """End the questions whose time is over."""
        self._perform(self.approvals.expire(now_s=self.facts.time_s(self.now_ns), salt=self._salt()))

    def nobody_came(self) -> None:
        """The time that proposals wait for a person is over; the questions stay open."""
        for qid, one in self.approvals.waiting():
            for ref in one.refs:
                self._perform(self.gate.defer(ref, qid))

    def revoke(self, statement: bytes) -> None:
        """Revoke a token or a key.

        Raises:
            TokenError: not signed by a user key of this install.
        """
        self.record(gate_admin.revoke(self.facts, statement, salt=self._salt()))
        self._perform(self.gate.withdraw_revoked())

    # --- what goes on

    def record(self, made: Entry, qid: bytes = b"") -> None:
        """Chain a record; it is durable once it is committed."""
        self.unwritten.append((self.chain.append(made, self.now_ns), made, qid))

    def run(self) -> None:
        """Go on until all is quiet."""
        while self.step() or self.commit(1):
            pass

    def commit(self, count: int | None = None) -> int:
        """Make the next ``count`` records durable, or those that wait now, and tell whoever waits for them; how many
        there were.
        """
        there = len(self.unwritten)
        written = there if count is None else min(count, there)
        for _ in range(written):
            frame, made, qid = self.unwritten.popleft()
            self.disk.records.append((frame, made))
            for tile in self.chain.durable(len(self.disk.records)):
                self.disk.tiles[tile.level, tile.index] = tile.hashes
            if made.checkpoint or self.chain.checkpoint_due(self.now_ns):
                stated = self.chain.stated(self.setup.keys.log_id)
                self.disk.notes.append((stated.size, sign_checkpoint(stated, self.setup.runtime_key)))
                self.chain.checkpointed(stated.size, self.now_ns)
            if qid:
                self._perform(self.approvals.recorded(qid))
            else:
                tip = self.chain.durable_tip
                self._perform(self.gate.durable(messages.Durable(made.ref, tip.size, tip.time_ns), self.now_ns))
        return written

    def step(self) -> bool:
        """Deliver the next message; whether there was one."""
        if not self.post:
            return False
        at, message = self.post.popleft()
        match message:
            case messages.Prepare() | messages.Execute() | messages.Withdraw() | messages.Connecting():
                said = self._hosts[at](message) if at in self._hosts else None
                if said is not None:
                    self.post.append((at, said))
            case messages.Prepared():
                self._perform(self.gate.prepared(at, message, self.now_ns))
            case messages.Unprepared():
                self._perform(self.gate.unprepared(at, message))
            case messages.Executed():
                self._perform(self.gate.executed(at, message))
            case messages.Progress():
                self._perform(self.gate.progress(at, message))
            case Connect() | Disconnected():
                self._perform(self.gate.connection(at, message))
            case messages.Ask():
                self._perform(self.approvals.put(message.ref, message.question, self._salt()))
            case messages.Leave():
                self.approvals.leave(message.ref)
            case messages.Put():
                self._perform(self.gate.put(message))
            case messages.Answered():
                self._perform(self.gate.answered(message))
            case _:
                assert_never(message)
        return True

    def _perform(self, effects: Iterable[messages.Effect | questions.Effect]) -> None:
        for effect in effects:
            match effect:
                case messages.Record():
                    self.record(effect.entry)
                case questions.Record():
                    self.record(effect.entry, effect.qid)
                case messages.Send():
                    if isinstance(effect.message, messages.ToHost):
                        self.post.append((effect.to, effect.message))
                    else:
                        self.told.append((effect.to, effect.message))
                case messages.SendApprovals():
                    self.post.append((APPROVALS, effect.message))
                case questions.Resolve():
                    self.post.append((APPROVALS, questions.answered(effect)))
                case _:
                    self.post.extend((APPROVALS, put) for put in questions.puts(effect, attended=self.attended))

    def _salt(self) -> bytes:
        self._salts += 1
        # A start whose first record is not durable leaves nothing behind that the next one could salt alike.
        return commitment(self.setup.seed, encode((self._boot, self._salts)))
