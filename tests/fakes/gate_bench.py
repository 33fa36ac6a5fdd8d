"""A gate on a bench: two principals, three hosts, a log that becomes durable when the test says so, and notes of
everything that left the machine.
"""

from __future__ import annotations

from typing import Any

import msgspec

from astrid.core.call import Need, Preparation
from astrid.core.canon import Signed, decode, encode
from astrid.core.decide import Limits
from astrid.core.facts import Facts, Principal, Tool
from astrid.core.gate import Gate
from astrid.core.gate_messages import (
    Answered,
    Approved,
    Ask,
    Cancel,
    Deferred,
    Durable,
    Effect,
    Execute,
    Executed,
    Leave,
    Minted,
    Outcome,
    Prepare,
    Prepared,
    Progress,
    Propose,
    Put,
    Record,
    Refused,
    Send,
    SendApprovals,
    Unprepared,
    Withdraw,
)
from astrid.core.gate_state import Pending, Stage
from astrid.core.policy import Policy
from astrid.core.question import answer_block
from astrid.core.records import BODIES, Entry, Kind
from astrid.core.tokens import Assurance, Grant, Permission, Scope, Token, block_id, issue
from astrid.core.tools import ControlKind, ToolSpec
from tests.fakes.authority import AUD, CHILD_KEY, HOLDER, NOW, ROOTS, SESSION, SESSION_KEY, USER, WORKSPACE, token
from tests.fakes.rules import policy, spec

SECOND = 10**9
PARENT, CHILD, STRANGER = 1, 2, 3
FILES, MODEL, BANK = 100, 101, 102
RICH = Limits(10**9, 10**9, 10**9)
TOOLS = {
    "read_file": (spec("read_file", "read", output_trust=1), FILES),
    "write_file": (spec("write_file", "staging"), FILES),
    "bash": (spec("bash", "exec", control=(("command", ControlKind.COMMAND.value),), fresh=True), FILES),
    "model": (spec("model", "model", host_kind="model", host_id="p/m"), MODEL),
    "pay": (spec("pay", "financial", host_kind="demo", host_id="bank", fresh=True), BANK),
}
EVERYTHING = (Grant("file://w/**", 0xFF, 0, 3, b""), Grant("model://*/**", 16, 0, 1, b""))
STANDING = token(holder=SESSION_KEY.public, grants=EVERYTHING, session=SESSION, scope=Scope.SESSION)
READ, WRITE = int(Permission.READ), int(Permission.WRITE)


def preparation(path: str = "a.txt", permission: int = READ, **fields: Any) -> Preparation:
    """What a host says of a call on one file."""
    return msgspec.structs.replace(Preparation(needs=(Need(f"file://w/{path}", permission),)), **fields)


def body(made: Entry) -> Any:
    """What a record says."""
    shape: type[Signed] = BODIES[Kind(made.kind)]
    return decode(made.body, shape, max_bytes=2**16, what="a body")


class Bench:
    """See the module.  ``log`` holds every record in order; the first ``synced`` of them are durable."""

    def __init__(
        self, *, rules: Policy | None = None, limits: Limits = RICH, asks: bool = True, first_ref: int = 1
    ) -> None:
        self.facts = Facts(aud=AUD, roots=ROOTS, policy=rules or policy())
        self.gate = Gate(self.facts, secret=b"k" * 32, first_ref=first_ref)
        self.now_ns = NOW * SECOND
        self.log: list[Entry] = []
        self.synced = 0
        self.effects: list[Effect] = []
        self.proposals = 0
        self.offers: dict[str, tuple[int, int]] = {}  # where each tool runs, and in which incarnation
        for name, (made, host) in TOOLS.items():
            self.install(made, host)
            assert name == made.name
        self.register(PARENT, SESSION_KEY.public, limits=limits, asks=asks)
        self.register(CHILD, CHILD_KEY.public, limits=limits, asks=asks)

    # --- who is there

    def install(self, made: ToolSpec, host: int, *, incarnation: int = 1) -> None:
        self.facts.tools["box", made.name] = Tool("box", made, made.tooldef(), host, incarnation)
        self.offers[made.name] = host, incarnation

    def register(self, ref: int, key: bytes, *, limits: Limits = RICH, asks: bool = True) -> None:
        principal = Principal(
            key=key, session=SESSION, workspace=WORKSPACE, toolboxes=("box",), limits=limits, asks=asks
        )
        self.facts.admit(ref, principal)

    def restart(self, host: int = FILES) -> None:
        """The host died and is up again: one incarnation later, its tools on offer."""
        self.host_gone(host)
        for made, at in TOOLS.values():
            if at == host:
                self.install(made, host, incarnation=2)

    def host_gone(self, host: int) -> list[Effect]:
        self.offers = {name: offer for name, offer in self.offers.items() if offer[0] != host}
        return self.do(self.gate.host_gone(host))

    # --- what happens

    def do(self, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        self.log += [effect.entry for effect in effects if isinstance(effect, Record)]
        return effects

    def propose(
        self, tool: str = "read_file", *tokens: Token | bytes, sender: int = PARENT, args: bytes = b"{}", **fields: Any
    ) -> list[Effect]:
        self.proposals += 1
        raws = tuple(one if isinstance(one, bytes) else one.raw for one in (tokens or (STANDING,)))
        message = Propose(proposal=self.proposals, tool=tool, args=args, tokens=raws, tainted=False)
        return self.do(self.gate.propose(sender, msgspec.structs.replace(message, **fields)))

    def prepared(self, ref: int | None = None, made: Preparation | None = None, *, sender: int = FILES) -> list[Effect]:
        message = Prepared(ref=self.ref if ref is None else ref, preparation=made or preparation())
        return self.do(self.gate.prepared(sender, message, self.now_ns))

    def unprepared(self, ref: int | None = None, *, sender: int = FILES, **fields: Any) -> list[Effect]:
        ref = self.ref if ref is None else ref
        said = Unprepared(ref=ref, layer="workspace", code="workspace.outside", reason="no", advice="yes")
        return self.do(self.gate.unprepared(sender, msgspec.structs.replace(said, **fields)))

    def sync(self, count: int | None = None) -> list[Effect]:
        """``count`` more records become durable; or all, and what they lead to."""
        done: list[Effect] = []
        end = None if count is None else self.synced + count
        while self.synced < len(self.log) and self.synced != end:
            made = self.log[self.synced]
            self.synced += 1
            done += self.do(self.gate.durable(Durable(made.ref, self.synced, self.now_ns), self.now_ns))
        return done

    def executed(self, ref: int | None = None, *, sender: int = FILES, **fields: Any) -> list[Effect]:
        ref = self.ref if ref is None else ref
        pending = self.gate.pending.get(ref)
        seq = pending.permit_seq if pending is not None else 1
        said = Executed(ref=ref, permit_seq=seq, content=b"ok", is_error=False, effect="done", spent_micros=0)
        return self.do(self.gate.executed(sender, msgspec.structs.replace(said, **fields)))

    def progress(self, ref: int | None = None, *, sender: int = FILES) -> list[Effect]:
        return self.do(self.gate.progress(sender, Progress(ref=self.ref if ref is None else ref, chunk=b"...")))

    def put(self, ref: int | None = None, **fields: Any) -> list[Effect]:
        said = Put(ref=self.ref if ref is None else ref, qid=b"q" * 16, code="", reason="", attended=True)
        return self.do(self.gate.put(msgspec.structs.replace(said, **fields)))

    def defer(self, ref: int | None = None) -> list[Effect]:
        return self.do(self.gate.defer(self.ref if ref is None else ref, b"q" * 16))

    def answered(self, *refs: int, **fields: Any) -> list[Effect]:
        said = Answered(
            qid=b"q" * 16,
            block=b"B" * 32,
            session=SESSION,
            refs=refs or (self.ref,),
            said_no=False,
            token=b"token",
        )
        return self.do(self.gate.answered(msgspec.structs.replace(said, **fields)))

    def say_yes(self, question: bytes, *refs: int) -> bytes:
        """A person signs ``once``, and the log has it; the token."""
        made = answer_block(
            question, Scope.ONCE, issuer=USER.public, assurance=Assurance.SEALED, keeper=HOLDER.public, nonce=b"n" * 16
        )
        raw = issue(made, USER)
        self.answered(*refs, block=block_id(encode(made)), token=raw)
        return raw

    def cancel(self, proposal: int | None = None, *, sender: int = PARENT) -> list[Effect]:
        number = self.proposals if proposal is None else proposal
        return self.do(self.gate.cancel(sender, Cancel(proposal=number)))

    def gone(self, sender: int = PARENT) -> list[Effect]:
        return self.do(self.gate.principal_gone(sender))

    # --- to a stage, with one call

    def at(self, stage: Stage, **fields: Any) -> Pending:
        """A proposal of the parent's that has come to ``stage``."""
        before = set(self.gate.pending)
        self.propose("read_file", **fields)
        if stage is not Stage.PREPARING:
            self.prepared(made=preparation(fresh=stage is Stage.ASKING, why="a person has to see it"))
        if stage is Stage.RUNNING:
            self.sync()
        (ref,) = set(self.gate.pending) - before  # else it has ended already
        assert self.gate.pending[ref].stage is stage
        return self.gate.pending[ref]

    # --- what came of it

    @property
    def ref(self) -> int:
        """The proposal that was made last and is pending."""
        return max(self.gate.pending)

    def sent(self, kind: type[Any]) -> list[Any]:
        """Every message of this kind that left the machine."""
        out = [one.message for one in self.effects if isinstance(one, Send | SendApprovals)]
        return [message for message in out if isinstance(message, kind)]

    @property
    def answer(self) -> Any:
        """The one answer that the parent got."""
        (answer,) = self.answers()
        return answer

    def answers(self, sender: int = PARENT) -> list[Any]:
        """What ended proposals of ``sender``."""
        return [one.message for one in self.effects if isinstance(one, Send) and one.answers and one.to == sender]

    def records(self, kind: Kind) -> list[Any]:
        """The bodies of every record of this kind, or of one that says more."""
        return [body(made) for made in self.log if issubclass(BODIES[made.kind], BODIES[kind])]


__all__ = [
    "BANK",
    "CHILD",
    "FILES",
    "MODEL",
    "PARENT",
    "READ",
    "RICH",
    "SECOND",
    "STANDING",
    "STRANGER",
    "TOOLS",
    "WRITE",
    "Approved",
    "Ask",
    "Bench",
    "Deferred",
    "Execute",
    "Leave",
    "Minted",
    "Outcome",
    "Prepare",
    "Refused",
    "Withdraw",
    "body",
    "preparation",
]
